"""A source that is suddenly much smaller is more often broken than right."""

from collections.abc import Sequence
from datetime import date

from viewer_personas.config import Sources
from viewer_personas.database.sql import Connection, scalar
from viewer_personas.errors import Unreachable

Sizes = dict[str, int]
"""What is counted -> how much of it is loaded."""

_COUNTS = {
    "contents": "select count(*) from raw.contents",
    "users": "select count(*) from raw.users",
    "events": "select sum(row_count)::bigint from raw.slices where version is not null",
    "days with events": (
        "select count(*) from raw.slices where version is not null and row_count > 0"
    ),
}
# Of fewer, half may go on an ordinary day.
_LEAST = {"contents": 20, "users": 20, "events": 100, "days with events": 10}


def sizes(connection: Connection) -> Sizes:
    """How much is loaded."""
    return {name: scalar(connection, query) for name, query in _COUNTS.items()}


def without_days(connection: Connection, before: Sizes, days: Sequence[date]) -> Sizes:
    """The sizes if these days were removed."""
    [(events, filled)] = connection.execute(
        """
        select coalesce(sum(row_count), 0)::bigint, count(*) filter (where row_count > 0)
        from raw.slices
        where version is not null and source_date in (select unnest($days::date[]))
        """,
        {"days": list(days)},
    ).fetchall()
    gone = {"events": events, "days with events": filled}
    return {name: number - gone.get(name, 0) for name, number in before.items()}


def losses(sources: Sources, before: Sizes, after: Sizes) -> list[str]:
    """What is less than the share that a source must keep, in words."""
    share = sources.shrinking.smallest_share
    return [
        f"{after[name]:,} {name}, and {number:,} before"
        for name, number in before.items()
        if number >= _LEAST[name] and after[name] < share * number
    ]


def refuse_losses(sources: Sources, before: Sizes, after: Sizes) -> None:
    """Raise `Unreachable` if a source lost too much."""
    if lost := losses(sources, before, after):
        raise Unreachable(
            f"{sources.file}: the sources have much less than what was loaded from them, so nothing"
            f" was changed: {'; '.join(lost)}. If that is right, load with --accept-shrunken"
            f" (shrinking.smallest_share is {sources.shrinking.smallest_share:g})."
        )
