"""Loading: from the configured sources to the raw layer in DuckDB."""

import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Literal, Protocol

from viewer_personas.config import Sources
from viewer_personas.database import raw
from viewer_personas.database.connection import connect
from viewer_personas.database.raw import Report
from viewer_personas.database.sql import Connection, scalar, transaction
from viewer_personas.errors import InputError
from viewer_personas.sources import document_files, event_files
from viewer_personas.sources.document_fields import FIELD_TABLES, write_fields
from viewer_personas.sources.event_rows import Clock
from viewer_personas.sources.profiles import (
    check_profiles,
    check_rejected,
    event_profiles,
    odd_values,
    rejected_reasons,
)
from viewer_personas.sources.shrinking import refuse_losses, sizes, without_days


class EventsDriver(Protocol):
    """The current state of a source of events; created by the driver's `inspect_events`."""

    def identities(self) -> dict[date, str]:
        """The identity of each day that the source covers (see `raw.slices.source_identity`)."""

    def warnings(self) -> list[str]:
        """Warnings about the source, one sentence each."""

    def undated_sources(self) -> list[str]:
        """What this load reads, as it is named in rejected rows without a day."""

    def remember(self, connection: Connection) -> None:
        """Record what the driver needs for the next load."""

    def batches(self, connection: Connection, stale: dict[date, str]) -> Iterator[raw.SliceBatch]:
        """The stale days with their identities, as batches that can be replaced one by one.

        Raises `Unreachable` if days cannot be read; those before them are complete.
        """


class DocumentsDriver(Protocol):
    """A source of contents or users; created by the driver's `inspect_documents`."""

    def load(self, connection: Connection, table: str) -> list[str]:
        """Bring `raw.contents` or `raw.users` up to date atomically; returns warnings."""


@dataclass
class LoadSummary:
    """What a load did, and what is in the raw layer after it.

    slices_loaded: slices that were read; slices_changed: how many of them have a new version;
    slices_removed: days that the source no longer covers. The other numbers count the current
    contents: slices, events, rejected rows (documents too) with their reasons, repeated events left
    out, contents, users. `fields` are the profiles of the mapped fields in what was read.
    """

    run_id: str
    slices_loaded: int = 0
    slices_changed: int = 0
    slices_removed: int = 0
    slices_total: int = 0
    events: int = 0
    rejected: int = 0
    duplicates: int = 0
    contents: int = 0
    users: int = 0
    rejected_reasons: dict[str, int] = field(default_factory=dict)
    fields: list[raw.FieldProfile] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def load(
    sources: Sources,
    database: Path,
    *,
    since: date | None = None,
    until: date | None = None,
    restore: bool = False,
    accept_shrunken: bool = False,
    clock_ahead_hours: float = 24,
    now: datetime | None = None,
    report: Report = lambda text, done, total: None,
) -> LoadSummary:
    """Bring the raw layer up to date with the sources; reads only what changed.

    `since` and `until` are UTC days, both included; slices of other days stay exactly as they are.
    Pruned days stay too, unless the source has a new version of them with no fewer rows than
    before. With `restore`, pruned days from `since` on are loaded again, exactly as the source has
    them, however much less that is. Events later than `now` (UTC, no zone; by default the time of
    the load) and `clock_ahead_hours` are rejected. `report` receives what is being done, how much
    of it is done, and the total.

    Raises `InputError` for a wrong configuration, for a file that cannot be read, and if too much
    cannot be read as the mapping says, and `Unreachable` for a server that does not answer, or
    answers incompletely, or if the sources lost much of what they had (not with
    `accept_shrunken`). A load of files that fails changes nothing. Days from Druid are replaced
    one by one: those already replaced are complete, and the others are as they were.
    """
    if since and until and since > until:
        raise InputError(f"--since {since} is after --until {until}: swap them")
    if restore and not since:
        raise InputError(
            "--restore needs --since, the first day to restore. Rows that the source no longer has"
            " are lost, and so are their roll-ups."
        )
    accept_shrunken = accept_shrunken or restore
    moment = now or datetime.now(UTC).replace(tzinfo=None)
    clock = Clock(moment + timedelta(hours=clock_ahead_hours), clock_ahead_hours)
    with _connect_to_check(database) as connection:
        contents = _inspect_documents(connection, sources, "contents")
        users = _inspect_documents(connection, sources, "users")
        events = _inspect_events(connection, sources, clock, report)
    summary = LoadSummary(run_id=str(uuid.uuid4()), warnings=events.warnings())
    with connect(database) as connection, _all_or_nothing(connection, sources):
        raw.create_raw_tables(connection)
        before = sizes(connection)
        _load_documents(connection, "contents", contents, sources, summary, report)
        _load_documents(connection, "users", users, sources, summary, report)
        days = (since or date.min, until or date.max)
        plan = _plan(connection, events, days, restore)
        if not accept_shrunken:
            refuse_losses(sources, before, without_days(connection, before, plan.gone))
        _load_events(connection, events, plan, summary, report)
        if not accept_shrunken and sources.events.driver != "druid":
            refuse_losses(sources, before, sizes(connection))
        _profile(connection, sources, events, summary)
        _count(connection, summary)
    return summary


def _all_or_nothing(connection: Connection, sources: Sources) -> AbstractContextManager[None]:
    """One transaction for the load, except from Druid, where a load may take hours: each day that
    is read is kept."""
    return nullcontext() if sources.events.driver == "druid" else transaction(connection)


