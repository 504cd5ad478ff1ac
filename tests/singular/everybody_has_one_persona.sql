-- Viewers of an evaluation date who have no persona, or more than one, or are not in its audience.
with audience as (
    select
        as_of_date,
        user_id
    from {{ ref('user_windows') }}
    where window_days = {{ short_window() }}
),

personas as (
    select
        as_of_date,
        user_id,
        count(*) as personas
    from {{ ref('user_personas') }}
    group by 1, 2
)

select
    coalesce(audience.as_of_date, personas.as_of_date) as as_of_date,
    coalesce(audience.user_id, personas.user_id) as user_id,
    coalesce(personas.personas, 0) as personas
from audience
full outer join personas
    on audience.as_of_date = personas.as_of_date and audience.user_id = personas.user_id
where
    audience.user_id is null
    or personas.personas is null
    or personas.personas > 1
