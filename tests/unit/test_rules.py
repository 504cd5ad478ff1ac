"""`personas rules check`: each mistake in the rules gives a message that names its row."""

import json
from dataclasses import fields
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner, Result

from viewer_personas.cli.app import app
from viewer_personas.errors import InputError
from viewer_personas.rules.catalogue import (
    Persona,
    Rule,
    as_rules,
    columns_of,
    metrics,
    parse_seed,
)
from viewer_personas.rules.check import check_population, check_rules

RULES = """persona,alternative,clause,window_days,metric,operator,threshold
binger,1,1,28,binged_series,>=,1
binger,1,2,28,active_days,>=,4
binger,2,1,84,binged_series,>=,3
regular,1,1,28,active_share,>=,0.5
"""
PERSONAS = """\
persona,label,priority,definition,expected_risk,strategy,content_policy,send_policy,avoid
binger,Binger,10,Binges.,low,,,,Nothing.
regular,Regular,20,Is here.,low,,,,Nothing.
casual,Casual,999,No other.,medium,,,,Nothing.
"""


def messages(rules: str = RULES, personas: str = PERSONAS) -> list[str]:
    """Each finding as one text that begins with the level, the file and the line."""
    return [
        f"{finding.level} {finding.file}:{finding.line} {finding.message}"
        for finding in check_rules(
            parse_seed("persona_rules", rules, "rules"),
            parse_seed("personas", personas, "personas"),
            rules_file="rules",
            personas_file="personas",
        )
    ]


def test_rules_that_make_sense_have_no_finding() -> None:
    assert messages() == []


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ("bingr,1,3,28,active_days,>=,4", ["unknown persona 'bingr': did you mean binger"]),
        ("casual,1,1,28,active_days,>=,4", ["casual has a rule"]),
        ("binger,1,3,28,activ_days,>=,4", ["unknown metric 'activ_days': did you mean active"]),
        ("binger,1,3,28,zzz,>=,4", ["unknown metric 'zzz'; known are active_days, "]),
        ("binger,1,3,30,active_days,>=,4", ["unknown window '30': write 28 or 84"]),
        ("binger,1,3,28,interactions,=>,4", ["unknown operator '=>': write one of >=, >, <="]),
        ("binger,1,3,28,active_days,>=,four", ["threshold 'four' is not a number"]),
        ("binger,1,3,28,active_days,>=,", ["threshold '' is not a number"]),
        ("binger,1,3,28,active_days,>=,nan", ["threshold 'nan' is not a number"]),
        ("binger,one,3,28,active_days,>=,9", ["alternative 'one' is not a whole number from 1"]),
        ("binger,1,0,28,active_days,>=,9", ["clause '0' is not a whole number from 1"]),
        ("binger,1,2,28,interactions,>=,9", ["the same alternative and clause are in line 3"]),
        ("binger,1,4,28,interactions,>=,9", ["clause 4 where clause 3 is next"]),
        ("binger,4,1,28,interactions,>=,9", ["alternative 4 where alternative 3 is next"]),
        ("binger,1,3,28,watch_share,>,1", ["can never hold: watch_share is from 0 to 1"]),
        ("binger,1,3,28,active_days,>=,29", ["can never hold: active_days is a whole number"]),
        ("binger,3,1,28,active_days,=,1.5", ["can never hold: active_days is a whole number"]),
        ("binger,1,3,84,days_since_last_active,>=,182", ["can never hold"]),
        ("binger,1,3,28,previous_active_days,>,28", ["can never hold"]),
        ("binger,1,3,28,interactions,>=,0", ["can never fail: interactions is a whole number"]),
        ("binger,1,3,28,active_days,<=,3", ["contradicts line 3, active_days >= 4 in 28 days"]),
        ("binger,1,3,28,active_days,>=,3", ["one implies the other"]),
        ("regular,2,1,28,active_share,>=,0.50", ["the same clauses as alternative 1 (line 5)"]),
        ("regular,2,1,84,binged_series,>=,3", ["the same clauses as binger alternative 2"]),
        ("bingr,1,3,30,nothing,~,x", ["persona", "metric", "window", "operator", "threshold"]),
    ],
)  # fmt: skip
def test_a_wrong_row_gives_a_message_with_its_line(wrong: str, expected: list[str]) -> None:
    found = messages(RULES + wrong + "\n")
    assert len(found) == len(expected)
    for message, words in zip(found, expected, strict=True):
        assert " rules:6 " in message
        assert words in message


