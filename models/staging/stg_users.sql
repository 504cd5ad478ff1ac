with user_fields as (
    select * from {{ source('raw', 'user_fields') }}
)

select
    _id as user_id,
    timezone,
    territory,
    signed_up_on,
    cancelled_on,
    marketing_consent as has_marketing_consent,
    unreadable_fields,
    updated_at
from user_fields
