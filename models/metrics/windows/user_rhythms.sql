with as_of_dates as (
    select * from {{ ref('as_of_dates') }}
    where {{ needs_building() }}
),

windows as (
    {{ evaluation_windows('as_of_dates') }}
),

dayparts as (
    select
        windows.as_of_date,
        windows.window_days,
        user_hours.user_id,
        {{ iso_weekday('user_hours.activity_date') }} as weekday,
        {{ daypart('user_hours.local_hour') }} as daypart,
        cast(sum(user_hours.interactions) as bigint) as interactions,
        sum(cast(user_hours.watch_seconds as decimal(18, 6))) as watch_seconds
    from windows
    inner join {{ ref('user_hours') }} as user_hours
        on
            windows.window_start <= user_hours.activity_date
            and windows.as_of_date >= user_hours.activity_date
    group by 1, 2, 3, 4, 5
),

amounts as (
    select
        as_of_date,
        window_days,
        user_id,
        {% for part, condition in {
            'weekend': 'weekday >= 6',
            'prime_time': "daypart = 'prime_time'",
            'night': "daypart = 'night'",
        }.items() -%}
            cast(sum(case when {{ condition }} then interactions else 0 end) as bigint)
                as {{ part }}_interactions,
            cast(sum(case when {{ condition }} then watch_seconds end) as double)
                as {{ part }}_seconds,
        {% endfor -%}
        cast(sum(interactions) as bigint) as interactions,
        cast(sum(watch_seconds) as double) as watch_seconds
    from dayparts
    group by 1, 2, 3
),

heat_maps as (
    select
        as_of_date,
        window_days,
        user_id,
        {{ list_of_structs({'weekday': 'weekday', 'daypart': 'daypart', 'amount': 'amount'}) }}
            as weekday_dayparts
    from (
        select
            dayparts.as_of_date,
            dayparts.window_days,
            dayparts.user_id,
            dayparts.weekday,
            dayparts.daypart,
            case
                when amounts.watch_seconds > 0
                    then cast(dayparts.watch_seconds as double) / 60.0
                else cast(dayparts.interactions as double)
            end as amount
        from dayparts
        inner join amounts
            on
                dayparts.as_of_date = amounts.as_of_date
                and dayparts.window_days = amounts.window_days
                and dayparts.user_id = amounts.user_id
    ) as measured_dayparts
    where amount > 0
    group by 1, 2, 3
),

days as (
    select
        windows.as_of_date,
        windows.window_days,
        user_days.user_id,
        {{ iso_weekday('user_days.activity_date') }} as weekday,
        case
            when extract(day from user_days.activity_date) <= 10 then 'first'
            when extract(day from user_days.activity_date) <= 20 then 'middle'
            else 'last'
        end as third,
        cast(sum(user_days.interactions) as bigint) as interactions,
        count(case when user_days.watch_interactions > 0 then 1 end) as watched_days,
        sum(cast(user_days.watch_seconds as decimal(18, 6))) as watch_seconds
    from windows
    inner join {{ ref('user_days') }} as user_days
        on
            windows.window_start <= user_days.activity_date
            and windows.as_of_date >= user_days.activity_date
    group by 1, 2, 3, 4, 5
),

thirds_of_month as (
    select
        as_of_date,
        window_days,
        {% for third in ['first', 'middle', 'last'] -%}
            cast(sum(case when third = '{{ third }}' then interactions else 0 end) as bigint)
                as {{ third }}_interactions,
            cast(sum(case when third = '{{ third }}' then watch_seconds end) as double)
                as {{ third }}_seconds,
        {% endfor -%}
        user_id
    from days
    group by as_of_date, window_days, user_id -- noqa: AM06
),

weekdays as (
    select
        as_of_date,
        window_days,
        user_id,
        weekday,
        cast(sum(watched_days) as bigint) as watched_days
    from days
    group by 1, 2, 3, 4
),

weekday_rhythms as (
    select
        as_of_date,
        window_days,
        user_id,
        cast(sum(watched_days) as bigint) as watched_days,
        {{ resultant_length('watched_days', 'weekday', 7) }} as weekday_concentration,
        cast(99 - max(watched_days * 100 + 99 - weekday) % 100 as integer) as most_watched_weekday
    from weekdays
    group by 1, 2, 3
),

