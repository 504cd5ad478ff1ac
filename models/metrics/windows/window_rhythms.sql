with as_of_dates as (
    select * from {{ ref('as_of_dates') }}
    where {{ needs_building() }}
),

windows as (
    {{ evaluation_windows('as_of_dates') }}
),

hours as (
    select
        windows.as_of_date,
        windows.window_days,
        user_hours.user_id,
        user_hours.local_hour,
        {{ daypart('user_hours.local_hour') }} as daypart,
        cast(sum(user_hours.interactions) as bigint) as interactions,
        count(case when user_hours.watch_interactions > 0 then 1 end) as watched_hours,
        sum(cast(user_hours.watch_seconds as decimal(18, 6))) as watch_seconds
    from windows
    inner join {{ ref('user_hours') }} as user_hours
        on
            windows.window_start <= user_hours.activity_date
            and windows.as_of_date >= user_hours.activity_date
    group by 1, 2, 3, 4, 5
),

hour_rhythms as (
    select
        as_of_date,
        window_days,
        user_id,
        cast(sum(interactions) as bigint) as interactions,
        cast(sum(watch_seconds) as double) as watch_seconds,
        {% for daypart in ['prime_time', 'night'] -%}
            cast(sum(case when daypart = '{{ daypart }}' then interactions else 0 end) as bigint)
                as {{ daypart }}_interactions,
            cast(sum(case when daypart = '{{ daypart }}' then watch_seconds end) as double)
                as {{ daypart }}_seconds,
        {% endfor -%}
        cast(sum(watched_hours) as bigint) as watched_hours,
        {{ resultant_length('watched_hours', 'local_hour', 24) }} as hour_concentration,
        -- the most frequent hour, the earliest of equals, in one number
        99 - max(watched_hours * 100 + 99 - local_hour) % 100 as most_watched_hour
    from hours
    group by 1, 2, 3
),

weekdays as (
    select
        windows.as_of_date,
        windows.window_days,
        user_days.user_id,
        {{ iso_weekday('user_days.activity_date') }} as weekday,
        cast(sum(user_days.interactions) as bigint) as interactions,
        count(case when user_days.watch_interactions > 0 then 1 end) as watched_days,
        sum(cast(user_days.watch_seconds as decimal(18, 6))) as watch_seconds
    from windows
    inner join {{ ref('user_days') }} as user_days
        on
            windows.window_start <= user_days.activity_date
            and windows.as_of_date >= user_days.activity_date
    group by 1, 2, 3, 4
),

weekday_rhythms as (
    select
        as_of_date,
        window_days,
        user_id,
        cast(sum(case when weekday >= 6 then interactions else 0 end) as bigint)
            as weekend_interactions,
        cast(sum(case when weekday >= 6 then watch_seconds end) as double) as weekend_seconds,
        cast(sum(watched_days) as bigint) as watched_days,
        {{ resultant_length('watched_days', 'weekday', 7) }} as weekday_concentration,
        99 - max(watched_days * 100 + 99 - weekday) % 100 as most_watched_weekday
    from weekdays
    group by 1, 2, 3
)

select
    hour_rhythms.as_of_date,
    hour_rhythms.window_days,
    hour_rhythms.user_id,
    case when hour_rhythms.watch_seconds > 0 then 'watch_minutes' else 'interactions' end
        as measure,
    case
        when hour_rhythms.watch_seconds > 0 then hour_rhythms.watch_seconds / 60.0
        else cast(hour_rhythms.interactions as double)
    end as amount,
    {% for part, rhythms in [
        ('weekend', 'weekday_rhythms'), ('prime_time', 'hour_rhythms'), ('night', 'hour_rhythms')
    ] -%}
        case
            when hour_rhythms.watch_seconds > 0
                then coalesce({{ rhythms }}.{{ part }}_seconds, 0.0) / hour_rhythms.watch_seconds
            else
                {{ rhythms }}.{{ part }}_interactions / cast(hour_rhythms.interactions as double)
        end as {{ part }}_share,
    {% endfor -%}
    case
        when {{ has_peak(
            'weekday_rhythms.weekday_concentration',
            'weekday_rhythms.watched_days',
            'weekday_rhythms.watched_days'
        ) }}
            then cast(weekday_rhythms.most_watched_weekday as integer)
    end as peak_weekday,
    case
        when {{ has_peak(
            'hour_rhythms.hour_concentration',
            'hour_rhythms.watched_hours',
            'weekday_rhythms.watched_days'
        ) }}
            then cast(hour_rhythms.most_watched_hour as integer)
    end as peak_hour,
    hour_rhythms.hour_concentration,
    hour_rhythms.watched_hours,
    weekday_rhythms.weekday_concentration,
    weekday_rhythms.watched_days,
    as_of_dates.input_version
from hour_rhythms
inner join as_of_dates on hour_rhythms.as_of_date = as_of_dates.as_of_date
inner join weekday_rhythms
    on
        hour_rhythms.as_of_date = weekday_rhythms.as_of_date
        and hour_rhythms.window_days = weekday_rhythms.window_days
        and hour_rhythms.user_id = weekday_rhythms.user_id
