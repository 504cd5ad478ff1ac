with as_of_dates as (
    select * from {{ ref('as_of_dates') }}
    where {{ needs_building() }}
),

activity_periods as (
    select * from {{ ref('activity_periods') }}
    where as_of_date in (select as_of_date from as_of_dates)
),

user_days as (
    select
        user_id,
        activity_date
    from {{ ref('user_days') }}
    where
        activity_date >= (select min(lookback_start) from as_of_dates)
        and activity_date <= (select max(as_of_date) from as_of_dates)
),

island_days as (
    {{ activity_islands('user_days') }}
),

-- most periods are the same for many dates: the contents of each are read once, under a number
numbered_periods as (
    select
        *,
        row_number() over (
            order by
                user_id asc nulls last, period_start asc nulls last, period_end asc nulls last
        ) as period_number
    from (
        select distinct
            user_id,
            period_start,
            period_end
        from activity_periods
    ) as distinct_periods
),

content_days as (
    select
        numbered_periods.period_number,
        contents.series_id,
        user_content_days.content_id,
        user_content_days.watch_interactions,
        user_content_days.watch_seconds,
        user_content_days.is_watched,
        user_content_days.first_at
    from numbered_periods
    inner join island_days as first_days
        on
            numbered_periods.user_id = first_days.user_id
            and numbered_periods.period_start = first_days.activity_date
    inner join island_days
        on
            first_days.user_id = island_days.user_id
            and first_days.island_start = island_days.island_start
            and numbered_periods.period_start <= island_days.activity_date
            and numbered_periods.period_end >= island_days.activity_date
    inner join {{ ref('user_content_days') }} as user_content_days
        on
            island_days.user_id = user_content_days.user_id
            and island_days.activity_date = user_content_days.activity_date
    left join {{ ref('contents') }} as contents
        on user_content_days.content_id = contents.content_id
),

-- the first day on which the content is watched; first_at increases from day to day
first_watches as (
    select
        period_number,
        series_id,
        content_id,
        min(first_at) as first_watched_at
    from content_days
    where is_watched and content_id is not null
    group by 1, 2, 3
),

watches_in_24h as (
    select
        *,
        count(*) over (
            partition by period_number, series_id
            order by first_watched_at asc nulls last
            range between interval '24' hour preceding and current row
        ) as episodes_in_24h
    from first_watches
    where series_id is not null
),

series_watches as (
    select
        period_number,
        series_id,
        count(*) as episodes_watched,
        max(episodes_in_24h) as most_episodes_in_24h
    from watches_in_24h
    group by 1, 2
),

series_minutes as (
    select
        period_number,
        series_id,
        sum(watch_interactions) as watch_interactions,
        {{ exact_sum('watch_seconds') }} as watch_seconds
    from content_days
    where series_id is not null
    group by 1, 2
),

period_contents as (
    select
        period_number,
        count(*) as watched_contents
    from first_watches
    group by 1
)

select
    activity_periods.as_of_date,
    activity_periods.user_id,
    activity_periods.period_start,
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
        series_watches.period_number = series_minutes.period_number
        and series_watches.series_id = series_minutes.series_id
inner join period_contents on series_watches.period_number = period_contents.period_number
inner join numbered_periods on series_watches.period_number = numbered_periods.period_number
inner join activity_periods
    on
        numbered_periods.user_id = activity_periods.user_id
        and numbered_periods.period_start = activity_periods.period_start
        and numbered_periods.period_end = activity_periods.period_end
