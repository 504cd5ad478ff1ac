"""Whether the rules are sound: by themselves, and on the viewers of a built database."""

import difflib
import math
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import duckdb

from viewer_personas import build as build_step
from viewer_personas.errors import InputError
from viewer_personas.rules.catalogue import (
    CASUAL,
    Alternatives,
    Metric,
    Persona,
    Rule,
    as_personas,
    as_rules,
    by_alternative,
    filled_columns,
    metrics,
    read_seed,
    seed_path,
    shown_path,
    values_of,
    window_lengths,
)
from viewer_personas.rules.words import OPERATORS
from viewer_personas.seeds import Row

Level = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """What is wrong with a row, and what to do; `line` is 0 for the whole file."""

    level: Level
    file: str
    line: int
    persona: str | None
    message: str

    def __str__(self) -> str:
        return f"{self.file}{f' line {self.line}' if self.line else ''}: {self.message}"


def read_personas(project: Path | None = None) -> list[Persona]:
    """The personas of the seed by priority. Raises `InputError` that names each wrong row."""
    path = seed_path("personas", project)
    rows = read_seed("personas", path)
    refuse_errors(_wrong_personas(rows, shown_path(path)), "The personas cannot be read:")
    return as_personas(rows)


def read_rules(project: Path | None = None) -> Alternatives:
    """The rules of the seed. Raises `InputError` that names each row that cannot be read."""
    path = seed_path("persona_rules", project)
    rows = read_seed("persona_rules", path)
    known = [row["persona"] for row in read_seed("personas", seed_path("personas", project))]
    refuse_errors(_unreadable(rows, known, shown_path(path)), "The rules cannot be read:")
    return by_alternative(as_rules(rows))


def refuse_wrong_rules() -> None:
    """Raise `InputError` with what `personas rules check` calls an error, before a build."""
    findings, _, _ = check_files(seed_path("persona_rules"), seed_path("personas"))
    refuse_errors(findings, "The rules are wrong, and nothing was built:")


def check_files(rules: Path, personas: Path) -> tuple[list[Finding], list[Row], list[Row]]:
    """All problems of the two files by themselves, and the rows of both.

    Raises `InputError` if a file cannot be read, or lacks a column or has an unknown one.
    """
    rule_rows = read_seed("persona_rules", rules)
    persona_rows = read_seed("personas", personas)
    names = {"rules_file": shown_path(rules), "personas_file": shown_path(personas)}
    return check_rules(rule_rows, persona_rows, **names), rule_rows, persona_rows


def refuse_errors(findings: list[Finding], heading: str) -> None:
    """Raise `InputError` with the first errors among the findings, if there is one."""
    errors = [finding for finding in findings if finding.level == "error"]
    if errors:
        raise InputError("\n".join([heading, *(f"  {finding}" for finding in errors[:10])]))


def check_rules(
    rules: list[Row],
    personas: list[Row],
    *,
    rules_file: str = "seeds/persona_rules.csv",
    personas_file: str = "seeds/personas.csv",
) -> list[Finding]:
    """All problems of the two seeds by themselves, in the order of their lines."""
    findings = _wrong_personas(personas, personas_file)
    unreadable = _unreadable(rules, [row["persona"] for row in personas], rules_file)
    findings += unreadable
    lines = {finding.line for finding in unreadable}
    readable = as_rules(row for row in rules if row.line not in lines)
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
            f"{row['persona']} has no rule, so no viewer can match it. Add its clauses to"
            f" {rules_file}, or take it out.",
        )
        for row in personas
        if row["persona"] not in with_rule | {CASUAL}
    ]
    return sorted(findings, key=lambda finding: (finding.file != rules_file, finding.line))


def _unreadable(rules: list[Row], personas: list[str], file: str) -> list[Finding]:
    """The terms of rows that cannot be read, or name something that does not exist."""
    return [
        Finding("error", file, row.line, row["persona"], message)
        for row in rules
        for message in _wrong_terms(row, personas)
    ]


def _wrong_personas(personas: list[Row], file: str) -> list[Finding]:
    findings = []
    risks = values_of("personas", "expected_risk")
    first_line: dict[tuple[str, str], int] = {}
    for row in personas:
        messages = []
        if not re.fullmatch(r"[a-z][a-z0-9_]*", row["persona"]):
            messages.append(
                f"persona {row['persona']!r}: write lower case letters, digits and underscores"
            )
        if not re.fullmatch(r"\s*-?\d+\s*", row["priority"]):
            messages.append(f"priority {row['priority']!r} is not a whole number")
        if row["expected_risk"] not in risks:
            messages.append(
                f"expected_risk {row['expected_risk']!r}: write {', '.join(risks[:-1])} or"
                f" {risks[-1]}"
            )
        messages += [
            f"{column} is empty: say it in a few words"
            for column in filled_columns("personas")
            if column not in ("persona", "priority", "expected_risk") and not row[column].strip()
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
                f"{CASUAL} is missing: viewers who match nothing get it. Restore its row.",
            )
        )
    return findings


def _wrong_terms(row: Row, personas: list[str]) -> list[str]:
    """What in a row cannot be read, or names something that does not exist."""
    messages = []
    windows = window_lengths()
    known_metrics = list(metrics())
    if row["persona"] == CASUAL:
        messages.append(
            f"{CASUAL} has a rule, but it is for viewers who match nothing. Remove the row, or"
            " give the clause to another persona."
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
            f"threshold {row['threshold']!r} is not a number: write it like 28 or 0.5, without a"
            " unit and with a point; shares are 0 to 1."
        )
    messages += [
        f"{column} {row[column]!r} is not a whole number from 1: number the {column}s 1, 2, …"
        for column in ("alternative", "clause")
        if not re.fullmatch(r"[1-9]\d*", row[column])
    ]
    return messages


