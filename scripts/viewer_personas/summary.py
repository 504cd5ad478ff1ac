"""Contents of the database for the summary of a run: events, viewers, personas, drift and
suspicious data."""

from dataclasses import dataclass
from datetime import date

import duckdb


@dataclass(frozen=True)
class PersonaShare:
    """How many viewers have a persona on the latest date, and their share of all, 0 to 1."""

    persona: str
    label: str
    viewers: int
    share: float


@dataclass(frozen=True)
class QualityCheck:
    """What a check of metrics.data_quality found in the last four weeks; share is 0 to 1."""

    quality_check: str
    affected: int
    total: int
    share: float
    example: str | None


@dataclass(frozen=True)
class PersonaDrift:
    """How far the shares of the personas moved since the baseline, if beyond chance."""

    baseline_date: date
    population_stability_index: float
    chance_limit: float


@dataclass(frozen=True)
class Contents:
    """What is in the database after a run; dates are null if nothing was built yet."""

    events: int
    first_day: date | None
    last_day: date | None
    viewers: int
    as_of_date: date | None
    as_of_dates: int
    personas: list[PersonaShare]
    suspicious: list[QualityCheck]
    drift: PersonaDrift | None
    """Null if the shares moved no further than chance explains."""


def database_contents(connection: duckdb.DuckDBPyConnection) -> Contents:
    """Read the figures of a run's summary. Needs a built database."""
    events, first_day, last_day = connection.execute(
        "select cast(coalesce(sum(row_count), 0) as bigint), min(source_date), max(source_date)"
        " from raw.slices where version is not null"
    ).fetchall()[0]
    as_of_dates, latest = connection.execute(
        "select count(*), max(as_of_date) from metrics.as_of_dates"
    ).fetchall()[0]
    shares = connection.execute(
        """
        select personas.persona, personas.label, count(user_personas.user_id) as viewers
        from reference.personas as personas
        left join personas.user_personas as user_personas
            on personas.persona = user_personas.persona and user_personas.as_of_date = $1
        group by all
        order by viewers desc, personas.persona
        """,
        [latest],
    ).fetchall()
    viewers = sum(row[2] for row in shares)
    suspicious = connection.execute(
        """
        select
            quality_check,
            cast(sum(affected) as bigint),
            cast(sum(total) as bigint),
            sum(affected) / sum(total),
            max(example)
        from metrics.data_quality
        where source_date > (select max(source_date) - 28 from metrics.source_dates)
        group by quality_check
        having sum(affected) > 0
        order by quality_check
        """
    ).fetchall()
    drift = connection.execute(
        "select baseline_date, population_stability_index, chance_limit from personas.drift"
        " where as_of_date = $1 and subject = 'persona' and is_beyond_chance",
        [latest],
    ).fetchall()
    return Contents(
        events=events,
        first_day=first_day,
        last_day=last_day,
        viewers=viewers,
        as_of_date=latest,
        as_of_dates=as_of_dates,
        personas=[
            PersonaShare(persona, label, count, count / viewers if viewers else 0.0)
            for persona, label, count in shares
        ],
        suspicious=[QualityCheck(*row) for row in suspicious],
        drift=PersonaDrift(*drift[0]) if drift else None,
    )
