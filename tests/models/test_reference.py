"""The reference implementation against examples computed by hand, edges first.

Unless a test says otherwise the day starts at midnight UTC and only the last loaded day, Sunday
30 June 2024, is evaluated: an event `days_ago(n)` then lies n days before the as-of date.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from typing import Any

import pytest

from reference import definitions as reference
from reference.definitions import Event, Persona, Row, Rule, Vars, World

AS_OF = date(2024, 6, 30)
TYPES = {
    "play": ("watch", True),
    "open": ("browse", True),
    "find": ("search", True),
    "save": ("curate", True),
    "rate": ("feedback", True),
    "ping": ("ignore", True),
    "push_sent": ("other", False),
}
CATALOGUE: dict[str, Row] = {
    "film_a": {"content_type": "Movie", "genres": ["Drama"], "tags": [" Dark ", ""]},
    "film_b": {"content_type": "movie", "genres": ["comedy"], "tags": None},
    "show": {"content_type": "series", "genres": ["crime"], "tags": []},
    **{
        f"show_e{number}": {
            "content_type": "Episode",
            "series_id": "show",
            "genres": ["drama"],
            "tags": ["nordic"],
        }
        for number in range(1, 6)
    },
    "pilot": {"content_type": "episode", "series_id": None, "genres": [], "tags": ["crime"]},
}


def days_ago(days: int, hour: int = 12, minute: int = 0, second: int = 0) -> datetime:
    return datetime.combine(AS_OF, time(hour, minute, second)) - timedelta(days=days)


def play(
    content_id: str | None, at: datetime, seconds: float | None = 600, user: str = "anna"
) -> Event:
    return Event(user, content_id, "play", at, seconds)


def browse(at: datetime, user: str = "anna", content_id: str | None = "film_a") -> Event:
    return Event(user, content_id, "open", at)


def make_world(
    *events: Event,
    loaded_days: int = 200,
    users: dict[str, Row] | None = None,
    rules: list[Rule] | None = None,
    personas: list[Persona] | None = None,
    **settings: Any,
) -> World:
    """A world of the catalogue above that ends on AS_OF; settings are fields of Vars."""
    return World(
        events=list(events),
        contents=CATALOGUE,
        users=users or {},
        source_dates=[AS_OF - timedelta(days=days) for days in reversed(range(loaded_days))],
        event_types=TYPES,
        vars=replace(Vars(day_starts_at_hour=0, as_of_history_weeks=0), **settings),
        rules=rules or [],
        personas=personas or [],
    )


def only(rows: list[Row], **wanted: Any) -> Row:
    """The one row with these values."""
    found = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    assert len(found) == 1, found
    return found[0]


def window(world: World, window_days: int = 28, user: str = "anna") -> Row:
    rows = reference.user_windows(world)
    return only(rows, window_days=window_days, user_id=user, as_of_date=AS_OF)


# --- roll-ups ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("timezone", "occurred_at", "activity_date", "local_hour"),
    [
        pytest.param(None, (30, 3, 59), 29, 3, id="last_minute_of_the_tv_day"),
        pytest.param(None, (30, 4, 0), 30, 4, id="first_minute_of_the_tv_day"),
        pytest.param("Nowhere/At_all", (30, 4, 0), 30, 4, id="unknown_zone_is_the_default"),
        pytest.param("America/New_York", (30, 7, 59), 29, 3, id="four_hours_behind_in_summer"),
        pytest.param("America/New_York", (30, 8, 0), 30, 4, id="four_hours_behind_tv_day_begins"),
        pytest.param("Asia/Kolkata", (29, 22, 30), 30, 4, id="half_hour_zone_is_a_date_ahead"),
    ],
)
def test_activity_date_is_the_local_tv_day(
    timezone: str | None, occurred_at: tuple[int, int, int], activity_date: int, local_hour: int
) -> None:
    event = play("film_a", datetime(2024, 6, *occurred_at))
    world = make_world(event, day_starts_at_hour=4, users={"anna": {"timezone": timezone}})
    [row] = reference.user_content_hours(world)
    assert row["source_date"] == date(2024, 6, occurred_at[0])
    assert row["activity_date"] == date(2024, 6, activity_date)
    assert row["local_hour"] == local_hour


def test_wall_clock_decides_in_the_night_the_clocks_go_forward() -> None:
    # New York, 10 March 2024: 03:30 local is only 2.5 hours after midnight, yet before 04:00.
    world = make_world(
        play("film_a", datetime(2024, 3, 10, 7, 30)),
        day_starts_at_hour=4,
        users={"anna": {"timezone": "America/New_York"}},
    )
    [row] = reference.user_content_hours(world)
    assert (row["activity_date"], row["local_hour"]) == (date(2024, 3, 9), 3)


def test_an_hour_sums_its_events_and_leaves_out_what_is_no_activity() -> None:
    at = days_ago(0, 20)
    world = make_world(
        Event("anna", "film_a", "play", at, 50.0, 2),
        Event("anna", "film_a", "play", at + timedelta(minutes=59), 25.0, 1),
        Event("anna", "film_a", "play", at + timedelta(minutes=30), -1.0),
        Event("anna", "film_a", "play", at + timedelta(minutes=30), math.inf),
        Event("anna", "film_a", "play", at + timedelta(minutes=30), math.nan),
        Event("anna", "film_a", "play", at + timedelta(minutes=30), 1e9),
        Event("anna", "film_a", "ping", at),
        Event("anna", "film_a", "push_sent", at),
        Event("anna", None, "never heard of", at),
    )
    other, watch = reference.user_content_hours(world)
    assert (other["content_id"], other["interaction"]) == (None, "other")
    assert other["watch_seconds"] is None
    assert (watch["event_count"], watch["watch_seconds"]) == (7, 75.0)
    assert (watch["first_at"], watch["last_at"]) == (at, at + timedelta(minutes=59))


@pytest.mark.parametrize(
    ("events", "is_watched", "watch_minutes"),
    [
        pytest.param([play("film_a", days_ago(0), 119.9)], False, 119.9 / 60, id="just_under"),
        pytest.param([play("film_a", days_ago(0), 120.0)], True, 2.0, id="exactly"),
        pytest.param(
            [play("film_a", days_ago(0, 20), 60.0), play("film_a", days_ago(0, 22), 60.0)],
            True,
            2.0,
            id="two_hours_together",
        ),
        pytest.param([play("film_a", days_ago(0), None)], True, None, id="seconds_never_known"),
        pytest.param(
            [play("film_a", days_ago(0, 20), None), play("film_a", days_ago(0, 22), 5.0)],
            False,
            5 / 60,
            id="a_few_seconds_known",
        ),
        pytest.param([browse(days_ago(0))], False, 0.0, id="only_browsed"),
    ],
)
def test_a_content_is_watched_from_the_minimum_on(
    events: list[Event], is_watched: bool, watch_minutes: float | None
) -> None:
    world = make_world(*events)
    [content_row] = reference.user_content_days(world)
    [user_row] = reference.user_days(world)
    [content_day] = reference.content_days(world)
    assert content_row["is_watched"] is is_watched
    assert content_row["interactions"] == len(events)
    assert user_row["watched_contents"] == content_day["users_who_watched"] == is_watched
    assert user_row["watch_minutes"] == content_day["watch_minutes"] == watch_minutes


def test_watching_without_a_content_counts_as_time_but_as_no_content() -> None:
    world = make_world(play(None, days_ago(0)), play("film_a", days_ago(0)))
    assert [row["content_id"] for row in reference.user_content_days(world)] == [None, "film_a"]
    [user_row] = reference.user_days(world)
    assert (user_row["interactions"], user_row["watch_minutes"]) == (2, 20.0)
    assert user_row["watched_contents"] == 1
    assert [row["content_id"] for row in reference.content_days(world)] == ["film_a"]


def test_an_hour_of_the_clock_adds_up_what_was_done_in_it() -> None:
    world = make_world(
        play("film_a", days_ago(0, 20), 100.5),
        play("film_b", days_ago(0, 20, 59), None),
        browse(days_ago(0, 20)),
        browse(days_ago(0, 21)),
        play("film_a", days_ago(1, 20), None),
    )
    told = [
        (row["activity_date"].day, row["local_hour"], row["interactions"], row["watch_seconds"])
        for row in reference.user_hours(world)
    ]
    assert told == [(29, 20, 1, None), (30, 20, 3, 100.5), (30, 21, 1, None)]
    assert [row["watch_interactions"] for row in reference.user_hours(world)] == [1, 2, 0]


# --- catalogue -----------------------------------------------------------------------------------


def test_a_series_has_the_tags_of_its_own_entry_and_of_its_episodes() -> None:
    rows = reference.title_tags(make_world())
    assert [(row["title_id"], row["tag"], row["is_genre"]) for row in rows] == [
        ("film_a", "dark", False),
        ("film_a", "drama", True),
        ("film_b", "comedy", True),
        ("pilot", "crime", False),
        ("show", "crime", True),
        ("show", "drama", True),
        ("show", "nordic", False),
    ]


def quality(world: World, quality_check: str) -> list[tuple[int, int, str | None]]:
    """affected, total and example of a check, by date."""
    return [
        (row["affected"], row["total"], row["example"])
        for row in reference.data_quality(world)
        if row["quality_check"] == quality_check
    ]


def test_data_quality_counts_what_is_suspicious() -> None:
    world = make_world(
        Event("anna", "film_a", "novel type", days_ago(0), None, 2),
        Event("anna", None, "find", days_ago(0), None, 5),
        Event("anna", "gone", "play", days_ago(0), None, 3),
        Event("bert", "also_gone", "open", days_ago(0)),
        Event("bert", "pilot", "open", days_ago(0)),
        Event("bert", "show_e1", "open", days_ago(0)),
        Event("bert", "show_e2", "open", days_ago(0)),
        Event("cleo", "film_b", "ping", days_ago(0)),
        Event("cleo", None, "find", days_ago(1)),
        users={"bert": {"timezone": "Nowhere/At_all"}, "anna": {"timezone": "Europe/Berlin"}},
    )
    # events: 2 + 5 + 3 + 1 + 1 + 1 + 1 = 14; of the day before only the one without a content
    assert quality(world, "events_of_unknown_type") == [(0, 1, None), (2, 14, None)]
    assert quality(world, "events_on_unknown_contents") == [(4, 9, "also_gone")]
    assert quality(world, "contents_without_genre") == [(1, 4, "pilot")]
    assert quality(world, "episodes_without_series") == [(1, 3, "pilot")]
    assert quality(world, "series_without_episodes") == [(0, 1, None)]
    assert quality(world, "users_in_unknown_time_zones") == [(0, 1, None), (1, 2, "bert")]
    shares = {row["share"] for row in reference.data_quality(world)}
    assert shares == {0.0, 2 / 14, 4 / 9, 1 / 4, 1 / 3, 1 / 2}


def test_data_quality_adds_up_the_events_of_a_utc_date() -> None:
    world = make_world(
        Event("anna", "film_a", "play", days_ago(0), 60.0, 3),
        Event("bert", "film_a", "play", days_ago(0, 22), 60.0, 2),
        Event("bert", None, "novel type", days_ago(0)),
        Event("bert", "film_a", "ping", days_ago(0)),
        # the local date before, but the UTC date counts
        Event("cleo", "film_a", "open", days_ago(0, 1)),
        users={"cleo": {"timezone": "America/New_York"}},
    )
    assert quality(world, "events_of_unknown_type") == [(1, 7, None)]
    assert quality(world, "events_on_unknown_contents") == [(0, 6, None)]
    assert quality(world, "contents_without_genre") == [(0, 1, None)]


def test_a_series_is_without_episodes_when_none_in_the_catalogue_names_it() -> None:
    without_episodes = {name: CATALOGUE[name] for name in ("show", "film_a")}
    world = replace(make_world(browse(days_ago(0), content_id="show")), contents=without_episodes)
    assert quality(world, "series_without_episodes") == [(1, 1, "show")]
    assert quality(world, "contents_without_genre") == [(0, 1, None)]
    assert quality(world, "episodes_without_series") == []


def test_a_field_is_unreadable_when_it_is_not_what_it_should_be() -> None:
    fields = {
        "season_number": "two",
        "episode_number": "10",
        "runtime_seconds": [60],
        "released_on": 1984,
        "genres": {"name": "drama"},
        "tags": "dark",
        "availability": "DE",
        "title": "",
    }
    drifted = {**CATALOGUE, "film_a": {**CATALOGUE["film_a"], **fields}}
    assert reference.unreadable_fields(drifted["film_a"]) == [
        "season_number",
        "runtime_seconds",
        "released_on",
        "genres",
        "availability",
    ]
    events = [browse(days_ago(0), content_id=name) for name in ("film_a", "film_b")]
    world = replace(make_world(*events), contents=drifted)
    assert quality(world, "contents_with_unreadable_fields") == [(1, 2, "film_a")]


# --- as-of dates ---------------------------------------------------------------------------------


def test_weekly_dates_begin_with_28_days_behind_them_and_end_with_the_latest() -> None:
    # Monday 27 May to Tuesday 2 July: 28 days from 27 May end on Sunday 23 June.
    first, last = date(2024, 5, 27), date(2024, 7, 2)
    world = World(
        source_dates=[first + timedelta(days=day) for day in range((last - first).days + 1)],
        vars=Vars(day_starts_at_hour=0),
    )
    expected = [(date(2024, 6, 23), False), (date(2024, 6, 30), False), (last, True)]
    rows = reference.as_of_dates(world)
    assert [(row["as_of_date"], row["is_latest"]) for row in rows] == expected

    one_day_less = replace(world, source_dates=world.source_dates[1:])
    assert [row["as_of_date"] for row in reference.as_of_dates(one_day_less)] == [
        date(2024, 6, 30),
        last,
    ]


def test_local_time_needs_the_neighbouring_source_dates() -> None:
    utc = make_world()
    assert reference.as_of_dates(utc) == [{"as_of_date": AS_OF, "is_latest": True}]
    day_before = [{"as_of_date": AS_OF - timedelta(days=1), "is_latest": True}]
    for local in (
        make_world(day_starts_at_hour=4),
        make_world(default_timezone="Europe/Berlin"),
        make_world(users={"never_seen": {"timezone": "Europe/Berlin"}}),
    ):
        assert reference.as_of_dates(local) == day_before
    assert reference.as_of_dates(make_world(loaded_days=2, day_starts_at_hour=4)) == []
    assert reference.as_of_dates(World()) == []


def test_history_is_half_open_and_a_latest_sunday_is_listed_once() -> None:
    rows = reference.as_of_dates(make_world(as_of_history_weeks=2))
    assert [row["as_of_date"] for row in rows] == [AS_OF - timedelta(days=7), AS_OF]


# --- periods -------------------------------------------------------------------------------------


def test_a_new_period_begins_after_more_than_the_gap() -> None:
    events = [browse(days_ago(day)) for day in (9, 8, 6, 3, 2)]
    strict = reference.activity_periods(make_world(*events))
    assert [(row["period_start"].day, row["period_end"].day) for row in strict] == [
        (21, 22),
        (24, 24),
        (27, 28),
    ]
    assert [row["is_open"] for row in strict] == [False, False, False]

    lenient = reference.activity_periods(make_world(*events, period_gap_days=2))
    assert [(row["period_start"].day, row["active_days"]) for row in lenient] == [(21, 3), (27, 2)]
    assert [row["is_open"] for row in lenient] == [False, True]


def test_the_lookback_is_half_open() -> None:
    world = make_world(browse(days_ago(182)), browse(days_ago(181)))
    [row] = reference.activity_periods(world)
    assert (row["period_start"], row["active_days"]) == (AS_OF - timedelta(days=181), 1)


def test_a_kind_needs_more_than_half_of_all_interactions() -> None:
    half = [play("film_a", days_ago(0)), Event("anna", "film_a", "novel type", days_ago(0))]
    [row] = reference.activity_periods(make_world(*half))
    assert (row["interaction_type"], row["interaction_type_share"]) == ("mixed", 0.5)

    [row] = reference.activity_periods(make_world(*half, play("film_a", days_ago(0, 13))))
    assert (row["interaction_type"], row["interaction_type_share"]) == ("watching", 2 / 3)

    [row] = reference.activity_periods(make_world(half[1]))
    assert (row["interaction_type"], row["interaction_type_share"]) == ("mixed", 0.0)
    assert (row["content_type"], row["watch_minutes"]) == ("none", 0.0)


def test_content_type_of_a_period_is_that_of_most_watch_interactions() -> None:
    film, gone, nothing = (play(name, days_ago(0)) for name in ("film_a", "gone", None))
    [row] = reference.activity_periods(make_world(film, gone))
    assert row["content_type"] == "mixed"
    [row] = reference.activity_periods(make_world(film, gone, nothing))
    assert row["content_type"] == "unknown"
    [row] = reference.activity_periods(make_world(film))
    assert row["content_type"] == "movie"


def test_diversity_and_top_genre_of_the_watched_titles() -> None:
    # film_a {dark, drama}, show {crime, drama, nordic}, film_b {comedy}; two episodes: one title.
    watched = ("film_a", "film_b", "show_e1", "show_e2", "gone")
    world = make_world(*(play(name, days_ago(0)) for name in watched))
    [row] = reference.activity_periods(world)
    assert row["watched_titles"] == 4
    assert row["content_diversity"] == pytest.approx((1 - 1 / math.sqrt(6) + 1 + 1) / 3)
    assert (row["top_genre"], row["top_genre_share"]) == ("drama", 2 / 3)

    [row] = reference.activity_periods(make_world(play("show_e1", days_ago(0))))
    assert row["content_diversity"] is None
    assert (row["top_genre"], row["top_genre_share"]) == ("crime", 1.0)

    [row] = reference.activity_periods(make_world(play("pilot", days_ago(0))))
    assert (row["watched_titles"], row["top_genre"], row["top_genre_share"]) == (1, None, None)


@pytest.mark.parametrize(
    "tag_sets",
    [
        [{"a"}, {"a"}],
        [{"a"}, {"b"}],
        [{"a", "b"}, {"b", "c", "d"}, {"d"}, {"a", "b"}],
        [{"a", "b", "c"}, {"a"}, {"b"}, {"c"}, {"e", "f"}],
    ],
)
def test_diversity_pair_by_pair_is_the_linear_formula(tag_sets: list[set[str]]) -> None:
    weights = [
        sum(1 / math.sqrt(len(tags)) for tags in tag_sets if tag in tags)
        for tag in set.union(*tag_sets)
    ]
    count = len(tag_sets)
    linear = 1 - (sum(weight**2 for weight in weights) - count) / (count * (count - 1))
    assert reference.content_diversity(tag_sets) == pytest.approx(linear, abs=1e-12)


@pytest.mark.parametrize(
    ("third_episode_at", "most_episodes", "is_binge"),
    [
        pytest.param(days_ago(0, 20, 0, 0), 3, True, id="exactly_24_hours"),
        pytest.param(days_ago(0, 20, 0, 1), 2, False, id="one_second_more"),
    ],
)
def test_a_binge_is_three_episodes_in_24_hours(
    third_episode_at: datetime, most_episodes: int, is_binge: bool
) -> None:
    world = make_world(
        play("show_e1", days_ago(1, 20)),
        play("show_e2", days_ago(1, 21)),
        play("show_e3", third_episode_at),
        play("film_a", days_ago(0), 600),
        play("show_e4", days_ago(0), 60),
    )
    [row] = reference.period_series(world)
    assert (row["series_id"], row["episodes_watched"]) == ("show", 3)
    assert (row["most_episodes_in_24h"], row["is_binge"]) == (most_episodes, is_binge)
    assert row["watch_minutes"] == 31.0  # the minute of the fourth episode is watching too
    assert row["share_of_watch"] == 31 / 41


def test_an_episode_counts_from_the_first_day_it_is_watched() -> None:
    # Both were started on the first day, but one of them only for a minute.
    world = make_world(
        play("show_e1", days_ago(3), 600),
        play("show_e2", days_ago(3), 60),
        browse(days_ago(2)),
        play("show_e2", days_ago(1), 600),
    )
    [row] = reference.period_series(world)
    assert (row["episodes_watched"], row["most_episodes_in_24h"]) == (2, 1)


def test_share_of_watch_is_of_contents_where_no_minutes_are_known() -> None:
    watched = ("show_e1", "show_e2", "film_a", "pilot")
    world = make_world(*(play(name, days_ago(0), None) for name in watched))
    [row] = reference.period_series(world)
    assert (row["watch_minutes"], row["share_of_watch"]) == (None, 0.5)


# --- regions of inactivity -----------------------------------------------------------------------


def glances(*days: int, contents: tuple[str | None, ...] = ("film_a",)) -> list[Event]:
    """A click on each of these days, on the first of them on each of the contents."""
    first = [browse(days_ago(days[0]), content_id=content_id) for content_id in contents]
    return [*first, *(browse(days_ago(day), content_id=contents[0]) for day in days[1:])]


def stay(days: int) -> Event:
    """Half an hour of a film, which is no spike."""
    return play("film_a", days_ago(days), 1800)


def regions(*events: Event, **settings: Any) -> list[tuple[Any, ...]]:
    """(type, first day ago, last day ago, is_open) of all regions."""
    return [
        (
            row["region_type"],
            (AS_OF - row["region_start"]).days,
            (AS_OF - row["region_end"]).days,
            row["is_open"],
        )
        for row in reference.inactivity_regions(make_world(*events, **settings))
    ]


@pytest.mark.parametrize(
    ("events", "is_spike"),
    [
        pytest.param(glances(5, 4), True, id="two_days"),
        pytest.param(glances(5, 4, 3), False, id="three_days"),
        pytest.param([play("film_a", days_ago(5), 1799.9)], True, id="just_under_the_minutes"),
        pytest.param([stay(5)], False, id="exactly_the_minutes"),
        pytest.param([play("film_a", days_ago(5), None)], False, id="unknown_minutes_of_a_title"),
        pytest.param([play(None, days_ago(5), None)], True, id="unknown_minutes_of_nothing"),
        pytest.param(
            [play("film_a", days_ago(5), None), play("film_b", days_ago(5), 1)],
            True,
            id="a_second_is_known",
        ),
    ],
)
def test_a_spike_is_a_mere_visit(events: list[Event], is_spike: bool) -> None:
    [row] = reference.activity_periods(make_world(*events))
    assert row["is_spike"] is is_spike


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param([stay(40), stay(12)], [], id="27_days"),
        pytest.param([stay(41), stay(12)], [("sleepy", 40, 13, False)], id="28_days"),
        pytest.param([stay(27)], [], id="27_days_so_far"),
        pytest.param([stay(28)], [("sleepy", 27, 0, True)], id="28_days_so_far"),
        pytest.param([stay(182), stay(3)], [], id="days_before_the_first_period_are_no_gap"),
        pytest.param(
            [stay(90), *glances(50, 20)],
            [("sleepy", 89, 51, False), ("sleepy", 49, 21, False)],
            id="two_of_them",
        ),
    ],
)
def test_a_sleepy_region_is_a_long_gap(
    events: list[Event], expected: list[tuple[Any, ...]]
) -> None:
    assert regions(*events) == expected


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param(glances(20), [], id="one_spike"),
        pytest.param(glances(33, 6), [("ghost", 33, 6, True)], id="28_days"),
        pytest.param(glances(32, 6), [], id="27_days"),
        pytest.param(glances(34, 33, 20, 7, 6), [("ghost", 34, 6, True)], id="two_days_each"),
        pytest.param(glances(35, 31, 27, 5), [("ghost", 35, 5, True)], id="gaps_of_three_days"),
        pytest.param(glances(35, 31, 28, 5), [], id="a_gap_of_two_days"),
        pytest.param(glances(33, 5), [("ghost", 33, 5, True)], id="a_gap_of_27_days"),
        pytest.param(glances(34, 5), [("sleepy", 33, 6, False)], id="a_gap_of_28_days"),
        pytest.param([*glances(40, 20, 5), stay(30)], [], id="a_stay_within"),
        pytest.param(
            [*glances(60, 45, 27), stay(9)], [("ghost", 60, 27, False)], id="a_stay_after"
        ),
        pytest.param(glances(60, 45, 27), [("ghost", 60, 27, True)], id="may_go_on"),
        pytest.param(
            glances(61, 46, 28),
            [("ghost", 61, 28, False), ("sleepy", 27, 0, True)],
            id="fell_asleep",
        ),
        pytest.param(glances(33, 6, contents=(None,)), [("ghost", 33, 6, True)], id="no_title"),
    ],
)
def test_a_ghost_region_is_a_long_run_of_spikes(
    events: list[Event], expected: list[tuple[Any, ...]]
) -> None:
    assert regions(*events) == expected
    assert regions(*events, ghost_min_spikes=6) == [
        region for region in expected if region[0] == "sleepy"
    ]


@pytest.mark.parametrize(
    ("contents", "top_genre", "share"),
    [
        pytest.param(("film_a", "show_e1"), "drama", 1.0, id="two_titles"),
        pytest.param(("film_a", "film_b", "pilot"), "comedy", 0.5, id="half_of_those_with_genre"),
        pytest.param(("pilot", "gone", "gone_too"), None, None, id="no_genre"),
        pytest.param(("show_e1", "show_e2", "show"), "crime", 1.0, id="one_title_thrice"),
    ],
)
def test_a_ghost_has_no_clear_interest(
    contents: tuple[str | None, ...], top_genre: str | None, share: float | None
) -> None:
    world = make_world(*glances(33, 6, contents=contents))
    [row] = reference.inactivity_regions(world)
    assert (row["region_type"], row["days"], row["spikes"]) == ("ghost", 28, 2)
    assert (row["active_days"], row["interactions"]) == (2, len(contents) + 1)
    assert (row["watch_minutes"], row["top_genre"], row["top_genre_share"]) == (
        0.0,
        top_genre,
        share,
    )


def test_an_interest_in_a_genre_is_no_ghost() -> None:
    events = glances(33, 6, contents=("film_a", "show", "film_b", "gone"))
    assert regions(*events) == []  # drama: two of three titles with a genre
    assert regions(*events, ghost_max_genre_share=2 / 3) == [("ghost", 33, 6, True)]
    assert regions(*events, ghost_min_titles=5) == [("ghost", 33, 6, True)]


def test_the_lookback_cuts_periods_and_so_makes_spikes() -> None:
    events = [*(play("film_a", days_ago(day)) for day in (183, 182, 181, 180)), *glances(160, 153)]
    assert regions(*events) == [("ghost", 181, 153, False), ("sleepy", 152, 0, True)]


def test_a_window_counts_the_days_of_regions_that_lie_in_it() -> None:
    # 28 days from 3 June (27 days ago), 84 from 8 April (83 days ago)
    world = make_world(*glances(60, 33, 6))
    told = [
        (row["sleepy_days"], row["ghost_days"], row["spikes"])
        for row in (window(world), window(world, 84))
    ]
    assert told == [(0, 22, 1), (0, 55, 3)]
    world = make_world(stay(100), stay(60), *glances(28, 27))
    told = [
        (row["sleepy_days"], row["ghost_days"], row["spikes"])
        for row in (window(world), window(world, 84))
    ]
    assert told == [(0, 0, 1), (23 + 31, 0, 1)]


# --- windows -------------------------------------------------------------------------------------


def test_window_of_a_user_who_came_now_and_before() -> None:
    # 28 days: 3 June to 30 June. Active 31 May to 4 June, then Saturday 22 June.
    world = make_world(
        browse(days_ago(30)),
        play("show_e1", days_ago(29)),
        play("show_e2", days_ago(28)),
        play("show_e3", days_ago(28, 11)),
        play("show_e4", days_ago(28, 10)),
        play("film_a", days_ago(27), 900),
        play("show_e1", days_ago(26), 300),
        Event("anna", None, "find", days_ago(8)),
        Event("anna", None, "novel type", days_ago(8)),
    )
    row = window(world)
    assert (row["active_days"], row["previous_active_days"]) == (3, 3)
    assert (row["active_share"], row["activity_trend"]) == (3 / 28, 0.0)
    assert (row["periods"], row["longest_period_days"]) == (2, 2)
    assert (row["days_since_last_active"], row["longest_gap_days"]) == (8, 17)
    assert row["days_known"] == 30
    assert row["interactions"] == 4
    assert (row["watch_share"], row["search_share"], row["browse_share"]) == (0.5, 0.25, 0.0)
    assert row["weekend_share"] == 0.0  # nothing was watched on the 22nd
    assert (row["watch_minutes"], row["watched_titles"], row["watched_episodes"]) == (20.0, 2, 1)
    assert (row["series_share"], row["movie_share"], row["top_series_share"]) == (0.5, 0.5, 0.25)
    # The binge lies just before the window, in a period that reaches into it.
    assert (row["binged_series"], row["most_episodes_in_24h"]) == (1, 4)

    row = window(world, 84)
    assert (row["active_days"], row["previous_active_days"], row["activity_trend"]) == (6, 0, 1.0)
    assert (row["longest_period_days"], row["longest_gap_days"]) == (5, 17)


def test_window_of_a_subscriber_who_never_came() -> None:
    users = {
        "anna": {"signed_up_on": AS_OF},
        "cancelled_today": {"signed_up_on": date(2024, 1, 1), "cancelled_on": AS_OF},
        "cancels_tomorrow": {
            "signed_up_on": date(2024, 1, 1),
            "cancelled_on": AS_OF + timedelta(days=1),
        },
        "signs_up_tomorrow": {"signed_up_on": AS_OF + timedelta(days=1)},
        "no_dates": {},
    }
    world = make_world(users=users)
    rows = reference.user_windows(world)
    assert {row["user_id"] for row in rows} == {"anna", "cancels_tomorrow"}
    row = window(world)
    nothing_happened = {
        "active_days": 0,
        "active_share": 0.0,
        "periods": 0,
        "longest_period_days": 0,
        "days_known": 0,
        "interactions": 0,
        "watch_minutes": 0.0,
        "watched_titles": 0,
        "watched_episodes": 0,
        "binged_series": 0,
        "most_episodes_in_24h": 0,
        "previous_active_days": 0,
        "sleepy_days": 0,
        "ghost_days": 0,
        "spikes": 0,
    }
    assert {name: row[name] for name in nothing_happened} == nothing_happened
    unknown = set(row) - set(nothing_happened) - {"as_of_date", "window_days", "user_id"}
    assert {name: row[name] for name in unknown} == dict.fromkeys(unknown)


def test_user_last_seen_before_the_window_has_a_gap_as_long_as_the_window() -> None:
    row = window(make_world(browse(days_ago(28))))
    assert (row["active_days"], row["previous_active_days"], row["activity_trend"]) == (0, 1, -1.0)
    assert (row["days_since_last_active"], row["longest_gap_days"]) == (28, 28)
    assert (row["periods"], row["interactions"], row["watch_share"]) == (0, 0, None)


@pytest.mark.parametrize(
    ("period_gap_days", "longest_gap_days"),
    [
        pytest.param(1, 4, id="consecutive_days_make_a_period"),
        pytest.param(2, 4, id="one_day_off_belongs_to_the_period"),
        pytest.param(5, 3, id="four_days_off_belong_to_it_and_the_open_gap_counts"),
    ],
)
def test_days_off_within_a_period_are_no_gap(period_gap_days: int, longest_gap_days: int) -> None:
    events = [browse(days_ago(day)) for day in (10, 8, 3)]
    world = make_world(*events, period_gap_days=period_gap_days)
    assert window(world)["longest_gap_days"] == longest_gap_days


def test_unknown_minutes_are_null_and_series_are_then_counted_by_content() -> None:
    row = window(
        make_world(
            play("show_e1", days_ago(0), None),
            play("film_a", days_ago(0), None),
            browse(days_ago(1), content_id="film_b"),
        )
    )
    assert (row["watch_minutes"], row["top_series_share"]) == (None, 0.5)
    row = window(make_world(play("film_a", days_ago(0), None)))
    assert (row["watch_minutes"], row["top_series_share"]) == (None, 0.0)
    row = window(make_world(browse(days_ago(0))))
    assert (row["watch_minutes"], row["top_series_share"]) == (0.0, None)


def test_the_weekend_is_saturday_and_sunday() -> None:
    friday, saturday, sunday, monday = (browse(days_ago(day)) for day in (9, 8, 7, 6))
    assert window(make_world(friday, monday))["weekend_share"] == 0.0
    assert window(make_world(friday, saturday, sunday, monday))["weekend_share"] == 0.5


def test_minutes_decide_about_the_weekend_where_some_are_known() -> None:
    saturday, tuesday = play("film_a", days_ago(1), 30), browse(days_ago(5))
    assert window(make_world(saturday, tuesday))["weekend_share"] == 1.0
    no_second = play("film_a", days_ago(1), 0)
    assert window(make_world(no_second, tuesday))["weekend_share"] == 0.5


def test_a_series_touched_by_itself_counts_with_its_episodes() -> None:
    entry, episode = play("show", days_ago(1), 300), play("show_e1", days_ago(2), 600)
    film = play("film_a", days_ago(3), 900)
    assert window(make_world(entry, film))["top_series_share"] == 0.0
    assert window(make_world(entry, episode, film))["top_series_share"] == 0.5
    unknown = [replace(event, watch_seconds=None) for event in (entry, episode, film)]
    assert window(make_world(*unknown))["top_series_share"] == 2 / 3


@pytest.mark.parametrize(
    ("signed_up_on", "days_known"),
    [
        pytest.param(AS_OF - timedelta(days=40), 40, id="since_sign_up"),
        pytest.param(AS_OF + timedelta(days=1), 5, id="signs_up_later_so_since_first_seen"),
        pytest.param(None, 5, id="sign_up_unknown_so_since_first_seen"),
    ],
)
def test_days_known(signed_up_on: date | None, days_known: int) -> None:
    users = {"anna": {"signed_up_on": signed_up_on}}
    assert window(make_world(browse(days_ago(5)), users=users))["days_known"] == days_known


# --- titles and genres ---------------------------------------------------------------------------


def test_a_title_is_listed_when_it_was_watched_however_shortly() -> None:
    world = make_world(
        play("show", days_ago(40), 300),
        play("show_e1", days_ago(3), 600),
        play("show_e1", days_ago(2), 60),
        play("show_e2", days_ago(2), 60),
        browse(days_ago(2), content_id="show_e3"),
        play("gone", days_ago(2), None),
        Event("anna", "film_b", "open", days_ago(2), 5.0),
        browse(days_ago(2)),
        play(None, days_ago(2)),
    )
    rows = [row for row in reference.user_titles(world) if row["window_days"] == 28]
    # film_b was opened: seconds of what is no watch event are no watching
    assert [row["title_id"] for row in rows] == ["gone", "show"]
    assert [row["is_series"] for row in rows] == [False, True]
    assert [row["watch_interactions"] for row in rows] == [1, 3]
    assert [row["watch_minutes"] for row in rows] == [None, 12.0]
    assert [row["watched_contents"] for row in rows] == [1, 1]
    show = only(reference.user_titles(world), window_days=84, title_id="show")
    assert (show["watch_interactions"], show["episode_interactions"]) == (4, 3)
    assert (show["watched_contents"], show["watched_episodes"]) == (2, 1)
    assert show["watch_seconds"] == 1020.0


def test_lift_holds_a_genre_against_the_audience() -> None:
    # anna watches film_a and the show (both drama), bert film_a and film_b (comedy), and the
    # audience drama in three of four; pilot has no genre, and a second of film_b is not watching.
    world = make_world(
        play("film_a", days_ago(1), 600),
        play("show_e1", days_ago(1), 1200),
        play("pilot", days_ago(1)),
        play("film_b", days_ago(1), 1),
        play("film_a", days_ago(1), None, user="bert"),
        play("film_b", days_ago(1), None, user="bert"),
    )
    rows = [row for row in reference.user_genres(world) if row["window_days"] == 28]
    told = [(row["user_id"], row["genre"], row["genre_rank"]) for row in rows]
    assert told == [
        ("anna", "crime", 2),
        ("anna", "drama", 1),
        ("bert", "comedy", 1),
        ("bert", "drama", 2),
    ]
    assert [row["watched_titles"] for row in rows] == [1, 2, 1, 1]
    assert [row["watch_minutes"] for row in rows] == [20.0, 30.0, None, None]
    assert [row["title_share"] for row in rows] == [0.5, 1.0, 0.5, 0.5]
    assert [row["audience_share"] for row in rows] == [0.25, 0.75, 0.25, 0.75]
    lifts = [2 / 1.5, 3 / 2.5, 2 / 1.5, 2 / 2.5]
    assert [row["lift"] for row in rows] == pytest.approx(lifts)
    few = replace(world, vars=replace(world.vars, genre_prior_titles=0.5))
    assert only(reference.user_genres(few), window_days=28, user_id="anna", genre="crime")[
        "lift"
    ] == pytest.approx(1.5)


# --- rhythms -------------------------------------------------------------------------------------


def rhythm(*events: Event, window_days: int = 28, **settings: Any) -> Row:
    rows = reference.user_rhythms(make_world(*events, **settings))
    return only(rows, window_days=window_days)


@pytest.mark.parametrize(
    ("hour", "daypart"),
    [
        (0, "night"),
        (4, "night"),
        (5, "morning"),
        (8, "morning"),
        (9, "daytime"),
        (16, "daytime"),
        (17, "early_evening"),
        (19, "early_evening"),
        (20, "prime_time"),
        (22, "prime_time"),
        (23, "night"),
    ],
)
def test_a_daypart_lasts_until_the_next_begins(hour: int, daypart: str) -> None:
    row = rhythm(browse(days_ago(5, hour)))
    assert row["weekday_dayparts"] == [{"weekday": 2, "daypart": daypart, "amount": 1.0}]
    assert row["prime_time_share"] == (daypart == "prime_time")
    assert row["night_share"] == (daypart == "night")


def test_an_hour_is_a_peak_when_chance_is_unlikely() -> None:
    four = [play("film_a", days_ago(day, 20)) for day in range(1, 5)]
    assert rhythm(*four[:3])["peak_hour"] is None
    row = rhythm(*four)
    assert (row["peak_hour"], row["hour_concentration"], row["watched_hours"]) == (20, 1.0, 4)
    # another event of the same hour, and one that is no watching, change nothing
    more = [play("film_b", days_ago(1, 20, 30)), browse(days_ago(1, 9))]
    assert rhythm(*four, *more)["watched_hours"] == 4


def test_many_hours_of_few_dates_are_no_peak() -> None:
    evenings = [play("film_a", days_ago(day, hour)) for day in range(3) for hour in (20, 21, 22)]
    assert rhythm(*evenings)["watched_hours"] == 9
    assert rhythm(*evenings)["peak_hour"] is None
    assert rhythm(*evenings, play("film_a", days_ago(9, 21)))["peak_hour"] == 21


@pytest.mark.parametrize(
    ("others", "concentration", "peak_hour"),
    [
        pytest.param(3, 0.5, 10, id="exactly_the_square_root_of_3_of_12"),
        pytest.param(4, 0.333333333, None, id="less"),
        pytest.param(6, 0.0, None, id="none_at_all"),
    ],
)
def test_hours_must_be_concentrated_enough(
    others: int, concentration: float, peak_hour: int | None
) -> None:
    hours = [22] * others + [10] * (12 - others)
    row = rhythm(*(play("film_a", days_ago(day, hour)) for day, hour in enumerate(hours)))
    assert (row["hour_concentration"], row["peak_hour"]) == (concentration, peak_hour)


def test_the_first_of_equal_hours_or_weekdays_is_the_peak() -> None:
    # three Sundays at nine in the evening, three Mondays at eight
    events = [play("film_a", days_ago(day, 21)) for day in (0, 7, 14)]
    events += [play("film_a", days_ago(day, 20)) for day in (6, 13, 20)]
    row = rhythm(*events)
    assert (row["peak_weekday"], row["peak_hour"]) == (1, 20)
    assert row["weekday_concentration"] == pytest.approx(math.cos(math.pi / 7), abs=1e-9)
    assert row["hour_concentration"] == pytest.approx(math.cos(math.pi / 24), abs=1e-9)
    assert row["watched_days"] == 6


def test_a_rhythm_of_who_watched_nothing_is_of_interactions() -> None:
    row = rhythm(browse(days_ago(1, 20)), browse(days_ago(5, 23)), play(None, days_ago(5, 1), 0))
    assert (row["measure"], row["amount"]) == ("interactions", 3.0)
    assert (row["weekend_share"], row["prime_time_share"], row["night_share"]) == (
        1 / 3,
        1 / 3,
        2 / 3,
    )
    assert (row["watched_hours"], row["watched_days"]) == (1, 1)
    row = rhythm(browse(days_ago(1, 20)))
    assert (row["hour_concentration"], row["weekday_concentration"]) == (None, None)
    row = rhythm(browse(days_ago(1, 20)), play(None, days_ago(5, 1), 30))
    assert (row["measure"], row["amount"], row["weekend_share"]) == ("watch_minutes", 0.5, 0.0)


def test_rhythm_of_the_week_and_the_month() -> None:
    # 30 June: Sunday; 10, 11, 20, 21 June: Monday, Tuesday, Thursday, Friday
    events = [
        play("film_a", days_ago(0, 20), 60),
        play("film_a", days_ago(20, 7), 120),
        play("film_a", days_ago(19, 23), 240),
        play("film_a", days_ago(10, 23), 480),
        play("film_b", days_ago(10, 2), 30),
        play("film_a", days_ago(9, 23), 960),
        browse(days_ago(8, 12)),
        play("film_a", days_ago(28, 12), 600),
        play("film_a", days_ago(84), 5000),
    ]
    row = rhythm(*events)
    assert (row["measure"], row["amount"]) == ("watch_minutes", 31.5)
    cells = [(cell["weekday"], cell["daypart"], cell["amount"]) for cell in row["weekday_dayparts"]]
    assert cells == [
        (1, "morning", 2.0),
        (2, "night", 4.0),
        (4, "night", 8.5),
        (5, "night", 16.0),
        (7, "prime_time", 1.0),
    ]
    assert row["first_third_of_month_share"] == 2 / 31.5
    assert row["middle_third_of_month_share"] == 12.5 / 31.5
    assert row["last_third_of_month_share"] == 17 / 31.5
    # 2 June is in the longer window only
    row = rhythm(*events, window_days=84)
    assert row["amount"] == 41.5
    assert row["first_third_of_month_share"] == 12 / 41.5
    assert row["weekday_dayparts"][-2:] == [
        {"weekday": 7, "daypart": "daytime", "amount": 10.0},
        {"weekday": 7, "daypart": "prime_time", "amount": 1.0},
    ]


@pytest.mark.parametrize(
    ("days", "weeks"),
    [
        pytest.param((7,), 0, id="not_in_the_last_week"),
        pytest.param((6,), 1, id="first_day_of_the_last_week"),
        pytest.param((6, 7, 20, 28), 3, id="until_a_week_is_missing"),
        pytest.param(range(3, 196, 7), 26, id="no_more_than_the_lookback"),
    ],
)
def test_weeks_in_a_row_end_on_the_date(days: Sequence[int], weeks: int) -> None:
    rows = reference.user_rhythms(make_world(*(browse(days_ago(day)) for day in days)))
    assert {row["weeks_active_streak"] for row in rows} == {weeks}


# --- recency, frequency, watch time --------------------------------------------------------------


def test_scores_are_fifths_of_the_audience_and_equal_values_get_equal_ones() -> None:
    # Last active 0, 1, 1 and 2 days ago, and never: of four are worse, half of the equal ones among
    # them, 3.5, 2, 2 and 0.5; with active days 2, 1, 1, 1, 0 of five: 4.5, 2.5 and 0.5.
    world = make_world(
        *(browse(days_ago(day), "zero") for day in (0, 5)),
        play("film_a", days_ago(1), 600, "one"),
        play("film_a", days_ago(1), None, "also_one"),
        play("film_a", days_ago(2), 600, "two"),
        users={"never": {"signed_up_on": AS_OF}},
    )
    scores = {
        row["user_id"]: (row["recency_score"], row["frequency_score"], row["watch_score"])
        for row in reference.user_rfm(world)
    }
    # minutes 0, 0, 10, 10 and unknown: of four are 1 worse than 0 and 3 worse than 10
    assert scores == {
        "zero": (5, 5, 2),
        "one": (3, 3, 4),
        "also_one": (3, 3, None),
        "two": (1, 3, 4),
        "never": (None, 1, 2),
    }


def test_who_is_alone_is_in_the_middle() -> None:
    [row] = reference.user_rfm(make_world(browse(days_ago(3))))
    assert (row["days_since_last_active"], row["active_days"], row["watch_minutes"]) == (3, 1, 0.0)
    assert [row[f"{name}_score"] for name in ("recency", "frequency", "watch")] == [3, 3, 3]


# --- personas ------------------------------------------------------------------------------------


def active_days_world(rules: list[Rule], **active_days: int) -> World:
    """Users with that many active days up to the as-of date."""
    return make_world(
        *(browse(days_ago(day), user) for user, days in active_days.items() for day in range(days)),
        rules=rules,
        personas=[Persona("keen", 2), Persona("rare", 1), Persona("casual", 99)],
    )


def test_strength_is_the_distance_in_standard_deviations_of_the_nearest_clause() -> None:
    # active_days 2 and 6: mean 4, population standard deviation 2.
    rules = [
        Rule("keen", 1, 2, 28, "active_days", ">=", 3),
        Rule("keen", 1, 1, 28, "active_days", ">", 5),
    ]
    [row] = reference.persona_matches(active_days_world(rules, anna=6, bert=2))
    assert (row["user_id"], row["is_match"], row["strength"]) == ("anna", True, 0.5)
    assert (row["clauses"], row["clauses_met"]) == (2, 2)
    assert row["evidence"][0] == {
        "clause": 1,
        "metric": "active_days",
        "window_days": 28,
        "value": 6,
        "operator": ">",
        "threshold": 5,
        "is_met": True,
    }
    assert [clause["clause"] for clause in row["evidence"]] == [1, 2]


@pytest.mark.parametrize(
    ("threshold", "strength"),
    [pytest.param(4, 0.0, id="at_the_threshold"), pytest.param(3, 3.0, id="off_the_threshold")],
)
def test_strength_where_all_users_are_alike(threshold: float, strength: float) -> None:
    rules = [Rule("keen", 1, 1, 28, "active_days", ">=", threshold)]
    rows = reference.persona_matches(active_days_world(rules, anna=4, bert=4))
    assert [row["strength"] for row in rows] == [strength, strength]


def test_a_null_metric_never_holds_and_two_unmet_clauses_are_no_near_miss() -> None:
    null = Rule("keen", 1, 1, 28, "content_diversity", "<", 1)
    unmet = Rule("keen", 1, 2, 28, "active_days", ">", 9)
    [row] = reference.persona_matches(active_days_world([null], anna=4))
    assert (row["is_match"], row["clauses_met"], row["strength"]) == (False, 0, None)
    assert reference.persona_matches(active_days_world([null, unmet], anna=4)) == []


def test_the_best_alternative_is_told() -> None:
    # active_days 2 and 6, standard deviation 2: strengths of anna 0.5, 1.5, 1.5 and unmet.
    rules = [
        Rule("keen", alternative, 1, 28, "active_days", operator, threshold)
        for alternative, operator, threshold in ((1, ">=", 5), (2, "<", 0), (3, ">=", 3))
    ]
    rules.append(Rule("keen", 4, 1, 28, "active_days", ">", 3))
    rows = reference.persona_matches(active_days_world(rules, anna=6, bert=2))
    assert only(rows, user_id="anna")["alternative"] == 3
    # bert misses all by one clause; alternative 1 by 1.5, 2 by 1.0, 3 and 4 by 0.5.
    bert = only(rows, user_id="bert")
    assert (bert["alternative"], bert["strength"], bert["is_match"]) == (1, 1.5, False)


def test_priority_decides_between_matches_and_casual_is_left() -> None:
    rules = [
        Rule("keen", 1, 1, 28, "active_days", ">=", 3),
        Rule("rare", 1, 1, 28, "active_days", "=", 6),
    ]
    rows = reference.persona_choices(active_days_world(rules, anna=6, bert=3, carl=1))
    chosen = [(row["user_id"], row["persona"], row["all_matches"]) for row in rows]
    assert chosen == [
        ("anna", "rare", ["rare", "keen"]),
        ("bert", "keen", ["keen"]),
        ("carl", "casual", []),
    ]
    assert [row["match_count"] for row in rows] == [2, 1, 0]
    assert (rows[1]["strength"], rows[2]["strength"]) == (0.0, None)


def test_persona_since_is_the_start_of_the_unbroken_run() -> None:
    # Sundays 9, 16, 23 and 30 June; active on 8 and 25 June: recent, not, not, recent.
    world = make_world(
        browse(days_ago(22)),
        browse(days_ago(5)),
        as_of_history_weeks=4,
        rules=[Rule("keen", 1, 1, 28, "days_since_last_active", "<=", 6)],
        personas=[Persona("keen", 1)],
    )
    rows = reference.persona_choices(world)
    told = [(row["persona"], row["previous_persona"], row["persona_since"].day) for row in rows]
    assert told == [
        ("keen", None, 9),
        ("casual", "keen", 16),
        ("casual", "casual", 16),
        ("keen", "casual", 30),
    ]
