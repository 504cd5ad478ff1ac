with source_dates as (
    select * from {{ ref('source_dates') }}
),

-- the source dates that a local date draws on: its own and, if clocks differ from UTC, the one
-- before and the one after (offsets of -12 to +14 hours, days that start at up to 12 o'clock)
reach as (
    select
        case
            when {{ var('day_starts_at_hour') }} <> 0 then 1
            when '{{ var("default_timezone") }}' <> 'UTC' then 1
            else max(case when timezone <> 'UTC' then 1 else 0 end)
        end as days
    from {{ ref('user_zones') }}
),

offsets as (
    select -1 as days
    union all
    select 0 as days
    union all
    select 1 as days
),

drawn_on as (
    select
        {{ plus_days('source_dates.source_date', 'offsets.days') }} as activity_date,
        source_dates.source_date,
        source_dates.is_open,
        source_dates.input_version,
        coalesce(reach.days, 0) as reach_days
    from source_dates
    cross join reach
    inner join offsets on coalesce(reach.days, 0) >= abs(offsets.days)
)

select
    activity_date,
    sum(case when is_open then 0 else 1 end) = 2 * max(reach_days) + 1 as is_complete,
    md5(
        concat_ws(
            '|',
            {{ joined_text("concat_ws('|', source_date, input_version)") }},
            '{{ definition_version("activity_dates") }}'
        )
    ) as input_version
from drawn_on
group by activity_date
