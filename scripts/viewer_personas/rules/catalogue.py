"""The parts of the persona rules: metrics, personas and rules, read from where they are kept.

The metrics and their words are in the YAML of user_windows, the columns of the seeds in
seeds/seeds.yml, personas and rules in the seeds or, as a build used them, in the database.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import yaml

from viewer_personas import build as build_step
from viewer_personas.errors import InputError
from viewer_personas.seeds import Row, parse_rows, read_file, seed_properties

WINDOWS_YAML = Path("models/metrics/windows/user_windows.yml")
CASUAL = "casual"
"""The persona without a rule: a viewer who matches no other one has it."""


@dataclass(frozen=True)
class Metric:
    """A metric available to rules, as the YAML of user_windows describes it.

    `unit` `share` is written in per cent. `is_of_window` says that the value is one of the window,
    so the window is named with it; `is_always_known` that it is never null. `minimum` and `maximum`
    are its range in any window; infinite if it is open.
    """

    name: str
    words: str
    unit: str
    is_of_window: bool
    is_whole: bool
    is_always_known: bool
    minimum: float
    maximum: float


@dataclass(frozen=True)
class Rule:
    """One clause: a row of the seed persona_rules, with its line if it comes from a file."""

    persona: str
    alternative: int
    clause: int
    window_days: int
    metric: str
    operator: str
    threshold: float
    line: int = field(default=0, compare=False)

    @property
    def term(self) -> tuple[int, str, str, float]:
        """What the clause requires, whichever persona it belongs to."""
        return (self.window_days, self.metric, self.operator, self.threshold)

    def __str__(self) -> str:
        return f"{self.metric} {self.operator} {self.threshold:g} in {self.window_days} days"

    def holds(self, value: float | None) -> bool:
        """Whether the clause holds; an unknown metric never does."""
        if value is None:
            return False
        match self.operator:
            case ">=":
                return value >= self.threshold
            case ">":
                return value > self.threshold
            case "<=":
                return value <= self.threshold
            case "<":
                return value < self.threshold
            case _:
                return value == self.threshold


@dataclass(frozen=True)
class Persona:
    """One row of the seed personas; `persona` is its key."""

    persona: str
    label: str
    priority: int
    definition: str
    expected_risk: str
    strategy: str
    content_policy: str
    send_policy: str
    avoid: str


Alternatives = dict[str, list[list[Rule]]]
"""Persona → its alternatives, each with its clauses, in order."""


# --- what rules may speak of ---------------------------------------------------------------------


def metrics(project: Path | None = None) -> dict[str, Metric]:
    """The metrics by name: the columns of user_windows that have words."""
    return {
        name: _metric(name, column)
        for name, column in _columns_of_windows(project or build_step.PROJECT).items()
        if column.get("config", {}).get("meta", {}).get("words")
    }


def window_lengths() -> list[int]:
    """The windows, in days."""
    column = _columns_of_windows(build_step.PROJECT)["window_days"]
    windows: list[int] = column["config"]["meta"]["values"]
    return windows


@cache
def _columns_of_windows(project: Path) -> dict[str, Any]:
    [model] = yaml.safe_load((project / WINDOWS_YAML).read_text(encoding="utf-8"))["models"]
    return {column["name"]: column for column in model["columns"]}


def _metric(name: str, column: dict[str, Any]) -> Metric:
    meta = column["config"]["meta"]
    smallest, largest = meta.get("range", [None, None])
    maximum = math.inf if largest is None else largest
    return Metric(
        name=name,
        words=meta["words"],
        unit=meta["unit"],
        is_of_window=meta.get("in_window", True),
        is_whole=column["data_type"] in ("bigint", "integer"),
        is_always_known={"type": "not_null"} in column.get("constraints", []),
        minimum=-math.inf if smallest is None else smallest,
        # the range of a share may leave room for rounding
        maximum=min(maximum, 1) if meta["unit"] == "share" else maximum,
    )


# --- the seeds -----------------------------------------------------------------------------------


def columns_of(seed: str) -> dict[str, str]:
    """The columns of a seed and their types."""
    types: dict[str, str] = _properties_of(seed)["config"]["column_types"]
    return types


def filled_columns(seed: str) -> list[str]:
    """The columns of a seed that must not be empty."""
    return [
        column["name"]
        for column in _properties_of(seed)["columns"]
        if {"type": "not_null"} in column.get("constraints", [])
    ]


def values_of(seed: str, column: str) -> list[str]:
    """The values that a column of a seed may have."""
    [found] = [one for one in _properties_of(seed)["columns"] if one["name"] == column]
    values: list[str] = found["config"]["meta"]["values"]
    return values


def _properties_of(seed: str) -> dict[str, Any]:
    return _properties_of_seeds(build_step.PROJECT)[seed]


@cache
def _properties_of_seeds(project: Path) -> dict[str, dict[str, Any]]:
    return seed_properties(project)


def seed_path(seed: str, project: Path | None = None) -> Path:
    """The file of a seed."""
    path = (project or build_step.PROJECT) / "seeds" / f"{seed}.csv"
    # a service's own seed is a link in the project: messages name the file to edit
    return path.readlink() if path.is_symlink() else path


def read_text(path: Path) -> str:
    """The text of a seed's file. Raises `InputError` if it cannot be read."""
    return read_file(path, shown_path(path))


