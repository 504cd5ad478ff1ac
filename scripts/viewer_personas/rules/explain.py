"""Explains one viewer: the persona, the clauses behind it, the near misses and the history."""

from dataclasses import dataclass
from datetime import date
from typing import Any

import duckdb

from viewer_personas.errors import InputError
from viewer_personas.rules.catalogue import CASUAL, Metric, Rule, by_alternative, metrics, rules_in
from viewer_personas.rules.words import OPERATORS, clause_words, difference_words


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
    """A persona that matches, or misses by one clause."""

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
    """Why a viewer has their persona on one evaluation date."""

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
class JudgedClause(Clause):
    """A clause that holds or not, and how far the value is from the threshold.

    `difference` is value − threshold in the unit of the metric; `distance` is its size in standard
    deviations of the audience, at most 3, as in persona_matches. Both are null if the metric is
    unknown.
    """

    difference_words: str
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

    Raises `InputError` if nothing is built, the date is not an evaluation date, or the viewer is
    unknown on it.
    """
    day = _evaluation_date(connection, as_of)
    result = connection.execute(
        """
        select
            user_personas.persona, personas.label, personas.definition,
            user_personas.persona_since, user_personas.previous_persona,
            user_personas.churn_risk,
            churn_risk.lower as churn_risk_lower, churn_risk.upper as churn_risk_upper,
            churn_risk.base_rate as churn_base_rate,
            user_personas.churn_risk_level,
            personas.strategy, personas.content_policy, personas.send_policy, personas.avoid
        from personas.user_personas as user_personas
        inner join reference.personas as personas using (persona)
        inner join personas.churn_risk as churn_risk using (as_of_date, user_id)
        where user_personas.as_of_date = $1 and user_personas.user_id = $2
        """,
        [day, user_id],
    )
    names = [column[0] for column in result.description or []]
    rows = result.fetchall()
    if not rows:
        raise InputError(
            f"viewer {user_id}: not known on {day}: no activity in the lookback and no running"
            " subscription. Check the spelling, or give another date with --as-of."
        )
    matches = _matches(connection, user_id, day)
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
    """Whether each clause of the persona's rule holds for the viewer, near miss or not.

    Uses the rules that the database was built with. Raises `InputError` like `explain`, and for an
    unknown persona.
    """
    day = _evaluation_date(connection, as_of)
    labels = dict(
        connection.execute(
            "select persona, label from reference.personas order by priority"
        ).fetchall()
    )
    if persona not in labels:
        raise InputError(f"--persona {persona}: no such persona; known are {', '.join(labels)}")
    explained = explain(connection, user_id, day)
    alternatives = [
        _judged(connection, user_id, day, rules)
        for rules in by_alternative(rules_in(connection)).get(persona, [])
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


def _judged(
    connection: duckdb.DuckDBPyConnection,
    user_id: str,
    day: date,
    rules: list[Rule],
) -> Alternative:
    known = _metrics_of(rules)
    values = _values_and_spreads(connection, user_id, day, rules)
    clauses = []
    for rule in rules:
        value, spread = values[rule.window_days, rule.metric]
        clauses.append(
            JudgedClause(
                words=clause_words(rule, value, known),
                difference_words=difference_words(rule, value, known),
                metric=rule.metric,
                window_days=rule.window_days,
                value=value,
                operator=rule.operator,
                threshold=rule.threshold,
                is_met=rule.holds(value),
                difference=None if value is None else value - rule.threshold,
                distance=_distance(value, rule.threshold, spread),
            )
        )
    distances = [clause.distance for clause in clauses if clause.distance is not None]
    clauses_met = sum(clause.is_met for clause in clauses)
    return Alternative(
        number=rules[0].alternative,
        is_match=clauses_met == len(clauses),
        clauses_met=clauses_met,
        strength=round(min(distances), 9) if distances else None,
        clauses=clauses,
    )


def _values_and_spreads(
    connection: duckdb.DuckDBPyConnection, user_id: str, day: date, rules: list[Rule]
) -> dict[tuple[int, str], tuple[float | None, float | None]]:
    """The viewer's value and the audience's standard deviation, by window and metric."""
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


def _exclusivity_method(connection: duckdb.DuckDBPyConnection) -> str:
    rows = connection.execute(
        "select any_value(exclusivity_method) from personas.persona_dates"
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
    """Why the viewer has this persona, or another one, in one sentence."""
    chosen = explained.label
    if persona == CASUAL:
        if explained.persona == CASUAL:
            return "No other persona matches."
        return f"{label} is for viewers who match no other persona; this one matches {chosen}."
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
            f"--as-of {as_of} is not an evaluation date; choose {', '.join(map(str, days))}"
        )
    return as_of


def _matches(connection: duckdb.DuckDBPyConnection, user_id: str, day: date) -> list[Match]:
    rows = connection.execute(
        """
        select persona, personas.label, is_match, strength, evidence
        from personas.persona_matches as persona_matches
        inner join reference.personas as personas using (persona)
        where as_of_date = $1 and user_id = $2
        order by personas.priority
        """,
        [day, user_id],
    ).fetchall()
    return [
        Match(persona, label, is_match, strength, _clauses(persona, evidence))
        for persona, label, is_match, strength, evidence in rows
    ]


def _clauses(persona: str, evidence: list[dict[str, Any]]) -> list[Clause]:
    """The stored evidence, in the words of the stored reason."""
    clauses = []
    for item in evidence:
        terms = {name: item[name] for name in ("metric", "window_days", "operator", "threshold")}
        rule = Rule(persona=persona, alternative=0, clause=item["clause"], **terms)
        words = clause_words(rule, item["value"], _metrics_of([rule]))
        clauses.append(Clause(words=words, value=item["value"], is_met=item["is_met"], **terms))
    return clauses


def _metrics_of(rules: list[Rule]) -> dict[str, Metric]:
    """All metrics; raises `InputError` if a clause in the database is from another version."""
    known = metrics()
    for rule in rules:
        if rule.metric not in known or rule.operator not in OPERATORS:
            raise InputError(
                f"The database was built with the clause {rule}, which this version cannot read."
                " Run `personas build` first."
            )
    return known


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
