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

{# The activity date (docs/glossary.md) of a local timestamp. #}
{% macro activity_date(local_timestamp) -%}
    cast({{ local_timestamp }} - interval '{{ var("day_starts_at_hour") }}' hour as date)
{%- endmacro %}

{# The SQL list of the kinds of interaction, in the order in which they are reported. #}
{% macro interaction_kinds() %}
    {{ return(['watch', 'browse', 'search', 'curate', 'feedback', 'other']) }}
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

{#
    What a set of titles is about: one row per value of `keys` with titles, content_diversity,
    top_genre and top_genre_share. `titles` is a CTE with one row per value of `keys` and title_id;
    the model has a CTE title_tags.

    content_diversity is the mean pairwise cosine distance between the tag sets of the titles, found
    without looking at pairs: with w_tag = the sum over the titles that carry the tag of
    1 / sqrt(number of tags of the title), and N = the titles with at least one tag, it is
    1 - (sum of w_tag squared - N) / (N (N - 1)), because the sum of squares is the sum of all
    N x N cosines, N of which are of a title with itself. Null for N < 2.

    top_genre is the genre of the most titles (the first by name among equals); its share is of the
    titles that have a genre at all. The rank is put before the name, so that one minimum finds it.
#}
{% macro title_profile(titles, keys) %}
    {%- set key_list = keys | join(', ') -%}
    select
        {{ key_list }},
        cast(sum(first_tags) as bigint) as tagged_titles,
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
        end as content_diversity,
        substr(min(ranked_genre), 11) as top_genre,
        max(genre_titles) / nullif(cast(sum(first_genres) as double), 0) as top_genre_share
    from (
        select
            {% for key in keys %}{{ titles }}.{{ key }}, {% endfor %}
            title_tags.tag,
            {{ exact_sum('title_tags.tag_weight', 'decimal(18, 15)') }} as tag_weight,
            count(case when title_tags.tag_number = 1 then 1 end) as first_tags,
            count(case when title_tags.genre_number = 1 then 1 end) as first_genres,
            nullif(count(title_tags.genre_number), 0) as genre_titles,
            case
                when count(title_tags.genre_number) > 0
                    then
                        lpad(cast(1000000000 - count(title_tags.genre_number) as string), 10, '0')
                        || title_tags.tag
            end as ranked_genre
        from {{ titles }}
        inner join title_tags on {{ titles }}.title_id = title_tags.title_id
        group by {% for key in keys %}{{ titles }}.{{ key }}, {% endfor %}title_tags.tag
    ) as tag_weights
    group by {{ key_list }}
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
