"""The size of the database while days come and go, with a retention and without one.

    make benchmark-retention

A small service with as long a history as the retention asks for is loaded and built, and then lives
on: each day its events come, 1 % of them a day late, everything that changed is built, and what is
older than the retention is pruned. The same days without a retention show what would have grown.
"""

import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated

import duckdb
import typer
import yaml

from viewer_personas.build import build
from viewer_personas.config import load_sources
from viewer_personas.database.connection import connect
from viewer_personas.database.sql import scalar
from viewer_personas.prune import prune
from viewer_personas.sources.load import load

FIRST_DAY = date(2026, 1, 1)
# as short a history as there can be with weekly dates: the days simulated are the dear part
VARIABLES = {"lookback_days": 168, "as_of_history_weeks": 2}
HISTORY_DAYS = 168 + 7 * 2 + 7
RETENTION = {"raw_retention_days": 35, "history_retention_days": HISTORY_DAYS}
VIEWINGS_A_DAY_PER_VIEWER = 2
HEARTBEATS = 9
SOURCES = """
events: {driver: files, path: events/*.parquet}
contents: {driver: files, path: contents.jsonl}
"""
COLUMNS = ("day", "MiB", "in use", "raw.events", "user_content_hours", "user_days", "ledger")


@dataclass(frozen=True)
class Size:
    """After how many days, the file and what of it is in use (the rest is used before the file
    grows) in MiB, and rows: of raw events, of two roll-ups, of the ledger of partitions."""

    day: int
    database_mib: float
    used_mib: float
    events: int
    hours: int
    days: int
    partitions: int


def write_contents(directory: Path) -> None:
    """A catalogue of 500 films with a genre and a mood each."""
    duckdb.execute(
        f"""
        copy (
            select 'film-' || number as content_id, 'movie' as content_type,
                ['genre ' || number % 8] as genres, ['mood ' || number % 30] as tags
            from range(500) as numbers (number)
        ) to '{directory}/contents.jsonl' (format json)
        """
    )


def write_day(directory: Path, number: int, viewers: int) -> None:
    """The file of one day: heartbeats of viewings of the day, and what came late of the day before.

    A viewer comes every second day on average; the same number gives the same file.
    """
    (directory / "events").mkdir(exist_ok=True)
    selects = [
        f"""
        select
            md5(concat_ws(' ', viewing, {day}, heartbeat)) as event_id,
            'viewer-' || viewing // {VIEWINGS_A_DAY_PER_VIEWER} as user_id,
            'film-' || hash(viewing * 31 + {day}) % 500 as content_id,
            'play' as event_type,
            60.0 as watch_seconds,
            timestamp '{FIRST_DAY + timedelta(days=day)}'
                + to_seconds((hash(viewing + {day}) % 80000 + 60 * heartbeat)::bigint)
                as occurred_at
        from range({viewers * VIEWINGS_A_DAY_PER_VIEWER}) as viewings (viewing)
        cross join range({HEARTBEATS}) as heartbeats (heartbeat)
        where hash(viewing // {VIEWINGS_A_DAY_PER_VIEWER} + 7 * {day}) % 2 = 0
            and (hash(viewing * 13 + {day}) % 100 = 0) = {is_late}
        """
        for day, is_late in ((number, "false"), (number - 1, "true"))
        if day >= 0
    ]
    duckdb.execute(
        f"copy ({' union all '.join(selects)})"
        f" to '{directory}/events/{number:04}.parquet' (format parquet)"
    )


def live_a_day(directory: Path, database: Path, number: int, *, is_kept: bool) -> Size:
    """Load and build what is there now, prune unless all is kept, and measure."""
    load(load_sources(directory / "sources.yml"), database)
    if is_kept:
        build(database, variables=yaml.safe_dump(VARIABLES), tests=False)
    else:
        variables = yaml.safe_dump({**VARIABLES, **RETENTION})
        build(database, variables=variables, tests=False)
        prune(database, variables=variables)
    return size(database, number)


def size(database: Path, number: int) -> Size:
    """The size of a database in which no step is at work."""
    with connect(database, read_only=True) as connection:
        rows = [
            scalar(connection, f"select count(*) from {table}")
            for table in (
                "raw.events",
                "metrics.user_content_hours",
                "metrics.user_days",
                "metrics.partition_ledger",
            )
        ]
        used = scalar(
            connection,
            "select used_blocks * block_size from pragma_database_size()"
            " where database_name = current_database()",
        )
    return Size(number, database.stat().st_size / 2**20, used / 2**20, *rows)


def simulate(directory: Path, days: int, viewers: int) -> dict[str, list[Size]]:
    """Live so many days, with a retention and without; sizes after the start and after each day."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "sources.yml").write_text(SOURCES)
    write_contents(directory)
    typer.echo(f"Generating, loading and building {HISTORY_DAYS} days …", err=True)
    for number in range(HISTORY_DAYS):
        write_day(directory, number, viewers)
    kept, pruned = directory / "kept.duckdb", directory / "pruned.duckdb"
    found = {"kept": [live_a_day(directory, kept, 0, is_kept=True)]}
    shutil.copy(kept, pruned)
    found["pruned"] = [live_a_day(directory, pruned, 0, is_kept=False)]
    for number in range(1, days + 1):
        write_day(directory, HISTORY_DAYS + number - 1, viewers)
        for name, database in (("kept", kept), ("pruned", pruned)):
            measured = live_a_day(directory, database, number, is_kept=name == "kept")
            found[name].append(measured)
            typer.echo(f"{name}: {json.dumps(asdict(measured))}", err=True)
    return found


def as_markdown(sizes: list[Size], every: int) -> str:
    """A table of every so many days, and of the last."""
    shown = [item for item in sizes if item.day % every == 0 or item is sizes[-1]]
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    lines += [
        f"| {item.day} | {item.database_mib:,.0f} | {item.used_mib:,.0f} | {item.events:,}"
        f" | {item.hours:,} | {item.days:,} | {item.partitions:,} |"
        for item in shown
    ]
    return "\n".join(lines)


def main(
    days: Annotated[int, typer.Option(help="Daily runs after the first load.")] = 30,
    viewers: Annotated[
        int, typer.Option(help="Viewers; 9 events of each a day on average.")
    ] = 4000,
    every: Annotated[int, typer.Option(help="Print every so many days.")] = 5,
    directory: Annotated[
        Path | None, typer.Option(help="Where to work, and to leave everything afterwards.")
    ] = None,
) -> None:
    """Simulate daily runs and print the sizes after them as tables of Markdown."""
    work = directory or Path(tempfile.mkdtemp(prefix="viewer_personas_retention_"))
    try:
        found = simulate(work, days, viewers)
    finally:
        if directory is None:
            shutil.rmtree(work)
    for name, sizes in found.items():
        typer.echo(f"\n{'with the retention' if name == 'pruned' else 'without'}\n")
        typer.echo(as_markdown(sizes, every))


if __name__ == "__main__":
    typer.run(main)
