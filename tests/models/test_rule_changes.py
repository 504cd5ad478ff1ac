"""Why not another persona, and whom a change of the rules moves: both agree with the models."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from service import Demo
from viewer_personas import build as build_step
from viewer_personas.build import build
from viewer_personas.cli.app import app
from viewer_personas.database.connection import connect
from viewer_personas.errors import InputError
from viewer_personas.rules.catalogue import metrics
from viewer_personas.rules.explain import explain, explain_persona

CHANGED = {
    "fader,1,2,28,previous_active_days,>=,8": "fader,1,2,28,previous_active_days,>=,5",
    "regular,1,1,28,active_share,>=,0.5": "regular,1,1,28,active_share,>=,0.75",
}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


@pytest.fixture(scope="module")
def database(finished_demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    database = tmp_path_factory.mktemp("rules") / "personas.duckdb"
    shutil.copy(finished_demo.database, database)
    return database


def rows(database: Path, query: str) -> list[Any]:
    with connect(database, read_only=True) as connection:
        return connection.execute(query).fetchall()


# --- explain --persona ----------------------------------------------------------------------------


def test_every_stored_match_and_near_miss_is_explained_alike(database: Path) -> None:
    stored = rows(
        database,
        "select user_id, persona, is_match, alternative, clauses_met, strength, evidence, reason"
        " from personas.persona_matches"
        " where as_of_date = (select max(as_of_date) from metrics.as_of_dates)",
    )
    assert {is_match for _, _, is_match, *_ in stored} == {True, False}
    with connect(database, read_only=True) as connection:
        for user, persona, is_match, number, clauses_met, strength, evidence, reason in stored:
            shown = explain(connection, user)
            [match] = [
                item for item in shown.matches + shown.near_misses if item.persona == persona
            ]
            assert "; ".join(clause.words for clause in match.clauses) == reason
            explained = explain_persona(connection, user, persona)
            [found] = [item for item in explained.alternatives if item.number == number]
            assert (found.is_match, found.clauses_met) == (is_match, clauses_met)
            assert explained.is_match == is_match
            assert found.strength == pytest.approx(strength, abs=1e-6)
            assert "; ".join(clause.words for clause in found.clauses) == reason
            assert [
                (clause.metric, clause.value, clause.threshold, clause.is_met)
                for clause in found.clauses
            ] == [
                (item["metric"], item["value"], item["threshold"], item["is_met"])
                for item in evidence
            ]


def test_words_with_the_separator_of_reasons_are_explained(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stored reason is one text; its clauses are said from the evidence."""
    user, day = rows(
        database,
        "select user_id, as_of_date from personas.persona_matches where clauses = 2"
        " order by all limit 1",
    )[0]
    words = "days since the last visit; of any kind"
    monkeypatch.setattr(
        "viewer_personas.rules.explain.metrics",
        lambda: {name: replace(metric, words=words) for name, metric in metrics().items()},
    )
    with connect(database, read_only=True) as connection:
        explained = explain(connection, user, day)
    clauses = [c for match in explained.matches + explained.near_misses for c in match.clauses]
    assert len(clauses) >= 2
    for clause in clauses:
        assert clause.words.startswith(f"{words}: ")


def test_who_is_no_near_miss_is_told_every_clause_and_how_far_it_is(database: Path) -> None:
    [(user,)] = rows(
        database,
        "select min(user_id) from metrics.user_windows as viewers"
        " where as_of_date = (select max(as_of_date) from metrics.as_of_dates)"
        " and not exists (from personas.persona_matches as matches"
        "   where matches.user_id = viewers.user_id and matches.persona = 'ghoster'"
        "   and matches.as_of_date = viewers.as_of_date)",
    )
    output = run("explain", user, "--persona", "ghoster", "--database", str(database)).stdout
    assert f"{user} is not Ghoster" in output
    assert "No alternative holds in full; the persona is " in output
    assert output.count("✗") >= 2
    assert "days short" in output
    found = json.loads(
        run("explain", user, "--persona", "ghoster", "--database", str(database), "--json").stdout
    )
    for clause in found["alternatives"][0]["clauses"]:
        assert clause["difference"] == clause["value"] - clause["threshold"]


def test_who_matches_two_is_told_which_was_chosen_and_why(database: Path) -> None:
    user, chosen, other = rows(
        database,
        "select user_id, persona, all_matches[2] from personas.user_personas"
        " where match_count = 2 and"
        " as_of_date = (select max(as_of_date) from metrics.as_of_dates) order by user_id",
    )[0]
    labels = dict(rows(database, "select persona, label from reference.personas"))
    output = run("explain", user, "--persona", other, "--database", str(database)).stdout
    assert f"{labels[other]} matches, but {labels[chosen]} was chosen (priority): " in output
    assert "the smaller goes first" in output
    output = run("explain", user, "--persona", chosen, "--database", str(database)).stdout
    assert f"Chosen before {labels[other]} by priority." in output


METHODS = [
    ("strongest", "holds with strength"),
    ("rarest", "the rarer goes first"),
    ("riskiest", "the riskier goes first"),
    ("sticky", "the persona of the evaluation date before"),
]


