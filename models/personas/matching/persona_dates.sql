with as_of_dates as (
    select * from {{ ref('as_of_dates') }}
),

personas as (
    {{ seed_version('personas', [
        'persona', 'label', 'priority', 'definition', 'expected_risk', 'strategy',
        'content_policy', 'send_policy', 'avoid'
    ]) }}
),

rules as (
    {{ seed_version('persona_rules', [
        'persona', 'alternative', 'clause', 'window_days', 'metric', 'operator', 'threshold'
    ]) }}
),

persona_dates as (
    select
        as_of_dates.as_of_date,
        as_of_dates.is_latest,
        lag(as_of_dates.as_of_date) over (order by as_of_dates.as_of_date asc nulls last)
            as previous_as_of_date,
        md5(
            concat_ws(
                '|', as_of_dates.input_version, personas.seed_version, rules.seed_version,
                '{{ definition_version("persona_dates") }}'
            )
        ) as input_version
    from as_of_dates
    cross join personas
    cross join rules
)

select
    persona_dates.as_of_date,
    persona_dates.is_latest,
    persona_dates.previous_as_of_date,
    persona_dates.input_version,
    -- who a viewer was before is part of the result, so every earlier date is an input
    md5(
        concat_ws(
            '|',
            {{ joined_text("concat_ws('|', earlier.as_of_date, earlier.input_version)") }},
            '{{ definition_version("persona_dates", "history_version") }}'
        )
    ) as history_version
from persona_dates
inner join persona_dates as earlier on persona_dates.as_of_date >= earlier.as_of_date
group by
    persona_dates.as_of_date,
    persona_dates.is_latest,
    persona_dates.previous_as_of_date,
    persona_dates.input_version
