{%- set window_keys = ['as_of_date', 'window_days', 'user_id'] -%}

with as_of_dates as (
    select * from {{ ref('as_of_dates') }}
    where {{ needs_building() }}
),

windows as (
    select
        as_of_dates.*,
        window_lengths.window_days,
        {{ plus_days('as_of_dates.as_of_date', '1 - window_lengths.window_days') }} as window_start
    from as_of_dates
    cross join (
        select 28 as window_days
        union all
        select 84 as window_days
    ) as window_lengths
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
        sum(
            case
                when
                    user_days.activity_date >= windows.window_start
                    and {{ iso_weekday('user_days.activity_date') }} >= 6
                    then user_days.interactions
                else 0
            end
        ) as weekend_interactions,
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
    where user_content_days.content_id is not null
    group by 1, 2, 3, 4
),

window_contents as (
    select
        content_sums.*,
        contents.series_id,
        coalesce(contents.title_id, content_sums.content_id) as title_id,
        coalesce(contents.content_type, 'unknown') as content_type
    from content_sums
    left join {{ ref('contents') }} as contents on content_sums.content_id = contents.content_id
),

content_metrics as (
    select
        as_of_date,
        window_days,
        user_id,
        sum(watched_contents) as watched_contents,
        sum(case when content_type = 'episode' then watched_contents else 0 end)
            as watched_episodes,
        sum(case when content_type = 'episode' then watch_interactions else 0 end)
            as episode_interactions,
        sum(case when content_type = 'movie' then watch_interactions else 0 end)
            as movie_interactions
    from window_contents
    group by 1, 2, 3
),

series_metrics as (
    select
        as_of_date,
        window_days,
        user_id,
        max(watch_seconds) as top_series_seconds,
        max(watched_contents) as top_series_contents
    from (
        select
            as_of_date,
            window_days,
            user_id,
            series_id,
            cast(sum(watch_seconds) as double) as watch_seconds,
            sum(watched_contents) as watched_contents
        from window_contents
        where series_id is not null
        group by 1, 2, 3, 4
    ) as series
    group by 1, 2, 3
),

watched_titles as (
    select
        as_of_date,
        window_days,
        user_id,
        title_id
    from window_contents
    where watched_contents > 0
    group by 1, 2, 3, 4
),

title_counts as (
    select
        as_of_date,
        window_days,
        user_id,
        count(*) as watched_titles
    from watched_titles
    group by 1, 2, 3
),

title_tags as (
    select * from {{ ref('title_tags') }}
),

title_profiles as (
    {{ title_profile('watched_titles', window_keys) }}
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
        coalesce(day_metrics.weekend_interactions, 0) as weekend_interactions,
        {{ watch_minutes(
            'day_metrics.watch_seconds', 'coalesce(day_metrics.watch_interactions, 0)'
        ) }} as watch_minutes,
        coalesce(title_counts.watched_titles, 0) as watched_titles,
        coalesce(content_metrics.watched_contents, 0) as watched_contents,
        coalesce(content_metrics.watched_episodes, 0) as watched_episodes,
        coalesce(content_metrics.episode_interactions, 0) as episode_interactions,
        coalesce(content_metrics.movie_interactions, 0) as movie_interactions,
        coalesce(binge_metrics.binged_series, 0) as binged_series,
        coalesce(binge_metrics.most_episodes_in_24h, 0) as most_episodes_in_24h,
        coalesce(series_metrics.top_series_seconds, 0) as top_series_seconds,
        coalesce(series_metrics.top_series_contents, 0) as top_series_contents,
        title_profiles.content_diversity,
        title_profiles.top_genre,
        title_profiles.top_genre_share,
        windows.input_version
    from windows
    inner join users on windows.as_of_date = users.as_of_date
    {% for metrics in [
        'day_metrics', 'period_metrics', 'binge_metrics', 'content_metrics', 'series_metrics',
        'title_counts', 'title_profiles'
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
    cast(watched_episodes as bigint) as watched_episodes,
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
    weekend_interactions / cast(nullif(interactions, 0) as double) as weekend_share,
    previous_active_days,
    (active_days - previous_active_days)
    / cast(nullif(active_days + previous_active_days, 0) as double) as activity_trend,
    input_version
from metrics
