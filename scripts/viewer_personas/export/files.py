"""Exporting to files: one Parquet file for each date of an exposed table, and their manifest."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from viewer_personas.config import ExportGuard, FilesExport
from viewer_personas.database.connection import connect
from viewer_personas.database.raw import Report
from viewer_personas.database.sql import literal
from viewer_personas.errors import CheckFailed
from viewer_personas.export.guard import Plan, check_losses, check_moves
from viewer_personas.export.manifest import (
    WRITING,
    FilesManifest,
    ListedDate,
    ListedFile,
    ListedTable,
    settle,
)
from viewer_personas.export.publications import (
    ExportSettings,
    ExportSummary,
    Exposure,
    PublishedDate,
    check_versions,
    dates_of,
    emptied_dates,
    empty_table,
    exposures,
    record,
    versions_of,
)

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest


class FileExport(ExportSettings):
    """What is written, and where.

    `directory` is below the export directory, one folder `<partition_by>=<date>` for each date.
    """

    directory: str
    order_by: list[str]


@dataclass(frozen=True)
class _Table:
    """An exposed table: what the model has, and where its files are."""

    exposure: Exposure[FileExport]
    dates: list[PublishedDate]
    emptied: set[date]
    """Dates of the model without rows."""
    directory: Path

    @property
    def name(self) -> str:
        """What the manifest calls the table: its folder."""
        return self.exposure.settings.directory

    def file(self, day: date) -> Path:
        """The file of a date, there or not."""
        folder = self.directory / self.name / f"{self.exposure.settings.partition_by}={day}"
        return folder / f"{self.exposure.table.split('.')[-1]}.parquet"

    def files(self, ending: str = "") -> Iterator[tuple[date, Path]]:
        """The files of dates that are there, listed in the model or not."""
        pattern = f"{self.exposure.settings.partition_by}=*"
        for folder in sorted((self.directory / self.name).glob(pattern)):
            with suppress(ValueError):  # another folder than one of a date
                day = date.fromisoformat(folder.name.partition("=")[2])
                file = self.file(day).with_suffix(ending or ".parquet")
                if file.exists():
                    yield day, file


def export_files(
    manifest: "Manifest",
    database: Path,
    directory: Path,
    *,
    settings: FilesExport = FilesExport(),
    guard: ExportGuard = ExportGuard(),
    accept: bool = False,
    now: datetime | None = None,
    report: Report = lambda text, done, total: None,
) -> ExportSummary:
    """Make the files of each exposed table those of the model, and list them in a manifest.

    A date with a file of the current version is skipped. A file is written under a temporary name,
    its rows are counted against the table, and it is renamed; a reader sees the old file or the new
    one. Then the manifest is replaced, then `latest`, then the files of dates that the table no
    longer has are removed, and the publication is recorded in the database. Wherever an export is
    killed, every file that the manifest names is there and whole, and the next export does the
    rest.

    Raises `InputError` if the table does not exist, `CheckFailed` if it has become empty, a date
    would lose too many rows, the counts do not agree, or the last build did not finish, and
    `Implausible` if the latest date or its audience moved too far and that was not accepted.
    """
    summary = ExportSummary("files", str(directory))
    now = now or datetime.now(UTC)
    before = FilesManifest.read(directory)
    listed = {}
    with connect(database, read_only=True) as connection:
        # one thread, so that the same rows always give the same bytes
        connection.execute("set preserve_insertion_order = true; set threads = 1")
        tables = _tables(connection, manifest, directory)
        plans = [_plan(connection, table, before) for table in tables]
        check_losses("files", plans, settings.smallest_share)
        summary.warnings = check_moves(connection, plans, guard, now, accept=accept)
        for table in tables:
            listed[table.name] = _export(connection, table, before, summary, report)
    FilesManifest.of(listed, now).write(directory)
    for table in tables:
        summary.removed += _remove_others(table)
    record(database, [(table.exposure, table.dates) for table in tables])
    return summary


def _tables(
    connection: duckdb.DuckDBPyConnection, manifest: "Manifest", directory: Path
) -> list[_Table]:
    """The exposed tables as the model has them."""
    tables = []
    for exposure in exposures(manifest, "files", FileExport):
        dates = dates_of(connection, exposure)
        table = _Table(exposure, dates, emptied_dates(connection, exposure), directory)
        if not dates and any(table.files()):
            raise empty_table(exposure)
        check_versions(connection)
        tables.append(table)
    return tables


def _plan(
    connection: duckdb.DuckDBPyConnection, table: _Table, before: FilesManifest | None
) -> Plan:
    """The rows that are there, by the manifest or else by the files, and those that are to come."""
    current = {}
    for day, file in table.files():
        listed = before.date_of(table.name, day) if before else None
        if counted := listed.rows if listed else _count(connection, file):
            current[day] = counted
    changed_at = before.changed_at if before else None
    return Plan(table.name, current, table.dates, table.emptied, changed_at)


def _export(
    connection: duckdb.DuckDBPyConnection,
    table: _Table,
    before: FilesManifest | None,
    summary: ExportSummary,
    report: Report,
) -> ListedTable:
    """Write the dates of a table that are missing or different; returns what is there now."""
    versions = versions_of(connection, table.exposure)
    dates = []
    for number, (day, version, rows) in enumerate(table.dates):
        report(f"{table.exposure.name} {day}", number, len(table.dates))
        target = table.file(day)
        known = before.date_of(table.name, day) if before else None
        file = ListedFile.of(table.directory, target) if target.exists() else None
        # a file that is not what the manifest says of this version is damaged
        is_damaged = known and known.table_version == version and known.files != [file]
        if file and not is_damaged and _version_of(connection, target) == version:
            summary.unchanged += 1
        else:
            _write(connection, table, day, version, rows)
            file = ListedFile.of(table.directory, target)
            summary.written += 1
        summary.rows += rows
        dates.append(
            ListedDate(
                date=day,
                rows=rows,
                table_version=version,
                **versions.get(day, {}),
                files=[file],
            )
        )
    exposure = table.exposure
    return ListedTable(
        exposure=exposure.name,
        table=exposure.table,
        partition_by=exposure.settings.partition_by,
        latest=dates[-1].date if dates else None,
        dates=dates,
    )


def _write(
    connection: duckdb.DuckDBPyConnection, table: _Table, day: date, version: str, rows: int
) -> None:
    """Replace the file of a date."""
    settings, model = table.exposure.settings, table.exposure.table
    target = table.file(day)
    target.parent.mkdir(parents=True, exist_ok=True)
    # not *.parquet, so that no reader of the folder takes the half-written file
    temporary = target.with_suffix(WRITING)
    connection.execute(
        f"copy (select * exclude ({settings.partition_by}) from {model}"
        f" where {settings.partition_by} = {literal(str(day))}"
        f" order by {', '.join(settings.order_by)}) to {literal(temporary)}"
        " (format parquet, compression zstd,"
        f" kv_metadata {{input_version: {literal(version)}}})"
    )
    written = _count(connection, temporary)
    if written != rows:
        temporary.unlink()
        raise CheckFailed(
            f"{target}: {written} rows were written, {model} has {rows} for {day};"
            " the file that was there stays."
        )
    settle(temporary, target)


def _remove_others(table: _Table) -> int:
    """Remove the files of dates that the model does not have, and what killed exports left."""
    listed = {day for day, _, _ in table.dates}
    for _, leftover in table.files(WRITING):
        leftover.unlink()
    others = [file for day, file in table.files() if day not in listed]
    for file in others:
        file.unlink()
    for folder in (table.directory / table.name).glob(f"{table.exposure.settings.partition_by}=*"):
        with suppress(OSError):  # it holds something
            folder.rmdir()
    return len(others)


def _version_of(connection: duckdb.DuckDBPyConnection, file: Path) -> str | None:
    try:
        rows = connection.execute(
            "select decode(value) from parquet_kv_metadata($1) where decode(key) = 'input_version'",
            [str(file)],
        ).fetchall()
    except duckdb.Error:
        return None  # not a Parquet file: write it again
    return str(rows[0][0]) if rows else None


def _count(connection: duckdb.DuckDBPyConnection, file: Path) -> int | None:
    try:
        counted = connection.execute("select count(*) from read_parquet($1)", [str(file)])
        return int(counted.fetchall()[0][0])
    except duckdb.Error:
        return None  # not a Parquet file
