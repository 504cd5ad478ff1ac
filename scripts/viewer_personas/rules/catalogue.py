"""The rules as data: what they may speak of, in which words, and whether they make sense."""

import csv
import difflib
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import duckdb
import yaml

from viewer_personas import build as build_step
from viewer_personas.errors import InputError
from viewer_personas.rules.words import OPERATORS, value_text

RULE_COLUMNS = (
    "persona",
    "alternative",
    "clause",
    "window_days",
    "metric",
    "operator",
    "threshold",
)
PERSONA_COLUMNS = (
    "persona",
    "label",
    "priority",
    "definition",
    "expected_risk",
    "strategy",
    "content_policy",
    "send_policy",
)
RISKS = ("low", "medium", "high")
CASUAL = "casual"
"""The persona without a rule: whoever matches no other one has it."""

Level = Literal["error", "warning"]


@dataclass(frozen=True)
class Metric:
    """A metric that a rule may name, as the YAML of user_windows describes it.

    `minimum` and `maximum` are its range; infinite where it has no end. `is_always_known` says that
    it is never null.
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
    """One clause, with its line in the file; from a checked seed or a database."""

    persona: str
    alternative: int
    clause: int
    window_days: int
    metric: str
    operator: str
    threshold: float
    line: int = 0

    @property
    def term(self) -> tuple[int, str, str, float]:
        """What the clause asks, whoever asks it."""
        return (self.window_days, self.metric, self.operator, self.threshold)

    def __str__(self) -> str:
        return f"{self.metric} {self.operator} {_number(self.threshold)} in {self.window_days} days"


@dataclass(frozen=True)
class Finding:
    """What is wrong with a row, and what to do; `line` is 0 where it is the file as a whole."""

    level: Level
    file: str
    line: int
    persona: str | None
    message: str


# --- what rules may speak of ---------------------------------------------------------------------


def metrics(window_days: int) -> dict[str, Metric]:
    """The metrics by name, with their range in a window."""
    return {
        name: _metric(name, column, window_days)
        for name, column in _columns().items()
        if column.get("config", {}).get("meta", {}).get("words")
    }


def window_lengths() -> list[int]:
    """The windows, in days."""
    windows: list[int] = _columns()["window_days"]["config"]["meta"]["values"]
    return windows


def _columns() -> dict[str, Any]:
    return _read_columns(build_step.PROJECT)


@cache
def _read_columns(project: Path) -> dict[str, Any]:
    path = project / "models" / "metrics" / "windows" / "user_windows.yml"
    [model] = yaml.safe_load(path.read_text(encoding="utf-8"))["models"]
    return {column["name"]: column for column in model["columns"]}


@cache
def _lookback_days(project: Path) -> int:
    settings = yaml.safe_load((project / "dbt_project.yml").read_text(encoding="utf-8"))
    return int(settings["vars"]["lookback_days"])


def _metric(name: str, column: dict[str, Any], window_days: int) -> Metric:
    meta = column["config"]["meta"]
    smallest, largest = meta.get("range", [None, None])
    minimum = -math.inf if smallest is None else smallest
    maximum = math.inf if largest is None else largest
    is_of_window = meta.get("in_window", True)
    if meta["unit"] == "share":
        maximum = min(maximum, 1)  # the test of a share may leave room for rounding
    # Days of a window are never more than it has. Two metrics of days are not of the window.
    if (meta["unit"] == "days" and is_of_window) or name == "previous_active_days":
        maximum = min(maximum, window_days)
    elif name == "days_since_last_active":
        maximum = min(maximum, _lookback_days(build_step.PROJECT) - 1)
    return Metric(
        name=name,
        words=meta["words"],
        unit=meta["unit"],
        is_of_window=is_of_window,
        is_whole=column["data_type"] in ("bigint", "integer"),
        is_always_known={"type": "not_null"} in column.get("constraints", []),
        minimum=minimum,
        maximum=maximum,
    )


# --- clauses in words and values -----------------------------------------------------------------


def clause_words(rule: Rule, value: float | None) -> str:
    """A clause as a person says it: "days since last active: 31 (at least 28)".

    The same words as the macro clause_phrase(), which writes the reasons of persona_matches.
    """
    metric = metrics(rule.window_days)[rule.metric]
    window = f" in {rule.window_days} days" if metric.is_of_window else ""
    return (
        f"{metric.words}: {value_text(metric.unit, value)}"
        f" ({OPERATORS[rule.operator]}{value_text(metric.unit, rule.threshold)}{window})"
    )


def holds(rule: Rule, value: float | None) -> bool:
    """Whether the clause holds; a metric that is not known never does."""
    if value is None:
        return False
    match rule.operator:
        case ">=":
            return value >= rule.threshold
        case ">":
            return value > rule.threshold
        case "<=":
            return value <= rule.threshold
        case "<":
            return value < rule.threshold
        case _:
            return value == rule.threshold


# --- reading the seeds ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One row of a seed: its line in the file, and the texts of its columns."""

    line: int
    texts: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.texts[column]


