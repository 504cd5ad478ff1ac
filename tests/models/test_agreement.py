"""The models and the reference, two implementations of one definition, give the same tables.

On generated services (histories.py), each of VIEWERS viewers with a history of their own: in all
`sum(EXAMPLES.values()) * VIEWERS` histories: 216, and 1,008 in `make proof`. And on small services
written by hand, one for each edge of a definition, so that a disagreement there has a name.

Keys and texts must be equal, numbers up to rounding. The models are built with more persona rules
than the project has, so that alternatives, all operators and many metrics are compared, too.
"""

import csv
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from histories import CATALOGUE, IS_PROOF, World, by_suite, examples, temporary_folder, worlds
from reference import definitions as reference
from reference.definitions import Event, Row, Vars
from service import GRAINS, Events, Service, dates_between, make_world, seed

VIEWERS = 36
EXAMPLES = {"defaults": by_suite(3, 14), "other_vars": by_suite(3, 14)}

OTHER_VARS = Vars(
    default_timezone="Asia/Kolkata",
    day_starts_at_hour=0,
    min_watch_seconds=119,
    lookback_days=171,
    as_of_weekday="wednesday",
    as_of_history_weeks=6,
    period_gap_days=2,
    binge_min_episodes=2,
    spike_max_days=3,
    spike_max_watch_minutes=14.5,
    sleepy_min_days=27,
    ghost_min_spikes=3,
    ghost_min_gap_days=4,
    ghost_min_days=20,
    ghost_max_genre_share=0.6,
    ghost_min_titles=4,
    morning_starts_at_hour=4,
    daytime_starts_at_hour=12,
    early_evening_starts_at_hour=16,
    prime_time_starts_at_hour=19,
    night_starts_at_hour=22,
    peak_min_days=3,
    genre_prior_titles=0.5,
    exclusivity_method="sticky",
)
# persona, alternative, clause, window_days, metric, operator, threshold
MORE_RULES = """
one_genre,1,1,84,top_genre_share,>,0.5
one_genre,1,2,84,watched_titles,>=,2
one_genre,2,1,28,top_series_share,>,0.5
one_genre,3,1,84,content_diversity,<,0.37
many_genres,1,1,84,content_diversity,>,0.61
many_genres,2,1,84,watched_titles,>=,4
many_genres,2,2,28,movie_share,<=,0.5
less_often,1,1,28,activity_trend,<,0
less_often,1,2,28,previous_active_days,>=,2
less_often,2,1,28,active_days,=,1
less_often,2,2,84,longest_gap_days,>=,28
keeper,1,1,84,curate_share,>,0.2
keeper,2,1,84,feedback_share,>=,0.25
keeper,2,2,28,search_share,=,0
at_weekends,1,1,28,weekend_share,>=,0.5
at_weekends,1,2,28,watch_minutes,<,100
at_weekends,2,1,84,periods,>=,3
at_weekends,2,2,84,longest_period_days,<=,2
at_weekends,2,3,84,watched_episodes,<,3
at_weekends,2,4,84,most_episodes_in_24h,<=,1
drifter,1,1,84,ghost_days,>=,28
drifter,2,1,28,spikes,>=,3
drifter,2,2,84,sleepy_days,<,28
night_owl,1,1,84,night_share,>,0.5
night_owl,2,1,28,prime_time_share,>=,0.4
night_owl,2,2,28,hour_concentration,>,0.6
night_owl,3,1,84,peak_hour,>=,20
night_owl,3,2,84,peak_weekday,<=,5
"""

RARE = {"ghost that is over", "ghost but for an interest"}
"""What a few worlds need not have, but all of the proof together must."""

PIPELINE_COLUMNS = {"input_version", "history_version", "explanation", "reason"}
"""Columns of the models that the reference does not know."""


@pytest.mark.histories
def test_there_are_1000_histories_in_the_proof() -> None:
    assert sum(EXAMPLES.values()) * VIEWERS >= by_suite(200, 1000)


@pytest.fixture
def more_rules(project: Path) -> Path:
    """The project with more personas and rules."""
    rules = project / "seeds" / "persona_rules.csv"
    rules.write_text(rules.read_text(encoding="utf-8").rstrip() + MORE_RULES, encoding="utf-8")
    columns = seed("personas")[0].keys()
    new = sorted({line.split(",")[0] for line in MORE_RULES.split()})
    with (project / "seeds" / "personas.csv").open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="-", lineterminator="\n")
        for number, persona in enumerate(new):
            risk = ("low", "medium", "high")[number % 3]
            writer.writerow(
                {
                    "persona": persona,
                    "label": persona,
                    "priority": 15 + 10 * number,
                    "expected_risk": risk,
                }
            )
    return project


# --- generated histories ------------------------------------------------------------------------


