with outcome_dates as (
    select
        as_of_date,
        outcome_date,
        outcome_history_version as input_version
    from {{ ref('persona_dates') }}
    where {{ needs_building() }}
),

cells as (
    select * from {{ ref('churn_cells') }}
    where as_of_date in (select as_of_date from outcome_dates)
)

select
    outcome_dates.as_of_date,
    outcome_dates.outcome_date,
    cells.persona,
    cells.recency_band,
    cells.spell_band,
    cells.came_from,
    count(*) as viewers,
    count(case when outcomes.is_churned then 1 end) as churned,
    count(case when outcomes.is_present then 1 end) as present_viewers,
    count(case when outcomes.is_present and outcomes.is_churned then 1 end) as present_churned,
    outcome_dates.input_version
from outcome_dates
inner join cells on outcome_dates.as_of_date = cells.as_of_date
inner join {{ ref('churn_outcomes') }} as outcomes
    on
        outcome_dates.outcome_date = outcomes.outcome_date
        and cells.user_id = outcomes.user_id
group by
    outcome_dates.as_of_date,
    outcome_dates.outcome_date,
    cells.persona,
    cells.recency_band,
    cells.spell_band,
    cells.came_from,
    outcome_dates.input_version
