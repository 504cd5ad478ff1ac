"""Spells, transitions, dwell times and forecasts once more, in plain Python.

Everything is told viewer by viewer from who had which persona on which date, and nothing is shared
with the models: dwell times follow spells and not steps, and a forecast follows single viewers.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import NormalDist
from typing import Any

Row = dict[str, Any]
WEEK = timedelta(days=7)
HORIZON = timedelta(days=28)
QUANTILE = NormalDist().inv_cdf(0.975)
GONE = "gone"


@dataclass(frozen=True)
class Run:
    """A spell: its dates, and the persona before and after; None where nobody knows."""

    user_id: str
    persona: str
    dates: tuple[date, ...]
    before: str | None
    after: str | None
    ended_on: date | None


@dataclass(frozen=True)
class History:
    """Who had which persona on which evaluation date, and the settings of the forecast."""

    dates: list[date]
    choices: dict[str, dict[date, str]]
    personas: list[str]
    max_weeks: int = 4
    prior_steps: float = 20

    def up_to(self, last: date) -> "History":
        """The same history without everything after a date."""
        return History(
            [day for day in self.dates if day <= last],
            {
                user_id: {day: persona for day, persona in known.items() if day <= last}
                for user_id, known in self.choices.items()
            },
            self.personas,
            self.max_weeks,
            self.prior_steps,
        )

    def runs(self) -> Iterator[Run]:
        """All spells, viewer by viewer."""
        for user_id, known in self.choices.items():
            dates: list[date] = []
            last_seen: str | None = None  # of the date before the spell, once there was one
            was_there = False
            for day, following in zip(self.dates, [*self.dates[1:], None], strict=True):
                if day not in known:
                    last_seen = GONE if was_there else None
                    continue
                was_there = True
                dates.append(day)
                after = None if following is None else known.get(following, GONE)
                if after != known[day]:
                    yield Run(user_id, known[day], tuple(dates), last_seen, after, following)
                    last_seen = known[day]
                    dates = []

    def known_weeks(self, user_id: str, day: date) -> int:
        """The week of the spell for a forecast: 0 where it is not known, at most max_weeks."""
        start = day
        for earlier in reversed([known for known in self.dates if known <= day]):
            if self.choices[user_id].get(earlier) != self.choices[user_id][day]:
                break
            start = earlier
        weeks = (day - start).days // 7 + 1
        if weeks >= self.max_weeks:
            return self.max_weeks
        return 0 if start == self.dates[0] else weeks


def persona_spells(history: History) -> list[Row]:
    """One row per viewer and spell."""
    return [
        {
            "user_id": run.user_id,
            "spell_start": run.dates[0],
            "persona": run.persona,
            "spell_end": run.dates[-1],
            "ended_on": run.ended_on,
            "evaluation_dates": len(run.dates),
            "days": ((run.ended_on or run.dates[-1]) - run.dates[0]).days,
            "entered_from": run.before,
            "next_persona": run.after,
            "is_left_censored": run.dates[0] == history.dates[0],
            "is_censored": run.after is None,
        }
        for run in history.runs()
    ]


def _moves(history: History) -> Iterator[tuple[date, date, str, str, str]]:
    """Every step of every viewer: from when, to when, who, from what, to what."""
    for before, after in zip(history.dates, history.dates[1:], strict=False):
        for user_id, known in history.choices.items():
            if before in known:
                yield before, after, user_id, known[before], known.get(after, GONE)


def persona_steps(history: History) -> list[Row]:
    """One row per date, persona before, week of its spell then, and persona."""
    starts = {(run.user_id, day): run.dates[0] for run in history.runs() for day in run.dates}
    counts = Counter(
        (after, old, (before - starts[user, before]).days // 7 + 1,
         starts[user, before] == history.dates[0], new, (after - before).days)
        for before, after, user, old, new in _moves(history)
    )  # fmt: skip
    names = (
        "as_of_date", "from_persona", "weeks_in_spell", "is_left_censored", "to_persona",
        "step_days",
    )  # fmt: skip
    return [
        {**dict(zip(names, key, strict=True)), "viewers": count} for key, count in counts.items()
    ]


def persona_transitions(history: History) -> list[Row]:
    """One row per date, scope, persona before and after."""
    rows = []
    for as_of_date in history.dates:
        for scope in ("date", "pooled"):
            taken = [
                (old, new, (after - before).days)
                for before, after, _, old, new in _moves(history.up_to(as_of_date))
                if (after == as_of_date if scope == "date" else after - before == WEEK)
            ]
            of_persona = Counter(old for old, _, _ in taken)
            for (old, new, days), count in Counter(taken).items():
                lower, upper = wilson(count, of_persona[old])
                rows.append(
                    {
                        "as_of_date": as_of_date,
                        "scope": scope,
                        "from_persona": old,
                        "to_persona": new,
                        "step_days": days,
                        "transitions": count,
                        "from_viewers": of_persona[old],
                        "rate": count / of_persona[old],
                        "rate_lower": lower,
                        "rate_upper": upper,
                    }
                )
    return rows


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Both roots p of (share - p)^2 = z^2 p (1 - p) / n, by the formula of quadratic equations."""
    share = successes / trials
    a = 1 + QUANTILE**2 / trials
    b = -(2 * share + QUANTILE**2 / trials)
    c = share**2
    root = math.sqrt(max(0.0, b * b - 4 * a * c))
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def persona_dwell_times(history: History) -> list[Row]:
    """One row per date, persona and week: the product limit over spells, not over steps."""
    rows = []
    for as_of_date in history.dates:
        known = history.up_to(as_of_date)
        if known.dates[1:] and known.dates[-1] - known.dates[-2] != WEEK:
            known = known.up_to(known.dates[-2])
        spells = defaultdict(list)
        for run in known.runs():
            if run.dates[0] > known.dates[0]:
                spells[run.persona].append((len(run.dates) - (run.after is None), run.after))
        for persona, lengths in spells.items():
            weeks = range(1, max(weeks for weeks, _ in lengths) + 1)
            curve = _product_limit(lengths, weeks)
            median = next((row["weeks"] for row in curve if row["survival"] <= 0.5 + 1e-12), None)
            rows += [
                {"as_of_date": as_of_date, "persona": persona, **row, "median_weeks": median}
                for row in curve
            ]
    return rows


