{%- set field = var('content_fields') -%}
with contents as (
    select * from {{ source('raw', 'contents') }}
),

typed as (
    select
        _id as content_id,
        {{ json_text('doc', field.title) }} as title,
        nullif(lower({{ json_text('doc', field.content_type) }}), '') as content_type,
        nullif({{ json_text('doc', field.series_id) }}, '') as series_id,
        {{ text_as('integer', json_text('doc', field.season_number)) }} as season_number,
        {{ text_as('integer', json_text('doc', field.episode_number)) }} as episode_number,
        {{ json_texts('doc', field.genres) }} as genres,
        {{ json_texts('doc', field.tags) }} as tags,
        {{ text_as('double', json_text('doc', field.runtime_seconds)) }} as runtime_seconds,
        {{ text_as('date', json_text('doc', field.released_on)) }} as released_on,
        updated_at,
        doc
    from contents
)

select
    content_id,
    title,
    content_type,
    series_id,
    season_number,
    episode_number,
    genres,
    tags,
    runtime_seconds,
    released_on,
    updated_at,
    nullif(
        concat_ws(
            ', ',
            {%- for name in ['title', 'content_type', 'series_id'] %}
                case
                    when {{ json_kind('doc', field[name]) }} in ('list', 'object')
                        then '{{ name }}'
                end,
            {%- endfor %}
            {%- for name in ['season_number', 'episode_number', 'runtime_seconds', 'released_on'] %}
                case
                    -- an empty text is treated as null
                    when
                        {{ name }} is null
                        and {{ json_kind('doc', field[name]) }} is not null
                        and coalesce({{ json_text('doc', field[name]) }}, '-') <> ''
                        then '{{ name }}'
                end,
            {%- endfor %}
            {%- for name in ['genres', 'tags'] %}
                case when {{ json_kind('doc', field[name]) }} = 'object' then '{{ name }}' end,
            {%- endfor %}
            case
                when {{ json_kind('doc', field.availability) }} in ('scalar', 'object')
                    then 'availability'
            end
        ),
        ''
    ) as unreadable_fields
from typed
