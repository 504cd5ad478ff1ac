with source_dates as (
    select * from {{ ref('source_dates') }}
    where {{ needs_building() }}
),

user_content_hours as (
    select * from {{ ref('user_content_hours') }}
    where source_date in (select source_date from source_dates)
),

source_contents as (
    select
        source_date,
        content_id,
        interaction,
        cast(sum(event_count) as bigint) as event_count
    from user_content_hours
    group by 1, 2, 3
)

select
    source_contents.source_date,
    source_contents.content_id,
    source_contents.interaction,
    source_contents.event_count,
    source_dates.input_version
from source_contents
inner join source_dates on source_contents.source_date = source_dates.source_date