def _product_limit(lengths: list[tuple[int, str | None]], weeks: range) -> list[Row]:
    survival, greenwood = 1.0, 0.0
    curve = []
    for week in weeks:
        at_risk = sum(length >= week for length, _ in lengths)
        ended = sum(length == week and after is not None for length, after in lengths)
        survival *= (at_risk - ended) / at_risk
        error = lower = upper = None
        if ended < at_risk:
            greenwood += ended / (at_risk * (at_risk - ended))
            error = survival * math.sqrt(greenwood)
            if survival < 1:
                # the interval of log(-log(survival)), taken back
                middle = math.log(-math.log(survival))
                half = QUANTILE * math.sqrt(greenwood) / -math.log(survival)
                lower, upper = (
                    math.exp(-math.exp(middle + half)), math.exp(-math.exp(middle - half))
                )  # fmt: skip
        curve.append(
            {
                "weeks": week,
                "at_risk": at_risk,
                "ended": ended,
                "survival": survival,
                "standard_error": error,
                "survival_lower": lower,
                "survival_upper": upper,
            }
        )
    return curve


Kernel = dict[tuple[str, int], dict[str, float]]


def _kernel(history: History) -> Kernel:
    """Probabilities of the next persona by persona and known weeks, from a history up to a date."""
    by_persona: dict[str, Counter[str]] = defaultdict(Counter)
    by_weeks: dict[tuple[str, int], Counter[str]] = defaultdict(Counter)
    for before, after, user_id, old, new in _moves(history):
        if after - before == WEEK:
            by_persona[old][new] += 1
            by_weeks[old, history.known_weeks(user_id, before)][new] += 1
    kernel: Kernel = {}
    for persona, steps in by_persona.items():
        for weeks in range(history.max_weeks + 1):
            own: Counter[str] = by_weeks[persona, weeks] if weeks else Counter()
            prior = history.prior_steps
            kernel[persona, weeks] = {
                new: (own[new] + prior * count / steps.total()) / (own.total() + prior)
                for new, count in steps.items()
            }
    return kernel


