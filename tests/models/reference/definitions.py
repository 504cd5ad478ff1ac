"""The definitions of the tables a second time, in plain Python, so that tests can check the models.

Written from the definitions alone and never from the SQL: where the two disagree, one is wrong.
Every function takes a `World` (what was loaded, and the settings) and returns one table as a list
of rows, sorted by its grain. Nothing is cached and nothing is optimised: this is for small worlds.
"""

import cmath
import csv
import math
import operator
import statistics
import zoneinfo
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

Row = dict[str, Any]

KINDS = ("watch", "browse", "search", "curate", "feedback", "other")
INTERACTION_TYPES = {
    "watch": "watching",
    "browse": "browsing",
    "search": "searching",
    "curate": "curating",
    "feedback": "giving_feedback",
}
WINDOWS = (28, 84)
RFM_WINDOW = 84
DAYS_OF_DATA_BEFORE_FIRST_AS_OF = 28
MAX_STRENGTH = 3.0
NO_PERSONA = "casual"
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
SEEDS = Path(__file__).parents[3] / "seeds"
ENDS = ("available_from", "available_until")
# A day of watching is 86,400 seconds: a thousand million is a broken player, not a viewer.
UNBELIEVABLE_WATCH_SECONDS = 1e9
OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
    "=": operator.eq,
}


@dataclass(frozen=True)
class Event:
    """One row of `raw.events`; `occurred_at` is UTC, without a zone."""

    user_id: str
    content_id: str | None
    event_type: str
    occurred_at: datetime
    watch_seconds: float | None = None
    event_count: int = 1


@dataclass(frozen=True)
class Rule:
    """One row of the seed `persona_rules`: one clause of one alternative of a persona."""

    persona: str
    alternative: int
    clause: int
    window_days: int
    metric: str
    operator: str
    threshold: float


@dataclass(frozen=True)
class Persona:
    """One row of the seed `personas`; the smallest priority wins."""

    persona: str
    priority: int
    expected_risk: str = "medium"


@dataclass(frozen=True)
class Vars:
    """The vars of dbt_project.yml that the definitions or the tests use, with their defaults."""

    default_timezone: str = "UTC"
    day_starts_at_hour: int = 4
    min_watch_seconds: float = 120
    lookback_days: int = 182
    as_of_weekday: str = "sunday"
    as_of_history_weeks: int = 26
    period_gap_days: int = 1
    binge_min_episodes: int = 3
    spike_max_days: int = 2
    spike_max_watch_minutes: float = 30
    sleepy_min_days: int = 28
    ghost_min_spikes: int = 2
    ghost_min_gap_days: int = 3
    ghost_min_days: int = 28
    ghost_max_genre_share: float = 0.5
    ghost_min_titles: int = 3
    morning_starts_at_hour: int = 5
    daytime_starts_at_hour: int = 9
    early_evening_starts_at_hour: int = 17
    prime_time_starts_at_hour: int = 20
    night_starts_at_hour: int = 23
    peak_min_days: int = 4
    genre_prior_titles: float = 1
    exclusivity_method: str = "priority"
    events_at_once: int = 20_000_000
    viewer_days_at_once: int = 4_000_000


@dataclass
class World:
    """What was loaded, and the settings.

    `contents` and `users` are source documents by id, every field optional. `source_dates` are
    the UTC days loaded, with or without events; an event of another day is not loaded.
    `event_types` gives (interaction, counts_as_activity) for each type in the seed.
    """

    events: list[Event] = field(default_factory=list)
    contents: dict[str, Row] = field(default_factory=dict)
    users: dict[str, Row] = field(default_factory=dict)
    source_dates: list[date] = field(default_factory=list)
    event_types: dict[str, tuple[str, bool]] = field(default_factory=dict)
    vars: Vars = field(default_factory=Vars)
    rules: list[Rule] = field(default_factory=list)
    personas: list[Persona] = field(default_factory=list)


# --- roll-ups ------------------------------------------------------------------------------------


def user_content_hours(world: World) -> list[Row]:
    """One row per source date, user, activity date, local hour, content and interaction.

    Activity date = date of (local wall time - day_starts_at_hour hours); local_hour = the clock
    hour. Types that are `ignore` or do not count as activity are left out; unknown types are
    `other`. watch_seconds is null when no watch event gave a believable value; unreadable_events
    are those that gave another.
    """
    loaded = set(world.source_dates)
    events_by_grain: dict[tuple[Any, ...], list[Event]] = defaultdict(list)
    for event in world.events:
        interaction, counts_as_activity = world.event_types.get(event.event_type, ("other", True))
        source_date = event.occurred_at.date()
        if interaction == "ignore" or not counts_as_activity or source_date not in loaded:
            continue
        local_time = _local_time(world, event)
        activity_date = (local_time - timedelta(hours=world.vars.day_starts_at_hour)).date()
        grain = (
            source_date,
            event.user_id,
            activity_date,
            local_time.hour,
            event.content_id,
            interaction,
        )
        events_by_grain[grain].append(event)

    rows = []
    for grain, events in events_by_grain.items():
        source_date, user_id, activity_date, local_hour, content_id, interaction = grain
        rows.append(
            {
                "source_date": source_date,
                "user_id": user_id,
                "activity_date": activity_date,
                "local_hour": local_hour,
                "content_id": content_id,
                "interaction": interaction,
                "event_count": sum(event.event_count for event in events),
                "watch_seconds": _sum_of_known(
                    _believable(event.watch_seconds) for event in events if interaction == "watch"
                ),
                "unreadable_events": sum(
                    event.event_count
                    for event in events
                    if interaction == "watch"
                    and event.watch_seconds is not None
                    and _believable(event.watch_seconds) is None
                ),
                "first_at": min(event.occurred_at for event in events),
                "last_at": max(event.occurred_at for event in events),
            }
        )
    return _sorted(
        rows,
        "source_date",
        "user_id",
        "activity_date",
        "local_hour",
        "content_id",
        "interaction",
    )


def user_content_days(world: World) -> list[Row]:
    """One row per activity date, user and content; events without content are a row of their own.

    interactions = rows of user_content_hours, in all and per kind. is_watched = watch_seconds of
    the day >= min_watch_seconds, or a watch interaction on a day without any known watch_seconds;
    unknown if some could not be read and the others do not suffice.
    """
    rows = []
    hours_by_grain = _grouped(user_content_hours(world), "activity_date", "user_id", "content_id")
    for (activity_date, user_id, content_id), hours in hours_by_grain.items():
        by_kind = Counter(hour["interaction"] for hour in hours)
        watch_seconds = _sum_of_known(hour["watch_seconds"] for hour in hours)
        unreadable = sum(hour["unreadable_events"] for hour in hours)
        is_watched: bool | None
        if watch_seconds is not None and watch_seconds >= world.vars.min_watch_seconds:
            is_watched = True
        elif unreadable:
            is_watched = None
        else:
            is_watched = watch_seconds is None and by_kind["watch"] > 0
        rows.append(
            {
                "activity_date": activity_date,
                "user_id": user_id,
                "content_id": content_id,
                "interactions": len(hours),
                **{f"{kind}_interactions": by_kind[kind] for kind in KINDS},
                "event_count": sum(hour["event_count"] for hour in hours),
                "watch_seconds": watch_seconds,
                "unreadable_events": unreadable,
                "is_watched": is_watched,
                "first_at": min(hour["first_at"] for hour in hours),
                "last_at": max(hour["last_at"] for hour in hours),
            }
        )
    return _sorted(rows, "activity_date", "user_id", "content_id")


