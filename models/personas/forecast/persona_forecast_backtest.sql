with persona_dates as (
    select * from {{ ref('persona_dates') }}
),

persona_forecast as (
    select * from {{ ref('persona_forecast') }}
),

persona_outcomes as (
    select * from {{ ref('persona_outcomes') }}
),

actual as (
    select
        as_of_date,
        to_persona as persona,
        cast(sum(actual_viewers) as bigint) as actual_viewers
    from persona_outcomes
    group by 1, 2
),

-- a viewer's score is the sum over the personas of (probability - whether they have it) squared
scores as (
    select
        as_of_date,
        from_persona as persona,
        1.0 + {{ exact_sum(
            'probability * (viewers * probability - 2 * actual_viewers)', 'decimal(38, 12)'
        ) }} / sum(actual_viewers) as brier_score,
        2.0e0 * sum(case when to_persona <> from_persona then actual_viewers else 0 end)
        / sum(actual_viewers) as naive_brier_score
    from persona_outcomes
    group by 1, 2
)

select
    persona_dates.as_of_date,
    persona_forecast.as_of_date as forecast_date,
    persona_forecast.persona,
    persona_forecast.viewers_now as naive_viewers,
    persona_forecast.expected_viewers,
    persona_forecast.lower_viewers,
    persona_forecast.upper_viewers,
    coalesce(actual.actual_viewers, 0) as actual_viewers,
    persona_forecast.expected_viewers - coalesce(actual.actual_viewers, 0) as forecast_error,
    persona_forecast.viewers_now - coalesce(actual.actual_viewers, 0) as naive_error,
    coalesce(actual.actual_viewers, 0)
    between persona_forecast.lower_viewers and persona_forecast.upper_viewers as is_within_limits,
    scores.brier_score,
    scores.naive_brier_score,
    persona_dates.history_version as input_version
from persona_dates
inner join persona_forecast on persona_dates.as_of_date = persona_forecast.target_date
left join actual
    on
        persona_dates.as_of_date = actual.as_of_date
        and persona_forecast.persona = actual.persona
left join scores
    on
        persona_dates.as_of_date = scores.as_of_date
        and persona_forecast.persona = scores.persona
