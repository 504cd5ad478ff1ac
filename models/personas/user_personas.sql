with persona_dates as (
    select * from {{ ref('persona_dates') }}
    where {{ needs_building() }}
),

persona_choices as (
    select * from {{ ref('persona_choices') }}
    where as_of_date in (select as_of_date from persona_dates)
),

personas as (
    select * from {{ ref('personas') }}
)

select
    persona_choices.as_of_date,
    persona_choices.user_id,
    persona_choices.persona,
    persona_choices.match_count,
    persona_choices.all_matches,
    persona_choices.strength,
    persona_choices.previous_persona,
    persona_choices.persona_since,
    personas.label || ': ' || coalesce(persona_choices.reason, personas.definition) as explanation,
    cast(null as double) as churn_risk,
    personas.expected_risk as churn_risk_level,
    persona_choices.input_version
from persona_choices
inner join personas on persona_choices.persona = personas.persona