@pytest.mark.histories
@pytest.mark.usefixtures("more_rules")
@pytest.mark.parametrize(
    ("shown_as", "days", "variables"),
    [
        pytest.param("defaults", (95, 60, 31), Vars(), id="defaults"),
        pytest.param("other_vars", (200, 40), OTHER_VARS, id="other_vars"),
    ],
)
def test_the_models_agree_with_the_reference(
    shown_as: str, days: tuple[int, ...], variables: Vars
) -> None:
    shown = 0
    met: Counter[str] = Counter()

    @examples(EXAMPLES[shown_as])
    @given(worlds(VIEWERS, days, variables))
    def models_agree(world: World) -> None:
        nonlocal shown
        with temporary_folder() as folder:
            service = Service(folder / "service")
            assert_agrees(service, world.events, world.contents, world.users, variables)
        shown += len(world.histories)
        met.update(occurrences(make_world(world.events, world.contents, world.users, variables)))

    models_agree()
    assert shown >= EXAMPLES[shown_as] * VIEWERS
    assert {name for name, number in met.items() if number == 0} <= (set() if IS_PROOF else RARE)


def occurrences(world: reference.World) -> dict[str, int]:
    """How many viewers met what the definitions turn on, so that no comparison is of nothing."""
    indifferent = replace(world, vars=replace(world.vars, ghost_max_genre_share=1))
    periods = reference.activity_periods(world)
    regions = reference.inactivity_regions(world)
    ghosts = [row for row in regions if row["region_type"] == "ghost"]
    sleepy = [row for row in regions if row["region_type"] == "sleepy"]
    rhythms = reference.user_rhythms(world)
    quality = [row for row in reference.data_quality(world) if row["affected"] > 0]
    rows: dict[str, list[Row]] = {
        "spike": [row for row in periods if row["is_spike"]],
        "spike of unknown length": [
            row for row in periods if row["is_spike"] and row["watch_minutes"] is None
        ],
        "no spike": [row for row in periods if not row["is_spike"]],
        "open ghost": [row for row in ghosts if row["is_open"]],
        "ghost that is over": [row for row in ghosts if not row["is_open"]],
        "ghost of many titles": [
            row
            for row in ghosts
            if row["top_genre_share"] is not None
            and row["top_genre_share"] <= world.vars.ghost_max_genre_share
        ],
        "ghost but for an interest": [
            row for row in reference.inactivity_regions(indifferent) if row not in regions
        ],
        "open sleep": [row for row in sleepy if row["is_open"]],
        "sleep that is over": [row for row in sleepy if not row["is_open"]],
        "peak hour": [row for row in rhythms if row["peak_hour"] is not None],
        "peak weekday": [row for row in rhythms if row["peak_weekday"] is not None],
        "no peak of enough days": [
            row
            for row in rhythms
            if row["watched_days"] >= world.vars.peak_min_days and row["peak_hour"] is None
        ],
        "measured in interactions": [row for row in rhythms if row["measure"] == "interactions"],
        "series touched itself": [
            row
            for row in reference.user_titles(world)
            if row["is_series"] and row["watched_contents"] > row["watched_episodes"]
        ],
        "weeks in a row": [row for row in rhythms if row["weeks_active_streak"] > 2],
    }
    if world.vars.exclusivity_method == "sticky":
        priorities = {persona.persona: persona.priority for persona in world.personas}
        rows["persona that is kept though another comes first"] = [
            row
            for row in reference.persona_choices(world)
            if any(priorities[match] < priorities[row["persona"]] for match in row["all_matches"])
        ]
    return {
        **{name: len({row["user_id"] for row in of_name}) for name, of_name in rows.items()},
        **{
            check: sum(row["quality_check"] == check for row in quality) for check in QUALITY_CHECKS
        },
    }


QUALITY_CHECKS = (
    "events_of_unknown_type",
    "events_on_unknown_contents",
    "contents_without_genre",
    "contents_with_unreadable_fields",
    "episodes_without_series",
    "series_without_episodes",
    "users_in_unknown_time_zones",
)


# --- edges by hand ------------------------------------------------------------------------------

AS_OF = date(2024, 6, 30)
EDGE_VARS = Vars(as_of_history_weeks=0, period_gap_days=2)


def at(days_ago: int, hour: float = 12) -> datetime:
    """A moment so many days before the evaluation date."""
    return datetime.combine(AS_OF, datetime.min.time()) - timedelta(days=days_ago, hours=-hour)


def play(
    content_id: str | None, days_ago: int, hour: float = 12, *, seconds: float | None = 600
) -> Event:
    return Event("?", content_id, "play", at(days_ago, hour), seconds)


def click(days_ago: int, hour: float = 12, content_id: str | None = "film") -> Event:
    return Event("?", content_id, "click", at(days_ago, hour))


def stay(days_ago: int) -> Event:
    """Half an hour of a film: no spike."""
    return play("film", days_ago, seconds=1800)


