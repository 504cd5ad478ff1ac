"""The command, as a user meets it: demo, export, explain, errors and exit statuses."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pytest
from typer.testing import CliRunner, Result

from service import DEMO, Demo
from viewer_personas import build as build_step
from viewer_personas.cli import app as cli
from viewer_personas.cli.app import app
from viewer_personas.config import ExportGuard
from viewer_personas.database.connection import connect
from viewer_personas.errors import InputError


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def personas(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The installed command in a process of its own, as in a shell."""
    return subprocess.run(
        [Path(sys.executable).parent / "personas", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.mark.proof
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_build_is_one_message_and_goes_on(
    demo: Path, tmp_path: Path, number: int, status: int
) -> None:
    database = tmp_path / "personas.duckdb"
    shutil.copy(demo / "personas.duckdb", database)
    command = [
        str(Path(sys.executable).with_name("personas")),
        "build",
        "--database",
        str(database),
    ]
    process = subprocess.Popen(
        [*command, "--full-refresh"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        before = written_at(database)
        while written_at(database) == before and process.poll() is None:
            time.sleep(0.2)
        process.send_signal(number)
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == status, errors
    assert "Interrupted." in errors
    assert "Traceback" not in errors
    assert personas("build", "--database", str(database)).returncode == 0


def written_at(database: Path) -> int:
    """When a build last wrote to the file or its log."""
    wal = database.with_name(database.name + ".wal")
    return sum(path.stat().st_mtime_ns for path in (database, wal) if path.exists())


@pytest.fixture(scope="module")
def demo(finished_demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo that was run once, in a folder that tests may export to."""
    directory = tmp_path_factory.mktemp("command") / "demo"
    shutil.copytree(finished_demo.folder, directory)
    return directory


@pytest.fixture
def without_data_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what a test says of the output alone: the demo above had the data tests."""
    monkeypatch.setattr(cli, "run_build", partial(build_step.build, tests=False))


@pytest.fixture(scope="module")
def database(demo: Path) -> Path:
    return demo / "personas.duckdb"


def exported(demo: Path) -> dict[Path, tuple[bytes, int]]:
    return {
        file: (file.read_bytes(), file.stat().st_mtime_ns)
        for file in sorted((demo / "exports").rglob("*.parquet"))
    }


def rows(database: Path, query: str) -> list[Any]:
    with connect(database, read_only=True) as connection:
        return connection.execute(query).fetchall()


def test_second_demo_rebuilds_and_exports_nothing_and_says_the_same(
    finished_demo: Demo, demo: Path
) -> None:
    before = exported(demo)
    again = json.loads(run("demo", "--directory", str(demo), *DEMO, "--json").stdout)
    assert again["load"]["slices_loaded"] == 0
    assert again["build"]["partitions_rebuilt"] == {}
    checks = finished_demo.said["build"]["checks_passed"]
    assert again["build"]["checks_passed"] + again["build"]["checks_unchanged"] == checks
    assert again["build"]["checks_unchanged"] > 100
    assert again["export"]["written"] == 0
    assert again["contents"] == finished_demo.said["contents"]
    assert again["recovery"] == finished_demo.said["recovery"]
    assert exported(demo) == before


@pytest.mark.usefixtures("without_data_tests")
def test_demo_prints_personas_and_what_was_recovered(demo: Path) -> None:
    output = run("demo", "--directory", str(demo), *DEMO).stdout
    assert "0 partitions rebuilt" in output
    assert "Planted behaviour recovered" in output
    assert "personas explain" in output


@pytest.mark.usefixtures("without_data_tests")
def test_run_prunes_where_a_retention_is_set(demo: Path, tmp_path: Path) -> None:
    database = tmp_path / "personas.duckdb"
    shutil.copy(demo / "personas.duckdb", database)
    of_database = ("--database", str(database))
    retention = ("--vars", "{raw_retention_days: 30}")
    output = run("prune", *of_database).stdout
    assert "keep everything" in output
    output = run("prune", *of_database, *retention, "--dry-run").stdout
    assert "Would go  events before" in output and "raw.events: " in output
    would = json.loads(run("prune", *of_database, *retention, "--dry-run", "--json").stdout)
    places = ("--sources", str(demo / "sources.yml"), "--exports", str(tmp_path / "exports"))
    result = json.loads(run("run", *of_database, *retention, *places, "--json").stdout)
    assert result["prune"]["tables"] == would["prune"]["tables"]
    days = rows(database, "select count(distinct source_date) from raw.events")
    assert days == [(30,)]
    assert result["build"]["partitions_rebuilt"] == {}


def test_export_holds_every_date_and_viewer_of_the_model(demo: Path, database: Path) -> None:
    files = f"{demo}/exports/user_personas/*/*.parquet"
    query = "select as_of_date, user_id, persona, explanation from {} order by all"
    in_files = duckdb.execute(query.format(f"read_parquet('{files}', hive_partitioning = true)"))
    assert in_files.fetchall() == rows(database, query.format("personas.user_personas"))


def test_the_weeks_of_the_demo_are_no_reason_to_warn(finished_demo: Demo, database: Path) -> None:
    assert finished_demo.said["export"]["warnings"] == []
    [(compared, largest)] = rows(
        database,
        "select count(deviations), max(greatest(abs(deviations), abs(audience_deviations)))"
        " from personas.persona_shifts",
    )
    assert compared > 0
    assert largest < ExportGuard().warn_deviations


def test_export_after_loss_writes_the_same_bytes(demo: Path, database: Path) -> None:
    before = exported(demo)
    lost, unreadable = list(before)[:2]
    lost.unlink()
    unreadable.write_bytes(b"no parquet")
    leftover = lost.with_suffix(".writing")
    leftover.write_bytes(b"half a file of a run that was killed")
    result = json.loads(run("export", "--database", str(database), "--json").stdout)
    assert result["export"]["written"] == 2
    assert not leftover.exists()
    assert {file: content for file, (content, _) in exported(demo).items()} == {
        file: content for file, (content, _) in before.items()
    }


def test_export_of_an_empty_model_fails_and_leaves_what_was_exported(
    demo: Path, database: Path, tmp_path: Path
) -> None:
    before = exported(demo)
    emptied = tmp_path / "emptied.duckdb"
    emptied.write_bytes(database.read_bytes())
    with connect(emptied) as connection:
        connection.execute("delete from personas.user_personas")
    result = personas("export", "--database", str(emptied), "--exports", str(demo / "exports"))
    assert result.returncode == 1
    assert "personas.user_personas is empty" in result.stderr
    assert exported(demo) == before


def test_first_day_of_a_service_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text(
        "user_id,event_type,occurred_at\nann,play,2026-01-01T10:00:00Z\n"
    )
    (tmp_path / "sources.yml").write_text("events: {driver: files, path: events.csv}\n")
    database = tmp_path / "personas.duckdb"
    result = run("run", "--sources", str(tmp_path / "sources.yml"), "--database", str(database))
    assert result.exit_code == 0
    assert "no personas yet: the first complete activity date needs" in result.stdout


def test_explain_says_why_in_business_words(database: Path) -> None:
    user, label = rows(
        database,
        "select user_id, label from personas.user_personas"
        " join reference.personas using (persona)"
        " where persona = 'sleeper' order by as_of_date desc, user_id limit 1",
    )[0]
    output = run("explain", user, "--database", str(database)).stdout
    assert f"{user} is a {label} on " in output
    assert "✓ days since last active: " in output
    assert "(at least 28)" in output
    assert "History:" in output
    assert "What to do: Win back" in output


def test_explain_as_json_gives_values_thresholds_and_near_misses(database: Path) -> None:
    as_of, user = rows(
        database,
        "select as_of_date, user_id from personas.persona_matches where not is_match"
        " order by as_of_date, user_id limit 1",
    )[0]
    arguments = ["explain", user, "--database", str(database), "--as-of", str(as_of), "--json"]
    explained = json.loads(run(*arguments).stdout)
    near_miss = explained["near_misses"][0]
    assert [clause["is_met"] for clause in near_miss["clauses"]].count(False) == 1
    assert {"metric", "value", "operator", "threshold", "window_days", "words"} <= set(
        near_miss["clauses"][0]
    )
    assert explained["history"][-1]["last_date"] == str(as_of)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["load", "--sources", "nowhere.yml"], 2, "nowhere.yml"),
        (["build"], 2, "Run `personas run` first"),
        (["explain", "ann"], 2, "Run `personas run` first"),
        (["export"], 2, "Run `personas"),
        (["load", "--since", "yesterday"], 2, "--since"),
        (["export", "--to", "fax"], 2, "--to fax"),
    ],
)
def test_wrong_input_is_one_message_and_exit_status_2(
    tmp_path: Path, arguments: list[str], status: int, message: str
) -> None:
    database = tmp_path / "none.duckdb"
    result = personas(*arguments, PERSONAS_DATABASE=str(database))
    assert result.returncode == status
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not database.exists()


def test_unknown_viewer_and_date_exit_with_2(database: Path) -> None:
    unknown = personas("explain", "nobody", "--database", str(database))
    assert (unknown.returncode, "viewer nobody: not known on" in unknown.stderr) == (2, True)
    no_date = personas("explain", "x", "--database", str(database), "--as-of", "1999-01-01")
    assert (no_date.returncode, "is not an evaluation date" in no_date.stderr) == (2, True)


@pytest.mark.parametrize("arguments", [[], ["--persona", "binger"]])
@pytest.mark.parametrize(
    "change",
    [
        "alter table personas.persona_matches drop column evidence",
        "drop table personas.persona_dates; drop table personas.persona_matches",
    ],
)
def test_a_database_of_another_version_is_named(
    database: Path, tmp_path: Path, change: str, arguments: list[str]
) -> None:
    older = tmp_path / "personas.duckdb"
    shutil.copy(database, older)
    [(user,)] = rows(older, "select min(user_id) from personas.user_personas")
    with connect(older) as connection:
        connection.execute(change)
    with pytest.raises(InputError, match=r"another version. Run `personas build` first"):
        run("explain", user, "--database", str(older), *arguments)


def test_a_database_that_another_process_holds_exits_with_3(database: Path) -> None:
    with connect(database):
        result = personas("explain", "x", "--database", str(database))
    assert result.returncode == 3
    assert "another process has this database open" in result.stderr