def user_days(world: World) -> list[Row]:
    """One row per activity date and user.

    interactions in all and per kind; watch_minutes (see `_watch_minutes`); watched_contents =
    distinct contents that are watched that day, leaving out watching without a content.
    """
    rows = []
    days_by_grain = _grouped(user_content_days(world), "activity_date", "user_id")
    for (activity_date, user_id), content_rows in days_by_grain.items():
        rows.append(
            {
                "activity_date": activity_date,
                "user_id": user_id,
                "interactions": _total(content_rows, "interactions"),
                **{
                    f"{kind}_interactions": _total(content_rows, f"{kind}_interactions")
                    for kind in KINDS
                },
                "watch_minutes": _watch_minutes(content_rows),
                "watched_contents": len(_watched_contents(content_rows)),
            }
        )
    return _sorted(rows, "activity_date", "user_id")


def content_days(world: World) -> list[Row]:
    """One row per activity date and content: users, interactions, minutes, users who watched."""
    with_content = [day for day in user_content_days(world) if day["content_id"] is not None]
    rows = []
    for (activity_date, content_id), user_rows in _grouped(
        with_content, "activity_date", "content_id"
    ).items():
        rows.append(
            {
                "activity_date": activity_date,
                "content_id": content_id,
                "users": len({day["user_id"] for day in user_rows}),
                "interactions": _total(user_rows, "interactions"),
                "watch_minutes": _watch_minutes(user_rows),
                "users_who_watched": len(
                    {day["user_id"] for day in user_rows if day["is_watched"]}
                ),
            }
        )
    return _sorted(rows, "activity_date", "content_id")


def user_hours(world: World) -> list[Row]:
    """One row per activity date, user and clock hour: interactions, watching among them, seconds.

    watch_seconds is null when no event of the hour gave any.
    """
    rows = []
    for (activity_date, user_id, local_hour), content_hours in _grouped(
        user_content_hours(world), "activity_date", "user_id", "local_hour"
    ).items():
        rows.append(
            {
                "activity_date": activity_date,
                "user_id": user_id,
                "local_hour": local_hour,
                "interactions": len(content_hours),
                "watch_interactions": sum(hour["interaction"] == "watch" for hour in content_hours),
                "watch_seconds": _sum_of_known(hour["watch_seconds"] for hour in content_hours),
            }
        )
    return _sorted(rows, "activity_date", "user_id", "local_hour")


# --- catalogue -----------------------------------------------------------------------------------


def series_of(world: World, content_id: str | None) -> str | None:
    """The series of an episode; None for a content that is no episode, or of no known series."""
    if content_type_of(world, content_id) != "episode":
        return None
    series_id: str | None = world.contents[content_id or ""].get("series_id")
    return series_id or None


def title_of(world: World, content_id: str) -> str:
    """The title of a content: the series for an episode, else the content."""
    return series_of(world, content_id) or content_id


def content_type_of(world: World, content_id: str | None) -> str:
    """What the seed says that the type is, in any letter case and with blanks around it; `other` if
    it does not list it, `unknown` without content, catalogue entry or type."""
    document = world.contents.get(content_id, {}) if content_id is not None else {}
    folded = str(document.get("content_type") or "").strip().lower()
    return _content_types().get(folded, "other") if folded else "unknown"


@cache
def _content_types() -> dict[str, str]:
    with (SEEDS / "content_types.csv").open(encoding="utf-8") as file:
        return {row["content_type"]: row["kind"] for row in csv.DictReader(file)}


def title_tags(world: World) -> list[Row]:
    """One row per title and tag: distinct genres and tags, lower-cased, of all its contents.

    is_genre = the tag is among the genres of at least one of the contents of the title.
    """
    tags: set[tuple[str, str]] = set()
    genres: set[tuple[str, str]] = set()
    for content_id, document in world.contents.items():
        title_id = title_of(world, content_id)
        genres |= {(title_id, tag) for tag in _clean_tags(document.get("genres"))}
        tags |= {(title_id, tag) for tag in _clean_tags(document.get("tags"))}
    return [
        {"title_id": title_id, "tag": tag, "is_genre": (title_id, tag) in genres}
        for title_id, tag in sorted(tags | genres)
    ]


def data_quality(world: World) -> list[Row]:
    """One row per date and check that looked at something: how much of it is suspicious.

    The date is the UTC date of the events, for users_in_unknown_time_zones the activity date. What
    is no activity is not looked at. Contents are judged by the catalogue, users by the documents.
    """
    rows = []
    for (source_date,), of_date in _grouped(user_content_hours(world), "source_date").items():
        for quality_check, found in _suspicious_contents(world, of_date).items():
            rows.append(_quality_row(source_date, quality_check, *found))
    for (activity_date,), days in _grouped(user_days(world), "activity_date").items():
        misplaced = {
            day["user_id"]: 1
            for day in days
            if world.users.get(day["user_id"], {}).get("timezone") is not None
            and _own_timezone(world, day["user_id"]) is None
        }
        rows.append(
            _quality_row(activity_date, "users_in_unknown_time_zones", misplaced, len(days))
        )
    return _sorted([row for row in rows if row["total"] > 0], "source_date", "quality_check")


def _suspicious_contents(
    world: World, of_date: list[Row]
) -> dict[str, tuple[dict[str | None, int], int]]:
    """For each check of events or contents what it finds, each with its number, and the total."""
    _, genres = _tags_and_genres(world)
    named_series = {series_of(world, content_id) for content_id in world.contents}
    events: Counter[str | None] = Counter()
    unknown_events = 0
    for row in of_date:
        events[row["content_id"]] += row["event_count"]
        unknown_events += row["event_count"] if row["interaction"] == "other" else 0
    contents = [name for name in events if name is not None and name in world.contents]
    episodes = [name for name in contents if content_type_of(world, name) == "episode"]
    titles = {title_of(world, name) for name in contents}
    series = [
        name
        for name in titles
        if name in world.contents and content_type_of(world, name) == "series"
    ]
    on_contents = {name: count for name, count in events.items() if name is not None}
    return {
        "events_of_unknown_type": ({None: unknown_events}, events.total()),
        "events_on_unknown_contents": (
            {name: count for name, count in on_contents.items() if name not in world.contents},
            sum(on_contents.values()),
        ),
        "contents_without_genre": (
            {name: 1 for name in contents if not genres.get(title_of(world, name))},
            len(contents),
        ),
        "contents_with_unreadable_fields": (
            {name: 1 for name in contents if unreadable_fields(world.contents[name])},
            len(contents),
        ),
        "episodes_without_series": (
            {name: 1 for name in episodes if series_of(world, name) is None},
            len(episodes),
        ),
        "series_without_episodes": (
            {name: 1 for name in series if name not in named_series},
            len(series),
        ),
    }