def glances(*days_ago: int, contents: tuple[str | None, ...] = ("film",)) -> list[Event]:
    """A click on each of these days, and on the first of them on each of the contents."""
    first = [click(days_ago[0], content_id=content_id) for content_id in contents]
    return [*first, *(click(day, content_id=contents[0]) for day in days_ago[1:])]


def day(days_ago: int) -> date:
    return AS_OF - timedelta(days=days_ago)


PERIODS, SERIES, REGIONS, WINDOWS, TITLES, RHYTHMS = (
    "metrics.activity_periods",
    "metrics.period_series",
    "metrics.inactivity_regions",
    "metrics.user_windows",
    "metrics.user_titles",
    "metrics.user_rhythms",
)
SLEEPY = {"region_type": "sleepy", "active_days": 0, "spikes": 0, "watch_minutes": 0.0}
GHOST = {"region_type": "ghost"}

# name -> what the viewer did, a table, and what its rows say, one dictionary for each row
EDGES: dict[str, tuple[list[Event], str, list[Row]]] = {
    "gap_of_exactly_period_gap_days": ([click(10), click(8)], PERIODS, [{"active_days": 2}]),
    "gap_of_a_day_more": (
        [click(10), click(7)],
        PERIODS,
        [{"active_days": 1}, {"active_days": 1}],
    ),
    "period_that_may_go_on": ([click(2)], PERIODS, [{"is_open": True}]),
    "period_that_is_over": ([click(3)], PERIODS, [{"is_open": False}]),
    "first_day_of_the_lookback": (
        [click(182), click(181)],
        PERIODS,
        [{"period_start": AS_OF - timedelta(days=181), "active_days": 1}],
    ),
    "exactly_half_watched": (
        [play("film", 5), click(5, content_id="report")],
        PERIODS,
        [{"interaction_type": "mixed", "interaction_type_share": 0.5}],
    ),
    "one_more_than_half_watched": (
        [play("film", 5), click(5), play("film", 5, 14)],
        PERIODS,
        [{"interaction_type": "watching", "interaction_type_share": 2 / 3}],
    ),
    "half_films_half_episodes": (
        [play("film", 5), play("show_1", 5), click(5, content_id="other_film")],
        PERIODS,
        [{"content_type": "mixed"}],
    ),
    "most_of_an_unknown_type": (
        [play("missing", 5), play("of_no_type", 5), play("film", 5)],
        PERIODS,
        [{"content_type": "unknown", "watched_titles": 3}],
    ),
    "one_title": (
        [play("show_1", 5), play("show_2", 5)],
        PERIODS,
        [
            {
                "watched_titles": 1,
                "content_diversity": None,
                "top_genre": "crime",
                "top_genre_share": 1.0,
            }
        ],
    ),
    "two_titles_with_the_same_tags": (
        [play("film", 5), play("same_film", 5)],
        PERIODS,
        [{"watched_titles": 2, "content_diversity": 0.0, "top_genre": "drama"}],
    ),
    "two_titles_with_no_tag_in_common": (
        [play("film", 5), play("other_film", 5)],
        PERIODS,
        [{"content_diversity": 1.0, "top_genre": "comedy", "top_genre_share": 0.5}],
    ),
    "one_title_with_tags_and_one_without": (
        [play("film", 5), play("film_without_tags", 5)],
        PERIODS,
        [{"watched_titles": 2, "content_diversity": None, "top_genre_share": 1.0}],
    ),
    "no_watch_seconds": (
        [play("film", 5, seconds=None)],
        PERIODS,
        [{"watch_minutes": None, "watched_titles": 1}],
    ),
    "a_second_too_short": (
        [play("film", 5, seconds=119)],
        PERIODS,
        [{"watch_minutes": 119 / 60, "watched_titles": 0, "top_genre": None}],
    ),
    "just_long_enough": (
        [play("film", 5, seconds=60.5), play("film", 5, 13, seconds=59.5)],
        PERIODS,
        [{"watch_minutes": 2.0, "watched_titles": 1}],
    ),
    "content_missing_from_the_catalogue": (
        [play("missing", 5)],
        PERIODS,
        [{"content_type": "unknown", "watched_titles": 1, "top_genre": None}],
    ),
    "nothing_but_ignored_events": (
        [Event("?", "film", "impression", at(5)), Event("?", None, "login", at(5))],
        PERIODS,
        [],
    ),
    "type_that_nobody_knows": (
        [Event("?", "film", "teleport", at(5))],
        PERIODS,
        [{"interaction_type": "mixed", "interaction_type_share": 0.0, "content_type": "none"}],
    ),
    "last_second_of_the_night": (
        [click(5, 4 - 1 / 3600), click(5, 4)],
        "metrics.user_days",
        [
            {"activity_date": AS_OF - timedelta(days=6)},
            {"activity_date": AS_OF - timedelta(days=5)},
        ],
    ),
    "three_episodes_in_24_hours": (
        [play("show_1", 6), play("show_2", 6, 20), play("show_3", 5)],
        SERIES,
        [{"episodes_watched": 3, "most_episodes_in_24h": 3, "is_binge": True}],
    ),
    "three_episodes_in_a_second_more": (
        [play("show_1", 6), play("show_2", 6, 20), play("show_3", 5, 12 + 1 / 3600)],
        SERIES,
        [{"episodes_watched": 3, "most_episodes_in_24h": 2, "is_binge": False}],
    ),
    "episode_that_is_its_own_series": (
        [play("its_own_series", 5)],
        SERIES,
        [{"series_id": "its_own_series", "episodes_watched": 1, "share_of_watch": 1.0}],
    ),
    "series_without_seconds": (
        [play("soap_1", 5, seconds=None), play("film", 5, seconds=None)],
        SERIES,
        [{"watch_minutes": None, "share_of_watch": 0.5}],
    ),
    "first_day_of_the_short_window": (
        [click(28), click(27)],
        WINDOWS,
        [
            {"window_days": 28, "active_days": 1, "previous_active_days": 1, "activity_trend": 0},
            {"window_days": 84, "active_days": 2, "previous_active_days": 0, "activity_trend": 1},
        ],
    ),
    "gap_of_28_days_after_days_off_within_a_period": (
        [click(60), click(58), click(28)],
        WINDOWS,
        [
            {"window_days": 28, "longest_gap_days": 28, "days_since_last_active": 28},
            {"window_days": 84, "longest_gap_days": 29, "longest_period_days": 3},
        ],
    ),
    "share_of_nothing": (
        [click(80, content_id="film")],
        WINDOWS,
        [
            {"window_days": 28, "watch_share": None, "watch_minutes": 0.0, "interactions": 0},
            {"window_days": 84, "watch_share": 0.0, "top_series_share": None, "browse_share": 1.0},
        ],
    ),
    # --- spikes
    "spike_of_the_most_days": ([click(10), click(8)], PERIODS, [{"is_spike": True}]),
    "spike_of_a_day_too_many": ([click(10), click(9), click(8)], PERIODS, [{"is_spike": False}]),
    "spike_of_just_under_the_minutes": (
        [play("film", 5, seconds=1799.5)],
        PERIODS,
        [{"watch_minutes": 1799.5 / 60, "is_spike": True}],
    ),
    "spike_of_exactly_the_minutes": (
        [play("film", 5, seconds=1799.5), play("film", 5, 13, seconds=0.5)],
        PERIODS,
        [{"watch_minutes": 30.0, "is_spike": False}],
    ),
    "spike_of_unknown_length_on_nothing": (
        [play(None, 5, seconds=None)],
        PERIODS,
        [{"watch_minutes": None, "watched_titles": 0, "is_spike": True}],
    ),
    "visit_of_unknown_length_to_a_title": (
        [play("film", 5, seconds=None)],
        PERIODS,
        [{"watch_minutes": None, "watched_titles": 1, "is_spike": False}],
    ),
    "spike_that_the_lookback_makes_of_a_stay": (
        [*(play("film", days_ago) for days_ago in (184, 183, 182, 181))],
        PERIODS,
        [{"period_start": day(181), "active_days": 1, "is_spike": True}],
    ),
    # --- sleepy regions
    "gap_of_27_days": ([stay(40), stay(12)], REGIONS, []),
    "gap_of_28_days": (
        [stay(41), stay(12)],
        REGIONS,
        [
            {
                **SLEEPY,
                "region_start": day(40),
                "region_end": day(13),
                "days": 28,
                "is_open": False,
            }
        ],
    ),
    "gap_of_29_days": ([stay(42), stay(12)], REGIONS, [{**SLEEPY, "days": 29, "is_open": False}]),
    "open_gap_of_27_days": ([stay(27)], REGIONS, []),
    "open_gap_of_28_days": (
        [stay(28)],
        REGIONS,
        [{**SLEEPY, "region_start": day(27), "region_end": AS_OF, "days": 28, "is_open": True}],
    ),
    "open_gap_of_29_days": ([stay(29)], REGIONS, [{**SLEEPY, "days": 29, "is_open": True}]),
    "two_sleepy_regions": (
        [stay(150), stay(100), click(50)],
        REGIONS,
        [
            {**SLEEPY, "days": 49, "is_open": False},
            {**SLEEPY, "days": 49, "is_open": False},
            {**SLEEPY, "days": 50, "is_open": True},
        ],
    ),
    "days_before_the_first_period_are_no_gap": ([stay(182), stay(3)], REGIONS, []),
    # --- ghost regions
    "one_spike": (glances(20), REGIONS, []),
    "two_spikes_that_span_28_days": (
        glances(33, 6),
        REGIONS,
        [
            {
                **GHOST,
                "region_start": day(33),
                "region_end": day(6),
                "days": 28,
                "is_open": True,
                "active_days": 2,
                "spikes": 2,
                "interactions": 2,
                "watch_minutes": 0.0,
                "top_genre": "drama",
                "top_genre_share": 1.0,
            }
        ],
    ),
    "two_spikes_that_span_27_days": (glances(32, 6), REGIONS, []),
    "three_spikes_of_four_days": (
        glances(33, 31, 20, 6),
        REGIONS,
        [{**GHOST, "spikes": 3, "active_days": 4, "days": 28}],
    ),
    "gap_of_exactly_ghost_min_gap_days": (
        glances(33, 29, 25, 5),
        REGIONS,
        [{**GHOST, "spikes": 4, "days": 29}],
    ),
    "gap_of_a_day_less_than_ghost_min_gap_days": (glances(33, 29, 26, 5), REGIONS, []),
    "gap_of_27_days_between_spikes": (glances(33, 5), REGIONS, [{**GHOST, "days": 29}]),
    "gap_of_28_days_between_spikes": (glances(34, 5), REGIONS, [{**SLEEPY, "days": 28}]),
    "stay_between_spikes": ([*glances(40, 20, 5), stay(30)], REGIONS, []),
    "two_ghost_regions_with_a_stay_between_them": (
        [*glances(90, 75, 60, 40, 20, 5), stay(50)],
        REGIONS,
        [
            {**GHOST, "region_start": day(90), "spikes": 3, "is_open": False},
            {**GHOST, "region_start": day(40), "spikes": 3, "is_open": True},
        ],
    ),
    "ghost_that_may_go_on": (
        glances(60, 45, 27),
        REGIONS,
        [{**GHOST, "days": 34, "is_open": True}],
    ),
    "ghost_that_fell_asleep": (
        glances(61, 46, 28),
        REGIONS,
        [
            {**GHOST, "days": 34, "is_open": False},
            {**SLEEPY, "region_start": day(27), "is_open": True},
        ],
    ),
    "ghost_that_came_to_stay": (
        [*glances(60, 45, 27), stay(20)],
        REGIONS,
        [{**GHOST, "days": 34, "is_open": False}],
    ),
    "genre_of_exactly_half": (
        glances(33, 6, contents=("film", "same_film", "other_film", "of_no_type")),
        REGIONS,
        [{**GHOST, "top_genre": "drama", "top_genre_share": 0.5, "interactions": 5}],
    ),
    "genre_of_more_than_half": (
        glances(33, 6, contents=("film", "same_film", "other_film")),
        REGIONS,
        [],
    ),
    "genre_of_half_of_those_with_a_genre": (
        glances(33, 6, contents=("film", "other_film", "report")),
        REGIONS,
        [{**GHOST, "top_genre": "comedy", "top_genre_share": 0.5}],
    ),
    "two_titles_of_one_genre": (
        glances(33, 6, contents=("film", "same_film")),
        REGIONS,
        [{**GHOST, "top_genre_share": 1.0}],
    ),
    "three_titles_of_one_genre": (
        glances(33, 6, contents=("film", "same_film", "show")),
        REGIONS,
        [],
    ),
    "three_contents_of_two_titles": (
        glances(33, 6, contents=("show_1", "show_2", "film")),
        REGIONS,
        [{**GHOST, "top_genre": "drama", "top_genre_share": 1.0}],
    ),
    "three_titles_without_genre": (
        glances(33, 6, contents=("report", "pilot", "film_without_tags")),
        REGIONS,
        [{**GHOST, "top_genre": None, "top_genre_share": None}],
    ),
    "a_genre_and_titles_that_nobody_knows": (
        glances(33, 6, contents=("film", "missing", "missing_too")),
        REGIONS,
        [],
    ),
    "no_title": (
        glances(33, 6, contents=(None,)),
        REGIONS,
        [{**GHOST, "top_genre": None, "top_genre_share": None, "interactions": 2}],
    ),
    "ghost_without_watch_seconds": (
        [play(None, 33, seconds=None), play(None, 6, seconds=None)],
        REGIONS,
        [{**GHOST, "watch_minutes": None, "spikes": 2}],
    ),
    "ghost_of_which_the_lookback_cuts_too_much": (
        glances(182, 160, 150),
        REGIONS,
        [{**SLEEPY, "days": 150}],
    ),
    "ghost_that_begins_with_the_lookback": (
        glances(182, 181, 160, 150),
        REGIONS,
        [{**GHOST, "region_start": day(181), "spikes": 3}, {**SLEEPY, "days": 150}],
    ),
    "regions_of_which_the_window_cuts_some": (
        glances(60, 33, 6),
        WINDOWS,
        [
            {"window_days": 28, "ghost_days": 22, "sleepy_days": 0, "spikes": 1},
            {"window_days": 84, "ghost_days": 55, "sleepy_days": 0, "spikes": 3},
        ],
    ),
    "sleep_of_which_the_window_cuts_some": (
        [stay(120), click(60), click(28)],
        WINDOWS,
        [
            {"window_days": 28, "ghost_days": 0, "sleepy_days": 28, "spikes": 0},
            {"window_days": 84, "ghost_days": 0, "sleepy_days": 23 + 31 + 28, "spikes": 2},
        ],
    ),
    "spike_that_ends_on_the_first_day_of_the_window": (
        [click(29), click(27)],
        WINDOWS,
        [{"window_days": 28, "spikes": 1}, {"window_days": 84, "spikes": 1}],
    ),
    # --- rhythms
    "an_hour_at_each_edge_of_a_daypart": (
        [
            *(click(5, hour) for hour in (4, 5, 8.99, 9, 16.99, 17, 19.99, 20, 22.99, 23)),
            click(4, 3.99),
        ],
        RHYTHMS,
        2
        * [
            {
                "measure": "interactions",
                "amount": 11.0,
                "weekday_dayparts": [
                    {"weekday": 2, "daypart": daypart, "amount": amount}
                    for daypart, amount in (
                        ("daytime", 2.0),
                        ("early_evening", 2.0),
                        ("morning", 2.0),
                        ("night", 3.0),
                        ("prime_time", 2.0),
                    )
                ],
                "prime_time_share": 2 / 11,
                "night_share": 3 / 11,
            }
        ],
    ),
    "minutes_and_interactions_on_other_days": (
        [play("film", 1, seconds=600), *(click(6, hour) for hour in (20, 21, 22))],
        RHYTHMS,
        2
        * [
            {
                "measure": "watch_minutes",
                "amount": 10.0,
                "weekday_dayparts": [{"weekday": 6, "daypart": "daytime", "amount": 10.0}],
                "weekend_share": 1.0,
                "prime_time_share": 0.0,
            }
        ],
    ),
    "no_second_watched": (
        [play("film", 1, seconds=0), *(click(6, hour) for hour in (20, 21, 22))],
        RHYTHMS,
        2 * [{"measure": "interactions", "weekend_share": 0.25, "prime_time_share": 0.75}],
    ),
    "three_watched_days": (
        [play("film", days_ago, hour) for days_ago in range(1, 4) for hour in (20, 21, 22)],
        RHYTHMS,
        2 * [{"watched_hours": 9, "watched_days": 3, "peak_hour": None}],
    ),
    "four_watched_days": (
        [play("film", days_ago, 20) for days_ago in range(1, 5)],
        RHYTHMS,
        2 * [{"watched_hours": 4, "peak_hour": 20, "peak_weekday": None}],
    ),
    "hours_exactly_as_concentrated_as_chance_allows": (
        [play("film", days_ago, 22 if days_ago < 4 else 10) for days_ago in range(1, 13)],
        RHYTHMS,
        2 * [{"watched_hours": 12, "hour_concentration": 0.5, "peak_hour": 10}],
    ),
    "hours_less_concentrated_than_that": (
        [play("film", days_ago, 22 if days_ago < 5 else 10) for days_ago in range(1, 13)],
        RHYTHMS,
        2 * [{"hour_concentration": round(1 / 3, 9), "peak_hour": None}],
    ),
    "two_hours_equally_often": (
        [play("film", days_ago, 20 + days_ago % 2) for days_ago in range(1, 7)],
        RHYTHMS,
        2 * [{"hour_concentration": round(math.cos(math.pi / 24), 9), "peak_hour": 20}],
    ),
    "four_sundays_of_which_three_are_in_the_short_window": (
        [play("film", days_ago) for days_ago in (0, 7, 21, 28)],
        RHYTHMS,
        [
            {"watched_days": 3, "weekday_concentration": 1.0, "peak_weekday": None},
            {"watched_days": 4, "weekday_concentration": 1.0, "peak_weekday": 7},
        ],
    ),
    "mondays_and_sundays_equally_often": (
        [play("film", days_ago) for days_ago in (0, 6, 7, 13, 14, 20)],
        RHYTHMS,
        2 * [{"weekday_concentration": round(math.cos(math.pi / 7), 9), "peak_weekday": 1}],
    ),
    "an_hour_and_a_day_without_watching": (
        [click(5, 20)],
        RHYTHMS,
        2
        * [
            {
                "watched_hours": 0,
                "watched_days": 0,
                "hour_concentration": None,
                "weekday_concentration": None,
            }
        ],
    ),
    "hour_watched_in_two_ways": (
        [play("film", 5, 20), play("show_1", 5, 20.5), click(5, 20)],
        RHYTHMS,
        2 * [{"watched_hours": 1, "watched_days": 1, "hour_concentration": 1.0}],
    ),
    "weeks_in_a_row": (
        [click(6), click(7), click(20), click(28)],
        RHYTHMS,
        2 * [{"weeks_active_streak": 3}],
    ),
    "no_activity_in_the_last_week": ([click(7)], RHYTHMS, 2 * [{"weeks_active_streak": 0}]),
    "more_weeks_than_the_lookback": (
        [click(days_ago) for days_ago in range(3, 190, 7)],
        RHYTHMS,
        2 * [{"weeks_active_streak": 26}],
    ),
    "last_days_of_the_thirds_of_june": (
        [
            play("film", days_ago, seconds=seconds)
            for days_ago, seconds in ((30, 1), (29, 2), (20, 4), (19, 8), (10, 16), (9, 32))
        ],
        RHYTHMS,
        [
            {
                "first_third_of_month_share": 4 / 60,
                "middle_third_of_month_share": 24 / 60,
                "last_third_of_month_share": 32 / 60,
            },
            {
                "first_third_of_month_share": 6 / 63,
                "middle_third_of_month_share": 24 / 63,
                "last_third_of_month_share": 33 / 63,
            },
        ],
    ),
    # --- titles
    "series_touched_by_itself": (
        [play("show", 5)],
        TITLES,
        2 * [{"title_id": "show", "is_series": False, "watched_contents": 1}],
    ),
    "series_touched_by_itself_and_by_an_episode": (
        [play("show", 5, seconds=300), play("show_1", 40, seconds=600)],
        TITLES,
        [
            {"window_days": 28, "is_series": False, "watch_seconds": 300.0},
            {
                "window_days": 84,
                "is_series": True,
                "watch_interactions": 2,
                "episode_interactions": 1,
                "watch_seconds": 900.0,
                "watched_contents": 2,
                "watched_episodes": 1,
            },
        ],
    ),
    "share_of_a_series_touched_by_itself_and_by_an_episode": (
        [play("show", 5, seconds=300), play("show_1", 40, seconds=600), play("film", 40)],
        WINDOWS,
        [{"top_series_share": 0.0}, {"top_series_share": 0.6}],
    ),
    "title_clicked_with_seconds_is_not_watched": (
        [Event("?", "show_1", "click", at(5), 500)],
        TITLES,
        [],
    ),
    "title_clicked_without_seconds": ([click(5)], TITLES, []),
    "title_watched_without_seconds": (
        [play("film", 5, seconds=None)],
        TITLES,
        2 * [{"watch_seconds": None, "watch_minutes": None, "movie_interactions": 1}],
    ),
}


