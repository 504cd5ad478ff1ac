"""For all tests: dbt's files apart from the checkout's, and a copy of the project to change."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from viewer_personas import build, cli


@pytest.fixture(scope="session", autouse=True)
def dbt_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Parallel test processes must not share dbt's target and logs."""
    directory = tmp_path_factory.mktemp("dbt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DBT_TARGET_PATH", str(directory / "target"))
        patch.setenv("DBT_LOG_PATH", str(directory / "logs"))
        yield


@pytest.fixture
def project_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the dbt project that the command uses instead, so that a test may change it."""
    copy = tmp_path / "project"
    copy.mkdir()
    for name in ("dbt_project.yml", "macros", "models", "profiles", "seeds", "tests"):
        source = build.PROJECT / name
        if source.is_dir():
            shutil.copytree(source, copy / name)
        else:
            shutil.copy(source, copy / name)
    monkeypatch.setattr(build, "PROJECT", copy)
    monkeypatch.setattr(cli, "PROJECT", copy)
    monkeypatch.setenv("DBT_TARGET_PATH", str(tmp_path / "target"))
    return copy
