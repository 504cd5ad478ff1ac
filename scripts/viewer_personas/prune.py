"""Pruning: data older than the retention policy leaves the database, and no result changes."""

from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import duckdb

from viewer_personas.build import variables_of
from viewer_personas.database.connection import connect
from viewer_personas.database.sql import Connection, transaction
from viewer_personas.errors import InputError

RAW, HISTORY = "raw_retention_days", "history_retention_days"
_RAW_TABLES = ("raw.events", "raw.rejected_events")


@dataclass(frozen=True)
class Pruned:
    """Rows that left a table, and the number of their days."""

    rows: int
    days: int


@dataclass
class PruneSummary:
    """What a pruning did, or, as a dry run, would do.

    `events_from` is the first day whose events are kept, `history_from` the first one whose
    roll-ups are; null if everything is kept. `tables` counts what left each table; those of
    `raw.slices` expired, and the next build drops their roll-ups.
    """

    is_dry_run: bool
    events_from: date | None = None
    history_from: date | None = None
    tables: dict[str, Pruned] = field(default_factory=dict)
    bytes_before: int = 0
    bytes_after: int = 0


def has_retention(variables: str | None) -> bool:
    """Whether a retention policy is set."""
    return any(_retention(variables).values())


def prune(database: Path, *, variables: str | None = None, dry_run: bool = False) -> PruneSummary:
    """Drop raw events and history older than the vars allow, in one transaction.

    `variables` is YAML as for `build`. Raises `InputError`, and changes nothing, if a result would
    change: a day is not built from the current events, or an evaluation date looks back further
    than the remaining history.
    """
    retention = _retention(variables)
    if not database.exists():
        raise InputError(f"{database}: no such database. Run `personas run` first.")
    summary = PruneSummary(is_dry_run=dry_run, bytes_before=database.stat().st_size)
    with connect(database, read_only=dry_run) as connection:
        try:
            _plan(connection, summary, retention)
        except (duckdb.CatalogException, duckdb.BinderException) as error:
            raise InputError(
                f"{database}: is not built yet, or was by an earlier version."
                " Run `personas build` first."
            ) from error
        if summary.events_from and not dry_run:
            _apply(connection, summary)
    summary.bytes_after = database.stat().st_size
    return summary


def _retention(variables: str | None) -> dict[str, int]:
    values = variables_of(variables)
    return {name: values[name] for name in (RAW, HISTORY)}


def _plan(connection: Connection, summary: PruneSummary, retention: dict[str, int]) -> None:
    """Find the first kept days, check that no result changes, and count what is dropped."""
    last = _last_day(connection)
    if last is None or not any(retention.values()):
        return
    history_from = last - timedelta(days=retention[HISTORY] - 1) if retention[HISTORY] else None
    raw_from = last - timedelta(days=retention[RAW] - 1) if retention[RAW] else None
    summary.history_from = history_from
    summary.events_from = max(day for day in (raw_from, history_from) if day)
    if history_from:
        _check_lookback(connection, history_from)
    _check_built(connection, summary.events_from, history_from or date.min)
    for table, day, condition in _outdated(summary):
        rows = connection.execute(
            f"select count(*), count(distinct {day}) from {table} where {condition}",
            [_limit(summary, table)],
        ).fetchone()
        if rows and rows[0]:
            summary.tables[table] = Pruned(*rows)


def _last_day(connection: Connection) -> date | None:
    """The last loaded day that is over. A day in the future comes from a wrong clock at the source,
    and must not make all others look old."""
    row = connection.execute(
        """
        select max(source_date)
        from raw.slices
        where version is not null
            and not coalesce(is_open, false)
            and source_date <= loaded_at::date
        """
    ).fetchone()
    return row[0] if row else None


def _check_lookback(connection: Connection, history_from: date) -> None:
    row = connection.execute("select min(lookback_start) from metrics.as_of_dates").fetchone()
    # a local date also draws on the UTC date before it
    if row and row[0] and row[0] - timedelta(days=1) < history_from:
        raise InputError(
            f"{HISTORY}: the history would begin on {history_from}, but an evaluation date looks"
            f" back to {row[0]}. Set it to at least lookback_days + 7 * as_of_history_weeks + 7, or"
            " build first if one of these was lowered; nothing was dropped"
        )


def _check_built(connection: Connection, events_from: date, history_from: date) -> None:
    """Events may be dropped only if user_content_hours is built from exactly these events."""
    row = connection.execute(
        """
        select count(*), min(slices.source_date), max(slices.source_date)
        from raw.slices as slices
        left join metrics.source_dates as wanted
            on slices.source_date = wanted.source_date and slices.version = wanted.slice_version
        left join metrics.partition_ledger as ledger
            on ledger.model = 'metrics.user_content_hours'
                and wanted.source_date = ledger.partition_date
                and wanted.input_version = ledger.input_version
        left join (
            select source_date, count(*) as row_count
            from metrics.user_content_hours
            where source_date >= $history_from and source_date < $events_from
            group by source_date
        ) as present
            on slices.source_date = present.source_date
        where slices.source_date >= $history_from and slices.source_date < $events_from
            and slices.events_dropped_at is null and slices.version is not null
            and (
                ledger.row_count is null
                or ledger.row_count <> coalesce(present.row_count, 0)
            )
        """,
        {"history_from": history_from, "events_from": events_from},
    ).fetchone()
    if row and row[0]:
        raise InputError(
            f"{row[0]} days from {row[1]} to {row[2]} are not built yet from the loaded"
            " events. Run `personas build` first; nothing was dropped"
        )


def _outdated(summary: PruneSummary) -> list[tuple[str, str, str]]:
    """The tables, their day columns, and the condition for dropped rows, with the limit as $1."""
    found = [(table, "source_date", "source_date < $1") for table in _RAW_TABLES]
    if summary.history_from:
        found.append(("raw.slices", "source_date", "source_date < $1 and version is not null"))
        found.append(("raw.publications", "as_of_date", "as_of_date < $1"))
    return found


def _limit(summary: PruneSummary, table: str) -> date | None:
    return summary.events_from if table in _RAW_TABLES else summary.history_from


def _apply(connection: Connection, summary: PruneSummary) -> None:
    with transaction(connection):
        connection.execute(
            """
            update raw.slices set events_dropped_at = now() at time zone 'UTC'
            where source_date < $1 and events_dropped_at is null
            """,
            [summary.events_from],
        )
        for table, _, condition in _outdated(summary):
            change = (
                "update raw.slices set version = null"
                if table == "raw.slices"
                else f"delete from {table}"
            )
            connection.execute(f"{change} where {condition}", [_limit(summary, table)])
    connection.execute("checkpoint")  # so that the freed space is reused
