{%- set prior = var('forecast_prior_steps') -%}

with dates_to_build as (
    select * from {{ ref('persona_dates') }}
    where {{ needs_building() }}
),

persona_steps as (
    select * from {{ ref('persona_steps') }}
    where step_days = 7
),

counted as (
    select
        dates_to_build.as_of_date,
        persona_steps.from_persona,
        {{ forecast_weeks('persona_steps.weeks_in_spell', 'persona_steps.is_left_censored') }}
            as weeks_in_spell,
        persona_steps.to_persona,
        cast(sum(persona_steps.viewers) as bigint) as steps,
        dates_to_build.history_version as input_version
    from dates_to_build
    inner join persona_steps on dates_to_build.as_of_date >= persona_steps.as_of_date
    group by 1, 2, 3, 4, 6
),

-- of all weeks of the spells of a persona, known or not
pooled as (
    select
        as_of_date,
        from_persona,
        to_persona,
        cast(sum(steps) as bigint) as steps,
        input_version
    from counted
    group by 1, 2, 3, 5
),

pooled_rates as (
    select
        *,
        steps / cast(sum(steps) over (partition by as_of_date, from_persona) as double) as rate
    from pooled
),

weeks_of_spell as (
    select known_weeks.weeks_in_spell
    from (
        values
        {% for week in range(var('forecast_max_weeks') + 1) -%}
            ({{ week }}){{ ',' if not loop.last }}
        {% endfor -%}
    ) as known_weeks (weeks_in_spell)
),

-- weeks that are not known tell nothing more than the persona does
totals as (
    select
        as_of_date,
        from_persona,
        weeks_in_spell,
        cast(sum(steps) as bigint) as steps
    from counted
    where weeks_in_spell > 0
    group by 1, 2, 3
)

select
    pooled_rates.as_of_date,
    pooled_rates.from_persona,
    weeks_of_spell.weeks_in_spell,
    pooled_rates.to_persona,
    case when totals.steps is null then 0 else coalesce(counted.steps, 0) end as steps,
    coalesce(totals.steps, 0) as from_steps,
    case
        when totals.steps is null then pooled_rates.rate
        else
            (coalesce(counted.steps, 0) + {{ prior }} * pooled_rates.rate)
            / (totals.steps + {{ prior }})
    end as probability,
    pooled_rates.input_version
from pooled_rates
cross join weeks_of_spell
left join counted
    on
        pooled_rates.as_of_date = counted.as_of_date
        and pooled_rates.from_persona = counted.from_persona
        and pooled_rates.to_persona = counted.to_persona
        and weeks_of_spell.weeks_in_spell = counted.weeks_in_spell
left join totals
    on
        pooled_rates.as_of_date = totals.as_of_date
        and pooled_rates.from_persona = totals.from_persona
        and weeks_of_spell.weeks_in_spell = totals.weeks_in_spell
