with slices as (
    select * from {{ source('raw', 'slices') }}
    -- without a version: expired, as it is older than history_retention_days
    where version is not null
),

restatements as (
    select
        restated_from,
        {{ joined_text("concat_ws('|', user_id, timezone)") }} as restated
    from {{ ref('zone_restatements') }}
    where restated_from is not null
    group by restated_from
),

restated_slices as (
    select
        slices.source_date,
        slices.version,
        slices.row_count,
        coalesce(slices.is_open, false) as is_open,
        slices.events_dropped_at is null or slices.row_count = 0 as has_events,
        md5({{ joined_text("concat_ws('|', restatements.restated_from, restatements.restated)") }})
            as zone_version
    from slices
    left join restatements on slices.source_date >= restatements.restated_from
    group by
        slices.source_date,
        slices.version,
        slices.row_count,
        slices.is_open,
        slices.events_dropped_at
)

select
    restated_slices.source_date,
    restated_slices.row_count,
    restated_slices.is_open,
    restated_slices.has_events,
    restated_slices.version as slice_version,
    md5(
        concat_ws(
            '|',
            restated_slices.version,
            coalesce(restated_slices.zone_version, '-'),
            {{ seed_version('event_types') }},
            {{ seed_version('time_zones') }},
            '{{ definition_version("source_dates") }}'
        )
    ) as input_version
from restated_slices
