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
    {{ text_as('date', json_text('availability', field.available_from)) }} as available_from,
    {{ text_as('date', json_text('availability', field.available_until)) }} as available_until
from availabilities
