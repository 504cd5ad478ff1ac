"""How soon a planted change of behaviour is detected.

A change is a row of the truth that begins after the truth does: the viewer behaved differently
before, or had not joined yet. No rule can see it at once: 28 days of absence take 28 days, and a
share over 28 days describes only the new behaviour after 28 days of it. `days_to_wait` derives from
the rules how long the definition of each persona has to wait. The change is **due** on that date,
and **found** on the first evaluation date on which the viewer has the persona. Evaluation dates are
weekly, so one that is found at the first opportunity is found up to six days after it was due.

A rule may hold while the viewer has another persona with precedence: a new weekender comes less
often than before, and is a fader first. So the date on which the rule holds is recorded separately
from the one on which the viewer has the persona.

Only changes with the full `GRACE_DAYS` after their due date count, both in the truth and in the
evaluation dates: counting late ones only if they were found would bias the result. One that was due
more than `GRACE_DAYS` before the first evaluation date could not be found.
"""

import math
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from statistics import median_low
from typing import Any

import duckdb
from rich import box
from rich.table import Table

from viewer_personas.demo.recovery import Planted, read_truth
from viewer_personas.errors import InputError
from viewer_personas.rules.catalogue import (
    CASUAL,
    Alternatives,
    Metric,
    Rule,
    by_alternative,
    metrics,
    rules_in,
)

GRACE_DAYS = 7
ALL = "all"

# Metrics about the time before the change: a clause on them holds from its first day.
ABOUT_BEFORE = ("previous_active_days", "sleepy_days", "days_known")
# A ghost region lasts from visit to visit: it reaches its length only on a visit.
ON_A_VISIT = ("ghost_days",)
# Units of what can happen several times on one day.
COUNTED = ("interactions", "minutes", "titles", "episodes", "series", "visits")


@dataclass(frozen=True)
class Wait:
    """Days from the first day of a behaviour to the one on which a rule can see it, and why."""

    days: int
    reason: str
    on_a_visit: bool = False
    """Counted from the viewer's first visit, and over only on a later visit."""


@dataclass(frozen=True)
class Change:
    """A planted change, the date on which it was due, and the one on which it was found."""

    user_id: str
    behaviour: str
    before: str | None
    starts_on: date
    wait: Wait
    due_on: date | None
    """The first date on which the rule can see it; None if no visit lets it."""
    found_on: date | None
    """The first evaluation date with the persona."""
    matched_on: date | None
    """The first on which its rule holds; for casual, which has none, equal to found_on."""
    is_counted: bool
    """Whether truth and evaluation dates reach `GRACE_DAYS` beyond the due date (see above)."""

    @property
    def is_found_in_time(self) -> bool:
        """Found at most `GRACE_DAYS` after the due date."""
        return self._is_in_time(self.found_on)

    @property
    def is_matched_in_time(self) -> bool:
        """The rule holds at most `GRACE_DAYS` after the due date."""
        return self._is_in_time(self.matched_on)

    def _is_in_time(self, day: date | None) -> bool:
        return bool(day and self.due_on and day <= self.due_on + timedelta(days=GRACE_DAYS))


@dataclass(frozen=True)
class Detected:
    """The changes to one persona, or to all; only counted ones, except in `changes`."""

    persona: str
    waits: list[Wait]
    """The different waits, shortest first: one, except for casual."""
    changes: int
    counted: int
    in_time: int
    matched_in_time: int
    median_days_after_change: int | None
    """The median days from change to detection; None if fewer than half were found."""
    median_days_after_due: int | None
    """The same from the due date; negative if they were found before it."""

    @property
    def share(self) -> float | None:
        """The share of the counted changes that was found in time; None if none was counted."""
        return self.in_time / self.counted if self.counted else None


@dataclass(frozen=True)
class Detection:
    """All changes, summarized by persona in order of name, and over all."""

    changes: list[Change]
    personas: list[Detected]
    overall: Detected

    @classmethod
    def of(cls, changes: list[Change]) -> "Detection":
        """The sums of changes, of one demo or of several."""
        return cls(
            changes=changes,
            personas=[
                _detected(name, [change for change in changes if change.behaviour == name])
                for name in sorted({change.behaviour for change in changes})
            ],
            overall=_detected(ALL, changes),
        )


