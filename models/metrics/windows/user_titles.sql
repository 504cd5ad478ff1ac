with as_of_dates as (
    select * from {{ ref('as_of_dates') }}
    where {{ needs_building() }}
),

windows as (
    {{ evaluation_windows('as_of_dates') }}
),

contents as (
    select * from {{ ref('contents') }}
),

content_sums as (
    select
        windows.as_of_date,
        windows.window_days,
        user_content_days.user_id,
        user_content_days.content_id,
        sum(user_content_days.watch_interactions) as watch_interactions,
        sum(cast(user_content_days.watch_seconds as decimal(18, 6))) as watch_seconds,
        max(case when user_content_days.is_watched then 1 else 0 end) as watched_contents
    from windows
    inner join {{ ref('user_content_days') }} as user_content_days
        on
            windows.window_start <= user_content_days.activity_date
            and windows.as_of_date >= user_content_days.activity_date
    where
        user_content_days.content_id is not null
        and (
            user_content_days.watch_interactions > 0
            or user_content_days.watch_seconds is not null
        )
    group by 1, 2, 3, 4
),

user_titles as (
    select
        content_sums.as_of_date,
        content_sums.window_days,
        content_sums.user_id,
        coalesce(contents.title_id, content_sums.content_id) as title_id,
        max(case when contents.series_id is not null then 1 else 0 end) = 1 as is_series,
        cast(sum(content_sums.watch_interactions) as bigint) as watch_interactions,
        cast(
            sum(
                case
                    when contents.content_type = 'episode' then content_sums.watch_interactions
                    else 0
                end
            ) as bigint
        ) as episode_interactions,
        cast(
            sum(
                case
                    when contents.content_type = 'movie' then content_sums.watch_interactions
                    else 0
                end
            ) as bigint
        ) as movie_interactions,
        cast(sum(content_sums.watch_seconds) as double) as watch_seconds,
        cast(sum(content_sums.watched_contents) as bigint) as watched_contents,
        cast(
            sum(
                case
                    when contents.content_type = 'episode' then content_sums.watched_contents
                    else 0
                end
            ) as bigint
        ) as watched_episodes
    from content_sums
    left join contents on content_sums.content_id = contents.content_id
    group by 1, 2, 3, 4
)

select
    user_titles.as_of_date,
    user_titles.window_days,
    user_titles.user_id,
    user_titles.title_id,
    user_titles.is_series,
    user_titles.watch_interactions,
    user_titles.episode_interactions,
    user_titles.movie_interactions,
    user_titles.watch_seconds,
    {{ watch_minutes('user_titles.watch_seconds', 'user_titles.watch_interactions') }}
        as watch_minutes,
    user_titles.watched_contents,
    user_titles.watched_episodes,
    as_of_dates.input_version
from user_titles
inner join as_of_dates on user_titles.as_of_date = as_of_dates.as_of_date
