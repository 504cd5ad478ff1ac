with dates_to_build as (
    select * from {{ ref('persona_dates') }}
    where {{ needs_building() }}
),

forecasts as (
    select
        dates_to_build.as_of_date,
        persona_forecast.as_of_date as forecast_date,
        persona_forecast.persona,
        persona_forecast.viewers_now,
        persona_forecast.expected_viewers,
        persona_forecast.lower_viewers,
        persona_forecast.upper_viewers
    from dates_to_build
    inner join {{ ref('persona_forecast') }} as persona_forecast
        on dates_to_build.as_of_date = persona_forecast.target_date
),

forecast_dates as (
    select
        as_of_date,
        max(forecast_date) as forecast_date
    from forecasts
    group by 1
),

persona_choices as (
    select * from {{ ref('persona_choices') }}
),

-- where the viewers of the forecast are; whoever has come since is none of them
actual as (
    select
        forecast_dates.as_of_date,
        forecast_dates.forecast_date,
        coalesce(choices_after.persona, 'gone') as persona,
        count(*) as actual_viewers
    from forecast_dates
    inner join persona_choices as choices_before
        on forecast_dates.forecast_date = choices_before.as_of_date
    left join persona_choices as choices_after
        on
            forecast_dates.as_of_date = choices_after.as_of_date
            and choices_before.user_id = choices_after.user_id
    group by 1, 2, 3
),

compared as (
    select
        coalesce(forecasts.as_of_date, actual.as_of_date) as as_of_date,
        coalesce(forecasts.forecast_date, actual.forecast_date) as forecast_date,
        coalesce(forecasts.persona, actual.persona) as persona,
        coalesce(forecasts.viewers_now, 0) as naive_viewers,
        coalesce(forecasts.expected_viewers, 0.0) as expected_viewers,
        coalesce(forecasts.lower_viewers, 0.0) as lower_viewers,
        coalesce(forecasts.upper_viewers, 0.0) as upper_viewers,
        coalesce(actual.actual_viewers, 0) as actual_viewers
    from forecasts
    full outer join actual
        on forecasts.as_of_date = actual.as_of_date and forecasts.persona = actual.persona
)

select
    compared.as_of_date,
    compared.forecast_date,
    compared.persona,
    compared.naive_viewers,
    compared.expected_viewers,
    compared.lower_viewers,
    compared.upper_viewers,
    compared.actual_viewers,
    compared.expected_viewers - compared.actual_viewers as forecast_error,
    compared.naive_viewers - compared.actual_viewers as naive_error,
    compared.actual_viewers between compared.lower_viewers and compared.upper_viewers
        as is_within_limits,
    dates_to_build.history_version as input_version
from compared
inner join dates_to_build on compared.as_of_date = dates_to_build.as_of_date