def seed_path(name: str) -> Path:
    """The file of a seed in this checkout."""
    path = build_step.PROJECT / "seeds" / f"{name}.csv"
    # a service's own seed is a link in the project: messages name the file that people edit
    return path.readlink() if path.is_symlink() else path


def read_seed(path: Path, columns: Sequence[str]) -> list[Row]:
    """The rows of a seed. Raises `InputError` where it cannot be read or lacks a column."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{shown_path(path)}: no such file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{shown_path(path)}: cannot be read: {error}") from error
    return parse_seed(text, shown_path(path), columns)


def parse_seed(text: str, name: str, columns: Sequence[str]) -> list[Row]:
    """The rows of a seed's text. Raises `InputError` where it lacks a column."""
    reader = csv.reader(text.splitlines(keepends=True))
    header = [column.strip() for column in next(reader, [])]
    missing = [column for column in columns if column not in header]
    if missing:
        raise InputError(
            f"{name}: the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
            f" {'are' if len(missing) > 1 else 'is'} missing; the first line must name"
            f" {', '.join(columns)}."
        )
    rows = []
    for values in reader:
        if not any(value.strip() for value in values):
            continue
        if len(values) != len(header):
            raise InputError(
                f"{name} line {reader.line_num}: {len(values)} values, the first line names"
                f" {len(header)}. Put a text with a comma into quotes."
            )
        rows.append(Row(reader.line_num, dict(zip(header, values, strict=True))))
    return rows


def shown_path(path: Path) -> str:
    """The path as short as it can be said."""
    try:
        return str(path.resolve().relative_to(build_step.PROJECT.resolve()))
    except ValueError:
        return str(path)


def as_rules(rows: Iterable[Row]) -> list[Rule]:
    """The clauses of a seed that passed `check_rules`."""
    return [
        Rule(
            persona=row["persona"],
            alternative=int(row["alternative"]),
            clause=int(row["clause"]),
            window_days=int(row["window_days"]),
            metric=row["metric"],
            operator=row["operator"],
            threshold=float(row["threshold"]),
            line=row.line,
        )
        for row in rows
    ]


# --- checking ------------------------------------------------------------------------------------


def check_rules(
    rules: list[Row],
    personas: list[Row],
    *,
    rules_file: str = "seeds/persona_rules.csv",
    personas_file: str = "seeds/personas.csv",
) -> list[Finding]:
    """Everything that is wrong with the two seeds by themselves, in the order of their lines."""
    findings = _check_personas(personas, personas_file)
    known = [row["persona"] for row in personas]
    readable: list[Rule] = []
    for row in rules:
        messages = _wrong_terms(row, known)
        findings += [
            Finding("error", rules_file, row.line, row["persona"], message) for message in messages
        ]
        if not messages:
            readable += as_rules([row])
    findings += [
        Finding(level, rules_file, rule.line, rule.persona, f"{_place(rule)}: {message}")
        for level, rule, message in [
            *_wrong_numbers(readable),
            *_out_of_range(readable),
            *_contradictions(readable),
            *_same_rules(readable),
        ]
    ]
    with_rule = {row["persona"] for row in rules}
    findings += [
        Finding(
            "error",
            personas_file,
            row.line,
            row["persona"],
            f"{row['persona']} has no rule, so nobody can match it. Add its clauses to"
            f" {rules_file}, or take it out.",
        )
        for row in personas
        if row["persona"] not in with_rule | {CASUAL}
    ]
    return sorted(findings, key=lambda finding: (finding.file != rules_file, finding.line))


