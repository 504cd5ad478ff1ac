{%- set longest_spell = var('churn_spell_bands')[-1] -%}

with persona_dates as (
    select * from {{ ref('persona_dates') }}
),

dates_to_build as (
    select * from persona_dates
    where {{ needs_building() }}
),

choices as (
    select * from {{ ref('persona_choices') }}
    where as_of_date <= (select max(as_of_date) from dates_to_build)
),

-- a spell that began on the first kept date may be much older
spells as (
    select
        choices.as_of_date,
        choices.user_id,
        choices.persona,
        dates_to_build.history_version,
        {{ days_between('choices.persona_since', 'choices.as_of_date') }} as days_in_persona,
        coalesce(first_choices.previous_persona, 'none') as came_from,
        choices.persona_since > (select min(as_of_date) from persona_dates) as is_start_known
    from choices
    inner join dates_to_build on choices.as_of_date = dates_to_build.as_of_date
    inner join choices as first_choices
        on
            choices.persona_since = first_choices.as_of_date
            and choices.user_id = first_choices.user_id
),

user_windows as (
    select
        as_of_date,
        user_id,
        days_since_last_active
    from {{ ref('user_windows') }}
    where window_days = {{ short_window() }}
)

select
    spells.as_of_date,
    spells.user_id,
    spells.persona,
    case
        when user_windows.days_since_last_active is null then 'never'
        {%- for edge in var('churn_recency_bands') %}
            when user_windows.days_since_last_active < {{ edge }}
                then '{{ 0 if loop.first else loop.previtem }}-{{ edge - 1 }}'
        {%- endfor %}
        else '{{ var('churn_recency_bands')[-1] }}+'
    end as recency_band,
    case
        when not spells.is_start_known and spells.days_in_persona < {{ longest_spell }}
            then 'not known'
        {%- for edge in var('churn_spell_bands') %}
            when spells.days_in_persona < {{ edge }}
                then '{{ 0 if loop.first else loop.previtem }}-{{ edge - 1 }}'
        {%- endfor %}
        else '{{ longest_spell }}+'
    end as spell_band,
    case when spells.is_start_known then spells.came_from else 'not known' end as came_from,
    spells.history_version as input_version
from spells
inner join user_windows
    on spells.as_of_date = user_windows.as_of_date and spells.user_id = user_windows.user_id
