"""How fast personas get into Druid, and where the time goes: each way beside Druid's own rate.

    PYTHONPATH=tests .venv/bin/python -m tools.benchmark_export --rows 200000

Starts a Druid of its own, makes one date of so many viewers, and prints a table. Druid's own rate
is that of the same statement on a file of its own machine. Each is measured after one run to warm
up, on a new datasource.
"""

import argparse
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

from exported import create_database, druid_meta, manifest_of
from servers.servers import DruidServer, start_druid
from viewer_personas.config import DruidExport
from viewer_personas.database.connection import connect
from viewer_personas.druid import Druid
from viewer_personas.export.druid import export_druid
from viewer_personas.export.druid_tables import (
    DruidTable,
    columns_of,
    external,
    replace_sql,
    rows_sql,
)
from viewer_personas.export.druid_tasks import Tasks
from viewer_personas.export.publications import exposures

DAY = date(2026, 1, 4)
STEPS = ("comparing", "writing rows", "tasks", "waiting to be visible")


def fill(database: Path, number: int) -> None:
    """One date of so many viewers, as wide as those of a demo."""
    create_database(database)
    with connect(database) as connection:
        connection.execute(
            """
            insert into personas.user_personas
            select
                $day, md5(number::varchar),
                ['binger', 'casual', 'regular', 'sleeper'][1 + number % 4], number % 3,
                ['binger', 'regular'][: number % 3], random(), 'casual',
                $day - 7 * (number % 9)::int,
                'Binger: series binged: ' || number % 9 || ' (at least 1 in 28 days); active days: '
                || number % 28 || ' (at least 4 in 28 days)',
                random(), 'low', 'v1'
            from range($number) as numbers(number)
            """,
            {"day": DAY, "number": number},
        )
        connection.execute(
            "insert into metrics.partition_ledger values ($1, $2, 'v1', $3)",
            ["personas.persona_choices", DAY, number],
        )
        connection.execute(
            "insert into personas.persona_dates values ($1, 'v1', 'v1', 'v1', 'v1')", [DAY]
        )


def manifest(datasource: str) -> Any:
    """An exposure of the personas in a datasource."""
    return manifest_of({"personas": ("user_personas", druid_meta("user_personas", datasource))})


def measure(folder: Path, druid: DruidServer, name: str, number: int, **settings: Any) -> list[str]:
    """One line of the table: export a new database into a new datasource."""
    database = folder / f"{name}.duckdb"
    fill(database, number)
    chosen = DruidExport(url=druid.url, **settings)
    started = time.perf_counter()
    summary = export_druid(manifest(name), database, chosen, folder / "sources.yml")
    seconds = time.perf_counter() - started
    database.unlink()
    steps = [summary.seconds.get(step, 0) for step in STEPS]
    numbers = [seconds, *steps, seconds - sum(steps)]
    return [name.split("_")[0], *(f"{value:.1f}" for value in numbers), f"{number / seconds:,.0f}"]


def own_rate(folder: Path, druid: DruidServer, name: str, number: int) -> list[str]:
    """The same line for a file that is on Druid's machine already: the task, and nothing else."""
    database, file = folder / f"{name}.duckdb", folder / f"{name}.json.gz"
    fill(database, number)
    [exposure] = exposures(manifest(name), "druid", DruidTable)
    with connect(database, read_only=True) as connection:
        columns = columns_of(connection, exposure)
        query = rows_sql(exposure, columns, DAY)
        connection.execute(f"copy ({query}) to '{file}' (format json, compression gzip)")
    database.unlink()
    source = {"type": "local", "files": [str(file)]}
    statement = replace_sql(exposure.settings, columns, DAY, external(columns, source))
    client = Druid(DruidExport(url=druid.url), "benchmark", folder)
    started = time.perf_counter()
    Tasks(client, 3600, lambda text: text).run_sql(statement, 2)
    seconds = time.perf_counter() - started
    shown = f"{seconds:.1f}"
    return ["Druid alone", shown, "", "", shown, "", "", f"{number / seconds:,.0f}"]


def main() -> None:
    """Measure all ways and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    number = parser.parse_args().rows
    with (
        tempfile.TemporaryDirectory() as temporary,
        start_druid(Path(temporary) / "druid", optimised=True) as druid,
    ):
        folder = Path(temporary)
        ways: dict[str, dict[str, Any]] = {
            "http": {},
            "storage": {"through": "storage", "storage_uri": (folder / "shared").as_uri()},
            "inline": {"through": "inline"},
        }
        lines = []
        for turn in ("warm", "measured"):
            lines = [own_rate(folder, druid, f"own_{turn}", number)]
            for way, settings in ways.items():
                lines.append(measure(folder, druid, f"{way}_{turn}", number, **settings))
    heading = ["way", "seconds", *STEPS, "other", "rows/s"]
    print(f"{number:,} rows of one date, {len(STEPS)} steps in seconds\n")
    for line in [heading, ["---", *["---:"] * (len(heading) - 1)], *lines]:
        print(f"| {' | '.join(line)} |")


if __name__ == "__main__":
    main()
