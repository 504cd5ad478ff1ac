{#
    Schemas are named after the folders: `metrics`, `personas` and so on, because readers of the
    results rely on these names. In a target with its own schema, such as a developer's, they get it
    as a prefix: `ann_metrics`. dbt uses this macro only for the models of this package; a project
    that installs it keeps its own naming.
#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {%- set own = target.schema if target.schema != 'main' -%}
    {{ [own, custom_schema_name] | select | map('trim') | join('_') or target.schema }}
{%- endmacro %}
