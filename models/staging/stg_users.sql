{%- set field = var('user_fields') -%}
with users as (
    select * from {{ source('raw', 'users') }}
)

select
    _id as user_id,
    {{ json_text('doc', field.timezone) }} as timezone,
    {{ json_text('doc', field.territory) }} as territory,
    try_cast({{ json_text('doc', field.signed_up_on) }} as date) as signed_up_on,
    try_cast({{ json_text('doc', field.cancelled_on) }} as date) as cancelled_on,
    try_cast({{ json_text('doc', field.marketing_consent) }} as boolean) as has_marketing_consent,
    updated_at
from users
