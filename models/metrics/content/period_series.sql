with as_of_dates as (
    select * from {{ ref('as_of_dates') }}
    where {{ needs_building() }}
),

activity_periods as (
    select * from {{ ref('activity_periods') }}
    where as_of_date in (select as_of_date from as_of_dates)
),

content_days as (
    select
        activity_periods.as_of_date,
        activity_periods.user_id,
        activity_periods.period_start,
        contents.series_id,
        user_content_days.content_id,
        user_content_days.watch_interactions,
        user_content_days.watch_seconds,
        user_content_days.is_watched,
        user_content_days.activity_date,
        user_content_days.first_at
    from activity_periods
    inner join {{ ref('user_content_days') }} as user_content_days
        on
            activity_periods.user_id = user_content_days.user_id
            and user_content_days.activity_date
            between activity_periods.period_start and activity_periods.period_end
    left join {{ ref('contents') }} as contents
        on user_content_days.content_id = contents.content_id
),

-- the first day on which the content is watched; any day's first_at is after that of the day before
first_watches as (
    select
        as_of_date,
        user_id,
        period_start,
        series_id,
        content_id,
        min(first_at) as first_watched_at
    from content_days
    where is_watched and content_id is not null
    group by 1, 2, 3, 4, 5
),

watches_in_24h as (
    select
        *,
        count(*) over (
            partition by as_of_date, user_id, period_start, series_id
            order by first_watched_at asc nulls last
            range between interval '24' hour preceding and current row
        ) as episodes_in_24h
    from first_watches
    where series_id is not null
),

series_watches as (
    select
        as_of_date,
        user_id,
        period_start,
        series_id,
        count(*) as episodes_watched,
        max(episodes_in_24h) as most_episodes_in_24h
    from watches_in_24h
    group by 1, 2, 3, 4
),

series_minutes as (
    select
        as_of_date,
        user_id,
        period_start,
        series_id,
        sum(watch_interactions) as watch_interactions,
        {{ exact_sum('watch_seconds') }} as watch_seconds
    from content_days
    where series_id is not null
    group by 1, 2, 3, 4
),

period_contents as (
    select
        as_of_date,
        user_id,
        period_start,
        count(*) as watched_contents
    from first_watches
    group by 1, 2, 3
)

select
    series_watches.as_of_date,
    series_watches.user_id,
    series_watches.period_start,
    series_watches.series_id,
    series_watches.episodes_watched,
    {{ watch_minutes('series_minutes.watch_seconds', 'series_minutes.watch_interactions') }}
        as watch_minutes,
    case
        when activity_periods.watch_minutes > 0
            then series_minutes.watch_seconds / 60.0 / activity_periods.watch_minutes
        else
            series_watches.episodes_watched / cast(period_contents.watched_contents as double)
    end as share_of_watch,
    series_watches.most_episodes_in_24h,
    series_watches.most_episodes_in_24h >= {{ var('binge_min_episodes') }} as is_binge,
    activity_periods.input_version
from series_watches
inner join series_minutes
    on
        series_watches.as_of_date = series_minutes.as_of_date
        and series_watches.user_id = series_minutes.user_id
        and series_watches.period_start = series_minutes.period_start
        and series_watches.series_id = series_minutes.series_id
inner join period_contents
    on
        series_watches.as_of_date = period_contents.as_of_date
        and series_watches.user_id = period_contents.user_id
        and series_watches.period_start = period_contents.period_start
inner join activity_periods
    on
        series_watches.as_of_date = activity_periods.as_of_date
        and series_watches.user_id = activity_periods.user_id
        and series_watches.period_start = activity_periods.period_start
