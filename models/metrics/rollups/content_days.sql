with activity_dates as (
    select * from {{ ref('activity_dates') }}
    where {{ needs_building() }}
),

user_content_days as (
    select * from {{ ref('user_content_days') }}
    where
        content_id is not null
        and activity_date in (select activity_date from activity_dates)
),

content_days as (
    select
        activity_date,
        content_id,
        count(*) as users,
        cast(sum(interactions) as bigint) as interactions,
        cast(sum(watch_interactions) as bigint) as watch_interactions,
        {{ exact_sum('watch_seconds') }} as watch_seconds,
        count(case when is_watched then 1 end) as users_who_watched
    from user_content_days
    group by 1, 2
)

select
    content_days.activity_date,
    content_days.content_id,
    content_days.users,
    content_days.interactions,
    {{ watch_minutes('content_days.watch_seconds', 'content_days.watch_interactions') }}
        as watch_minutes,
    content_days.users_who_watched,
    activity_dates.input_version
from content_days
inner join activity_dates on content_days.activity_date = activity_dates.activity_date
