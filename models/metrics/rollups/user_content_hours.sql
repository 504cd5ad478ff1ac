with source_dates as (
    select * from {{ ref('source_dates') }}
    where {{ needs_building() }}
),

event_types as (
    select * from {{ ref('event_types') }}
),

-- viewers in the default zone need no row here
user_zones as (
    select * from {{ ref('user_zones') }}
    where timezone <> '{{ var("default_timezone") }}'
),

zones as (
    select timezone from user_zones
    union distinct
    select '{{ var("default_timezone") }}' as timezone
),

-- clocks change on two days a year: on all others one offset holds from midnight to midnight, and
-- adding it is several times faster than converting the time of each event
offsets as (
    select
        timezone,
        source_date,
        case when offset_at_start = offset_at_end then offset_at_start end as utc_offset
    from (
        select
            zones.timezone,
            source_dates.source_date,
            {{ utc_offset('source_dates.source_date', 'zones.timezone') }} as offset_at_start,
            {{ utc_offset(plus_days('source_dates.source_date', 1), 'zones.timezone') }}
                as offset_at_end
        from zones
        cross join source_dates
    ) as zone_dates
),

-- the dates on which each quarter of an hour lies within one local hour in all zones
steady_dates as (
    select source_date
    from offsets
    group by 1
    having
        count(*) = count(
            case
                when
                    {{ quarter_hour('cast(source_date as timestamp) + utc_offset') }}
                    = cast(source_date as timestamp) + utc_offset
                    then 1
            end
        )
),

-- the viewers with a change of zone on a date
moves as (
    select
        zone_changes.user_id,
        source_dates.source_date
    from (
        select
            user_id,
            cast(valid_from as date) as source_date
        from user_zones
        union distinct
        select
            user_id,
            cast(valid_until as date) as source_date
        from user_zones
    ) as zone_changes
    inner join source_dates on zone_changes.source_date = source_dates.source_date
),

-- players report often: what events of a quarter of an hour share is looked up once
quarters as (
    {% for is_of_part in parts_in_time('events.occurred_at') %}
        select
            events.source_date,
            events.user_id,
            events.content_id,
            events.event_type,
            case
                when steady_dates.source_date is not null and moves.source_date is null
                    then {{ quarter_hour('events.occurred_at') }}
                else events.occurred_at
            end as counted_at,
            cast(sum(events.event_count) as bigint) as event_count,
            {{ exact_sum('events.watch_seconds') }} as watch_seconds,
            sum(case when events.has_unreadable_seconds then events.event_count else 0 end)
                as unreadable_events,
            min(events.occurred_at) as first_at,
            max(events.occurred_at) as last_at
        from {{ ref('stg_events') }} as events
        inner join source_dates on events.source_date = source_dates.source_date
        left join steady_dates on events.source_date = steady_dates.source_date
        left join moves
            on events.user_id = moves.user_id and events.source_date = moves.source_date
        where {{ is_of_part }}
        group by 1, 2, 3, 4, 5
        {{ 'union all' if not loop.last }}
    {% endfor %}
),

counted_events as (
    select
        quarters.*,
        coalesce(event_types.interaction, 'other') as interaction,
        coalesce(user_zones.timezone, '{{ var("default_timezone") }}') as timezone
    from quarters
    left join event_types on quarters.event_type = event_types.event_type
    left join user_zones
        on
            quarters.user_id = user_zones.user_id
            and quarters.counted_at >= user_zones.valid_from
            and quarters.counted_at < user_zones.valid_until
    where
        coalesce(event_types.counts_as_activity, true)
        and coalesce(event_types.interaction, 'other') <> 'ignore'
),

localised as (
    select
        counted_events.*,
        date_trunc(
            'hour',
            case
                when offsets.utc_offset is not null
                    then counted_events.counted_at + offsets.utc_offset
                else {{ local_time('counted_events.counted_at', 'counted_events.timezone') }}
            end
        ) as local_hour_at
    from counted_events
    left join offsets
        on
            counted_events.timezone = offsets.timezone
            and counted_events.source_date = offsets.source_date
),

user_content_hours as (
    select
        source_date,
        user_id,
        local_hour_at,
        content_id,
        interaction,
        cast(sum(event_count) as bigint) as event_count,
        -- only watching takes watch time: a trailer or a click with seconds is none
        {{ exact_sum("case when interaction = 'watch' then watch_seconds end") }} as watch_seconds,
        cast(
            sum(case when interaction = 'watch' then unreadable_events else 0 end) as bigint
        ) as unreadable_events,
        min(first_at) as first_at,
        max(last_at) as last_at
    from localised
    group by 1, 2, 3, 4, 5
)

select
    user_content_hours.source_date,
    user_content_hours.user_id,
    {{ activity_date('user_content_hours.local_hour_at') }} as activity_date,
    cast(extract(hour from user_content_hours.local_hour_at) as integer) as local_hour,
    user_content_hours.content_id,
    user_content_hours.interaction,
    user_content_hours.event_count,
    user_content_hours.watch_seconds,
    user_content_hours.unreadable_events,
    user_content_hours.first_at,
    user_content_hours.last_at,
    source_dates.input_version
from user_content_hours
inner join source_dates on user_content_hours.source_date = source_dates.source_date
