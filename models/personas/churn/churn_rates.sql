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
),

-- Wilson's interval (1927) at 95 %: 3.8416 is the square of 1.96
with_interval as (
    select
        *,
        (risk + 1.9208 / effective_viewers) / (1 + 3.8416 / effective_viewers) as centre,
        1.96 / (1 + 3.8416 / effective_viewers) * sqrt(
            risk * (1 - risk) / effective_viewers
            + 0.9604 / (effective_viewers * effective_viewers)
        ) as half_width
    from with_risk
)

select
    with_interval.as_of_date,
    with_interval.persona,
    with_interval.recency_band,
    with_interval.spell_band,
    with_interval.came_from,
    with_interval.viewers,
    with_interval.cell_observations as observations,
    with_interval.cell_churned as churned,
    case when with_interval.risk is not null then with_interval.effective_viewers end
        as effective_viewers,
    with_interval.risk,
    -- Spark and DuckDB leave nulls out of greatest and least
    case
        when with_interval.risk is not null
            then greatest(0.0, with_interval.centre - with_interval.half_width)
    end as lower,
    case
        when with_interval.risk is not null
            then least(1.0, with_interval.centre + with_interval.half_width)
    end as upper,
    with_interval.base_rate,
    with_interval.recency_alone_rate as recency_rate,
    with_interval.persona_rate,
    -- odds of the risk against odds of the base rate, without dividing by what may be zero
    case
        when with_interval.risk is null then personas.expected_risk
        when with_interval.risk = with_interval.base_rate then 'medium'
        when
            with_interval.risk * (1 - with_interval.base_rate)
            >= {{ var('churn_high_odds_ratio') }}
            * with_interval.base_rate * (1 - with_interval.risk)
            then 'high'
        when
            with_interval.risk * (1 - with_interval.base_rate)
            <= {{ var('churn_low_odds_ratio') }}
            * with_interval.base_rate * (1 - with_interval.risk)
            then 'low'
        else 'medium'
    end as level,
    case when with_interval.risk is null then 'expected' else 'estimated' end as basis,
    with_interval.last_outcome_date,
    with_interval.input_version
from with_interval
inner join {{ ref('personas') }} as personas on with_interval.persona = personas.persona