def _check_personas(personas: list[Row], file: str) -> list[Finding]:
    findings = []
    first_line: dict[tuple[str, str], int] = {}
    for row in personas:
        messages = []
        if not re.fullmatch(r"[a-z][a-z0-9_]*", row["persona"]):
            messages.append(
                f"persona {row['persona']!r}: write lower case letters, digits and underscores"
            )
        if not re.fullmatch(r"\s*-?\d+\s*", row["priority"]):
            messages.append(f"priority {row['priority']!r} is no whole number")
        if row["expected_risk"] not in RISKS:
            messages.append(f"expected_risk {row['expected_risk']!r}: write low, medium or high")
        messages += [
            f"{column} is empty: say it in a few words"
            for column in ("label", "definition")
            if not row[column].strip()
        ]
        for column in ("persona", "label", "priority"):
            line = first_line.setdefault((column, row[column].strip()), row.line)
            if line != row.line:
                messages.append(f"{column} {row[column]} is in line {line}, too: change one")
        findings += [
            Finding("error", file, row.line, row["persona"], message) for message in messages
        ]
    if CASUAL not in [row["persona"] for row in personas]:
        findings.append(
            Finding(
                "error",
                file,
                0,
                CASUAL,
                f"{CASUAL} is missing: whoever matches nothing gets it. Put its row back.",
            )
        )
    return findings


def _wrong_terms(row: Row, personas: list[str]) -> list[str]:
    """What of one row cannot be read, or names something that does not exist."""
    messages = []
    windows = window_lengths()
    known_metrics = list(metrics(windows[0]))
    if row["persona"] == CASUAL:
        messages.append(
            f"{CASUAL} has a rule: it is for whoever matches nothing. Take the row out, or give the"
            " clause to another persona."
        )
    elif row["persona"] not in personas:
        messages.append(
            f"unknown persona {row['persona']!r}{_suggestion(row['persona'], personas)}"
            " Or add it to personas.csv."
        )
    if row["metric"] not in known_metrics:
        messages.append(
            f"unknown metric {row['metric']!r}{_suggestion(row['metric'], known_metrics)}"
            " docs/metrics.md describes all."
        )
    if row["window_days"] not in map(str, windows):
        messages.append(
            f"unknown window {row['window_days']!r}: write {' or '.join(map(str, windows))} (days)."
        )
    if row["operator"] not in OPERATORS:
        messages.append(
            f"unknown operator {row['operator']!r}: write one of {', '.join(OPERATORS)}."
        )
    if _finite(row["threshold"]) is None:
        messages.append(
            f"threshold {row['threshold']!r} is no number: write it like 28 or 0.5, without a unit"
            " and with a point; shares are 0 to 1."
        )
    messages += [
        f"{column} {row[column]!r} is no whole number from 1: number the {column}s 1, 2, …"
        for column in ("alternative", "clause")
        if not re.fullmatch(r"[1-9]\d*", row[column])
    ]
    return messages


