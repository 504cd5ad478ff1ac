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

persona_kernel as (
    select * from {{ ref('persona_kernel') }}
    where as_of_date in (select as_of_date from dates_to_build)
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

-- of the viewers of each persona and week of its spell, which share is where after no step
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
    -- who is gone stays gone, and a persona of which no step has been seen keeps its viewers
    shares_{{ step }} as (
        select
            shares.as_of_date,
            shares.from_persona,
            shares.from_weeks,
            coalesce(persona_kernel.to_persona, shares.persona) as persona,
            case
                when persona_kernel.to_persona <> shares.persona then 1
                when shares.weeks_in_spell = 0 then 0
                else least(shares.weeks_in_spell + 1, {{ max_weeks }})
            end as weeks_in_spell,
            {{ exact_sum(
                'shares.share * coalesce(persona_kernel.probability, 1.0)', 'decimal(28, 18)'
            ) }} as share
        from shares_{{ step - 1 }} as shares
        left join persona_kernel
            on
                shares.as_of_date = persona_kernel.as_of_date
                and shares.persona = persona_kernel.from_persona
                and shares.weeks_in_spell = persona_kernel.weeks_in_spell
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
