{# The texts of a group joined into one, sorted by themselves or by `order_by`, so the order of the
   rows does not matter. #}
{% macro joined_text(expression, separator=',', order_by=none) %}
    {{- return(adapter.dispatch('joined_text')(expression, separator, order_by)) -}}
{% endmacro %}
{% macro duckdb__joined_text(expression, separator, order_by) -%}
    string_agg({{ expression }}, '{{ separator }}' order by {{ order_by or expression }} asc nulls last)
{%- endmacro %}
{% macro spark__joined_text(expression, separator, order_by) -%}
    case
        when count({{ expression }}) > 0
            then array_join(
                transform(
                    array_sort(collect_list(named_struct(
                        'position', {{ order_by or expression }}, 'text', {{ expression }}
                    ))),
                    item -> item.text
                ),
                '{{ separator }}'
            )
    end
{%- endmacro %}

{# A double rounded to some digits, halves away from zero, and never -0.0. DuckDB multiplies first;
   Spark rounds the shortest decimal text of the number, so they differ on 1.005. #}
{% macro rounded(value, digits) %}
    {{- return(adapter.dispatch('rounded')(value, digits)) -}}
{% endmacro %}
{% macro duckdb__rounded(value, digits) %}(0.0 + round({{ value }}, {{ digits }})){% endmacro %}
{% macro spark__rounded(value, digits) -%}
    (0.0e0 + round(({{ value }}) * {{ 10 ** digits }}, 0) / {{ 10 ** digits }})
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

{# An empty list of texts. #}
{% macro empty_list_of_texts() %}{{ return(adapter.dispatch('empty_list_of_texts')()) }}{% endmacro %}
{% macro duckdb__empty_list_of_texts() %}cast([] as varchar[]){% endmacro %}
{% macro spark__empty_list_of_texts() %}cast(array() as array<string>){% endmacro %}
