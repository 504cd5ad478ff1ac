with dates_to_build as (
    select * from {{ ref('persona_dates') }}
    where {{ needs_building() }}
),

cells as (
    select * from {{ ref('churn_cells') }}
    where as_of_date in (select as_of_date from dates_to_build)
),

rates as (
    select * from {{ ref('churn_rates') }}
    where as_of_date in (select as_of_date from dates_to_build)
)

select
    cells.as_of_date,
    cells.user_id,
    rates.risk,
    rates.lower,
    rates.upper,
    rates.level,
    rates.base_rate,
    rates.basis,
    cells.persona,
    cells.recency_band,
    cells.spell_band,
    cells.came_from,
    rates.observations as cell_observations,
    rates.effective_viewers,
    rates.input_version
from cells
inner join rates
    on
        cells.as_of_date = rates.as_of_date
        and cells.persona = rates.persona
        and cells.recency_band = rates.recency_band
        and cells.spell_band = rates.spell_band
        and cells.came_from = rates.came_from