def unreadable_fields(document: Mapping[str, Any]) -> list[str]:
    """The fields of a document that are there, but not as what they should be."""

    def is_number(value: Any) -> bool:
        try:
            return not isinstance(value, bool) and math.isfinite(float(value))
        except (TypeError, ValueError):
            return False

    def is_date(value: Any) -> bool:
        try:
            return isinstance(value, str) and date.fromisoformat(value[:10]) is not None
        except ValueError:
            return False

    def is_text(value: Any) -> bool:
        return not isinstance(value, list | dict)

    def is_whole(value: Any) -> bool:
        return is_number(value) and float(value) == int(float(value))

    def is_duration(value: Any) -> bool:
        return is_number(value) and 0 <= float(value) < 1e9

    def is_name(value: Any) -> bool:
        return not isinstance(value, list | dict | bool)

    def is_list_or_name(value: Any) -> bool:
        if isinstance(value, list):
            return all(is_name(item) for item in value)
        return is_name(value) and not set(str(value)) & set(",;|/")

    def is_list_of_rights(value: Any) -> bool:
        return isinstance(value, list) and all(
            isinstance(item, dict)
            and all(item.get(end) is None or is_date(item[end]) for end in ENDS)
            for item in value
            if item is not None
        )

    suits = {
        **dict.fromkeys(("title", "content_type", "series_id"), is_text),
        **dict.fromkeys(("season_number", "episode_number"), is_whole),
        "runtime_seconds": is_duration,
        "released_on": is_date,
        **dict.fromkeys(("genres", "tags"), is_list_or_name),
        "availability": is_list_of_rights,
    }
    return [
        name
        for name, is_suitable in suits.items()
        if document.get(name) not in (None, "") and not is_suitable(document[name])
    ]


def _quality_row(
    source_date: date, quality_check: str, found: Mapping[Any, int], total: int
) -> Row:
    """A row of data_quality; the example is the first by name of what has one."""
    affected = sum(found.values())
    return {
        "source_date": source_date,
        "quality_check": quality_check,
        "affected": affected,
        "total": total,
        "share": _ratio(affected, total),
        "example": min((name for name in found if name is not None), default=None),
    }


# --- as-of dates ---------------------------------------------------------------------------------


def as_of_dates(world: World) -> list[Row]:
    """One row per evaluation date: weekly dates of the history, and the latest complete date.

    An activity date is complete when every source date it can draw on is loaded: itself, and its
    two neighbours where local time is used. Weekly dates start at the first date with 28 days of
    data behind it (the first complete date is one of the 28).
    """
    if not world.source_dates:
        return []
    loaded = set(world.source_dates)
    reach = 1 if _uses_local_time(world) else 0
    complete = [
        activity_date
        for activity_date in _dates(
            min(loaded) - timedelta(days=1),
            max(loaded) + timedelta(days=1),
        )
        if all(
            activity_date + timedelta(days=offset) in loaded for offset in range(-reach, reach + 1)
        )
    ]
    if not complete:
        return []

    latest = complete[-1]
    first = complete[0] + timedelta(days=DAYS_OF_DATA_BEFORE_FIRST_AS_OF - 1)
    history_start = latest - timedelta(days=7 * world.vars.as_of_history_weeks)
    weekly = {
        candidate
        for candidate in _dates(first, latest)
        if candidate > history_start
        and candidate.weekday() == WEEKDAYS.index(world.vars.as_of_weekday.lower())
    }
    return [
        {"as_of_date": as_of_date, "is_latest": as_of_date == latest}
        for as_of_date in sorted(weekly | {latest})
    ]


# --- activity ------------------------------------------------------------------------------------


def activity_periods(world: World) -> list[Row]:
    """One row per as-of date, user and period of activity.

    A period is an island of activity dates in (D - lookback_days, D]: a new one begins when a
    date is more than period_gap_days after the active date before it. It is open when another
    active day right after D could still belong to it: period_end + period_gap_days >= D.
    """
    tags, genres = _tags_and_genres(world)
    gap = timedelta(days=world.vars.period_gap_days)
    rows = []
    for as_of_date, user_id, days in _lookbacks(world):
        for start, end in _islands({day["activity_date"] for day in days}, gap):
            in_period = [day for day in days if start <= day["activity_date"] <= end]
            interaction_type, interaction_type_share = _interaction_type(in_period)
            period = {
                "as_of_date": as_of_date,
                "user_id": user_id,
                "period_start": start,
                "period_end": end,
                "active_days": len({day["activity_date"] for day in in_period}),
                "is_open": end + gap >= as_of_date,
                "interactions": _total(in_period, "interactions"),
                "watch_minutes": _watch_minutes(in_period),
                "interaction_type": interaction_type,
                "interaction_type_share": interaction_type_share,
                "content_type": _content_type(world, in_period),
                **_watched_title_metrics(world, in_period, tags, genres),
            }
            rows.append({**period, "is_spike": _is_spike(world, period)})
    return _sorted(rows, "as_of_date", "user_id", "period_start")


def period_series(world: World) -> list[Row]:
    """One row per as-of date, user, period and series with an episode watched in the period.

    watch_minutes are those of every day on which the series' episodes were touched, watched or
    not. most_episodes_in_24h counts the episodes by first_at of the first day each is watched
    within the period; both ends of the 24 hours belong to them.
    """
    days_by_user = _grouped(user_content_days(world), "user_id")
    rows = []
    for period in activity_periods(world):
        in_period = [
            day
            for day in days_by_user[(period["user_id"],)]
            if period["period_start"] <= day["activity_date"] <= period["period_end"]
        ]
        for series_id in _watched_series(world, in_period):
            of_series = [
                day for day in in_period if series_of(world, day["content_id"]) == series_id
            ]
            first_watches: dict[str, datetime] = {}
            for day in _sorted(of_series, "activity_date"):
                if day["is_watched"]:
                    first_watches.setdefault(day["content_id"], day["first_at"])
            most_episodes = _most_in_24h(first_watches.values())
            rows.append(
                {
                    "as_of_date": period["as_of_date"],
                    "user_id": period["user_id"],
                    "period_start": period["period_start"],
                    "series_id": series_id,
                    "episodes_watched": len(first_watches),
                    "watch_minutes": _known_minutes(of_series),
                    "share_of_watch": _series_share(of_series, in_period),
                    "most_episodes_in_24h": most_episodes,
                    "is_binge": most_episodes >= world.vars.binge_min_episodes,
                }
            )
    return _sorted(rows, "as_of_date", "user_id", "period_start", "series_id")


def _is_spike(world: World, period: Row) -> bool:
    """A mere visit: few days and little watched; where nobody knows how long, no title watched."""
    if period["active_days"] > world.vars.spike_max_days:
        return False
    if period["watch_minutes"] is None:
        return bool(period["watched_titles"] == 0)
    return bool(period["watch_minutes"] < world.vars.spike_max_watch_minutes)


def inactivity_regions(world: World) -> list[Row]:
    """One row per as-of date, user and region of inactivity in the lookback.

    sleepy: a whole gap of at least sleepy_min_days. ghost: a run of spikes as `_ghost_runs` finds
    them that is long enough and shows no clear interest in a genre.
    """
    _, genres = _tags_and_genres(world)
    days_by_user = _grouped(user_content_days(world), "user_id")
    rows = []
    for (as_of_date, user_id), periods in _grouped(
        activity_periods(world), "as_of_date", "user_id"
    ).items():
        gaps = _gaps_after(periods, as_of_date)
        of_user = {"as_of_date": as_of_date, "user_id": user_id}
        for gap in gaps:
            if len(gap) >= world.vars.sleepy_min_days:
                rows.append(
                    {
                        **of_user,
                        "region_type": "sleepy",
                        "region_start": gap[0],
                        "region_end": gap[-1],
                        "days": len(gap),
                        "is_open": gap[-1] == as_of_date,
                        "active_days": 0,
                        "spikes": 0,
                        "interactions": 0,
                        "watch_minutes": 0.0,
                        "top_genre": None,
                        "top_genre_share": None,
                    }
                )
        for run in _ghost_runs(world, periods, gaps):
            start, end = run[0]["period_start"], run[-1]["period_end"]
            in_run = [
                day for day in days_by_user[(user_id,)] if start <= day["activity_date"] <= end
            ]
            titles = {
                title_of(world, day["content_id"])
                for day in in_run
                if day["content_id"] is not None
            }
            top_genre, top_genre_share = _top_genre(titles, genres)
            has_interest = (
                len(titles) >= world.vars.ghost_min_titles
                and top_genre_share is not None
                and top_genre_share > world.vars.ghost_max_genre_share
            )
            if not has_interest:
                is_last = run[-1] is periods[-1]
                rows.append(
                    {
                        **of_user,
                        "region_type": "ghost",
                        "region_start": start,
                        "region_end": end,
                        "days": _days_from_to(start, end),
                        "is_open": is_last and len(gaps[-1]) < world.vars.sleepy_min_days,
                        "active_days": _total(run, "active_days"),
                        "spikes": len(run),
                        "interactions": _total(in_run, "interactions"),
                        "watch_minutes": _watch_minutes(in_run),
                        "top_genre": top_genre,
                        "top_genre_share": top_genre_share,
                    }
                )
    return _sorted(rows, "as_of_date", "user_id", "region_start")


