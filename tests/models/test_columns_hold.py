"""The generic test columns_hold: what the YAML says of a column is checked; a failure is told."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from viewer_personas.build import invoke, parse
from viewer_personas.database.connection import connect
from viewer_personas.database.raw import create_raw_tables

TABLE = "metrics.user_windows"
GOOD = {"window_days": 28, "varchar": "a", "date": "2024-06-30", "boolean": True}
"""A value that breaks nothing, by column or by type; 1 for the others."""

PLANTED = {
    # column: a value that breaks what the YAML says, what is wrong, the value as it is shown
    "user_id": (None, "is null", None),
    "window_days": (29, "is not one of 28, 84", "29"),
    "active_days": (-1, "is less than 0", "-1"),
    "active_share": (1.0000001, "is more than 1", "1.0000001"),
    "watch_minutes": (float("nan"), "is not a finite number", "nan"),
    "content_diversity": (float("-inf"), "is not a finite number", "-inf"),
}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Empty tables; user_windows without constraints, as a version without them left it."""
    path = tmp_path_factory.mktemp("columns") / "service.duckdb"
    with connect(path) as connection:
        create_raw_tables(connection)
    assert invoke(["build"], path, lambda *_: None, manifest=parse(path, tests=False)).success
    with connect(path) as connection:
        connection.execute(f"create or replace table {TABLE} as select * from {TABLE}")
    yield path


def put_row(database: Path, planted: dict[str, Any]) -> None:
    """Replace the rows of the table by one that is good but for what is planted."""
    with connect(database) as connection:
        columns = connection.execute(f"describe {TABLE}").fetchall()
        values = [
            planted[name] if name in planted else GOOD.get(name, GOOD.get(kind.lower(), 1))
            for name, kind, *_ in columns
        ]
        connection.execute(f"delete from {TABLE}")
        marks = ", ".join("?" for _ in values)
        connection.execute(f"insert into {TABLE} values ({marks})", values)


def failures(database: Path) -> tuple[str, list[tuple[Any, ...]]]:
    """The status of the test, and the rows that it found."""
    arguments = ["test", "--select", "user_windows,test_name:columns_hold"]
    result = invoke(arguments, database, lambda *_: None, manifest=parse(database))
    [run] = [run for run in result.result.results if run.node.resource_type == "test"]
    with duckdb.connect(str(database), read_only=True) as connection:
        return str(run.status), connection.execute(run.node.compiled_code).fetchall()


def test_a_row_that_keeps_to_the_yaml_passes(database: Path) -> None:
    put_row(database, {})
    assert failures(database) == ("pass", [])


def test_each_kind_of_broken_value_is_told_with_column_value_and_rows(database: Path) -> None:
    put_row(database, {column: value for column, (value, _, _) in PLANTED.items()})
    status, rows = failures(database)
    assert status == "fail"
    assert {(column, problem): (shown, number) for column, problem, shown, number in rows} == {
        **{(column, problem): (shown, 1) for column, (_, problem, shown) in PLANTED.items()},
        # what is no number is out of every range, too
        ("content_diversity", "is less than 0"): ("-inf", 1),
    }


def test_a_null_is_stopped_before_it_is_stored(database: Path) -> None:
    with connect(database) as connection:
        stored = "metrics.user_days"
        row = connection.execute(f"describe {stored}").fetchall()
        required = [name for name, _, may_be_null, *_ in row if may_be_null == "NO"]
        assert {"activity_date", "user_id", "input_version"} <= set(required)
        with pytest.raises(duckdb.ConstraintException, match="NOT NULL"):
            connection.execute(f"insert into {stored} (user_id) values ('a')")
