{# Our schemas are named as those of viewer_personas are, so that our seed lies where its seed would:
   in ann_reference for a developer, and in reference in production. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ viewer_personas.generate_schema_name(custom_schema_name, node) }}
{%- endmacro %}
