with persona_dates as (
    select * from {{ ref('persona_dates') }}
),

publications as (
    select * from {{ ref('stg_publications') }}
    where model = 'personas.user_personas'
),

published_personas as (
    select * from {{ ref('stg_published_personas') }}
),

persona_choices as (
    select * from {{ ref('persona_choices') }}
),

-- the dates published at present, with the versions of their last publication
published_dates as (
    select
        publications.as_of_date,
        max_by(publications.input_version, publications.published_at) as input_version,
        max_by(publications.history_version, publications.published_at) as history_version,
        max_by(publications.activity_version, publications.published_at) as activity_version,
        max_by(publications.rules_version, publications.published_at) as rules_version
    from publications
    inner join (
        select as_of_date
        from published_personas
        group by as_of_date
    ) as kept_dates
        on publications.as_of_date = kept_dates.as_of_date
    group by publications.as_of_date
),

-- published and still listed
common_dates as (
    select
        persona_dates.as_of_date,
        published_dates.history_version <> persona_dates.history_version as is_restated,
        -- if several changed, the widest cause is named: new rules affect all viewers, late events
        -- bring contents with them, and documents are what is left
        case
            when published_dates.rules_version <> persona_dates.rules_version then 3
            when published_dates.activity_version <> persona_dates.activity_version then 2
            when published_dates.input_version <> persona_dates.input_version then 1
        end as own_cause
    from persona_dates
    inner join published_dates on persona_dates.as_of_date = published_dates.as_of_date
),

-- sticky passes a change on to later dates that did not change otherwise
restated_dates as (
    select
        as_of_date,
        case coalesce(own_cause, earlier_cause)
            when 1 then 'metadata'
            when 2 then 'late_data'
            else 'rule_change'
        end as cause
    from (
        select
            *,
            max(own_cause) over (
                order by as_of_date asc nulls last
                rows between unbounded preceding and current row
            ) as earlier_cause
        from common_dates
    ) as with_earlier
    where is_restated
),

compared_dates as (
    select
        (select max(as_of_date) from common_dates) as last_common_date,
        max(published_dates.as_of_date) as last_published_date,
        max(latest.as_of_date) as latest_date
    from published_dates
    inner join (select max(as_of_date) as as_of_date from persona_dates) as latest
        on published_dates.as_of_date <= latest.as_of_date
),

restated as (
    select
        coalesce(published.as_of_date, listed.as_of_date) as as_of_date,
        coalesce(published.user_id, listed.user_id) as user_id,
        published.persona as published_persona,
        listed.persona as current_persona
    from (
        select * from published_personas
        where as_of_date in (select as_of_date from restated_dates)
    ) as published
    full outer join (
        select * from persona_choices
        where as_of_date in (select as_of_date from restated_dates)
    ) as listed
        on published.as_of_date = listed.as_of_date and published.user_id = listed.user_id
    where coalesce(published.persona, '') <> coalesce(listed.persona, '')
),

restated_with_cause as (
    select
        restated.*,
        restated.as_of_date as published_as_of_date,
        restated_dates.cause
    from restated
    inner join restated_dates on restated.as_of_date = restated_dates.as_of_date
),

-- from the last published date to the latest one, if that is new
moved as (
    select
        coalesce(published.user_id, listed.user_id) as user_id,
        published.persona as published_persona,
        listed.persona as current_persona
    from (
        select * from published_personas
        where
            as_of_date = (
                select last_published_date from compared_dates
                where last_published_date < latest_date
            )
    ) as published
    full outer join (
        select * from persona_choices
        where
            as_of_date = (
                select latest_date from compared_dates
                where last_published_date < latest_date
            )
    ) as listed
        on published.user_id = listed.user_id
    where coalesce(published.persona, '') <> coalesce(listed.persona, '')
),

moved_with_cause as (
    select
        compared_dates.latest_date as as_of_date,
        moved.user_id,
        moved.published_persona,
        moved.current_persona,
        compared_dates.last_published_date as published_as_of_date,
        -- a change that the restatement already explains is not behaviour
        coalesce(restated_with_cause.cause, 'behaviour') as cause
    from moved
    cross join compared_dates
    left join restated_with_cause
        on
            compared_dates.last_common_date = restated_with_cause.as_of_date
            and moved.user_id = restated_with_cause.user_id
            and coalesce(moved.current_persona, '')
            = coalesce(restated_with_cause.current_persona, '')
),

changes as (
    select
        as_of_date,
        user_id,
        published_persona,
        current_persona,
        published_as_of_date,
        cause
    from restated_with_cause
    union all
    select
        as_of_date,
        user_id,
        published_persona,
        current_persona,
        published_as_of_date,
        cause
    from moved_with_cause
)

select
    as_of_date,
    user_id,
    'left' as change,
    published_persona as persona,
    current_persona as other_persona,
    cause,
    published_as_of_date
from changes
where published_persona is not null
union all
select
    as_of_date,
    user_id,
    'entered' as change,
    current_persona as persona,
    published_persona as other_persona,
    cause,
    published_as_of_date
from changes
where current_persona is not null
