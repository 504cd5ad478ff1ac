with events as (
    select * from {{ source('raw', 'events') }}
)

select
    source_date,
    event_id,
    user_id,
    content_id,
    event_type,
    occurred_at,
    has_time,
    watch_seconds,
    unreadable_seconds is not null as has_unreadable_seconds,
    event_count,
    device
from events
