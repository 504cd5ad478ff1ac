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
