with source_dates as (
    select * from {{ ref('source_dates') }}
    where {{ needs_building() }}
),

events as (
    select * from {{ ref('stg_events') }}
    where source_date in (select source_date from source_dates)
),

event_types as (
    select * from {{ ref('event_types') }}
),

-- nobody needs a row here whose clock is the default one
user_zones as (
    select * from {{ ref('user_zones') }}
    where timezone <> '{{ var("default_timezone") }}'
),

localised as (
    select
        events.*,
        coalesce(event_types.interaction, 'other') as interaction,
        case
            when user_zones.timezone is not null
                then {{ local_time('events.occurred_at', 'user_zones.timezone') }}
            {% if var('default_timezone') != 'UTC' -%}
                else {{ local_time('events.occurred_at', "'" ~ var('default_timezone') ~ "'") }}
            {% else -%}
                else events.occurred_at
            {% endif -%}
        end as local_at
    from events
    left join event_types on events.event_type = event_types.event_type
    left join user_zones
        on
            events.user_id = user_zones.user_id
            and events.occurred_at >= user_zones.valid_from
            and events.occurred_at < user_zones.valid_until
    where
        coalesce(event_types.counts_as_activity, true)
        and coalesce(event_types.interaction, 'other') <> 'ignore'
),

user_content_hours as (
    select
        source_date,
        user_id,
        {{ activity_date('local_at') }} as activity_date,
        cast(extract(hour from local_at) as integer) as local_hour,
        content_id,
        interaction,
        cast(sum(event_count) as bigint) as event_count,
        {{ exact_sum('watch_seconds') }} as watch_seconds,
        min(occurred_at) as first_at,
        max(occurred_at) as last_at
    from localised
    group by 1, 2, 3, 4, 5, 6
)

select
    user_content_hours.source_date,
    user_content_hours.user_id,
    user_content_hours.activity_date,
    user_content_hours.local_hour,
    user_content_hours.content_id,
    user_content_hours.interaction,
    user_content_hours.event_count,
    user_content_hours.watch_seconds,
    user_content_hours.first_at,
    user_content_hours.last_at,
    source_dates.input_version
from user_content_hours
inner join source_dates on user_content_hours.source_date = source_dates.source_date