def edge_events() -> dict[str, Event]:
    """What the viewers of EDGES did, each named for the edge; and somebody on every day."""
    days = dates_between(AS_OF - timedelta(days=190), AS_OF + timedelta(days=1))
    events = [
        Event("nobody", None, "impression", datetime.combine(day, datetime.min.time()))
        for day in days
    ]
    for name, (done, _, _) in EDGES.items():
        events += [replace(event, user_id=name) for event in done]
    return {str(number): event for number, event in enumerate(events)}


@pytest.fixture(scope="session")
def edges(tmp_path_factory: pytest.TempPathFactory) -> Service:
    """All edges in one service, built."""
    service = Service(tmp_path_factory.mktemp("edges") / "service")
    service.write_contents(CATALOGUE)
    service.write_events("all", edge_events())
    service.run(EDGE_VARS)
    return service


@pytest.fixture(scope="session")
def edge_tables(edges: Service) -> list[dict[str, list[Row]]]:
    """The tables that EDGES name, of the models and of the reference."""
    world = make_world(edge_events(), CATALOGUE, {}, EDGE_VARS)
    names = {table for _, table, _ in EDGES.values()}
    return [edges.tables(), {name: REFERENCE[name](world) for name in names}]


@pytest.mark.parametrize("name", EDGES)
def test_the_edge_is_where_the_definition_puts_it(
    edge_tables: list[dict[str, list[Row]]], name: str
) -> None:
    _, table, expected = EDGES[name]
    for tables in edge_tables:
        rows = [row for row in tables[table] if row["user_id"] == name]
        found = [
            {column: row[column] for column in wanted}
            for row, wanted in zip(rows, expected, strict=True)
        ]
        assert found == expected


