{#- The first row of a viewer holds from the beginning: with no earlier information, a viewer's
    first known zone applies to all earlier dates. -#}
with user_history as (
    select * from {{ ref('user_history') }}
),

time_zones as (
    select * from {{ ref('time_zones') }}
)

select
    user_history.user_id,
    coalesce(time_zones.time_zone, '{{ var("default_timezone") }}') as timezone,
    cast(user_history.dbt_valid_from as timestamp) as seen_at,
    case
        when
            user_history.dbt_valid_from
            > min(user_history.dbt_valid_from) over (partition by user_history.user_id)
            then cast(user_history.dbt_valid_from as timestamp)
        else cast('1900-01-01' as timestamp)
    end as valid_from,
    coalesce(
        cast(user_history.dbt_valid_to as timestamp), cast('9999-12-31' as timestamp)
    ) as valid_until
from user_history
left join time_zones on user_history.timezone = time_zones.time_zone
