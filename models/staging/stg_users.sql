{%- set field = var('user_fields') -%}
with users as (
    select * from {{ source('raw', 'users') }}
)

select
    _id as user_id,
    {{ json_text('doc', field.timezone) }} as timezone,
    {{ json_text('doc', field.territory) }} as territory,
    {{ text_as('date', json_text('doc', field.signed_up_on)) }} as signed_up_on,
    {{ text_as('date', json_text('doc', field.cancelled_on)) }} as cancelled_on,
    {{ text_as('boolean', json_text('doc', field.marketing_consent)) }} as has_marketing_consent,
    updated_at
from users
