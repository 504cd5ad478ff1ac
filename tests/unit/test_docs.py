"""The pages for people: links lead somewhere, examples are the seeds, README shows the demo."""

import re
from pathlib import Path

import pytest

from pages.markdown import BEGIN, END
from pages.readme import main, reasons, shares
from viewer_personas.errors import CheckFailed
from viewer_personas.project import CHECKOUT

DOCS = CHECKOUT / "docs"
PAGES = sorted(
    [
        *CHECKOUT.glob("*.md"),
        *DOCS.rglob("*.md"),
        *(CHECKOUT / "examples").rglob("*.md"),
        *(CHECKOUT / "tests").rglob("*.md"),
    ]
)


def _without_code(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def _anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", _without_code(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_every_link_leads_to_a_file_and_to_a_heading(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", _without_code(page)):
        if re.match(r"https?://|\.\./\.\./actions/", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in _anchors(target), f"{page.name}: no heading for {link}"


def test_the_map_of_the_docs_has_every_page() -> None:
    linked = set(re.findall(r"\]\(([^)\s]+)\)", (DOCS / "README.md").read_text(encoding="utf-8")))
    assert {page.name for page in DOCS.glob("*.md")} - {"README.md"} <= linked


def test_the_example_of_a_persona_is_that_of_the_seeds() -> None:
    page = (DOCS / "adding-a-persona.md").read_text(encoding="utf-8")
    seeds = [
        (CHECKOUT / "seeds" / f"{name}.csv").read_text(encoding="utf-8").splitlines()
        for name in ("personas", "persona_rules")
    ]
    shown = re.findall(r"^weekender,.*$", page, re.MULTILINE)
    assert shown == [row for rows in seeds for row in rows if row.startswith("weekender,")]


def test_readme_has_one_place_for_the_demo_and_it_is_filled() -> None:
    page = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    assert page.count(BEGIN) == page.count(END) == 1
    part = page[page.index(BEGIN) : page.index(END)]
    assert "evaluation dates:\n" in part and "Risk of churn: " in part
    assert len(page.splitlines()) <= 150


def test_of_the_demo_the_largest_personas_are_shown() -> None:
    rows = [f"  Persona {number}  {number}  █\n" for number in range(7)]
    printed = "Loaded 3 days\n\n1,000 events from May to June:\n" + "".join(rows) + "\nmore\n"
    assert shares(printed) == "1,000 events from May to June:\n" + "".join(rows[:5]) + "  …\n"
    with pytest.raises(CheckFailed):
        shares("Loaded 3 days\n")


def test_of_an_explanation_the_last_near_miss_is_shown() -> None:
    assert (
        reasons("v1\n\nNearly A\n  x\n\nNearly B\n\nHistory\n")
        == "v1\n\n…\n\nNearly B\n\nHistory\n"
    )
    assert reasons("v1\n\nNearly A\n\nHistory\n") == "v1\n\nNearly A\n\nHistory\n"
    assert reasons("v1\n\nHistory\n") == "v1\n\nHistory\n"


def test_an_unknown_option_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--chek"]) == 2
    assert "--chek" in capsys.readouterr().err
