with contents as (
    select * from {{ ref('stg_contents') }}
),

labels as (
    select title_id, {{ each_of('genres') }} as label, true as is_genre from contents
    union all
    select title_id, {{ each_of('tags') }} as label, false as is_genre from contents
),

-- grouped, because the episodes of a series repeat each other's tags
title_tags as (
    select
        title_id,
        lower(trim(label)) as tag,
        max(case when is_genre then 1 else 0 end) = 1 as is_genre
    from labels
    where trim(label) <> ''
    group by 1, 2
)

select
    title_id,
    tag,
    is_genre,
    1.0 / sqrt(count(*) over (partition by title_id)) as tag_weight,
    cast(
        row_number() over (partition by title_id order by tag asc nulls last) as integer
    ) as tag_number,
    case
        when is_genre
            then cast(
                row_number() over (partition by title_id, is_genre order by tag asc nulls last)
                as integer
            )
    end as genre_number
from title_tags
