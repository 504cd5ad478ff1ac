with as_of_dates as (
    select * from {{ ref('as_of_dates') }}
    where {{ needs_building() }}
),

windows as (
    {{ evaluation_windows('as_of_dates') }}
),

activity_periods as (
    select
        *,
        lead(period_start) over (
            partition by as_of_date, user_id order by period_start asc nulls last
        ) as next_period_start
    from {{ ref('activity_periods') }}
    where as_of_date in (select as_of_date from as_of_dates)
),

active_users as (
    select
        as_of_date,
        user_id,
        min(period_start) as first_active_date,
        max(period_end) as last_active_date
    from activity_periods
    group by 1, 2
),

known_users as (
    select
        as_of_dates.as_of_date,
        users.user_id,
        users.signed_up_on,
        users.cancelled_on is null or users.cancelled_on > as_of_dates.as_of_date as is_running
    from as_of_dates
    inner join {{ ref('stg_users') }} as users on as_of_dates.as_of_date >= users.signed_up_on
),

users as (
    select
        coalesce(active_users.as_of_date, known_users.as_of_date) as as_of_date,
        coalesce(active_users.user_id, known_users.user_id) as user_id,
        coalesce(known_users.signed_up_on, active_users.first_active_date) as known_since,
        active_users.last_active_date
    from active_users
    full outer join known_users
        on
            active_users.as_of_date = known_users.as_of_date
            and active_users.user_id = known_users.user_id
    where active_users.user_id is not null or known_users.is_running
),

day_metrics as (
    select
        windows.as_of_date,
        windows.window_days,
        user_days.user_id,
        count(case when user_days.activity_date >= windows.window_start then 1 end) as active_days,
        count(case when user_days.activity_date < windows.window_start then 1 end)
            as previous_active_days,
        {% for kind in interaction_kinds() -%}
            sum(
                case
                    when user_days.activity_date >= windows.window_start
                        then user_days.{{ kind }}_interactions
                    else 0
                end
            ) as {{ kind }}_interactions,
        {% endfor -%}
        cast(
            sum(
                case
                    when user_days.activity_date >= windows.window_start
                        then user_days.interactions
                    else 0
                end
            ) as bigint
        ) as interactions,
        {{ exact_sum(
            'case when user_days.activity_date >= windows.window_start '
            ~ 'then user_days.watch_seconds end'
        ) }} as watch_seconds
    from windows
    inner join {{ ref('user_days') }} as user_days
        on
            windows.as_of_date >= user_days.activity_date
            and {{ plus_days('windows.as_of_date', '-2 * windows.window_days') }}
            < user_days.activity_date
    group by 1, 2, 3
),

period_metrics as (
    select
        windows.as_of_date,
        windows.window_days,
        activity_periods.user_id,
        count(case when activity_periods.period_end >= windows.window_start then 1 end) as periods,
        count(
            case
                when
                    activity_periods.period_end >= windows.window_start
                    and activity_periods.is_spike
                    then 1
            end
        ) as spikes,
        max(
            greatest(
                0,
                1 + {{ days_between(
                    'greatest(activity_periods.period_start, windows.window_start)',
                    'activity_periods.period_end'
                ) }}
            )
        ) as longest_period_days,
        max(
            greatest(
                0,
                {{ days_between(
                    'greatest(' ~ plus_days('activity_periods.period_end', 1)
                    ~ ', windows.window_start)',
                    'coalesce(activity_periods.next_period_start, '
                    ~ plus_days('windows.as_of_date', 1) ~ ')'
                ) }}
            )
        ) as longest_gap_days
    from windows
    inner join activity_periods on windows.as_of_date = activity_periods.as_of_date
    group by 1, 2, 3
),

binge_metrics as (
    select
        windows.as_of_date,
        windows.window_days,
        period_series.user_id,
        count(distinct case when period_series.is_binge then period_series.series_id end)
            as binged_series,
        max(period_series.most_episodes_in_24h) as most_episodes_in_24h
    from windows
    inner join activity_periods
        on
            windows.as_of_date = activity_periods.as_of_date
            and windows.window_start <= activity_periods.period_end
    inner join {{ ref('period_series') }} as period_series
        on
            activity_periods.as_of_date = period_series.as_of_date
            and activity_periods.user_id = period_series.user_id
            and activity_periods.period_start = period_series.period_start
    group by 1, 2, 3
),

region_days as (
    select
        windows.as_of_date,
        windows.window_days,
        regions.user_id,
        regions.region_type,
        1 + {{ days_between(
            'greatest(regions.region_start, windows.window_start)', 'regions.region_end'
        ) }} as days
    from windows
    inner join {{ ref('inactivity_regions') }} as regions
        on
            windows.as_of_date = regions.as_of_date
            and windows.window_start <= regions.region_end
),