def _gaps_after(periods: list[Row], as_of_date: date) -> list[list[date]]:
    """For each of a user's periods the inactive days up to the next one, or to the as-of date."""
    ends = [period["period_end"] for period in periods]
    next_starts = [*(period["period_start"] for period in periods), as_of_date + timedelta(days=1)]
    return [
        _dates(end + timedelta(days=1), next_start - timedelta(days=1))
        for end, next_start in zip(ends, next_starts[1:], strict=True)
    ]


def _ghost_runs(world: World, periods: list[Row], gaps: list[list[date]]) -> list[list[Row]]:
    """The longest runs of spikes, each the right time after the one before; enough of them.

    A period that is no spike ends a run, and so does a gap that is too short or sleepy.
    """
    runs: list[list[Row]] = []
    goes_on = False
    for period, gap_after in zip(periods, gaps, strict=True):
        if period["is_spike"] and goes_on:
            runs[-1].append(period)
        elif period["is_spike"]:
            runs.append([period])
        goes_on = (
            period["is_spike"]
            and world.vars.ghost_min_gap_days <= len(gap_after) < world.vars.sleepy_min_days
        )
    return [
        run
        for run in runs
        if len(run) >= world.vars.ghost_min_spikes
        and _days_from_to(run[0]["period_start"], run[-1]["period_end"])
        >= world.vars.ghost_min_days
    ]


# --- windows -------------------------------------------------------------------------------------


def user_windows(world: World) -> list[Row]:
    """One row per as-of date, window (28 and 84 days) and user.

    Users: everyone active in the lookback, and everyone with a running subscription (signed up
    on or before D, not cancelled on or before D). A window is (D - window_days, D]; no metric
    looks further back than the lookback. Shares of nothing are null, counts of nothing are 0.
    """
    tags, genres = _tags_and_genres(world)
    lookbacks = {(as_of_date, user_id): days for as_of_date, user_id, days in _lookbacks(world)}
    periods_by_user = _grouped(activity_periods(world), "as_of_date", "user_id")
    series_by_user = _grouped(period_series(world), "as_of_date", "user_id")
    regions_by_user = _grouped(inactivity_regions(world), "as_of_date", "user_id")
    rhythms = {
        (row["as_of_date"], row["window_days"], row["user_id"]): row for row in user_rhythms(world)
    }
    rows = []
    for as_of_date in [row["as_of_date"] for row in as_of_dates(world)]:
        active = {user_id for evaluated_on, user_id in lookbacks if evaluated_on == as_of_date}
        subscribed = {user_id for user_id in world.users if _is_running(world, user_id, as_of_date)}
        for user_id in active | subscribed:
            in_lookback = lookbacks.get((as_of_date, user_id), [])
            periods = periods_by_user.get((as_of_date, user_id), [])
            series = series_by_user.get((as_of_date, user_id), [])
            regions = regions_by_user.get((as_of_date, user_id), [])
            for window_days in WINDOWS:
                window_start = as_of_date - timedelta(days=window_days - 1)
                in_window = [day for day in in_lookback if day["activity_date"] >= window_start]
                rows.append(
                    {
                        "as_of_date": as_of_date,
                        "window_days": window_days,
                        "user_id": user_id,
                        **_presence_metrics(world, user_id, as_of_date, window_days, in_lookback),
                        **_period_metrics(periods, series, window_start, as_of_date),
                        **_interaction_metrics(in_window),
                        **_watched_title_metrics(world, in_window, tags, genres),
                        **_watch_metrics(world, in_window),
                        **_region_metrics(regions, window_start),
                        **_rhythm_metrics(rhythms.get((as_of_date, window_days, user_id), {})),
                    }
                )
    return _sorted(rows, "as_of_date", "window_days", "user_id")


def _presence_metrics(
    world: World, user_id: str, as_of_date: date, window_days: int, in_lookback: list[Row]
) -> Row:
    """When the user was there: metrics of the window that only need the active dates."""
    active_dates = {day["activity_date"] for day in in_lookback}
    window_start = as_of_date - timedelta(days=window_days - 1)
    previous_start = window_start - timedelta(days=window_days)
    active_days = sum(activity_date >= window_start for activity_date in active_dates)
    previous = sum(previous_start <= active_date < window_start for active_date in active_dates)

    signed_up_on = world.users.get(user_id, {}).get("signed_up_on")
    if signed_up_on is not None and signed_up_on <= as_of_date:
        known_since = signed_up_on
    else:
        known_since = min(active_dates, default=None)

    return {
        "active_days": active_days,
        "active_share": active_days / window_days,
        "days_since_last_active": (as_of_date - max(active_dates)).days if active_dates else None,
        "days_known": (as_of_date - known_since).days if known_since is not None else None,
        "previous_active_days": previous,
        "activity_trend": _ratio(active_days - previous, active_days + previous),
    }


def _interaction_metrics(in_window: list[Row]) -> Row:
    """interactions, and the share of each kind but `other`."""
    interactions = _total(in_window, "interactions")
    return {
        "interactions": interactions,
        **{
            f"{kind}_share": _ratio(_total(in_window, f"{kind}_interactions"), interactions)
            for kind in INTERACTION_TYPES
        },
    }


def _period_metrics(
    periods: list[Row], series: list[Row], window_start: date, as_of_date: date
) -> Row:
    """Metrics of the user's periods that reach into the window, and of the series in them.

    A period's length counts from its first to its last day in the window. What was watched in
    such a period counts whole, the part before the window included. A gap lies between two periods
    of the lookback or after the last one, and counts as far as it lies in the window; an inactive
    day within a period is no gap, and neither are the days before the first period.
    """
    reaching = [period for period in periods if period["period_end"] >= window_start]
    starts = {period["period_start"] for period in reaching}
    series = [row for row in series if row["period_start"] in starts]
    lengths = [
        _days_from_to(max(period["period_start"], window_start), period["period_end"])
        for period in reaching
    ]
    gap_lengths = [
        sum(day >= window_start for day in gap) for gap in _gaps_after(periods, as_of_date)
    ]
    return {
        "periods": len(reaching),
        "longest_period_days": max(lengths, default=0),
        "longest_gap_days": max(gap_lengths, default=None),
        "spikes": sum(period["is_spike"] for period in reaching),
        "binged_series": len({row["series_id"] for row in series if row["is_binge"]}),
        "most_episodes_in_24h": max((row["most_episodes_in_24h"] for row in series), default=0),
    }


