{#- What each table has of a viewer in a window. -#}
{%- set interactions = [] -%}
{%- for kind in interaction_kinds() -%}
    {%- do interactions.append(kind ~ '_interactions') -%}
{%- endfor -%}
{%- set columns_of = {
    'viewers': ['known_since', 'last_active_date'],
    'day_metrics':
        ['active_days', 'previous_active_days', 'interactions', 'watch_seconds'] + interactions,
    'period_metrics': ['periods', 'spikes', 'longest_period_days', 'longest_gap_days'],
    'binge_metrics': ['binged_series', 'most_episodes_in_24h'],
    'region_metrics': ['sleepy_days', 'ghost_days'],
    'titles': [
        'watched_titles', 'watched_contents', 'watched_episodes', 'episode_interactions',
        'movie_interactions', 'top_series_seconds', 'top_series_contents', 'content_diversity',
    ],
    'top_genres': ['genre', 'title_share'],
    'rhythms': [
        'weekend_share', 'prime_time_share', 'night_share', 'peak_weekday', 'peak_hour',
        'hour_concentration',
    ],
} -%}
{%- set columns = columns_of.values() | sum(start=[]) -%}

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

viewers as (
    select
        windows.as_of_date,
        windows.window_days,
        users.user_id,
        users.known_since,
        users.last_active_date
    from windows
    inner join users on windows.as_of_date = users.as_of_date
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
    select * from {{ ref('window_titles') }}
    where as_of_date in (select as_of_date from as_of_dates)
),

top_genres as (
    select * from {{ ref('user_genres') }}
    where genre_rank = 1 and as_of_date in (select as_of_date from as_of_dates)
),

rhythms as (
    select * from {{ ref('user_rhythms') }}
    where as_of_date in (select as_of_date from as_of_dates)
),

-- one row from each table, then one group-by over all: a group-by can spill to disk, eight joins
-- cannot
stacked as (
    {% for table in columns_of -%}
        select
            {% for column in columns -%}
                {{ column if column in columns_of[table] else 'null as ' ~ column }},
            {% endfor -%}
            as_of_date,
            window_days,
            user_id
        from {{ table }}
        {{ 'union all' if not loop.last }}
    {% endfor %}
),

known as (
    select
        as_of_date,
        window_days,
        user_id,
        {% for column in columns[:-1] -%}
            max({{ column }}) as {{ column }},
        {% endfor -%}
        max({{ columns[-1] }}) as {{ columns[-1] }}
    from stacked
    group by 1, 2, 3
    having count(known_since) > 0
),

metrics as (
    select
        known.as_of_date,
        known.window_days,
        known.user_id,
        coalesce(known.active_days, 0) as active_days,
        coalesce(known.previous_active_days, 0) as previous_active_days,
        coalesce(known.periods, 0) as periods,
        coalesce(known.longest_period_days, 0) as longest_period_days,
        known.longest_gap_days,
        {{ days_between('known.last_active_date', 'known.as_of_date') }} as days_since_last_active,
        {{ days_between('known.known_since', 'known.as_of_date') }} as days_known,
        coalesce(known.interactions, 0) as interactions,
        {% for kind in interaction_kinds() -%}
            coalesce(known.{{ kind }}_interactions, 0) as {{ kind }}_interactions,
        {% endfor -%}
        {{ watch_minutes('known.watch_seconds', 'coalesce(known.watch_interactions, 0)') }}
            as watch_minutes,
        {% for metric in [
            'watched_titles', 'watched_contents', 'watched_episodes', 'episode_interactions',
            'movie_interactions', 'top_series_seconds', 'top_series_contents'
        ] -%}
            coalesce(known.{{ metric }}, 0) as {{ metric }},
        {% endfor -%}
        known.content_diversity,
        known.genre as top_genre,
        known.title_share as top_genre_share,
        coalesce(known.binged_series, 0) as binged_series,
        coalesce(known.most_episodes_in_24h, 0) as most_episodes_in_24h,
        coalesce(known.sleepy_days, 0) as sleepy_days,
        coalesce(known.ghost_days, 0) as ghost_days,
        coalesce(known.spikes, 0) as spikes,
        known.weekend_share,
        known.prime_time_share,
        known.night_share,
        known.peak_weekday,
        known.peak_hour,
        known.hour_concentration,
        as_of_dates.input_version
    from known
    inner join as_of_dates on known.as_of_date = as_of_dates.as_of_date
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
