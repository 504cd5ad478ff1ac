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

persona_kernel as (
    select * from {{ ref('persona_kernel') }}
    where as_of_date in (select as_of_date from dates_to_build)
),

week_0 as (
    select
        choices.as_of_date,
        choices.persona as from_persona,
        {{ forecast_weeks('choices.weeks_in_spell', 'choices.is_left_censored') }} as from_weeks,
        count(*) as viewers
    from (
        select
            persona_choices.as_of_date,
            persona_choices.persona,
            {{ week_of_spell('persona_choices.persona_since', 'persona_choices.as_of_date') }}
                as weeks_in_spell,
            persona_choices.persona_since = bounds.first_date as is_left_censored
        from {{ ref('persona_choices') }} as persona_choices
        inner join dates_to_build on persona_choices.as_of_date = dates_to_build.as_of_date
        cross join bounds
    ) as choices
    group by 1, 2, 3
),

-- of the viewers of each persona and week of spell on the date, which share is where after 0 weeks
shares_0 as (
    select
        as_of_date,
        from_persona,
        from_weeks,
        from_persona as persona,
        from_weeks as weeks_in_spell,
        cast(1.0 as double) as share
    from week_0
),

{% for week in range(1, 5) -%}
    -- who is gone stays so, and a persona of which no step has been seen keeps its viewers
    shares_{{ week }} as (
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
        from shares_{{ week - 1 }} as shares
        left join persona_kernel
            on
                shares.as_of_date = persona_kernel.as_of_date
                and shares.persona = persona_kernel.from_persona
                and shares.weeks_in_spell = persona_kernel.weeks_in_spell
        group by 1, 2, 3, 4, 5
    ),

{% endfor -%}

outcomes as (
    select
        as_of_date,
        from_persona,
        from_weeks,
        persona,
        {{ exact_sum('share', 'decimal(28, 18)') }} as share
    from shares_4
    group by 1, 2, 3, 4
),

expected as (
    select
        outcomes.as_of_date,
        outcomes.persona,
        {{ exact_sum('week_0.viewers * outcomes.share', 'decimal(38, 12)') }} as expected_viewers,
        {{ exact_sum(
            'week_0.viewers * outcomes.share * (1.0 - outcomes.share)', 'decimal(38, 12)'
        ) }} as variance
    from outcomes
    inner join week_0
        on
            outcomes.as_of_date = week_0.as_of_date
            and outcomes.from_persona = week_0.from_persona
            and outcomes.from_weeks = week_0.from_weeks
    group by 1, 2
),

viewers as (
    select
        as_of_date,
        from_persona as persona,
        cast(sum(viewers) as bigint) as viewers_now
    from week_0
    group by 1, 2
    union all
    select distinct  -- one row for each date with viewers
        as_of_date,
        'gone' as persona,
        cast(0 as bigint) as viewers_now
    from week_0
),

with_expected as (
    select
        coalesce(viewers.as_of_date, expected.as_of_date) as as_of_date,
        coalesce(viewers.persona, expected.persona) as persona,
        coalesce(viewers.viewers_now, 0) as viewers_now,
        coalesce(expected.expected_viewers, 0.0) as expected_viewers,
        {{ interval_quantile() }} * sqrt(coalesce(expected.variance, 0.0)) as error_limit
    from viewers
    full outer join expected
        on viewers.as_of_date = expected.as_of_date and viewers.persona = expected.persona
)

select
    with_expected.as_of_date,
    {{ plus_days('with_expected.as_of_date', 28) }} as target_date,
    with_expected.persona,
    with_expected.viewers_now,
    with_expected.expected_viewers,
    greatest(with_expected.expected_viewers - with_expected.error_limit, 0.0) as lower_viewers,
    with_expected.expected_viewers + with_expected.error_limit as upper_viewers,
    dates_to_build.history_version as input_version
from with_expected
inner join dates_to_build on with_expected.as_of_date = dates_to_build.as_of_date