def _outlook(kernel: Kernel, persona: str, weeks: int, max_weeks: int) -> dict[str, float]:
    """Where a viewer is after four steps, with which probability."""
    states = {(persona, weeks): 1.0}
    for _ in range(4):
        following: dict[tuple[str, int], float] = defaultdict(float)
        for (now, week), share in states.items():
            for new, probability in kernel.get((now, week), {now: 1.0}).items():
                longer = min(week + 1, max_weeks) if week else 0
                following[new, longer if new == now else 1] += share * probability
        states = following
    outlook: dict[str, float] = defaultdict(float)
    for (now, _), share in states.items():
        outlook[now] += share
    return dict(outlook)


@dataclass(frozen=True)
class Forecast:
    """What a date expects of each of its viewers: (persona, weeks, outlook) by user_id."""

    viewers: dict[str, tuple[str, int, dict[str, float]]]

    def expected(self, persona: str) -> float:
        return sum(outlook.get(persona, 0) for _, _, outlook in self.viewers.values())

    def variance(self, persona: str) -> float:
        shares = [outlook.get(persona, 0) for _, _, outlook in self.viewers.values()]
        return sum(share * (1 - share) for share in shares)

    def now(self, persona: str) -> int:
        return sum(now == persona for now, _, _ in self.viewers.values())


def forecasts(history: History) -> dict[date, Forecast]:
    """The forecast of every evaluation date, from what was known on it."""
    made = {}
    for as_of_date in history.dates:
        known = history.up_to(as_of_date)
        kernel = _kernel(known)
        viewers = {}
        for user_id, personas in known.choices.items():
            if as_of_date in personas:
                persona, weeks = personas[as_of_date], known.known_weeks(user_id, as_of_date)
                outlook = _outlook(kernel, persona, weeks, history.max_weeks)
                viewers[user_id] = (persona, weeks, outlook)
        made[as_of_date] = Forecast(viewers)
    return made


def persona_outlooks(history: History) -> list[Row]:
    """One row per date, persona, week of its spell and persona 28 days later."""
    rows = {}
    for as_of_date, forecast in forecasts(history).items():
        states = Counter((persona, weeks) for persona, weeks, _ in forecast.viewers.values())
        for persona, weeks, outlook in forecast.viewers.values():
            for new, probability in outlook.items():
                rows[as_of_date, persona, weeks, new] = {
                    "as_of_date": as_of_date,
                    "from_persona": persona,
                    "from_weeks": weeks,
                    "to_persona": new,
                    "viewers": states[persona, weeks],
                    "probability": probability,
                }
    return list(rows.values())


def persona_outcomes(history: History) -> list[Row]:
    """One row per date, persona and week 28 days before, and persona expected or found."""
    rows = []
    made = forecasts(history)
    for as_of_date in history.dates:
        if as_of_date - HORIZON not in made:
            continue
        viewers = made[as_of_date - HORIZON].viewers
        for state in {(persona, weeks) for persona, weeks, _ in viewers.values()}:
            of_state = [user for user, (*where, _) in viewers.items() if tuple(where) == state]
            outlook = viewers[of_state[0]][2]
            found = Counter(history.choices[user].get(as_of_date, GONE) for user in of_state)
            rows += [
                {
                    "as_of_date": as_of_date,
                    "forecast_date": as_of_date - HORIZON,
                    "from_persona": state[0],
                    "from_weeks": state[1],
                    "to_persona": persona,
                    "viewers": len(of_state),
                    "probability": outlook.get(persona, 0.0),
                    "actual_viewers": found[persona],
                }
                for persona in outlook.keys() | found.keys()
            ]
    return rows


