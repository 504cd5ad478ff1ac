with persona_dates as (
    select * from {{ ref('persona_dates') }}
),

dates_to_build as (
    select * from persona_dates
    where {{ needs_building() }}
),

personas as (
    select * from {{ ref('personas') }}
),

users as (
    select
        as_of_date,
        user_id
    from {{ ref('user_windows') }}
    where
        window_days = 28
        and as_of_date <= (select max(as_of_date) from dates_to_build)
),

matches as (
    select
        persona_matches.as_of_date,
        persona_matches.user_id,
        persona_matches.persona,
        persona_matches.strength,
        persona_matches.reason,
        count(*) over (partition by persona_matches.as_of_date, persona_matches.user_id)
            as match_count,
        row_number() over (
            partition by persona_matches.as_of_date, persona_matches.user_id
            order by personas.priority asc nulls last, persona_matches.persona asc nulls last
        ) as persona_rank
    from {{ ref('persona_matches') }} as persona_matches
    inner join personas on persona_matches.persona = personas.persona
    where persona_matches.is_match
),

all_matches as (
    select
        as_of_date,
        user_id,
        {{ list_of_texts('persona', 'persona_rank') }} as all_matches
    from matches
    group by 1, 2
),

chosen as (
    select
        users.as_of_date,
        users.user_id,
        coalesce(matches.persona, 'casual') as persona,
        coalesce(matches.match_count, 0) as match_count,
        all_matches.all_matches,
        matches.strength,
        matches.reason
    from users
    left join matches
        on
            users.as_of_date = matches.as_of_date
            and users.user_id = matches.user_id
            and matches.persona_rank = 1
    left join all_matches
        on users.as_of_date = all_matches.as_of_date and users.user_id = all_matches.user_id
),

-- a run ends where the persona changes and where the viewer is missing on a date of the list
with_previous as (
    select
        chosen.*,
        persona_dates.history_version,
        previous.persona as previous_persona
    from chosen
    inner join persona_dates on chosen.as_of_date = persona_dates.as_of_date
    left join chosen as previous
        on
            persona_dates.previous_as_of_date = previous.as_of_date
            and chosen.user_id = previous.user_id
),

with_since as (
    select
        *,
        max(case when coalesce(previous_persona <> persona, true) then as_of_date end) over (
            partition by user_id
            order by as_of_date asc nulls last
            rows between unbounded preceding and current row
        ) as persona_since
    from with_previous
)

select
    with_since.as_of_date,
    with_since.user_id,
    with_since.persona,
    with_since.match_count,
    coalesce(with_since.all_matches, {{ empty_list_of_texts() }}) as all_matches,
    with_since.strength,
    with_since.previous_persona,
    with_since.persona_since,
    personas.label || ': ' || coalesce(with_since.reason, personas.definition) as explanation,
    cast(null as double) as churn_risk,
    personas.expected_risk as churn_risk_level,
    with_since.history_version as input_version
from with_since
inner join personas on with_since.persona = personas.persona
where with_since.as_of_date in (select as_of_date from dates_to_build)
