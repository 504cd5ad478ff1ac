with contents as (
    select * from {{ ref('stg_contents') }}
),

title_tags as (
    select
        title_id,
        {{ joined_text("concat_ws('|', tag, is_genre)") }} as tags
    from {{ ref('title_tags') }}
    group by title_id
)

select
    contents.content_id,
    contents.title_id,
    contents.title,
    coalesce(contents.content_type, 'unknown') as content_type,
    case when contents.content_type = 'episode' then contents.series_id end as series_id,
    contents.season_number,
    contents.episode_number,
    contents.runtime_seconds,
    contents.released_on,
    contents.unreadable_fields,
    -- only what metrics depend on: a new synopsis restates nothing
    md5(
        concat_ws(
            '|', contents.content_id, contents.title_id, coalesce(contents.content_type, '-'),
            coalesce(contents.series_id, '-'), coalesce(title_tags.tags, '-')
        )
    ) as entry_version
from contents
left join title_tags on contents.title_id = title_tags.title_id
