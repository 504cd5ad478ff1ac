with dates_to_build as (
    select * from {{ ref('persona_dates') }}
    where {{ needs_building() }}
),

persona_steps as (
    select * from {{ ref('persona_steps') }}
),

-- the step to a latest date that is off the weekly grid is shorter: its counts are shown for the
-- date, but a rate over fewer days cannot be pooled with weekly rates
counted as (
    select
        dates_to_build.as_of_date,
        'date' as scope,
        persona_steps.step_days,
        persona_steps.from_persona,
        persona_steps.to_persona,
        cast(sum(persona_steps.viewers) as bigint) as transitions,
        dates_to_build.history_version as input_version
    from dates_to_build
    inner join persona_steps on dates_to_build.as_of_date = persona_steps.as_of_date
    group by 1, 2, 3, 4, 5, 7
    union all
    select
        dates_to_build.as_of_date,
        'pooled' as scope,
        persona_steps.step_days,
        persona_steps.from_persona,
        persona_steps.to_persona,
        cast(sum(persona_steps.viewers) as bigint) as transitions,
        dates_to_build.history_version as input_version
    from dates_to_build
    inner join persona_steps on dates_to_build.as_of_date >= persona_steps.as_of_date
    where persona_steps.step_days = 7
    group by 1, 2, 3, 4, 5, 7
),

with_total as (
    select
        *,
        cast(
            sum(transitions) over (partition by as_of_date, scope, from_persona) as bigint
        ) as from_viewers
    from counted
)

select
    as_of_date,
    scope,
    from_persona,
    to_persona,
    step_days,
    transitions,
    from_viewers,
    transitions / cast(from_viewers as double) as rate,
    {{ wilson_limit('transitions', 'from_viewers', 'lower') }} as rate_lower,
    {{ wilson_limit('transitions', 'from_viewers', 'upper') }} as rate_upper,
    input_version
from with_total
