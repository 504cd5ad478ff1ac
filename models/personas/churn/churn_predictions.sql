with outcomes as (
    select
        churn_counts.as_of_date,
        churn_counts.outcome_date,
        churn_counts.viewers,
        churn_counts.churned,
        churn_counts.present_viewers,
        churn_counts.present_churned,
        churn_rates.risk,
        churn_rates.base_rate,
        churn_rates.recency_rate
    from {{ ref('churn_counts') }} as churn_counts
    inner join {{ ref('churn_rates') }} as churn_rates
        on
            churn_counts.as_of_date = churn_rates.as_of_date
            and churn_counts.persona = churn_rates.persona
            and churn_counts.recency_band = churn_rates.recency_band
            and churn_counts.spell_band = churn_rates.spell_band
            and churn_counts.came_from = churn_rates.came_from
    where churn_rates.basis = 'estimated'
),

audiences as (
    select
        as_of_date,
        outcome_date,
        risk,
        recency_rate,
        base_rate,
        'everyone' as audience,
        viewers,
        churned
    from outcomes
    union all
    select
        as_of_date,
        outcome_date,
        risk,
        recency_rate,
        base_rate,
        'present' as audience,
        present_viewers as viewers,
        present_churned as churned
    from outcomes
),

predictions as (
    select
        as_of_date,
        outcome_date,
        audience,
        'churn_risk' as model,
        risk as predicted,
        viewers,
        churned
    from audiences
    union all
    select
        as_of_date,
        outcome_date,
        audience,
        'recency_alone' as model,
        recency_rate as predicted,
        viewers,
        churned
    from audiences
    union all
    select
        as_of_date,
        outcome_date,
        audience,
        'base_rate' as model,
        base_rate as predicted,
        viewers,
        churned
    from audiences
)

select
    as_of_date,
    outcome_date,
    audience,
    model,
    predicted,
    cast(sum(viewers) as bigint) as viewers,
    cast(sum(churned) as bigint) as churned
from predictions
where viewers > 0
group by 1, 2, 3, 4, 5
