{%- set quantile = interval_quantile() -%}

with dates_to_build as (
    select * from {{ ref('persona_dates') }}
    where {{ needs_building() }}
),

-- the age of a left-censored spell is unknown, so it cannot even enter late, at the week in which
-- it was first seen, and is left out
persona_steps as (
    select * from {{ ref('persona_steps') }}
    where step_days = 7 and not is_left_censored
),

weeks as (
    select
        dates_to_build.as_of_date,
        persona_steps.from_persona as persona,
        persona_steps.weeks_in_spell as weeks,
        cast(sum(persona_steps.viewers) as bigint) as at_risk,
        cast(
            sum(
                case
                    when persona_steps.to_persona <> persona_steps.from_persona
                        then persona_steps.viewers
                    else 0
                end
            ) as bigint
        ) as ended,
        dates_to_build.history_version as input_version
    from dates_to_build
    inner join persona_steps on dates_to_build.as_of_date >= persona_steps.as_of_date
    group by 1, 2, 3, 6
),

-- sums of logarithms and of Greenwood's terms over the weeks so far, exact in any order. If all
-- spells at risk end, no later week follows
sums as (
    select
        *,
        cast(
            sum(
                cast(ln(nullif(at_risk - ended, 0) / cast(at_risk as double)) as decimal(28, 15))
            ) over (
                partition by as_of_date, persona
                order by weeks asc nulls last
                rows between unbounded preceding and current row
            ) as double
        ) as log_survival,
        cast(
            sum(
                cast(
                    ended / nullif(cast(at_risk as double) * (at_risk - ended), 0)
                    as decimal(28, 15)
                )
            ) over (
                partition by as_of_date, persona
                order by weeks asc nulls last
                rows between unbounded preceding and current row
            ) as double
        ) as greenwood_sum
    from weeks
),

with_survival as (
    select
        *,
        case when ended = at_risk then 0.0 else round(exp(log_survival), 12) end as survival,
        -- the standard error of log(-log(survival)), times the quantile
        case
            when ended < at_risk and log_survival < 0
                then {{ quantile }} * sqrt(greenwood_sum) / abs(log_survival)
        end as log_log_error
    from sums
)

select
    as_of_date,
    persona,
    weeks,
    at_risk,
    ended,
    survival,
    case when ended < at_risk then round(survival * sqrt(greenwood_sum), 12) end as standard_error,
    round(power(survival, exp(log_log_error)), 12) as survival_lower,
    round(power(survival, exp(-log_log_error)), 12) as survival_upper,
    min(case when survival <= 0.5 then weeks end) over (partition by as_of_date, persona)
        as median_weeks,
    input_version
from with_survival
