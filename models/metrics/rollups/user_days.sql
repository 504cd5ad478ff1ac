with activity_dates as (
    select * from {{ ref('activity_dates') }}
    where {{ needs_building() }}
),

user_content_days as (
    select * from {{ ref('user_content_days') }}
    where activity_date in (select activity_date from activity_dates)
),

user_days as (
    select
        activity_date,
        user_id,
        cast(sum(interactions) as bigint) as interactions,
        {% for kind in interaction_kinds() -%}
            cast(sum({{ kind }}_interactions) as bigint) as {{ kind }}_interactions,
        {% endfor -%}
        {{ exact_sum('watch_seconds') }} as watch_seconds,
        count(case when is_watched then content_id end) as watched_contents
    from user_content_days
    group by 1, 2
)

select
    user_days.activity_date,
    user_days.user_id,
    user_days.interactions,
    {% for kind in interaction_kinds() -%}
        user_days.{{ kind }}_interactions,
    {% endfor -%}
    user_days.watch_seconds,
    {{ watch_minutes('user_days.watch_seconds', 'user_days.watch_interactions') }} as watch_minutes,
    user_days.watched_contents,
    activity_dates.input_version
from user_days
inner join activity_dates on user_days.activity_date = activity_dates.activity_date
