"""Explaining one viewer: the persona, the clauses behind it, the near misses and the history."""

from dataclasses import dataclass, fields
from datetime import date
from typing import Any

import duckdb

from viewer_personas.errors import InputError
from viewer_personas.rules.catalogue import CASUAL, Metric, Rule, clause_words, holds, metrics
from viewer_personas.rules.words import value_text


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
    avoid: str
    matches: list[Match]
    near_misses: list[Match]
    history: list[Spell]


@dataclass(frozen=True)
class JudgedClause:
    """One clause for one viewer, whether or not it holds, and how far it is from the threshold.

    `difference` is value − threshold in the unit of the metric; `distance` is its size in standard
    deviations of the audience, as in persona_matches at most 3. Both null where nothing is known.
    """

    words: str
    difference_words: str
    metric: str
    window_days: int
    value: float | None
    operator: str
    threshold: float
    is_met: bool
    difference: float | None
    distance: float | None


@dataclass(frozen=True)
class Alternative:
    """All clauses of one alternative; `strength` is the smallest distance of its clauses."""

    number: int
    is_match: bool
    clauses_met: int
    strength: float | None
    clauses: list[JudgedClause]


@dataclass(frozen=True)
class WhyNot:
    """One viewer and one persona: every alternative of its rule, and whether it was chosen."""

    user_id: str
    as_of_date: date
    persona: str
    label: str
    definition: str
    is_match: bool
    is_chosen: bool
    chosen_persona: str
    chosen_label: str
    exclusivity_method: str
    choice: str
    alternatives: list[Alternative]


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
            personas.strategy, personas.content_policy, personas.send_policy, personas.avoid
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


def explain_persona(
    connection: duckdb.DuckDBPyConnection, user_id: str, persona: str, as_of: date | None = None
) -> WhyNot:
    """Say of every clause of the persona's rule whether it holds for the viewer, near miss or not.

    By the rules with which the database was built. Raises `InputError` as `explain` does, and for
    a persona that there is not.
    """
    day = _evaluation_date(connection, as_of)
    labels = dict(
        connection.execute(
            "select persona, label from reference.personas order by priority"
        ).fetchall()
    )
    if persona not in labels:
        raise InputError(f"--persona {persona}: no such persona; there are {', '.join(labels)}")
    explained = explain(connection, user_id, day)
    alternatives = [
        _judged(connection, user_id, day, number, rules)
        for number, rules in _rules(connection, persona).items()
    ]
    method = _exclusivity_method(connection)
    [(definition,)] = connection.execute(
        "select definition from reference.personas where persona = $1", [persona]
    ).fetchall()
    is_match = any(alternative.is_match for alternative in alternatives)
    return WhyNot(
        user_id=user_id,
        as_of_date=day,
        persona=persona,
        label=labels[persona],
        definition=definition,
        is_match=is_match,
        is_chosen=explained.persona == persona,
        chosen_persona=explained.persona,
        chosen_label=explained.label,
        exclusivity_method=method,
        choice=_choice(connection, explained, persona, labels[persona], is_match, method),
        alternatives=alternatives,
    )


def _rules(connection: duckdb.DuckDBPyConnection, persona: str) -> dict[int, list[Rule]]:
    rows = connection.execute(
        "select persona, alternative, clause, window_days, metric, operator, threshold"
        " from reference.persona_rules where persona = $1 order by alternative, clause",
        [persona],
    ).fetchall()
    alternatives: dict[int, list[Rule]] = {}
    for row in rows:
        rule = Rule(*row)
        alternatives.setdefault(rule.alternative, []).append(rule)
    return alternatives


def _judged(
    connection: duckdb.DuckDBPyConnection,
    user_id: str,
    day: date,
    number: int,
    rules: list[Rule],
) -> Alternative:
    values = _values_and_spreads(connection, user_id, day, rules)
    clauses = []
    for rule in rules:
        metric = metrics(rule.window_days)[rule.metric]
        value, spread = values[rule.window_days, rule.metric]
        clauses.append(
            JudgedClause(
                words=clause_words(rule, value),
                difference_words=_difference_words(rule, metric, value),
                metric=rule.metric,
                window_days=rule.window_days,
                value=value,
                operator=rule.operator,
                threshold=rule.threshold,
                is_met=holds(rule, value),
                difference=None if value is None else value - rule.threshold,
                distance=_distance(value, rule.threshold, spread),
            )
        )
    distances = [clause.distance for clause in clauses if clause.distance is not None]
    clauses_met = sum(clause.is_met for clause in clauses)
    return Alternative(
        number=number,
        is_match=clauses_met == len(clauses),
        clauses_met=clauses_met,
        strength=round(min(distances), 9) if distances else None,
        clauses=clauses,
    )


