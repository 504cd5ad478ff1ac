"""Drift and the comparison of the methods once more, in plain Python, from the tables they read.

Written from the descriptions, and shares no code with the models. Everything is counted viewer by
viewer.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

from reference.definitions import Row

Tables = Mapping[str, list[Row]]

METHODS = ("priority", "strongest", "rarest", "sticky", "riskiest")
HORIZON = timedelta(days=28)
RISKS = {"low": 1, "medium": 2, "high": 3}
CHI_SQUARE_95 = {1: 3.841, 2: 5.991, 3: 7.815, 4: 9.488, 5: 11.070, 6: 12.592, 7: 14.067,
                 8: 15.507, 9: 16.919, 10: 18.307, 11: 19.675, 12: 21.026}  # fmt: skip
"""From a printed table; Wilson and Hilferty's formula is within 1 % of it from 2 on, 3 % at 1."""

# --- drift --------------------------------------------------------------------------------------


def drift(tables: Tables, metrics: Sequence[str], weeks: int) -> list[Row]:
    """personas.drift without its version; chance_limit is from a printed table."""
    dates = sorted(row["as_of_date"] for row in tables["personas.persona_dates"])
    values: dict[str, dict[date, list[Any]]] = {
        subject: defaultdict(list) for subject in ("persona", *metrics)
    }
    for row in tables["personas.persona_choices"]:
        values["persona"][row["as_of_date"]].append(row["persona"])
    for row in tables["metrics.user_windows"]:
        if row["window_days"] == 28:
            for metric in metrics:
                values[metric][row["as_of_date"]].append(row[metric])
    found = []
    for as_of_date in dates:
        early = [day for day in dates if day + timedelta(weeks=weeks) <= as_of_date]
        baseline_date = early[-1] if early else dates[0]
        for subject, by_date in values.items():
            now, before = by_date[as_of_date], by_date[baseline_date]
            if now and before:
                in_bin = _bins(before) if subject != "persona" else lambda value: value
                found.append({
                    "as_of_date": as_of_date,
                    "subject": subject,
                    "baseline_date": baseline_date,
                    **_divergence(Counter(map(in_bin, now)), Counter(map(in_bin, before))),
                })  # fmt: skip
    return found


def _bins(baseline: Sequence[float | None]) -> Callable[[float | None], Any]:
    """In which bin of the baseline a value is: how many different deciles are below it."""
    known = sorted(value for value in baseline if value is not None)
    deciles = {
        next(
            value
            for value in known
            if 10 * sum(other <= value for other in known) >= tenths * len(known)
        )
        for tenths in range(1, 10)
        if known
    }
    return lambda value: "not known" if value is None else sum(decile < value for decile in deciles)


def _divergence(now: Counter[Any], before: Counter[Any]) -> Row:
    bins = now.keys() | before.keys()
    shares = [
        (
            (now[one] + 0.5) / (now.total() + 0.5 * len(bins)),
            (before[one] + 0.5) / (before.total() + 0.5 * len(bins)),
        )
        for one in bins
    ]
    index = sum((share - base) * math.log(share / base) for share, base in shares)
    sizes = 1 / now.total() + 1 / before.total()
    limit = CHI_SQUARE_95[len(bins) - 1] * sizes if len(bins) > 1 else 0.0
    return {
        "viewers": now.total(),
        "baseline_viewers": before.total(),
        "bins": len(bins),
        "population_stability_index": max(0.0, index),
        "kl_divergence": max(0.0, sum(share * math.log(share / base) for share, base in shares)),
        "expected_by_chance": (len(bins) - 1) * sizes,
        "chance_limit": limit,
    }


# --- shifts ---------------------------------------------------------------------------------------


def persona_shifts(tables: Tables, past: int) -> list[Row]:
    """personas.persona_shifts without its version."""
    listed = sorted(row["as_of_date"] for row in tables["personas.persona_dates"])
    counts: dict[date, Counter[str]] = defaultdict(Counter)
    for row in tables["personas.persona_choices"]:
        counts[row["as_of_date"]][row["persona"]] += 1
    found = []
    for number, as_of_date in enumerate(listed):
        compared = [day for day in listed[max(0, number - past - 1) : number + 1] if counts[day]]
        if as_of_date not in compared:
            continue
        sizes = [counts[day].total() for day in compared]
        growths = [math.log(new / old) for old, new in pairwise(sizes)]
        for persona in {one for day in compared for one in counts[day]}:
            shares = [counts[day][persona] / counts[day].total() for day in compared]
            moves = [new - old for old, new in pairwise(shares)]
            row = {
                "as_of_date": as_of_date,
                "persona": persona,
                "viewers": counts[as_of_date][persona],
                "audience": sizes[-1],
                "share": shares[-1],
                **dict.fromkeys(
                    ("previous_as_of_date", "previous_viewers", "previous_audience",
                     "share_change", "deviations", "audience_deviations")
                ),
            }  # fmt: skip
            if moves:
                before = compared[-2]
                row["previous_as_of_date"] = before
                row["previous_viewers"] = counts[before][persona]
                row["previous_audience"] = sizes[-2]
                row["share_change"] = moves[-1]
            if len(moves) == past + 1:
                both = counts[before][persona] + counts[as_of_date][persona] + 1
                share = both / (sizes[-1] + sizes[-2] + 2)
                chance = 1 / sizes[-1] + 1 / sizes[-2]
                row["deviations"] = _deviations(moves, share * (1 - share) * chance)
                row["audience_deviations"] = _deviations(growths, chance)
            found.append(row)
    return found


