with as_of_dates as (
    select * from {{ ref('as_of_dates') }}
),

persona_dates as (
    select * from {{ ref('persona_dates') }}
),

latest as (
    select max(as_of_date) as latest_date
    from as_of_dates
    where is_latest
),

-- the evaluation dates whose horizon is over; the latest date is never one, so that only weekly
-- dates are ever counted
listed as (
    select
        as_of_dates.as_of_date,
        {{ plus_days('as_of_dates.as_of_date', var('churn_horizon_days')) }} as outcome_date,
        as_of_dates.input_version as audience_version,
        persona_dates.history_version as persona_version
    from as_of_dates
    inner join persona_dates on as_of_dates.as_of_date = persona_dates.as_of_date
    inner join latest
        on
            {{ plus_days('as_of_dates.as_of_date', var('churn_horizon_days')) }}
            <= latest.latest_date
),

activity_in_horizon as (
    select
        listed.as_of_date,
        md5({{ joined_text(
            "concat_ws('|', activity_dates.activity_date, activity_dates.input_version)"
        ) }}) as activity_version
    from listed
    inner join {{ ref('activity_dates') }} as activity_dates
        on
            listed.as_of_date < activity_dates.activity_date
            and listed.outcome_date >= activity_dates.activity_date
    group by listed.as_of_date
),

cancellations_in_horizon as (
    select
        listed.as_of_date,
        md5({{ joined_text("concat_ws('|', users.cancelled_on, users.user_id)") }})
            as cancellation_version
    from listed
    inner join {{ ref('stg_users') }} as users
        on
            listed.as_of_date < users.cancelled_on
            and listed.outcome_date >= users.cancelled_on
    where users.signed_up_on is not null
    group by listed.as_of_date
),

with_input_version as (
    select
        listed.as_of_date,
        listed.outcome_date,
        listed.persona_version,
        md5(
            concat_ws(
                '|',
                listed.audience_version,
                activity_in_horizon.activity_version,
                coalesce(cancellations_in_horizon.cancellation_version, '-'),
                '{{ definition_version("outcome_dates") }}'
            )
        ) as input_version
    from listed
    inner join activity_in_horizon on listed.as_of_date = activity_in_horizon.as_of_date
    left join cancellations_in_horizon on listed.as_of_date = cancellations_in_horizon.as_of_date
)

select
    as_of_date,
    outcome_date,
    input_version,
    md5(
        concat_ws(
            '|', input_version, persona_version,
            '{{ definition_version("outcome_dates", "history_version") }}'
        )
    ) as history_version
from with_input_version
