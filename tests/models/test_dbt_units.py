"""dbt's unit tests: they pass, no computed model and no persona is without, and the words fit."""

import csv
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from dbt.contracts.graph.manifest import Manifest

from viewer_personas.build import PROJECT, invoke, parse
from viewer_personas.database.connection import connect
from viewer_personas.database.raw import create_raw_tables
from viewer_personas.rules.catalogue import Rule, columns_of, metrics
from viewer_personas.rules.words import clause_words


def dbt(
    database: Path, *arguments: str, manifest: Manifest | None = None
) -> list[tuple[str, str, str]]:
    """Name, status and message of everything that one dbt command ran."""
    result = invoke([*arguments, "--no-use-colors"], database, lambda *_: None, manifest=manifest)
    return [
        (run.node.name, str(run.status), run.message or "")
        for run in result.result.results
        if run.node.resource_type != "operation"
    ]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Every relation that a unit test reads, all of them empty but for the seeds."""
    folder = tmp_path_factory.mktemp("units")
    path = folder / "service.duckdb"
    with connect(path) as connection:
        create_raw_tables(connection)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DBT_TARGET_PATH", str(folder / "target"))
        environment.setenv("DBT_LOG_PATH", str(folder / "logs"))
        # not `run --empty`, which leaves out the snapshot that user_zones reads
        built = dbt(path, "build", manifest=parse(path, tests=False))
        assert not [run for run in built if run[1] == "error"]
        yield path


@pytest.fixture(scope="module")
def manifest(database: Path) -> Manifest:
    return parse(database)


def test_every_unit_test_passes(database: Path, manifest: Manifest) -> None:
    runs = dbt(database, "test", "--select", "test_type:unit", manifest=manifest)
    assert sorted(name for name, _, _ in runs) == sorted(
        unit_test.name for unit_test in manifest.unit_tests.values()
    )
    failed = [f"{name}: {message}" for name, status, message in runs if status != "pass"]
    assert not failed, "\n".join(failed)


def test_every_computed_model_has_a_unit_test(manifest: Manifest) -> None:
    """Staging views that only pass columns through need none."""
    tested = {unit_test.model for unit_test in manifest.unit_tests.values()}
    computed = {
        node.name
        for node in manifest.nodes.values()
        if node.resource_type == "model" and node.schema != "staging"
    }
    assert computed
    assert not computed - tested, f"without a unit test: {', '.join(sorted(computed - tested))}"


def test_every_persona_has_a_unit_test_with_the_rules_of_the_seed(manifest: Manifest) -> None:
    """A changed threshold is a changed decision table: persona_<persona> says who still matches."""
    in_seed = defaultdict(list)
    columns = [column for column in columns_of("persona_rules") if column != "persona"]
    with (PROJECT / "seeds" / "persona_rules.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            in_seed[row["persona"]].append(tuple(row[column] for column in columns))
    in_unit_tests = {
        unit_test.name.removeprefix("persona_"): [
            tuple(str(row[column]) for column in columns)
            for given in unit_test.given
            if given.input == "ref('persona_rules')"
            for row in given.rows
        ]
        for unit_test in manifest.unit_tests.values()
        if unit_test.name.removeprefix("persona_") in in_seed
    }
    assert in_unit_tests == dict(in_seed)


PHRASES = [
    # metric, window_days, value, operator, threshold, phrase
    ("active_days", 28, "14.0", ">=", "11.0", "active days: 14 (at least 11 in 28 days)"),
    ("active_days", 84, "14.0", ">", "11.0", "active days: 14 (more than 11 in 84 days)"),
    ("active_days", 28, "0.0", "<", "1.0", "active days: 0 (less than 1 in 28 days)"),
    ("active_days", 28, "2.0", "=", "2.0", "active days: 2 (2 in 28 days)"),
    ("days_since_last_active", 84, "31.0", ">=", "28.0",
     "days since last active: 31 (at least 28)"),
    ("days_since_last_active", 84, "null", ">=", "28.0",
     "days since last active: not known (at least 28)"),
    ("watch_share", 28, "0.5", "<=", "0.15", "share of watching: 50 % (at most 15 % in 28 days)"),
    ("watch_share", 28, "0.3333333", ">=", "0.33",
     "share of watching: 33.3 % (at least 33 % in 28 days)"),
    ("watch_share", 28, "1.0", ">=", "0.0", "share of watching: 100 % (at least 0 % in 28 days)"),
    ("watch_minutes", 28, "90.25", ">=", "100.0",
     "minutes watched: 90.3 (at least 100 in 28 days)"),
    ("activity_trend", 28, "-0.5", "<", "0.0",
     "trend of active days (-1 to 1): -0.5 (less than 0 in 28 days)"),
    ("activity_trend", 28, "-0.2512", "<=", "-0.25",
     "trend of active days (-1 to 1): -0.25 (at most -0.25 in 28 days)"),
]  # fmt: skip


def test_clauses_in_business_words(database: Path) -> None:
    """The words come from the project's graph, which dbt does not give to its unit tests."""
    clauses = " union all ".join(
        f"select {number} as number, '{metric}' as metric, {window_days} as window_days,"
        f" cast({value} as double) as value, '{operator}' as operator,"
        f" cast({threshold} as double) as threshold"
        for number, (metric, window_days, value, operator, threshold, _) in enumerate(PHRASES)
    )
    query = f"select {{{{ clause_phrase() }}}} as phrase from ({clauses}) order by number"
    shown = invoke(["show", "--inline", query, "--limit", "-1"], database, lambda *_: None)
    table = shown.result.results[0].agate_table
    assert [row["phrase"] for row in table.rows] == [phrase for *_, phrase in PHRASES]


@pytest.mark.parametrize(
    ("metric", "window_days", "value", "operator", "threshold", "phrase"), PHRASES
)
def test_python_uses_the_same_words(
    metric: str, window_days: int, value: str, operator: str, threshold: str, phrase: str
) -> None:
    """SQL writes the reasons, Python explains them: the words must not drift apart."""
    rule = Rule("any", 1, 1, window_days, metric, operator, float(threshold))
    assert clause_words(rule, None if value == "null" else float(value), metrics()) == phrase
