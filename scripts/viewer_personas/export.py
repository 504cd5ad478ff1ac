"""Exporting: what an exposure names leaves DuckDB as Parquet files, one folder a date."""

import os
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
from pydantic import BaseModel, ConfigDict, ValidationError

from viewer_personas.build import Report
from viewer_personas.database import connect
from viewer_personas.errors import CheckFailed, InputError

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest


class FileExport(BaseModel):
    """The `config.meta.export` of an exposure: what is written, and where.

    `directory` is below the export directory, one folder `<partition_by>=<date>` for each date.
    """

    model_config = ConfigDict(extra="forbid")

    to: str
    directory: str
    partition_by: str
    order_by: list[str]


@dataclass(frozen=True)
class Exposure:
    """An exposure with its settings and the table that it publishes."""

    name: str
    table: str
    settings: FileExport


@dataclass
class ExportSummary:
    """What an export left: files written now, files that already said the same, rows in all."""

    directory: Path
    written: int = 0
    unchanged: int = 0
    rows: int = 0


def file_exposures(manifest: "Manifest") -> list[Exposure]:
    """The exposures that are exported to files. Raises `InputError` for settings that are wrong."""
    found = []
    for exposure in manifest.exposures.values():
        meta = exposure.config.meta.get("export")
        if not meta or meta.get("to") != "files":
            continue
        models = [manifest.nodes[node] for node in exposure.depends_on.nodes]
        if len(models) != 1:
            raise InputError(f"exposure {exposure.name}: depends_on must name one model")
        try:
            settings = FileExport.model_validate(meta)
        except ValidationError as error:
            detail = error.errors()[0]
            raise InputError(
                f"exposure {exposure.name}: config.meta.export."
                f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}"
            ) from error
        found.append(Exposure(exposure.name, f"{models[0].schema}.{models[0].name}", settings))
    return found


def export_files(
    manifest: "Manifest",
    database: Path,
    directory: Path,
    *,
    report: Report = lambda text, done, total: None,
) -> ExportSummary:
    """Write every date of every exposed table that the directory does not hold yet.

    A date whose file carries the version that the table has is left alone. A file is written under
    a temporary name, counted against the table, and renamed; so a reader sees the old file or the
    new one. Dates that the table no longer has stay: they were published. Raises `InputError`
    where the table does not exist, `CheckFailed` where it has become empty or the counts do not
    agree.
    """
    summary = ExportSummary(directory)
    with connect(database, read_only=True) as connection:
        # one thread, so that the same rows always give the same bytes
        connection.execute("set preserve_insertion_order = true; set threads = 1")
        for exposure in file_exposures(manifest):
            dates = _dates(connection, exposure)
            if not dates and any((directory / exposure.settings.directory).rglob("*.parquet")):
                raise CheckFailed(
                    f"{exposure.table} is empty, but dates of it were exported before; they stay."
                    " Look at what was loaded: is a part of the events missing?"
                )
            for number, (day, version, rows) in enumerate(dates):
                report(f"{exposure.name} {day}", number, len(dates))
                _export_date(connection, exposure, day, version, rows, summary)
    return summary


def _dates(
    connection: duckdb.DuckDBPyConnection, exposure: Exposure
) -> list[tuple[date, str, int]]:
    try:
        rows = connection.execute(
            f"select {exposure.settings.partition_by}, max(input_version), count(*)"
            f" from {exposure.table} group by 1 order by 1"
        ).fetchall()
    except duckdb.CatalogException as error:
        raise InputError(f"{exposure.table} does not exist. Run `personas build` first.") from error
    return rows


def _export_date(
    connection: duckdb.DuckDBPyConnection,
    exposure: Exposure,
    day: date,
    version: str,
    rows: int,
    summary: ExportSummary,
) -> None:
    settings = exposure.settings
    folder = summary.directory / settings.directory / f"{settings.partition_by}={day}"
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
        f" where {settings.partition_by} = {_literal(str(day))}"
        f" order by {', '.join(settings.order_by)}) to {_literal(str(temporary))}"
        " (format parquet, compression zstd,"
        f" kv_metadata {{input_version: {_literal(version)}}})"
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
        return None  # no Parquet file at all: write it again
    return str(rows[0][0]) if rows else None


def _count(connection: duckdb.DuckDBPyConnection, file: Path) -> int:
    counted = connection.execute("select count(*) from read_parquet($1)", [str(file)]).fetchall()
    return int(counted[0][0])


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
