{#- Newton's method; it has converged when the last step changes nothing. -#}
{%- set newton_steps = 12 -%}

-- each date, and all dates pooled with a null date
with predictions as (
    select
        as_of_date,
        outcome_date,
        audience,
        model,
        predicted,
        viewers,
        churned
    from {{ ref('churn_predictions') }}
    union all
    select
        cast(null as date) as as_of_date,
        cast(null as date) as outcome_date,
        audience,
        model,
        predicted,
        cast(sum(viewers) as bigint) as viewers,
        cast(sum(churned) as bigint) as churned
    from {{ ref('churn_predictions') }}
    group by 3, 4, 5
),

-- a key without nulls, for joins
ranked as (
    select
        *,
        concat_ws('|', coalesce(cast(as_of_date as string), 'pooled'), audience, model)
            as evaluation,
        viewers - churned as stayed,
        ln(
            greatest(0.000001, least(0.999999, predicted))
            / (1 - greatest(0.000001, least(0.999999, predicted)))
        ) as predicted_logit,
        sum(viewers) over (partition by as_of_date, audience, model) as all_viewers,
        sum(churned) over (partition by as_of_date, audience, model) as all_churned,
        sum(viewers - churned) over (
            partition by as_of_date, audience, model order by predicted asc nulls last
        ) as stayed_up_to,
        sum(viewers) over (
            partition by as_of_date, audience, model order by predicted desc nulls last
        ) as viewers_down_to
    from predictions
),

-- Of tied predictions across the edge of the highest tenth, the fraction inside counts: the mean
-- over all orders of the ties.
measured as (
    select
        evaluation,
        as_of_date,
        outcome_date,
        audience,
        model,
        cast(max(all_viewers) as bigint) as viewers,
        cast(max(all_churned) as bigint) as churned,
        {{ exact_sum('viewers * predicted', 'decimal(38, 15)') }} / max(all_viewers)
            as mean_predicted,
        round(
            {{ exact_sum(
                'churned * power(1 - predicted, 2) + stayed * power(predicted, 2)',
                'decimal(38, 15)'
            ) }} / max(all_viewers),
            12
        ) as brier_score,
        {{ exact_sum('churned * (stayed_up_to - stayed / 2.0)', 'decimal(38, 1)') }}
        / nullif(
            cast(max(all_churned) as double) * (max(all_viewers) - max(all_churned)), 0.0
        ) as auc,
        {{ exact_sum(
            'churned / cast(viewers as double) * greatest(0.0, least('
            ~ 'viewers, all_viewers / 10.0 - (viewers_down_to - viewers)))',
            'decimal(38, 15)'
        ) }} / (max(all_viewers) / 10.0) as churned_share_of_highest_tenth,
        -- no slope without two different predictions and two different outcomes
        max(predicted_logit) > min(predicted_logit)
        and max(all_churned) between 1 and max(all_viewers) - 1 as has_slope
    from ranked
    group by 1, 2, 3, 4, 5
),

-- Cox's logistic recalibration (1958): log odds of churn = intercept + slope * log odds predicted,
-- by maximum likelihood on grouped predictions.
fit_0 as (
    select
        evaluation,
        ln(churned / cast(viewers - churned as double)) as intercept,
        cast(0 as double) as slope
    from measured
    where has_slope
),
{% for step in range(1, newton_steps + 1) %}
    fitted_{{ step }} as (
        select
            ranked.*,
            fit.intercept,
            fit.slope,
            -- clipped to the range of exp, in case a step overshoots
            1 / (
                1 + exp(greatest(
                    -30, least(30, -fit.intercept - fit.slope * ranked.predicted_logit)
                ))
            ) as fitted
        from ranked
        inner join fit_{{ step - 1 }} as fit on ranked.evaluation = fit.evaluation
    ),

    sums_{{ step }} as (
        select
            evaluation,
            intercept,
            slope,
            {% for power in [0, 1, 2] -%}
                {{ exact_sum(
                    'viewers * fitted * (1 - fitted) * power(predicted_logit, ' ~ power ~ ')',
                    'decimal(38, 15)'
                ) }} as information_{{ power }},
            {% endfor -%}
            {{ exact_sum('churned - viewers * fitted', 'decimal(38, 15)') }} as residual_0,
            {{ exact_sum('(churned - viewers * fitted) * predicted_logit', 'decimal(38, 15)') }}
                as residual_1
        from fitted_{{ step }}
        group by 1, 2, 3
    ),

    determinants_{{ step }} as (
        select
            *,
            nullif(information_0 * information_2 - information_1 * information_1, 0) as determinant
        from sums_{{ step }}
    ),

    fit_{{ step }} as (
        select
            evaluation,
            intercept + (information_2 * residual_0 - information_1 * residual_1) / determinant
                as intercept,
            slope + (information_0 * residual_1 - information_1 * residual_0) / determinant as slope
        from determinants_{{ step }}
    ),
{% endfor %}
calibrations as (
    select
        last_fit.evaluation,
        -- + 0.0 makes a -0.0 a 0.0
        0.0 + round(last_fit.intercept, 9) as intercept,
        0.0 + round(last_fit.slope, 9) as slope
    from fit_{{ newton_steps }} as last_fit
    inner join fit_{{ newton_steps - 1 }} as fit_before
        on last_fit.evaluation = fit_before.evaluation
    where
        abs(last_fit.slope - fit_before.slope) < 0.000001
        and abs(last_fit.intercept - fit_before.intercept) < 0.000001
)

select
    measured.as_of_date,
    measured.outcome_date,
    measured.audience,
    measured.model,
    measured.viewers,
    measured.churned,
    measured.churned / cast(measured.viewers as double) as churned_share,
    measured.mean_predicted,
    measured.auc,
    measured.brier_score,
    1 - measured.brier_score / nullif(base_rate.brier_score, 0) as brier_skill,
    calibrations.slope as calibration_slope,
    calibrations.intercept as calibration_intercept,
    -- rounded: the maximum is ten
    round(
        measured.churned_share_of_highest_tenth
        / nullif(measured.churned / cast(measured.viewers as double), 0), 12
    ) as lift_at_tenth
from measured
inner join measured as base_rate
    on
        measured.as_of_date is not distinct from base_rate.as_of_date
        and measured.audience = base_rate.audience
        and base_rate.model = 'base_rate'
left join calibrations on measured.evaluation = calibrations.evaluation
