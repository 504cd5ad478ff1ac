"""The definitions of the tables a second time, in plain Python, so that tests can check the models.

Written from the definitions alone and never from the SQL: where the two disagree, one is wrong.
Every function takes a `World` (what was loaded, and the settings) and returns one table as a list
of rows, sorted by its grain. Nothing is cached and nothing is optimised: this is for small worlds.
"""

import math
import operator
import statistics
import zoneinfo
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import combinations
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
DAYS_OF_DATA_BEFORE_FIRST_AS_OF = 28
MAX_STRENGTH = 3.0
NO_PERSONA = "casual"
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
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


@dataclass(frozen=True)
class Vars:
    """The vars of dbt_project.yml that the definitions use, with their defaults."""

    default_timezone: str = "UTC"
    day_starts_at_hour: int = 4
    min_watch_seconds: float = 120
    lookback_days: int = 182
    as_of_weekday: str = "sunday"
    as_of_history_weeks: int = 26
    period_gap_days: int = 1
    binge_min_episodes: int = 3


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
    `other`. watch_seconds is null when no event gave a believable value.
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
                    _believable(event.watch_seconds) for event in events
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
    the day >= min_watch_seconds, or a watch interaction on a day without any known watch_seconds.
    """
    rows = []
    hours_by_grain = _grouped(user_content_hours(world), "activity_date", "user_id", "content_id")
    for (activity_date, user_id, content_id), hours in hours_by_grain.items():
        by_kind = Counter(hour["interaction"] for hour in hours)
        watch_seconds = _sum_of_known(hour["watch_seconds"] for hour in hours)
        if watch_seconds is None:
            is_watched = by_kind["watch"] > 0
        else:
            is_watched = watch_seconds >= world.vars.min_watch_seconds
        rows.append(
            {
                "activity_date": activity_date,
                "user_id": user_id,
                "content_id": content_id,
                "interactions": len(hours),
                **{f"{kind}_interactions": by_kind[kind] for kind in KINDS},
                "event_count": sum(hour["event_count"] for hour in hours),
                "watch_seconds": watch_seconds,
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
    """The content type, lower-cased; `unknown` without content, catalogue entry or type."""
    document = world.contents.get(content_id, {}) if content_id is not None else {}
    return (document.get("content_type") or "unknown").lower()


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
            rows.append(
                {
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
            )
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
    rows = []
    for as_of_date in [row["as_of_date"] for row in as_of_dates(world)]:
        active = {user_id for evaluated_on, user_id in lookbacks if evaluated_on == as_of_date}
        subscribed = {user_id for user_id in world.users if _is_running(world, user_id, as_of_date)}
        for user_id in active | subscribed:
            in_lookback = lookbacks.get((as_of_date, user_id), [])
            periods = periods_by_user.get((as_of_date, user_id), [])
            series = series_by_user.get((as_of_date, user_id), [])
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
    """interactions, the share of each kind but `other`, and the share on Saturdays and Sundays."""
    interactions = _total(in_window, "interactions")
    on_weekend = [day for day in in_window if day["activity_date"].weekday() >= 5]
    return {
        "interactions": interactions,
        **{
            f"{kind}_share": _ratio(_total(in_window, f"{kind}_interactions"), interactions)
            for kind in INTERACTION_TYPES
        },
        "weekend_share": _ratio(_total(on_weekend, "interactions"), interactions),
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
    gaps = [
        (period["period_end"] + timedelta(days=1), following)
        for period, following in zip(
            periods,
            [*(period["period_start"] for period in periods[1:]), as_of_date + timedelta(days=1)],
            strict=False,
        )
    ]
    gap_lengths = [max(0, (end - max(start, window_start)).days) for start, end in gaps]
    return {
        "periods": len(reaching),
        "longest_period_days": max(lengths, default=0),
        "longest_gap_days": max(gap_lengths, default=None),
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

    Measured in minutes; in distinct watched contents where the window's minutes are unknown or 0.
    """
    if not _watch_minutes(in_window) and not _watched_contents(in_window):
        return None
    shares = []
    for series_id in {series_of(world, day["content_id"]) for day in in_window} - {None}:
        of_series = [day for day in in_window if series_of(world, day["content_id"]) == series_id]
        shares.append(_series_share(of_series, in_window) or 0.0)
    return max(shares, default=0.0)


def _is_running(world: World, user_id: str, as_of_date: date) -> bool:
    """A subscription runs from signed_up_on until the day before cancelled_on."""
    signed_up_on = world.users[user_id].get("signed_up_on")
    cancelled_on = world.users[user_id].get("cancelled_on")
    return (
        signed_up_on is not None
        and signed_up_on <= as_of_date
        and (cancelled_on is None or cancelled_on > as_of_date)
    )


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


def user_personas(world: World) -> list[Row]:
    """One row per as-of date and user of user_windows, by exclusivity method `priority`.

    The persona is the matching one with the smallest priority, else `casual`. persona_since is
    the first date of the unbroken run of listed as-of dates with that persona, ending at D.
    """
    priorities = {persona.persona: persona.priority for persona in world.personas}
    matches_by_user = _grouped(
        [row for row in persona_matches(world) if row["is_match"]], "as_of_date", "user_id"
    )
    users_by_date: dict[date, set[str]] = defaultdict(set)
    for row in user_windows(world):
        users_by_date[row["as_of_date"]].add(row["user_id"])

    rows: list[Row] = []
    previous_rows: dict[str, Row] = {}
    for as_of_date in [row["as_of_date"] for row in as_of_dates(world)]:
        rows_of_date: dict[str, Row] = {}
        for user_id in users_by_date[as_of_date]:
            matches = sorted(
                matches_by_user.get((as_of_date, user_id), []),
                key=lambda match: (priorities[match["persona"]], match["persona"]),
            )
            persona = matches[0]["persona"] if matches else NO_PERSONA
            previous = previous_rows.get(user_id)
            stayed = previous is not None and previous["persona"] == persona
            rows_of_date[user_id] = {
                "as_of_date": as_of_date,
                "user_id": user_id,
                "persona": persona,
                "match_count": len(matches),
                "all_matches": [match["persona"] for match in matches],
                "strength": matches[0]["strength"] if matches else None,
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
    by_genre = Counter(genre for title in titles for genre in genres.get(title, ()))
    with_genre = sum(bool(genres.get(title)) for title in titles)
    top_genre = min(by_genre, key=lambda genre: (-by_genre[genre], genre), default=None)
    return {
        "watched_titles": len(titles),
        "content_diversity": content_diversity([tags[title] for title in titles if title in tags]),
        "top_genre": top_genre,
        "top_genre_share": by_genre[top_genre] / with_genre if top_genre is not None else None,
    }


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