def _suggestion(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        return f": did you mean {' or '.join(near)}?"
    return f"; known are {', '.join(known)}."


def _finite(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in text else None


Found = list[tuple[Level, Rule, str]]


def _wrong_numbers(rules: list[Rule]) -> Found:
    """Alternatives not numbered 1 to n in a persona, or clauses not 1 to n in an alternative."""
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
    for alternatives in by_alternative(seen.values()).values():
        for clauses in alternatives:
            found += [
                (
                    "error",
                    rule,
                    f"clause {rule.clause} where clause {number} is next: number them 1 to"
                    f" {len(clauses)}.",
                )
                for number, rule in enumerate(clauses, 1)
                if rule.clause != number
            ][:1]
        found += [
            (
                "error",
                clauses[0],
                f"alternative {clauses[0].alternative} where alternative {number} is next: number"
                f" them 1 to {len(alternatives)}.",
            )
            for number, clauses in enumerate(alternatives, 1)
            if clauses[0].alternative != number
        ][:1]
    return found


def _out_of_range(rules: list[Rule]) -> Found:
    """Clauses that the range of the metric decides for every viewer."""
    found: Found = []
    known = metrics()
    for rule in rules:
        metric = known[rule.metric]
        whole = _Span.of(metric, rule.window_days)
        if whole.narrowed(rule).is_empty():
            found.append(
                (
                    "error",
                    rule,
                    f"{rule} can never hold: {metric.name} is {whole}. Change the"
                    " threshold or the operator.",
                )
            )
        elif whole.narrowed(rule) == whole:
            found.append(
                (
                    "error" if metric.is_always_known else "warning",
                    rule,
                    f"{rule} can never fail: {metric.name} is {whole}."
                    + (
                        " Change the threshold, or remove the clause."
                        if metric.is_always_known
                        else " It only requires a known metric; if that is not intended,"
                        " change the threshold."
                    ),
                )
            )
    return found


def _contradictions(rules: list[Rule]) -> Found:
    """Clauses on one metric and window of an alternative that contradict each other, or one of
    which implies another."""
    found: Found = []
    known = metrics()
    for clauses in _by_alternative(rules).values():
        by_term: dict[tuple[int, str], list[Rule]] = defaultdict(list)
        for rule in clauses:
            by_term[(rule.window_days, rule.metric)].append(rule)
        for (window_days, name), of_term in by_term.items():
            whole = _Span.of(known[name], window_days)
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
                                f"{rule} contradicts line {other.line}, {other}: no viewer can meet"
                                " both. Change one, or make it another alternative.",
                            )
                        )
                    elif both in alone:
                        found.append(
                            (
                                "warning",
                                rule,
                                f"{rule} and line {other.line}, {other}: one implies the"
                                " other. Remove the weaker one.",
                            )
                        )
    return found


def _same_rules(rules: list[Rule]) -> Found:
    """Alternatives with the same clauses, and personas with the same alternatives."""
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
                f" {first.line}): a viewer who matches one matches the other"
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
    """Clauses by persona and alternative, in the order of the file, which findings follow."""
    grouped: dict[tuple[str, int], list[Rule]] = defaultdict(list)
    for rule in rules:
        grouped[(rule.persona, rule.alternative)].append(rule)
    return grouped


@dataclass(frozen=True)
class _Span:
    """The values between two ends; whole numbers have both ends closed."""

    low: float
    high: float
    is_low_in: bool
    is_high_in: bool
    is_whole: bool

    @classmethod
    def of(cls, metric: Metric, window_days: int) -> "_Span":
        """All values that a metric can have in a window."""
        maximum = metric.maximum
        # Days in a window are limited by its length. Two metrics of days do not depend on the
        # window.
        is_of_window = metric.unit == "days" and metric.is_of_window
        if is_of_window or metric.name == "previous_active_days":
            maximum = min(maximum, window_days)
        elif metric.name == "days_since_last_active":
            maximum = min(maximum, _lookback_days(build_step.PROJECT) - 1)
        return cls(metric.minimum, maximum, True, True, metric.is_whole)

    def __str__(self) -> str:
        whole = "a whole number " if self.is_whole else ""
        if math.isinf(self.high):
            return f"{whole}from {self.low:g} on"
        return f"{whole}from {self.low:g} to {self.high:g}"

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


@cache
def _lookback_days(project: Path) -> int:
    return int(build_step.default_variables(project)["lookback_days"])


def check_population(
    connection: duckdb.DuckDBPyConnection,
    rules: list[Rule],
    *,
    rules_file: str = "seeds/persona_rules.csv",
) -> list[Finding]:
    """Clauses and alternatives that do not distinguish the viewers of the latest date.

    All of them are warnings: a small or young service may have no such viewer yet. Raises
    `InputError` if the metrics are not built.
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
                f"{rule} holds for none of the {viewers:,} viewers on {day}. Relax it,"
                " if that is not intended."
            )
        elif count == viewers:
            message = (
                f"{rule} holds for each of the {viewers:,} viewers on {day}: it decides nothing."
                " Tighten or remove it."
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
                    f" clauses holds for some viewers, but all together for none of the {viewers:,}"
                    f" viewers on {day}.",
                )
            )
    return findings


def _condition(rule: Rule) -> str:
    value = f"cast(window_{rule.window_days}.{rule.metric} as double)"
    return f"{value} {rule.operator} {rule.threshold!r}::double"


def _place(rule: Rule) -> str:
    return f"{rule.persona} alternative {rule.alternative} clause {rule.clause}"