def test_the_models_agree_with_the_reference_on_every_edge(edges: Service) -> None:
    world = make_world(edge_events(), CATALOGUE, {}, EDGE_VARS)
    assert disagreements(edges.tables(), world) == {}


PERSONA_LAYER = (
    "personas", "persona_rules", "persona_dates", "persona_matches", "persona_candidates",
    "persona_choices",
)  # fmt: skip


@pytest.mark.usefixtures("more_rules")
def test_every_method_of_choosing_agrees_with_the_reference(edges: Service, tmp_path: Path) -> None:
    service = edges.copy(tmp_path / "service")
    chosen = {}
    for method in ("strongest", "rarest", "riskiest", "priority"):  # sticky: OTHER_VARS
        variables = replace(EDGE_VARS, exclusivity_method=method)
        service.build_only(*PERSONA_LAYER, variables=variables)
        ours = service.tables()["personas.persona_choices"]
        world = make_world(edge_events(), CATALOGUE, {}, variables)
        theirs = reference.persona_choices(world)
        assert _disagreements_of("personas.persona_choices", ours, theirs) == []
        chosen[method] = [row["persona"] for row in ours]
    # each method decides somewhere, or it would not have been compared
    assert [method for method in chosen if chosen[method] == chosen["priority"]] == ["priority"]


