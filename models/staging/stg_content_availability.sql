with content_fields as (
    select * from {{ source('raw', 'content_fields') }}
),

availabilities as (
    select
        _id as content_id,
        {{ each_of('availability') }} as entry
    from content_fields
)

select
    availabilities.content_id,
    availabilities.entry.territory,
    availabilities.entry.available_from,
    availabilities.entry.available_until
from availabilities