def _values_and_spreads(
    connection: duckdb.DuckDBPyConnection, user_id: str, day: date, rules: list[Rule]
) -> dict[tuple[int, str], tuple[float | None, float | None]]:
    """By window and metric the viewer's value and the standard deviation of the audience."""
    found = {}
    for window_days in {rule.window_days for rule in rules}:
        names = sorted({rule.metric for rule in rules if rule.window_days == window_days})
        aggregates = ", ".join(
            f"max(case when user_id = $1 then {name} end)::double, stddev_pop({name}::double)"
            for name in names
        )
        row = connection.execute(
            f"select {aggregates} from metrics.user_windows"
            " where as_of_date = $2 and window_days = $3",
            [user_id, day, window_days],
        ).fetchall()[0]
        for name, value, spread in zip(names, row[::2], row[1::2], strict=True):
            found[window_days, name] = (value, spread)
    return found


def _distance(value: float | None, threshold: float, spread: float | None) -> float | None:
    """As in persona_matches: standard deviations of the audience, at most 3."""
    if value is None:
        return None
    if not spread:
        return 0.0 if value == threshold else 3.0
    return min(3.0, abs(value - threshold) / spread)


def _difference_words(rule: Rule, metric: Metric, value: float | None) -> str:
    """How far the value is from the threshold: "3 days short", "12 % too much"."""
    if value is None:
        return "not known, and so it does not hold"
    difference = value - rule.threshold
    unit = "" if metric.unit in ("share", "ratio", "weekday", "hour") else f" {metric.unit}"
    size = f"{value_text(metric.unit, abs(difference))}{unit}"
    if difference == 0:
        return "exactly at the threshold"
    if holds(rule, value):
        return f"by {size}"
    return f"{size} {'short' if difference < 0 else 'too much'}"


def _exclusivity_method(connection: duckdb.DuckDBPyConnection) -> str:
    rows = connection.execute(
        "select any_value(exclusivity_method) from personas.persona_versions"
    ).fetchall()
    return str(rows[0][0])


def _choice(
    connection: duckdb.DuckDBPyConnection,
    explained: Explanation,
    persona: str,
    label: str,
    is_match: bool,
    method: str,
) -> str:
    """Why this persona, or the other one, is the viewer's: one sentence."""
    chosen = explained.label
    if persona == CASUAL:
        if explained.persona == CASUAL:
            return "No other persona matches."
        return f"{label} is for whoever matches no other persona; here {chosen} matches."
    if not is_match:
        return f"No alternative holds in full; the persona is {chosen}."
    if explained.persona == persona:
        others = [match.label for match in explained.matches if match.persona != persona]
        return f"Chosen before {', '.join(others)} by {method}." if others else "The only match."
    priority, risk = (
        dict(connection.execute(f"select persona, {column} from reference.personas").fetchall())
        for column in ("priority", "expected_risk")
    )
    by_priority = f"{chosen} has priority {priority[explained.persona]}, {label} has"
    by_priority += f" {priority[persona]}: the smaller goes first"
    if method == "sticky" and explained.previous_persona == explained.persona:
        reason = f"sticky keeps {chosen}, the persona of the evaluation date before"
    elif method == "strongest":
        strength = {match.persona: match.strength for match in explained.matches}
        one, other = strength[explained.persona], strength[persona]
        reason = (
            f"{chosen} holds with strength {one:.2f}, {label} with {other:.2f}"
            if one is not None and other is not None and one != other
            else by_priority
        )
    elif method == "rarest":
        matches = dict(
            connection.execute(
                "select persona, count(*) from personas.persona_matches"
                " where is_match and as_of_date = $1 group by persona",
                [explained.as_of_date],
            ).fetchall()
        )
        reason = (
            f"{matches[explained.persona]:,} viewers match {chosen}, {matches[persona]:,} match"
            f" {label}: the rarer goes first"
            if matches[explained.persona] != matches[persona]
            else by_priority
        )
    elif method == "riskiest" and risk[explained.persona] != risk[persona]:
        reason = (
            f"{chosen} has the expected risk {risk[explained.persona]}, {label} has"
            f" {risk[persona]}: the riskier goes first"
        )
    else:
        reason = by_priority
    return f"{label} matches, but {chosen} was chosen ({method}): {reason}."


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
        select persona, personas.label, spell_start, least(spell_end, $2)
        from personas.persona_spells as persona_spells
        inner join reference.personas as personas using (persona)
        where user_id = $1 and spell_start <= $2
        order by spell_start
        """,
        [user_id, until],
    ).fetchall()
    return [Spell(*row) for row in rows]