def _watch_metrics(world: World, in_window: list[Row]) -> Row:
    """Minutes, episodes, and what kind of content the watching went to."""
    episodes = {
        content_id
        for content_id in _watched_contents(in_window)
        if content_type_of(world, content_id) == "episode"
    }
    return {
        "watch_minutes": _watch_minutes(in_window),
        "watched_episodes": len(episodes),
        "series_share": _share_of_watch_on(world, in_window, "episode"),
        "movie_share": _share_of_watch_on(world, in_window, "movie"),
        "top_series_share": _top_series_share(world, in_window),
    }


def _share_of_watch_on(world: World, in_window: list[Row], content_type: str) -> float | None:
    """Share of the watch interactions on contents of the type; None without watch interactions."""
    of_type = [
        day for day in in_window if content_type_of(world, day["content_id"]) == content_type
    ]
    return _ratio(_total(of_type, "watch_interactions"), _total(in_window, "watch_interactions"))


def _top_series_share(world: World, in_window: list[Row]) -> float | None:
    """The largest share one series has in what was watched; 0 when no series was, None if nothing.

    A series is a title of which an episode was watched, however shortly, with whatever was watched
    on its own entry. Measured in seconds; in distinct watched contents where the window's minutes
    are unknown or 0.
    """
    series = [title for title in _titles(world, in_window) if title["is_series"]]
    if _watch_minutes(in_window):
        all_seconds = _sum_of_known(day["watch_seconds"] for day in in_window)
        of_series = max((title["watch_seconds"] or 0.0 for title in series), default=0.0)
        return _ratio(of_series, all_seconds or 0.0)
    of_series = max((title["watched_contents"] for title in series), default=0)
    return _ratio(of_series, len(_watched_contents(in_window)))


def _region_metrics(regions: list[Row], window_start: date) -> Row:
    """How many days of the user's regions of each type lie in the window."""
    days = {
        region_type: [
            day
            for region in regions
            if region["region_type"] == region_type
            for day in _dates(region["region_start"], region["region_end"])
            if day >= window_start
        ]
        for region_type in ("sleepy", "ghost")
    }
    return {"sleepy_days": len(days["sleepy"]), "ghost_days": len(days["ghost"])}


def _rhythm_metrics(rhythm: Row) -> Row:
    """What user_windows takes from user_rhythms; all null for a user who was not active."""
    return {
        column: rhythm.get(column)
        for column in (
            "weekend_share",
            "prime_time_share",
            "night_share",
            "peak_weekday",
            "peak_hour",
            "hour_concentration",
        )
    }


def _is_running(world: World, user_id: str, as_of_date: date) -> bool:
    """A subscription runs from signed_up_on until the day before cancelled_on."""
    signed_up_on = world.users[user_id].get("signed_up_on")
    cancelled_on = world.users[user_id].get("cancelled_on")
    return (
        signed_up_on is not None
        and signed_up_on <= as_of_date
        and (cancelled_on is None or cancelled_on > as_of_date)
    )


# --- titles and genres ---------------------------------------------------------------------------


def user_titles(world: World) -> list[Row]:
    """One row per as-of date, window, user and title that was watched in it, however shortly."""
    rows = []
    for as_of_date, window_days, user_id, in_window in _windows(world):
        for title in _titles(world, in_window):
            rows.append(
                {
                    "as_of_date": as_of_date,
                    "window_days": window_days,
                    "user_id": user_id,
                    **title,
                }
            )
    return _sorted(rows, "as_of_date", "window_days", "user_id", "title_id")


def _titles(world: World, in_window: list[Row]) -> list[Row]:
    """The titles of contents with a watch interaction or with known seconds, of whatever kind.

    It is a series when such a content names one: the series' own entry alone does not.
    """
    days_by_title: dict[str, list[Row]] = defaultdict(list)
    for day in in_window:
        is_touched = day["watch_interactions"] > 0 or day["watch_seconds"] is not None
        if day["content_id"] is not None and is_touched:
            days_by_title[title_of(world, day["content_id"])].append(day)
    rows = []
    for title_id, days in days_by_title.items():
        interactions: Counter[str] = Counter()
        for day in days:
            content_type = content_type_of(world, day["content_id"])
            interactions[content_type] += day["watch_interactions"]
        watched = _watched_contents(days)
        rows.append(
            {
                "title_id": title_id,
                "is_series": any(series_of(world, day["content_id"]) for day in days),
                "watch_interactions": interactions.total(),
                "episode_interactions": interactions["episode"],
                "movie_interactions": interactions["movie"],
                "watch_seconds": _sum_of_known(day["watch_seconds"] for day in days),
                "watch_minutes": _known_minutes(days),
                "watched_contents": len(watched),
                "watched_episodes": sum(
                    content_type_of(world, content_id) == "episode" for content_id in watched
                ),
            }
        )
    return rows


def user_genres(world: World) -> list[Row]:
    """One row per as-of date, window, user and genre of a title that they watched in it.

    A title is watched when one of its contents is. Watching of a title counts whole for each of
    its genres, and so does its time.
    """
    _, genres = _tags_and_genres(world)
    watched = [
        title
        for title in user_titles(world)
        if title["watched_contents"] > 0 and genres.get(title["title_id"])
    ]
    titles_by_user = _grouped(watched, "as_of_date", "window_days", "user_id")
    titles_of_all = _grouped(watched, "as_of_date", "window_days")
    prior = world.vars.genre_prior_titles
    rows = []
    for (as_of_date, window_days, user_id), titles in titles_by_user.items():
        audience = titles_of_all[(as_of_date, window_days)]
        by_genre = Counter(genre for title in titles for genre in genres[title["title_id"]])
        ranked = sorted(by_genre, key=lambda genre: (-by_genre[genre], genre))
        for rank, genre in enumerate(ranked, 1):
            of_genre = [title for title in titles if genre in genres[title["title_id"]]]
            of_all = [title for title in audience if genre in genres[title["title_id"]]]
            audience_share = len(of_all) / len(audience)
            rows.append(
                {
                    "as_of_date": as_of_date,
                    "window_days": window_days,
                    "user_id": user_id,
                    "genre": genre,
                    "watched_titles": len(of_genre),
                    "watch_minutes": _sum_of_known(title["watch_minutes"] for title in of_genre),
                    "title_share": len(of_genre) / len(titles),
                    "audience_share": audience_share,
                    "lift": (len(of_genre) + prior) / (len(titles) * audience_share + prior),
                    "genre_rank": rank,
                }
            )
    return _sorted(rows, "as_of_date", "window_days", "user_id", "genre")


# --- rhythms -------------------------------------------------------------------------------------


def user_rhythms(world: World) -> list[Row]:
    """One row per as-of date, window and user who was active in it: when they watch."""
    active_dates = {
        (as_of_date, user_id): {day["activity_date"] for day in days}
        for as_of_date, user_id, days in _lookbacks(world)
    }
    rows = []
    for as_of_date, window_days, user_id, hours in _windows_of_hours(world):
        cells = _grouped(
            [
                {
                    **hour,
                    "weekday": hour["activity_date"].isoweekday(),
                    "daypart": _daypart(world, hour["local_hour"]),
                }
                for hour in hours
            ],
            "weekday",
            "daypart",
        )
        thirds = {
            "first": [hour for hour in hours if hour["activity_date"].day <= 10],
            "middle": [hour for hour in hours if 11 <= hour["activity_date"].day <= 20],
            "last": [hour for hour in hours if hour["activity_date"].day >= 21],
        }
        measure = _measure(hours)
        weekday_dayparts = [
            {"weekday": weekday, "daypart": daypart, "amount": _amount(measure, in_cell)}
            for (weekday, daypart), in_cell in sorted(cells.items())
        ]
        rows.append(
            {
                "as_of_date": as_of_date,
                "window_days": window_days,
                "user_id": user_id,
                **_rhythm(world, hours),
                "weekday_dayparts": [cell for cell in weekday_dayparts if cell["amount"] > 0],
                **{
                    f"{third}_third_of_month_share": _share(measure, in_third, hours)
                    for third, in_third in thirds.items()
                },
                "weeks_active_streak": _weeks_in_a_row(
                    active_dates[as_of_date, user_id], as_of_date
                ),
            }
        )
    return _sorted(rows, "as_of_date", "window_days", "user_id")


