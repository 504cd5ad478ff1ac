with persona_dates as (
    select * from {{ ref('persona_dates') }}
),

-- the outcomes that are known on a date are an input of its risks
known_outcomes as (
    select
        persona_dates.as_of_date,
        md5({{ joined_text(
            "concat_ws('|', outcome_dates.outcome_date, outcome_dates.history_version)"
        ) }}) as outcome_version
    from persona_dates
    inner join {{ ref('outcome_dates') }} as outcome_dates
        on persona_dates.as_of_date >= outcome_dates.outcome_date
    group by persona_dates.as_of_date
)

select
    persona_dates.as_of_date,
    persona_dates.is_latest,
    md5(
        concat_ws(
            '|',
            persona_dates.history_version,
            coalesce(known_outcomes.outcome_version, '-'),
            '{{ definition_version("risk_dates") }}'
        )
    ) as input_version
from persona_dates
left join known_outcomes on persona_dates.as_of_date = known_outcomes.as_of_date
