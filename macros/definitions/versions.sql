{#
    A hash of how the partitions of a list are computed: the thresholds that decide them and the SQL
    text of the models on the list and of all they read, up to the models of another list.
    The macros' text is not in dbt's graph: formula_version() stands for it.
#}
{% macro definition_version(partition_list) %}
    {% if not execute %}{{ return('') }}{% endif %}
    {% set parts = [formula_version()] %}
    {% for name, definition in definitions() | dictsort if definition.decides == partition_list %}
        {% do parts.append(name ~ '=' ~ var(name)) %}
    {% endfor %}
    {% set found = {} %}
    {% set pending = [] %}
    {% for node in graph.nodes.values() if node.resource_type == 'model' %}
        {% if node.config.meta.get('partition_list') == partition_list %}
            {% do pending.append(node.unique_id) %}
        {% endif %}
    {% endfor %}
    {# A list that grows while it is read: each model met adds the models that it reads. #}
    {% for unique_id in pending if unique_id not in found %}
        {% set node = graph.nodes.get(unique_id) %}
        {% if node and node.resource_type == 'model'
            and node.config.meta.get('partition_list', partition_list) == partition_list %}
            {% do found.update({unique_id: node.raw_code}) %}
            {% do pending.extend(node.depends_on.nodes) %}
        {% endif %}
    {% endfor %}
    {% for unique_id, raw_code in found | dictsort %}
        {% do parts.append(unique_id ~ '=' ~ raw_code) %}
    {% endfor %}
    {{ return(local_md5(parts | join('\n'))) }}
{% endmacro %}

{# The md5 of engine.sql, formulas.sql and rules.sql; a test compares it. Changing it, as the
   test asks after a change of a formula, rebuilds every partition. #}
{% macro formula_version() %}{{ return('2287cc40b1cec709058a61eddc1c1da6') }}{% endmacro %}

{# One hash of all rows of a seed: a changed row is a changed definition. #}
{% macro seed_version(seed, columns) -%}
    select
        md5({{ joined_text(
            "concat_ws('|', coalesce(cast("
            ~ columns | join(" as string), '-'), coalesce(cast(")
            ~ " as string), '-'))", ';'
        ) }}) as seed_version
    from {{ ref(seed) }}
{%- endmacro %}