def _rhythm(world: World, hours: list[Row]) -> Row:
    """Amounts, shares and peaks of the hours of a window."""
    measure = _measure(hours)
    amount = _amount(measure, hours)
    on_weekend = [hour for hour in hours if hour["activity_date"].isoweekday() >= 6]
    by_daypart = {
        daypart: [hour for hour in hours if _daypart(world, hour["local_hour"]) == daypart]
        for daypart in ("prime_time", "night")
    }
    watched = [hour for hour in hours if hour["watch_interactions"] > 0]
    watched_hours = [hour["local_hour"] for hour in watched]
    watched_days = [day.isoweekday() for day in {hour["activity_date"] for hour in watched}]
    days_tell = len(watched_days) >= world.vars.peak_min_days
    return {
        "measure": measure,
        "amount": amount,
        "weekend_share": _share(measure, on_weekend, hours),
        "prime_time_share": _share(measure, by_daypart["prime_time"], hours),
        "night_share": _share(measure, by_daypart["night"], hours),
        "peak_weekday": _peak(watched_days, circle=7) if days_tell else None,
        "peak_hour": _peak(watched_hours, circle=24) if days_tell else None,
        "hour_concentration": _resultant_length(watched_hours, circle=24),
        "watched_hours": len(watched_hours),
        "weekday_concentration": _resultant_length(watched_days, circle=7),
        "watched_days": len(watched_days),
    }


def _measure(hours: list[Row]) -> str:
    """Time where some is known and more than 0, else interactions."""
    return (
        "watch_minutes"
        if _sum_of_known(hour["watch_seconds"] for hour in hours)
        else "interactions"
    )


def _amount(measure: str, hours: list[Row]) -> float:
    """How much happened in the hours, as the measure counts it."""
    return _counted(measure, hours) / (60 if measure == "watch_minutes" else 1)


def _share(measure: str, part: list[Row], whole: list[Row]) -> float:
    """The share of the hours in others: of seconds, because those of minutes would be rounded
    twice, and a rule may ask for exactly 0.9."""
    return _counted(measure, part) / _counted(measure, whole)


def _counted(measure: str, hours: list[Row]) -> float:
    if measure == "watch_minutes":
        return _sum_of_known(hour["watch_seconds"] for hour in hours) or 0.0
    return float(_total(hours, "interactions"))


def _daypart(world: World, local_hour: int) -> str:
    """The daypart that began last at that clock hour; before the morning it is still night."""
    starts = [
        (world.vars.morning_starts_at_hour, "morning"),
        (world.vars.daytime_starts_at_hour, "daytime"),
        (world.vars.early_evening_starts_at_hour, "early_evening"),
        (world.vars.prime_time_starts_at_hour, "prime_time"),
        (world.vars.night_starts_at_hour, "night"),
    ]
    begun = [daypart for start, daypart in starts if start <= local_hour]
    return begun[-1] if begun else "night"


def _resultant_length(values: list[int], *, circle: int) -> float | None:
    """Length of the mean of the values' unit vectors on a circle, to nine digits; None of none."""
    if not values:
        return None
    mean = sum(cmath.exp(2j * math.pi * value / circle) for value in values) / len(values)
    return round(abs(mean), 9)


def _peak(values: list[int], *, circle: int) -> int | None:
    """The most frequent value, the smallest of equals; None where chance could have done it."""
    length = _resultant_length(values, circle=circle)
    if length is None or length < round(math.sqrt(3 / len(values)), 9):
        return None
    counts = Counter(values)
    return min(counts, key=lambda value: (-counts[value], value))


