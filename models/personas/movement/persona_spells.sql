with persona_choices as (
    select * from {{ ref('persona_choices') }}
),

persona_dates as (
    select * from {{ ref('persona_dates') }}
),

bounds as (
    select min(as_of_date) as first_date
    from persona_dates
),

next_dates as (
    select
        previous_as_of_date as as_of_date,
        as_of_date as next_as_of_date
    from persona_dates
),

runs as (
    select
        user_id,
        persona_since as spell_start,
        persona,
        max(as_of_date) as spell_end,
        count(*) as evaluation_dates
    from persona_choices
    group by 1, 2, 3
),

-- seen to have ended on the evaluation date after its last one, whatever follows
with_end as (
    select
        runs.*,
        next_dates.next_as_of_date as ended_on
    from runs
    left join next_dates on runs.spell_end = next_dates.as_of_date
),

with_neighbours as (
    select
        *,
        lag(persona) over (partition by user_id order by spell_start asc nulls last)
            as earlier_persona,
        lag(ended_on) over (partition by user_id order by spell_start asc nulls last)
            as earlier_ended_on,
        lead(persona) over (partition by user_id order by spell_start asc nulls last)
            as later_persona,
        lead(spell_start) over (partition by user_id order by spell_start asc nulls last)
            as later_start
    from with_end
)

select
    with_neighbours.user_id,
    with_neighbours.spell_start,
    with_neighbours.persona,
    with_neighbours.spell_end,
    with_neighbours.ended_on,
    with_neighbours.evaluation_dates,
    {{ days_between(
        'with_neighbours.spell_start',
        'coalesce(with_neighbours.ended_on, with_neighbours.spell_end)'
    ) }} as days,
    case
        when with_neighbours.earlier_ended_on = with_neighbours.spell_start
            then with_neighbours.earlier_persona
        when with_neighbours.earlier_ended_on < with_neighbours.spell_start then 'gone'
    end as entered_from,
    case
        when with_neighbours.later_start = with_neighbours.ended_on
            then with_neighbours.later_persona
        when with_neighbours.ended_on is not null then 'gone'
    end as next_persona,
    with_neighbours.spell_start = bounds.first_date as is_left_censored,
    with_neighbours.ended_on is null as is_censored
from with_neighbours
cross join bounds
