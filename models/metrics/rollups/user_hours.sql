with activity_dates as (
    select * from {{ ref('activity_dates') }}
    where {{ needs_building() }}
),

user_content_hours as (
    select * from {{ ref('user_content_hours') }}
    where activity_date in (select activity_date from activity_dates)
),

user_hours as (
    select
        activity_date,
        user_id,
        local_hour,
        count(*) as interactions,
        count(case when interaction = 'watch' then 1 end) as watch_interactions,
        {{ exact_sum('watch_seconds') }} as watch_seconds
    from user_content_hours
    group by 1, 2, 3
)

select
    user_hours.activity_date,
    user_hours.user_id,
    user_hours.local_hour,
    user_hours.interactions,
    user_hours.watch_interactions,
    user_hours.watch_seconds,
    activity_dates.input_version
from user_hours
inner join activity_dates on user_hours.activity_date = activity_dates.activity_date
