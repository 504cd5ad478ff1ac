"""The raw layer as Parquet files, for engines that cannot read the DuckDB file.

In the folder there is one folder per raw table:

    raw/events/source_date=2024-01-31/events.parquet    one file per slice that has events
    raw/<table>/<table>.parquet                         every other table, in one file

A file is written under another name and then renamed, so that a reader finds the old one or the new
one. `slices` says which version each slice has: a day leaves it before its events are written, and
is in it again when all events are there. So a run that was killed between the two claims nothing of
the day, and the next one writes it again, whichever version it has by then.
"""

import shutil
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from viewer_personas.database import raw
from viewer_personas.database.connection import connect
from viewer_personas.database.raw import Report
from viewer_personas.database.sql import Connection, literal, literals
from viewer_personas.errors import InputError

FOLDER = "raw"
EVENTS = "events"
SLICES = "slices"


@dataclass
class LandingSummary:
    """Where the files are, how many slices were written, and how many files were removed."""

    place: str
    slices_written: int = 0
    slices_removed: int = 0


def check_directory(directory: Path) -> None:
    """Raise `InputError` if the directory cannot hold the files."""
    for folder in (directory, directory / FOLDER):
        if folder.exists() and not folder.is_dir():
            raise InputError(f"--directory {directory}: {folder} is a file; name another directory")


def land(
    database: Path, directory: Path, *, report: Report = lambda text, done, total: None
) -> LandingSummary:
    """Bring the files in the directory up to date with the raw layer of the database.

    Only the events of slices that have another version than in the files are written. Raises
    `InputError` if the directory cannot be written to or holds files of something else.
    """
    check_directory(directory)
    folder = directory / FOLDER
    summary = LandingSummary(place=str(folder))
    try:
        with connect(database, read_only=True) as connection:
            _land_events(connection, folder, summary, report)
            for table in [*_tables(connection) - {EVENTS, SLICES}, SLICES]:
                _write(connection, table, _table_file(folder, table))
    except OSError as error:
        raise InputError(f"--directory {directory}: cannot be written: {error}") from error
    return summary


def _land_events(
    connection: Connection, folder: Path, summary: LandingSummary, report: Report
) -> None:
    query = f"select source_date, version from raw.{SLICES} order by source_date"
    wanted = dict(connection.execute(query).fetchall())
    # what `personas prune` dropped from the database leaves the files too
    filled = raw.days_with_events(connection, wanted) - raw.dropped_days(connection).keys()
    landed = _landed_versions(connection, folder)
    # a folder without a known version has no slice
    there = {_day(path) for path in (folder / EVENTS).glob("source_date=*")}
    for day in sorted(there - filled):
        shutil.rmtree(_events_folder(folder, day))
        summary.slices_removed += 1
    stale = [day for day in sorted(filled) if day not in there or landed.get(day) != wanted[day]]
    _withdraw(connection, folder, [day for day in stale if day in landed])
    for done, day in enumerate(stale):
        report("Writing days of events", done, len(stale))
        _write(connection, EVENTS, _events_folder(folder, day) / "events.parquet", day)
    (folder / EVENTS).mkdir(parents=True, exist_ok=True)
    report("Writing days of events", len(stale), len(stale))
    summary.slices_written = len(stale)


def _withdraw(connection: Connection, folder: Path, days: list[date]) -> None:
    """Take days out of the slices as the files have them."""
    if not days:
        return
    file = _table_file(folder, SLICES)
    _replace(
        connection,
        f"select * from read_parquet({literal(file)})"
        f" where source_date not in (select unnest({literals(map(str, days))}::date[]))",
        file,
    )


def _landed_versions(connection: Connection, folder: Path) -> dict[date, str]:
    """The version of each slice as the files have it."""
    file = _table_file(folder, SLICES)
    if not file.exists():
        return {}
    query = f"select source_date, version from read_parquet({literal(file)})"
    return dict(connection.execute(query).fetchall())


def _write(connection: Connection, table: str, file: Path, day: date | None = None) -> None:
    """Write a raw table, or its rows of a day, to a file, atomically."""
    columns = connection.execute(f"describe raw.{table}").fetchall()
    selected = ", ".join(
        f"{name}::varchar as {name}" if kind == "JSON" else name  # a document is a text there
        for name, kind, *_ in columns
        if not (day and name == "source_date")  # the folder says it
    )
    where = f"where source_date = date '{day}'" if day else ""
    _replace(connection, f"select {selected} from raw.{table} {where}", file)


def _replace(connection: Connection, query: str, file: Path) -> None:
    """Write the rows of a query to a file, atomically."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f"_{file.name}")  # the name says to Spark: not a file of the table
    connection.execute(
        f"copy ({query}) to {literal(unfinished)} (format parquet, compression zstd)"
    )
    unfinished.replace(file)


def _tables(connection: Connection) -> set[str]:
    query = "select table_name from duckdb_tables() where schema_name = 'raw'"
    return {name for (name,) in connection.execute(query).fetchall()}


def _table_file(folder: Path, table: str) -> Path:
    return folder / table / f"{table}.parquet"


def _events_folder(folder: Path, day: date) -> Path:
    return folder / EVENTS / f"source_date={day}"


def _day(path: Path) -> date:
    name = path.name.removeprefix("source_date=")
    try:
        return date.fromisoformat(name)
    except ValueError as error:
        raise InputError(f"{path}: not written by `personas load`; use another one") from error
