with as_of_dates as (
    select * from {{ ref('as_of_dates') }}
    where {{ needs_building() }}
),

-- each day once, however many dates look back on it
user_days as (
    select * from {{ ref('user_days') }}
    where
        activity_date >= (select min(lookback_start) from as_of_dates)
        and activity_date <= (select max(as_of_date) from as_of_dates)
),

island_days as (
    {{ activity_islands('user_days') }}
),

periods as (
    select
        as_of_dates.as_of_date,
        as_of_dates.input_version,
        island_days.user_id,
        island_days.island_start,
        min(island_days.activity_date) as period_start,
        max(island_days.activity_date) as period_end,
        count(*) as active_days,
        {% for kind in interaction_kinds() -%}
            cast(sum(island_days.{{ kind }}_interactions) as bigint) as {{ kind }}_interactions,
        {% endfor -%}
        cast(sum(island_days.interactions) as bigint) as interactions,
        {{ exact_sum('island_days.watch_seconds') }} as watch_seconds
    from island_days
    inner join as_of_dates
        on
            island_days.activity_date >= as_of_dates.lookback_start
            and island_days.activity_date <= as_of_dates.as_of_date
    group by 1, 2, 3, 4
),

-- distinct, because most periods are the same for many dates: their contents are looked at once
distinct_periods as (
    select distinct
        user_id,
        island_start,
        period_start,
        period_end
    from periods
),

content_days as (
    select
        distinct_periods.user_id,
        distinct_periods.period_start,
        distinct_periods.period_end,
        user_content_days.watch_interactions,
        user_content_days.is_watched,
        coalesce(contents.title_id, user_content_days.content_id) as title_id,
        coalesce(contents.content_type, 'unknown') as content_type
    from distinct_periods
    inner join island_days
        on
            distinct_periods.user_id = island_days.user_id
            and distinct_periods.island_start = island_days.island_start
            and distinct_periods.period_start <= island_days.activity_date
            and distinct_periods.period_end >= island_days.activity_date
    inner join {{ ref('user_content_days') }} as user_content_days
        on
            island_days.user_id = user_content_days.user_id
            and island_days.activity_date = user_content_days.activity_date
    left join {{ ref('contents') }} as contents
        on user_content_days.content_id = contents.content_id
),

content_types as (
    select
        user_id,
        period_start,
        period_end,
        content_type,
        sum(watch_interactions) as watch_interactions,
        sum(sum(watch_interactions)) over (partition by user_id, period_start, period_end)
            as period_watch_interactions
    from content_days
    group by 1, 2, 3, 4
),

-- at most one type can have more than half of the watch interactions
main_content_types as (
    select
        user_id,
        period_start,
        period_end,
        content_type
    from content_types
    where 2 * watch_interactions > period_watch_interactions
),

-- distinct, because a title is watched on many days and in many episodes
watched_titles as (
    select distinct
        user_id,
        period_start,
        period_end,
        title_id
    from content_days
    where is_watched and title_id is not null
),

title_counts as (
    select
        user_id,
        period_start,
        period_end,
        count(*) as watched_titles
    from watched_titles
    group by 1, 2, 3
),

title_tags as (
    select * from {{ ref('title_tags') }}
),

title_profiles as (
    {{ title_profile('watched_titles', ['user_id', 'period_start', 'period_end']) }}
)

select
    periods.as_of_date,
    periods.user_id,
    periods.period_start,
    periods.period_end,
    periods.active_days,
    {{ plus_days('periods.period_end', var('period_gap_days')) }} >= periods.as_of_date as is_open,
    periods.interactions,
    {{ watch_minutes('periods.watch_seconds', 'periods.watch_interactions') }} as watch_minutes,
    case
        when 2 * periods.watch_interactions > periods.interactions then 'watching'
        when 2 * periods.browse_interactions > periods.interactions then 'browsing'
        when 2 * periods.search_interactions > periods.interactions then 'searching'
        when 2 * periods.curate_interactions > periods.interactions then 'curating'
        when 2 * periods.feedback_interactions > periods.interactions then 'giving_feedback'
        else 'mixed'
    end as interaction_type,
    greatest(
        periods.watch_interactions,
        periods.browse_interactions,
        periods.search_interactions,
        periods.curate_interactions,
        periods.feedback_interactions
    ) / cast(periods.interactions as double) as interaction_type_share,
    case
        when periods.watch_interactions = 0 then 'none'
        else coalesce(main_content_types.content_type, 'mixed')
    end as content_type,
    coalesce(title_counts.watched_titles, 0) as watched_titles,
    title_profiles.content_diversity,
    title_profiles.top_genre,
    title_profiles.top_genre_share,
    periods.input_version
from periods
left join main_content_types
    on
        periods.user_id = main_content_types.user_id
        and periods.period_start = main_content_types.period_start
        and periods.period_end = main_content_types.period_end
left join title_counts
    on
        periods.user_id = title_counts.user_id
        and periods.period_start = title_counts.period_start
        and periods.period_end = title_counts.period_end
left join title_profiles
    on
        periods.user_id = title_profiles.user_id
        and periods.period_start = title_profiles.period_start
        and periods.period_end = title_profiles.period_end
