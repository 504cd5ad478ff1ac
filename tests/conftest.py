"""Fixtures of all tests: a place of their own for dbt, and a small service."""

import json
import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service import DEMO, Demo, Service
from viewer_personas import build as build_step
from viewer_personas.cli.app import app

WITH_JAVA = [Path(__file__).parent / folder for folder in ("engines", "servers")]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs Java is proof, and goes first: it takes longest in one process, or waits."""

    def is_later(item: pytest.Item) -> list[bool]:
        return [folder not in item.path.parents for folder in WITH_JAVA]

    for item in items:
        if not all(is_later(item)):
            item.add_marker(pytest.mark.proof)
    items.sort(key=is_later)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI nothing is left out: what a user without Java may skip is a failure there."""
    report = yield
    if report.skipped and "CI" in os.environ:
        report.outcome = "failed"
    return report


@pytest.fixture(scope="session", autouse=True)
def project_copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the dbt project that all builds of this worker use, with folders of its own.

    Two workers must not share target/, and whoever works on a model while the tests run must not
    be taken for a changed definition. A test that edits a seed asks for `project`, not for this.
    """
    folder = tmp_path_factory.mktemp("project")
    for name in ("macros", "models", "profiles", "seeds", "tests/generic"):
        shutil.copytree(build_step.PROJECT / name, folder / name)
    for name in ("dbt_project.yml", "selectors.yml"):
        shutil.copy(build_step.PROJECT / name, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_step, "PROJECT", folder)
        patch.setenv("DBT_LOG_PATH", str(tmp_path_factory.mktemp("logs")))
        patch.setenv("DBT_LOG_LEVEL_FILE", "none")  # a tenth of a build, and nobody reads it
        patch.setenv("DBT_WRITE_JSON", "false")  # half a second each time, and nobody reads it
        patch.setenv("PERSONAS_MEMORY_LIMIT", "1GB")
        yield folder


@pytest.fixture
def project(project_copy: Path) -> Iterator[Path]:
    """The project, whose seeds a test may edit: they are put back afterwards."""
    seeds = {path: path.read_bytes() for path in (project_copy / "seeds").glob("*.csv")}
    yield project_copy
    for path, content in seeds.items():
        path.write_bytes(content)


@pytest.fixture
def service(tmp_path: Path) -> Service:
    """A service without any file yet."""
    return Service(tmp_path / "service")


@pytest.fixture(scope="session")
def finished_demo(tmp_path_factory: pytest.TempPathFactory, project_copy: Path) -> Demo:
    """A small demo as `personas demo` leaves it, data tests and export included. Only to be copied
    and read: it is the one place where all data tests run on a database that is new."""
    folder = tmp_path_factory.mktemp("finished") / "demo"
    arguments = ["demo", "--directory", str(folder), *DEMO, "--json"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return Demo(folder, json.loads(result.stdout))