def persona_forecast(history: History) -> list[Row]:
    """One row per date and persona, and gone."""
    made = forecasts(history)
    rows = []
    for as_of_date, forecast in made.items():
        if not forecast.viewers:
            continue
        dispersion = _dispersion(history.up_to(as_of_date), made)
        for persona in [*history.personas, GONE]:
            expected = forecast.expected(persona)
            row: Row = {
                "as_of_date": as_of_date,
                "target_date": as_of_date + HORIZON,
                "persona": persona,
                "viewers_now": forecast.now(persona),
                "expected_viewers": expected,
                "lower_viewers": None,
                "upper_viewers": None,
                "dispersion": dispersion,
            }
            if dispersion is not None:
                half = QUANTILE * math.sqrt(dispersion * forecast.variance(persona))
                row["lower_viewers"] = max(0.0, expected - half)
                row["upper_viewers"] = expected + half
            rows.append(row)
    return rows


def _dispersion(history: History, made: dict[date, Forecast]) -> float | None:
    """Squared errors of the forecasts checked so far over their variances, at least 1."""
    errors = variances = 0.0
    for target in history.dates:
        forecast = made.get(target - HORIZON)
        if forecast:
            for persona in [*history.personas, GONE]:
                errors += (
                    forecast.expected(persona) - _found(history, forecast, target, persona)
                ) ** 2
                variances += forecast.variance(persona)
    return max(1.0, errors / variances) if variances > 1e-9 else None


def _found(history: History, forecast: Forecast, target: date, persona: str) -> int:
    """How many viewers of a forecast have the persona on its target date."""
    return sum(history.choices[user].get(target, GONE) == persona for user in forecast.viewers)


def persona_forecast_backtest(history: History) -> list[Row]:
    """One row per date with a forecast 28 days before, and persona, and gone."""
    made = forecasts(history)
    limits = {(row["as_of_date"], row["persona"]): row for row in persona_forecast(history)}
    rows = []
    for as_of_date in history.dates:
        forecast = made.get(as_of_date - HORIZON)
        if not forecast or not forecast.viewers:
            continue
        for persona in [*history.personas, GONE]:
            found = _found(history, forecast, as_of_date, persona)
            limit = limits[as_of_date - HORIZON, persona]
            lower, upper = limit["lower_viewers"], limit["upper_viewers"]
            scores = [
                sum(
                    (outlook.get(other, 0.0) - (truth == other)) ** 2
                    for other in [*history.personas, GONE]
                )
                for user, (now, _, outlook) in forecast.viewers.items()
                for truth in [history.choices[user].get(as_of_date, GONE)]
                if now == persona
            ]
            moved = [
                history.choices[user].get(as_of_date, GONE) != now
                for user, (now, _, _) in forecast.viewers.items()
                if now == persona
            ]
            rows.append(
                {
                    "as_of_date": as_of_date,
                    "forecast_date": as_of_date - HORIZON,
                    "persona": persona,
                    "naive_viewers": forecast.now(persona),
                    "expected_viewers": limit["expected_viewers"],
                    "lower_viewers": lower,
                    "upper_viewers": upper,
                    "actual_viewers": found,
                    "forecast_error": limit["expected_viewers"] - found,
                    "naive_error": forecast.now(persona) - found,
                    "is_within_limits": (
                        None if lower is None else lower - 1e-9 <= found <= upper + 1e-9
                    ),
                    "brier_score": sum(scores) / len(scores) if scores else None,
                    "naive_brier_score": 2 * sum(moved) / len(moved) if moved else None,
                }
            )
    return rows


TABLES = {
    "personas.persona_spells": persona_spells,
    "personas.persona_steps": persona_steps,
    "personas.persona_transitions": persona_transitions,
    "personas.persona_dwell_times": persona_dwell_times,
    "personas.persona_outlooks": persona_outlooks,
    "personas.persona_outcomes": persona_outcomes,
    "personas.persona_forecast": persona_forecast,
    "personas.persona_forecast_backtest": persona_forecast_backtest,
}
