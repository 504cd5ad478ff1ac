{#
    What the YAML says of the columns of a model or seed, checked in one query: `not_null`
    constraints, `meta.range` [smallest, largest], both included and null where open, and
    `meta.values`. A double is a finite number. A null breaks nothing but `not_null`.

    A failing row names the column, what is wrong, one such value and the number of rows.
#}
{% test columns_hold(model) %}
    {%- set rules = column_rules() -%}
    with counted as (
        select
            {%- for rule in rules %}
                count(case when {{ rule.broken }} then 1 end) as rows_{{ loop.index }},
                min(case when {{ rule.broken }} then cast({{ rule.column }} as string) end)
                    as example_{{ loop.index }}{{ ',' if not loop.last }}
            {%- endfor %}
        from {{ model }}
    ),

    rules as (
        {%- for rule in rules %}
            select
                {{ loop.index }} as rule_number,
                '{{ rule.column }}' as column_name,
                {{ dbt.string_literal(dbt.escape_single_quotes(rule.problem)) }} as problem
            {{ 'union all' if not loop.last }}
        {%- endfor %}
    ),

    results as (
        select
            rules.column_name,
            rules.problem,
            case rules.rule_number
                {%- for rule in rules %}
                    when {{ loop.index }} then counted.example_{{ loop.index }}
                {%- endfor %}
            end as example,
            case rules.rule_number
                {%- for rule in rules %}
                    when {{ loop.index }} then counted.rows_{{ loop.index }}
                {%- endfor %}
            end as number_of_rows
        from counted
        cross join rules
    )

    select * from results
    where number_of_rows > 0
{% endtest %}
