{# The date `days` days after `date`. #}
{% macro plus_days(date, days) %}{{ return(adapter.dispatch('plus_days')(date, days)) }}{% endmacro %}
{% macro duckdb__plus_days(date, days) %}({{ date }} + cast({{ days }} as integer)){% endmacro %}
{% macro spark__plus_days(date, days) %}date_add({{ date }}, cast({{ days }} as int)){% endmacro %}

{# Whole days from `start` to `end`, an integer. #}
{% macro days_between(start, end) %}{{ return(adapter.dispatch('days_between')(start, end)) }}{% endmacro %}
{% macro duckdb__days_between(start, end) %}cast({{ end }} - {{ start }} as integer){% endmacro %}
{% macro spark__days_between(start, end) %}datediff({{ end }}, {{ start }}){% endmacro %}

{# ISO weekday of a date: 1 = Monday … 7 = Sunday. #}
{% macro iso_weekday(date) %}{{ return(adapter.dispatch('iso_weekday')(date)) }}{% endmacro %}
{% macro duckdb__iso_weekday(date) %}cast(isodow({{ date }}) as integer){% endmacro %}
{% macro spark__iso_weekday(date) %}(weekday({{ date }}) + 1){% endmacro %}

{# The local time in `timezone` (an IANA name that the engine knows) at a UTC timestamp. #}
{% macro local_time(utc_timestamp, timezone) %}
    {{- return(adapter.dispatch('local_time')(utc_timestamp, timezone)) -}}
{% endmacro %}
{% macro duckdb__local_time(utc_timestamp, timezone) -%}
    timezone({{ timezone }}, timezone('UTC', {{ utc_timestamp }}))
{%- endmacro %}
{% macro spark__local_time(utc_timestamp, timezone) -%}
    cast(from_utc_timestamp({{ utc_timestamp }}, {{ timezone }}) as timestamp)
{%- endmacro %}

{# The start of the quarter of an hour that contains a timestamp. #}
{% macro quarter_hour(timestamp) %}{{ return(adapter.dispatch('quarter_hour')(timestamp)) }}{% endmacro %}
{% macro duckdb__quarter_hour(timestamp) -%}
    time_bucket(interval '15' minute, {{ timestamp }})
{%- endmacro %}
{% macro spark__quarter_hour(timestamp) -%}
    cast(timestamp_seconds(900 * floor(unix_timestamp({{ timestamp }}) / 900)) as timestamp)
{%- endmacro %}
