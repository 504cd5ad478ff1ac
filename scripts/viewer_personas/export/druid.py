"""Exporting to Druid: one date is one statement that replaces exactly that date."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import quote

from viewer_personas.config import DruidExport, ExportGuard
from viewer_personas.database.connection import connect
from viewer_personas.database.raw import Report
from viewer_personas.database.sql import literal, quoted
from viewer_personas.druid import Druid, Segment, iso_time
from viewer_personas.errors import CheckFailed, InputError, Unreachable
from viewer_personas.export.druid_tables import (
    VERSION,
    Column,
    Counts,
    DruidTable,
    as_counts,
    columns_of,
    counts_sql,
    model_counts,
    replace_sql,
    rows_sql,
    versions_sql,
)
from viewer_personas.export.druid_tasks import Tasks, waits
from viewer_personas.export.guard import Plan, check_losses, check_moves
from viewer_personas.export.handover import Handover, handover
from viewer_personas.export.publications import (
    ExportSummary,
    Exposure,
    PublishedDate,
    check_versions,
    dates_of,
    emptied_dates,
    empty_table,
    exposures,
    last_published,
    record,
)

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest


Held = dict[date, dict[str, int]]
"""Rows by version of each date in a datasource."""


@dataclass
class _Table:
    """An exposed table: what the model has, and what of it is missing in Druid."""

    exposure: Exposure[DruidTable]
    columns: list[Column]
    dates: list[PublishedDate]
    counts: Counts
    emptied: set[date]
    """Dates of the model without rows."""
    held: Held = field(default_factory=dict)
    pending: list[PublishedDate] = field(default_factory=list)
    withdrawn: list[date] = field(default_factory=list)
    """Dates in Druid that the model does not list."""
    newest: dict[date, str] = field(default_factory=dict)
    """The newest version of a segment of a pending date, as seen before it is replaced."""

    @property
    def datasource(self) -> str:
        return self.exposure.settings.datasource

    @property
    def span(self) -> tuple[date, date]:
        """The first and the last pending date."""
        return self.pending[0][0], self.pending[-1][0]


def export_druid(
    manifest: "Manifest",
    database: Path,
    settings: DruidExport,
    file: Path,
    *,
    guard: ExportGuard = ExportGuard(),
    accept: bool = False,
    now: datetime | None = None,
    report: Report = lambda text, done, total: None,
) -> ExportSummary:
    """Publish each date of each exposed table that differs in Druid from the model.

    `file` is the sources file that the settings are from. Druid is asked what it holds: a date is
    skipped if all of its rows have the model's version and their number is right. Nothing is
    submitted before every date has passed the checks. Returns when queries see exactly the rows of
    the model. Then dates that the table no longer has are dropped, and the publication is recorded
    in the database, which is open only while rows are read and while that is written.

    Raises `InputError` if the settings or an exposure are wrong or Druid refuses the user,
    `CheckFailed` if a date would lose too many rows, the last build did not finish, or Druid ends
    up with different rows, `Unreachable` if Druid does not answer, a task failed or segments are
    not loaded, and `Implausible` if the latest date or its audience moved too far and that was not
    accepted. A date whose task failed is as it was.
    """
    druid = Druid(settings, f"{file}: export.druid", file.parent)
    summary = ExportSummary("druid", settings.url)
    with _timed(summary, "comparing"):
        tables = _tables(manifest, database)
        for table in tables:
            _find_pending(druid, table, summary)
        summary.warnings = _check(
            database, tables, druid, settings, guard, now or datetime.now(UTC), accept
        )
    pending = [table for table in tables if table.pending]
    if pending:
        with _folder(database) as folder, handover(druid, settings, folder) as (way, tasks):
            for table in pending:
                _publish(database, druid, table, settings, way, tasks, summary, report)
        with _timed(summary, "waiting to be visible"):
            for table in pending:
                report(f"waiting for {table.datasource}", 0, 0)
                _wait_until_queried(druid, table)
    for table in tables:
        with _timed(summary, "dropping dates"):
            summary.removed += _drop_withdrawn(druid, table)
    record(database, [(table.exposure, table.dates) for table in tables])
    return summary


@contextmanager
def _timed(summary: ExportSummary, step: str) -> Iterator[None]:
    started = time.monotonic()
    try:
        yield
    finally:
        seconds = summary.seconds.get(step, 0) + time.monotonic() - started
        summary.seconds[step] = round(seconds, 3)


@contextmanager
def _folder(database: Path) -> Iterator[Path]:
    """A folder for rows in transit, beside the database; the system's own may be in memory."""
    parent = Path(f"{database}.tmp")
    parent.mkdir(parents=True, exist_ok=True)
    try:
        with TemporaryDirectory(dir=parent, prefix="export-") as folder:
            yield Path(folder)
    finally:
        with suppress(OSError):  # somebody else may be using it
            parent.rmdir()


# --- what is to be published ----------------------------------------------------------------------


