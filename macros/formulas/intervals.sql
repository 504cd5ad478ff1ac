{# The standard normal quantile of the limits of 95 % intervals. #}
{% macro interval_quantile() %}{{ return('1.959963984540054') }}{% endmacro %}

{#
    The limits of the score interval (95 %) of a proportion of `successes` in `trials`; null without
    trials. Wilson, Probable inference, the law of succession, and statistical inference, Journal of
    the American Statistical Association 22, 1927. `side` is lower or upper.
#}
{% macro wilson_limit(successes, trials, side) -%}
    {%- set quantile = interval_quantile() -%}
    {%- set square = '(' ~ quantile ~ ' * ' ~ quantile ~ ')' -%}
    -- rounded, for the root is not exact: 0 of any number begins at 0
    0.0 + round(
        (
            {{ successes }} + {{ square }} / 2.0
            {{ '-' if side == 'lower' else '+' }} {{ quantile }} * sqrt(
                {{ successes }} * cast({{ trials }} - {{ successes }} as double)
                / nullif({{ trials }}, 0)
                + {{ square }} / 4.0
            )
        ) / ({{ trials }} + {{ square }}),
        12
    )
{%- endmacro %}

{#
    Weeks of a spell as far as they count for a forecast: at most forecast_max_weeks, and 0 where they
    are not known, because the spell began before the first evaluation date that is kept and has not
    been seen for so long.
#}
{% macro forecast_weeks(weeks_in_spell, is_left_censored) -%}
    case
        when {{ weeks_in_spell }} >= {{ var('forecast_max_weeks') }}
            then {{ var('forecast_max_weeks') }}
        when {{ is_left_censored }} then 0
        else {{ weeks_in_spell }}
    end
{%- endmacro %}

{# The week of its spell in which an evaluation date lies: 1 for the date on which it began. #}
{% macro week_of_spell(spell_start, as_of_date) -%}
    (1 + cast(floor({{ days_between(spell_start, as_of_date) }} / 7) as integer))
{%- endmacro %}
