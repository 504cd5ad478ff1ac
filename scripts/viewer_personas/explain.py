"""Explaining one viewer: the persona, the clauses behind it, the near misses and the history."""

from dataclasses import dataclass, fields
from datetime import date
from typing import Any

import duckdb

from viewer_personas.errors import InputError


@dataclass(frozen=True)
class Clause:
    """One clause of a rule for one viewer: in words, and as the rule has it."""

    words: str
    metric: str
    window_days: int
    value: float | None
    operator: str
    threshold: float
    is_met: bool


@dataclass(frozen=True)
class Match:
    """A persona that matches, or one that would but for one clause."""

    persona: str
    label: str
    is_match: bool
    strength: float | None
    clauses: list[Clause]


@dataclass(frozen=True)
class Spell:
    """Consecutive evaluation dates with the same persona."""

    persona: str
    label: str
    first_date: date
    last_date: date


@dataclass(frozen=True)
class Explanation:
    """Why a viewer has the persona that they have on one evaluation date."""

    user_id: str
    as_of_date: date
    persona: str
    label: str
    definition: str
    persona_since: date
    previous_persona: str | None
    churn_risk: float | None
    churn_risk_lower: float | None
    churn_risk_upper: float | None
    churn_base_rate: float | None
    churn_risk_level: str
    strategy: str
    content_policy: str
    send_policy: str
    matches: list[Match]
    near_misses: list[Match]
    history: list[Spell]


def explain(
    connection: duckdb.DuckDBPyConnection, user_id: str, as_of: date | None = None
) -> Explanation:
    """Explain the viewer's persona on `as_of`, or on the latest date.

    Raises `InputError` where nothing is built, the date is none of the evaluation dates, or the
    viewer is not known on it.
    """
    day = _evaluation_date(connection, as_of)
    rows = connection.execute(
        """
        select
            user_personas.persona, personas.label, personas.definition,
            user_personas.persona_since, user_personas.previous_persona,
            user_personas.churn_risk, churn_risk.lower, churn_risk.upper, churn_risk.base_rate,
            user_personas.churn_risk_level,
            personas.strategy, personas.content_policy, personas.send_policy
        from personas.user_personas as user_personas
        inner join reference.personas as personas using (persona)
        inner join personas.churn_risk as churn_risk using (as_of_date, user_id)
        where user_personas.as_of_date = $1 and user_personas.user_id = $2
        """,
        [day, user_id],
    ).fetchall()
    if not rows:
        raise InputError(
            f"viewer {user_id}: not known on {day}: no activity in the lookback and no running"
            " subscription. Check the spelling, or give another date with --as-of."
        )
    matches = _matches(connection, user_id, day)
    names = [field.name for field in fields(Explanation)][2:-3]
    return Explanation(
        user_id=user_id,
        as_of_date=day,
        matches=[match for match in matches if match.is_match],
        near_misses=[match for match in matches if not match.is_match],
        history=_history(connection, user_id, day),
        **dict(zip(names, rows[0], strict=True)),
    )


def _evaluation_date(connection: duckdb.DuckDBPyConnection, as_of: date | None) -> date:
    try:
        rows = connection.execute(
            "select as_of_date from metrics.as_of_dates order by as_of_date"
        ).fetchall()
    except duckdb.CatalogException as error:
        raise InputError("Nothing is built in this database. Run `personas run` first.") from error
    days: list[date] = [row[0] for row in rows]
    if not days:
        raise InputError("There is no evaluation date yet: no complete day is loaded.")
    if as_of is None:
        return max(days)
    if as_of not in days:
        raise InputError(
            f"--as-of {as_of} is no evaluation date; there are {', '.join(map(str, days))}"
        )
    return as_of


def _matches(connection: duckdb.DuckDBPyConnection, user_id: str, day: date) -> list[Match]:
    rows = connection.execute(
        """
        select persona, personas.label, is_match, strength, evidence, reason
        from personas.persona_matches as persona_matches
        inner join reference.personas as personas using (persona)
        where as_of_date = $1 and user_id = $2
        order by personas.priority
        """,
        [day, user_id],
    ).fetchall()
    return [
        Match(persona, label, is_match, strength, _clauses(evidence, reason))
        for persona, label, is_match, strength, evidence, reason in rows
    ]


def _clauses(evidence: list[dict[str, Any]], reason: str) -> list[Clause]:
    return [
        Clause(
            words=words,
            metric=item["metric"],
            window_days=item["window_days"],
            value=item["value"],
            operator=item["operator"],
            threshold=item["threshold"],
            is_met=item["is_met"],
        )
        for words, item in zip(reason.split("; "), evidence, strict=True)
    ]


def _history(connection: duckdb.DuckDBPyConnection, user_id: str, until: date) -> list[Spell]:
    rows = connection.execute(
        """
        select persona, personas.label, min(as_of_date), max(as_of_date)
        from personas.user_personas as user_personas
        inner join reference.personas as personas using (persona)
        where user_id = $1 and as_of_date <= $2
        group by persona, personas.label, persona_since
        order by persona_since
        """,
        [user_id, until],
    ).fetchall()
    return [Spell(*row) for row in rows]
