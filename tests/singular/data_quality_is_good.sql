-- suspicious data is reported, never dropped: a warning for each check over the last four weeks
{{ config(severity='warn') }}

select
    quality_check,
    sum(affected) as affected,
    sum(total) as total,
    max(example) as example
from {{ ref('data_quality') }}
where
    source_date > (
        select {{ plus_days('max(source_date)', -28) }} from {{ ref('source_dates') }}
    )
group by quality_check
having sum(affected) > {{ var('quality_max_share') }} * sum(total)