def clause_wait(clause: Rule, metrics: dict[str, Metric]) -> Wait:
    """How long a clause has to wait after a change until it describes the new behaviour."""
    metric = metrics[clause.metric]
    asks_for_more = clause.operator in (">=", ">")
    if metric.name in ABOUT_BEFORE:
        return Wait(0, f"{metric.words}: tells of the time before the change")
    if metric.name == "days_since_last_active" and not asks_for_more:
        return Wait(0, f"{metric.words}: seen with the first visit")
    if asks_for_more and metric.unit == "days":
        days = math.ceil(clause.threshold) if clause.operator == ">=" else clause.threshold + 1
        reason = f"{metric.words}: reaches {days:.0f} on day {days:.0f}"
        if metric.name in ON_A_VISIT:
            reason += " after the first visit, if there is a visit, else on the next one"
        return Wait(max(int(days) - 1, 0), reason, metric.name in ON_A_VISIT)
    if asks_for_more and metric.unit in COUNTED:
        return Wait(0, f"{metric.words}: can be reached on the first day")
    return Wait(
        clause.window_days - 1,
        f"{metric.words}: its {clause.window_days} days must lie in the new behaviour",
    )


def days_to_wait(rules: Alternatives, metrics: dict[str, Metric]) -> dict[str, Wait]:
    """For each persona with a rule, the wait of its fastest alternative (for all clauses).

    Of equal waits the first is named.
    """
    waits = {}
    for persona, alternatives in rules.items():
        slowest = [
            max((clause_wait(clause, metrics) for clause in clauses), key=lambda wait: wait.days)
            for clauses in alternatives
        ]
        waits[persona] = min(slowest, key=lambda wait: wait.days)
    return waits


def casual_wait(before: str | None, rules: Alternatives) -> Wait:
    """Casual has no rule: it is due when no rule can hold because of the earlier behaviour.

    For a new viewer, that is the persona newcomer, in the same words.
    """
    alternatives = rules.get(before or "newcomer", [])
    longest = max((c.window_days for clauses in alternatives for c in clauses), default=28)
    return Wait(
        longest - 1, f"no rule of its own: the {longest} days of what was before must be over"
    )


def detection(connection: duckdb.DuckDBPyConnection, truth: Path) -> Detection:
    """Compare the changes in the truth with `personas.user_personas` on all evaluation dates.

    Raises `InputError` if the truth cannot be read or the personas are not built yet.
    """
    rules = by_alternative(rules_in(connection))
    waits = days_to_wait(rules, metrics())
    placed = _dates(connection, "personas.user_personas where true")
    matched = _dates(connection, "personas.persona_matches where is_match")
    visits: dict[str, list[date]] = defaultdict(list)
    for user_id, day in _rows(
        connection, "select user_id, activity_date from metrics.user_days order by activity_date"
    ):
        visits[user_id].append(day)
    dates = [row[0] for row in _rows(connection, "select as_of_date from metrics.as_of_dates")]
    first_date, last_date = min(dates, default=date.max), max(dates, default=date.min)

    changes = []
    for row, before in _changes(read_truth(truth)):
        if row.behaviour == CASUAL:
            wait = casual_wait(before, rules)
        elif row.behaviour in waits:
            wait = waits[row.behaviour]
        else:
            continue  # planted, but not a persona: recovery reports it
        due_on = _due_on(row, wait, visits[row.user_id])
        counted_until = due_on + timedelta(days=GRACE_DAYS) if due_on else date.max
        found_on = _first(placed, row)
        changes.append(
            Change(
                user_id=row.user_id,
                behaviour=row.behaviour,
                before=before,
                starts_on=row.starts_on,
                wait=wait,
                due_on=due_on,
                found_on=found_on,
                matched_on=found_on if row.behaviour == CASUAL else _first(matched, row),
                is_counted=first_date <= counted_until <= min(row.ends_on, last_date),
            )
        )
    return Detection.of(changes)


