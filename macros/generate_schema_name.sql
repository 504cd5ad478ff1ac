{# Schemas are named for the folders, without the target's schema in front: `metrics`, not
   `main_metrics`. Everybody who reads the results relies on these names. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ custom_schema_name | trim if custom_schema_name else target.schema }}
{%- endmacro %}
