"""membership_changes once more in plain Python, sharing no code with the models.

Causes are told from what was loaded and from the definitions, not from the versions that the models
compare.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

Row = dict[str, Any]
Personas = Mapping[date, Mapping[str, str]]
"""The persona of each viewer of the audience, by evaluation date."""


@dataclass(frozen=True)
class State:
    """What there was at one time: personas, the slices loaded by day, rules and thresholds."""

    personas: Personas
    slices: Mapping[date, str]
    definitions: object
    documents: object


def membership_changes(
    published: State, now: State, *, lookback_days: int = 182, reach: int = 1
) -> list[Row]:
    """The rows of membership_changes without their order."""
    found: list[Row] = []
    common = sorted(published.personas.keys() & now.personas.keys())
    restated: dict[tuple[date, str], tuple[str | None, str]] = {}
    for day in common:
        cause = _cause(published, now, day, lookback_days, reach)
        for user, one, other in _different(published.personas[day], now.personas[day]):
            assert cause, f"{user} is another on {day}, and nothing has changed"
            restated[day, user] = (other, cause)
            found += _rows(day, user, one, other, cause, day)
    past = [day for day in published.personas if day <= max(now.personas)]
    if past and max(past) < max(now.personas):
        last, latest = max(past), max(now.personas)
        for user, one, other in _different(published.personas[last], now.personas[latest]):
            became = restated.get((common[-1], user)) if common else None
            cause = became[1] if became and became[0] == other else "behaviour"
            found += _rows(latest, user, one, other, cause, last)
    return found


def _cause(published: State, now: State, day: date, lookback_days: int, reach: int) -> str | None:
    if published.definitions != now.definitions:
        return "rule_change"
    first = day - timedelta(days=lookback_days - 1 + reach)
    drawn_on = [
        {
            loaded: version
            for loaded, version in state.slices.items()
            if first <= loaded <= day + timedelta(days=reach)
        }
        for state in (published, now)
    ]
    if drawn_on[0] != drawn_on[1]:
        return "late_data"
    return "metadata" if published.documents != now.documents else None


def _different(
    one: Mapping[str, str], other: Mapping[str, str]
) -> list[tuple[str, str | None, str | None]]:
    users = sorted(one.keys() | other.keys())
    pairs = [(user, one.get(user), other.get(user)) for user in users]
    return [pair for pair in pairs if pair[1] != pair[2]]


def _rows(
    day: date, user: str, one: str | None, other: str | None, cause: str, published_on: date
) -> list[Row]:
    return [
        {
            "as_of_date": day,
            "user_id": user,
            "change": change,
            "persona": persona,
            "other_persona": opposite,
            "cause": cause,
            "published_as_of_date": published_on,
        }
        for change, persona, opposite in (("left", one, other), ("entered", other, one))
        if persona is not None
    ]
