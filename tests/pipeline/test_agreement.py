"""The models and the reference, two implementations of one definition, give the same tables.

On generated services (histories.py), each of VIEWERS viewers with a history of their own: in all
`sum(EXAMPLES.values()) * VIEWERS` = 216 histories. And on small services written by hand, one for
each edge of a definition, so that a disagreement there has a name.

Keys and texts must be equal, numbers up to rounding. The models are built with more persona rules
than the project has, so that alternatives, all operators and many metrics are compared, too.
"""

import csv
import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

import reference
from histories import CATALOGUE, World, examples, temporary_folder, worlds
from reference import Event, Row, Vars
from service import GRAINS, Events, Service, dates_between, make_world, seed

VIEWERS = 18
EXAMPLES = {"defaults": 6, "other_vars": 6}

OTHER_VARS = Vars(
    default_timezone="Asia/Kolkata",
    day_starts_at_hour=0,
    min_watch_seconds=119,
    lookback_days=168,
    as_of_weekday="wednesday",
    as_of_history_weeks=6,
    period_gap_days=2,
    binge_min_episodes=2,
)
# persona, alternative, clause, window_days, metric, operator, threshold
MORE_RULES = """
devotee,1,1,84,top_genre_share,>,0.5
devotee,1,2,84,watched_titles,>=,2
devotee,2,1,28,top_series_share,>,0.5
devotee,3,1,84,content_diversity,<,0.37
explorer,1,1,84,content_diversity,>,0.61
explorer,2,1,84,watched_titles,>=,4
explorer,2,2,28,movie_share,<=,0.5
fader,1,1,28,activity_trend,<,0
fader,1,2,28,previous_active_days,>=,2
fader,2,1,28,active_days,=,1
fader,2,2,84,longest_gap_days,>=,28
collector,1,1,84,curate_share,>,0.2
collector,2,1,84,feedback_share,>=,0.25
collector,2,2,28,search_share,=,0
weekender,1,1,28,weekend_share,>=,0.5
weekender,1,2,28,watch_minutes,<,100
weekender,2,1,84,periods,>=,3
weekender,2,2,84,longest_period_days,<=,2
weekender,2,3,84,watched_episodes,<,3
weekender,2,4,84,most_episodes_in_24h,<=,1
"""

PIPELINE_COLUMNS = {"input_version", "history_version", "explanation", "reason"}
"""Columns of the models that the reference does not know."""


def test_there_are_200_histories() -> None:
    assert sum(EXAMPLES.values()) * VIEWERS >= 200


@pytest.fixture
def more_rules(project: Path) -> Path:
    """The project with more personas and rules."""
    rules = project / "seeds" / "persona_rules.csv"
    rules.write_text(rules.read_text(encoding="utf-8").rstrip() + MORE_RULES, encoding="utf-8")
    known = {row["persona"] for row in seed("personas")}
    new = sorted({line.split(",")[0] for line in MORE_RULES.split()} - known)
    with (project / "seeds" / "personas.csv").open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for number, persona in enumerate(new):
            writer.writerow([persona, persona, 15 + 10 * number, "-", "low", "-", "-", "-"])
    return project


# --- generated histories ------------------------------------------------------------------------


@pytest.mark.usefixtures("more_rules")
@pytest.mark.parametrize(
    ("shown_as", "days", "variables"),
    [
        pytest.param("defaults", (31, 60, 95), Vars(), id="defaults"),
        pytest.param("other_vars", (40, 200), OTHER_VARS, id="other_vars"),
    ],
)
def test_the_models_agree_with_the_reference(
    shown_as: str, days: tuple[int, ...], variables: Vars
) -> None:
    shown = 0

    @examples(EXAMPLES[shown_as])
    @given(worlds(VIEWERS, days, variables))
    def models_agree(world: World) -> None:
        nonlocal shown
        with temporary_folder() as folder:
            service = Service(folder / "service")
            assert_agrees(service, world.events, world.contents, world.users, variables)
        shown += len(world.histories)

    models_agree()
    assert shown >= EXAMPLES[shown_as] * VIEWERS


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


def click(days_ago: int, hour: float = 12, content_id: str = "film") -> Event:
    return Event("?", content_id, "click", at(days_ago, hour))


PERIODS, SERIES, WINDOWS = (
    "metrics.activity_periods",
    "metrics.period_series",
    "metrics.user_windows",
)

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


@pytest.mark.parametrize("name", EDGES)
def test_the_edge_is_where_the_definition_puts_it(edges: Service, name: str) -> None:
    _, table, expected = EDGES[name]
    in_models = [row for row in edges.tables()[table] if row["user_id"] == name]
    world = make_world(edge_events(), CATALOGUE, {}, EDGE_VARS)
    in_reference = [row for row in REFERENCE[table](world) if row["user_id"] == name]
    for rows in (in_models, in_reference):
        found = [
            {column: row[column] for column in wanted}
            for row, wanted in zip(rows, expected, strict=True)
        ]
        assert found == expected


def test_the_models_agree_with_the_reference_on_every_edge(edges: Service) -> None:
    world = make_world(edge_events(), CATALOGUE, {}, EDGE_VARS)
    assert disagreements(edges.tables(), world) == {}


# --- comparing ------------------------------------------------------------------------------------

REFERENCE = {
    "metrics.user_content_hours": reference.user_content_hours,
    "metrics.user_content_days": reference.user_content_days,
    "metrics.user_days": reference.user_days,
    "metrics.content_days": reference.content_days,
    "metrics.title_tags": reference.title_tags,
    "metrics.as_of_dates": reference.as_of_dates,
    "metrics.activity_periods": reference.activity_periods,
    "metrics.period_series": reference.period_series,
    "metrics.user_windows": reference.user_windows,
    "personas.persona_matches": reference.persona_matches,
    "personas.user_personas": reference.user_personas,
}
UNKNOWN_TO_REFERENCE: dict[str, set[str]] = {
    "metrics.user_days": {"watch_seconds"},
    "metrics.title_tags": {"tag_weight", "tag_number", "genre_number"},
    "metrics.as_of_dates": {"lookback_start"},
    "personas.user_personas": {"churn_risk", "churn_risk_level"},
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
