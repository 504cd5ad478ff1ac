{# The rules of the columns of a relation: column, the SQL of a row that breaks it, and the problem
   in words. #}
{% macro column_rules(relation) %}
    {% set rules = [] %}
    {% set nodes = graph.nodes.values() | selectattr('relation_name', 'equalto', relation | string)
        if execute else [] %}
    {% for node in nodes if node.resource_type in ['model', 'seed'] %}
        {% for column in node.columns.values() %}
            {% set name = column.name %}
            {% if 'not_null' in column.constraints | map(attribute='type') | map('string') %}
                {% do rules.append({
                    'column': name, 'broken': name ~ ' is null', 'problem': 'is null'
                }) %}
            {% endif %}
            {% set smallest, largest = column.config.meta.get('range', [none, none]) %}
            {% if column.data_type == 'double' %}
                {# NaN is more than any number in both engines #}
                {% do rules.append({
                    'column': name,
                    'broken': 'abs(' ~ name ~ ") > 1.7976931348623157e308",
                    'problem': 'is not a finite number'
                }) %}
            {% endif %}
            {% if smallest is not none %}
                {% do rules.append({
                    'column': name,
                    'broken': name ~ ' < ' ~ smallest,
                    'problem': 'is less than ' ~ smallest
                }) %}
            {% endif %}
            {% if largest is not none %}
                {% do rules.append({
                    'column': name,
                    'broken': name ~ ' > ' ~ largest,
                    'problem': 'is more than ' ~ largest
                }) %}
            {% endif %}
            {% if column.config.meta.get('values') %}
                {% set values = column.config.meta['values'] %}
                {% do rules.append({
                    'column': name,
                    'broken': 'cast(' ~ name ~ " as string) not in ('" ~ values | join("', '") ~ "')",
                    'problem': 'is not one of ' ~ values | join(', ')
                }) %}
            {% endif %}
        {% endfor %}
    {% endfor %}
    {{ return(rules) }}
{% endmacro %}
