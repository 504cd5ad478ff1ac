with publications as (
    select * from {{ source('raw', 'publications') }}
)

select
    exposure,
    model,
    as_of_date,
    table_version,
    input_version,
    history_version,
    activity_version,
    rules_version,
    row_count,
    published_at,
    run_id
from publications