# --- comparing ------------------------------------------------------------------------------------

REFERENCE = {
    "metrics.user_content_hours": reference.user_content_hours,
    "metrics.user_content_days": reference.user_content_days,
    "metrics.user_days": reference.user_days,
    "metrics.user_hours": reference.user_hours,
    "metrics.content_days": reference.content_days,
    "metrics.title_tags": reference.title_tags,
    "metrics.data_quality": reference.data_quality,
    "metrics.as_of_dates": reference.as_of_dates,
    "metrics.activity_periods": reference.activity_periods,
    "metrics.period_series": reference.period_series,
    "metrics.inactivity_regions": reference.inactivity_regions,
    "metrics.user_titles": reference.user_titles,
    "metrics.user_genres": reference.user_genres,
    "metrics.user_windows": reference.user_windows,
    "metrics.user_rhythms": reference.user_rhythms,
    "metrics.user_rfm": reference.user_rfm,
    "personas.persona_matches": reference.persona_matches,
    "personas.persona_choices": reference.persona_choices,
}
UNKNOWN_TO_REFERENCE: dict[str, set[str]] = {
    "metrics.user_days": {"watch_seconds"},
    "metrics.title_tags": {"tag_weight", "tag_number", "genre_number"},
    "metrics.as_of_dates": {"lookback_start"},
}


