"""The benchmark measures every step and every model, and the floors beside them."""

import json
from io import StringIO
from pathlib import Path

import duckdb
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from bench import cost as benchmark
from bench.service import LATE_SHARE, Service, generate
from viewer_personas.build import PROJECT
from viewer_personas.errors import CheckFailed


@pytest.mark.proof
def test_every_step_model_and_floor_is_measured_at_a_million_events(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(benchmark.main)
    file = tmp_path / "figures.json"
    arguments = ["--events", "1000000", "--weeks", "3", "--json", str(file)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output

    figures = json.loads(file.read_text())
    names: dict[str, list[str]] = {"floor": [], "step": [], "model": []}
    for item in figures["measurements"]:
        names[item["kind"]].append(item["name"])
        assert item["seconds"] > 0, item
    assert names["floor"] == [*benchmark.FLOORS, *benchmark.FLOORS]
    steps = ["LOAD", "BUILD", "IDLE", "NEXT_LOAD", "NEXT_BUILD", "BACK_FILL", "REST", "TESTS"]
    assert names["step"] == [getattr(benchmark, step) for step in steps]
    models = {path.stem for path in (PROJECT / "models").rglob("*.sql")}
    snapshots = {"user_history"}
    assert {name.split(".")[-1] for name in names["model"]} == models | snapshots

    assert figures["dates_filled"] == 3
    assert len(figures["profiles"]) == benchmark.COSTLIEST
    for operators in figures["profiles"].values():
        assert sum(operator["seconds"] for operator in operators) > 0
        # something was built, in spite of a ledger that says that nothing has to be
        assert max(operator["rows"] for operator in operators) > 1000
    assert len(figures["ratios"]) == len(figures["cpu_ratios"]) == 5
    for name in ("metrics.user_windows", "bare group-by of viewer and day", "load"):
        assert name in result.output


def test_a_profile_that_does_not_fit_into_memory_is_named_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERSONAS_MEMORY_LIMIT", "50MB")
    database = tmp_path / "benchmark.duckdb"
    with duckdb.connect(str(database)) as connection:
        connection.execute("create schema raw")
        connection.execute("create schema metrics")
        connection.execute("create table raw.slices as select date '2026-01-01' as source_date")
        connection.execute("create table metrics.partition_ledger as select 'large' as model")
    queries = {
        "large": "select list(range::text || repeat('x', 99)) from range(10_000_000)",
        "small": "select model, count(*) from metrics.partition_ledger where model > '' group by 1",
    }
    found = [
        benchmark.Measurement("model", "build", name, 1, 1, 1, 0, "source_dates")
        for name in queries
    ]
    said = StringIO()
    profiles = benchmark._profiles(database, found, queries, Console(file=said, width=200))
    assert list(profiles) == ["small"]
    assert "No profile of large: Out of Memory Error" in said.getvalue()
    assert max(operator.rows for operator in profiles["small"]) == 1, "the ledger remembers again"


@pytest.mark.parametrize("one_day", [False, True])
def test_the_generated_service_has_about_the_events_asked_for(
    tmp_path: Path, one_day: bool
) -> None:
    service = Service(300_000, 2_000, days=3 if one_day else 20, one_day=one_day)
    generate(tmp_path, service)
    [(events, viewers, days, on_fullest_day)] = duckdb.execute(
        f"""
        select sum(events), max(viewers), count(*), max(events)
        from (
            select ts::date, count(*) as events, max(viewer[8:]::bigint) + 1 as viewers
            from '{tmp_path}/events/*.parquet' group by 1
        )
        """
    ).fetchall()
    assert 0.9 <= events / service.events <= 1.1
    assert 0.9 <= viewers / service.viewers <= 1
    assert days == service.days
    assert (on_fullest_day / events > 0.98) == one_day
    [(late, new)] = duckdb.execute(
        f"""
        select count(*) filter (ts < '{service.last_day}'), count(*)
        from '{tmp_path}/later/*.parquet'
        """
    ).fetchall()
    assert 0 < new < 0.2 * events
    assert late < 3 * LATE_SHARE * on_fullest_day
    assert (late > 0) == (not one_day)


def test_the_files_of_a_large_day_share_out_its_hours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(300_000, 2_000, days=3, one_day=True)
    generate(tmp_path / "whole", service)
    monkeypatch.setattr("bench.service.ROWS_PER_FILE", 50_000)
    generate(tmp_path / "parts", service)
    assert len(list((tmp_path / "parts/events").iterdir())) > 6
    tables = [
        f"select * from '{tmp_path}/{folder}/events/*.parquet'" for folder in ("whole", "parts")
    ]
    for one, other in (tables, tables[::-1]):
        assert duckdb.execute(f"({one}) except all ({other})").fetchall() == []


def test_what_was_measured_before_a_failure_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise CheckFailed("out of memory")

    monkeypatch.setattr(benchmark, "_build", fails)
    app = typer.Typer()
    app.command()(benchmark.main)
    file = tmp_path / "figures.json"
    result = CliRunner().invoke(app, ["--events", "20000", "--json", str(file)])
    assert isinstance(result.exception, CheckFailed)
    figures = json.loads(file.read_text())
    assert [item["name"] for item in figures["measurements"]] == [*benchmark.FLOORS, benchmark.LOAD]
    assert benchmark.LOAD in result.output
