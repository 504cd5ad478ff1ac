{%- set method = var('exclusivity_method') -%}
{%- set rank = 'priority_rank' if method == 'sticky' else method ~ '_rank' -%}
{%- set kept = sticky_choices('first_choices', 'candidates') -%}

with persona_dates as (
    select * from {{ ref('persona_dates') }}
),

dates_to_build as (
    select * from persona_dates
    where {{ needs_building() }}
),

-- who a viewer was before is part of the result: all dates up to the last one to build
viewers as (
    select
        user_windows.as_of_date,
        user_windows.user_id,
        persona_dates.previous_as_of_date
    from {{ ref('user_windows') }} as user_windows
    inner join persona_dates on user_windows.as_of_date = persona_dates.as_of_date
    where
        user_windows.window_days = {{ short_window() }}
        and user_windows.as_of_date <= (select max(as_of_date) from dates_to_build)
),

candidates as (
    select
        as_of_date,
        user_id,
        persona,
        priority,
        {{ rank }} as choice_rank
    from {{ ref('persona_candidates') }}
    where as_of_date <= (select max(as_of_date) from dates_to_build)
),

matches as (
    select * from {{ ref('persona_matches') }}
    where is_match and as_of_date in (select as_of_date from dates_to_build)
),

all_matches as (
    select
        as_of_date,
        user_id,
        count(*) as match_count,
        {{ list_of_texts('persona', 'priority') }} as all_matches
    from candidates
    group by 1, 2
),

first_choices as (
    select
        viewers.as_of_date,
        viewers.user_id,
        viewers.previous_as_of_date,
        coalesce(candidates.persona, 'casual') as persona
    from viewers
    left join candidates
        on
            viewers.as_of_date = candidates.as_of_date
            and viewers.user_id = candidates.user_id
            and candidates.choice_rank = 1
),

choices as (
    {{ kept if method == 'sticky' else 'select * from first_choices' }}
),

-- a run ends where the persona changes and where the viewer is missing on a date of the list
with_previous as (
    select
        choices.*,
        previous.persona as previous_persona
    from choices
    left join choices as previous
        on
            choices.previous_as_of_date = previous.as_of_date
            and choices.user_id = previous.user_id
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
    coalesce(all_matches.match_count, 0) as match_count,
    coalesce(all_matches.all_matches, {{ empty_list_of_texts() }}) as all_matches,
    matches.strength,
    matches.reason,
    with_since.previous_persona,
    with_since.persona_since,
    dates_to_build.history_version as input_version
from with_since
inner join dates_to_build on with_since.as_of_date = dates_to_build.as_of_date
left join all_matches
    on with_since.as_of_date = all_matches.as_of_date and with_since.user_id = all_matches.user_id
left join matches
    on
        with_since.as_of_date = matches.as_of_date
        and with_since.user_id = matches.user_id
        and with_since.persona = matches.persona
