"""A folder of a service's own settings: written once, checked, put in front of the project."""

import csv
import os
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from viewer_personas.cli.app import app
from viewer_personas.config import load_sources
from viewer_personas.errors import InputError
from viewer_personas.project import OWN_SEEDS, PACKAGED, compose, init, new_vars, work_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    init(tmp_path / "service")
    return tmp_path / "service"


def own_vars(folder: Path, text: str) -> Path:
    (folder / "vars.yml").write_text(text, encoding="utf-8")
    return folder


def test_what_init_writes_can_be_used_as_it_is(folder: Path) -> None:
    load_sources(folder / "sources.yml")
    project = compose(folder)
    shipped = yaml.safe_load((PACKAGED / "dbt_project.yml").read_text())
    assert yaml.safe_load((project / "dbt_project.yml").read_text()) == shipped
    for name in ("macros", "models", "profiles", "tests", "selectors.yml"):
        assert (project / name).resolve() == (PACKAGED / name).resolve()


def test_init_keeps_the_files_that_are_there(folder: Path) -> None:
    own = "persona,label\n"
    (folder / "seeds" / "personas.csv").write_text(own, encoding="utf-8")
    (folder / "vars.yml").unlink()
    written, kept = init(folder)
    assert written == [folder / "vars.yml"]
    assert folder / "seeds" / "personas.csv" in kept
    assert (folder / "seeds" / "personas.csv").read_text(encoding="utf-8") == own


def test_own_seeds_and_vars_stand_in_front_of_those_of_the_project(folder: Path) -> None:
    rules = folder / "seeds" / "persona_rules.csv"
    rules.write_text(rules.read_text().replace("days_known,<=,14", "days_known,<=,21"))
    (folder / "seeds" / "event_types.csv").unlink()
    project = compose(own_vars(folder, "lookback_days: 200\n"))
    assert (project / "seeds" / "persona_rules.csv").read_text() == rules.read_text()
    shipped = (PACKAGED / "seeds" / "event_types.csv").read_text()
    assert (project / "seeds" / "event_types.csv").read_text() == shipped
    variables = yaml.safe_load((project / "dbt_project.yml").read_text())["vars"]
    assert variables["lookback_days"] == 200
    assert variables["churn_horizon_days"] == 28


def test_composing_again_writes_nothing(folder: Path) -> None:
    before = {path: path.lstat().st_mtime_ns for path in compose(folder).rglob("*")}
    assert {path: path.lstat().st_mtime_ns for path in compose(folder).rglob("*")} == before


def test_an_upgrade_is_seen_and_touches_no_own_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compose(folder)
    before = {path: path.read_bytes() for path in folder.glob("[!.]*") if path.is_file()}
    newer = tmp_path / "newer"
    (newer / "seeds").mkdir(parents=True)
    for path in (PACKAGED / "seeds").iterdir():
        (newer / "seeds" / path.name).write_bytes(path.read_bytes())
    settings = yaml.safe_load((PACKAGED / "dbt_project.yml").read_text())
    settings["vars"]["new_threshold"] = 1
    (newer / "dbt_project.yml").write_text(yaml.safe_dump(settings))
    monkeypatch.setattr("viewer_personas.project.PACKAGED", newer)
    project = compose(folder)
    assert yaml.safe_load((project / "dbt_project.yml").read_text())["vars"]["new_threshold"] == 1
    assert (project / "models").readlink() == newer / "models"
    assert {path: path.read_bytes() for path in before} == before
    assert new_vars(folder) == {"new_threshold": 1}
    said = CliRunner().invoke(app, ["init", str(folder)]).stdout
    assert f"Kept   {folder / 'vars.yml'}" in said
    assert "New    new_threshold, 1 unless" in said
    assert "lookback_days" not in said, "it stands there as a comment"


def header(name: str) -> list[str]:
    with (PACKAGED / "seeds" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return next(csv.reader(file))


@pytest.mark.parametrize(
    ("name", "column"), [(name, column) for name in OWN_SEEDS for column in header(name)]
)
def test_a_column_that_an_own_seed_lacks_is_named(folder: Path, name: str, column: str) -> None:
    path = folder / "seeds" / f"{name}.csv"
    lines = path.read_text().splitlines()
    columns = [f"my_{text}" if text == column else text for text in header(name)]
    path.write_text("\n".join([",".join(columns), *lines[1:]]) + "\n")
    with pytest.raises(InputError) as raised:
        compose(folder)
    assert str(path) in str(raised.value)
    assert f"the column {column} is missing" in str(raised.value)
    assert f"the column my_{column} is unknown" in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lookbak_days: 200", "unknown variable lookbak_days; did you mean lookback_days"),
        ("- lookback_days", "expected lines such as"),
        ("lookback_days: [", "not valid YAML"),
    ],
)
def test_vars_that_cannot_be_are_named_with_their_file(
    folder: Path, text: str, message: str
) -> None:
    with pytest.raises(InputError, match=message) as raised:
        compose(own_vars(folder, text))
    assert "vars.yml" in str(raised.value)


def test_a_folder_without_settings_says_what_writes_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="personas init"):
        compose(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        init(tmp_path / "file")
    with pytest.raises(InputError, match="cannot be written"):
        init(tmp_path / "file" / "service")


def test_a_seed_that_nothing_reads_is_named(folder: Path) -> None:
    (folder / "seeds" / "persona_rule.csv").write_text("persona\n")
    with pytest.raises(InputError, match=r"persona_rule\.csv: is not a seed.*persona_rules\.csv"):
        compose(folder)
    (folder / "seeds" / "persona_rule.csv").unlink()
    (folder / ".personas").write_text("no folder")
    with pytest.raises(InputError, match="cannot be written"):
        compose(folder)


def test_help_version_and_completion() -> None:
    for arguments in (["-h"], ["run", "-h"], ["rules", "check", "-h"]):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, arguments
        assert "Usage: " in result.stdout
    assert CliRunner().invoke(app, ["--version"]).stdout.startswith("personas 0.")
    assert "--show-completion" in CliRunner().invoke(app, ["-h"]).stdout


def test_every_command_that_works_on_a_service_takes_its_folder() -> None:
    for command in ("load", "build", "export", "prune", "run", "explain"):
        assert "--project" in CliRunner().invoke(app, [command, "-h"]).stdout, command
    for command in ("check", "diff"):
        assert "--project" in CliRunner().invoke(app, ["rules", command, "-h"]).stdout, command


def test_a_checkout_that_may_not_be_written_leaves_dbts_state_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout, here, cache = tmp_path / "checkout", tmp_path / "here", tmp_path / "cache"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    read_only: set[Path] = set()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) not in read_only)
    assert work_folder(checkout) is None
    read_only.add(checkout)
    assert work_folder(checkout) == here / ".personas"
    read_only.add(here)
    assert work_folder(checkout) == cache / "viewer-personas"