def _deviations(moves: Sequence[float], chance: float) -> float:
    """The last move, in standard deviations of the earlier ones and of chance."""
    past = sum(move**2 for move in moves[:-1]) / (len(moves) - 1)
    return moves[-1] / math.sqrt(past + chance)


# --- the comparison of the methods --------------------------------------------------------------


def exclusivity_benchmark(
    tables: Tables, personas: Mapping[str, Row], number_of_dates: int
) -> list[Row]:
    """personas.exclusivity_benchmark."""
    listed = sorted(tables["personas.persona_dates"], key=lambda row: row["as_of_date"])
    previous = {row["as_of_date"]: row["previous_as_of_date"] for row in listed[-number_of_dates:]}
    viewers = {
        (row["as_of_date"], row["user_id"])
        for row in tables["metrics.user_windows"]
        if row["window_days"] == 28 and row["as_of_date"] in previous
    }
    matches: dict[tuple[date, str], dict[str, float | None]] = defaultdict(dict)
    for row in tables["personas.persona_matches"]:
        if row["is_match"] and row["as_of_date"] in previous:
            matches[row["as_of_date"], row["user_id"]][row["persona"]] = row["strength"]
    churned = {
        (row["as_of_date"], row["user_id"]): row["is_churned"]
        for row in tables["personas.churn_outcomes"]
        if (row["as_of_date"], row["user_id"]) in viewers
    }
    found = []
    for method in METHODS:
        chosen = _choices(method, viewers, matches, previous, personas)
        losses = _losses(chosen, churned)
        for only in [*previous, None] if viewers else []:
            of_date = [key for key in sorted(viewers) if only in (None, key[0])]
            if of_date:
                row = _figures(of_date, chosen, matches, previous, losses)
                found.append({"exclusivity_method": method, "as_of_date": only, **row})
    return found


def _choices(
    method: str,
    viewers: Iterable[tuple[date, str]],
    matches: Mapping[tuple[date, str], Mapping[str, float | None]],
    previous: Mapping[date, date | None],
    personas: Mapping[str, Row],
) -> dict[tuple[date, str], str]:
    popular = Counter((day, persona) for (day, _), own in matches.items() for persona in own)
    chosen: dict[tuple[date, str], str] = {}
    for day, user in sorted(viewers):
        own = matches.get((day, user), {})
        before = chosen.get((previous[day], user)) if previous[day] else None  # type: ignore[arg-type]
        if method == "sticky" and before in own:
            chosen[day, user] = str(before)
            continue

        def order(
            persona: str, day: date = day, own: Mapping[str, float | None] = own
        ) -> tuple[float, int]:
            strength = own[persona]
            first = {
                "strongest": math.inf if strength is None else -strength,
                "rarest": popular[day, persona],
                "riskiest": -RISKS[personas[persona]["expected_risk"]],
            }.get(method, 0)
            return first, int(personas[persona]["priority"])

        chosen[day, user] = min(own, key=order) if own else "casual"
    return chosen


def _losses(
    chosen: Mapping[tuple[date, str], str], churned: Mapping[tuple[date, str], bool]
) -> dict[tuple[date, str], tuple[float, float]]:
    """For each viewer predicted: the loss by the persona's rate, and by the base rate."""
    found = {}
    for day in {day for day, _ in churned}:
        known = [key for key in churned if key[0] + HORIZON <= day]
        if not known:
            continue
        base = (sum(churned[key] for key in known) + 0.5) / (len(known) + 1)
        for key in churned:
            if key[0] == day:
                same = [churned[other] for other in known if chosen[other] == chosen[key]]
                rate = (sum(same) + base) / (len(same) + 1)
                found[key] = (
                    -math.log(rate if churned[key] else 1 - rate),
                    -math.log(base if churned[key] else 1 - base),
                )
    return found


def _figures(
    keys: Sequence[tuple[date, str]],
    chosen: Mapping[tuple[date, str], str],
    matches: Mapping[tuple[date, str], Mapping[str, float | None]],
    previous: Mapping[date, date | None],
    losses: Mapping[tuple[date, str], tuple[float, float]],
) -> Row:
    def before(key: tuple[date, str]) -> Any:
        return (previous[key[0]], key[1])

    returning = [key for key in keys if before(key) in chosen]
    unchanged = [
        key
        for key in returning
        if matches.get(key, {}).keys() == matches.get(before(key), {}).keys()
    ]
    counts = Counter(chosen[key] for key in keys)
    entropy = -sum(n / len(keys) * math.log(n / len(keys)) for n in counts.values())
    predicted = [losses[key] for key in keys if key in losses]
    log_loss = _mean(own for own, _ in predicted)
    base_log_loss = _mean(base for _, base in predicted)
    return {
        "viewers": len(keys),
        "coverage": _mean(len(matches.get(key, {})) > 0 for key in keys),
        "several_matches_share": _mean(len(matches.get(key, {})) > 1 for key in keys),
        "viewers_before": len(returning),
        "changed_share": _mean(chosen[key] != chosen[before(key)] for key in returning),
        "unchanged_viewers": len(unchanged),
        "flip_share": _mean(chosen[key] != chosen[before(key)] for key in unchanged),
        "effective_personas": math.exp(entropy),
        "predicted_viewers": len(predicted),
        "log_loss": log_loss,
        "base_log_loss": base_log_loss,
        "log_loss_skill": None
        if log_loss is None or not base_log_loss
        else 1 - log_loss / base_log_loss,
    }


def _mean(values: Iterable[float]) -> float | None:
    listed = [float(value) for value in values]
    return sum(listed) / len(listed) if listed else None