@pytest.mark.parametrize(
    "right",
    [
        "binger,1,3,84,active_days,<=,3",  # another window
        "binger,3,1,28,active_days,<=,3",  # another alternative
        "binger,1,3,28,active_days,<=,4",  # together with >= 4 exactly 4
        "binger,1,3,28,watch_share,<=,0",
        "binger,3,1,28,active_days,>,27.5",
        "binger,1,3,84,days_since_last_active,>=,181",
    ],
)
def test_what_can_hold_and_fail_has_no_finding(right: str) -> None:
    assert messages(RULES + right + "\n") == []


def test_a_clause_that_only_asks_that_a_metric_is_known_is_a_warning() -> None:
    [message] = messages(RULES + "binger,1,3,28,watch_share,>=,0\n")
    assert message.startswith("warning rules:6 ")
    assert "only requires a known metric" in message


def test_personas_with_the_same_alternatives_are_named() -> None:
    rules = (
        RULES + "regular,2,1,84,active_days,>=,60\n"
        "twin,1,1,84,active_days,>=,60\ntwin,2,1,28,active_share,>=,0.5\n"
    )
    found = messages(rules, PERSONAS + "twin,Twin,30,The same.,low,,,,Nothing.\n")
    assert sum("the same clauses as regular" in message for message in found) == 2
    assert sum("twin and regular have the same rules" in message for message in found) == 1


@pytest.mark.parametrize(
    ("row", "line", "expected"),
    [
        ("binger,Other,30,Says.,low,,,,Nothing.", 5, "persona binger is in line 2, too"),
        ("new,New,30,Says.,low,,,,Nothing.", 5, "new has no rule"),
        ("casual,Other,30,Says.,low,,,,Nothing.", 5, "persona casual is in line 4, too"),
    ],
)
def test_a_wrong_persona_is_named(row: str, line: int, expected: str) -> None:
    found = messages(personas=PERSONAS + row + "\n")
    assert [message for message in found if expected in message and f" personas:{line} " in message]


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ("regular,Regular,10,Is here.,low,,,,Nothing.", "priority 10 is in line 2, too"),
        (
            "regular,Regular,first,Is here.,low,,,,Nothing.",
            "priority 'first' is not a whole number",
        ),
        ("regular,Regular,20,Is here.,none,,,,Nothing.", "expected_risk 'none'"),
        ("regular,,20,Is here.,low,,,,Nothing.", "label is empty"),
        ("regular,Regular,20,,low,,,,Nothing.", "definition is empty"),
        ("regular,Regular,20,Is here.,low,,,,", "avoid is empty"),
    ],
)
def test_a_wrong_value_of_a_persona_is_named(wrong: str, expected: str) -> None:
    [message] = messages(
        personas=PERSONAS.replace("regular,Regular,20,Is here.,low,,,,Nothing.", wrong)
    )
    assert message.startswith("error personas:3 ")
    assert expected in message


def test_without_casual_nobody_would_be_left_over() -> None:
    personas = PERSONAS.replace("casual,Casual,999,No other.,medium,,,,Nothing.\n", "")
    [message] = messages(personas=personas)
    assert "casual is missing" in message


# --- on a population ------------------------------------------------------------------------------


@pytest.fixture
def population() -> duckdb.DuckDBPyConnection:
    """Two viewers on the latest date and another date before; the second one watches nothing."""
    connection = duckdb.connect()
    columns = ", ".join(f"{name} double" for name in metrics())
    connection.execute(
        f"""
        create schema metrics;
        create table metrics.as_of_dates as select unnest(
            [date '2024-06-23', date '2024-06-30']
        ) as as_of_date;
        create table metrics.user_windows (
            as_of_date date, window_days integer, user_id varchar, {columns}
        );
        insert into metrics.user_windows
            (as_of_date, window_days, user_id, active_days, interactions, watch_share)
        values
            ('2024-06-30', 28, 'ann', 4, 9, 0.5), ('2024-06-30', 84, 'ann', 9, 20, 0.5),
            ('2024-06-30', 28, 'ben', 2, 30, null), ('2024-06-30', 84, 'ben', 2, 30, null),
            ('2024-06-23', 28, 'cleo', 20, 30, 0.9), ('2024-06-23', 84, 'cleo', 60, 30, 0.9);
        """
    )
    return connection