region_metrics as (
    select
        as_of_date,
        window_days,
        user_id,
        cast(sum(case when region_type = 'sleepy' then days else 0 end) as bigint) as sleepy_days,
        cast(sum(case when region_type = 'ghost' then days else 0 end) as bigint) as ghost_days
    from region_days
    group by 1, 2, 3
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
        sum(watched_contents) as watched_contents,
        cast(sum(watched_episodes) as bigint) as watched_episodes,
        sum(episode_interactions) as episode_interactions,
        sum(movie_interactions) as movie_interactions,
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
    {{ title_diversity('watched_titles') }}
),

window_titles as (
    select
        numbered_windows.*,
        diversities.content_diversity
    from numbered_windows
    left join diversities on numbered_windows.set_number = diversities.set_number
),

top_genres as (
    select * from {{ ref('user_genres') }}
    where genre_rank = 1 and as_of_date in (select as_of_date from as_of_dates)
),

rhythms as (
    select * from {{ ref('window_rhythms') }}
    where as_of_date in (select as_of_date from as_of_dates)
),

metrics as (
    select
        windows.as_of_date,
        windows.window_days,
        users.user_id,
        coalesce(day_metrics.active_days, 0) as active_days,
        coalesce(day_metrics.previous_active_days, 0) as previous_active_days,
        coalesce(period_metrics.periods, 0) as periods,
        coalesce(period_metrics.longest_period_days, 0) as longest_period_days,
        period_metrics.longest_gap_days,
        {{ days_between('users.last_active_date', 'windows.as_of_date') }}
            as days_since_last_active,
        {{ days_between('users.known_since', 'windows.as_of_date') }} as days_known,
        coalesce(day_metrics.interactions, 0) as interactions,
        {% for kind in interaction_kinds() -%}
            coalesce(day_metrics.{{ kind }}_interactions, 0) as {{ kind }}_interactions,
        {% endfor -%}
        {{ watch_minutes(
            'day_metrics.watch_seconds', 'coalesce(day_metrics.watch_interactions, 0)'
        ) }} as watch_minutes,
        {% for metric in [
            'watched_titles', 'watched_contents', 'watched_episodes', 'episode_interactions',
            'movie_interactions', 'top_series_seconds', 'top_series_contents'
        ] -%}
            coalesce(window_titles.{{ metric }}, 0) as {{ metric }},
        {% endfor -%}
        window_titles.content_diversity,
        top_genres.genre as top_genre,
        top_genres.title_share as top_genre_share,
        coalesce(binge_metrics.binged_series, 0) as binged_series,
        coalesce(binge_metrics.most_episodes_in_24h, 0) as most_episodes_in_24h,
        coalesce(region_metrics.sleepy_days, 0) as sleepy_days,
        coalesce(region_metrics.ghost_days, 0) as ghost_days,
        coalesce(period_metrics.spikes, 0) as spikes,
        rhythms.weekend_share,
        rhythms.prime_time_share,
        rhythms.night_share,
        rhythms.peak_weekday,
        rhythms.peak_hour,
        rhythms.hour_concentration,
        windows.input_version
    from windows
    inner join users on windows.as_of_date = users.as_of_date
    {% for metrics in [
        'day_metrics', 'period_metrics', 'binge_metrics', 'region_metrics', 'window_titles',
        'top_genres', 'rhythms'
    ] -%}
        left join {{ metrics }}
            on
                windows.as_of_date = {{ metrics }}.as_of_date
                and windows.window_days = {{ metrics }}.window_days
                and users.user_id = {{ metrics }}.user_id
    {% endfor %}
)

select
    as_of_date,
    window_days,
    user_id,
    active_days,
    active_days / cast(window_days as double) as active_share,
    periods,
    longest_period_days,
    days_since_last_active,
    longest_gap_days,
    days_known,
    interactions,
    {% for kind in ['watch', 'browse', 'search', 'curate', 'feedback'] -%}
        {{ kind }}_interactions / cast(nullif(interactions, 0) as double) as {{ kind }}_share,
    {% endfor -%}
    watch_minutes,
    watched_titles,
    watched_episodes,
    episode_interactions / cast(nullif(watch_interactions, 0) as double) as series_share,
    movie_interactions / cast(nullif(watch_interactions, 0) as double) as movie_share,
    top_genre,
    top_genre_share,
    content_diversity,
    binged_series,
    most_episodes_in_24h,
    case
        when watch_minutes > 0 then top_series_seconds / 60.0 / watch_minutes
        when watched_contents > 0
            then top_series_contents / cast(watched_contents as double)
    end as top_series_share,
    sleepy_days,
    ghost_days,
    spikes,
    weekend_share,
    prime_time_share,
    night_share,
    peak_weekday,
    peak_hour,
    hour_concentration,
    previous_active_days,
    (active_days - previous_active_days)
    / cast(nullif(active_days + previous_active_days, 0) as double) as activity_trend,
    input_version
from metrics