def assert_agrees(
    service: Service,
    events: Events,
    contents: Mapping[str, Row],
    users: Mapping[str, Row],
    variables: Vars,
) -> None:
    """Load and build a new service, and compare its tables with the reference."""
    service.write_contents(contents)
    service.write_users(users)
    service.write_events("all", events)
    service.run(variables)
    assert disagreements(service.tables(), make_world(events, contents, users, variables)) == {}


def disagreements(
    tables: Mapping[str, list[Row]], world: reference.World
) -> dict[str, list[tuple[Any, ...]]]:
    """For each table what differs, the first few: (grain, column, model's, reference's)."""
    found = {}
    for name, table in REFERENCE.items():
        different = _disagreements_of(name, tables[name], table(world))
        if different:
            found[name] = different[:5]
    contents = {row["content_id"]: row for row in tables["metrics.contents"]}
    of_contents = [
        (content_id, contents.get(content_id))
        for content_id in contents.keys() | world.contents.keys()
        if content_id not in contents
        or contents[content_id]["title_id"] != reference.title_of(world, content_id)
        or contents[content_id]["series_id"] != reference.series_of(world, content_id)
        or contents[content_id]["content_type"] != reference.content_type_of(world, content_id)
    ]
    if of_contents:
        found["metrics.contents"] = of_contents
    loaded = [row["source_date"] for row in tables["metrics.source_dates"]]
    if loaded != world.source_dates:
        found["metrics.source_dates"] = [(loaded, world.source_dates)]
    return found