def _weeks_in_a_row(active_dates: set[date], as_of_date: date) -> int:
    """Weeks of seven days with activity, back from the one that ends on the date to a gap."""
    active_weeks = {(as_of_date - active_date).days // 7 for active_date in active_dates}
    week = 0
    while week in active_weeks:
        week += 1
    return week


# --- recency, frequency, watch time --------------------------------------------------------------


def user_rfm(world: World) -> list[Row]:
    """One row per as-of date and user of user_windows, each value scored in fifths of them all.

    The fewer days since the user was last active the better; of the others more is better.
    """
    rows = []
    of_window = [row for row in user_windows(world) if row["window_days"] == RFM_WINDOW]
    for (as_of_date,), audience in _grouped(of_window, "as_of_date").items():
        recencies = [
            None if row["days_since_last_active"] is None else -row["days_since_last_active"]
            for row in audience
        ]
        frequencies = [row["active_days"] for row in audience]
        # Sums that should be equal may differ in their last bits here, and then would not be a tie.
        minutes = [
            None if row["watch_minutes"] is None else round(row["watch_minutes"], 9)
            for row in audience
        ]
        for number, row in enumerate(audience):
            rows.append(
                {
                    "as_of_date": as_of_date,
                    "user_id": row["user_id"],
                    "days_since_last_active": row["days_since_last_active"],
                    "active_days": row["active_days"],
                    "watch_minutes": row["watch_minutes"],
                    "recency_score": _score(recencies[number], recencies),
                    "frequency_score": _score(frequencies[number], frequencies),
                    "watch_score": _score(minutes[number], minutes),
                }
            )
    return _sorted(rows, "as_of_date", "user_id")


def _score(value: float | None, of_all: Sequence[float | None]) -> int | None:
    """1 + the whole fifths of all that are worse, half of the equal ones among them.

    Unknown values have no score and are none of them all.
    """
    if value is None:
        return None
    known = [other for other in of_all if other is not None]
    worse = sum(other < value for other in known)
    equal = sum(other == value for other in known)
    return 1 + 5 * (2 * worse + equal) // (2 * len(known))


# --- personas ------------------------------------------------------------------------------------


def persona_matches(world: World) -> list[Row]:
    """One row per as-of date, user and persona that the user matches or misses by one clause.

    Each persona is judged by its best alternative: one that matches, then the fewest unmet
    clauses, then the greatest strength (unknown last), then the smallest number.
    """
    windows = {
        (row["as_of_date"], row["window_days"], row["user_id"]): row for row in user_windows(world)
    }
    spreads = _spreads(world, windows)
    rules_by_persona: dict[str, dict[int, list[Rule]]] = defaultdict(lambda: defaultdict(list))
    for rule in sorted(world.rules, key=lambda rule: rule.clause):
        rules_by_persona[rule.persona][rule.alternative].append(rule)

    rows = []
    for as_of_date, user_id in {(as_of_date, user_id) for as_of_date, _, user_id in windows}:
        for persona, alternatives in rules_by_persona.items():
            judged = [
                {
                    "as_of_date": as_of_date,
                    "user_id": user_id,
                    "persona": persona,
                    **_judged(rules, windows, spreads, as_of_date, user_id),
                }
                for rules in alternatives.values()
            ]
            best = min(judged, key=_rank_of_alternative)
            if best["clauses"] - best["clauses_met"] <= 1:
                rows.append(best)
    return _sorted(rows, "as_of_date", "user_id", "persona")


def persona_choices(world: World) -> list[Row]:
    """One row per as-of date and user of user_windows: the persona by the exclusivity method.

    Of the matching ones the first in the order of the method, else `casual`; with the method
    `sticky` the persona of the date before while it matches. persona_since is the first date of the
    unbroken run of listed as-of dates with that persona, ending at D.
    """
    personas = {persona.persona: persona for persona in world.personas}
    matches = [row for row in persona_matches(world) if row["is_match"]]
    matches_by_user = _grouped(matches, "as_of_date", "user_id")
    who_match = {key: len(rows) for key, rows in _grouped(matches, "as_of_date", "persona").items()}
    users_by_date: dict[date, set[str]] = defaultdict(set)
    for row in user_windows(world):
        users_by_date[row["as_of_date"]].add(row["user_id"])
    method = world.vars.exclusivity_method

    def order(match: Row) -> tuple[Any, ...]:
        persona = personas[match["persona"]]
        by_priority = (persona.priority, persona.persona)
        if method == "strongest":
            return (-math.inf if match["strength"] is None else match["strength"]) * -1, by_priority
        if method == "rarest":
            return who_match[match["as_of_date"], match["persona"]], by_priority
        if method == "riskiest":
            return ["high", "medium", "low"].index(persona.expected_risk), by_priority
        return by_priority

    rows: list[Row] = []
    previous_rows: dict[str, Row] = {}
    for as_of_date in [row["as_of_date"] for row in as_of_dates(world)]:
        rows_of_date: dict[str, Row] = {}
        for user_id in users_by_date[as_of_date]:
            of_user = matches_by_user.get((as_of_date, user_id), [])
            strengths = {match["persona"]: match["strength"] for match in of_user}
            previous = previous_rows.get(user_id)
            if method == "sticky" and previous is not None and previous["persona"] in strengths:
                persona = previous["persona"]
            else:
                persona = min(of_user, key=order)["persona"] if of_user else NO_PERSONA
            stayed = previous is not None and previous["persona"] == persona
            rows_of_date[user_id] = {
                "as_of_date": as_of_date,
                "user_id": user_id,
                "persona": persona,
                "match_count": len(of_user),
                "all_matches": sorted(
                    strengths, key=lambda match: (personas[match].priority, match)
                ),
                "strength": strengths.get(persona),
                "previous_persona": previous["persona"] if previous else None,
                "persona_since": previous["persona_since"] if previous and stayed else as_of_date,
            }
        rows.extend(rows_of_date.values())
        previous_rows = rows_of_date
    return _sorted(rows, "as_of_date", "user_id")


def _judged(
    rules: list[Rule],
    windows: Mapping[tuple[date, int, str], Row],
    spreads: Mapping[tuple[date, int, str], float],
    as_of_date: date,
    user_id: str,
) -> Row:
    """One alternative, its clauses in order, held against the metrics of one user.

    A null metric never holds. strength = the smallest over the clauses with a known value, met
    or not; None when no clause has one.
    """
    evidence = []
    strengths = []
    for rule in rules:
        value = windows[as_of_date, rule.window_days, user_id][rule.metric]
        evidence.append(
            {
                "clause": rule.clause,
                "metric": rule.metric,
                "window_days": rule.window_days,
                "value": value,
                "operator": rule.operator,
                "threshold": rule.threshold,
                "is_met": value is not None and OPERATORS[rule.operator](value, rule.threshold),
            }
        )
        if value is not None:
            spread = spreads[as_of_date, rule.window_days, rule.metric]
            strengths.append(_strength(value, rule.threshold, spread))
    clauses_met = sum(clause["is_met"] for clause in evidence)
    return {
        "is_match": clauses_met == len(evidence),
        "alternative": rules[0].alternative,
        "clauses": len(evidence),
        "clauses_met": clauses_met,
        "strength": round(min(strengths), 9) if strengths else None,
        "evidence": evidence,
    }


def _spreads(
    world: World, windows: Mapping[tuple[date, int, str], Row]
) -> dict[tuple[date, int, str], float]:
    """Population standard deviation per date, window and metric, over the users who have a value.

    Only for the metrics that a rule names: most of the others are never asked for.
    """
    values: dict[tuple[date, int, str], list[float]] = defaultdict(list)
    for (as_of_date, window_days, _), row in windows.items():
        for metric in {rule.metric for rule in world.rules if rule.window_days == window_days}:
            if row[metric] is not None:
                values[as_of_date, window_days, metric].append(row[metric])
    return {key: statistics.pstdev(known) for key, known in values.items()}


def _strength(value: float, threshold: float, spread: float) -> float:
    """Standard deviations from the threshold, capped; where nobody differs, the cap or nothing."""
    distance = abs(value - threshold)
    if distance == 0:
        return 0.0
    return min(distance / spread, MAX_STRENGTH) if spread > 0 else MAX_STRENGTH


def _rank_of_alternative(judged: Row) -> tuple[bool, int, bool, float, int]:
    """Sort key: the best alternative first."""
    return (
        not judged["is_match"],
        judged["clauses"] - judged["clauses_met"],
        judged["strength"] is None,
        -(judged["strength"] or 0.0),
        judged["alternative"],
    )


# --- time ----------------------------------------------------------------------------------------


@cache
def _known_timezones() -> set[str]:
    return zoneinfo.available_timezones()


def _own_timezone(world: World, user_id: str) -> str | None:
    """The user's time zone where it is a valid IANA name."""
    name = world.users.get(user_id, {}).get("timezone")
    return name if name in _known_timezones() else None


def _local_time(world: World, event: Event) -> datetime:
    """The wall clock of the user at the event, without a zone."""
    zone = zoneinfo.ZoneInfo(_own_timezone(world, event.user_id) or world.vars.default_timezone)
    return event.occurred_at.replace(tzinfo=UTC).astimezone(zone).replace(tzinfo=None)


def _uses_local_time(world: World) -> bool:
    """Whether an activity date can draw on other source dates than its own."""
    return (
        world.vars.day_starts_at_hour != 0
        or world.vars.default_timezone != "UTC"
        or any(_own_timezone(world, user_id) not in (None, "UTC") for user_id in world.users)
    )


def _dates(first: date, last: date) -> list[date]:
    """All dates from first to last, both included; none when last is before first."""
    return [first + timedelta(days=offset) for offset in range(_days_from_to(first, last))]


def _days_from_to(first: date, last: date) -> int:
    """Number of days from first to last, both counted."""
    return (last - first).days + 1


def _islands(dates: Iterable[date], gap: timedelta) -> list[tuple[date, date]]:
    """(start, end) of the runs of dates in which each is at most `gap` after the one before."""
    islands: list[tuple[date, date]] = []
    for day in sorted(dates):
        if islands and day - islands[-1][1] <= gap:
            islands[-1] = (islands[-1][0], day)
        else:
            islands.append((day, day))
    return islands


def _most_in_24h(moments: Iterable[datetime]) -> int:
    """The most moments in any t .. t + 24 hours; the fullest such span can start at a moment."""
    ordered = list(moments)
    return max(
        sum(start <= moment <= start + timedelta(hours=24) for moment in ordered)
        for start in ordered
    )


# --- watching ------------------------------------------------------------------------------------


def _believable(watch_seconds: float | None) -> float | None:
    """Watch seconds that are negative, not finite or absurdly many are not known."""
    if watch_seconds is None or not 0 <= watch_seconds < UNBELIEVABLE_WATCH_SECONDS:
        return None
    return watch_seconds


def _known_minutes(days: Iterable[Row]) -> float | None:
    """Watch minutes of rows of user_content_days; None when no row knows its seconds."""
    seconds = _sum_of_known(day["watch_seconds"] for day in days)
    return None if seconds is None else seconds / 60


def _watch_minutes(days: list[Row]) -> float | None:
    """Watch minutes of rows of user_content_days: the sum of the known ones.

    Where none is known: None when something was watched (nobody knows how long), else 0.
    """
    minutes = _known_minutes(days)
    if minutes is None and _total(days, "watch_interactions") == 0:
        return 0.0
    return minutes


def _watched_contents(days: Iterable[Row]) -> set[str]:
    """Distinct contents with a watched day; watching without a content is none of them."""
    return {day["content_id"] for day in days if day["is_watched"]} - {None}


def _watched_series(world: World, days: Iterable[Row]) -> set[str]:
    """Distinct series with a watched episode."""
    series = {series_of(world, content_id) for content_id in _watched_contents(days)}
    return {series_id for series_id in series if series_id is not None}


def _series_share(of_series: list[Row], of_all: list[Row]) -> float | None:
    """Share of the watch minutes; of the distinct watched contents where those are None or 0."""
    all_minutes = _watch_minutes(of_all)
    if all_minutes:
        series_minutes = _known_minutes(of_series)
        return None if series_minutes is None else series_minutes / all_minutes
    return _ratio(len(_watched_contents(of_series)), len(_watched_contents(of_all)))


def _interaction_type(days: list[Row]) -> tuple[str, float]:
    """The kind with strictly more than half of all interactions, else `mixed`; the largest share.

    `other` counts among all interactions but is never the type.
    """
    interactions = _total(days, "interactions")
    by_kind = {kind: _total(days, f"{kind}_interactions") for kind in INTERACTION_TYPES}
    largest = max(by_kind, key=lambda kind: by_kind[kind])
    is_majority = 2 * by_kind[largest] > interactions
    return (
        INTERACTION_TYPES[largest] if is_majority else "mixed",
        by_kind[largest] / interactions,
    )


def _content_type(world: World, days: list[Row]) -> str:
    """The content type with strictly more than half of the watch interactions, else `mixed`."""
    by_type: Counter[str] = Counter()
    for day in days:
        by_type[content_type_of(world, day["content_id"])] += day["watch_interactions"]
    if by_type.total() == 0:
        return "none"
    content_type, interactions = by_type.most_common(1)[0]
    return content_type if 2 * interactions > by_type.total() else "mixed"


def _watched_title_metrics(
    world: World,
    days: list[Row],
    tags: Mapping[str, set[str]],
    genres: Mapping[str, set[str]],
) -> Row:
    """watched_titles, content_diversity, top_genre and top_genre_share of the watched titles."""
    titles = {title_of(world, content_id) for content_id in _watched_contents(days)}
    top_genre, top_genre_share = _top_genre(titles, genres)
    return {
        "watched_titles": len(titles),
        "content_diversity": content_diversity([tags[title] for title in titles if title in tags]),
        "top_genre": top_genre,
        "top_genre_share": top_genre_share,
    }


def _top_genre(titles: set[str], genres: Mapping[str, set[str]]) -> tuple[str | None, float | None]:
    """The genre of the most titles, the first of equals, and its share of titles with a genre."""
    by_genre = Counter(genre for title in titles for genre in genres.get(title, ()))
    with_genre = sum(bool(genres.get(title)) for title in titles)
    top_genre = min(by_genre, key=lambda genre: (-by_genre[genre], genre), default=None)
    return top_genre, by_genre[top_genre] / with_genre if top_genre is not None else None


def content_diversity(tag_sets: list[set[str]]) -> float | None:
    """Mean pairwise cosine distance of tag sets, none of them empty; None for fewer than two.

    Taken pair by pair, as the words say, and not by the linear formula that the models use.
    """
    pairs = list(combinations(tag_sets, 2))
    if not pairs:
        return None
    return math.fsum(
        1 - len(one & other) / math.sqrt(len(one) * len(other)) for one, other in pairs
    ) / len(pairs)


# --- rows ----------------------------------------------------------------------------------------


def _lookbacks(world: World) -> list[tuple[date, str, list[Row]]]:
    """(as-of date, user, rows of user_content_days in the lookback) for each user who has some."""
    days_by_user = _grouped(user_content_days(world), "user_id")
    lookbacks = []
    for as_of_date in [row["as_of_date"] for row in as_of_dates(world)]:
        lookback_start = as_of_date - timedelta(days=world.vars.lookback_days - 1)
        for (user_id,), days in days_by_user.items():
            in_lookback = [
                day for day in days if lookback_start <= day["activity_date"] <= as_of_date
            ]
            if in_lookback:
                lookbacks.append((as_of_date, user_id, in_lookback))
    return lookbacks


def _windows(world: World) -> list[tuple[date, int, str, list[Row]]]:
    """(as-of date, window, user, rows of user_content_days in it) for each user active in it."""
    windows = []
    for as_of_date, user_id, days in _lookbacks(world):
        for window_days in WINDOWS:
            window_start = as_of_date - timedelta(days=window_days - 1)
            in_window = [day for day in days if day["activity_date"] >= window_start]
            if in_window:
                windows.append((as_of_date, window_days, user_id, in_window))
    return windows


def _windows_of_hours(world: World) -> list[tuple[date, int, str, list[Row]]]:
    """(as-of date, window, user, rows of user_hours in it) for each user active in it."""
    hours_by_user = _grouped(user_hours(world), "user_id")
    windows = []
    for as_of_date, window_days, user_id, days in _windows(world):
        active_dates = {day["activity_date"] for day in days}
        hours = [
            hour for hour in hours_by_user[(user_id,)] if hour["activity_date"] in active_dates
        ]
        windows.append((as_of_date, window_days, user_id, hours))
    return windows


def _tags_and_genres(world: World) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """The tags of each title that has some, and which of them are genres."""
    tags: dict[str, set[str]] = defaultdict(set)
    genres: dict[str, set[str]] = defaultdict(set)
    for row in title_tags(world):
        tags[row["title_id"]].add(row["tag"])
        if row["is_genre"]:
            genres[row["title_id"]].add(row["tag"])
    return dict(tags), dict(genres)


def _clean_tags(names: Iterable[str | None] | None) -> set[str]:
    """Lower-cased, without blanks around them; empty ones dropped."""
    return {name.strip().lower() for name in names or () if name and name.strip()}


def _sum_of_known(values: Iterable[float | None]) -> float | None:
    """The sum of the values that are known; None when none is. Does not depend on the order."""
    known = [value for value in values if value is not None]
    return math.fsum(known) if known else None


def _total(rows: Iterable[Row], column: str) -> int:
    return sum(row[column] for row in rows)


def _ratio(part: float, whole: float) -> float | None:
    """A share; None of nothing."""
    return part / whole if whole else None


def _grouped(rows: Iterable[Row], *columns: str) -> dict[tuple[Any, ...], list[Row]]:
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(row[column] for column in columns)].append(row)
    return dict(groups)


def _sorted(rows: Iterable[Row], *columns: str) -> list[Row]:
    """Rows by the columns, nulls first."""
    return sorted(
        rows, key=lambda row: [(row[column] is not None, row[column]) for column in columns]
    )
