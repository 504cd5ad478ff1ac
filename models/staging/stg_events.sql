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
    -- a negative, infinite or absurd (30 years) watch time becomes null
    case when watch_seconds >= 0 and watch_seconds < 1e9 then watch_seconds end as watch_seconds,
    event_count,
    device
from events
