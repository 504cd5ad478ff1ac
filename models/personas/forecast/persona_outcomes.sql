with persona_dates as (
    select * from {{ ref('persona_dates') }}
),

bounds as (
    select min(as_of_date) as first_date
    from persona_dates
),

dates_to_build as (
    select
        as_of_date,
        {{ plus_days('as_of_date', -28) }} as forecast_date,
        history_version
    from persona_dates
    where {{ needs_building() }}
),

persona_choices as (
    select * from {{ ref('persona_choices') }}
),

outlooks as (
    select
        dates_to_build.as_of_date,
        persona_outlooks.from_persona,
        persona_outlooks.from_weeks,
        persona_outlooks.to_persona,
        persona_outlooks.probability
    from dates_to_build
    inner join {{ ref('persona_outlooks') }} as persona_outlooks
        on dates_to_build.forecast_date = persona_outlooks.as_of_date
),

-- where the viewers of the forecast are, without those who joined since
moves as (
    select
        dates_to_build.as_of_date,
        choices_before.persona as from_persona,
        {{ forecast_weeks(
            week_of_spell('choices_before.persona_since', 'choices_before.as_of_date'),
            'choices_before.persona_since = bounds.first_date'
        ) }} as from_weeks,
        coalesce(choices_after.persona, 'gone') as to_persona,
        count(*) as actual_viewers
    from dates_to_build
    cross join bounds
    inner join persona_choices as choices_before
        on dates_to_build.forecast_date = choices_before.as_of_date
    left join persona_choices as choices_after
        on
            dates_to_build.as_of_date = choices_after.as_of_date
            and choices_before.user_id = choices_after.user_id
    group by 1, 2, 3, 4
),

compared as (
    select
        coalesce(outlooks.as_of_date, moves.as_of_date) as as_of_date,
        coalesce(outlooks.from_persona, moves.from_persona) as from_persona,
        coalesce(outlooks.from_weeks, moves.from_weeks) as from_weeks,
        coalesce(outlooks.to_persona, moves.to_persona) as to_persona,
        coalesce(outlooks.probability, 0.0) as probability,
        coalesce(moves.actual_viewers, 0) as actual_viewers
    from outlooks
    full outer join moves
        on
            outlooks.as_of_date = moves.as_of_date
            and outlooks.from_persona = moves.from_persona
            and outlooks.from_weeks = moves.from_weeks
            and outlooks.to_persona = moves.to_persona
)

select
    compared.as_of_date,
    dates_to_build.forecast_date,
    compared.from_persona,
    compared.from_weeks,
    compared.to_persona,
    cast(
        sum(compared.actual_viewers) over (
            partition by compared.as_of_date, compared.from_persona, compared.from_weeks
        ) as bigint
    ) as viewers,
    compared.probability,
    compared.actual_viewers,
    dates_to_build.history_version as input_version
from compared
inner join dates_to_build on compared.as_of_date = dates_to_build.as_of_date
