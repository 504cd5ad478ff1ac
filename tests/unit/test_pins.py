"""What make installs is pinned by hash: uv, the packages, and what builds them."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")


def commands(program: str) -> list[str]:
    """The lines of the Makefile that run a program, with the variables of its options."""
    lines = MAKEFILE.replace("$(SYNC)", MAKEFILE.partition("SYNC := ")[2].partition("\n")[0])
    return [line for line in lines.splitlines() if program in line and ":=" not in line]


def test_uv_is_installed_by_hash() -> None:
    [install] = commands("pip install")
    assert "--require-hashes" in install and "--requirement .ci/uv.txt" in install
    pinned = (ROOT / ".ci" / "uv.txt").read_text(encoding="utf-8")
    assert re.findall(r"^(\w+)==[\d.]+ ", pinned, re.MULTILINE) == ["uv"]
    assert "--hash=sha256:" in pinned


def test_what_builds_is_installed_by_hash() -> None:
    for program in ("$(UV) sync", "$(UV) build"):
        assert commands(program)
        assert all("--require-build-hashes" in command for command in commands(program))
    constraints = PROJECT["tool"]["uv"]["build-constraint-dependencies"]
    pinned = {one["requirement"].partition("==")[0]: one["hashes"] for one in constraints}
    assert all(pinned.values())
    wanted = {re.split("[<>=]", name)[0] for name in PROJECT["build-system"]["requires"]}
    assert wanted <= pinned.keys()
    # what comes without a wheel is built by these
    assert {"setuptools", "wheel"} <= pinned.keys()