@pytest.mark.parametrize(
    ("clauses", "expected"),
    [
        (["28,active_days,>=,4"], None),
        (["28,active_days,>=,5"], "holds for none of the 2 viewers on 2024-06-30"),
        (["28,active_days,>=,2"], "holds for each of the 2 viewers on 2024-06-30"),
        (["28,watch_share,<=,0.5"], None),  # not known never holds
        (["28,active_days,>=,4", "84,active_days,<=,2"], "all together for none of the 2"),
        (["28,active_days,>=,4", "84,active_days,>=,9"], None),
    ],
)
def test_what_says_nothing_of_the_viewers_of_the_latest_date_is_a_warning(
    population: duckdb.DuckDBPyConnection, clauses: list[str], expected: str | None
) -> None:
    rows = [f"binger,1,{number},{clause}" for number, clause in enumerate(clauses, 1)]
    text = "\n".join([",".join(columns_of("persona_rules")), *rows])
    found = check_population(population, as_rules(parse_seed("persona_rules", text, "rules")))
    assert [(finding.level, finding.line) for finding in found] == (
        [("warning", 2)] if expected else []
    )
    assert not expected or expected in found[0].message


# --- the command ----------------------------------------------------------------------------------


def check(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["rules", "check", *arguments])


def test_the_seeds_of_the_project_pass() -> None:
    result = check()
    assert (result.exit_code, "0 errors" in result.stdout) == (0, True)


def test_an_error_exits_with_1_and_is_in_the_json(tmp_path: Path) -> None:
    rules = tmp_path / "rules.csv"
    rules.write_text(RULES + "binger,1,3,28,activ_days,>=,4\n")
    (tmp_path / "personas.csv").write_text(PERSONAS)
    arguments = ["--rules", str(rules), "--personas", str(tmp_path / "personas.csv")]
    assert check(*arguments).exit_code == 1
    result = check(*arguments, "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert (found["errors"], found["warnings"]) == (1, 0)
    assert (found["findings"][0]["line"], found["findings"][0]["level"]) == (6, "error")


@pytest.mark.parametrize(
    ("seed", "column"),
    [(seed, column) for seed in ("personas", "persona_rules") for column in columns_of(seed)],
)
def test_a_column_that_a_file_lacks_is_named(tmp_path: Path, seed: str, column: str) -> None:
    files = {"persona_rules": RULES, "personas": PERSONAS}
    files[seed] = files[seed].replace(column, f"my_{column}", 1)
    for name, text in files.items():
        (tmp_path / f"{name}.csv").write_text(text)
    result = check(
        *("--rules", str(tmp_path / "persona_rules.csv")),
        *("--personas", str(tmp_path / "personas.csv")),
    )
    assert isinstance(result.exception, InputError)
    assert f"{seed}.csv: the column {column} is missing" in str(result.exception)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "no such file"),
        ("", "are missing; the first line must name persona, alternative"),
        ("\n" + RULES, "are missing; the first line must name persona, alternative"),
        (RULES.replace("threshold", "limit"), "the column threshold is missing"),
        (RULES + "binger,1,3\n", "line 6: 3 values"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_message(
    tmp_path: Path, text: str | None, expected: str
) -> None:
    file = tmp_path / "rules.csv"
    if text is not None:
        file.write_text(text)
    error = check("--rules", str(file)).exception
    assert getattr(error, "exit_status", None) == 2
    assert expected in str(error)


COLUMNS = [(seed, column) for seed in ("personas", "persona_rules") for column in columns_of(seed)]


@pytest.mark.parametrize(("seed", "column"), COLUMNS)
def test_each_column_that_a_file_lacks_has_besides_or_repeats_is_named(
    tmp_path: Path, seed: str, column: str
) -> None:
    """Such a file would not build."""
    files = {"personas": PERSONAS, "persona_rules": RULES}
    for name, text in files.items():
        (tmp_path / f"{name}.csv").write_text(text)
    arguments = ["--rules", str(tmp_path / "persona_rules.csv")]
    arguments += ["--personas", str(tmp_path / "personas.csv")]
    assert check(*arguments).exit_code == 0
    rows = [line.split(",") for line in files[seed].splitlines()]
    place = rows[0].index(column)
    for changed, expected in [
        ([[*row[:place], *row[place + 1 :]] for row in rows], f"the column {column} is missing"),
        ([[*row, f"my_{row[place]}"] for row in rows], f"the column my_{column} is unknown"),
        ([[*row, row[place]] for row in rows], f"the column {column} is repeated"),
    ]:
        (tmp_path / f"{seed}.csv").write_text("\n".join(map(",".join, changed)) + "\n")
        error = check(*arguments).exception
        assert getattr(error, "exit_status", None) == 2
        assert expected in str(error)


def test_personas_and_rules_have_the_columns_of_the_seeds() -> None:
    assert [field.name for field in fields(Persona)] == list(columns_of("personas"))
    rule = [field.name for field in fields(Rule) if field.name != "line"]
    assert rule == list(columns_of("persona_rules"))


def test_a_clause_says_what_it_asks() -> None:
    assert (
        str(Rule("binger", 1, 1, 28, "watch_share", ">=", 0.33)) == "watch_share >= 0.33 in 28 days"
    )