watched_hours as (
    select
        windows.as_of_date,
        windows.window_days,
        user_hours.user_id,
        user_hours.local_hour,
        count(*) as dates
    from windows
    inner join {{ ref('user_hours') }} as user_hours
        on
            windows.window_start <= user_hours.activity_date
            and windows.as_of_date >= user_hours.activity_date
    where user_hours.watch_interactions > 0
    group by 1, 2, 3, 4
),

hour_rhythms as (
    select
        as_of_date,
        window_days,
        user_id,
        cast(sum(dates) as bigint) as watched_hours,
        {{ resultant_length('dates', 'local_hour', 24) }} as hour_concentration,
        -- the most frequent hour, the earliest of ties, in one number
        cast(99 - max(dates * 100 + 99 - local_hour) % 100 as integer) as most_watched_hour
    from watched_hours
    group by 1, 2, 3
),

-- weeks of seven days that end on the evaluation date, 0 the latest
active_weeks as (
    select
        as_of_dates.as_of_date,
        user_days.user_id,
        cast(
            floor({{ days_between('user_days.activity_date', 'as_of_dates.as_of_date') }} / 7.0)
            as integer
        ) as week
    from as_of_dates
    inner join {{ ref('user_days') }} as user_days
        on
            as_of_dates.lookback_start <= user_days.activity_date
            and as_of_dates.as_of_date >= user_days.activity_date
    group by 1, 2, 3
),

-- in an unbroken run up to the date, the week number equals the number of later active weeks
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
    amounts.as_of_date,
    amounts.window_days,
    amounts.user_id,
    case when amounts.watch_seconds > 0 then 'watch_minutes' else 'interactions' end as measure,
    case
        when amounts.watch_seconds > 0 then amounts.watch_seconds / 60.0
        else cast(amounts.interactions as double)
    end as amount,
    heat_maps.weekday_dayparts,
    {% for share, part in {
        'weekend': 'amounts.weekend',
        'prime_time': 'amounts.prime_time',
        'night': 'amounts.night',
        'first_third_of_month': 'thirds_of_month.first',
        'middle_third_of_month': 'thirds_of_month.middle',
        'last_third_of_month': 'thirds_of_month.last',
    }.items() -%}
        case
            when amounts.watch_seconds > 0
                then coalesce({{ part }}_seconds, 0.0) / amounts.watch_seconds
            else {{ part }}_interactions / cast(amounts.interactions as double)
        end as {{ share }}_share,
    {% endfor -%}
    case
        when {{ has_peak(
            'weekday_rhythms.weekday_concentration',
            'weekday_rhythms.watched_days',
            'weekday_rhythms.watched_days'
        ) }}
            then weekday_rhythms.most_watched_weekday
    end as peak_weekday,
    case
        when {{ has_peak(
            'hour_rhythms.hour_concentration',
            'hour_rhythms.watched_hours',
            'weekday_rhythms.watched_days'
        ) }}
            then hour_rhythms.most_watched_hour
    end as peak_hour,
    hour_rhythms.hour_concentration,
    coalesce(hour_rhythms.watched_hours, 0) as watched_hours,
    weekday_rhythms.weekday_concentration,
    weekday_rhythms.watched_days,
    streaks.weeks_active_streak,
    as_of_dates.input_version
from amounts
inner join as_of_dates on amounts.as_of_date = as_of_dates.as_of_date
inner join heat_maps
    on
        amounts.as_of_date = heat_maps.as_of_date
        and amounts.window_days = heat_maps.window_days
        and amounts.user_id = heat_maps.user_id
inner join thirds_of_month
    on
        amounts.as_of_date = thirds_of_month.as_of_date
        and amounts.window_days = thirds_of_month.window_days
        and amounts.user_id = thirds_of_month.user_id
inner join weekday_rhythms
    on
        amounts.as_of_date = weekday_rhythms.as_of_date
        and amounts.window_days = weekday_rhythms.window_days
        and amounts.user_id = weekday_rhythms.user_id
left join hour_rhythms
    on
        amounts.as_of_date = hour_rhythms.as_of_date
        and amounts.window_days = hour_rhythms.window_days
        and amounts.user_id = hour_rhythms.user_id
inner join streaks
    on amounts.as_of_date = streaks.as_of_date and amounts.user_id = streaks.user_id
