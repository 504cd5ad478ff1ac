"""Writes docs/metrics.md, every metric with its definition and an example, from the models' YAML.

A metric is a column of one of `MODELS` other than the columns of its grain and `input_version`. Its
`description` says the formula, the range and what null means; `config.meta` has its `unit` and an
`example` of three lines: what the viewer did, how it is computed, the result. Whether it is ever
null comes from its tests, so that the page says no more than what a build checks.

    python -m pages.metrics            # writes the page
    python -m pages.metrics --check    # only says whether it is up to date
"""

import re
import sys
from pathlib import Path
from typing import Any

import yaml

from pages.markdown import wrapped
from viewer_personas.build import PROJECT
from viewer_personas.errors import CheckFailed, InputError, PersonasError

PAGE = Path("docs/metrics.md")
COMMAND = "make metrics-page"

# In the order of the page: the metrics that persona rules may name come first.
MODELS = (
    "windows/user_windows",
    "activity/activity_periods",
    "content/period_series",
    "activity/inactivity_regions",
    "windows/user_rhythms",
    "windows/user_genres",
    "windows/user_rfm",
)

INTRODUCTION = f"""\
# Metrics

<!-- Written by `{COMMAND}` from the YAML beside the models: change it there, not here. -->

Every metric with its formula, its unit, its range and what null means, and with an example. The
first line of an example says what a viewer did, the second how the metric is computed from it,
the third what comes out. Words such as *interaction*, *title* and *watched* are those of the
[glossary](glossary.md). Names such as `sleepy_min_days` are thresholds: `dbt_project.yml` has
their values, `macros/definitions/thresholds.sql` their units and ranges.

In the examples the evaluation date is Sunday 30 June 2024. The window has 28 days, 3 to 30 June;
the 84 days begin on 8 April, the lookback of 182 days on 1 January. Thresholds have the values of
`dbt_project.yml`, hours are local, and rounded results have three decimals.
"""


def main(arguments: list[str] | None = None) -> int:
    """Write the page, or with `--check` compare it; 0 if it is now up to date, else 1 or 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if arguments == ["--check"]:
            check()
        elif arguments:
            raise InputError(f"{' '.join(arguments)}: only --check is known")
        else:
            (PROJECT / PAGE).write_text(page(), encoding="utf-8")
    except PersonasError as error:
        return error.say()
    return 0


def check(project: Path = PROJECT) -> None:
    """Raise `CheckFailed` where the page is not what the YAML gives."""
    path = project / PAGE
    written = path.read_text(encoding="utf-8") if path.exists() else ""
    if written != page(project):
        raise CheckFailed(f"{PAGE} is not what the models' YAML gives. Run `{COMMAND}`.")


def page(project: Path = PROJECT) -> str:
    """The page as Markdown; the same YAML gives the same text.

    Raises `InputError` that names every metric without a unit, without an example of three lines,
    or that may be null and whose description does not say what null means.
    """
    models = [_model(project, name) for name in MODELS]
    problems = [problem for model in models for problem in _problems(model)]
    if problems:
        raise InputError(
            "The page of metrics needs more from the models' YAML:\n  "
            + "\n  ".join(problems)
            + f"\nAdd it there, then run `{COMMAND}`."
        )
    links = [f"- [{model['name']}](#{model['name']})" for model in models]
    parts = [INTRODUCTION, "\n".join(links) + "\n"]
    parts += [_section(model) for model in models]
    return "\n".join(parts)


def metrics(model: dict[str, Any]) -> list[dict[str, Any]]:
    """The columns of a model that are neither its grain nor `input_version`, in order."""
    grain = _grain(model)
    return [
        column
        for column in model["columns"]
        if column["name"] not in grain and column["name"] != "input_version"
    ]


def _model(project: Path, name: str) -> dict[str, Any]:
    path = project / "models" / "metrics" / f"{name}.yml"
    properties = yaml.safe_load(path.read_text(encoding="utf-8"))
    model: dict[str, Any] = next(
        model for model in properties["models"] if model["name"] == path.stem
    )
    for column in model["columns"]:
        column["description"] = _shared(project, column.get("description", ""))
    return model


def _shared(project: Path, description: str) -> str:
    """A description, or the doc block of models/columns.md that it names."""
    named = re.fullmatch(r"\{\{ doc\('(\w+)'\) \}\}", description)
    if not named:
        return description
    text = (project / "models" / "columns.md").read_text(encoding="utf-8")
    block = re.search(rf"\{{% docs {named[1]} %\}}\n(.*?)\n\{{% enddocs %\}}", text, re.DOTALL)
    if not block:
        raise InputError(f"models/columns.md: no block {named[1]}, which a column names")
    return " ".join(block[1].split())


def _grain(model: dict[str, Any]) -> list[str]:
    for test in model["data_tests"]:
        if isinstance(test, dict) and "grain" in test:
            columns: list[str] = test["grain"]["arguments"]["columns"]
            return columns
    raise InputError(f"{model['name']}: has no grain test, so its metrics are not known")


def _problems(model: dict[str, Any]) -> list[str]:
    problems = []
    for column in metrics(model):
        name = f"{model['name']}.{column['name']}"
        if not column.get("description"):
            problems.append(f"{name}: no description")
        elif not _is_never_null(column) and "null" not in column["description"]:
            problems.append(f"{name}: may be null, and the description does not say what it means")
        if "unit" not in _meta(column):
            problems.append(f"{name}: no config.meta.unit")
        lines = len(_example(column))
        if lines != 3:
            problems.append(f"{name}: config.meta.example has {lines} lines instead of three")
    return problems


def _section(model: dict[str, Any]) -> str:
    lines = [f"## {model['name']}", "", _wrapped(model["description"])]
    for column in metrics(model):
        lines += [
            "",
            f"### {column['name']}",
            "",
            f"*{_kind(column)}*",
            "",
            _wrapped(column["description"]),
            "",
            *(_wrapped(f"- {line}", "  ") for line in _example(column)[:2]),
            re.sub(r"^(\w+)", r"- `\1`", _example(column)[2]),
        ]
    return "\n".join(lines) + "\n"


def _kind(column: dict[str, Any]) -> str:
    parts = [column["data_type"].split("(")[0], _meta(column)["unit"]]
    if _is_never_null(column):
        parts.append("never null")
    return ", ".join(parts)


def _is_never_null(column: dict[str, Any]) -> bool:
    return {"type": "not_null"} in column.get("constraints", [])


def _meta(column: dict[str, Any]) -> dict[str, Any]:
    meta: dict[str, Any] = column.get("config", {}).get("meta", {})
    return meta


def _example(column: dict[str, Any]) -> list[str]:
    lines = str(_meta(column).get("example", "")).splitlines()
    return [line for line in lines if line.strip()]


def _wrapped(text: str, indent: str = "") -> str:
    """The text in lines of 100 columns; names with an underscore are set as code."""
    marked = re.sub(r"(?<!`)\b[a-z0-9]+(?:_[a-z0-9]+)+\b(?!`)", r"`\g<0>`", " ".join(text.split()))
    # a minus or "1." at the start of a line would begin a list: it stays with the word before it
    marked = re.sub(r" (?=(?:[-+*]|\d+\.)(?: |$))", "\0", marked)
    return wrapped(marked, indent).replace("\0", " ")


if __name__ == "__main__":
    sys.exit(main())
