with content_fields as (
    select * from {{ source('raw', 'content_fields') }}
),

content_types as (
    select * from {{ ref('content_types') }}
),

classified as (
    select
        content_fields.*,
        case
            when lower(trim(content_fields.content_type)) <> ''
                then coalesce(content_types.kind, 'other')
        end as kind
    from content_fields
    left join content_types
        on lower(trim(content_fields.content_type)) = content_types.content_type
)

select
    _id as content_id,
    case when kind = 'episode' then coalesce(series_id, _id) else _id end as title_id,
    title,
    kind as content_type,
    content_type as service_content_type,
    series_id,
    season_number,
    episode_number,
    genres,
    tags,
    runtime_seconds,
    released_on,
    updated_at,
    unreadable_fields
from classified
