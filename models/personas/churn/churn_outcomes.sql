with outcome_dates as (
    select
        as_of_date,
        outcome_date,
        outcome_version as input_version
    from {{ ref('persona_dates') }}
    where {{ needs_building() }}
),

viewers as (
    select
        outcome_dates.as_of_date,
        outcome_dates.outcome_date,
        outcome_dates.input_version,
        user_windows.user_id,
        coalesce(user_windows.days_since_last_active < {{ var('churn_horizon_days') }}, false)
            as is_present
    from {{ ref('user_windows') }} as user_windows
    inner join outcome_dates on user_windows.as_of_date = outcome_dates.as_of_date
    where user_windows.window_days = {{ short_window() }}
),

activity_in_horizon as (
    select
        outcome_dates.as_of_date,
        user_days.user_id,
        count(*) as active_days
    from {{ ref('user_days') }} as user_days
    inner join outcome_dates
        on
            user_days.activity_date > outcome_dates.as_of_date
            and user_days.activity_date <= outcome_dates.outcome_date
    group by outcome_dates.as_of_date, user_days.user_id
),

cancellations as (
    select
        user_id,
        cancelled_on
    from {{ ref('stg_users') }}
    where signed_up_on is not null and cancelled_on is not null
)

select
    viewers.as_of_date,
    viewers.outcome_date,
    viewers.user_id,
    viewers.is_present,
    coalesce(activity_in_horizon.active_days, 0) as active_days_in_horizon,
    cancellations.user_id is not null as is_cancelled,
    activity_in_horizon.user_id is null or cancellations.user_id is not null as is_churned,
    viewers.input_version
from viewers
left join activity_in_horizon
    on
        viewers.as_of_date = activity_in_horizon.as_of_date
        and viewers.user_id = activity_in_horizon.user_id
left join cancellations
    on
        viewers.user_id = cancellations.user_id
        and viewers.as_of_date < cancellations.cancelled_on
        and viewers.outcome_date >= cancellations.cancelled_on
