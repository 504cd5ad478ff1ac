"""The risk of churn once more in plain Python, from the tables that it is made of.

Shares no code with the models. Inputs are rows of user_windows (28 days), persona_choices,
user_days and the user documents; everything is computed viewer by viewer, without cells kept
anywhere, so that a wrong count of a cell shows.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from statistics import NormalDist
from typing import Any

Row = dict[str, Any]


@dataclass
class ChurnWorld:
    """What is known of viewers, by date, and the thresholds with their defaults."""

    windows: Mapping[date, Mapping[str, int | None]]  # days since last active
    personas: Mapping[date, Mapping[str, str]]
    active_days: Mapping[str, set[date]]
    cancelled: Mapping[str, date]  # of viewers with a sign-up
    expected: Mapping[str, str]
    latest: date
    horizon: int = 28
    recency: Sequence[int] = (7, 14, 28, 56)
    spells: Sequence[int] = (14, 56)
    prior: float = 20
    low: float = 0.5
    high: float = 2
    cells: dict[tuple[date, str], tuple[str, str, str, str]] = field(default_factory=dict)


def band(value: int, edges: Sequence[int]) -> str:
    lower = 0
    for edge in edges:
        if value < edge:
            return f"{lower}-{edge - 1}"
        lower = edge
    return f"{lower}+"


def outcomes(world: ChurnWorld) -> dict[tuple[date, str], tuple[bool, bool]]:
    """(is_present, is_churned) of each date whose horizon is over and viewer."""
    found = {}
    for day, viewers in world.windows.items():
        end = day + timedelta(days=world.horizon)
        if end > world.latest:
            continue
        for user_id, recency in viewers.items():
            after = any(day < active <= end for active in world.active_days.get(user_id, ()))
            gone = user_id in world.cancelled and day < world.cancelled[user_id] <= end
            present = recency is not None and recency < world.horizon
            found[day, user_id] = (present, gone or not after)
    return found


def cell(world: ChurnWorld, day: date, user_id: str) -> tuple[str, str, str, str]:
    """Persona, recency, length of the run of dates with the persona, and who they were before."""
    if (day, user_id) in world.cells:
        return world.cells[day, user_id]
    days = sorted(world.personas)
    persona = world.personas[day][user_id]
    position = days.index(day)
    while position and world.personas[days[position - 1]].get(user_id) == persona:
        position -= 1
    length = (day - days[position]).days
    if position == 0:
        came_from = "not known"
        spell = band(length, world.spells) if length >= world.spells[-1] else "not known"
    else:
        came_from = world.personas[days[position - 1]].get(user_id, "none")
        spell = band(length, world.spells)
    recency = world.windows[day][user_id]
    found = (
        persona,
        "never" if recency is None else band(recency, world.recency),
        spell,
        came_from,
    )
    world.cells[day, user_id] = found
    return found


def risks(world: ChurnWorld) -> dict[tuple[date, str], Row]:
    """The risk of each date and viewer, with interval, level and both baselines."""
    known = outcomes(world)
    weight = min(1.0, 7 / world.horizon)
    found: dict[tuple[date, str], Row] = {}
    for day, viewers in world.windows.items():
        groups: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0, 0])
        for (before, user_id), (_, churned) in known.items():
            if before + timedelta(days=world.horizon) <= day:
                path = cell(world, before, user_id)
                for group in [*(path[:depth] for depth in range(5)), ("recency", path[1], "")]:
                    groups[group][0] += 1
                    groups[group][1] += churned

        def rate(group: tuple[str, ...], parent: float) -> float:
            count, churned = groups.get(group, [0, 0])  # noqa: B023 - called within the loop
            return (weight * churned + world.prior * parent) / (weight * count + world.prior)

        for user_id in viewers:
            path = cell(world, day, user_id)
            if () not in groups:
                level = world.expected[path[0]]
                found[day, user_id] = {"risk": None, "level": level, "basis": "expected"}
                continue
            base = groups[()][1] / groups[()][0]
            risk = base
            for depth in range(1, 5):
                risk = rate(path[:depth], risk)
            count = weight * groups.get(path, [0, 0])[0] + world.prior
            lower, upper = wilson(risk, count)
            ratio = odds(risk) / odds(base) if 0 < base < 1 else 1.0
            level = "high" if ratio >= world.high else "low" if ratio <= world.low else "medium"
            found[day, user_id] = {
                "risk": risk,
                "lower": lower,
                "upper": upper,
                "level": level,
                "basis": "estimated",
                "base_rate": base,
                "recency_rate": rate(("recency", path[1], ""), base),
            }
    return found


def odds(risk: float) -> float:
    return risk / (1 - risk)


def wilson(rate: float, count: float) -> tuple[float, float]:
    """The two rates that the one found is 1.96 standard errors away from: roots of a parabola."""
    square = NormalDist().inv_cdf(0.975) ** 2
    a, b, c = count + square, -(2 * count * rate + square), count * rate**2
    root = math.sqrt(b * b - 4 * a * c)
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def figures(predicted: Sequence[float], churned: Sequence[bool]) -> Row:
    """AUC over all pairs, Brier score, and the slope that no small step improves."""
    pairs = list(zip(predicted, churned, strict=True))
    gone = sorted(p for p, y in pairs if y)
    stayed = sorted(p for p, y in pairs if not y)
    found: Row = {
        "viewers": len(pairs),
        "churned": len(gone),
        "brier_score": sum((y - p) ** 2 for p, y in pairs) / len(pairs),
        "auc": None,
    }
    if gone and stayed:
        wins = sum((g > s) + 0.5 * (g == s) for g in gone for s in stayed)
        found["auc"] = wins / len(gone) / len(stayed)
    return found


def score(predicted: Sequence[float], churned: Sequence[bool], line: Row) -> tuple[float, float]:
    """The derivatives of the log likelihood at a line of recalibration: zero where it is best."""
    by_intercept = by_slope = 0.0
    for risk, is_churned in zip(predicted, churned, strict=True):
        logit = math.log(odds(min(max(risk, 1e-6), 1 - 1e-6)))
        residual = is_churned - 1 / (
            1 + math.exp(-line["calibration_intercept"] - line["calibration_slope"] * logit)
        )
        by_intercept += residual
        by_slope += residual * logit
    return by_intercept, by_slope
