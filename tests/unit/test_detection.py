"""How soon a planted change is seen: due dates follow from the rules, and only fair ones count."""

import json
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pytest
from rich.console import Console

from viewer_personas.demo.detection import (
    Detection,
    casual_wait,
    clause_wait,
    days_to_wait,
    detection,
    render,
    to_dict,
)
from viewer_personas.errors import InputError
from viewer_personas.rules.catalogue import CASUAL, Rule, metrics
from viewer_personas.rules.check import read_personas, read_rules

SUNDAY = date(2026, 2, 1)  # the first evaluation date; 13 weekly ones follow
DATES = [SUNDAY + timedelta(weeks=week) for week in range(14)]


def clause(metric: str, operator: str, threshold: float, window_days: int = 28) -> Rule:
    return Rule("any", 1, 1, window_days, metric, operator, threshold)


@pytest.mark.parametrize(
    ("metric", "operator", "threshold", "window_days", "days"),
    [
        ("days_since_last_active", ">=", 28, 84, 27),  # the 28th day of the absence
        ("days_since_last_active", ">", 27, 84, 27),
        ("days_since_last_active", "<=", 13, 28, 0),  # the first visit
        ("days_since_last_active", "<", 28, 28, 0),
        ("active_days", ">=", 1, 28, 0),
        ("active_days", ">=", 4, 28, 3),
        ("active_days", "=", 0, 84, 83),  # nothing of before may be left in the window
        ("ghost_days", ">=", 28, 84, 27),
        ("watched_titles", ">=", 36, 84, 0),  # could all be watched on one day
        ("binged_series", ">=", 1, 28, 0),
        ("sleepy_days", ">=", 14, 28, 0),  # of the time before
        ("days_known", "<=", 14, 28, 0),
        ("previous_active_days", ">=", 8, 28, 0),
        ("watch_share", "<=", 0.15, 28, 27),
        ("top_genre_share", ">=", 0.75, 84, 83),
        ("activity_trend", "<=", -0.25, 28, 27),
        ("longest_gap_days", "<=", 5, 28, 27),
    ],
)
def test_wait_of_a_clause(
    metric: str, operator: str, threshold: float, window_days: int, days: int
) -> None:
    wait = clause_wait(clause(metric, operator, threshold, window_days), metrics())
    assert wait.days == days
    assert wait.reason


def test_a_rule_waits_for_its_slowest_clause_and_has_the_quickest_alternative() -> None:
    rules = {
        "any": [
            [clause("weekend_share", ">=", 0.8, 84), clause("active_days", ">=", 6, 84)],
            [clause("active_days", ">=", 4), clause("weekend_share", ">=", 0.9)],
        ]
    }
    assert days_to_wait(rules, metrics())["any"].days == 27


def test_waits_of_the_catalogue() -> None:
    """Every persona with a rule has one, without a line of code."""
    waits = days_to_wait(read_rules(), metrics())
    assert (waits["newcomer"].days, waits["returner"].days) == (0, 0)
    assert waits.keys() == {row.persona for row in read_personas()} - {CASUAL}


def test_casual_waits_until_the_rules_of_before_are_over() -> None:
    rules = read_rules()
    assert casual_wait("regular", rules).days == 27
    assert casual_wait("weekender", rules).days == 83
    assert casual_wait(None, rules).days == 27  # who came new is a newcomer first


@pytest.fixture
def built() -> duckdb.DuckDBPyConnection:
    """Fourteen weekly dates, three personas; each test says who has what."""
    connection = duckdb.connect()
    connection.execute("""
        create schema reference; create schema metrics; create schema personas;
        create table reference.persona_rules (
            persona varchar, alternative int, clause int, window_days int, metric varchar,
            operator varchar, threshold double
        );
        insert into reference.persona_rules values
            ('sleeper', 1, 1, 84, 'days_since_last_active', '>=', 28),
            ('collector', 1, 1, 28, 'curate_share', '>=', 0.33),
            ('ghoster', 1, 1, 84, 'ghost_days', '>=', 28);
        create table metrics.as_of_dates (as_of_date date);
        create table metrics.user_days (activity_date date, user_id varchar);
        create table personas.user_personas (as_of_date date, user_id varchar, persona varchar);
        create table personas.persona_matches (
            as_of_date date, user_id varchar, persona varchar, is_match boolean
        );
    """)
    connection.executemany("insert into metrics.as_of_dates values (?)", [[d] for d in DATES])
    return connection


