{#- Weekly dates look at one day of the future several times: it is counted as once. -#}
{%- set weight = ([1.0, 7 / var('churn_horizon_days')] | min | round(9)) ~ 'e0' -%}
{%- set prior = var('churn_prior_viewers') -%}

with dates_to_build as (
    select * from {{ ref('persona_dates') }}
    where {{ needs_building() }}
),

-- the cells that viewers are in on the date, and those of which something is known by then: the
-- outcomes of earlier dates whose horizon was over
counts as (
    select
        dates_to_build.as_of_date,
        dates_to_build.risk_version as input_version,
        churn_cells.persona,
        churn_cells.recency_band,
        churn_cells.spell_band,
        churn_cells.came_from,
        count(*) as viewers,
        0 as observations,
        0 as churned,
        cast(null as date) as outcome_date
    from dates_to_build
    inner join {{ ref('churn_cells') }} as churn_cells
        on dates_to_build.as_of_date = churn_cells.as_of_date
    group by 1, 2, 3, 4, 5, 6
    union all
    select
        dates_to_build.as_of_date,
        dates_to_build.risk_version as input_version,
        churn_counts.persona,
        churn_counts.recency_band,
        churn_counts.spell_band,
        churn_counts.came_from,
        0 as viewers,
        churn_counts.viewers as observations,
        churn_counts.churned,
        churn_counts.outcome_date
    from dates_to_build
    inner join {{ ref('churn_counts') }} as churn_counts
        on dates_to_build.as_of_date >= churn_counts.outcome_date
),

cells as (
    select
        as_of_date,
        input_version,
        persona,
        recency_band,
        spell_band,
        came_from,
        cast(sum(viewers) as bigint) as viewers,
        cast(sum(observations) as bigint) as cell_observations,
        cast(sum(churned) as bigint) as cell_churned,
        max(outcome_date) as outcome_date
    from counts
    group by 1, 2, 3, 4, 5, 6
),

-- from the whole audience down to the cell, and by recency alone for comparison
with_parents as (
    select
        *,
        {% for group, columns in {
            'all': '',
            'recency_alone': ', recency_band',
            'persona': ', persona',
            'persona_recency': ', persona, recency_band',
            'spell': ', persona, recency_band, spell_band',
        }.items() -%}
            cast(sum(cell_observations) over (partition by as_of_date{{ columns }}) as bigint)
                as {{ group }}_observations,
            cast(sum(cell_churned) over (partition by as_of_date{{ columns }}) as bigint)
                as {{ group }}_churned,
        {% endfor -%}
        max(outcome_date) over (partition by as_of_date) as last_outcome_date
    from cells
),

with_base_rate as (
    select
        *,
        all_churned / cast(nullif(all_observations, 0) as double) as base_rate
    from with_parents
    where viewers > 0
),
{# Each group counts churn_prior_viewers more, who churn as its parent does. #}
{%- set before = namespace(step='with_base_rate') %}
{%- for group, parent in [
    ('recency_alone', 'base'),
    ('persona', 'base'),
    ('persona_recency', 'persona'),
    ('spell', 'persona_recency'),
    ('cell', 'spell'),
] %}
    with_{{ group }}_rate as (
        select
            *,
            ({{ weight }} * {{ group }}_churned + {{ prior }} * {{ parent }}_rate)
            / ({{ weight }} * {{ group }}_observations + {{ prior }}) as {{ group }}_rate
        from {{ before.step }}
    ),
    {% set before.step = 'with_' ~ group ~ '_rate' %}
{% endfor %}
with_risk as (
    select
        *,
        cell_rate as risk,
        {{ weight }} * cell_observations + {{ prior }} as effective_viewers
    from {{ before.step }}
)

select
    with_risk.as_of_date,
    with_risk.persona,
    with_risk.recency_band,
    with_risk.spell_band,
    with_risk.came_from,
    with_risk.viewers,
    with_risk.cell_observations as observations,
    with_risk.cell_churned as churned,
    case when with_risk.risk is not null then with_risk.effective_viewers end
        as effective_viewers,
    with_risk.risk,
    {% for side in ['lower', 'upper'] -%}
        {{ wilson_limit(
            'with_risk.risk * with_risk.effective_viewers', 'with_risk.effective_viewers', side
        ) }} as {{ side }},
    {% endfor -%}
    with_risk.base_rate,
    with_risk.recency_alone_rate as recency_rate,
    with_risk.persona_rate,
    -- odds of the risk against odds of the base rate, without dividing by what may be zero
    case
        when with_risk.risk is null then personas.expected_risk
        when with_risk.risk = with_risk.base_rate then 'medium'
        when
            with_risk.risk * (1 - with_risk.base_rate)
            >= {{ var('churn_high_odds_ratio') }}
            * with_risk.base_rate * (1 - with_risk.risk)
            then 'high'
        when
            with_risk.risk * (1 - with_risk.base_rate)
            <= {{ var('churn_low_odds_ratio') }}
            * with_risk.base_rate * (1 - with_risk.risk)
            then 'low'
        else 'medium'
    end as level,
    case when with_risk.risk is null then 'expected' else 'estimated' end as basis,
    with_risk.last_outcome_date,
    with_risk.input_version
from with_risk
inner join {{ ref('personas') }} as personas on with_risk.persona = personas.persona
