{# Rows of persona_rules that name a persona, window, metric or operator that does not exist. #}
{% test known_rule_terms(model) %}
    select
        persona,
        alternative,
        clause,
        window_days,
        metric,
        operator
    from {{ model }}
    where
        persona not in (select persona from {{ ref('personas') }})
        or window_days not in ({{ window_lengths() | join(', ') }})
        or operator not in ('>=', '>', '<=', '<', '=')
        or metric not in ('{{ rule_metrics() | join("', '") }}')
{% endtest %}