@pytest.mark.parametrize(("method", "expected"), METHODS)
def test_the_reason_for_the_choice_is_that_of_the_method(
    database: Path, tmp_path: Path, method: str, expected: str
) -> None:
    copied = tmp_path / "personas.duckdb"
    shutil.copy(database, copied)
    # the method decides nothing before persona_dates
    built = build_step.invoke(
        ["build", "--select", "persona_dates+", "--vars", f"{{exclusivity_method: {method}}}"],
        copied,
        lambda *_: None,
        manifest=build_step.parse(copied, tests=False),
    )
    assert built.success
    several = rows(
        copied,
        "select user_id, persona, all_matches from personas.user_personas"
        " where match_count > 1 and as_of_date = (select max(as_of_date) from metrics.as_of_dates)",
    )
    said = []
    with connect(copied, read_only=True) as connection:
        for user, chosen, matches in several:
            for persona in matches:
                explained = explain_persona(connection, user, persona)
                assert (explained.is_match, explained.is_chosen) == (True, persona == chosen)
                said += [explained.choice] if persona != chosen else []
    assert any(f"({method})" in choice and expected in choice for choice in said), said


def test_an_unknown_persona_is_told_the_known_ones(database: Path) -> None:
    with (
        connect(database, read_only=True) as connection,
        pytest.raises(InputError, match="gost: no such persona; known are sleeper, newcomer"),
    ):
        explain_persona(connection, "v00001", "gost")


# --- rules diff -----------------------------------------------------------------------------------


@pytest.fixture
def before(project: Path, tmp_path: Path) -> Path:
    """The seeds as they were, in a directory; those of the project are changed."""
    directory = tmp_path / "before"
    shutil.copytree(project / "seeds", directory)
    rules = project / "seeds" / "persona_rules.csv"
    text = rules.read_text()
    for one, other in CHANGED.items():
        assert one in text
        text = text.replace(one, other)
    rules.write_text(text)
    return directory


@pytest.mark.proof
def test_the_viewers_named_are_those_of_a_rebuild(
    database: Path, before: Path, tmp_path: Path
) -> None:
    unchanged = database.stat().st_mtime_ns
    arguments = ["rules", "diff", "--against", str(before), "--database", str(database)]
    found = json.loads(run(*arguments, "--format", "json", "--examples", "1000").stdout)
    assert database.stat().st_mtime_ns == unchanged, "the user's database was written to"

    rebuilt = tmp_path / "rebuilt" / database.name
    rebuilt.parent.mkdir()
    shutil.copy(database, rebuilt)
    summary = build(rebuilt, tests=False)
    assert summary.partitions_rebuilt
    assert all(model.startswith("personas.") for model in summary.partitions_rebuilt)

    latest = (
        "select user_id, persona, churn_risk_level from personas.user_personas"
        " where as_of_date = (select max(as_of_date) from metrics.as_of_dates)"
    )
    was = {user: (persona, level) for user, persona, level in rows(database, latest)}
    now = {user: (persona, level) for user, persona, level in rows(rebuilt, latest)}
    moved = {(user, was[user][0], now[user][0]) for user in was if was[user][0] != now[user][0]}
    assert moved
    named = {
        (example["user_id"], movement["before"], movement["after"])
        for movement in found["movements"]
        for example in movement["examples"]
    }
    assert named == moved
    assert (found["changed"], found["viewers"]) == (len(moved), len(was))
    for item in found["personas"]:
        assert item["before"] == sum(persona == item["persona"] for persona, _ in was.values())
        assert item["after"] == sum(persona == item["persona"] for persona, _ in now.values())
        assert item["after"] == item["before"] - item["left"] + item["entered"]
    levels = Counter((was[user][1], now[user][1]) for user in was)
    assert {
        (item["before"], item["after"]): item["viewers"] for item in found["risk_levels"]
    } == levels

    # by the database of the other side the answer is the same
    arguments[-1] = str(rebuilt)
    assert json.loads(run(*arguments, "--format", "json", "--examples", "1000").stdout) == found

    text = run(*arguments, "--format", "markdown").stdout
    assert "| persona | before | left | entered | after |" in text
    assert "\n- persona_rules: fader,1,2,28,previous_active_days,>=,8\n" in text
    assert "\n+ persona_rules: fader,1,2,28,previous_active_days,>=,5\n" in text
    assert "(at least 75 % in 28 days)" in text


def test_the_same_rules_change_nothing(database: Path, project: Path) -> None:
    arguments = ["rules", "diff", "--against", str(project / "seeds"), "--database", str(database)]
    assert "The rules and personas are the same: nothing changes." in run(*arguments).stdout


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (None, "no such file, directory, or git revision"),
        ("a,b\n1,2\n", "is not a seed of rules or personas"),
        ("{rules}binger,1,9,28,activ_days,>=,4\n", "unknown metric 'activ_days'"),
    ],
)
def test_a_side_that_cannot_be_read_is_one_message(
    database: Path, tmp_path: Path, rows: str | None, expected: str
) -> None:
    file = tmp_path / "rules.csv"
    if rows is not None:
        rules = (build_step.PROJECT / "seeds" / "persona_rules.csv").read_text()
        file.write_text(rows.format(rules=rules))
    arguments = ["rules", "diff", "--against", str(file), "--database", str(database)]
    result = CliRunner().invoke(app, arguments)
    assert getattr(result.exception, "exit_status", None) == 2
    assert expected in str(result.exception)


def test_a_database_that_is_not_built_is_one_message(before: Path, tmp_path: Path) -> None:
    with connect(tmp_path / "empty.duckdb") as connection:
        connection.execute("create schema metrics")
    arguments = ["rules", "diff", "--against", str(before), "--database"]
    for name, expected in (("empty", "Nothing is built"), ("none", "no such database")):
        result = CliRunner().invoke(app, [*arguments, str(tmp_path / f"{name}.duckdb")])
        assert getattr(result.exception, "exit_status", None) == 2
        assert expected in str(result.exception)
