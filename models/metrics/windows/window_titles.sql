with as_of_dates as (
    select * from {{ ref('as_of_dates') }}
    where {{ needs_building() }}
),

titles as (
    select * from {{ ref('user_titles') }}
    where as_of_date in (select as_of_date from as_of_dates)
),

title_metrics as (
    select
        as_of_date,
        window_days,
        user_id,
        count(case when watched_contents > 0 then 1 end) as watched_titles,
        cast(sum(watched_contents) as bigint) as watched_contents,
        cast(sum(watched_episodes) as bigint) as watched_episodes,
        cast(sum(episode_interactions) as bigint) as episode_interactions,
        cast(sum(movie_interactions) as bigint) as movie_interactions,
        max(case when is_series then watch_seconds end) as top_series_seconds,
        max(case when is_series then watched_contents end) as top_series_contents
    from titles
    group by 1, 2, 3
),

numbered_windows as (
    select
        *,
        row_number() over (
            order by
                as_of_date asc nulls last, window_days asc nulls last, user_id asc nulls last
        ) as set_number
    from title_metrics
),

watched_titles as (
    select
        numbered_windows.set_number,
        titles.title_id
    from titles
    inner join numbered_windows
        on
            titles.as_of_date = numbered_windows.as_of_date
            and titles.window_days = numbered_windows.window_days
            and titles.user_id = numbered_windows.user_id
    where titles.watched_contents > 0
),

title_tags as (
    select * from {{ ref('title_tags') }}
),

diversities as (
    {{ title_diversity('watched_titles', 'title_tags') }}
)

select
    numbered_windows.as_of_date,
    numbered_windows.window_days,
    numbered_windows.user_id,
    numbered_windows.watched_titles,
    numbered_windows.watched_contents,
    numbered_windows.watched_episodes,
    numbered_windows.episode_interactions,
    numbered_windows.movie_interactions,
    numbered_windows.top_series_seconds,
    numbered_windows.top_series_contents,
    diversities.content_diversity,
    as_of_dates.input_version
from numbered_windows
inner join as_of_dates on numbered_windows.as_of_date = as_of_dates.as_of_date
left join diversities on numbered_windows.set_number = diversities.set_number
