"""What the commands print: data is shown as it is, and reaches neither markup nor the terminal."""

import json
import re
from dataclasses import replace
from datetime import date

import pytest
from typer.testing import CliRunner

from viewer_personas.build import BuildSummary
from viewer_personas.cli import text
from viewer_personas.cli.app import app
from viewer_personas.errors import InputError
from viewer_personas.export.publications import ExportSummary
from viewer_personas.rules.check import Finding
from viewer_personas.rules.explain import Explanation
from viewer_personas.sources.load import LoadSummary
from viewer_personas.summary import Contents, PersonaShare, QualityCheck

MARKUP = "[/] [bold]x[/bold] [link=file:///]y :smile: \\[z]"
COMMANDS = "\x1b[2J \x1b]0;title\x07 \x9b2J \x7f \r \u202e \udce9"
SHOWN = "␛[2J ␛]0;title �2J ␡  � �"

DAY = date(2026, 1, 1)
EXPLANATION = Explanation(
    user_id="x",
    as_of_date=DAY,
    persona="casual",
    label="x",
    definition="x",
    persona_since=DAY,
    previous_persona=None,
    churn_risk_level="low",
    churn_risk=None,
    churn_risk_lower=None,
    churn_risk_upper=None,
    churn_base_rate=None,
    strategy="x",
    content_policy="x",
    send_policy="x",
    avoid="x",
    matches=[],
    near_misses=[],
    history=[],
)
CONTENTS = Contents(1, DAY, DAY, 1, DAY, 1, [], [], None)


def printed(value: str, capfd: pytest.CaptureFixture[str]) -> str:
    """All that commands print of texts that come from data, here all the same."""
    explanation = replace(
        EXPLANATION, user_id=value, label=value, definition=value, strategy=value, avoid=value
    )
    text.print_lines(
        [
            *text.explanation_lines(explanation),
            text.load_lines(LoadSummary("run", warnings=[value])),
            text.build_lines(BuildSummary("run", warnings=[value])),
            text.export_lines(ExportSummary("files", value)),
            *text.check_lines(
                [Finding("error", value, 1, None, value)],
                {"errors": 1, "warnings": 0},
                value,
                has_database=False,
            ),
            *text.contents_lines(
                replace(
                    CONTENTS,
                    personas=[PersonaShare("p", value, 1, 1.0)],
                    suspicious=[QualityCheck("check", 1, 1, 1.0, value)],
                )
            ),
        ]
    )
    text.print_error(InputError(value))
    with text.progress("Loading") as report:
        report(value, 0, 1)
    captured = capfd.readouterr()
    return captured.out + captured.err


def test_markup_in_data_is_shown_as_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    assert printed(MARKUP, capfd).count(MARKUP) == 14


def test_no_command_to_the_terminal_comes_from_data(capfd: pytest.CaptureFixture[str]) -> None:
    shown = printed(COMMANDS, capfd)
    assert shown.count(SHOWN) == 14
    assert not (set(COMMANDS) - set(" [2J]0;title")) & set(shown)


def test_json_has_the_same_data_and_no_command(capfd: pytest.CaptureFixture[str]) -> None:
    text.print_results(True, {"user_id": COMMANDS, "label": MARKUP}, [])
    shown = capfd.readouterr().out
    assert not set(COMMANDS) - set(" [2J]0;title") & set(shown)
    assert json.loads(shown) == {"user_id": COMMANDS, "label": MARKUP}


def lines_of_progress(how: text.Progressing, capfd: pytest.CaptureFixture[str]) -> list[str]:
    text.show_progress(how)
    try:
        with text.progress("Building") as report:
            report("table a", 0, 2)
            report("table b", 1, 2)
            report("table b", 2, 2)
            report("waiting", 0, 0)
    finally:
        text.show_progress("auto")
    return [re.sub(r"\d+[.]\d s", "0.1 s", line) for line in capfd.readouterr().err.splitlines()]


@pytest.mark.parametrize("how", ["auto", "verbose"])
def test_off_a_terminal_each_part_of_a_step_is_a_line(
    how: text.Progressing, capfd: pytest.CaptureFixture[str]
) -> None:
    assert lines_of_progress(how, capfd) == [
        "Building …",
        "Building 1 of 2 table a 0.1 s",
        "Building 2 of 2 table b 0.1 s",
        "Building waiting 0.1 s",
    ]


def test_quiet_shows_no_progress(capfd: pytest.CaptureFixture[str]) -> None:
    assert lines_of_progress("quiet", capfd) == []


def test_the_options_choose_the_progress() -> None:
    for options, how in ([], "auto"), (["--quiet"], "quiet"), (["--verbose"], "verbose"):
        CliRunner().invoke(app, [*options, "rules", "check"])
        assert text.progressing == how
    text.show_progress("auto")
    result = CliRunner().invoke(app, ["--quiet", "--verbose", "rules", "check"])
    assert isinstance(result.exception, InputError)
