"""Spells, transitions, dwell times and forecasts: of made-up histories, and of a service's own.

The histories are written into persona_choices by hand: viewers who stay and change, who come, go
and come back, on weekly dates and a latest one off the week. So many kinds of spells would take
years of a generated service.
"""

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest

from histories import CATALOGUE
from reference import spells as reference_spells
from reference.definitions import Event, Row
from reference.spells import GONE, TABLES, History
from service import GRAINS, Events, Service, differences
from viewer_personas.database.connection import connect

MODELS = [name.removeprefix("personas.") for name in TABLES]
DATED = [name for name in TABLES if "as_of_date" in GRAINS[name]]
FIRST = date(2024, 1, 7)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Service:
    """A service with five viewers, built once."""
    service = Service(tmp_path_factory.mktemp("spells") / "service")
    service.write_contents(CATALOGUE)
    service.write_events("all", events_of_a_year())
    service.run()
    return service


def events_of_a_year() -> Events:
    """Viewers with habits that end, and one who is there each day so that every day has events."""
    first = date(2024, 1, 1)
    days = [first + timedelta(days=number) for number in range(240)]
    habits: dict[str, Callable[[int], bool]] = {
        "daily": lambda number: True,
        "stops": lambda number: number < 80,
        "comes_back": lambda number: number < 60 or number > 140,
        "sometimes": lambda number: number % 17 == 0,
        "comes_late": lambda number: number > 150,
    }
    return {
        f"{user_id}-{number}": Event(
            user_id, "film", "play", datetime.combine(day, time(12)), 1800 if number % 2 else 300
        )
        for user_id, is_there in habits.items()
        for number, day in enumerate(days)
        if is_there(number)
    }


# --- made-up histories ----------------------------------------------------------------------------


def made_up(seed: int, personas: list[str]) -> History:
    """Sixty viewers over some months of Sundays; with an even seed the latest date is none.

    Each viewer has a habit: some change each week, some seldom, some are away for a while. Early
    weeks of a spell end more often than late ones, so that the week of a spell matters.
    """
    chance = random.Random(seed)
    dates = [FIRST + timedelta(days=7 * week) for week in range(chance.choice([11, 14]))]
    if seed % 2 == 0:
        dates.append(dates[-1] + timedelta(days=chance.randint(1, 6)))
    choices: dict[str, dict[date, str]] = {}
    for number in range(60):
        now: str | None = chance.choice([None, *personas])
        weeks = 0
        restlessness = chance.choice([0.02, 0.2, 0.6])
        known = {}
        for day in dates:
            if chance.random() < restlessness / (1 + weeks / 3):
                now, weeks = chance.choice([None, *personas]), 0
            else:
                weeks += 1
            if now:
                known[day] = now
        choices[f"viewer_{number}"] = known
    return History(dates, choices, personas)


def write(service: Service, history: History) -> None:
    """Put a history in the place of what the service has in persona_dates and persona_choices."""
    starts = {
        (run.user_id, day): run.dates[0] for run in history.runs() for day in run.dates
    }  # fmt: skip
    choices = [
        (day, user_id, persona, starts[user_id, day])
        for user_id, known in history.choices.items()
        for day, persona in known.items()
    ]
    random.Random(len(choices)).shuffle(choices)
    with connect(service.database) as connection:
        connection.execute("delete from personas.persona_dates")
        for day, before in zip(history.dates, [None, *history.dates], strict=False):
            known = sorted(row for row in choices if row[0] <= day)
            version = md5(repr((history.dates[0], known)).encode()).hexdigest()
            connection.execute(
                "insert into personas.persona_dates by name select $1 as as_of_date,"
                " $2 as previous_as_of_date, $3 as is_latest, $4 as input_version,"
                " $4 as history_version",
                [day, before, day == history.dates[-1], version],
            )
        connection.execute("delete from personas.persona_choices")
        connection.executemany(
            "insert into personas.persona_choices by name select $1 as as_of_date,"
            " $2 as user_id, $3 as persona, $4 as persona_since, 0 as match_count,"
            " [] as all_matches, '-' as input_version",
            choices,
        )


