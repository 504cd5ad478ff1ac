"""What all exports share: the exposures, the dates of their tables, and publications."""

import uuid
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import duckdb
from pydantic import BaseModel, ConfigDict, ValidationError

from viewer_personas.database.connection import connect
from viewer_personas.database.raw import create_raw_tables
from viewer_personas.database.sql import transaction
from viewer_personas.errors import CheckFailed, InputError

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest


PERSONAS_TABLE = "personas.user_personas"
"""The table whose last published state is kept in raw.published_personas."""

VERSIONS = ("input_version", "history_version", "activity_version", "rules_version")
"""The versions of personas.persona_dates that say what the rows of a date are made from."""

PublishedDate = tuple[date, str, int]
"""A date, the version of its rows, and their number."""


class ExportSettings(BaseModel):
    """The `config.meta.export` of an exposure: the target `to`, and the column that is the date."""

    model_config = ConfigDict(extra="forbid")

    to: str
    partition_by: str


Settings = TypeVar("Settings", bound=ExportSettings)


@dataclass(frozen=True)
class Exposure(Generic[Settings]):
    """An exposure with its settings and the table that it publishes."""

    name: str
    table: str
    settings: Settings


@dataclass
class ExportSummary:
    """What an export left at `place`: dates written, unchanged and removed, total rows.

    `seconds` has the time by step; empty if it is negligible. `warnings` say what is unusual about
    the latest date.
    """

    to: str
    place: str
    written: int = 0
    unchanged: int = 0
    removed: int = 0
    rows: int = 0
    warnings: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)


def exposures(manifest: "Manifest", to: str, kind: type[Settings]) -> list[Exposure[Settings]]:
    """The exposures that are exported to a target, with settings of this kind.

    Raises `InputError` for settings that are wrong.
    """
    found = []
    for exposure in manifest.exposures.values():
        meta = exposure.config.meta.get("export")
        if not meta or meta.get("to") != to:
            continue
        models = [manifest.nodes[node] for node in exposure.depends_on.nodes]
        if len(models) != 1:
            raise InputError(f"exposure {exposure.name}: depends_on must name one model")
        try:
            settings = kind.model_validate(meta)
        except ValidationError as error:
            detail = error.errors()[0]
            raise InputError(
                f"exposure {exposure.name}: config.meta.export."
                f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}"
            ) from error
        found.append(Exposure(exposure.name, f"{models[0].schema}.{models[0].name}", settings))
    return found


def dates_of(
    connection: duckdb.DuckDBPyConnection, exposure: Exposure[Settings]
) -> list[PublishedDate]:
    """The dates of the exposed table, in order.

    Raises `InputError` if the table does not exist or has no such column.
    """
    try:
        rows = connection.execute(
            f"select {exposure.settings.partition_by}, max(input_version), count(*)"
            f" from {exposure.table} group by 1 order by 1"
        ).fetchall()
    except duckdb.CatalogException as error:
        raise InputError(f"{exposure.table} does not exist. Run `personas build` first.") from error
    except duckdb.BinderException as error:
        raise InputError(
            f"exposure {exposure.name}: {exposure.table} must have the columns"
            f" {exposure.settings.partition_by} and input_version"
        ) from error
    return rows


def emptied_dates(connection: duckdb.DuckDBPyConnection, exposure: Exposure[Settings]) -> set[date]:
    """The dates that the model lists, and has no rows for."""
    rows = connection.execute(
        "select partition_date from metrics.partition_ledger where model = $1 and row_count = 0",
        [exposure.table],
    ).fetchall()
    return {day for (day,) in rows}


def last_published(
    connection: duckdb.DuckDBPyConnection, exposure: Exposure[Settings]
) -> datetime | None:
    """When an exposure was last published (UTC); None if that is not recorded."""
    try:
        row = connection.execute(
            "select max(published_at) from raw.publications where exposure = $1", [exposure.name]
        ).fetchone()
    except duckdb.CatalogException:
        return None  # a database from before the table existed
    return row[0].replace(tzinfo=UTC) if row and row[0] else None


def empty_table(exposure: Exposure[Settings]) -> CheckFailed:
    """The error for a table without dates if dates of it were published before."""
    return CheckFailed(
        f"{exposure.table} is empty, but dates of it were exported before; they stay."
        " Check the loaded data: are events missing?"
    )


