"""Clauses in business words.

The words are those of `macros/rules/words.sql`, which writes the reasons of persona_matches; a test
compares the two. Names and units come from the YAML of user_windows.
"""

import math

from viewer_personas.rules.catalogue import Metric, Rule

OPERATORS = {">=": "at least ", ">": "more than ", "<=": "at most ", "<": "less than ", "=": ""}


def clause_words(rule: Rule, value: float | None, metrics: dict[str, Metric]) -> str:
    """A clause in words for one viewer: "days since last active: 31 (at least 28)"."""
    metric = metrics[rule.metric]
    return f"{metric.words}: {value_text(metric.unit, value)} ({asked_for(rule, metrics)})"


def asked_for(rule: Rule, metrics: dict[str, Metric]) -> str:
    """What a clause requires of a viewer: "at least 60 % in 28 days"."""
    metric = metrics[rule.metric]
    window = f" in {rule.window_days} days" if metric.is_of_window else ""
    return OPERATORS[rule.operator] + value_text(metric.unit, rule.threshold) + window


def difference_words(rule: Rule, value: float | None, metrics: dict[str, Metric]) -> str:
    """How far a value is from the threshold: "3 days short", "12 % too much"."""
    if value is None:
        return "not known, and so it does not hold"
    metric = metrics[rule.metric]
    difference = value - rule.threshold
    unit = "" if metric.unit in ("share", "ratio", "weekday", "hour") else f" {metric.unit}"
    size = f"{value_text(metric.unit, abs(difference))}{unit}"
    if difference == 0:
        return "exactly at the threshold"
    if rule.holds(value):
        return f"by {size}"
    return f"{size} {'short' if difference < 0 else 'too much'}"


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
