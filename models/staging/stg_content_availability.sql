with content_fields as (
    select * from {{ source('raw', 'content_fields') }}
),

availabilities as (
    select
        _id as content_id,
        {{ each_of('availability') }} as availability
    from content_fields
)

select
    content_id,
    availability.territory as territory,
    availability.available_from as available_from,
    availability.available_until as available_until
from availabilities
