"""Exporting to files: one Parquet file for each date of an exposed table."""

import os
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from viewer_personas.database.connection import connect
from viewer_personas.database.raw import Report
from viewer_personas.database.sql import literal
from viewer_personas.errors import CheckFailed
from viewer_personas.export.publications import (
    ExportSettings,
    ExportSummary,
    Exposure,
    PublishedDate,
    check_versions,
    dates_of,
    empty_table,
    exposures,
    record,
)

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest


class FileExport(ExportSettings):
    """What is written, and where.

    `directory` is below the export directory, one folder `<partition_by>=<date>` for each date.
    """

    directory: str
    order_by: list[str]


def export_files(
    manifest: "Manifest",
    database: Path,
    directory: Path,
    *,
    report: Report = lambda text, done, total: None,
) -> ExportSummary:
    """Write each date of each exposed table that is missing in the directory.

    Afterwards the publication is recorded in the database.

    A date with a file of the current version is skipped. A file is written under a temporary name,
    its rows are counted against the table, and it is renamed; a reader sees the old file or the new
    one. Dates that the table no longer has stay: they were published. Raises `InputError` if the
    table does not exist, `CheckFailed` if it has become empty, the counts do not agree, or the last
    build did not finish.
    """
    summary = ExportSummary("files", str(directory))
    published: list[tuple[Exposure[FileExport], list[PublishedDate]]] = []
    with connect(database, read_only=True) as connection:
        # one thread, so that the same rows always give the same bytes
        connection.execute("set preserve_insertion_order = true; set threads = 1")
        for exposure in exposures(manifest, "files", FileExport):
            dates = dates_of(connection, exposure)
            if not dates and any((directory / exposure.settings.directory).rglob("*.parquet")):
                raise empty_table(exposure)
            check_versions(connection)
            for number, (day, version, rows) in enumerate(dates):
                report(f"{exposure.name} {day}", number, len(dates))
                _export_date(connection, directory, exposure, day, version, rows, summary)
            published.append((exposure, dates))
    record(database, published)
    return summary


def _export_date(
    connection: duckdb.DuckDBPyConnection,
    directory: Path,
    exposure: Exposure[FileExport],
    day: date,
    version: str,
    rows: int,
    summary: ExportSummary,
) -> None:
    settings = exposure.settings
    folder = directory / settings.directory / f"{settings.partition_by}={day}"
    target = folder / f"{exposure.table.split('.')[-1]}.parquet"
    summary.rows += rows
    if target.exists() and _version_of(connection, target) == version:
        summary.unchanged += 1
        return
    folder.mkdir(parents=True, exist_ok=True)
    # not *.parquet, so that no reader of the folder takes the half-written file
    temporary = target.with_suffix(".writing")
    connection.execute(
        f"copy (select * exclude ({settings.partition_by}) from {exposure.table}"
        f" where {settings.partition_by} = {literal(str(day))}"
        f" order by {', '.join(settings.order_by)}) to {literal(temporary)}"
        " (format parquet, compression zstd,"
        f" kv_metadata {{input_version: {literal(version)}}})"
    )
    written = _count(connection, temporary)
    if written != rows:
        temporary.unlink()
        raise CheckFailed(
            f"{target}: {written} rows were written, {exposure.table} has {rows} for {day};"
            " the file that was there stays."
        )
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(target)
    summary.written += 1


def _version_of(connection: duckdb.DuckDBPyConnection, file: Path) -> str | None:
    try:
        rows = connection.execute(
            "select decode(value) from parquet_kv_metadata($1) where decode(key) = 'input_version'",
            [str(file)],
        ).fetchall()
    except duckdb.Error:
        return None  # not a Parquet file: write it again
    return str(rows[0][0]) if rows else None


def _count(connection: duckdb.DuckDBPyConnection, file: Path) -> int:
    counted = connection.execute("select count(*) from read_parquet($1)", [str(file)]).fetchall()
    return int(counted[0][0])
