"""The raw layer as Parquet: what changed is written, and nothing else; a killed run heals."""

from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from typer.testing import CliRunner

from viewer_personas.build import PROJECT
from viewer_personas.cli.app import app
from viewer_personas.database import parquet, raw
from viewer_personas.database.connection import connect
from viewer_personas.database.parquet import land
from viewer_personas.database.sql import Connection
from viewer_personas.errors import InputError

DAYS = [date(2024, 5, day) for day in (1, 2, 3)]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A raw layer of three days, the second one without events."""
    path = tmp_path / "service.duckdb"
    with connect(path) as connection:
        raw.create_raw_tables(connection)
        connection.execute("""insert into raw.contents values ('film', null, '{"title": "Ü"}')""")
    for day, users in zip(DAYS, (["anna", "ben"], [], ["anna"]), strict=True):
        replace_day(path, day, users)
    return path


def replace_day(database: Path, day: date, users: list[str]) -> None:
    with connect(database) as connection:

        def insert(connection: Connection) -> None:
            for user in users:
                row = [None, user, "film", "play", f"{day} 12:00:00", 1.5, 1, None, day]
                connection.execute(
                    "insert into raw.events (event_id, user_id, content_id, event_type,"
                    " occurred_at, watch_seconds, event_count, device, source_date)"
                    f" values ({'?, ' * 8} ?)",
                    row,
                )

        raw.replace_slices(connection, raw.SliceBatch({day: "read"}, insert), "a run")


def landed(folder: Path, table: str) -> list[tuple[Any, ...]]:
    files = f"{folder}/raw/{table}/**/*.parquet"
    query = "select * from read_parquet($1, hive_partitioning = true) order by all"
    return duckdb.execute(query, [files]).fetchall()


def test_every_raw_table_is_there_and_holds_what_the_database_holds(
    database: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "warehouse"
    summary = land(database, folder)
    assert (summary.slices_written, summary.slices_removed) == (2, 0)
    with connect(database, read_only=True) as connection:
        for table in ("events", "slices", "contents"):
            rows = connection.execute(f"select * from raw.{table} order by all").fetchall()
            assert landed(folder, table) == rows
    assert {path.name for path in (folder / "raw" / "events").iterdir()} == {
        "source_date=2024-05-01",
        "source_date=2024-05-03",
    }
    declared = yaml.safe_load((PROJECT / "models" / "staging" / "raw.yml").read_text())
    assert {path.name for path in (folder / "raw").iterdir()} == {
        table["name"] for table in declared["sources"][0]["tables"]
    }


def test_a_second_landing_writes_only_the_days_that_changed(database: Path, tmp_path: Path) -> None:
    folder = tmp_path / "warehouse"
    land(database, folder)
    assert land(database, folder).slices_written == 0
    replace_day(database, DAYS[0], ["anna", "ben"])  # read again, and the same
    assert land(database, folder).slices_written == 0
    replace_day(database, DAYS[0], ["anna", "ben", "cleo"])
    replace_day(database, DAYS[1], ["dora"])
    replace_day(database, DAYS[2], [])
    summary = land(database, folder)
    assert (summary.slices_written, summary.slices_removed) == (2, 1)
    assert [(row[0], row[-1]) for row in landed(folder, "events")] == [
        (None, DAYS[0]), (None, DAYS[0]), (None, DAYS[0]), (None, DAYS[1]),
    ]  # fmt: skip


def test_events_that_were_pruned_leave_the_files(database: Path, tmp_path: Path) -> None:
    folder = tmp_path / "warehouse"
    land(database, folder)
    with connect(database) as connection:  # what `personas prune` does
        connection.execute("delete from raw.events where source_date = $1", [DAYS[0]])
        connection.execute(
            "update raw.slices set events_dropped_at = now() where source_date = $1", [DAYS[0]]
        )
    for removed in (1, 0):
        summary = land(database, folder)
        assert (summary.slices_written, summary.slices_removed) == (0, removed)
    assert [row[-1] for row in landed(folder, "events")] == [DAYS[2]]


def test_what_a_killed_run_left_half_is_written_again(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "warehouse"
    land(database, folder)
    replace_day(database, DAYS[0], ["ben"])
    replace_day(database, DAYS[2], ["ben"])
    written = parquet._write

    def killed(connection: Connection, table: str, file: Path, day: date | None = None) -> None:
        if day == DAYS[2]:
            file.with_name("_events.parquet").write_bytes(b"half")
            raise KeyboardInterrupt
        written(connection, table, file, day)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(parquet, "_write", killed)
        land(database, folder)
    assert land(database, folder).slices_written == 2
    assert [row[1] for row in landed(folder, "events")] == ["ben", "ben"]


def test_a_day_that_goes_back_after_a_killed_run_goes_back_in_the_files(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "warehouse"
    land(database, folder)
    events = landed(folder, "events")
    replace_day(database, DAYS[0], ["ben"])
    written = parquet._write

    def killed(connection: Connection, table: str, file: Path, day: date | None = None) -> None:
        if not day:  # all events are written, and no other table
            raise KeyboardInterrupt
        written(connection, table, file, day)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(parquet, "_write", killed)
        land(database, folder)
    assert landed(folder, "events") != events
    assert DAYS[0] not in [row[0] for row in landed(folder, "slices")]
    replace_day(database, DAYS[0], ["anna", "ben"])
    assert land(database, folder).slices_written == 1
    assert landed(folder, "events") == events
    assert land(database, folder).slices_written == 0


def test_wrong_options_are_named_before_anything_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for options, named in {
        ("--to", "spark"): "unknown target; choose duckdb or parquet",
        ("--directory", str(tmp_path)): "add --to parquet",
        ("--to", "parquet", "--directory", str(tmp_path / "file")): "is a file",
    }.items():
        database = tmp_path / "none.duckdb"
        result = CliRunner().invoke(app, ["load", "--database", str(database), *options])
        assert isinstance(result.exception, InputError)
        assert named in str(result.exception)
        assert not database.exists()


def test_the_types_of_the_raw_tables_are_those_that_are_declared(database: Path) -> None:
    """Spark makes its tables from raw.yml."""
    declared = yaml.safe_load((PROJECT / "models" / "staging" / "raw.yml").read_text())
    with connect(database, read_only=True) as connection:
        for table in declared["sources"][0]["tables"]:
            columns = connection.execute(f"describe raw.{table['name']}").fetchall()
            assert [(name, kind.lower()) for name, kind, *_ in columns] == [
                (column["name"], column["data_type"]) for column in table["columns"]
            ]
