with persona_dates as (
    select * from {{ ref('persona_dates') }}
),

bounds as (
    select min(as_of_date) as first_date
    from persona_dates
),

dates_to_build as (
    select * from persona_dates
    where {{ needs_building() }}
),

persona_choices as (
    select * from {{ ref('persona_choices') }}
),

steps as (
    select
        dates_to_build.as_of_date,
        {{ days_between('dates_to_build.previous_as_of_date', 'dates_to_build.as_of_date') }}
            as step_days,
        choices_before.persona as from_persona,
        {{ week_of_spell('choices_before.persona_since', 'choices_before.as_of_date') }}
            as weeks_in_spell,
        choices_before.persona_since = bounds.first_date as is_left_censored,
        coalesce(choices_after.persona, 'gone') as to_persona,
        dates_to_build.history_version as input_version
    from dates_to_build
    cross join bounds
    inner join persona_choices as choices_before
        on dates_to_build.previous_as_of_date = choices_before.as_of_date
    left join persona_choices as choices_after
        on
            dates_to_build.as_of_date = choices_after.as_of_date
            and choices_before.user_id = choices_after.user_id
)

select
    as_of_date,
    from_persona,
    weeks_in_spell,
    is_left_censored,
    to_persona,
    step_days,
    count(*) as viewers,
    input_version
from steps
group by
    as_of_date, from_persona, weeks_in_spell, is_left_censored, to_persona, step_days, input_version
