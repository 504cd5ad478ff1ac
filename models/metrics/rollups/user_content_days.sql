with activity_dates as (
    select * from {{ ref('activity_dates') }}
    where {{ needs_building() }}
),

user_content_hours as (
    select * from {{ ref('user_content_hours') }}
    where activity_date in (select activity_date from activity_dates)
),

user_content_days as (
    select
        activity_date,
        user_id,
        content_id,
        count(*) as interactions,
        {% for kind in interaction_kinds() -%}
            count(case when interaction = '{{ kind }}' then 1 end) as {{ kind }}_interactions,
        {% endfor -%}
        cast(sum(event_count) as bigint) as event_count,
        {{ exact_sum('watch_seconds') }} as watch_seconds,
        cast(sum(unreadable_events) as bigint) as unreadable_events,
        min(first_at) as first_at,
        max(last_at) as last_at
    from user_content_hours
    group by 1, 2, 3
)

select
    user_content_days.activity_date,
    user_content_days.user_id,
    user_content_days.content_id,
    user_content_days.interactions,
    {% for kind in interaction_kinds() -%}
        user_content_days.{{ kind }}_interactions,
    {% endfor -%}
    user_content_days.event_count,
    user_content_days.watch_seconds,
    user_content_days.unreadable_events,
    case
        when user_content_days.watch_seconds >= {{ var('min_watch_seconds') }} then true
        when user_content_days.unreadable_events > 0 then null
        when user_content_days.watch_seconds is null then user_content_days.watch_interactions > 0
        else false
    end as is_watched,
    user_content_days.first_at,
    user_content_days.last_at,
    activity_dates.input_version
from user_content_days
inner join activity_dates on user_content_days.activity_date = activity_dates.activity_date
