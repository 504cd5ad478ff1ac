"""docs/personas says what the seeds say; of the examples only the form is fixed."""

import csv
import shutil
from pathlib import Path

import pytest

from pages.markdown import BEGIN, END
from pages.personas import (
    COMMAND,
    FOLDER,
    check,
    main,
    pages,
    problems_of_form,
    write,
)
from viewer_personas.errors import CheckFailed, InputError
from viewer_personas.rules.catalogue import WINDOWS_YAML
from viewer_personas.rules.check import read_personas, read_rules

PROJECT = Path(__file__).parents[2]

PART = """\
On 2026-04-29, 12 of 2,000 viewers (0.6 %) have this persona.

### An example: `v00001`

| | value | asked for |
|---|---|---|
| active days | 3 | at least 1 in 28 days |

### Near misses

Nobody misses it by a single clause.

### Where they went

Nobody had it on 2026-04-01.
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The seeds and the words of this project, without pages."""
    for path in (
        Path("seeds/personas.csv"), Path("seeds/persona_rules.csv"), WINDOWS_YAML,
        Path("dbt_project.yml"),
    ):  # fmt: skip
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / path, tmp_path / path)
    return tmp_path


def written(project: Path) -> Path:
    """The pages, each with a part on the demo; their folder."""
    write(None, project)
    folder = project / FOLDER
    for path in folder.glob("*.md"):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(f"{BEGIN}\n{END}", f"{BEGIN}\n{PART}{END}"), encoding="utf-8")
    check(project)
    return folder


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def change_cell(path: Path, persona: str, column: str, value: str) -> None:
    """Another value in the first row of a persona in a seed."""
    with path.open(encoding="utf-8", newline="") as seed:
        rows = list(csv.DictReader(seed))
    row = next(row for row in rows if row["persona"] == persona)
    row[column] = value
    with path.open("w", encoding="utf-8", newline="") as seed:
        table = csv.DictWriter(seed, list(row), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def test_the_pages_are_what_the_seeds_give() -> None:
    """Where they are not, the message names the page and the command to run."""
    check(PROJECT)


def test_every_persona_has_a_page_and_a_line_in_the_index() -> None:
    texts = pages(PROJECT)
    personas = read_personas(PROJECT)
    assert len(personas) >= 13
    for row in personas:
        line = f"| [{row.label}]({row.persona}.md) | {row.definition} |"
        assert line in texts["README.md"]
        page = " ".join(texts[f"{row.persona}.md"].split())
        for text in (row.definition, row.strategy, row.content_policy, row.send_policy, row.avoid):
            assert text in page


def test_rules_are_in_business_words_with_their_alternatives(project: Path) -> None:
    (project / "seeds" / "persona_rules.csv").write_text(
        "persona,alternative,clause,window_days,metric,operator,threshold\n"
        "weekender,2,1,28,weekend_share,>=,0.9\n"
        "weekender,1,2,84,active_days,>,6\n"
        "weekender,1,1,84,weekend_share,<=,0.805\n"
        "sleeper,1,1,84,days_since_last_active,=,28\n"
        "sleeper,1,2,28,activity_trend,<,-0.25\n"
    )
    weekender, sleeper, regular = (
        pages(project)[f"{persona}.md"] for persona in ("weekender", "sleeper", "regular")
    )
    assert (
        "Either:\n\n"
        "- [share of weekends](../metrics.md#weekend_share): at most 80.5 % in 84 days\n"
        "- [active days](../metrics.md#active_days): more than 6 in 84 days\n\n"
        "Or:\n\n"
        "- [share of weekends](../metrics.md#weekend_share): at least 90 % in 28 days\n"
    ) in weekender
    assert "in one of two ways:" in weekender
    assert "(../metrics.md#days_since_last_active): 28\n" in sleeper
    assert "(../metrics.md#activity_trend): less than -0.25 in 28 days\n" in sleeper
    assert "Either" not in sleeper
    assert "It has no rule: who matches no other persona has this one." in regular


def test_who_goes_before_follows_from_the_method_of_choosing(project: Path) -> None:
    assert "that persona instead: sleeper, newcomer.\n" in pages(project)["returner.md"]
    assert "the one further up in this table" in pages(project)["README.md"]
    change(
        project / "dbt_project.yml", "exclusivity_method: priority", "exclusivity_method: rarest"
    )
    changed = pages(project)
    assert "`exclusivity_method: rarest` decides" in changed["returner.md"]
    assert "`exclusivity_method: rarest` decides" in changed["README.md"]
    assert "instead" not in changed["returner.md"]


@pytest.mark.parametrize(
    ("seed", "column", "value", "page"),
    [
        ("personas", "avoid", "Nothing.", "ghoster.md"),
        ("personas", "definition", "Comes and goes.", "README.md"),
        ("personas", "send_policy", "Never.", "README.md"),
        ("personas", "expected_risk", "low", "ghoster.md"),
        ("persona_rules", "threshold", "29", "ghoster.md"),
        ("persona_rules", "operator", ">", "ghoster.md"),
        ("persona_rules", "window_days", "28", "ghoster.md"),
    ],
)
def test_a_changed_seed_is_told_with_page_and_command(
    project: Path, seed: str, column: str, value: str, page: str
) -> None:
    written(project)
    change_cell(project / "seeds" / f"{seed}.csv", "ghoster", column, value)
    with pytest.raises(CheckFailed) as raised:
        check(project)
    assert f"{FOLDER / page}: not what the seeds give" in str(raised.value)
    assert "sleeper.md" not in str(raised.value)
    assert f"Run `{COMMAND}`" in str(raised.value)


def test_a_page_changed_by_hand_or_missing_or_too_many_is_told(project: Path) -> None:
    folder = written(project)
    change(folder / "sleeper.md", "Win back", "Give up")
    (folder / "casual.md").unlink()
    (folder / "gardener.md").write_text("# Gardener\n")
    with pytest.raises(CheckFailed) as raised:
        check(project)
    message = str(raised.value)
    assert "sleeper.md: not what the seeds give" in message
    assert "casual.md: not what the seeds give" in message
    assert "gardener.md: a persona that is not in seeds/personas.csv" in message
    write(None, project)
    assert not (folder / "gardener.md").exists()


def test_the_numbers_of_the_demo_may_be_any_but_its_parts_must_be_there(project: Path) -> None:
    folder = written(project)
    change(folder / "sleeper.md", "12 of 2,000", "1 of 3")
    check(project)
    change(folder / "sleeper.md", "### Near misses\n", "")
    with pytest.raises(CheckFailed, match="its part on the demo has no near misses"):
        check(project)
    assert problems_of_form(PART) == []
    assert len(problems_of_form("")) == 5


def test_pages_without_a_database_keep_their_examples(project: Path) -> None:
    """Who only rewords a definition needs no demo."""
    folder = written(project)
    change(project / "seeds" / "personas.csv", "Win back", "Bring back")
    write(None, project)
    check(project)
    text = (folder / "sleeper.md").read_text(encoding="utf-8")
    assert "Bring back" in text
    assert f"{BEGIN}\n{PART}{END}" in text


def test_a_seed_that_cannot_be_said_is_told_with_its_row(project: Path) -> None:
    rules = project / "seeds" / "persona_rules.csv"
    original = rules.read_text(encoding="utf-8")
    for old, new, message in [
        ("ghoster,1,2,28,ghost_days", "ghoster,1,2,28,ghostliness", "unknown metric 'ghostliness'"),
        ("ghoster,1,2,28,ghost_days,>=", "ghoster,1,2,28,ghost_days,!=", "unknown operator '!='"),
        ("ghoster,1,2,28,ghost_days,>=,7", "ghoster,1,2,28,ghost_days,>=,a week", "'a week' is no"),
        ("ghoster,1,2", "gardener,1,2", "unknown persona 'gardener'"),
    ]:
        rules.write_text(original.replace(old, new), encoding="utf-8")
        with pytest.raises(InputError, match=f"persona_rules.csv line 11: .*{message}"):
            pages(project)
    rules.write_text(original, encoding="utf-8")
    for column, message in [
        ("strategy", "ghoster has no strategy"),
        ("avoid", "line 5: avoid is empty"),
    ]:
        change_cell(project / "seeds" / "personas.csv", "ghoster", column, "")
        with pytest.raises(InputError, match=message):
            pages(project)


def test_rules_are_read_in_order_of_alternative_and_clause(project: Path) -> None:
    path = project / "seeds" / "persona_rules.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    wanted = read_rules(project)
    path.write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n", encoding="utf-8")
    assert read_rules(project) == wanted


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--chek"], 2, "--chek"),
        (["one.duckdb", "two.duckdb"], 2, "one database"),
        (["nowhere/personas.duckdb"], 2, "no such database"),
    ],
)
def test_a_wrong_argument_is_refused(
    arguments: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It must not touch the pages."""
    before = {path: path.read_bytes() for path in (PROJECT / FOLDER).iterdir()}
    assert main(arguments) == status
    assert said in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (PROJECT / FOLDER).iterdir()} == before
