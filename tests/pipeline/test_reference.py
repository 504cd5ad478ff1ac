"""The reference implementation against examples computed by hand, edges first.

Unless a test says otherwise the day starts at midnight UTC and only the last loaded day, Sunday
30 June 2024, is evaluated: an event `days_ago(n)` then lies n days before the as-of date.
"""

import math
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from typing import Any

import pytest

import reference
from reference import Event, Persona, Row, Rule, Vars, World

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
    assert row["weekend_share"] == 0.5
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
    rows = reference.user_personas(active_days_world(rules, anna=6, bert=3, carl=1))
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
    rows = reference.user_personas(world)
    told = [(row["persona"], row["previous_persona"], row["persona_since"].day) for row in rows]
    assert told == [
        ("keen", None, 9),
        ("casual", "keen", 16),
        ("casual", "casual", 16),
        ("keen", "casual", 30),
    ]