def _disagreements_of(name: str, ours: list[Row], theirs: list[Row]) -> list[tuple[Any, ...]]:
    if ours and theirs:
        unknown = PIPELINE_COLUMNS | UNKNOWN_TO_REFERENCE.get(name, set())
        if ours[0].keys() - unknown != theirs[0].keys():
            return [("columns", sorted(ours[0].keys() - unknown ^ theirs[0].keys()))]
    rows = [
        {tuple(row[column] for column in GRAINS[name]): row for row in table}
        for table in (ours, theirs)
    ]
    different: list[tuple[Any, ...]] = []
    for key in [*rows[0], *(key for key in rows[1] if key not in rows[0])]:
        if key not in rows[0] or key not in rows[1]:
            different.append((key, "only in the " + ("models" if key in rows[0] else "reference")))
            continue
        for column, value in rows[1][key].items():
            if not _is_same(rows[0][key][column], value, column):
                different.append((key, column, rows[0][key][column], value))
    return different


def _is_same(one: Any, other: Any, column: str) -> bool:
    """Equal; numbers up to 1e-9, a strength, which divides by a spread, up to 1e-6."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_is_same(one[k], other[k], k) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(
            _is_same(*pair, column) for pair in zip(one, other, strict=True)
        )
    if isinstance(one, float | int) and isinstance(other, float | int):
        tolerance = 1e-6 if column == "strength" else 1e-9
        return math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance)
    return bool(one == other)