def render(result: Detection) -> Table:
    """The changes by persona as a table."""
    table = Table(
        title=f"Planted changes found within {GRACE_DAYS} days of the first date that allows it",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("persona", no_wrap=True)
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
    for row in result.personas:
        table.add_row(*cells(row))
    table.add_section()
    table.add_row(*cells(result.overall))
    return table


HEADINGS = (
    "changes", "counted", "days to wait", "median found after", "in time", "share", "rule holds",
)  # fmt: skip


def cells(row: Detected) -> list[str]:
    """A row of the table as text: the persona, then the columns of `HEADINGS`."""
    days = sorted({wait.days for wait in row.waits})
    wait = "" if row.persona == ALL else " or ".join(map(str, days))
    after = "–" if row.median_days_after_change is None else str(row.median_days_after_change)
    shares = [
        f"{found / row.counted:.0%}" if row.counted else "–"
        for found in (row.in_time, row.matched_in_time)
    ]
    return [row.persona, str(row.changes), str(row.counted), wait, after, str(row.in_time), *shares]


def to_dict(result: Detection) -> dict[str, Any]:
    """The sums for JSON; undefined figures are null."""

    def entry(row: Detected) -> dict[str, Any]:
        return {
            "persona": row.persona,
            "changes": row.changes,
            "counted": row.counted,
            "waits": [{"days": wait.days, "reason": wait.reason} for wait in row.waits],
            "found_in_time": row.in_time,
            "share_in_time": row.share,
            "rule_holds_in_time": row.matched_in_time,
            "median_days_after_change": row.median_days_after_change,
            "median_days_after_due": row.median_days_after_due,
        }

    return {
        "grace_days": GRACE_DAYS,
        "personas": [entry(row) for row in result.personas],
        "overall": entry(result.overall),
    }


def _detected(persona: str, changes: list[Change]) -> Detected:
    counted = [change for change in changes if change.is_counted]
    return Detected(
        persona=persona,
        waits=sorted({change.wait for change in changes}, key=lambda w: (w.days, w.reason)),
        changes=len(changes),
        counted=len(counted),
        in_time=sum(change.is_found_in_time for change in counted),
        matched_in_time=sum(change.is_matched_in_time for change in counted),
        median_days_after_change=_median([(c.found_on, c.starts_on) for c in counted]),
        median_days_after_due=_median([(c.found_on, c.due_on) for c in counted if c.due_on]),
    )


def _due_on(row: Planted, wait: Wait, visits: list[date]) -> date | None:
    """The first day of the behaviour and the wait; for a wait `on_a_visit` by the visits."""
    if not wait.on_a_visit:
        return row.starts_on + timedelta(days=wait.days)
    within = [day for day in visits if row.starts_on <= day <= row.ends_on]
    earliest = within[0] + timedelta(days=wait.days) if within else None
    return next((day for day in within if earliest and day >= earliest), None)


def _dates(connection: duckdb.DuckDBPyConnection, source: str) -> dict[tuple[str, str], list[date]]:
    """Viewer and persona → the evaluation dates, in order."""
    dates: dict[tuple[str, str], list[date]] = defaultdict(list)
    query = f"select user_id, persona, as_of_date from {source} order by as_of_date"
    for user_id, persona, day in _rows(connection, query):
        dates[user_id, persona].append(day)
    return dates


def _first(dates: dict[tuple[str, str], list[date]], row: Planted) -> date | None:
    """The first of the dates of the viewer and behaviour within a row of the truth."""
    found = dates.get((row.user_id, row.behaviour), [])
    position = bisect_left(found, row.starts_on)
    is_within = position < len(found) and found[position] <= row.ends_on
    return found[position] if is_within else None


def _median(pairs: list[tuple[date | None, date]]) -> int | None:
    """The median of the days between; those never found count as latest."""
    if not pairs:
        return None
    days = [math.inf if found is None else (found - start).days for found, start in pairs]
    middle = median_low(days)
    return None if math.isinf(middle) else int(middle)


def _changes(planted: list[Planted]) -> list[tuple[Planted, str | None]]:
    """The rows that begin after the truth does, each with the behaviour before it, if any."""
    first_date = min((row.starts_on for row in planted), default=date.min)
    lives: dict[str, list[Planted]] = defaultdict(list)
    for row in sorted(planted, key=lambda one: (one.user_id, one.starts_on)):
        lives[row.user_id].append(row)
    return [
        (row, life[number - 1].behaviour if number else None)
        for life in lives.values()
        for number, row in enumerate(life)
        if row.starts_on > first_date
    ]


def _rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[tuple[Any, ...]]:
    try:
        return connection.execute(query).fetchall()
    except duckdb.CatalogException as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"the personas are not built yet: run `personas run` first. ({reason})"
        ) from error
