{# A text as a value of a type: date, integer, double or boolean; null if it cannot be read as one.
   A date begins with year, month and day; a fraction is rounded to an integer. #}
{% macro text_as(type, text) %}{{ return(adapter.dispatch('text_as')(type, text)) }}{% endmacro %}
{% macro duckdb__text_as(type, text) %}try_cast({{ text }} as {{ type }}){% endmacro %}
{% macro spark__text_as(type, text) -%}
    {%- if type == 'date' -%}
        case
            when {{ text }} rlike '^ *[0-9]+[-/][0-9]+[-/][0-9]+'
                then try_cast(replace({{ text }}, '/', '-') as date)
        end
    {%- elif type == 'integer' -%}
        try_cast(round(try_cast({{ text }} as double)) as integer)
    {%- elif type == 'boolean' -%}
        case when {{ text }} = trim({{ text }}) then try_cast({{ text }} as boolean) end
    {%- else -%}
        try_cast({{ text }} as {{ type }})
    {%- endif -%}
{%- endmacro %}

{#
    The engine's spelling of a data type in the YAML of models and sources. The YAML uses DuckDB's:
    varchar, json, lists as `type[]`, structs as `struct(name type, …)`.
#}
{% macro data_type(name) %}{{ return(adapter.dispatch('data_type')(name)) }}{% endmacro %}
{% macro duckdb__data_type(name) %}{{ return(name) }}{% endmacro %}
{% macro spark__data_type(name) %}
    {% set spelled = name | replace('varchar', 'string') | replace('json', 'string')
        | replace('"', '`') %}
    {% if spelled[-2:] == '[]' %}
        {% set spelled = 'array<' ~ spelled[:-2] ~ '>' %}
    {% endif %}
    {{ return(spelled | replace('struct(', 'struct<') | replace(')', '>')) }}
{% endmacro %}
