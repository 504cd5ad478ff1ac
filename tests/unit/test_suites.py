"""No test is outside of both suites, and CI runs both."""

import re
from itertools import product
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
MARKERS = ("proof", "histories")


def test_every_test_is_in_a_suite() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    runs = re.findall(r"\$\(PYTEST\)(.*)", makefile)
    # markers alone say what a suite runs: no folder, no name, nothing left out
    suites = [re.fullmatch(r' -n \d -m "([\w ]+)"', run) for run in runs]
    expressions = [suite.group(1) for suite in suites if suite]
    assert len(expressions) == len(runs) == 2
    for values in product((True, False), repeat=len(MARKERS)):
        marked = dict(zip(MARKERS, values, strict=True))
        assert any(eval(expression, {}, marked) for expression in expressions), marked


def test_there_are_no_other_markers() -> None:
    ours = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8").split("markers = [")[1]
    assert tuple(re.findall(r'^    "(\w+):', ours, re.MULTILINE)) == MARKERS


def test_ci_runs_both_suites() -> None:
    lines = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert {"export CI=true", "make test", "make proof"} <= set(lines)