def lives(
    built: duckdb.DuckDBPyConnection, tmp_path: Path, turn: date, until: date, **seen: date | None
) -> Detection:
    """Casual viewers who turn to a behaviour: `behaviour_…=` the date from which it is seen."""
    truth = tmp_path / "truth.csv"
    lines = ["user_id,behaviour,starts_on,ends_on"]
    for name, seen_from in seen.items():
        behaviour = name.split("_")[0]
        lines.append(f"{name},casual,2026-01-01,{turn - timedelta(days=1)}")
        lines.append(f"{name},{behaviour},{turn},{until}")
        for day in DATES:
            is_seen = seen_from is not None and day >= seen_from
            persona = behaviour if is_seen else "casual"
            built.execute(
                "insert into personas.user_personas values (?, ?, ?)", [day, name, persona]
            )
            if is_seen:
                built.execute(
                    "insert into personas.persona_matches values (?, ?, ?, true)",
                    [day, name, behaviour],
                )
    truth.write_text("\n".join(lines) + "\n")
    return detection(built, truth)


def test_found_within_seven_days_of_the_due_date(
    built: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    """Turned on Sunday 1 March: due on Saturday 28 March, so 29 March is one day late and the last
    in time is 4 April. Evaluation dates are Sundays, hence 5 April is too late."""
    result = lives(
        built, tmp_path, date(2026, 3, 1), date(2026, 4, 30),
        sleeper_at_once=date(2026, 3, 29), sleeper_late=date(2026, 4, 5), sleeper_never=None,
    )  # fmt: skip
    days = {
        change.user_id: (change.due_on, change.found_on, change.is_found_in_time)
        for change in result.changes
    }
    due_on = date(2026, 3, 28)
    assert days == {
        "sleeper_at_once": (due_on, date(2026, 3, 29), True),
        "sleeper_late": (due_on, date(2026, 4, 5), False),
        "sleeper_never": (due_on, None, False),
    }
    (sleeper,) = result.personas
    assert (sleeper.changes, sleeper.counted, sleeper.in_time) == (3, 3, 1)
    assert sleeper.share == pytest.approx(1 / 3)
    assert (sleeper.median_days_after_change, sleeper.median_days_after_due) == (35, 8)
    assert result.overall.in_time == 1


def test_exactly_seven_days_after_the_due_date_is_in_time(
    built: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    """Turned on 2 March: due on Sunday 29 March, and the next Sunday is the seventh day."""
    turn, until = date(2026, 3, 2), date(2026, 4, 30)
    result = lives(built, tmp_path, turn, until, sleeper_on_the_seventh=date(2026, 4, 5))
    assert result.changes[0].due_on == date(2026, 3, 29)
    assert result.overall.in_time == 1


def test_a_change_is_counted_only_with_seven_full_days_after_its_due_date(
    built: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    """The last evaluation date is 3 May, the behaviour ends before or after it; to count who was
    found early and not who still may be would flatter."""
    assert DATES[-1] == date(2026, 5, 3)
    in_full = lives(built, tmp_path, date(2026, 3, 30), date(2026, 6, 1), sleeper=DATES[-1])
    assert [(c.due_on, c.is_counted) for c in in_full.changes] == [(date(2026, 4, 26), True)]
    a_day_short = lives(built, tmp_path, date(2026, 3, 31), date(2026, 6, 1), sleeper=DATES[-1])
    assert not a_day_short.changes[0].is_counted
    assert a_day_short.overall.share is None
    ends_early = lives(built, tmp_path, date(2026, 3, 1), date(2026, 4, 3), sleeper=DATES[8])
    assert not ends_early.changes[0].is_counted


def test_found_means_while_the_behaviour_lasts(
    built: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    """The persona on a date before the change, or after its end, is another time's."""
    result = lives(
        built, tmp_path, date(2026, 3, 1), date(2026, 4, 6),
        sleeper_too_late=date(2026, 4, 12), sleeper_before=date(2026, 2, 1),
    )  # fmt: skip
    found = {change.user_id: change.found_on for change in result.changes}
    assert found == {"sleeper_too_late": None, "sleeper_before": date(2026, 3, 1)}


def test_a_rule_that_holds_behind_another_persona_is_told_apart(
    built: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    lives(built, tmp_path, date(2026, 3, 1), date(2026, 4, 30), collector=date(2026, 3, 15))
    built.execute("update personas.user_personas set persona = 'fader' where persona = 'collector'")
    built.execute(
        "insert into personas.persona_matches values"
        " ('2026-03-08', 'collector', 'collector', false)"
    )
    result = detection(built, tmp_path / "truth.csv")
    (change,) = result.changes
    assert (change.found_on, change.matched_on) == (None, date(2026, 3, 15))
    assert (result.overall.in_time, result.overall.matched_in_time) == (0, 1)
    assert result.overall.median_days_after_change is None


def test_a_ghoster_is_due_on_a_visit(built: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    """Turned on 1 March, first there on 3 March: the region has 28 days on the first visit from 30
    March on. Visits before the change and after the behaviour are another time's."""
    visits = {
        "ghoster_often": ["2026-02-27", "2026-03-03", "2026-03-17", "2026-03-29", "2026-04-02"],
        "ghoster_on_the_day": ["2026-03-03", "2026-03-30"],
        "ghoster_once": ["2026-03-03"],
        "ghoster_after": ["2026-03-03", "2026-04-25"],
        "ghoster_without": [],
    }
    built.executemany(
        "insert into metrics.user_days values (?, ?)",
        [[day, user_id] for user_id, days in visits.items() for day in days],
    )
    result = lives(
        built, tmp_path, date(2026, 3, 1), date(2026, 4, 20), **dict.fromkeys(visits, DATES[9])
    )
    assert DATES[9] == date(2026, 4, 5)
    assert {change.user_id: change.due_on for change in result.changes} == {
        "ghoster_often": date(2026, 4, 2),
        "ghoster_on_the_day": date(2026, 3, 30),
        "ghoster_once": None,
        "ghoster_after": None,
        "ghoster_without": None,
    }
    assert (result.overall.changes, result.overall.counted, result.overall.in_time) == (5, 2, 2)


def test_who_lives_one_behaviour_from_the_beginning_has_no_change(
    built: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    truth = tmp_path / "truth.csv"
    truth.write_text(
        "user_id,behaviour,starts_on,ends_on\n"
        "settled,collector,2026-01-01,2026-04-30\n"
        "joined,collector,2026-02-01,2026-04-30\n"
        "of_no_persona,gardener,2026-02-01,2026-04-30\n"
    )
    result = detection(built, truth)
    assert [(change.user_id, change.before) for change in result.changes] == [("joined", None)]


def test_as_table_and_as_json(built: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    result = lives(
        built, tmp_path, date(2026, 3, 1), date(2026, 4, 30),
        sleeper=date(2026, 3, 29), collector=None,
    )  # fmt: skip
    as_json = json.loads(json.dumps(to_dict(result)))
    assert [entry["persona"] for entry in as_json["personas"]] == ["collector", "sleeper"]
    assert as_json["personas"][1]["waits"][0]["days"] == 27
    assert as_json["overall"]["share_in_time"] == 0.5
    console = Console(width=100)
    with console.capture() as captured:
        console.print(render(result))
    rows = [line.split() for line in captured.get().splitlines() if line.strip()]
    assert ["sleeper", "1", "1", "27", "28", "1", "100%", "100%"] in rows
    assert ["collector", "1", "1", "27", "–", "0", "0%", "0%"] in rows
    assert ["all", "2", "2", "28", "1", "50%", "50%"] in rows


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="personas run"):
        detection(duckdb.connect(), tmp_path / "truth.csv")
