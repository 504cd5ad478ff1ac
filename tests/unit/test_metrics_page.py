"""docs/metrics.md says what the models' YAML says, and the YAML says enough."""

from pathlib import Path

import pytest

from pages.metrics import COMMAND, MODELS, PAGE, check, main, page
from viewer_personas.errors import CheckFailed, InputError

PROJECT = Path(__file__).parents[2]

MODEL = """
models:
  - name: {name}
    description: One row per viewer.
    data_tests:
      - grain: {{arguments: {{columns: [user_id]}}}}
    columns:
      - {{name: user_id, description: The viewer.}}
      - name: active_days
        data_type: bigint
        description: {description}
        config:
          meta:
            unit: days
            example: |
              Came on 3 and 4 June.
              {second}
              active_days = 2
        constraints: [{constraint}]
      - {{name: input_version, description: Hash.}}
"""


def project(
    folder: Path,
    description: str = "Dates with activity.",
    second: str = "3 and 4 June.",
    constraint: str = "{type: not_null}",
) -> Path:
    """A project of the models of the page, each with one metric."""
    for model in MODELS:
        path = folder / "models" / "metrics" / f"{model}.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = MODEL.format(
            name=path.stem, description=description, second=second, constraint=constraint
        )
        path.write_text(text, encoding="utf-8")
    (folder / "docs").mkdir(exist_ok=True)
    return folder


def test_the_page_is_what_the_yaml_gives() -> None:
    """Where it is not, or a metric lacks its example, the message says which command to run."""
    check(PROJECT)


def test_a_page_that_differs_or_is_missing_is_told_with_the_command(tmp_path: Path) -> None:
    """What was written passes; any change of the YAML afterwards does not."""
    project(tmp_path)
    with pytest.raises(CheckFailed, match=COMMAND):
        check(tmp_path)
    (tmp_path / PAGE).write_text(page(tmp_path), encoding="utf-8")
    check(tmp_path)
    project(tmp_path, description="Days on which the viewer came.")
    with pytest.raises(CheckFailed, match=f"Run `{COMMAND}`"):
        check(tmp_path)


def test_a_metric_with_less_than_three_lines_of_example_is_named(tmp_path: Path) -> None:
    """The columns of the grain and input_version need none."""
    with pytest.raises(InputError) as raised:
        page(project(tmp_path, second=""))
    assert "user_windows.active_days: config.meta.example has 2 lines" in str(raised.value)
    assert "user_id" not in str(raised.value)
    assert COMMAND in str(raised.value)


def test_a_metric_that_may_be_null_must_say_what_null_means(tmp_path: Path) -> None:
    """A not_null constraint is what makes a metric never null."""
    with pytest.raises(InputError, match="active_days: may be null"):
        page(project(tmp_path, constraint="{type: unique}"))
    assert "never null" not in page(
        project(tmp_path, "Days; null without any.", constraint="{type: unique}")
    )
    assert "*bigint, days, never null*" in page(project(tmp_path))


def test_a_wrapped_line_never_begins_a_list(tmp_path: Path) -> None:
    """A formula may break before a minus, which Markdown would take for a list."""
    text = page(project(tmp_path, description="now_days - before_days " * 20))
    lines = [line for line in text.splitlines() if "before_days" in line]
    assert len(lines) > len(MODELS)
    assert not [line for line in lines if line.startswith("-") or len(line) > 100]
    assert "`now_days` - `before_days`" in text


def test_an_unknown_option_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """It must not write the page."""
    assert main(["--chek"]) == 2
    assert "--chek" in capsys.readouterr().err
