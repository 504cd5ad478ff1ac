"""A service with a folder of its own settings: `personas init`, then `--project`; and the wheel."""

import json
import os
import shutil
import subprocess
import sys
from datetime import date, timedelta
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from viewer_personas import build as build_step
from viewer_personas.cli.app import app
from viewer_personas.database.connection import connect

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.proof
def test_a_service_runs_by_its_own_settings(tmp_path: Path) -> None:
    folder, before = tmp_path / "service", build_step.PROJECT
    run("init", str(folder))
    days = [date(2026, 1, 1) + timedelta(days=number) for number in range(40)]
    rows = "".join(f"ann,enjoyed,{day}T10:00:00Z\nnobody,zap,{day}T10:00:00Z\n" for day in days)
    (folder / "events.csv").write_text(f"user_id,event_type,occurred_at\n{rows}")
    (folder / "sources.yml").write_text("events: {driver: files, path: events.csv}\n")
    with (folder / "seeds" / "event_types.csv").open("a") as file:
        file.write("enjoyed,watch,true\nzap,browse,false\n")
    rules = folder / "seeds" / "persona_rules.csv"
    rules.write_text(f"{rules.read_text().splitlines()[0]}\nregular,1,1,28,watch_share,>=,1\n")
    personas = folder / "seeds" / "personas.csv"
    kept = [
        line for line in personas.read_text().splitlines() if "regular" in line or "casual" in line
    ]
    personas.write_text("\n".join([personas.read_text().splitlines()[0], *kept]) + "\n")
    (folder / "vars.yml").write_text("as_of_history_weeks: 0\n")

    said = json.loads(run("run", "--project", str(folder), "--json"))
    assert said["build"]["partitions_rebuilt"]
    assert before == build_step.PROJECT, "the next command of the process has its own project"
    with connect(folder / "viewer_personas.duckdb", read_only=True) as connection:
        dates = connection.execute("select distinct as_of_date from metrics.as_of_dates").fetchall()
        assert len(dates) == 1, "the latest date alone, as vars.yml says"
        found = connection.execute(
            "select distinct user_id, persona from personas.user_personas"
        ).fetchall()
        assert found == [("ann", "regular")], "nobody only has events that are no activity"
    assert list((folder / "exports").rglob("*.parquet"))

    again = json.loads(run("run", "--project", str(folder), "--json"))
    assert again["load"]["slices_changed"] == 0
    assert again["build"]["partitions_rebuilt"] == {}
    assert "regular" in run("explain", "ann", "--project", str(folder)).lower()
    assert "1 clauses of 2 personas" in run("rules", "check", "--project", str(folder))
    personas.write_text(personas.read_text().replace(",high,", ",huge,").replace(",low,", ",huge,"))
    wrong = CliRunner().invoke(app, ["rules", "check", "--project", str(folder)])
    assert wrong.exit_code == 1
    assert str(personas) in wrong.output, "the file that people edit is named"


@pytest.mark.proof
def test_the_wheel_works_in_an_environment_and_a_folder_of_its_own(tmp_path: Path) -> None:
    """As `pip install` or `uvx` has it: no checkout, and nothing is written into the package."""
    uv = shutil.which("uv") or str(ROOT / ".tools" / "bin" / "uv")
    environment = tmp_path / "environment"
    python = environment / "bin" / "python"
    # the archive of the sources first, and the wheel from nothing but that
    subprocess.run([uv, "build", "-q", "-o", str(tmp_path), str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(environment)], check=True)
    install = [uv, "pip", "install", "-q", "--system-certs", "--python", str(python)]
    subprocess.run([*install, str(wheel)], check=True)
    package = next(environment.rglob("viewer_personas"))
    installed = files(package)
    assert not list(package.parent.glob("bench")) and not list(package.parent.glob("pages"))
    empty = tmp_path / "empty"
    empty.mkdir()
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DBT_", "PERSONAS_", "PYTHON"))
    }
    personas = [str(environment / "bin" / "personas")]
    for arguments in (["demo", "--viewers", "40", "--days", "90"], ["rules", "check"]):
        result = subprocess.run(
            [*personas, *arguments], cwd=empty, env=clean, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr
    assert (empty / "demo" / "personas.duckdb").exists()
    assert sorted(path.name for path in empty.iterdir()) == [".personas", "demo"]
    assert files(package) == installed
    uvx = [uv, "tool", "run", "--system-certs", "--python", sys.executable, "--from", str(wheel)]
    said = subprocess.run(
        [*uvx, "personas", "--version"], cwd=empty, env=clean, capture_output=True, text=True
    )
    assert said.stdout == f"personas {version('viewer-personas')}\n", said.stderr


def files(folder: Path) -> dict[Path, int]:
    """When each file was written; Python's own caches left out."""
    paths = [path for path in folder.rglob("*") if "__pycache__" not in path.parts]
    return {path: path.stat().st_mtime_ns for path in paths if path.is_file()}
