{%- set prior = var('forecast_prior_steps') -%}
{%- set max_weeks = var('forecast_max_weeks') -%}

with persona_dates as (
    select * from {{ ref('persona_dates') }}
),

bounds as (
    select min(as_of_date) as first_date
    from persona_dates
),

dates_to_build as (
    select * from persona_dates
    where {{ needs_building() }}
),

persona_choices as (
    select * from {{ ref('persona_choices') }}
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
        cast(sum(persona_steps.viewers) as bigint) as steps
    from dates_to_build
    inner join persona_steps on dates_to_build.as_of_date >= persona_steps.as_of_date
    group by 1, 2, 3, 4
),

-- over all weeks of the spells of a persona, known or not
pooled as (
    select
        as_of_date,
        from_persona,
        to_persona,
        cast(sum(steps) as bigint) as steps
    from counted
    group by 1, 2, 3
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
        {% for week in range(max_weeks + 1) -%}
            ({{ week }}){{ ',' if not loop.last }}
        {% endfor -%}
    ) as known_weeks (weeks_in_spell)
),

-- an unknown week says no more than the persona
totals as (
    select
        as_of_date,
        from_persona,
        weeks_in_spell,
        cast(sum(steps) as bigint) as steps
    from counted
    where weeks_in_spell > 0
    group by 1, 2, 3
),

-- The semi-Markov kernel in weeks: where a viewer goes within a week depends only on the persona
-- and the week of its spell. Each week of the spell gets forecast_prior_steps extra steps with the
-- rates of the whole persona.
kernel as (
    select
        pooled_rates.as_of_date,
        pooled_rates.from_persona,
        weeks_of_spell.weeks_in_spell,
        pooled_rates.to_persona,
        case
            when totals.steps is null then pooled_rates.rate
            else
                (coalesce(counted.steps, 0) + {{ prior }} * pooled_rates.rate)
                / (totals.steps + {{ prior }})
        end as probability
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
),

viewers as (
    select
        dates_to_build.as_of_date,
        persona_choices.persona as from_persona,
        {{ forecast_weeks(
            week_of_spell('persona_choices.persona_since', 'persona_choices.as_of_date'),
            'persona_choices.persona_since = bounds.first_date'
        ) }} as from_weeks,
        count(*) as viewers,
        dates_to_build.history_version as input_version
    from dates_to_build
    inner join persona_choices on dates_to_build.as_of_date = persona_choices.as_of_date
    cross join bounds
    group by 1, 2, 3, 5
),

-- the shares of the viewers of each persona and week of its spell after no step
shares_0 as (
    select
        as_of_date,
        from_persona,
        from_weeks,
        from_persona as persona,
        from_weeks as weeks_in_spell,
        cast(1.0 as double) as share
    from viewers
),

{% for step in range(1, 5) -%}
    -- viewers who are gone stay gone, and a persona without observed steps keeps its viewers
    shares_{{ step }} as (
        select
            shares.as_of_date,
            shares.from_persona,
            shares.from_weeks,
            coalesce(kernel.to_persona, shares.persona) as persona,
            case
                when kernel.to_persona <> shares.persona then 1
                when shares.weeks_in_spell = 0 then 0
                else least(shares.weeks_in_spell + 1, {{ max_weeks }})
            end as weeks_in_spell,
            {{ exact_sum(
                'shares.share * coalesce(kernel.probability, 1.0)', 'decimal(28, 18)'
            ) }} as share
        from shares_{{ step - 1 }} as shares
        left join kernel
            on
                shares.as_of_date = kernel.as_of_date
                and shares.persona = kernel.from_persona
                and shares.weeks_in_spell = kernel.weeks_in_spell
        group by 1, 2, 3, 4, 5
    ),

{% endfor -%}

outlooks as (
    select
        as_of_date,
        from_persona,
        from_weeks,
        persona as to_persona,
        {{ exact_sum('share', 'decimal(28, 18)') }} as probability
    from shares_4
    group by 1, 2, 3, 4
)

select
    outlooks.as_of_date,
    outlooks.from_persona,
    outlooks.from_weeks,
    outlooks.to_persona,
    viewers.viewers,
    outlooks.probability,
    viewers.input_version
from outlooks
inner join viewers
    on
        outlooks.as_of_date = viewers.as_of_date
        and outlooks.from_persona = viewers.from_persona
        and outlooks.from_weeks = viewers.from_weeks