def run_models(service: Service, *, full_refresh: bool = False) -> dict[str, list[Row]]:
    """Build the models of TABLES from what is in persona_choices."""
    service.build_only(*MODELS, full_refresh=full_refresh)
    return {name: rows for name, rows in service.tables().items() if name in TABLES}


def disagreements(tables: Mapping[str, list[Row]], history: History) -> dict[str, list[Any]]:
    """For each table the first differences to the reference: (grain, column, model's, its)."""
    found: dict[str, list[Any]] = {}
    for name, table in TABLES.items():
        ours = {tuple(row[column] for column in GRAINS[name]): row for row in tables[name]}
        theirs = {tuple(row[column] for column in GRAINS[name]): row for row in table(history)}
        different: list[Any] = [(key, "only in one") for key in ours.keys() ^ theirs.keys()]
        different += [
            (key, column, ours[key][column], value)
            for key in ours.keys() & theirs.keys()
            for column, value in theirs[key].items()
            if not _is_same(ours[key][column], value)
        ]
        if different:
            found[name] = different[:5]
    return found


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float | int):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    return bool(one == other)


@pytest.fixture(scope="module", params=[1, 2])
def told(
    request: pytest.FixtureRequest, built: Service, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Service, History, dict[str, list[Row]]]]:
    """A made-up history, built up to its middle, then further, as a service runs week by week."""
    service = built.copy(tmp_path_factory.mktemp("told") / "service")
    personas = [row["persona"] for row in service.rows("select persona from reference.personas")]
    history = made_up(request.param, sorted(personas)[:4])
    history = replace(history, personas=personas)
    middle = history.dates[len(history.dates) // 2]
    write(service, history.up_to(middle))
    run_models(service)
    write(service, history)
    yield service, history, run_models(service)


Told = tuple[Service, History, dict[str, list[Row]]]


def test_the_models_agree_with_the_reference(told: Told) -> None:
    _, history, tables = told
    assert disagreements(tables, history) == {}


def test_the_histories_have_every_kind_of_spell(told: Told) -> None:
    """So that no comparison is of nothing."""
    _, history, tables = told
    spells = tables["personas.persona_spells"]
    kinds = Counter(
        kind
        for row in spells
        for kind, holds in {
            "left": row["next_persona"] == GONE,
            "came back": row["entered_from"] == GONE,
            "came later": row["entered_from"] is None and not row["is_left_censored"],
            "running": row["is_censored"],
            "never changed": row["is_censored"] and row["is_left_censored"],
            "one date": row["evaluation_dates"] == 1 and not row["is_censored"],
        }.items()
        if holds
    )
    assert len(kinds) == 6 and min(kinds.values()) >= 3, kinds
    backtest = tables["personas.persona_forecast_backtest"]
    assert {row["is_within_limits"] for row in backtest} >= {True, None}
    curve = tables["personas.persona_dwell_times"]
    assert any(row["survival"] == 0 for row in curve)
    assert any(row["median_weeks"] is None for row in curve)
    outlooks = tables["personas.persona_outlooks"]
    assert {row["from_weeks"] for row in outlooks} == set(range(history.max_weeks + 1))


def test_week_by_week_gives_the_tables_of_a_full_refresh(told: Told) -> None:
    service, _, tables = told
    assert differences(tables, run_models(service, full_refresh=True)) == {}


def test_without_everything_after_a_date_its_partitions_are_the_same(told: Told) -> None:
    """And the spells, which are of no date, say what the dates up to it say."""
    service, history, tables = told
    last = history.dates[-4]
    cut_service = service.copy(service.folder.parent / f"cut_{last}")
    write(cut_service, history.up_to(last))
    cut = run_models(cut_service, full_refresh=True)
    past = {name: [row for row in tables[name] if row["as_of_date"] <= last] for name in DATED}
    assert differences(past, {name: cut[name] for name in DATED}) == {}
    assert disagreements(cut, history.up_to(last)) == {}


def test_forecasts_add_up_to_the_viewers_of_the_date(told: Told) -> None:
    _, history, tables = told
    for day in history.dates:
        rows = [row for row in tables["personas.persona_forecast"] if row["as_of_date"] == day]
        viewers = sum(day in known for known in history.choices.values())
        assert sum(row["viewers_now"] for row in rows) == viewers
        assert math.isclose(sum(row["expected_viewers"] for row in rows), viewers, abs_tol=1e-9)
        of_states = Counter[tuple[str, int]]()
        for row in tables["personas.persona_outlooks"]:
            if row["as_of_date"] == day:
                of_states[row["from_persona"], row["from_weeks"]] += row["probability"]
        assert all(math.isclose(total, 1, abs_tol=1e-12) for total in of_states.values())


def test_steps_off_the_weekly_grid_enter_no_pooled_rate(told: Told) -> None:
    _, history, tables = told
    latest, before = history.dates[-1], history.dates[-2]
    is_on_the_grid = latest - before == timedelta(days=7)

    def pooled(day: date) -> dict[tuple[str, str], tuple[int, float]]:
        return {
            (row["from_persona"], row["to_persona"]): (row["transitions"], row["rate"])
            for row in tables["personas.persona_transitions"]
            if row["as_of_date"] == day and row["scope"] == "pooled"
        }

    steps = [row for row in tables["personas.persona_steps"] if row["as_of_date"] == latest]
    assert sum(row["viewers"] for row in steps) > 0
    assert (pooled(latest) == pooled(before)) is not is_on_the_grid


# --- a service's own history ----------------------------------------------------------------------


def test_a_changed_rule_makes_no_transition(built: Service, project: Path, tmp_path: Path) -> None:
    """Both dates of a step are restated: the tables are those of a service that always had it."""
    service = built.copy(tmp_path / "changed")
    old = history_of(service)
    rules = project / "seeds" / "persona_rules.csv"
    text = rules.read_text(encoding="utf-8")
    changed = "sleeper,1,1,84,days_since_last_active,>=,"
    assert f"{changed}28" in text
    rules.write_text(text.replace(f"{changed}28", f"{changed}42"), encoding="utf-8")
    service.build()
    new = history_of(service)
    tables = {name: service.tables()[name] for name in TABLES}

    restated = [
        (user_id, day)
        for user_id, known in new.choices.items()
        for day in known
        if old.choices[user_id][day] != known[day]
    ]
    assert restated, "the rule should have changed somebody"
    # where the new rule took over from the old one, somebody would have seemed to move
    apparent = [
        (user_id, day)
        for user_id, known in new.choices.items()
        for before, day in zip(new.dates, new.dates[1:], strict=False)
        if before in known and known.get(day) == known[before] != old.choices[user_id][before]
    ]
    assert apparent
    assert disagreements(tables, new) == {}

    fresh = Service(tmp_path / "fresh")
    fresh.write_contents(CATALOGUE)
    fresh.write_events("all", events_of_a_year())
    fresh.run()
    assert differences(tables, {name: fresh.tables()[name] for name in TABLES}) == {}


def test_a_service_has_the_spells_of_its_personas(built: Service) -> None:
    history = history_of(built)
    tables = {name: built.tables()[name] for name in TABLES}
    assert len(tables["personas.persona_spells"]) > len(history.choices)
    assert disagreements(tables, history) == {}


def history_of(service: Service) -> History:
    """Who had which persona when, as the service has it."""
    choices: dict[str, dict[date, str]] = {}
    for row in service.rows("select as_of_date, user_id, persona from personas.persona_choices"):
        choices.setdefault(row["user_id"], {})[row["as_of_date"]] = row["persona"]
    dates = [row["as_of_date"] for row in service.tables()["personas.persona_dates"]]
    personas = [row["persona"] for row in service.rows("select persona from reference.personas")]
    return History(dates, choices, personas)


def test_the_reference_follows_a_viewer_by_hand() -> None:
    """What the reference itself says of one small history."""
    days = [FIRST + timedelta(days=7 * week) for week in range(4)]
    known = {days[0]: "binger", days[1]: "binger", days[3]: "binger"}
    history = History(days, {"anna": known}, ["binger"])
    assert [
        (row["evaluation_dates"], row["entered_from"], row["next_persona"])
        for row in reference_spells.persona_spells(history)
    ] == [(2, None, GONE), (1, GONE, None)]