def _tables(manifest: "Manifest", database: Path) -> list[_Table]:
    """The exposed tables as the model has them."""
    tables = []
    with connect(database, read_only=True) as connection:
        for exposure in exposures(manifest, "druid", DruidTable):
            dates = dates_of(connection, exposure)
            check_versions(connection)
            columns = columns_of(connection, exposure)
            counts = model_counts(connection, exposure, columns)
            emptied = emptied_dates(connection, exposure)
            tables.append(_Table(exposure, columns, dates, counts, emptied))
    return tables


def _find_pending(druid: Druid, table: _Table, summary: ExportSummary) -> None:
    """Compare the dates of the model with what queries see, and collect those that differ."""
    held = table.held = _held(druid, table)
    if held and not table.dates:
        raise empty_table(table.exposure)
    listed = table.emptied | {day for day, _, _ in table.dates}
    table.withdrawn = sorted(held.keys() - listed)
    for day, version, rows in table.dates:
        summary.rows += rows
        if held.get(day) == {version: rows}:
            summary.unchanged += 1
        else:
            table.pending.append((day, version, rows))


def _held(druid: Druid, table: _Table) -> Held:
    """Rows by version of each date in the datasource; empty if the datasource does not exist."""
    columns = druid.columns(table.datasource)
    if not columns:
        return _nothing(druid, table)
    if VERSION not in columns:
        raise InputError(
            f"exposure {table.exposure.name}: the datasource {table.datasource} has no column"
            f" {VERSION}, so it holds something else and is not replaced. Name another one as"
            " config.meta.export.datasource, or drop it in Druid"
        )
    held: Held = {}
    for row in druid.rows(versions_sql(table.datasource)):
        day = date.fromisoformat(row["day"][:10])
        held.setdefault(day, {})[row[VERSION]] = row["row_count"]
    return held


def _nothing(druid: Druid, table: _Table) -> Held:
    """Empty if the datasource does not exist; Druid also hides it from users who may not read it.

    A user who may write but not read must not look like the first to publish.
    """
    try:
        druid.rows(f"SELECT COUNT(*) FROM {quoted(table.datasource)}")
    except InputError as error:
        if "not found" not in str(error):
            raise
    return {}


def _check(
    database: Path,
    tables: list[_Table],
    druid: Druid,
    settings: DruidExport,
    guard: ExportGuard,
    now: datetime,
    accept: bool,
) -> list[str]:
    """The checks before anything is published, of all tables; returns the warnings.

    A query counts the current rows, but leaves out segments that are not loaded, so these are
    waited for.
    """
    for table in tables:
        if table.pending or table.emptied:
            _wait_until_loaded(druid, table)
            table.held = _held(druid, table)
    with connect(database, read_only=True) as connection:
        plans = [
            Plan(
                table.datasource,
                {day: sum(rows.values()) for day, rows in table.held.items()},
                table.dates,
                table.emptied,
                last_published(connection, table.exposure),
            )
            for table in tables
        ]
        check_losses("druid", plans, settings.smallest_share)
        return check_moves(connection, plans, guard, now, accept=accept)


# --- publishing -----------------------------------------------------------------------------------


def _publish(
    database: Path,
    druid: Druid,
    table: _Table,
    settings: DruidExport,
    way: Handover,
    tasks: Tasks,
    summary: ExportSummary,
    report: Report,
) -> None:
    """Replace the pending dates of a table, one after the other."""
    name, target = table.exposure.name, table.exposure.settings
    report(f"{name}: writing rows", 0, len(table.pending))
    with _timed(summary, "writing rows"):
        files = _write(database, table, way)
    segments = druid.segments(table.datasource, *_times(*table.span))
    for day, _, _ in table.pending:
        found = [segment.version for segment in segments if _overlaps(segment, day)]
        table.newest[day] = max(found, default="")
    with _timed(summary, "tasks"):
        rows = {day: number for day, _, number in table.pending}
        with way.offered(target, table.columns, files, rows) as relation_of:
            for number, (day, _, _) in enumerate(table.pending):
                report(f"{name} {day}", number, len(table.pending))
                statement = replace_sql(target, table.columns, day, relation_of(day))
                tasks.run_sql(statement, settings.max_tasks, way.stuck)
                summary.written += 1
    for paths in files.values():
        for path in paths:
            path.unlink(missing_ok=True)


def _write(database: Path, table: _Table, way: Handover) -> dict[date, list[Path]]:
    """Write the rows of the pending dates as JSON lines, a large date in several files.

    Raises `CheckFailed` if the model has changed since the comparison.
    """
    written: dict[date, list[Path]] = {}
    endings = "json, compression gzip" if way.is_compressed else "json"
    with connect(database, read_only=True) as connection:
        there = dates_of(connection, table.exposure)
        for day, version, rows in table.pending:
            if (day, version, rows) not in there:
                raise CheckFailed(
                    f"{table.exposure.table} was rebuilt while it was exported; run `personas"
                    " export` again when the build is done."
                )
            folder = way.folder / f"{table.exposure.name}-{day}"
            connection.execute(
                f"copy ({rows_sql(table.exposure, table.columns, day)}) to {literal(folder)}"
                f" (format {endings}, per_thread_output true)"
            )
            written[day] = sorted(folder.iterdir())
    return written


