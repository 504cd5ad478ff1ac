with dates_to_build as (
    select * from {{ ref('persona_dates') }}
    where {{ needs_building() }}
),

persona_outlooks as (
    select * from {{ ref('persona_outlooks') }}
    where as_of_date in (select as_of_date from dates_to_build)
),

expected as (
    select
        as_of_date,
        to_persona as persona,
        {{ exact_sum('viewers * probability', 'decimal(38, 12)') }} as expected_viewers,
        {{ exact_sum('viewers * probability * (1.0 - probability)', 'decimal(38, 12)') }}
            as variance
    from persona_outlooks
    group by 1, 2
),

states as (
    select
        as_of_date,
        from_persona,
        from_weeks,
        max(viewers) as viewers
    from persona_outlooks
    group by 1, 2, 3
),

viewers as (
    select
        as_of_date,
        from_persona as persona,
        cast(sum(viewers) as bigint) as viewers
    from states
    group by 1, 2
),

-- one row for each persona, even if nobody has it, so that the forecasts add up
personas as (
    select
        dates_with_viewers.as_of_date,
        personas.persona
    from (
        select as_of_date
        from states
        group by 1
    ) as dates_with_viewers
    cross join (
        select persona
        from {{ ref('personas') }}
        union all
        select 'gone' as persona
    ) as personas
),

outcomes as (
    select
        as_of_date as known_on,
        to_persona,
        {{ exact_sum('viewers * probability', 'decimal(38, 12)') }} - sum(actual_viewers)
            as forecast_error,
        {{ exact_sum('viewers * probability * (1.0 - probability)', 'decimal(38, 12)') }}
            as variance
    from {{ ref('persona_outcomes') }}
    group by 1, 2
),

-- viewers do not move independently: how much larger the errors were so far
errors_so_far as (
    select
        dates_to_build.as_of_date,
        {{ exact_sum('power(outcomes.forecast_error, 2)', 'decimal(38, 12)') }} as square_errors,
        {{ exact_sum('outcomes.variance', 'decimal(38, 12)') }} as variance
    from dates_to_build
    inner join outcomes on dates_to_build.as_of_date >= outcomes.known_on
    group by 1
),

dispersions as (
    select
        as_of_date,
        greatest(1.0, square_errors / variance) as dispersion
    from errors_so_far
    where variance > 0
),

forecasts as (
    select
        personas.as_of_date,
        personas.persona,
        coalesce(viewers.viewers, 0) as viewers_now,
        coalesce(expected.expected_viewers, 0.0) as expected_viewers,
        {{ interval_quantile() }}
        * sqrt(dispersions.dispersion * coalesce(expected.variance, 0.0)) as error_limit,
        dispersions.dispersion
    from personas
    left join viewers
        on personas.as_of_date = viewers.as_of_date and personas.persona = viewers.persona
    left join expected
        on personas.as_of_date = expected.as_of_date and personas.persona = expected.persona
    left join dispersions on personas.as_of_date = dispersions.as_of_date
)

select
    forecasts.as_of_date,
    {{ plus_days('forecasts.as_of_date', 28) }} as target_date,
    forecasts.persona,
    forecasts.viewers_now,
    forecasts.expected_viewers,
    -- greatest() ignores nulls
    case
        when forecasts.error_limit is not null
            then greatest(0.0, forecasts.expected_viewers - forecasts.error_limit)
    end as lower_viewers,
    forecasts.expected_viewers + forecasts.error_limit as upper_viewers,
    forecasts.dispersion,
    dates_to_build.history_version as input_version
from forecasts
inner join dates_to_build on forecasts.as_of_date = dates_to_build.as_of_date
