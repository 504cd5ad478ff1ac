with predictions as (
    select
        audience,
        model,
        predicted,
        cast(sum(viewers) as bigint) as viewers,
        cast(sum(churned) as bigint) as churned
    from {{ ref('churn_predictions') }}
    group by 1, 2, 3
),

ranked as (
    select
        *,
        sum(viewers) over (partition by audience, model) as all_viewers,
        sum(viewers) over (
            partition by audience, model order by predicted asc nulls last
        ) as viewers_up_to
    from predictions
),

-- equal predictions stay together, in the tenth of their middle; so there may be fewer than ten
binned as (
    select
        *,
        cast(1 + floor(10 * (viewers_up_to - viewers / 2.0) / all_viewers) as integer) as bin
    from ranked
)

select
    audience,
    model,
    bin,
    cast(sum(viewers) as bigint) as viewers,
    cast(sum(churned) as bigint) as churned,
    min(predicted) as lowest_predicted,
    max(predicted) as highest_predicted,
    {{ exact_sum('viewers * predicted', 'decimal(38, 15)') }} / sum(viewers) as mean_predicted,
    sum(churned) / cast(sum(viewers) as double) as churned_share
from binned
group by 1, 2, 3
