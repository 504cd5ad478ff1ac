with contents as (
    select * from {{ ref('contents') }}
),

-- distinct, because a title can have many genres
titles_with_genre as (
    select distinct title_id
    from {{ ref('title_tags') }}
    where is_genre
),

-- distinct, because a series has many episodes
series_with_episodes as (
    select distinct series_id
    from contents
    where series_id is not null
),

touched as (
    select
        source_date,
        content_id,
        sum(event_count) as events,
        sum(case when interaction = 'other' then event_count else 0 end) as events_of_unknown_type
    from {{ ref('user_content_hours') }}
    group by source_date, content_id
),

touched_contents as (
    select
        touched.source_date,
        contents.content_id,
        contents.content_type,
        contents.series_id,
        contents.title_id,
        contents.unreadable_fields is not null as has_unreadable_fields,
        titles_with_genre.title_id is null as is_without_genre
    from touched
    inner join contents on touched.content_id = contents.content_id
    left join titles_with_genre on contents.title_id = titles_with_genre.title_id
),

-- distinct, because many episodes of a series can be touched on a day
touched_series as (
    select distinct
        touched_contents.source_date,
        series.content_id,
        series_with_episodes.series_id is null as is_without_episodes
    from touched_contents
    inner join contents as series
        on touched_contents.title_id = series.content_id and series.content_type = 'series'
    left join series_with_episodes on series.content_id = series_with_episodes.series_id
),

misplaced_users as (
    select user_id
    from {{ ref('stg_users') }}
    where timezone is not null and timezone not in (select time_zone from {{ ref('time_zones') }})
),

checks as (
    select
        source_date,
        'events_of_unknown_type' as quality_check,
        sum(events_of_unknown_type) as affected,
        sum(events) as total,
        cast(null as string) as example
    from touched
    group by source_date
    union all
    select
        touched.source_date,
        'events_on_unknown_contents' as quality_check,
        sum(case when contents.content_id is null then touched.events else 0 end) as affected,
        sum(touched.events) as total,
        min(case when contents.content_id is null then touched.content_id end) as example
    from touched
    left join contents on touched.content_id = contents.content_id
    where touched.content_id is not null
    group by touched.source_date
    union all
    select
        source_date,
        'contents_without_genre' as quality_check,
        count(case when is_without_genre then 1 end) as affected,
        count(*) as total,
        min(case when is_without_genre then content_id end) as example
    from touched_contents
    group by source_date
    union all
    select
        source_date,
        'contents_with_unreadable_fields' as quality_check,
        count(case when has_unreadable_fields then 1 end) as affected,
        count(*) as total,
        min(case when has_unreadable_fields then content_id end) as example
    from touched_contents
    group by source_date
    union all
    select
        source_date,
        'episodes_without_series' as quality_check,
        count(case when series_id is null then 1 end) as affected,
        count(*) as total,
        min(case when series_id is null then content_id end) as example
    from touched_contents
    where content_type = 'episode'
    group by source_date
    union all
    select
        source_date,
        'series_without_episodes' as quality_check,
        count(case when is_without_episodes then 1 end) as affected,
        count(*) as total,
        min(case when is_without_episodes then content_id end) as example
    from touched_series
    group by source_date
    union all
    select
        user_days.activity_date as source_date,
        'users_in_unknown_time_zones' as quality_check,
        count(misplaced_users.user_id) as affected,
        count(*) as total,
        min(misplaced_users.user_id) as example
    from {{ ref('user_days') }} as user_days
    left join misplaced_users on user_days.user_id = misplaced_users.user_id
    group by user_days.activity_date
)

select
    source_date,
    quality_check,
    cast(affected as bigint) as affected,
    cast(total as bigint) as total,
    affected / cast(total as double) as share,
    example
from checks
