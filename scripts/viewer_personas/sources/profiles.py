"""What a load found in the mapped fields, and what is worth a warning or must stop it."""

from collections.abc import Iterable, Iterator
from typing import Any

from viewer_personas.config import Sources
from viewer_personas.database.raw import FieldProfile
from viewer_personas.database.sql import Connection, scalar
from viewer_personas.errors import InputError
from viewer_personas.sources.event_rows import near
from viewer_personas.sources.fields import WHAT
from viewer_personas.sources.guesses import SHORT_RUNTIME_SECONDS

# Without these in any document, nothing can be said about contents; so they are missed even if
# they are not mapped.
_MISSED = {"title", "content_type", "genres"}
_KEYS_SHOWN = 20
_ENOUGH = 10

# The rows of the days that this run has read, and those without a day that it has read.
_READ = """
    (
        source_date in (select source_date from raw.slices where run_id = $run_id)
        or (source_date is null and source in (select unnest($sources::varchar[])))
    )
"""


def event_profiles(
    connection: Connection, sources: Sources, run_id: str, undated_sources: list[str]
) -> list[FieldProfile]:
    """The profiles of the fields of the events that this run has read; none if it read none."""
    settings = sources.events
    counted = ("event_id", "content_id", "event_type", "watch_seconds", "device")
    counts = ", ".join(f"count({name})" for name in counted)
    numbers = connection.execute(
        f"""
        select count(*), count(unreadable_seconds), {counts}
        from raw.events
        where source_date in (select source_date from raw.slices where run_id = $run_id)
        """,
        {"run_id": run_id},
    ).fetchall()[0]
    events, unreadable_seconds, *filled = numbers
    reasons = _rejected(connection, run_id, undated_sources)
    rows = events + sum(number for number, _ in reasons.values())
    if not rows:
        return []
    found = dict(zip(counted, filled, strict=True))
    found["watch_seconds"] += unreadable_seconds
    found |= {
        "user_id": rows - reasons.get("no user", (0, []))[0],
        "occurred_at": rows - reasons.get("no time", (0, []))[0],
        # a count that is not there is 1
        "event_count": rows,
    }
    unreadable = {
        "watch_seconds": (unreadable_seconds, _examples(connection, run_id)),
        "occurred_at": reasons.get("unreadable time", (0, [])),
        "event_count": reasons.get("event_count", (0, [])),
    }
    profiles = []
    for name, field in settings.columns.mapped().items():
        if name in settings.constants.given():
            continue
        number, examples = unreadable.get(name) or reasons.get(f"unreadable {name}", (0, []))
        path = "__time" if settings.driver == "druid" and name == "occurred_at" else ""
        profiles.append(
            FieldProfile(
                "events",
                name,
                path or ", ".join(field.paths()),
                rows,
                max(found[name], number),
                number,
                examples,
                WHAT[type(field).__name__] if number else None,
            )
        )
    return profiles


def _rejected(
    connection: Connection, run_id: str, undated_sources: list[str]
) -> dict[str, tuple[int, list[str]]]:
    """The kinds of reasons -> the number of rejected rows, and up to three examples."""
    rows = connection.execute(
        f"""
        select
            case
                when starts_with(reason, 'event_count') then 'event_count'
                else split_part(reason, ':', 1)
            end as kind,
            count(*),
            list(distinct left(substring(reason, instr(reason, ': ') + 2), 60))
                filter (where contains(reason, ': '))
        from raw.rejected_events
        where {_READ}
            and not starts_with(source, 'contents: ')
            and not starts_with(source, 'users: ')
        group by kind
        """,
        {"run_id": run_id, "sources": undated_sources},
    ).fetchall()
    return {kind: (number, sorted(examples or [])[:3]) for kind, number, examples in rows}


def _examples(connection: Connection, run_id: str) -> list[str]:
    rows = connection.execute(
        """
        select left(unreadable_seconds, 60) as text
        from raw.events
        where unreadable_seconds is not null
            and source_date in (select source_date from raw.slices where run_id = $run_id)
        group by text
        order by count(*) desc, text
        limit 3
        """,
        {"run_id": run_id},
    ).fetchall()
    return [text for (text,) in rows]


def stops(profile: FieldProfile, stop_share: float) -> bool:
    """Whether a field is unreadable in too many of the rows for a load."""
    return profile.unreadable > stop_share * profile.rows


