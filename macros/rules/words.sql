{# What persona rules may speak of, and how they are said in business words. Both come from the
   column `meta` in the YAML of user_windows, so that a new metric is described in one place. #}

{# The columns of user_windows. #}
{% macro columns_of_user_windows() %}
    {{ return(graph.nodes['model.viewer_personas.user_windows'].columns) }}
{% endmacro %}

{# The metrics that a rule may name: the columns of user_windows with `meta.words`, in order. #}
{% macro rule_metrics() %}
    {% set metrics = [] %}
    {% if execute %}
        {% set columns = columns_of_user_windows() %}
        {% for name, column in columns.items() if column.config.meta.get('words') %}
            {% do metrics.append(name) %}
        {% endfor %}
    {% endif %}
    {{ return(metrics) }}
{% endmacro %}

{# One clause as a phrase: "days since last active: 31 (at least 28)". Needs the columns metric,
   value, operator, threshold and window_days. #}
{% macro clause_phrase() %}
    {% if execute %}
        {% set columns = columns_of_user_windows() %}
        case metric
            {% for metric in rule_metrics() -%}
                when '{{ metric }}' then '{{ columns[metric].config.meta.words }}'
            {% endfor %}
        end
        || ': ' || {{ metric_text('value') }}
        || ' ('
        || case operator
            when '>=' then 'at least '
            when '>' then 'more than '
            when '<=' then 'at most '
            when '<' then 'less than '
            else ''
        end
        || {{ metric_text('threshold') }}
        || case
            when metric in (
                {%- for metric in rule_metrics() if columns[metric].config.meta.get('in_window', true) -%}
                    '{{ metric }}'{{ ', ' if not loop.last }}
                {%- endfor -%}
            )
                then ' in ' || cast(window_days as string) || ' days'
            else ''
        end
        || ')'
    {% endif %}
{% endmacro %}

{# A value as a person writes it: shares in per cent, ratios (-1 to 1, such as a trend) with at most
   two decimals, everything else with at most one. #}
{% macro metric_text(value) %}
    coalesce(
        case
            when metric in ({{ metrics_in('share') }})
                then regexp_replace(cast({{ rounded('100 * ' ~ value, 1) }} as string), '[.]0$', '') || ' %'
            when metric in ({{ metrics_in('ratio') }})
                then regexp_replace(cast({{ rounded(value, 2) }} as string), '[.]0$', '')
            else regexp_replace(cast({{ rounded(value, 1) }} as string), '[.]0$', '')
        end,
        'not known'
    )
{% endmacro %}

{# The metrics of a unit, quoted, for an IN list. #}
{% macro metrics_in(unit) -%}
    {%- for name, column in columns_of_user_windows().items()
        if column.config.meta.get('unit') == unit -%}
        {{ ', ' if not loop.first }}'{{ name }}'
    {%- endfor -%}
{%- endmacro %}
