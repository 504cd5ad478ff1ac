with dates_to_build as (
    select * from {{ ref('persona_dates') }}
    where {{ needs_building() }}
),

persona_choices as (
    select * from {{ ref('persona_choices') }}
    where as_of_date in (select as_of_date from dates_to_build)
),

churn_risk as (
    select * from {{ ref('churn_risk') }}
    where as_of_date in (select as_of_date from dates_to_build)
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
    churn_risk.risk as churn_risk,
    churn_risk.level as churn_risk_level,
    dates_to_build.explanation_version as input_version
from persona_choices
inner join dates_to_build on persona_choices.as_of_date = dates_to_build.as_of_date
inner join personas on persona_choices.persona = personas.persona
inner join churn_risk
    on
        persona_choices.as_of_date = churn_risk.as_of_date
        and persona_choices.user_id = churn_risk.user_id
