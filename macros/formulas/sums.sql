{# The sum of a measure as a double, independent of the order of the rows. The last bits of a sum of
   doubles depend on the order, and equal inputs must give equal tables. Exact to the scale of the
   decimal. #}
{% macro exact_sum(expression, decimal='decimal(18, 6)') -%}
    cast(sum(cast({{ expression }} as {{ decimal }})) as double)
{%- endmacro %}

{# Watch minutes from watch seconds: null if something was watched but no event has seconds, zero if
   nothing was watched. #}
{% macro watch_minutes(watch_seconds, watch_interactions) -%}
    case
        when {{ watch_seconds }} is not null then {{ watch_seconds }} / 60.0
        when {{ watch_interactions }} > 0 then null
        else 0.0
    end
{%- endmacro %}

{# The population standard deviation from exact sums (see exact_sum); 0 if all values are equal,
   which the difference of two large sums would not guarantee. #}
{% macro exact_standard_deviation(expression) -%}
    case
        when max({{ expression }}) = min({{ expression }}) then 0.0
        else
            sqrt(
                greatest(
                    0.0,
                    {{ exact_sum('power(' ~ expression ~ ', 2)', 'decimal(38, 15)') }}
                    / count({{ expression }})
                    - power(
                        {{ exact_sum(expression, 'decimal(38, 15)') }} / count({{ expression }}), 2
                    )
                )
            )
    end
{%- endmacro %}
