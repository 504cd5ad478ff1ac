with dates_to_build as (
    select * from {{ ref('persona_dates') }}
    where {{ needs_building() }}
),

matches as (
    select
        persona_matches.as_of_date,
        persona_matches.user_id,
        persona_matches.persona,
        persona_matches.strength,
        personas.priority,
        case personas.expected_risk when 'high' then 1 when 'medium' then 2 else 3 end
            as risk_order,
        count(*) over (partition by persona_matches.as_of_date, persona_matches.persona)
            as matching_viewers,
        dates_to_build.history_version as input_version
    from {{ ref('persona_matches') }} as persona_matches
    inner join dates_to_build on persona_matches.as_of_date = dates_to_build.as_of_date
    inner join {{ ref('personas') }} as personas on persona_matches.persona = personas.persona
    where persona_matches.is_match
)

-- 1 is the persona that the method gives the viewer
select
    as_of_date,
    user_id,
    persona,
    priority,
    cast(
        row_number() over (
            partition by as_of_date, user_id
            order by priority asc nulls last, persona asc nulls last
        ) as bigint
    ) as priority_rank,
    cast(
        row_number() over (
            partition by as_of_date, user_id
            order by strength desc nulls last, priority asc nulls last, persona asc nulls last
        ) as bigint
    ) as strongest_rank,
    cast(
        row_number() over (
            partition by as_of_date, user_id
            order by
                matching_viewers asc nulls last,
                priority asc nulls last,
                persona asc nulls last
        ) as bigint
    ) as rarest_rank,
    cast(
        row_number() over (
            partition by as_of_date, user_id
            order by risk_order asc nulls last, priority asc nulls last, persona asc nulls last
        ) as bigint
    ) as riskiest_rank,
    input_version
from matches
