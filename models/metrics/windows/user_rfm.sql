with as_of_dates as (
    select * from {{ ref('as_of_dates') }}
    where {{ needs_building() }}
),

user_windows as (
    select * from {{ ref('user_windows') }}
    where window_days = {{ long_window() }} and as_of_date in (select as_of_date from as_of_dates)
),

-- ties get equal scores, which ntile() does not guarantee: twice the midrank of a value is twice
-- the viewers below it plus those tied with it, out of twice all viewers with a known value
places as (
    select
        as_of_date,
        user_id,
        days_since_last_active,
        active_days,
        watch_minutes,
        {% for score, value, order in [
            ('recency', 'days_since_last_active', 'desc'),
            ('frequency', 'active_days', 'asc'),
            ('watch', 'watch_minutes', 'asc'),
        ] -%}
            2 * rank() over (partition by as_of_date order by {{ value }} {{ order }} nulls last)
            - 2 + count(*) over (partition by as_of_date, {{ value }}) as {{ score }}_place,
            2 * count({{ value }}) over (partition by as_of_date) as {{ score }}_places,
        {% endfor -%}
        input_version
    from user_windows
)

select
    as_of_date,
    user_id,
    days_since_last_active,
    active_days,
    watch_minutes,
    {% for score, value in [
        ('recency', 'days_since_last_active'),
        ('frequency', 'active_days'),
        ('watch', 'watch_minutes'),
    ] -%}
        case
            when {{ value }} is not null
                then 1 + cast(floor(5.0 * {{ score }}_place / {{ score }}_places) as integer)
        end as {{ score }}_score,
    {% endfor -%}
    input_version
from places
