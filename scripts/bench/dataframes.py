"""Compares this project with the same metrics and personas in pandas and in polars.

    python -m bench.dataframes --events 5000000 [--json FILE] [--directory DIR]

Generates a service as the benchmark does, and lets three programs read its files, each in a process
of its own: `load` and `build` of this project for the latest date, without data tests; and the two
programs `dataframes_pandas` and `dataframes_polars`. The next day is measured, too, for which the
two do everything again. All rows and columns of metrics.user_windows
and the personas must be equal. docs/performance.md says what each does and does not do. pandas and
polars are in the dependency group `dataframes`: `make compare-dataframes` brings them.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import duckdb
import typer
from rich.console import Console
from rich.table import Table

from bench.inputs import read_inputs
from bench.service import Service, generate, viewers_of
from viewer_personas.build import invoke, parse
from viewer_personas.config import load_sources
from viewer_personas.database.connection import attach, connect
from viewer_personas.database.sql import literal
from viewer_personas.errors import CheckFailed, InputError, PersonasError
from viewer_personas.sources.load import load

PROJECT = "this project"
ALL = "this project, all its tables"
NEXT_DAY = "this project, the next day"
DATAFRAMES = ("pandas", "polars")
# The functions of each program, the last of which is measured.
RUNS = {
    PROJECT: ["bench.dataframes:build_compared"],
    ALL: ["bench.dataframes:build_all"],
    NEXT_DAY: [
        "bench.dataframes:build_until_last_day",
        "bench.dataframes:build_last_day",
    ],
    **{name: [f"bench.in_{name}:run"] for name in DATAFRAMES},
}
DATABASE = "compared.duckdb"
FOR_COMPARED = ["--select", "+persona_choices"]
TOLERANCE = 1e-9  # relative, and absolute below 1
NUMBERS = ("BIGINT", "INTEGER", "DOUBLE")

# What is compared: table, key and the columns; none for all but the version of the inputs.
COMPARED: dict[str, tuple[list[str], list[str] | None]] = {
    "metrics.user_windows": (["as_of_date", "window_days", "user_id"], None),
    "personas.persona_choices": (
        ["as_of_date", "user_id"],
        ["persona", "match_count", "strength"],
    ),
}


@dataclass
class Measurement:
    """One program from the start of its process to its end; all cores together for CPU seconds, and
    the peak of the resident memory in MiB, where the system tells it."""

    name: str
    seconds: float
    cpu_seconds: float
    peak_memory_mib: float | None


def build_compared(directory: Path, output: Path) -> None:
    """Load the service and build what the compared tables need, in a new database."""
    (output / DATABASE).unlink(missing_ok=True)
    _build(directory, output, FOR_COMPARED)


def build_all(directory: Path, output: Path) -> None:
    """Load the service and build every table for the latest date, in a new database."""
    (output / DATABASE).unlink(missing_ok=True)
    _build(directory, output, [])


def build_until_last_day(directory: Path, output: Path) -> None:
    """The same as `build_compared` on the day before."""
    (output / DATABASE).unlink(missing_ok=True)
    inputs = read_inputs(directory)
    [time_column] = [theirs for theirs, ours in inputs.columns.items() if ours == "occurred_at"]
    [(last_day,)] = duckdb.execute(
        f'select cast(max("{time_column}") as date) from read_parquet($1)',
        [[str(file) for file in inputs.event_files]],
    ).fetchall()
    _build(directory, output, FOR_COMPARED, until=last_day - timedelta(days=1))


def build_last_day(directory: Path, output: Path) -> None:
    """What a daily run does then: load the last day, build what changes with it."""
    _build(directory, output, FOR_COMPARED)


def _build(
    directory: Path, output: Path, selection: list[str], *, until: date | None = None
) -> None:
    database = output / DATABASE
    load(load_sources(directory / "sources.yml"), database, until=until)
    result = invoke(
        ["build", *selection, "--vars", "{as_of_history_weeks: 0}"],
        database,
        lambda text, done, total: None,
        manifest=parse(database, tests=False),
    )
    if not result.success:
        raise CheckFailed("dbt build failed; logs/dbt.log says where.")


def measured(name: str, directory: Path, output: Path) -> Measurement:
    """Run one of the programs in a new process."""
    output.mkdir(parents=True, exist_ok=True)
    for function in RUNS[name]:
        command = [sys.executable, "-m", "bench.measured_run", function]
        began = time.monotonic()
        finished = subprocess.run([*command, str(directory), str(output)], check=False)
        seconds = time.monotonic() - began
        if finished.returncode:
            raise CheckFailed(f"{name} broke off; its message is above.")
    usage = json.loads((output / "usage.json").read_text())
    return Measurement(name, seconds, usage["cpu_seconds"], usage["peak_memory_mib"])


def differences(database: Path, results: Path) -> list[str]:
    """What the Parquet files in `results` have that the tables of the latest date have not, or the
    other way round: a line for each column, with an example."""
    found = []
    with connect(Path(":memory:")) as connection:
        attach(connection, database, read_only=True, name="built")
        for table, (key, columns) in COMPARED.items():
            name = table.split(".")[-1]
            connection.execute(
                f"create or replace temp view ours as from built.{table}"
                f" where as_of_date = (select max(as_of_date) from built.{table})"
            )
            connection.execute(
                f"create or replace temp view theirs as from {literal(results / f'{name}.parquet')}"
            )
            for one, other in (("ours", "theirs"), ("theirs", "ours")):
                found += _different(
                    connection,
                    f"{name}: rows in {one}, but not or more than once in {other}",
                    f"{one} left join (select {', '.join(key)}, count(*) as times"
                    f" from {other} group by all) using ({', '.join(key)})",
                    "times is distinct from 1",
                    "user_id",
                )
            described = connection.execute("describe ours").fetchall()
            types = {row[0]: row[1] for row in described if row[0] != "input_version"}
            for column in columns or [column for column in types if column not in key]:
                one, other = f"ours.{column}", f"theirs.{column}"
                close = "false"
                if types[column] in NUMBERS:
                    one, other = f"{one}::double", f"{other}::double"
                    close = f"abs({one} - {other}) <= {TOLERANCE} * greatest(1, abs({one}))"
                found += _different(
                    connection,
                    f"{name}.{column}",
                    f"ours inner join theirs using ({', '.join(key)})",
                    f"{one} is distinct from {other} and not coalesce({close}, false)",
                    f"concat_ws(' ', {', '.join(key)}, 'ours', coalesce({one}::varchar, 'null'),"
                    f" 'theirs', coalesce({other}::varchar, 'null'))",
                )
    return found


def _different(
    connection: duckdb.DuckDBPyConnection, what: str, rows: str, condition: str, example: str
) -> list[str]:
    [(different, there, one)] = connection.execute(
        f"select count(*) filter ({condition}), count(*), min({example}) filter ({condition})"
        f" from {rows}"
    ).fetchall()
    return [f"{what}: {different:,} of {there:,}, such as {one}"] if different else []


def show(console: Console, found: list[Measurement]) -> None:
    """Print the measurements, and each in units of this project's."""
    table = Table("", "seconds", "CPU", "MiB", "seconds ×", "CPU ×", "MiB ×", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for item in found:
        memory = item.peak_memory_mib
        table.add_row(
            item.name,
            f"{item.seconds:.1f}",
            f"{item.cpu_seconds:.1f}",
            "–" if memory is None else f"{memory:,.0f}",
            *("–" if ratio is None else f"{ratio:.2f}" for ratio in ratios(found, item).values()),
        )
    console.print(table)


def ratios(found: list[Measurement], item: Measurement) -> dict[str, float | None]:
    """What a program used, in units of what this project uses for the same tables."""
    [project] = [one for one in found if one.name == PROJECT]
    return {
        "seconds": item.seconds / project.seconds,
        "cpu_seconds": item.cpu_seconds / project.cpu_seconds,
        "peak_memory": item.peak_memory_mib / project.peak_memory_mib
        if item.peak_memory_mib and project.peak_memory_mib
        else None,
    }


def _versions() -> dict[str, str]:
    try:
        return {name: version(name) for name in ("duckdb", *DATAFRAMES, "pyarrow")}
    except PackageNotFoundError as error:
        raise InputError(
            f"{error.name} is not installed: `make compare-dataframes` brings it, or"
            " `uv sync --group dataframes`."
        ) from error


def compare(
    directory: Path, events: int, console: Console
) -> tuple[int, list[Measurement], dict[str, list[str]]]:
    """The number of events, the measurements, and what differs by program. A service that is in
    `directory` already is taken as it is."""
    if not (directory / "sources.yml").exists():
        console.print(f"Generating {events:,} events …")
        generate(directory, Service(events, viewers=viewers_of(events)))
    files = [str(file) for file in read_inputs(directory).event_files]
    [(there,)] = duckdb.execute("select count(*) from read_parquet($1)", [files]).fetchall()
    outputs = {name: directory / "runs" / name for name in RUNS}
    found = []
    for name, output in outputs.items():
        console.print(f"{name} …")
        found.append(measured(name, directory, output))
    different = {
        name: differences(outputs[PROJECT] / DATABASE, outputs[name]) for name in DATAFRAMES
    }
    return there, found, different


def main(
    events: Annotated[int, typer.Option(help="How many events to generate, about.")] = 1_000_000,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Where to write the figures as JSON.")
    ] = None,
    directory: Annotated[
        Path | None,
        typer.Option(help="Where to work, and to leave everything; a service there is reused."),
    ] = None,
) -> None:
    """Compare this project with pandas and polars at a size given in events."""
    console = Console()
    work = directory or Path(tempfile.mkdtemp(prefix="viewer_personas_dataframes_"))
    try:
        versions = _versions()
        there, found, different = compare(work, events, console)
    except PersonasError as error:
        sys.exit(error.say())
    finally:
        if directory is None:
            shutil.rmtree(work)
    console.print(f"{there:,} events")
    show(console, found)
    for name, lines in different.items():
        console.print(f"{name}: {'results are equal' if not lines else 'results differ'}")
        for line in lines:
            console.print(f"  {line}", soft_wrap=True)
    if json_file:
        figures = {
            "events": there,
            "cores": os.cpu_count(),
            "versions": versions,
            "measurements": [{**asdict(item), "ratios": ratios(found, item)} for item in found],
            "differences": different,
        }
        json_file.write_text(json.dumps(figures, indent=2) + "\n")
    if any(different.values()):
        sys.exit(CheckFailed.exit_status)


if __name__ == "__main__":
    typer.run(main)
