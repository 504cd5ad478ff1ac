"""The seeds of personas and rules, read from their files, and clauses said in business words.

The words are those of `macros/rules/words.sql`: names and units come from `meta` in the YAML of
user_windows. Here a clause is said of nobody ("days since last active: at least 28"), there of one
viewer ("days since last active: 31 (at least 28)"); a test compares the two.
"""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import yaml

from viewer_personas.build import PROJECT
from viewer_personas.errors import InputError

WINDOWS_YAML = Path("models/metrics/windows/user_windows.yml")
OPERATORS = {">=": "at least ", ">": "more than ", "<=": "at most ", "<": "less than ", "=": ""}


@dataclass(frozen=True)
class Metric:
    """How a metric of user_windows is said: `words`, `unit` (`share` is written in per cent)."""

    name: str
    words: str
    unit: str
    in_window: bool
    """Whether the value is one of the window, so that the window is said with it."""


@dataclass(frozen=True)
class Clause:
    """One row of the seed persona_rules."""

    persona: str
    alternative: int
    clause: int
    window_days: int
    metric: str
    operator: str
    threshold: float


def read_personas(project: Path = PROJECT) -> list[dict[str, str]]:
    """The rows of the seed personas by priority."""
    rows = _rows(project / "seeds" / "personas.csv")
    return sorted(rows, key=lambda row: int(row["priority"]))


def read_rules(project: Path = PROJECT) -> dict[str, list[list[Clause]]]:
    """For each persona that has a rule its alternatives, each with its clauses, in order.

    Raises `InputError` where a row has no numbers where there must be some.
    """
    path = project / "seeds" / "persona_rules.csv"
    clauses = []
    for number, row in enumerate(_rows(path), 2):
        try:
            clauses.append(
                Clause(
                    persona=row["persona"],
                    alternative=int(row["alternative"]),
                    clause=int(row["clause"]),
                    window_days=int(row["window_days"]),
                    metric=row["metric"],
                    operator=row["operator"],
                    threshold=float(row["threshold"]),
                )
            )
        except ValueError as error:
            raise InputError(
                f"{path}: row {number}: {error}. alternative, clause, window_days and threshold"
                " are numbers."
            ) from error
    return by_alternative(clauses)


def by_alternative(clauses: list[Clause]) -> dict[str, list[list[Clause]]]:
    """Clauses in any order as persona → alternatives → clauses."""
    rules: dict[str, dict[int, list[Clause]]] = {}
    for clause in sorted(clauses, key=lambda one: (one.persona, one.alternative, one.clause)):
        rules.setdefault(clause.persona, {}).setdefault(clause.alternative, []).append(clause)
    return {persona: list(alternatives.values()) for persona, alternatives in rules.items()}


def read_metrics(project: Path = PROJECT) -> dict[str, Metric]:
    """The metrics that rules may name, by name: the columns of user_windows with words."""
    properties = yaml.safe_load((project / WINDOWS_YAML).read_text(encoding="utf-8"))
    found = {}
    for column in properties["models"][0]["columns"]:
        meta = column.get("config", {}).get("meta", {})
        if meta.get("words"):
            found[column["name"]] = Metric(
                column["name"], meta["words"], meta.get("unit", ""), meta.get("in_window", True)
            )
    return found


def condition(clause: Clause, metrics: dict[str, Metric]) -> str:
    """What a clause asks for: "at least 60 % in 28 days".

    Raises `InputError` that names the row where metric or operator is unknown.
    """
    row = f"seeds/persona_rules.csv: {clause.persona},{clause.alternative},{clause.clause}"
    if clause.metric not in metrics:
        raise InputError(
            f"{row}: unknown metric {clause.metric}; a metric is a column with words in"
            f" {WINDOWS_YAML}."
        )
    if clause.operator not in OPERATORS:
        raise InputError(f"{row}: unknown operator {clause.operator}; use {', '.join(OPERATORS)}")
    metric = metrics[clause.metric]
    window = f" in {clause.window_days} days" if metric.in_window else ""
    return OPERATORS[clause.operator] + value_text(metric.unit, clause.threshold) + window


def value_text(unit: str, value: float | None) -> str:
    """A value as a person writes it: shares in per cent, ratios with at most two decimals, all
    others with at most one. Halves are rounded away from zero, as SQL does."""
    if value is None:
        return "not known"
    if unit == "share":
        return f"{_rounded(100 * value, 1)} %"
    return _rounded(value, 2 if unit == "ratio" else 1)


def _rounded(value: float, decimals: int) -> str:
    scale = 10**decimals
    rounded = math.copysign(math.floor(abs(value) * scale + 0.5) / scale, value)
    return f"{rounded:.{decimals}f}".rstrip("0").rstrip(".")


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as seed_file:
            return list(csv.DictReader(seed_file))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
