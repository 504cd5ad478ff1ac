"""Exporting: what an exposure names leaves DuckDB as Parquet files, one folder a date."""

import os
import uuid
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
from pydantic import BaseModel, ConfigDict, ValidationError

from viewer_personas.build import Report
from viewer_personas.database import connect
from viewer_personas.errors import CheckFailed, InputError
from viewer_personas.raw import create_raw_tables, transaction

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest


PERSONAS_TABLE = "personas.user_personas"
"""The table whose last published state is kept in raw.published_personas."""

PublishedDate = tuple[date, str, int]
"""A date, the version of its rows, and their number."""


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

    What was published is recorded in the database afterwards (raw.publications, and the last state
    in raw.published_personas), all of it in one transaction; an export that was killed before it
    is recorded by the next.

    A date whose file carries the version that the table has is left alone. A file is written under
    a temporary name, counted against the table, and renamed; so a reader sees the old file or the
    new one. Dates that the table no longer has stay: they were published. Raises `InputError`
    where the table does not exist, `CheckFailed` where it has become empty, the counts do not
    agree, or the last build did not finish.
    """
    summary = ExportSummary(directory)
    published: list[tuple[Exposure, list[PublishedDate]]] = []
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
            _check_versions(connection)
            for number, (day, version, rows) in enumerate(dates):
                report(f"{exposure.name} {day}", number, len(dates))
                _export_date(connection, exposure, day, version, rows, summary)
            if exposure.settings.partition_by == "as_of_date":
                published.append((exposure, dates))
        is_recorded = all(_is_recorded(connection, *item) for item in published)
    if not is_recorded:
        _record(database, published)
    return summary


def _check_versions(connection: duckdb.DuckDBPyConnection) -> None:
    """The versions that are recorded must be those of the rows: one build made both."""
    try:
        rows = connection.execute(
            """
            select coalesce(built.partition_date, versions.as_of_date)
            from (
                select * from metrics.partition_ledger where model = 'personas.persona_choices'
            ) as built
            full join personas.persona_versions as versions
                on built.partition_date = versions.as_of_date
                    and built.input_version = versions.history_version
            where built.partition_date is null or versions.as_of_date is null
            order by 1
            """
        ).fetchall()
    except duckdb.CatalogException as error:
        raise InputError(
            "personas.persona_versions does not exist. Run `personas build` first."
        ) from error
    if rows:
        raise CheckFailed(
            f"The last build did not finish: {rows[0][0]} is not what it is to be. Nothing was"
            " exported. Run `personas build` and look at what it says."
        )


def _is_recorded(
    connection: duckdb.DuckDBPyConnection, exposure: Exposure, dates: list[PublishedDate]
) -> bool:
    """Whether the database says already that exactly this is published."""
    try:
        if _unrecorded(connection, exposure, dates):
            return False
        kept = _kept_dates(connection)
    except duckdb.CatalogException:
        return False  # a database from before there were these tables
    return exposure.table != PERSONAS_TABLE or kept == {day for day, _, _ in dates}


def _kept_dates(connection: duckdb.DuckDBPyConnection) -> set[date]:
    rows = connection.execute("select distinct as_of_date from raw.published_personas").fetchall()
    return {day for (day,) in rows}


def _unrecorded(
    connection: duckdb.DuckDBPyConnection, exposure: Exposure, dates: list[PublishedDate]
) -> list[PublishedDate]:
    """The dates that were last published otherwise, not yet, or were let go since."""
    recorded = dict(
        connection.execute(
            "select as_of_date, max_by(table_version, published_at) from raw.publications"
            " where exposure = $1 group by as_of_date",
            [exposure.name],
        ).fetchall()
    )
    if exposure.table == PERSONAS_TABLE:
        kept = _kept_dates(connection)
        recorded = {day: version for day, version in recorded.items() if day in kept}
    return [item for item in dates if recorded.get(item[0]) != item[1]]


def _record(database: Path, published: list[tuple[Exposure, list[PublishedDate]]]) -> None:
    """Add what is new to the ledger and replace the state of its dates, all or nothing."""
    run_id = str(uuid.uuid4())
    with connect(database) as connection:
        create_raw_tables(connection)
        with transaction(connection):
            for exposure, exported in published:
                # what another run has rebuilt since the files were written is not published
                still_there = _dates(connection, exposure)
                dates = [item for item in exported if item in still_there]
                unrecorded = _unrecorded(connection, exposure, dates)
                if exposure.table == PERSONAS_TABLE:
                    days = [day for day, _, _ in unrecorded]
                    _replace_state(connection, days, [day for day, _, _ in still_there])
                for item in unrecorded:
                    _add_publication(connection, exposure, item, run_id)


def _add_publication(
    connection: duckdb.DuckDBPyConnection, exposure: Exposure, item: PublishedDate, run_id: str
) -> None:
    day, version, rows = item
    connection.execute(
        """
        insert into raw.publications
        select
            $exposure, $model, $day, $version, versions.input_version, versions.history_version,
            versions.activity_version, versions.rules_version, $rows, now() at time zone 'UTC',
            $run_id
        from (select $day as as_of_date) as published
        left join personas.persona_versions as versions using (as_of_date)
        """,
        {
            "exposure": exposure.name,
            "model": exposure.table,
            "day": day,
            "version": version,
            "rows": rows,
            "run_id": run_id,
        },
    )


def _replace_state(
    connection: duckdb.DuckDBPyConnection, days: list[date], listed: list[date]
) -> None:
    """The personas of the days as the table has them now; dates that are gone are let go."""
    connection.execute(
        "delete from raw.published_personas where as_of_date in (select unnest($1::date[]))"
        " or as_of_date not in (select unnest($2::date[]))",
        [days, listed],
    )
    connection.execute(
        "insert into raw.published_personas select as_of_date, user_id, persona"
        f" from {PERSONAS_TABLE} where as_of_date in (select unnest($1::date[]))",
        [days],
    )


def _dates(connection: duckdb.DuckDBPyConnection, exposure: Exposure) -> list[PublishedDate]:
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
