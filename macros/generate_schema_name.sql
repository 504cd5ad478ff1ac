{#
    Schemas are named for the folders: `metrics`, `personas` and so on, the names that everybody who
    reads the results relies on. In a target with a schema of its own, such as a developer's, they
    follow it: `ann_metrics`. dbt asks this macro for the models of this package only; those of a
    project that has installed it go by that project.
#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {%- set own = target.schema if target.schema != 'main' -%}
    {{ [own, custom_schema_name] | select | map('trim') | join('_') or target.schema }}
{%- endmacro %}
