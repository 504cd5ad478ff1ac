{%- set field = var('content_fields') -%}
with contents as (
    select * from {{ source('raw', 'contents') }}
),

availabilities as (
    select
        _id as content_id,
        {{ each_of(json_documents('doc', field.availability)) }} as availability
    from contents
)

select
    content_id,
    {{ json_text('availability', field.territory) }} as territory,
    try_cast({{ json_text('availability', field.available_from) }} as date) as available_from,
    try_cast({{ json_text('availability', field.available_until) }} as date) as available_until
from availabilities
