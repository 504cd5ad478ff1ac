{# The UTC offset of a time zone at the midnight (UTC) that begins a date. #}
{% macro utc_offset(date, timezone) -%}
    {{ local_time('cast(' ~ date ~ ' as timestamp)', timezone) }} - cast({{ date }} as timestamp)
{%- endmacro %}

{# The activity date (docs/glossary.md) of a local timestamp. #}
{% macro activity_date(local_timestamp) -%}
    cast({{ local_timestamp }} - interval '{{ var("day_starts_at_hour") }}' hour as date)
{%- endmacro %}

{# The dayparts in clock order, each from its hour to that of the next; the night lasts until the
   morning. #}
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
    (no direction) to 1 (all the same); null without values. `weight` counts how often `value`
    occurs. Mardia and Jupp, Directional Statistics (2000), section 2.3.
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

{# Whether a resultant length over `observations` values is beyond chance: Rayleigh's test of
   uniformity rejects at about 5 % for n R² > 3 (Mardia and Jupp, section 6.3). The hours of an
   evening are not independent, so a minimum number of days is required as well. #}
{% macro has_peak(resultant_length, observations, days) -%}
    {{ days }} >= {{ var('peak_min_days') }}
    and {{ resultant_length }} >= round(sqrt(3.0 / {{ observations }}), 9)
{%- endmacro %}
