{# The column rules of the model or seed of a generic test: column, SQL condition of a row that
   breaks the rule, and the problem in words. Call it in the test, where `model` is its node. #}
{% macro column_rules() %}
    {% set rules = [] %}
    {% if not execute %}
        {{ return(rules) }}
    {% endif %}
    {# not the attached node: a seed of another project may have taken its place #}
    {% set tested = graph.nodes[model.depends_on.nodes | first] %}
    {% for column in tested.columns.values() %}
        {% set name = column.name %}
        {% if 'not_null' in column.constraints | map(attribute='type') | map('string') %}
            {% do rules.append({
                'column': name, 'broken': name ~ ' is null', 'problem': 'is null'
            }) %}
        {% endif %}
        {% set smallest, largest = column.config.meta.get('range', [none, none]) %}
        {% if column.data_type == 'double' %}
            {# NaN is greater than any number in both engines #}
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
            {% set literals = [] %}
            {% for value in column.config.meta['values'] %}
                {% do literals.append(dbt.string_literal(dbt.escape_single_quotes(value | string))) %}
            {% endfor %}
            {% do rules.append({
                'column': name,
                'broken': 'cast(' ~ name ~ ' as string) not in (' ~ literals | join(', ') ~ ')',
                'problem': 'is not one of ' ~ column.config.meta['values'] | join(', ')
            }) %}
        {% endif %}
    {% endfor %}
    {% if not rules %}
        {# a test that cannot fail would pretend to check something #}
        {{ exceptions.raise_compiler_error(
            'columns_hold: the YAML has no rule for a column of ' ~ tested.name
            ~ '. Add a not_null constraint, meta.range or meta.values, or remove the test.'
        ) }}
    {% endif %}
    {{ return(rules) }}
{% endmacro %}
