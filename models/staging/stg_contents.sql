{%- set field = var('content_fields') -%}
with contents as (
    select * from {{ source('raw', 'contents') }}
)

select
    _id as content_id,
    {{ json_text('doc', field.title) }} as title,
    nullif(lower({{ json_text('doc', field.content_type) }}), '') as content_type,
    nullif({{ json_text('doc', field.series_id) }}, '') as series_id,
    try_cast({{ json_text('doc', field.season_number) }} as integer) as season_number,
    try_cast({{ json_text('doc', field.episode_number) }} as integer) as episode_number,
    {{ json_texts('doc', field.genres) }} as genres,
    {{ json_texts('doc', field.tags) }} as tags,
    try_cast({{ json_text('doc', field.runtime_seconds) }} as double) as runtime_seconds,
    try_cast({{ json_text('doc', field.released_on) }} as date) as released_on,
    updated_at
from contents
