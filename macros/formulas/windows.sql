{# The SQL list of the kinds of interaction, in the order in which they are reported. #}
{% macro interaction_kinds() %}
    {{ return(['watch', 'browse', 'search', 'curate', 'feedback', 'other']) }}
{% endmacro %}

{# Whether a period of activity is a mere visit. Where no watch time is known, a watched title
   speaks against it. #}
{% macro is_spike(active_days, watch_minutes, watched_titles) -%}
    {{ active_days }} <= {{ var('spike_max_days') }}
    and coalesce(
        {{ watch_minutes }} < {{ var('spike_max_watch_minutes') }}, {{ watched_titles }} = 0
    )
{%- endmacro %}

{# How many days the windows have, shortest first. #}
{% macro window_lengths() %}{{ return([28, 84]) }}{% endmacro %}
{% macro short_window() %}{{ return(window_lengths() | first) }}{% endmacro %}
{% macro long_window() %}{{ return(window_lengths() | last) }}{% endmacro %}

{# The windows of the evaluation dates in `as_of_dates`: N days that end on the date. #}
{% macro evaluation_windows(as_of_dates) %}
    select
        {{ as_of_dates }}.as_of_date,
        {{ as_of_dates }}.input_version,
        window_lengths.window_days,
        {{ plus_days(as_of_dates ~ '.as_of_date', '1 - window_lengths.window_days') }}
            as window_start
    from {{ as_of_dates }}
    cross join (
        {% for days in window_lengths() -%}
            select {{ days }} as window_days
            {{ 'union all' if not loop.last }}
        {% endfor %}
    ) as window_lengths
{% endmacro %}

{#
    The active days of `user_days` with island_start: the first day of the run of active days, with
    at most period_gap_days from one to the next, that the day belongs to. An activity period is
    what an evaluation date sees of an island, from the first to the last active day in its lookback.
#}
{% macro activity_islands(user_days) %}
    select
        *,
        max(
            case
                when coalesce(days_since_previous > {{ var('period_gap_days') }}, true)
                    then activity_date
            end
        ) over (
            partition by user_id
            order by activity_date asc nulls last
            rows between unbounded preceding and current row
        ) as island_start
    from (
        select
            *,
            {{ days_between(
                'lag(activity_date) over '
                ~ '(partition by user_id order by activity_date asc nulls last)',
                'activity_date'
            ) }} as days_since_previous
        from {{ user_days }}
    ) as days_since_previous
{% endmacro %}