def _drop_withdrawn(druid: Druid, table: _Table) -> int:
    """Drop the dates that the model does not list, and wait until queries do not see them.

    Their segments become unused: no query reads them, and Druid's own clean-up deletes them.
    """
    if not table.withdrawn:
        return 0
    for day in table.withdrawn:
        druid.post(
            f"/druid/coordinator/v1/datasources/{quote(table.datasource, safe='')}/markUnused",
            {"interval": f"{day}/{day + timedelta(days=1)}"},
        )
    started = time.monotonic()
    for _ in waits():
        still_there = [day for day in table.withdrawn if day in _held(druid, table)]
        if not still_there:
            break
        if time.monotonic() - started > druid.server.timeout_seconds:
            raise Unreachable(
                f"{druid.place}: {table.datasource} {still_there[0]} is no longer listed by"
                f" {table.exposure.table}, and queries still see it"
                f" {druid.server.timeout_seconds:g} s after it was dropped. Are its segments longer"
                " than a day? Then drop them in Druid; everything else is published"
            )
    return len(table.withdrawn)


# --- what queries see -----------------------------------------------------------------------------


def _times(first: date, last: date) -> tuple[datetime, datetime]:
    return (
        datetime.combine(first, time_of_day()),
        datetime.combine(last + timedelta(days=1), time_of_day()),
    )


def _overlaps(segment: Segment, day: date) -> bool:
    if segment.start.startswith("-"):
        return True  # it covers all times and begins long before the year 0
    first, end = map(iso_time, _times(day, day))
    return segment.start < end and segment.end > first


def _wait_until_loaded(druid: Druid, table: _Table) -> None:
    """Wait until every published segment of the dates can be queried."""
    days = sorted({day for day, _, _ in table.pending} | table.emptied)
    started = time.monotonic()
    for _ in waits():
        missing = [
            segment
            for segment in druid.segments(table.datasource, *_times(days[0], days[-1]))
            if segment.is_missing
        ]
        if not missing:
            return
        if time.monotonic() - started > druid.server.timeout_seconds:
            raise Unreachable(
                f"{druid.place}: {len(missing)} segments of {table.datasource} are not loaded, such"
                f" as {missing[0].segment_id}, so it is unknown what would be replaced."
                " Nothing was exported. Check that all historicals run and have capacity."
            )


def _wait_until_queried(druid: Druid, table: _Table) -> None:
    """Wait until queries see the new version of every pending date, exactly as the model has it.

    A task that succeeded has published its segments; for a while, the old ones still answer, and
    the system tables report no problem. So each date needs a segment newer than all earlier ones,
    no newer one may be missing, and the counts must match the model.
    """
    settings = table.exposure.settings
    days = {str(day) for day, _, _ in table.pending}
    wanted = {key: rows for key, rows in table.counts.items() if key[0] in days}
    started = time.monotonic()
    for _ in waits():
        unloaded = _unloaded(druid, table)
        found: Counts = {}
        if not unloaded and druid.columns(table.datasource):
            # a new datasource: the router may ask another broker, which does not know it yet
            with suppress(InputError):
                found = as_counts(settings, druid.rows(counts_sql(settings, *table.span)))
        found = {key: rows for key, rows in found.items() if key[0] in days}
        if found == wanted:
            return
        if time.monotonic() - started > druid.server.timeout_seconds:
            raise _never_seen(druid, table, unloaded, found, wanted)


def _unloaded(druid: Druid, table: _Table) -> list[date]:
    """The pending dates whose new segments cannot be queried yet."""
    segments = druid.segments(table.datasource, *_times(*table.span))
    unloaded = []
    for day, newest in table.newest.items():
        new = [item for item in segments if _overlaps(item, day) and item.version > newest]
        if not any(item.is_available for item in new) or any(item.is_missing for item in new):
            unloaded.append(day)
    return unloaded


def _never_seen(
    druid: Druid, table: _Table, unloaded: list[date], found: Counts, wanted: Counts
) -> CheckFailed | Unreachable:
    waited = f"after {druid.server.timeout_seconds:g} s"
    if unloaded:
        return Unreachable(
            f"{druid.place}: {table.datasource} {unloaded[0]} is published, but {waited} its"
            " segments are not loaded. Check historical capacity, and that the load rules keep"
            " the date. If loading only takes longer, raise export.druid.timeout_seconds. Run"
            " `personas export` again: it skips what is already published"
        )
    different = min(
        (key for key in {*found, *wanted} if found.get(key) != wanted.get(key)), key=str
    )
    names = [VERSION, *table.exposure.settings.reconcile_by]
    group = ", ".join(f"{name} {value}" for name, value in zip(names, different[1:], strict=True))
    return CheckFailed(
        f"{table.datasource} {different[0]}: {waited} queries count {found.get(different, 0)} rows"
        f" of {group}; {table.exposure.table} has {wanted.get(different, 0)}. Does something else"
        " write to this datasource? Run `personas export` again to republish the date"
    )
