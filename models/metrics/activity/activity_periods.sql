with as_of_dates as (
    select * from {{ ref('as_of_dates') }}
    where {{ needs_building() }}
),

-- each day once, however many lookbacks contain it
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
        island_days.user_id,
        island_days.island_start,
        min(island_days.activity_date) as period_start,
        max(island_days.activity_date) as period_end
    from island_days
    inner join as_of_dates
        on
            island_days.activity_date >= as_of_dates.lookback_start
            and island_days.activity_date <= as_of_dates.as_of_date
    group by 1, 2, 3
),

-- most periods are the same for many dates: each is computed once, under a number
numbered_periods as (
    select
        *,
        row_number() over (
            order by
                user_id asc nulls last, period_start asc nulls last, period_end asc nulls last
        ) as set_number
    from (
        select distinct
            user_id,
            island_start,
            period_start,
            period_end
        from periods
    ) as distinct_periods
),

period_days as (
    select
        numbered_periods.set_number,
        island_days.*
    from numbered_periods
    inner join island_days
        on
            numbered_periods.user_id = island_days.user_id
            and numbered_periods.island_start = island_days.island_start
            and numbered_periods.period_start <= island_days.activity_date
            and numbered_periods.period_end >= island_days.activity_date
),

period_sums as (
    select
        set_number,
        count(*) as active_days,
        {% for kind in interaction_kinds() -%}
            cast(sum({{ kind }}_interactions) as bigint) as {{ kind }}_interactions,
        {% endfor -%}
        cast(sum(interactions) as bigint) as interactions,
        {{ exact_sum('watch_seconds') }} as watch_seconds
    from period_days
    group by 1
),

content_days as (
    select
        period_days.set_number,
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

-- at most one type can have more than half of the watch interactions
content_types as (
    select
        set_number,
        case
            when 2 * max(watch_interactions) > sum(watch_interactions)
                then max_by(content_type, watch_interactions)
        end as content_type
    from (
        select
            set_number,
            content_type,
            sum(watch_interactions) as watch_interactions
        from content_days
        group by 1, 2
    ) as types
    group by 1
),

-- distinct, because a title can be watched on many days and in many episodes
watched_titles as (
    select distinct
        set_number,
        title_id
    from content_days
    where is_watched and title_id is not null
),

title_counts as (
    select
        set_number,
        count(*) as watched_titles
    from watched_titles
    group by 1
),

title_tags as (
    select * from {{ ref('title_tags') }}
),

diversities as (
    {{ title_diversity('watched_titles', 'title_tags') }}
),

genres as (
    {{ top_genres('watched_titles', 'title_tags') }}
),

described_periods as (
    select
        numbered_periods.user_id,
        numbered_periods.period_start,
        numbered_periods.period_end,
        period_sums.active_days,
        period_sums.interactions,
        {{ watch_minutes('period_sums.watch_seconds', 'period_sums.watch_interactions') }}
            as watch_minutes,
        case
            when 2 * period_sums.watch_interactions > period_sums.interactions then 'watching'
            when 2 * period_sums.browse_interactions > period_sums.interactions then 'browsing'
            when 2 * period_sums.search_interactions > period_sums.interactions then 'searching'
            when 2 * period_sums.curate_interactions > period_sums.interactions then 'curating'
            when 2 * period_sums.feedback_interactions > period_sums.interactions
                then 'giving_feedback'
            else 'mixed'
        end as interaction_type,
        greatest(
            period_sums.watch_interactions,
            period_sums.browse_interactions,
            period_sums.search_interactions,
            period_sums.curate_interactions,
            period_sums.feedback_interactions
        ) / cast(period_sums.interactions as double) as interaction_type_share,
        case
            when period_sums.watch_interactions = 0 then 'none'
            else coalesce(content_types.content_type, 'mixed')
        end as content_type,
        coalesce(title_counts.watched_titles, 0) as watched_titles,
        diversities.content_diversity,
        genres.top_genre,
        genres.top_genre_share
    from numbered_periods
    inner join period_sums on numbered_periods.set_number = period_sums.set_number
    left join content_types on numbered_periods.set_number = content_types.set_number
    left join title_counts on numbered_periods.set_number = title_counts.set_number
    left join diversities on numbered_periods.set_number = diversities.set_number
    left join genres on numbered_periods.set_number = genres.set_number
)

select
    periods.as_of_date,
    periods.user_id,
    periods.period_start,
    periods.period_end,
    described_periods.active_days,
    {{ plus_days('periods.period_end', var('period_gap_days')) }} >= periods.as_of_date as is_open,
    described_periods.interactions,
    described_periods.watch_minutes,
    described_periods.interaction_type,
    described_periods.interaction_type_share,
    described_periods.content_type,
    described_periods.watched_titles,
    described_periods.content_diversity,
    described_periods.top_genre,
    described_periods.top_genre_share,
    {{ is_spike(
        'described_periods.active_days',
        'described_periods.watch_minutes',
        'described_periods.watched_titles'
    ) }} as is_spike,
    as_of_dates.input_version
from periods
inner join as_of_dates on periods.as_of_date = as_of_dates.as_of_date
inner join described_periods
    on
        periods.user_id = described_periods.user_id
        and periods.period_start = described_periods.period_start
        and periods.period_end = described_periods.period_end