def _suggestion(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        return f": did you mean {' or '.join(near)}?"
    return f"; there are {', '.join(known)}."


def _finite(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in text else None


Found = list[tuple[Level, Rule, str]]


def _wrong_numbers(rules: list[Rule]) -> Found:
    """Alternatives that are not 1 to n within a persona, clauses not 1 to n within these."""
    found: Found = []
    seen: dict[tuple[str, int, int], Rule] = {}
    for rule in rules:
        first = seen.setdefault((rule.persona, rule.alternative, rule.clause), rule)
        if first is not rule:
            found.append(
                (
                    "error",
                    rule,
                    f"the same alternative and clause are in line {first.line}: give this clause"
                    " the next number.",
                )
            )
    by_alternative = _by_alternative(seen.values())
    alternatives: dict[str, list[list[Rule]]] = defaultdict(list)
    for clauses in by_alternative.values():
        alternatives[clauses[0].persona].append(clauses)
        found += [
            ("error", rule, f"clause {rule.clause} where clause {number} is next: number them 1"
             f" to {len(clauses)}.")
            for number, rule in enumerate(sorted(clauses, key=lambda rule: rule.clause), 1)
            if rule.clause != number
        ][:1]  # fmt: skip
    for of_persona in alternatives.values():
        in_order = sorted(of_persona, key=lambda clauses: clauses[0].alternative)
        found += [
            ("error", clauses[0], f"alternative {clauses[0].alternative} where alternative {number}"
             f" is next: number them 1 to {len(in_order)}.")
            for number, clauses in enumerate(in_order, 1)
            if clauses[0].alternative != number
        ][:1]  # fmt: skip
    return found


def _out_of_range(rules: list[Rule]) -> Found:
    """Clauses that the range of the metric decides, whoever the viewer is."""
    found: Found = []
    for rule in rules:
        metric = metrics(rule.window_days)[rule.metric]
        if _Span.of(metric).narrowed(rule).is_empty():
            found.append(
                (
                    "error",
                    rule,
                    f"{rule} can never hold: {metric.name} is {_range(metric)}. Change the"
                    " threshold or the operator.",
                )
            )
        elif _Span.of(metric).narrowed(rule) == _Span.of(metric):
            found.append(
                (
                    "error" if metric.is_always_known else "warning",
                    rule,
                    f"{rule} can never fail: {metric.name} is {_range(metric)}."
                    + (
                        " Change the threshold, or take the clause out."
                        if metric.is_always_known
                        else " It only asks that the metric is known; if that is not meant,"
                        " change the threshold."
                    ),
                )
            )
    return found


def _contradictions(rules: list[Rule]) -> Found:
    """Clauses on one metric and window of one alternative that cannot hold together, or of which
    one says what another says already."""
    found: Found = []
    for clauses in _by_alternative(rules).values():
        by_term: dict[tuple[int, str], list[Rule]] = defaultdict(list)
        for rule in clauses:
            by_term[(rule.window_days, rule.metric)].append(rule)
        for (window_days, name), of_term in by_term.items():
            whole = _Span.of(metrics(window_days)[name])
            for position, rule in enumerate(of_term):
                for other in of_term[:position]:
                    alone = [whole.narrowed(rule), whole.narrowed(other)]
                    both = alone[0].narrowed(other)
                    if any(span.is_empty() for span in alone):
                        continue
                    if both.is_empty():
                        found.append(
                            (
                                "error",
                                rule,
                                f"{rule} contradicts line {other.line}, {other}: nobody can meet"
                                " both. Change one, or make it another alternative.",
                            )
                        )
                    elif both in alone:
                        found.append(
                            (
                                "warning",
                                rule,
                                f"{rule} and line {other.line}, {other}: the one follows from the"
                                " other. Take the weaker one out.",
                            )
                        )
    return found


def _same_rules(rules: list[Rule]) -> Found:
    """Alternatives that ask the same, and personas with the same alternatives."""
    found: Found = []
    by_terms: dict[frozenset[Any], Rule] = {}
    terms_of: dict[str, set[frozenset[Any]]] = defaultdict(set)
    first_of: dict[str, Rule] = {}
    for clauses in _by_alternative(rules).values():
        terms = frozenset(rule.term for rule in clauses)
        terms_of[clauses[0].persona].add(terms)
        first_of.setdefault(clauses[0].persona, clauses[0])
        first = by_terms.setdefault(terms, clauses[0])
        if first is clauses[0]:
            continue
        if first.persona == clauses[0].persona:
            message = f"the same clauses as alternative {first.alternative} (line {first.line})"
        else:
            message = (
                f"the same clauses as {first.persona} alternative {first.alternative} (line"
                f" {first.line}): whoever matches one matches the other"
            )
        found.append(("error", clauses[0], f"{message}. Change or remove one of the two."))
    personas = list(terms_of)
    for position, persona in enumerate(personas):
        for other in personas[:position]:
            if terms_of[persona] == terms_of[other] and len(terms_of[persona]) > 1:
                found.append(
                    (
                        "error",
                        first_of[persona],
                        f"{persona} and {other} have the same rules: only one of them can ever be"
                        " chosen. Change or remove one of the two.",
                    )
                )
    return found


def _by_alternative(rules: Iterable[Rule]) -> dict[tuple[str, int], list[Rule]]:
    grouped: dict[tuple[str, int], list[Rule]] = defaultdict(list)
    for rule in rules:
        grouped[(rule.persona, rule.alternative)].append(rule)
    return grouped


@dataclass(frozen=True)
class _Span:
    """The values between two ends; whole numbers are kept with both ends closed."""

    low: float
    high: float
    is_low_in: bool
    is_high_in: bool
    is_whole: bool

    @classmethod
    def of(cls, metric: Metric) -> "_Span":
        return cls(metric.minimum, metric.maximum, True, True, metric.is_whole)

    def narrowed(self, rule: Rule) -> "_Span":
        """The part in which the clause holds."""
        low, is_low_in, high, is_high_in = self.low, self.is_low_in, self.high, self.is_high_in
        threshold = rule.threshold
        if rule.operator in (">=", ">", "="):
            is_in = rule.operator != ">"
            if self.is_whole:
                threshold = math.ceil(threshold) if is_in else math.floor(threshold) + 1
                is_in = True
            if threshold > low or (threshold == low and not is_in):
                low, is_low_in = threshold, is_in
        threshold = rule.threshold
        if rule.operator in ("<=", "<", "="):
            is_in = rule.operator != "<"
            if self.is_whole:
                threshold = math.floor(threshold) if is_in else math.ceil(threshold) - 1
                is_in = True
            if threshold < high or (threshold == high and not is_in):
                high, is_high_in = threshold, is_in
        return _Span(low, high, is_low_in, is_high_in, self.is_whole)

    def is_empty(self) -> bool:
        return self.low > self.high or (
            self.low == self.high and not (self.is_low_in and self.is_high_in)
        )


def check_population(
    connection: duckdb.DuckDBPyConnection,
    rules: list[Rule],
    *,
    rules_file: str = "seeds/persona_rules.csv",
) -> list[Finding]:
    """Clauses and alternatives that say nothing about the viewers of the latest date.

    All of them are warnings: a small or young service may have no such viewer yet. Raises
    `InputError` where the metrics are not built.
    """
    alternatives = _by_alternative(rules)
    windows = window_lengths()
    conditions = [_condition(rule) for rule in rules] + [
        " and ".join(_condition(rule) for rule in clauses) for clauses in alternatives.values()
    ]
    counts = ", ".join(f"count(case when {condition} then 1 end)" for condition in conditions)
    joined = "".join(
        f" inner join metrics.user_windows as window_{days} on"
        f" window_{days}.as_of_date = window_{windows[0]}.as_of_date"
        f" and window_{days}.user_id = window_{windows[0]}.user_id"
        f" and window_{days}.window_days = {days}"
        for days in windows[1:]
    )
    try:
        row = connection.execute(
            f"select any_value(window_{windows[0]}.as_of_date), count(*), {counts}"
            f" from metrics.user_windows as window_{windows[0]}{joined}"
            f" where window_{windows[0]}.window_days = {windows[0]}"
            f" and window_{windows[0]}.as_of_date ="
            " (select max(as_of_date) from metrics.as_of_dates)"
        ).fetchall()[0]
    except (duckdb.CatalogException, duckdb.BinderException) as error:
        raise InputError(
            "The database does not have the metrics that the rules name. Run `personas build`."
        ) from error
    day, viewers, *held = row
    if not viewers:
        raise InputError("There is no evaluation date with viewers in the database yet.")
    findings = []
    never = set()
    for rule, count in zip(rules, held[: len(rules)], strict=True):
        if count == 0:
            never.add((rule.persona, rule.alternative))
            message = (
                f"{rule} holds for none of the {viewers:,} viewers on {day}. Lower what it asks,"
                " if that is not meant."
            )
        elif count == viewers:
            message = (
                f"{rule} holds for each of the {viewers:,} viewers on {day}: it decides nothing."
                " Ask for more, or take it out."
            )
        else:
            continue
        findings.append(
            Finding("warning", rules_file, rule.line, rule.persona, f"{_place(rule)}: {message}")
        )
    for (key, clauses), count in zip(alternatives.items(), held[len(rules) :], strict=True):
        if count == 0 and key not in never:
            findings.append(
                Finding(
                    "warning",
                    rules_file,
                    clauses[0].line,
                    clauses[0].persona,
                    f"{clauses[0].persona} alternative {clauses[0].alternative}: each of its"
                    f" clauses holds for somebody, but all together for none of the {viewers:,}"
                    f" viewers on {day}.",
                )
            )
    return findings


def _condition(rule: Rule) -> str:
    value = f"cast(window_{rule.window_days}.{rule.metric} as double)"
    return f"{value} {rule.operator} {rule.threshold!r}::double"


def _place(rule: Rule) -> str:
    return f"{rule.persona} alternative {rule.alternative} clause {rule.clause}"


def _range(metric: Metric) -> str:
    whole = "a whole number " if metric.is_whole else ""
    if math.isinf(metric.maximum):
        return f"{whole}from {_number(metric.minimum)} on"
    return f"{whole}from {_number(metric.minimum)} to {_number(metric.maximum)}"


def _number(value: float) -> str:
    return f"{value:g}"
