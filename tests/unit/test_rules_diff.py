"""The sides of `personas rules diff`: a git revision, a file, a directory; and its comment."""

import shutil
import subprocess
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from viewer_personas import build as build_step
from viewer_personas.errors import InputError
from viewer_personas.rules.diff import (
    Example,
    LevelChange,
    Movement,
    PersonaChange,
    RulesDiff,
    as_markdown,
    as_text,
    checkout,
    other_side,
)


def git(project: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
    subprocess.run(["git", "-C", project, *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A project in a folder of a repository; its rules were changed after the first commit."""
    folder = tmp_path / "repository" / "project"
    (folder / "seeds").mkdir(parents=True)
    for name in ("models", "dbt_project.yml"):
        (folder / name).symlink_to(build_step.PROJECT / name)
    shutil.copy(build_step.PROJECT / "seeds" / "seeds.yml", folder / "seeds")
    for name in ("personas", "persona_rules"):
        text = (build_step.PROJECT / "seeds" / f"{name}.csv").read_text()
        (folder / "seeds" / f"{name}.csv").write_text(text)
    git(folder.parent, "init", "--initial-branch", "main")
    git(folder, "add", "seeds")
    git(folder, "commit", "--message", "first")
    change(folder / "seeds" / "persona_rules.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_step, "PROJECT", folder)
        yield folder


def change(rules: Path) -> None:
    rules.write_text(rules.read_text().replace("days_known,<=,14", "days_known,<=,21"))


def newcomers(side: str | None) -> float:
    """The threshold of the newcomer on a side; None is the checkout."""
    rules = (other_side(side) if side else checkout()).rules
    [threshold] = [rule.threshold for rule in rules if rule.metric == "days_known"
                   and rule.persona == "newcomer"]  # fmt: skip
    return threshold


def test_each_side_has_the_rules_of_its_place(project: Path, tmp_path: Path) -> None:
    assert newcomers(None) == 21
    assert newcomers("main") == newcomers("HEAD") == 14
    assert newcomers(str(project / "seeds")) == newcomers(str(project)) == 21
    rules = tmp_path / "other_name.csv"
    rules.write_text((project / "seeds" / "persona_rules.csv").read_text().replace(",21", ",7"))
    assert newcomers(str(rules)) == 7
    git(project, "checkout", "--", ".")
    assert newcomers(None) == 14
    personas = tmp_path / "personas.csv"
    personas.write_text((project / "seeds" / "personas.csv").read_text().replace("Binger", "B"))
    assert newcomers(str(personas)) == 14
    assert other_side(str(personas)).labels["binger"] == "B"


@pytest.mark.parametrize(
    ("against", "expected"),
    [
        ("nowhere", "no such file, directory, or git revision"),
        ("--all", "no such file, directory, or git revision"),
        ("EMPTY", "has neither persona_rules.csv nor personas.csv"),
        ("before_the_seeds", "has no seeds/persona_rules.csv"),
    ],
)
def test_what_is_no_side_is_one_message(
    project: Path, tmp_path: Path, against: str, expected: str
) -> None:
    (tmp_path / "empty").mkdir()
    git(project, "checkout", "--orphan", "before_the_seeds")
    git(project, "rm", "--cached", "--force", "-r", ".")
    git(project, "commit", "--allow-empty", "--message", "nothing")
    against = str(tmp_path / "empty") if against == "EMPTY" else against
    with pytest.raises(InputError, match=expected):
        other_side(against)


def test_rules_that_cannot_be_built_are_named(project: Path) -> None:
    rules = project / "seeds" / "persona_rules.csv"
    rules.write_text(rules.read_text() + "binger,1,4,28,activ_days,>=,4\n")
    with pytest.raises(InputError, match=r"persona_rules.csv line \d+: unknown metric"):
        checkout()


def found() -> RulesDiff:
    return RulesDiff(
        before="git main (1234567)",
        after="seeds of the checkout",
        as_of_date=date(2024, 6, 30),
        viewers=200,
        seed_changes=["- persona_rules: a", "+ persona_rules: b"],
        changed=3,
        personas=[
            PersonaChange("binger", "Binger | B", 10, 3, 0, 13),
            PersonaChange("fader", "Fader", 7, 0, 0, 7),
            PersonaChange("casual", "Casual", 183, 0, 3, 180),
        ],
        movements=[Movement("casual", "binger", 3, [Example("a|b", "x: 1 (at least 2)")])],
        risk_levels=[LevelChange("medium", "low", 3), LevelChange("low", "low", 197)],
    )


def test_markdown_is_a_comment_with_tables() -> None:
    lines = as_markdown(found()).splitlines()
    assert "**3 of 200 viewers (1.5%)**" in lines[2]
    assert "| Binger \\| B | 10 | 0 | 3 | 13 |" in lines
    assert not [line for line in lines if "Fader" in line]
    assert "| Casual | Binger \\| B | 3 | `a\\|b`: x: 1 (at least 2) |" in lines
    assert "| medium | 3 | 0 | 0 |" in lines
    tables = [line.count(" |") + line.count("|-") for line in lines if line.startswith("|")]
    assert tables and all(tables)


def test_text_says_the_same() -> None:
    text = as_text(found())
    assert "Before: git main (1234567). After: seeds of the checkout." in text
    assert "Casual → Binger | B: 3 viewers" in text
    assert "medium → low: 3 viewers" in text
