with as_of_dates as (
    select * from {{ ref('as_of_dates') }}
    where {{ needs_building() }}
),

rhythms as (
    select
        *,
        {{ plus_days('as_of_date', '1 - window_days') }} as window_start
    from {{ ref('window_rhythms') }}
    where window_days = 84 and as_of_date in (select as_of_date from as_of_dates)
),

cells as (
    select
        rhythms.as_of_date,
        rhythms.user_id,
        rhythms.measure,
        {{ iso_weekday('user_hours.activity_date') }} as weekday,
        {{ daypart('user_hours.local_hour') }} as daypart,
        case
            when rhythms.measure = 'watch_minutes'
                then {{ exact_sum('user_hours.watch_seconds') }} / 60.0
            else cast(sum(user_hours.interactions) as double)
        end as amount
    from rhythms
    inner join {{ ref('user_hours') }} as user_hours
        on
            rhythms.user_id = user_hours.user_id
            and rhythms.window_start <= user_hours.activity_date
            and rhythms.as_of_date >= user_hours.activity_date
    group by 1, 2, 3, 4, 5
),

heat_maps as (
    select
        as_of_date,
        user_id,
        {{ list_of_structs({'weekday': 'weekday', 'daypart': 'daypart', 'amount': 'amount'}) }}
            as weekday_dayparts
    from cells
    where amount > 0
    group by 1, 2
),

days as (
    select
        rhythms.as_of_date,
        rhythms.user_id,
        user_days.activity_date,
        user_days.activity_date >= rhythms.window_start as is_in_window,
        extract(day from user_days.activity_date) as day_of_month,
        case
            when rhythms.measure = 'watch_minutes' then user_days.watch_seconds
            else user_days.interactions
        end as amount
    from rhythms
    inner join as_of_dates on rhythms.as_of_date = as_of_dates.as_of_date
    inner join {{ ref('user_days') }} as user_days
        on
            rhythms.user_id = user_days.user_id
            and as_of_dates.lookback_start <= user_days.activity_date
            and rhythms.as_of_date >= user_days.activity_date
),

thirds as (
    select
        as_of_date,
        user_id,
        {{ exact_sum('case when day_of_month <= 10 then amount end') }} as first_third,
        {{ exact_sum('case when day_of_month between 11 and 20 then amount end') }} as middle_third,
        {{ exact_sum('case when day_of_month > 20 then amount end') }} as last_third,
        {{ exact_sum('amount') }} as amount
    from days
    where is_in_window
    group by 1, 2
),

-- weeks of seven days that end on the evaluation date, 0 the latest
active_weeks as (
    select
        as_of_date,
        user_id,
        cast(floor({{ days_between('activity_date', 'as_of_date') }} / 7.0) as integer) as week
    from days
    group by 1, 2, 3
),

-- in an unbroken run up to the date, the week number is the number of active weeks after it
streaks as (
    select
        as_of_date,
        user_id,
        count(case when week = later_weeks then 1 end) as weeks_active_streak
    from (
        select
            *,
            count(*) over (
                partition by as_of_date, user_id order by week asc nulls last
                rows between unbounded preceding and current row
            ) - 1 as later_weeks
        from active_weeks
    ) as numbered_weeks
    group by 1, 2
)

select
    rhythms.as_of_date,
    rhythms.user_id,
    rhythms.measure,
    rhythms.amount,
    heat_maps.weekday_dayparts,
    rhythms.weekend_share,
    rhythms.prime_time_share,
    rhythms.night_share,
    rhythms.peak_weekday,
    rhythms.peak_hour,
    rhythms.hour_concentration,
    rhythms.watched_hours,
    rhythms.weekday_concentration,
    rhythms.watched_days,
    {% for third in ['first', 'middle', 'last'] -%}
        coalesce(thirds.{{ third }}_third, 0.0) / thirds.amount as {{ third }}_third_of_month_share,
    {% endfor -%}
    streaks.weeks_active_streak,
    rhythms.input_version
from rhythms
inner join heat_maps
    on rhythms.as_of_date = heat_maps.as_of_date and rhythms.user_id = heat_maps.user_id
inner join thirds
    on rhythms.as_of_date = thirds.as_of_date and rhythms.user_id = thirds.user_id
inner join streaks
    on rhythms.as_of_date = streaks.as_of_date and rhythms.user_id = streaks.user_id
