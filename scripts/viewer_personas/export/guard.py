"""What stops an export: dates that lose rows, and a latest date that is not plausible."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import date, datetime

import duckdb

from viewer_personas.config import ExportGuard
from viewer_personas.errors import CheckFailed, Unreachable
from viewer_personas.export.publications import PublishedDate

EXPECTED_LEAP_DAYS = 7
"""How far the latest date may run ahead of the time since the last export without a warning: a
source that was late by a week, and has caught up."""


_SHIFTS = """
with published as (
    select persona
    from raw.published_personas
    where as_of_date = (select max(as_of_date) from raw.published_personas)
),

published_counts as (
    select persona, count(*) as published_viewers from published group by persona
),

shifts as (
    select
        persona_shifts.*,
        (select nullif(count(*), 0) from published) as published_audience
    from personas.persona_shifts
    inner join personas.persona_dates
        on persona_shifts.as_of_date = persona_dates.as_of_date
            and persona_shifts.input_version = persona_dates.history_version
    where persona_shifts.as_of_date = $1
),

changes as (
    select
        persona,
        previous_as_of_date,
        viewers,
        previous_viewers,
        share_change as change,
        abs(share - coalesce(published_viewers, 0) / published_audience) as unpublished_change,
        abs(deviations) as deviations
    from shifts
    left join published_counts using (persona)
    union all
    select distinct  -- the same in each row of the date
        null,
        previous_as_of_date,
        audience,
        previous_audience,
        1 - least(audience, previous_audience) / greatest(audience, previous_audience),
        case
            when published_audience is not null  -- least() passes over nulls
                then 1
                    - least(audience, published_audience) / greatest(audience, published_audience)
        end,
        abs(audience_deviations)
    from shifts
)

select
    persona,
    previous_as_of_date,
    viewers,
    previous_viewers,
    change,
    coalesce(unpublished_change, abs(change)),
    deviations
from changes
where deviations > $2
order by deviations desc, persona nulls first
"""
"""What changed on a date by more than so many standard deviations; without a persona, the number of
all viewers. A persona's change is that of its share, the other a share of the larger number; how
much of it is not published yet is unknown, and all of it, before the first publication."""


class Implausible(Unreachable):
    """The result looks as if a source was not whole: load, build and export again, or insist."""


@dataclass(frozen=True)
class Plan:
    """What a target holds of a table (`current`, rows by date), and what is to come.

    `emptied` are the dates that the model lists and has no rows for; a current date that is in
    neither leaves. `changed_at` is when the target last changed (UTC), if known.
    """

    name: str
    current: Mapping[date, int]
    dates: Sequence[PublishedDate]
    emptied: Set[date]
    changed_at: datetime | None

    @property
    def coming(self) -> dict[date, int]:
        """Rows of all dates that the model lists."""
        return {day: rows for day, _, rows in self.dates} | dict.fromkeys(self.emptied, 0)

    @property
    def latest(self) -> date | None:
        """The latest date that is to come."""
        return max((day for day, _, _ in self.dates), default=None)


@dataclass
class Findings:
    """What is not plausible: what only warns, and what stops the export."""

    warnings: list[str] = field(default_factory=list)
    stops: list[str] = field(default_factory=list)

    def add(self, text: str, *, stops: bool) -> None:
        """Note something that warns, or that stops the export."""
        (self.stops if stops else self.warnings).append(text)


def check_losses(target: str, plans: list[Plan], smallest_share: float) -> None:
    """No table may lose more of a date's rows, or of its dates, than the settings allow.

    A date without any row is always a loss. `target` is its key in the sources file. Raises
    `CheckFailed`.
    """
    losses = [loss for plan in plans for loss in _losses(plan, smallest_share)]
    if not losses:
        return
    more = f" and {len(losses) - 3} more" if len(losses) > 3 else ""
    raise CheckFailed(
        f"Nothing was exported, because exported dates would lose too many rows:"
        f" {'; '.join(losses[:3])}{more}. Check the loaded data: are events missing?"
        f" If the loss is intended, lower export.{target}.smallest_share ({smallest_share:g})"
        " for one run"
        + (", or drop the date there" if any(": 0 rows" in loss for loss in losses) else "")
    )


def _losses(plan: Plan, smallest_share: float) -> Iterator[str]:
    coming = plan.coming
    for day, rows in sorted(coming.items()):
        there = plan.current.get(day, 0)
        if there and (rows == 0 or rows < smallest_share * there):
            yield f"{plan.name} {day}: {rows} rows instead of {there}"
    if len(coming) < smallest_share * len(plan.current):
        yield f"{plan.name}: {len(coming)} dates instead of {len(plan.current)}"


def check_moves(
    connection: duckdb.DuckDBPyConnection,
    plans: list[Plan],
    guard: ExportGuard,
    now: datetime,
    *,
    accept: bool,
) -> list[str]:
    """The warnings about the latest date of each table, and about the audience on it.

    Raises `Implausible` if something moved further than the settings allow, unless it is accepted.
    """
    findings = Findings()
    for plan in plans:
        _compare_dates(plan, guard, now, findings)
    for day in sorted({plan.latest for plan in plans if plan.latest}):
        _compare_audiences(connection, day, guard, findings)
    if findings.stops and not accept:
        raise Implausible(
            f"Nothing was exported: {'; '.join(findings.stops)}. Check the sources: are events"
            " missing, or dated wrongly? Then load and build again. If it is right, export once"
            " with --accept-changes; export.guard in the sources file has the limits"
        )
    return [*findings.stops, *findings.warnings]


def _compare_dates(plan: Plan, guard: ExportGuard, now: datetime, findings: Findings) -> None:
    before = max(plan.current, default=None)
    if before is None or plan.latest is None:
        return
    days = (plan.latest - before).days
    if days < 0:
        findings.add(
            f"{plan.name}: the latest date goes back {-days} days, from {before} to {plan.latest}",
            stops=-days > guard.largest_setback_days,
        )
    elif plan.changed_at:
        ahead = days - max(0, (now - plan.changed_at).days)
        if ahead > EXPECTED_LEAP_DAYS:
            findings.add(
                f"{plan.name}: the latest date leaps {days} days, from {before} to {plan.latest},"
                f" {ahead} more than have passed since the last change",
                stops=ahead > guard.largest_leap_days,
            )


def _compare_audiences(
    connection: duckdb.DuckDBPyConnection, day: date, guard: ExportGuard, findings: Findings
) -> None:
    """Compare the audience of a date with the evaluation date before, by personas.persona_shifts.

    A change stops only as far as it is not published yet: one that was accepted is not stopped
    again on each day until the next weekly date. Rows that an unfinished or partial build left in
    the table say nothing.
    """
    try:
        rows = connection.execute(_SHIFTS, [day, guard.warn_deviations]).fetchall()
    except duckdb.CatalogException:
        return  # a database from before these tables
    for persona, previous, viewers, before, change, unpublished, deviations in rows:
        beyond = f"{deviations:.1f} standard deviations of chance and its own past"
        if persona is None:
            findings.add(
                f"the number of viewers changes from {before:,} on {previous} to {viewers:,} on"
                f" {day} ({beyond})",
                stops=min(change, unpublished) > guard.largest_viewer_change,
            )
        else:
            findings.add(
                f"the share of {persona} moves by {change:+.1%} of all viewers, from {before:,}"
                f" viewers on {previous} to {viewers:,} on {day} ({beyond})",
                stops=min(abs(change), unpublished) > guard.largest_shift,
            )
