{#- What was known when is history, so a full refresh must keep it. This is a log because of the
    lookup in user_content_hours as an earlier run left it: only at this point is it known whether a
    viewer was active before their time zone was seen. Pruned days cannot be rebuilt and keep their
    clock. -#}
{%- set earlier_hours = load_relation(relation_of('model.viewer_personas.user_content_hours'))
    if execute and model.resource_type == 'model' -%}

with user_zones as (
    select * from {{ ref('user_zones') }}
    {% if is_incremental() %}
        where concat_ws('|', user_id, seen_at) not in (
            select concat_ws('|', user_id, seen_at) from {{ this }}
        )
    {% endif %}
),

slices as (
    select * from {{ source('raw', 'slices') }}
),

first_activity as (
    {% if earlier_hours %}
        select
            user_id,
            min(source_date) as source_date
        from {{ earlier_hours }}
        where
            user_id in (select user_id from user_zones)
            and source_date > (
                select coalesce(max(source_date), cast('1900-01-01' as date))
                from slices
                where events_dropped_at is not null
            )
        group by user_id
    {% else %}
        select
            cast(null as string) as user_id,
            cast(null as date) as source_date
        where false
    {% endif %}
)

select
    user_zones.user_id,
    user_zones.timezone,
    user_zones.seen_at,
    case
        when user_zones.valid_from = user_zones.seen_at then cast(user_zones.seen_at as date)
        when user_zones.timezone <> '{{ var("default_timezone") }}' then first_activity.source_date
    end as restated_from
from user_zones
left join first_activity on user_zones.user_id = first_activity.user_id