def _profile(
    connection: Connection, sources: Sources, events: EventsDriver, summary: LoadSummary
) -> None:
    """Record the profiles of what was read; raises `InputError` if too much is unreadable."""
    undated = events.undated_sources()
    summary.fields += event_profiles(connection, sources, summary.run_id, undated)
    summary.warnings += check_profiles(connection, sources, summary.fields)
    check_rejected(connection, sources, summary.run_id, undated)
    summary.warnings += odd_values(connection, summary.run_id)
    raw.write_profiles(connection, summary.run_id, summary.fields)


def _inspect_events(
    connection: Connection, sources: Sources, clock: Clock, report: Report
) -> EventsDriver:
    settings = sources.events
    if settings.driver == "files":
        return event_files.inspect_events(connection, settings, sources.file, clock, report)
    # here, because importing server clients takes half a second that other commands do not need
    from viewer_personas.sources import druid as druid_events

    return druid_events.inspect_events(settings, sources.file, clock)


def _inspect_documents(
    connection: Connection, sources: Sources, key: Literal["contents", "users"]
) -> DocumentsDriver | None:
    settings = sources.contents if key == "contents" else sources.users
    if settings is None:
        return None
    if settings.driver == "files":
        return document_files.inspect_documents(connection, settings, sources.file, key)
    from viewer_personas.sources import mongodb

    return mongodb.inspect_documents(settings, sources.file, key)


@contextmanager
def _connect_to_check(database: Path) -> Iterator[Connection]:
    """The database if it exists: a wrong configuration must not leave a new file behind."""
    if database.exists():
        with connect(database) as connection:
            yield connection
        return
    with connect(Path(":memory:")) as connection:
        yield connection


def _load_documents(
    connection: Connection,
    table: Literal["contents", "users"],
    documents: DocumentsDriver | None,
    sources: Sources,
    summary: LoadSummary,
    report: Report,
) -> None:
    report(f"Loading {table}", 0, 1)
    settings = sources.contents if table == "contents" else sources.users
    with transaction(connection):
        if documents and settings:
            summary.warnings += documents.load(connection, table)
            summary.fields += write_fields(connection, table, settings)
        else:
            before = scalar(connection, f"select count(*) from raw.{table}")
            raw.replace_documents(connection, table, None)
            connection.execute(f"delete from raw.{FIELD_TABLES[table]}")
            if before:
                summary.warnings.append(
                    f"{table} are no longer configured: {before} documents were removed"
                )
    report(f"Loading {table}", 1, 1)


@dataclass(frozen=True)
class _Plan:
    """What a load does with the days: `stale` ones are read, with their identities, and `gone` ones
    removed. Pruned days in `spared` must not shrink."""

    stale: dict[date, str]
    gone: list[date]
    spared: set[date]


def _plan(
    connection: Connection, events: EventsDriver, days: tuple[date, date], restore: bool
) -> _Plan:
    """Compare the days of the source with the stored slices."""
    wanted = events.identities()
    stored = raw.stored_identities(connection)
    dropped = raw.dropped_days(connection)
    spared = {day for day, is_kept in dropped.items() if is_kept and not restore}
    since, until = days
    return _Plan(
        stale={
            day: identity
            for day, identity in wanted.items()
            if since <= day <= until
            and (stored.get(day) != identity or (restore and day in dropped))
        },
        gone=[
            day
            for day in sorted(stored)
            if since <= day <= until and day not in wanted and day not in spared
        ],
        spared=spared,
    )


def _load_events(
    connection: Connection,
    events: EventsDriver,
    plan: _Plan,
    summary: LoadSummary,
    report: Report,
) -> None:
    events.remember(connection)
    filled = raw.days_with_events(connection, plan.stale)
    raw.remove_slices(connection, plan.gone)
    summary.slices_removed = len(plan.gone)
    kept: list[date] = []
    for batch in events.batches(connection, plan.stale):
        report("Loading days of events", summary.slices_loaded, len(plan.stale))
        changes = raw.replace_slices(connection, batch, summary.run_id, may_not_shrink=plan.spared)
        summary.slices_loaded += changes.slices
        summary.slices_changed += changes.changed
        kept += changes.kept
    report("Loading days of events", len(plan.stale), len(plan.stale))
    emptied = filled - raw.days_with_events(connection, plan.stale)
    summary.warnings += _warnings(plan.gone, sorted(kept), sorted(emptied))


def _warnings(gone: list[date], kept: list[date], emptied: list[date]) -> Iterator[str]:
    if gone:
        yield (
            f"{len(gone)} days are no longer covered by the source and were removed: "
            f"{gone[0]} to {gone[-1]}"
        )
    if kept:
        yield (
            f"{len(kept)} pruned days have fewer rows at the source than were loaded, and"
            f" were kept as they were: {kept[0]} to {kept[-1]}. If the source is"
            f" right: personas load --restore --since {kept[0]} --until {kept[-1]}"
        )
    if emptied:
        yield (f"{len(emptied)} days had events and now have none: {emptied[0]} to {emptied[-1]}")


def _count(connection: Connection, summary: LoadSummary) -> None:
    def number(query: str) -> int:
        return scalar(connection, query)

    summary.slices_total = number("select count(*) from raw.slices")
    summary.duplicates = number("select sum(duplicate_count)::bigint from raw.slices")
    summary.events = number("select count(*) from raw.events")
    summary.rejected = number("select count(*) from raw.rejected_events")
    summary.contents = number("select count(*) from raw.contents")
    summary.users = number("select count(*) from raw.users")
    summary.rejected_reasons = rejected_reasons(connection)
