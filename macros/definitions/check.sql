{# Whether the run selects a node of this package: hooks run in every invocation of a project that
   installs it. Always true while dbt parses, so that what is parsed depends on no run. #}
{% macro is_selected() %}
    {% if not execute %}{{ return(true) }}{% endif %}
    {% for unique_id in selected_resources if unique_id.split('.')[1] == 'viewer_personas' %}
        {{ return(true) }}
    {% endfor %}
    {{ return(false) }}
{% endmacro %}

{# Runs before anything else: an invalid value stops the run with the name of the variable. #}
{% macro check_definitions() %}
    {% if not execute %}{{ return('') }}{% endif %}
    {% for name, definition in definitions().items() %}
        {% set value = var(name) %}
        {% if definition.minimum is defined and value is not integer
            and not (definition.fractions is defined and value is float) %}
            {% do definition_error(
                name, value, 'a number' if definition.fractions is defined else 'a whole number'
            ) %}
        {# in this way, because .nan is neither less nor more than anything #}
        {% elif definition.minimum is defined
            and not definition.minimum <= value <= definition.maximum %}
            {% do definition_error(
                name, value, 'from ' ~ definition.minimum ~ ' to ' ~ definition.maximum
            ) %}
        {% elif definition.edges is defined and not are_edges(value) %}
            {% do definition_error(name, value, 'an ascending list of whole numbers from 1 to 3660') %}
        {% elif definition.choices is defined and value not in definition.choices %}
            {% do definition_error(name, value, 'one of ' ~ definition.choices | join(', ')) %}
        {% elif name == 'default_timezone'
            and (value is not string or value not in modules.pytz.all_timezones_set) %}
            {% do definition_error(name, value, 'an IANA name such as Europe/Berlin') %}
        {% endif %}
    {% endfor %}
    {% for name, key in moved_variables().items() if var(name, none) is not none %}
        {% do exceptions.raise_compiler_error(
            'Variable ' ~ name ~ ' is gone: write the mapping into the sources file, under ' ~ key
            ~ ', and load again.'
        ) %}
    {% endfor %}
    {% for earlier, later in in_order() if var(earlier) >= var(later) %}
        {% do definition_error(later, var(later), 'more than ' ~ earlier ~ ', ' ~ var(earlier)) %}
    {% endfor %}
    {# One week more than the lookback of the first evaluation date: for local dates, and for last
       days that are withdrawn. #}
    {% set days = var('lookback_days') + 7 * var('as_of_history_weeks') + 7 %}
    {% if 0 < var('history_retention_days') and var('history_retention_days') < days %}
        {% do definition_error(
            'history_retention_days', var('history_retention_days'),
            '0, or at least ' ~ days ~ ': lookback_days + 7 * as_of_history_weeks + 7'
        ) %}
    {% endif %}
{% endmacro %}

{# Whether a value is an ascending list of distinct whole numbers from 1 to 3660 (days). #}
{% macro are_edges(value) %}
    {% if value is string or value is mapping or value is not iterable or not value %}
        {{ return(false) }}
    {% endif %}
    {% for edge in value if edge is not integer %}
        {{ return(false) }}
    {% endfor %}
    {% if value[0] < 1 or value[-1] > 3660 or value | unique | sort | list != value | list %}
        {{ return(false) }}
    {% endif %}
    {{ return(true) }}
{% endmacro %}

{# Pairs of thresholds: the second must be larger. #}
{% macro in_order() %}
    {{ return([
        ('period_gap_days', 'sleepy_min_days'),
        ('ghost_min_gap_days', 'sleepy_min_days'),
        ('morning_starts_at_hour', 'daytime_starts_at_hour'),
        ('daytime_starts_at_hour', 'early_evening_starts_at_hour'),
        ('early_evening_starts_at_hour', 'prime_time_starts_at_hour'),
        ('prime_time_starts_at_hour', 'night_starts_at_hour'),
        ('churn_low_odds_ratio', 'churn_high_odds_ratio'),
    ]) }}
{% endmacro %}

{% macro definition_error(name, value, expected) %}
    {% do exceptions.raise_compiler_error(
        'Variable ' ~ name ~ ' (' ~ definitions()[name].is ~ ', in ' ~ definitions()[name].unit
        ~ ') is ' ~ value ~ '; it must be ' ~ expected ~ '. Change it in vars.yml, dbt_project.yml or --vars.'
    ) %}
{% endmacro %}

{# Variables of earlier versions -> the key of the sources file that has taken their place. #}
{% macro moved_variables() %}
    {{ return({'content_fields': 'contents.fields', 'user_fields': 'users.fields'}) }}
{% endmacro %}
