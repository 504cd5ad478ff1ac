"""Loading: from the sources that are configured to the raw layer in DuckDB."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from viewer_personas import files, raw
from viewer_personas.config import Sources
from viewer_personas.database import connect
from viewer_personas.errors import InputError

Report = Callable[[str, int, int], None]


@dataclass
class LoadSummary:
    """What a load did, and what is in the raw layer after it.

    slices_loaded: slices that were read; slices_changed: of them those with another version than
    before; slices_removed: days that the source covers no more. The other numbers count what is
    there now: slices, events, rejected rows (of documents too), repeated events that were left out,
    contents, users.
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
    warnings: list[str] = field(default_factory=list)


def load(
    sources: Sources,
    database: Path,
    *,
    since: date | None = None,
    until: date | None = None,
    report: Report = lambda text, done, total: None,
) -> LoadSummary:
    """Bring the raw layer up to date with the sources; reads only what changed.

    `since` and `until` are UTC days, both included; slices of other days stay exactly as they are.
    `report` is told what is being done, how much of it is done, and how much there is in all.
    Raises `InputError` for a wrong configuration, before anything is changed, and for a file that
    cannot be read, in which case slices and tables already replaced are complete and the others
    are as they were.
    """
    if since and until and since > until:
        raise InputError(f"--since {since} is after --until {until}: swap them")
    with _connect_to_check(database) as connection:
        contents = files.inspect_documents(connection, sources, "contents")
        users = files.inspect_documents(connection, sources, "users")
        events = files.inspect_events(connection, sources)
        files.scan_days(connection, events, report)
    with connect(database) as connection:
        summary = LoadSummary(run_id=str(uuid.uuid4()), warnings=events.warnings())
        raw.create_raw_tables(connection)
        _load_documents(connection, "contents", contents, summary, report)
        _load_documents(connection, "users", users, summary, report)
        _load_events(connection, events, since or date.min, until or date.max, summary, report)
        _count(connection, summary)
    return summary


@contextmanager
def _connect_to_check(database: Path) -> Iterator[raw.Connection]:
    """The database if there is one: a wrong configuration must not leave a new file behind."""
    if database.exists():
        with connect(database) as connection:
            yield connection
        return
    with connect(Path(":memory:")) as connection:
        yield connection


def _load_documents(
    connection: raw.Connection,
    table: str,
    documents: files.DocumentFiles | None,
    summary: LoadSummary,
    report: Report,
) -> None:
    report(f"Loading {table}", 0, 1)
    before = raw.scalar(connection, f"select count(*) from raw.{table}")
    if documents is None:
        if before:
            summary.warnings.append(
                f"{table} are configured no more: {before} documents were removed"
            )
        raw.replace_documents(connection, table, None)
    else:
        with files.readable(documents.files):
            repeated = raw.replace_documents(connection, table, files.documents_select(documents))
        if repeated:
            summary.warnings.append(
                f"{table}: {repeated} documents repeat the id of another and were left out"
            )
    report(f"Loading {table}", 1, 1)


def _load_events(
    connection: raw.Connection,
    events: files.EventFiles,
    since: date,
    until: date,
    summary: LoadSummary,
    report: Report,
) -> None:
    files.remember_files(connection, events)
    wanted = events.identities()
    stored = raw.stored_identities(connection)
    gone = [day for day in sorted(stored) if day not in wanted and since <= day <= until]
    stale = {
        day: identity
        for day, identity in wanted.items()
        if since <= day <= until and stored.get(day) != identity
    }
    filled = raw.days_with_events(connection, stale)
    raw.remove_slices(connection, gone)
    summary.slices_removed = len(gone)
    if gone:
        summary.warnings.append(
            f"{len(gone)} days are covered by no file any more and were removed: "
            f"{gone[0]} to {gone[-1]}"
        )
    for batch in files.event_batches(events, stale):
        report("Loading days of events", summary.slices_loaded, len(stale))
        changes = raw.replace_slices(connection, batch, summary.run_id)
        summary.slices_loaded += changes.slices
        summary.slices_changed += changes.changed
    report("Loading days of events", len(stale), len(stale))
    emptied = sorted(filled - raw.days_with_events(connection, stale))
    if emptied:
        summary.warnings.append(
            f"{len(emptied)} days had events and have none any more: {emptied[0]} to {emptied[-1]}"
        )


def _count(connection: raw.Connection, summary: LoadSummary) -> None:
    def number(query: str) -> int:
        return raw.scalar(connection, query)

    summary.slices_total = number("select count(*) from raw.slices")
    summary.duplicates = number("select sum(duplicate_count)::bigint from raw.slices")
    summary.events = number("select count(*) from raw.events")
    summary.rejected = number("select count(*) from raw.rejected_events")
    summary.contents = number("select count(*) from raw.contents")
    summary.users = number("select count(*) from raw.users")
