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
    case
        when {{ spark__json_kind(document, path) }} = 'scalar'
            then get_json_object({{ document }}, '$.{{ path }}')
    end
{%- endmacro %}

{# What there is in a JSON document at a path: scalar, list or object; null where there is nothing.
   Spark sees no difference between a list and a text that holds one. #}
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
    case
        when json_array_length(get_json_object({{ document }}, '$.{{ path }}')) is not null
            then 'list'
        when json_object_keys(get_json_object({{ document }}, '$.{{ path }}')) is not null
            then 'object'
        when get_json_object({{ document }}, '$.{{ path }}') is not null then 'scalar'
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
    case {{ spark__json_kind(document, path) }}
        when 'list'
            then from_json(get_json_object({{ document }}, '$.{{ path }}'), 'array<string>')
        when 'scalar' then array(get_json_object({{ document }}, '$.{{ path }}'))
        else cast(array() as array<string>)
    end
{%- endmacro %}
