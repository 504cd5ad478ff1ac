{#
    Everything that DuckDB and Spark spell differently, and nothing else.
    A model that needs more than these macros is written in the SQL that both read.
#}

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

{# The wall clock in `timezone` (an IANA name that the engine knows) at a UTC timestamp. #}
{% macro local_time(utc_timestamp, timezone) %}
    {{- return(adapter.dispatch('local_time')(utc_timestamp, timezone)) -}}
{% endmacro %}
{% macro duckdb__local_time(utc_timestamp, timezone) -%}
    timezone({{ timezone }}, timezone('UTC', {{ utc_timestamp }}))
{%- endmacro %}
{% macro spark__local_time(utc_timestamp, timezone) -%}
    from_utc_timestamp({{ utc_timestamp }}, {{ timezone }})
{%- endmacro %}

{# The quarter of an hour in which a timestamp lies: the timestamp at which it begins. #}
{% macro quarter_hour(timestamp) %}{{ return(adapter.dispatch('quarter_hour')(timestamp)) }}{% endmacro %}
{% macro duckdb__quarter_hour(timestamp) -%}
    time_bucket(interval '15' minute, {{ timestamp }})
{%- endmacro %}
{% macro spark__quarter_hour(timestamp) -%}
    timestamp_seconds(900 * floor(unix_timestamp({{ timestamp }}) / 900))
{%- endmacro %}

{# The texts of a group in one text, sorted by themselves or by `order_by`, so that the order of the
   rows does not matter. #}
{% macro joined_text(expression, separator=',', order_by=none) %}
    {{- return(adapter.dispatch('joined_text')(expression, separator, order_by)) -}}
{% endmacro %}
{% macro duckdb__joined_text(expression, separator, order_by) -%}
    string_agg({{ expression }}, '{{ separator }}' order by {{ order_by or expression }} asc nulls last)
{%- endmacro %}
{% macro spark__joined_text(expression, separator, order_by) -%}
    array_join(
        transform(
            array_sort(collect_list(named_struct(
                'position', {{ order_by or expression }}, 'text', {{ expression }}
            ))),
            item -> item.text
        ),
        '{{ separator }}'
    )
{%- endmacro %}

{# A scalar inside a JSON document as text. `path` is a dotted path: `a.b`. Null where it is not
   there, and where a list or an object is. #}
{% macro json_text(document, path) %}
    {{- return(adapter.dispatch('json_text')(document, path)) -}}
{% endmacro %}
{% macro duckdb__json_text(document, path) -%}
    case
        when json_type({{ document }}, '$.{{ path }}') not in ('ARRAY', 'OBJECT')
            then json_extract_string({{ document }}, '$.{{ path }}')
    end
{%- endmacro %}
{% macro spark__json_text(document, path) -%}
    get_json_object({{ document }}, '$.{{ path }}')
{%- endmacro %}

{# What there is in a JSON document at a path: scalar, list or object; null where there is nothing.
   Spark tells them by their first character, so there a text that begins like a list is one. #}
{% macro json_kind(document, path) %}
    {{- return(adapter.dispatch('json_kind')(document, path)) -}}
{% endmacro %}
{% macro duckdb__json_kind(document, path) -%}
    case json_type({{ document }}, '$.{{ path }}')
        when 'ARRAY' then 'list'
        when 'OBJECT' then 'object'
        when 'NULL' then null
        else case when json_exists({{ document }}, '$.{{ path }}') then 'scalar' end
    end
{%- endmacro %}
{% macro spark__json_kind(document, path) -%}
    case substr(get_json_object({{ document }}, '$.{{ path }}'), 1, 1)
        when '[' then 'list'
        when '{' then 'object'
        else case when get_json_object({{ document }}, '$.{{ path }}') is not null then 'scalar' end
    end
{%- endmacro %}

{# The texts of a JSON list, or of one scalar, as a list. Empty where there is none. #}
{% macro json_texts(document, path) %}
    {{- return(adapter.dispatch('json_texts')(document, path)) -}}
{% endmacro %}
{% macro duckdb__json_texts(document, path) -%}
    case json_type({{ document }}, '$.{{ path }}')
        when 'ARRAY' then json_extract_string({{ document }}, '$.{{ path }}[*]')
        when 'OBJECT' then cast([] as varchar[])
        when 'NULL' then cast([] as varchar[])
        else
            list_filter(
                [json_extract_string({{ document }}, '$.{{ path }}')],
                lambda item: item is not null
            )
    end
{%- endmacro %}
{% macro spark__json_texts(document, path) -%}
    coalesce(
        from_json(get_json_object({{ document }}, '$.{{ path }}'), 'array<string>'),
        filter(array(get_json_object({{ document }}, '$.{{ path }}')), item -> item is not null)
    )
{%- endmacro %}

{# The objects of a JSON list, each as a JSON document. #}
{% macro json_documents(document, path) %}
    {{- return(adapter.dispatch('json_documents')(document, path)) -}}
{% endmacro %}
{% macro duckdb__json_documents(document, path) -%}
    case json_type({{ document }}, '$.{{ path }}')
        when 'ARRAY' then json_extract({{ document }}, '$.{{ path }}[*]')
        else cast([] as json[])
    end
{%- endmacro %}
{% macro spark__json_documents(document, path) -%}
    from_json(get_json_object({{ document }}, '$.{{ path }}'), 'array<string>')
{%- endmacro %}

{# One row per element of a list, in the select list. #}
{% macro each_of(list) %}{{ return(adapter.dispatch('each_of')(list)) }}{% endmacro %}
{% macro duckdb__each_of(list) %}unnest({{ list }}){% endmacro %}
{% macro spark__each_of(list) %}explode({{ list }}){% endmacro %}

{# The rows of a group as a list of structs, sorted by its fields. `fields` maps names to SQL. #}
{% macro list_of_structs(fields) %}
    {{- return(adapter.dispatch('list_of_structs')(fields)) -}}
{% endmacro %}
{% macro duckdb__list_of_structs(fields) -%}
    list_sort(list({
        {%- for name, expression in fields.items() %}
        '{{ name }}': {{ expression }}{{ ',' if not loop.last }}
        {%- endfor %}
    }))
{%- endmacro %}
{% macro spark__list_of_structs(fields) -%}
    array_sort(collect_list(named_struct(
        {%- for name, expression in fields.items() %}
        '{{ name }}', {{ expression }}{{ ',' if not loop.last }}
        {%- endfor %}
    )))
{%- endmacro %}

{# The texts of a group as a list, sorted by `order_by`. #}
{% macro list_of_texts(expression, order_by) %}
    {{- return(adapter.dispatch('list_of_texts')(expression, order_by)) -}}
{% endmacro %}
{% macro duckdb__list_of_texts(expression, order_by) -%}
    list({{ expression }} order by {{ order_by }} asc nulls last, {{ expression }} asc nulls last)
{%- endmacro %}
{% macro spark__list_of_texts(expression, order_by) -%}
    transform(
        array_sort(collect_list(named_struct('position', {{ order_by }}, 'text', {{ expression }}))),
        item -> item.text
    )
{%- endmacro %}

{# Delete and insert in one transaction: the engine's half of the partition pattern. #}
{% macro replace_partitions(target_relation, new_rows, partition_by, kept_partitions, columns) %}
    {{- return(adapter.dispatch('replace_partitions')(
        target_relation, new_rows, partition_by, kept_partitions, columns
    )) -}}
{% endmacro %}
{% macro duckdb__replace_partitions(target_relation, new_rows, partition_by, kept_partitions, columns) %}
    delete from {{ target_relation }}
    where {{ partition_by }} not in (select {{ partition_by }} from ({{ kept_partitions }}));

    insert into {{ target_relation }} by name
    select {{ columns }} from {{ new_rows }};
{% endmacro %}

{# A list without elements, where the elements would be texts. #}
{% macro empty_list_of_texts() %}{{ return(adapter.dispatch('empty_list_of_texts')()) }}{% endmacro %}
{% macro duckdb__empty_list_of_texts() %}cast([] as varchar[]){% endmacro %}
{% macro spark__empty_list_of_texts() %}cast(array() as array<string>){% endmacro %}
