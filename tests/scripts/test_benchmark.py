"""The benchmark measures every step and every model, and the floors beside them."""

import json
from pathlib import Path

import duckdb
import typer
from typer.testing import CliRunner

from viewer_personas import benchmark
from viewer_personas.build import PROJECT

FLOORS = {
    benchmark.LANDING,
    benchmark.GROUPED_FILES,
    benchmark.GROUPED_EVENTS,
    benchmark.GRAINS,
}


def test_every_step_model_and_floor_is_measured(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(benchmark.main)
    figures = tmp_path / "figures.json"
    result = CliRunner().invoke(app, ["--events", "100000", "--json", str(figures)])
    assert result.exit_code == 0, result.output

    found = json.loads(figures.read_text())
    names = {kind: set[str]() for kind in ("floor", "step", "model")}
    for item in found["measurements"]:
        names[item["kind"]].add(item["name"])
        assert item["seconds"] > 0, item
    assert names["floor"] == FLOORS
    assert names["step"] == {"load", "build", benchmark.TESTS}
    models = {path.stem for path in (PROJECT / "models").rglob("*.sql")}
    snapshots = {"user_history"}
    assert {name.split(".")[-1] for name in names["model"]} == models | snapshots
    assert {*found["ratios"]} == {*found["cpu_ratios"]}
    assert all(ratio > 0 for ratio in found["ratios"].values())
    for name in ("metrics.user_windows", "bare group-by of raw.events", "load"):
        assert name in result.output


def test_the_generated_service_has_about_the_events_asked_for(tmp_path: Path) -> None:
    benchmark.generate(tmp_path, 200_000)
    [(events, viewers, days)] = duckdb.execute(
        "select count(*), count(distinct viewer), count(distinct ts::date)"
        f" from '{tmp_path}/events/*.parquet'"
    ).fetchall()
    assert 180_000 <= events <= 220_000
    assert 700 <= viewers <= 200_000 / benchmark.EVENTS_PER_VIEWER
    assert days == benchmark.DAYS