def read_seed(seed: str, path: Path | None = None) -> list[Row]:
    """The rows of a seed, of the project or of another file.

    Raises `InputError` if it cannot be read, or lacks a column or has an unknown one.
    """
    path = path or seed_path(seed)
    return parse_seed(seed, read_text(path), shown_path(path))


def parse_seed(seed: str, text: str, name: str) -> list[Row]:
    """The rows of a seed's text; messages call it `name`. Raises `InputError` as `read_seed`."""
    return parse_rows(text, name, list(columns_of(seed)))


def shown_path(path: Path) -> str:
    """The path in its shortest form."""
    try:
        return str(path.resolve().relative_to(build_step.PROJECT.resolve()))
    except ValueError:
        return str(path)


def as_rules(rows: Iterable[Row]) -> list[Rule]:
    """The clauses of rows that pass rules/check.py."""
    return [Rule(**_typed("persona_rules", row), line=row.line) for row in rows]


def as_personas(rows: Iterable[Row]) -> list[Persona]:
    """The personas, by priority, of rows that pass rules/check.py."""
    personas = [Persona(**_typed("personas", row)) for row in rows]
    return sorted(personas, key=lambda persona: persona.priority)


def _typed(seed: str, row: Row) -> dict[str, Any]:
    types = {"varchar": str, "integer": int, "double": float}
    return {name: types[kind](row[name]) for name, kind in columns_of(seed).items()}


def rules_in(connection: duckdb.DuckDBPyConnection) -> list[Rule]:
    """The clauses with which a database was built. Raises `InputError` if it has none."""
    columns = ", ".join(columns_of("persona_rules"))
    try:
        rows = connection.execute(f"select {columns} from reference.persona_rules").fetchall()
    except (duckdb.CatalogException, duckdb.BinderException) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"the personas are not built yet: run `personas run` first. ({reason})"
        ) from error
    return [Rule(*row) for row in rows]


def by_alternative(rules: Iterable[Rule]) -> Alternatives:
    """Clauses, given in any order, as persona → alternatives → clauses."""
    grouped: dict[str, dict[int, list[Rule]]] = defaultdict(lambda: defaultdict(list))
    for rule in sorted(rules, key=lambda rule: (rule.persona, rule.alternative, rule.clause)):
        grouped[rule.persona][rule.alternative].append(rule)
    return {persona: list(alternatives.values()) for persona, alternatives in grouped.items()}
