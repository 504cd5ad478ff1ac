-- each unknown type by name: it counts as activity of the kind other until the seed says more
{{ config(severity='warn') }}

select
    stg_events.event_type,
    cast(sum(stg_events.event_count) as bigint) as events,
    min(stg_events.source_date) as first_date,
    max(stg_events.source_date) as last_date
from {{ ref('stg_events') }} as stg_events
left join {{ ref('event_types') }} as event_types on stg_events.event_type = event_types.event_type
where event_types.event_type is null
group by stg_events.event_type
