{# Formulas that are used more than once. #}

{# The sum of a measure as a double that does not depend on the order of the rows: sums of doubles
   do, in their last bits, and equal inputs must give equal tables. Exact to the decimal's scale. #}
{% macro exact_sum(expression, decimal='decimal(18, 6)') -%}
    cast(sum(cast({{ expression }} as {{ decimal }})) as double)
{%- endmacro %}

{# Watch minutes out of watch seconds: null where something was watched but no event gave seconds,
   zero where nothing was watched. #}
{% macro watch_minutes(watch_seconds, watch_interactions) -%}
    case
        when {{ watch_seconds }} is not null then {{ watch_seconds }} / 60.0
        when {{ watch_interactions }} > 0 then null
        else 0.0
    end
{%- endmacro %}

{# How far the clock of a time zone is ahead of UTC at the midnight (UTC) that begins a date. #}
{% macro utc_offset(date, timezone) -%}
    {{ local_time('cast(' ~ date ~ ' as timestamp)', timezone) }} - cast({{ date }} as timestamp)
{%- endmacro %}

{# The activity date (docs/glossary.md) of a local timestamp. #}
{% macro activity_date(local_timestamp) -%}
    cast({{ local_timestamp }} - interval '{{ var("day_starts_at_hour") }}' hour as date)
{%- endmacro %}

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
        select 28 as window_days
        union all
        select 84 as window_days
    ) as window_lengths
{% endmacro %}

{# The dayparts in the order of the clock, each from its hour to that of the next; the night goes on
   to the morning. #}
{% macro daypart(local_hour) -%}
    case
        when {{ local_hour }} < {{ var('morning_starts_at_hour') }} then 'night'
        when {{ local_hour }} < {{ var('daytime_starts_at_hour') }} then 'morning'
        when {{ local_hour }} < {{ var('early_evening_starts_at_hour') }} then 'daytime'
        when {{ local_hour }} < {{ var('prime_time_starts_at_hour') }} then 'early_evening'
        when {{ local_hour }} < {{ var('night_starts_at_hour') }} then 'prime_time'
        else 'night'
    end
{%- endmacro %}

{#
    The length of the mean resultant vector of values on a circle (hours of 24, weekdays of 7), 0
    (no direction) to 1 (all the same); null without any. `weight` counts how often `value` occurs.
    Mardia and Jupp, Directional Statistics (2000), section 2.3.
#}
{% macro resultant_length(weight, value, circle) -%}
    {%- set angle = '2 * pi() * ' ~ value ~ ' / ' ~ circle ~ '.0' -%}
    round(
        sqrt(
            power({{ exact_sum(weight ~ ' * cos(' ~ angle ~ ')', 'decimal(28, 12)') }}, 2)
            + power({{ exact_sum(weight ~ ' * sin(' ~ angle ~ ')', 'decimal(28, 12)') }}, 2)
        ) / cast(nullif(sum({{ weight }}), 0) as double),
        9
    )
{%- endmacro %}

{# Whether a resultant length over `observations` values is more than chance: Rayleigh's test of
   uniformity rejects at about 5 % from n R² > 3 on (Mardia and Jupp, section 6.3). The hours of an
   evening are not independent, so that days are asked for as well. #}
{% macro has_peak(resultant_length, observations, days) -%}
    {{ days }} >= {{ var('peak_min_days') }}
    and {{ resultant_length }} >= round(sqrt(3.0 / {{ observations }}), 9)
{%- endmacro %}

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

{#
    How different the titles of each set are: set_number and content_diversity, the mean pairwise
    cosine distance between the tag sets of the titles. `titles` is a CTE with one row per set_number
    and title_id; the model has a CTE title_tags.

    Found without looking at pairs: with w_tag = the sum over the titles that carry the tag of
    1 / sqrt(number of tags of the title), and N = the titles with at least one tag, it is
    1 - (sum of w_tag squared - N) / (N (N - 1)), because the sum of squares is the sum of all
    N x N cosines, N of which are of a title with itself. Null for N < 2, so a set of one title has
    no row.
#}
{% macro title_diversity(titles) %}
    select
        set_number,
        case
            when sum(first_tags) >= 2
                -- rounded, for the square roots are not exact; + 0.0 makes a -0.0 a 0.0
                then
                    0.0 + round(
                        1.0
                        - ({{ exact_sum('power(tag_weight, 2)', 'decimal(28, 15)') }} - sum(first_tags))
                        / (sum(first_tags) * (sum(first_tags) - 1.0)),
                        12
                    )
        end as content_diversity
    from (
        select
            {{ titles }}.set_number,
            tags.tag_id,
            {{ exact_sum('tags.tag_weight', 'decimal(18, 15)') }} as tag_weight,
            count(case when tags.tag_number = 1 then 1 end) as first_tags
        from {{ titles }}
        inner join (
            select set_number
            from {{ titles }}
            group by set_number
            having count(*) > 1
        ) as sets_of_several
            on {{ titles }}.set_number = sets_of_several.set_number
        inner join ({{ numbered_tags() }}) as tags on {{ titles }}.title_id = tags.title_id
        group by {{ titles }}.set_number, tags.tag_id
    ) as tag_weights
    group by set_number
{% endmacro %}

{#
    The genre of the most titles of each set, the first by name among equals, and its share of the
    titles that have a genre at all: set_number, top_genre and top_genre_share. `titles` as above.
#}
{% macro top_genres(titles) %}
    select
        top_genres.set_number,
        genres.tag as top_genre,
        top_genres.top_genre_share
    from (
        select
            set_number,
            max_by(tag_id, titles * 1000000000 - tag_id) as tag_id,
            max(titles) / cast(sum(first_genres) as double) as top_genre_share
        from (
            select
                {{ titles }}.set_number,
                tags.tag_id,
                count(*) as titles,
                count(case when tags.genre_number = 1 then 1 end) as first_genres
            from {{ titles }}
            inner join ({{ numbered_tags() }}) as tags
                on {{ titles }}.title_id = tags.title_id and tags.is_genre
            group by {{ titles }}.set_number, tags.tag_id
        ) as genre_titles
        group by set_number
    ) as top_genres
    inner join (
        select distinct
            tag_id,
            tag
        from ({{ numbered_tags() }}) as tags
    ) as genres
        on top_genres.tag_id = genres.tag_id
{% endmacro %}

{# Tags in the order of their names: numbers are grouped several times as fast as texts, and exact
   weights need no conversion for each title of each set. #}
{% macro numbered_tags() %}
    select
        title_id,
        tag,
        is_genre,
        tag_number,
        genre_number,
        cast(tag_weight as decimal(18, 15)) as tag_weight,
        dense_rank() over (order by tag asc nulls last) as tag_id
    from title_tags
{% endmacro %}

{# The population standard deviation from exact sums (see exact_sum); 0 where all values are equal,
   which the difference of two large sums would not give. #}
{% macro exact_standard_deviation(expression) -%}
    case
        when max({{ expression }}) = min({{ expression }}) then 0.0
        else
            sqrt(
                greatest(
                    0.0,
                    {{ exact_sum('power(' ~ expression ~ ', 2)', 'decimal(38, 15)') }}
                    / count({{ expression }})
                    - power(
                        {{ exact_sum(expression, 'decimal(38, 15)') }} / count({{ expression }}), 2
                    )
                )
            )
    end
{%- endmacro %}

{# The standard normal quantile of the limits of 95 % intervals. #}
{% macro interval_quantile() %}{{ return('1.959963984540054') }}{% endmacro %}

{#
    The limits of the score interval (95 %) of a proportion of `successes` in `trials`; null without
    trials. Wilson, Probable inference, the law of succession, and statistical inference, Journal of
    the American Statistical Association 22, 1927. `side` is lower or upper.
#}
{% macro wilson_limit(successes, trials, side) -%}
    {%- set quantile = interval_quantile() -%}
    {%- set square = '(' ~ quantile ~ ' * ' ~ quantile ~ ')' -%}
    -- rounded, for the root is not exact: 0 of any number begins at 0
    0.0 + round(
        (
            {{ successes }} + {{ square }} / 2.0
            {{ '-' if side == 'lower' else '+' }} {{ quantile }} * sqrt(
                {{ successes }} * cast({{ trials }} - {{ successes }} as double)
                / nullif({{ trials }}, 0)
                + {{ square }} / 4.0
            )
        ) / ({{ trials }} + {{ square }}),
        12
    )
{%- endmacro %}

{#
    Weeks of a spell as far as they count for a forecast: at most forecast_max_weeks, and 0 where they
    are not known, because the spell began before the first evaluation date that is kept and has not
    been seen for so long.
#}
{% macro forecast_weeks(weeks_in_spell, is_left_censored) -%}
    case
        when {{ weeks_in_spell }} >= {{ var('forecast_max_weeks') }}
            then {{ var('forecast_max_weeks') }}
        when {{ is_left_censored }} then 0
        else {{ weeks_in_spell }}
    end
{%- endmacro %}

{# The week of its spell in which an evaluation date lies: 1 for the date on which it began. #}
{% macro week_of_spell(spell_start, as_of_date) -%}
    (1 + cast(floor({{ days_between(spell_start, as_of_date) }} / 7) as integer))
{%- endmacro %}
