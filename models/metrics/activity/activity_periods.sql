with as_of_dates as (
    select * from {{ ref('as_of_dates') }}
    where {{ needs_building() }}
),

user_days as (
    select
        as_of_dates.as_of_date,
        as_of_dates.input_version,
        user_days.*
    from {{ ref('user_days') }} as user_days
    inner join as_of_dates
        on user_days.activity_date between as_of_dates.lookback_start and as_of_dates.as_of_date
),

days_since_previous as (
    select
        *,
        {{ days_between(
            'lag(activity_date) over '
            ~ '(partition by as_of_date, user_id order by activity_date asc nulls last)',
            'activity_date'
        ) }} as days_since_previous
    from user_days
),

period_days as (
    select
        *,
        max(
            case
                when coalesce(days_since_previous > {{ var('period_gap_days') }}, true)
                    then activity_date
            end
        ) over (
            partition by as_of_date, user_id
            order by activity_date asc nulls last
            rows between unbounded preceding and current row
        ) as period_start
    from days_since_previous
),

periods as (
    select
        as_of_date,
        user_id,
        period_start,
        max(activity_date) as period_end,
        count(*) as active_days,
        {% for kind in interaction_kinds() -%}
            cast(sum({{ kind }}_interactions) as bigint) as {{ kind }}_interactions,
        {% endfor -%}
        cast(sum(interactions) as bigint) as interactions,
        {{ exact_sum('watch_seconds') }} as watch_seconds,
        max(input_version) as input_version
    from period_days
    group by 1, 2, 3
),

content_days as (
    select
        period_days.as_of_date,
        period_days.user_id,
        period_days.period_start,
        user_content_days.watch_interactions,
        user_content_days.is_watched,
        coalesce(contents.title_id, user_content_days.content_id) as title_id,
        coalesce(contents.content_type, 'unknown') as content_type
    from period_days
    inner join {{ ref('user_content_days') }} as user_content_days
        on
            period_days.user_id = user_content_days.user_id
            and period_days.activity_date = user_content_days.activity_date
    left join {{ ref('contents') }} as contents
        on user_content_days.content_id = contents.content_id
),

content_types as (
    select
        as_of_date,
        user_id,
        period_start,
        content_type,
        sum(watch_interactions) as watch_interactions
    from content_days
    where watch_interactions > 0
    group by 1, 2, 3, 4
),

-- at most one type can have more than half of the watch interactions
main_content_types as (
    select
        content_types.as_of_date,
        content_types.user_id,
        content_types.period_start,
        max(content_types.content_type) as content_type
    from content_types
    inner join periods
        on
            content_types.as_of_date = periods.as_of_date
            and content_types.user_id = periods.user_id
            and content_types.period_start = periods.period_start
    where 2 * content_types.watch_interactions > periods.watch_interactions
    group by 1, 2, 3
),

-- distinct, because a title is watched on many days and in many episodes
watched_titles as (
    select distinct
        as_of_date,
        user_id,
        period_start,
        title_id
    from content_days
    where is_watched and title_id is not null
),

title_counts as (
    select
        as_of_date,
        user_id,
        period_start,
        count(*) as watched_titles
    from watched_titles
    group by 1, 2, 3
),

title_tags as (
    select * from {{ ref('title_tags') }}
),

title_profiles as (
    {{ title_profile('watched_titles', ['as_of_date', 'user_id', 'period_start']) }}
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
        periods.as_of_date = main_content_types.as_of_date
        and periods.user_id = main_content_types.user_id
        and periods.period_start = main_content_types.period_start
left join title_counts
    on
        periods.as_of_date = title_counts.as_of_date
        and periods.user_id = title_counts.user_id
        and periods.period_start = title_counts.period_start
left join title_profiles
    on
        periods.as_of_date = title_profiles.as_of_date
        and periods.user_id = title_profiles.user_id
        and periods.period_start = title_profiles.period_start