def check_profiles(
    connection: Connection, sources: Sources, profiles: Iterable[FieldProfile]
) -> list[str]:
    """Warnings about fields that are often unreadable, or empty though they are mapped.

    Raises `InputError` if a field is unreadable in more than `unreadable.stop_share` of the rows.
    """
    limits = sources.unreadable
    warnings, stopping = [], []
    for profile in profiles:
        if stops(profile, limits.stop_share):
            stopping.append(_unreadable(profile))
        elif profile.unreadable > limits.warn_share * profile.filled:
            warnings.append(_unreadable(profile))
        warnings += _missing(connection, sources, profile)
    if stopping:
        raise InputError(
            f"{sources.file}: too much cannot be read, so nothing was changed:\n"
            + "\n".join(f"  {line}" for line in stopping)
            + f"\nCorrect the mapping, or set unreadable.stop_share (it is {limits.stop_share:g})."
            " `personas check` shows what there is."
        )
    return warnings


def _unreadable(profile: FieldProfile) -> str:
    share = profile.unreadable / profile.filled
    examples = ", ".join(f"'{example}'" for example in profile.examples)
    return (
        f"{profile.source}: {profile.field} ({profile.path}): {profile.unreadable} of"
        f" {profile.filled} values ({share:.1%}) cannot be read: {profile.reason}, such as"
        f" {examples}"
    )


def _missing(connection: Connection, sources: Sources, profile: FieldProfile) -> Iterator[str]:
    """A field that is nowhere, though it is mapped, or needed."""
    if profile.filled or not profile.rows:
        return
    settings: Any = getattr(sources, profile.source)
    given = (settings.columns if profile.source == "events" else settings.fields).given()
    if profile.source == "events":
        if profile.field in given:
            yield f"events: no row has a {profile.field} ({profile.path})"
        return
    if profile.field in given or (profile.source == "contents" and profile.field in _MISSED):
        keys = document_keys(connection, profile.source)
        yield (
            f"{profile.source}: none of {profile.rows} documents has a {profile.field} at"
            f" {profile.path}{near(profile.path, keys)}; map it in {profile.source}.fields"
        )


def document_keys(connection: Connection, table: str) -> list[str]:
    """The keys of the documents, from a sample, most frequent first."""
    rows = connection.execute(
        f"""
        select key from (
            select unnest(json_keys(doc)) as key from (select doc from raw.{table} limit 1000)
        )
        group by key
        order by count(*) desc, key
        limit {_KEYS_SHOWN}
        """
    ).fetchall()
    return [key for (key,) in rows]


def rejected_reasons(connection: Connection) -> dict[str, int]:
    """Why current rows and documents are in raw.rejected_events, with their numbers."""
    rows = connection.execute(
        "select split_part(reason, ':', 1) as kind, count(*) from raw.rejected_events"
        " group by kind order by kind"
    ).fetchall()
    return dict(rows)


def odd_values(connection: Connection, run_id: str) -> Iterator[str]:
    """Warnings about values that can be read, but hardly mean what they say."""
    [(middle, number)] = connection.execute(
        "select median(runtime_seconds), count(runtime_seconds) from raw.content_fields"
        " where runtime_seconds > 0"
    ).fetchall()
    if number >= _ENOUGH and middle < SHORT_RUNTIME_SECONDS:
        yield (
            f"contents: half of {number} runtimes are under {middle:g} s: if they are minutes, map"
            " them so (contents.fields: {runtime_seconds: {path: …, unit: min}})"
        )
    [(repeated, example)] = connection.execute(
        """
        select count(*), min(event_id) from (
            select event_id
            from raw.events
            where event_id is not null
                and source_date in (select source_date from raw.slices where run_id = $run_id)
            group by source_date, event_id
            having count(*) > 1
        )
        """,
        {"run_id": run_id},
    ).fetchall()
    if repeated:
        yield (
            f"events: {repeated} event ids such as '{example}' stand for several events of other"
            " viewers, types or times; all of these are kept. Is event_id the right column?"
        )


def check_rejected(
    connection: Connection, sources: Sources, run_id: str, undated: list[str]
) -> None:
    """Raise `InputError` if more than `unreadable.stop_share` of the rows read are no events."""
    reasons = _rejected(connection, run_id, undated)
    rejected = sum(number for number, _ in reasons.values())
    events = scalar(
        connection,
        "select count(*) from raw.events"
        " where source_date in (select source_date from raw.slices where run_id = $run_id)",
        {"run_id": run_id},
    )
    if rejected > sources.unreadable.stop_share * (rejected + events):
        lines = [
            f"  {number} rows: {kind}"
            + (f", such as '{examples[0]}'" if kind != examples[0] else "")
            for kind, (number, examples) in sorted(reasons.items())
        ]
        raise InputError(
            f"{sources.file}: {rejected} of {rejected + events} rows read cannot be events, so"
            " nothing was changed:\n" + "\n".join(lines) + "\nCorrect the mapping, or set"
            f" unreadable.stop_share (it is {sources.unreadable.stop_share:g})."
        )
