{# What persona rules may speak of, and how they are said in business words. Both come from the
   column `meta` in the YAML of user_windows, so that a new metric is described in one place. #}

{# The metrics that a rule may name: the columns of user_windows with `meta.words`, in order. #}
{% macro rule_metrics() %}
    {% set metrics = [] %}
    {% if execute %}
        {% set columns = graph.nodes['model.viewer_personas.user_windows'].columns %}
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
        {% set columns = graph.nodes['model.viewer_personas.user_windows'].columns %}
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
    {%- for name, column in graph.nodes['model.viewer_personas.user_windows'].columns.items()
        if column.config.meta.get('unit') == unit -%}
        {{ ', ' if not loop.first }}'{{ name }}'
    {%- endfor -%}
{%- endmacro %}

{# Every match up to the last date to build, with what the methods of choosing look at. Needs the
   CTE dates_to_build. #}
{% macro ranked_matches() %}
    select
        persona_matches.as_of_date,
        persona_matches.user_id,
        persona_matches.persona,
        persona_matches.strength,
        persona_matches.reason,
        personas.priority,
        case personas.expected_risk when 'high' then 3 when 'medium' then 2 else 1 end
            as expected_risk,
        count(*) over (partition by persona_matches.as_of_date, persona_matches.persona)
            as viewers_who_match
    from {{ ref('persona_matches') }} as persona_matches
    inner join {{ ref('personas') }} as personas on persona_matches.persona = personas.persona
    where
        persona_matches.is_match
        and persona_matches.as_of_date <= (select max(as_of_date) from dates_to_build)
{% endmacro %}

{# How a method orders the personas that a viewer matches: the first one is theirs. Sticky orders as
   priority does where it has to choose anew. #}
{% macro order_of_choice(method) -%}
    {{ {
        'strongest': 'strength desc nulls last, ',
        'rarest': 'viewers_who_match asc nulls last, ',
        'riskiest': 'expected_risk desc nulls last, ',
    }.get(method, '') -}}
    priority asc nulls last, persona asc nulls last
{%- endmacro %}

{#
    One persona for each viewer and date by one method: as_of_date, user_id, previous_as_of_date and
    persona; casual without a match. Needs the CTEs viewers and matches.

    Sticky walks from date to date: a viewer keeps the persona of the date before while it matches.
#}
{% macro choices_by(method) %}
    with {{ 'recursive ' if method == 'sticky' }}first_choices as (
        select
            viewers.*,
            coalesce(ranked.persona, 'casual') as persona
        from viewers
        left join (
            select
                as_of_date,
                user_id,
                persona,
                row_number() over (
                    partition by as_of_date, user_id order by {{ order_of_choice(method) }}
                ) as choice_rank
            from matches
        ) as ranked
            on
                viewers.as_of_date = ranked.as_of_date
                and viewers.user_id = ranked.user_id
                and ranked.choice_rank = 1
    )
    {%- if method == 'sticky' %}
        {{- sticky_choices() }}
    {%- else %}

    select * from first_choices
    {%- endif %}
{% endmacro %}
