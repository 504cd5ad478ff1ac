{# A scalar inside a JSON document as text. `path` is a dotted path: `a.b`. Null if it is missing,
   or a list or an object. #}
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

{# The kind of value at a path of a JSON document: scalar, list or object; null if there is none.
   Spark cannot tell a list from a text that contains one. #}
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

{# The texts of a JSON list, or of one scalar, as a list. Empty if there is none. #}
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