def check_versions(connection: duckdb.DuckDBPyConnection) -> None:
    """The versions that are recorded must be those of the rows: one build made both."""
    try:
        rows = connection.execute(
            """
            select coalesce(built.partition_date, versions.as_of_date)
            from (
                select * from metrics.partition_ledger where model = 'personas.persona_choices'
            ) as built
            full join personas.persona_dates as versions
                on built.partition_date = versions.as_of_date
                    and built.input_version = versions.history_version
            where built.partition_date is null or versions.as_of_date is null
            order by 1
            """
        ).fetchall()
    except duckdb.CatalogException as error:
        raise InputError(
            "personas.persona_dates does not exist. Run `personas build` first."
        ) from error
    if rows:
        raise CheckFailed(
            f"The last build did not finish: {rows[0][0]} is not up to date. Nothing was"
            " exported. Run `personas build` and check its output."
        )


def record(database: Path, published: list[tuple[Exposure[Settings], list[PublishedDate]]]) -> None:
    """Record in the database what is published now, unless it is recorded already.

    In raw.publications and, for the personas, raw.published_personas; all in one transaction. The
    next export records one that was killed before this. Only exposures by `as_of_date` have
    versions that can be compared.
    """
    by_date = [item for item in published if item[0].settings.partition_by == "as_of_date"]
    with connect(database, read_only=True) as connection:
        is_recorded = all(_is_recorded(connection, *item) for item in by_date)
    if not is_recorded:
        _record(database, by_date)


def _is_recorded(
    connection: duckdb.DuckDBPyConnection, exposure: Exposure[Settings], dates: list[PublishedDate]
) -> bool:
    """Whether the database already records exactly this publication."""
    try:
        if _unrecorded(connection, exposure, dates):
            return False
        kept = _kept_dates(connection)
    except duckdb.CatalogException:
        return False  # a database from before these tables existed
    return exposure.table != PERSONAS_TABLE or kept == {day for day, _, _ in dates}


def _kept_dates(connection: duckdb.DuckDBPyConnection) -> set[date]:
    rows = connection.execute("select distinct as_of_date from raw.published_personas").fetchall()
    return {day for (day,) in rows}


def _unrecorded(
    connection: duckdb.DuckDBPyConnection,
    exposure: Exposure[Settings],
    dates: list[PublishedDate],
) -> list[PublishedDate]:
    """The dates last published in another version, never published, or dropped since.

    For the personas, also those that another exposure has published differently since: there is one
    last state, and it becomes that of this exposure.
    """
    is_personas = exposure.table == PERSONAS_TABLE
    recorded = _last_versions(connection, "exposure", exposure.name)
    in_state = _last_versions(connection, "model", exposure.table) if is_personas else recorded
    kept = _kept_dates(connection) if is_personas else set(recorded)
    return [
        (day, version, rows)
        for day, version, rows in dates
        if day not in kept or recorded.get(day) != version or in_state.get(day) != version
    ]


def _last_versions(
    connection: duckdb.DuckDBPyConnection, column: str, name: str
) -> dict[date, str]:
    """The version in which each date was last published, by one exposure or of one model."""
    rows = connection.execute(
        "select as_of_date, max_by(table_version, published_at) from raw.publications"
        f" where {column} = $1 group by as_of_date",
        [name],
    ).fetchall()
    return dict(rows)


def _record(
    database: Path, published: list[tuple[Exposure[Settings], list[PublishedDate]]]
) -> None:
    """Append new publications to the ledger and replace the state of their dates atomically."""
    run_id = str(uuid.uuid4())
    with connect(database) as connection:
        create_raw_tables(connection)
        with transaction(connection):
            for exposure, exported in published:
                # dates rebuilt by another run since the rows were read are not published
                still_there = dates_of(connection, exposure)
                dates = [item for item in exported if item in still_there]
                unrecorded = _unrecorded(connection, exposure, dates)
                if exposure.table == PERSONAS_TABLE:
                    days = [day for day, _, _ in unrecorded]
                    _replace_state(connection, days, [day for day, _, _ in still_there])
                for item in unrecorded:
                    _add_publication(connection, exposure, item, run_id)


def versions_of(
    connection: duckdb.DuckDBPyConnection, exposure: Exposure[Settings]
) -> dict[date, dict[str, str]]:
    """The versions of what the rows of each date are made from, by name.

    Only exposures by `as_of_date` have them.
    """
    if exposure.settings.partition_by != "as_of_date":
        return {}
    rows = connection.execute(
        f"select as_of_date, {', '.join(VERSIONS)} from personas.persona_dates"
    ).fetchall()
    return {row[0]: dict(zip(VERSIONS, row[1:], strict=True)) for row in rows}


def _add_publication(
    connection: duckdb.DuckDBPyConnection,
    exposure: Exposure[Settings],
    item: PublishedDate,
    run_id: str,
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
        left join personas.persona_dates as versions using (as_of_date)
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
    """The current personas of the days; dates that are gone are dropped."""
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
