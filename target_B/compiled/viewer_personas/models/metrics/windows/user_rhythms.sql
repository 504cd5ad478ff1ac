with as_of_dates as (
    select * from "B_demo"."metrics"."as_of_dates"
    where as_of_date in (
            select as_of_date
            from "B_demo"."metrics"."as_of_dates"
            where input_version is not null
    and as_of_date not in (
        select partition_date from "B_demo"."metrics"."partition_ledger" where model = 'metrics.user_rhythms'
    )
                order by 1 asc nulls last
                limit (
            select greatest(1, 4000000 // greatest(1, sum(row_count)))
            from "B_demo"."metrics"."partition_ledger"
            where model = 'metrics.user_days'
        )
        )
),

windows as (
    
    select
        as_of_dates.as_of_date,
        as_of_dates.input_version,
        window_lengths.window_days,
        (as_of_dates.as_of_date + cast(1 - window_lengths.window_days as integer))
            as window_start
    from as_of_dates
    cross join (
        select 28 as window_days
        union all
        select 84 as window_days
    ) as window_lengths

),

dayparts as (
    select
        windows.as_of_date,
        windows.window_days,
        user_hours.user_id,
        cast(isodow(user_hours.activity_date) as integer) as weekday,
        case
        when user_hours.local_hour < 5 then 'night'
        when user_hours.local_hour < 9 then 'morning'
        when user_hours.local_hour < 17 then 'daytime'
        when user_hours.local_hour < 20 then 'early_evening'
        when user_hours.local_hour < 23 then 'prime_time'
        else 'night'
    end as daypart,
        cast(sum(user_hours.interactions) as bigint) as interactions,
        sum(cast(user_hours.watch_seconds as decimal(18, 6))) as watch_seconds
    from windows
    inner join "B_demo"."metrics"."user_hours" as user_hours
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
        cast(sum(interactions) as bigint) as interactions,
        cast(sum(watch_seconds) as double) as watch_seconds,
        cast(sum(case when weekday >= 6 then interactions else 0 end) as bigint)
                as weekend_interactions,
            cast(sum(case when weekday >= 6 then watch_seconds end) as double)
                as weekend_seconds,
        cast(sum(case when daypart = 'prime_time' then interactions else 0 end) as bigint)
                as prime_time_interactions,
            cast(sum(case when daypart = 'prime_time' then watch_seconds end) as double)
                as prime_time_seconds,
        cast(sum(case when daypart = 'night' then interactions else 0 end) as bigint)
                as night_interactions,
            cast(sum(case when daypart = 'night' then watch_seconds end) as double)
                as night_seconds
        
    from dayparts
    group by 1, 2, 3
),

heat_maps as (
    select
        as_of_date,
        window_days,
        user_id,
        list_sort(list({
        'weekday': weekday,
        'daypart': daypart,
        'amount': amount
    }))
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
        cast(isodow(user_days.activity_date) as integer) as weekday,
        case
            when extract(day from user_days.activity_date) <= 10 then 'first'
            when extract(day from user_days.activity_date) <= 20 then 'middle'
            else 'last'
        end as third,
        cast(sum(user_days.interactions) as bigint) as interactions,
        count(case when user_days.watch_interactions > 0 then 1 end) as watched_days,
        sum(cast(user_days.watch_seconds as decimal(18, 6))) as watch_seconds
    from windows
    inner join "B_demo"."metrics"."user_days" as user_days
        on
            windows.window_start <= user_days.activity_date
            and windows.as_of_date >= user_days.activity_date
    group by 1, 2, 3, 4, 5
),

thirds_of_month as (
    select
        as_of_date,
        window_days,
        user_id,
        cast(sum(case when third = 'first' then interactions else 0 end) as bigint)
                as first_interactions,
            cast(sum(case when third = 'first' then watch_seconds end) as double)
                as first_seconds,
        cast(sum(case when third = 'middle' then interactions else 0 end) as bigint)
                as middle_interactions,
            cast(sum(case when third = 'middle' then watch_seconds end) as double)
                as middle_seconds,
        cast(sum(case when third = 'last' then interactions else 0 end) as bigint)
                as last_interactions,
            cast(sum(case when third = 'last' then watch_seconds end) as double)
                as last_seconds
        
    from days
    group by 1, 2, 3
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
        round(
        sqrt(
            power(cast(sum(cast(watched_days * cos(2 * pi() * weekday / 7.0) as decimal(28, 12))) as double), 2)
            + power(cast(sum(cast(watched_days * sin(2 * pi() * weekday / 7.0) as decimal(28, 12))) as double), 2)
        ) / cast(nullif(sum(watched_days), 0) as double),
        9
    ) as weekday_concentration,
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
    inner join "B_demo"."metrics"."user_hours" as user_hours
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
        round(
        sqrt(
            power(cast(sum(cast(dates * cos(2 * pi() * local_hour / 24.0) as decimal(28, 12))) as double), 2)
            + power(cast(sum(cast(dates * sin(2 * pi() * local_hour / 24.0) as decimal(28, 12))) as double), 2)
        ) / cast(nullif(sum(dates), 0) as double),
        9
    ) as hour_concentration,
        -- the most frequent hour, the earliest of equals, in one number
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
            floor(cast(as_of_dates.as_of_date - user_days.activity_date as integer) / 7.0)
            as integer
        ) as week
    from as_of_dates
    inner join "B_demo"."metrics"."user_days" as user_days
        on
            as_of_dates.lookback_start <= user_days.activity_date
            and as_of_dates.as_of_date >= user_days.activity_date
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
    amounts.as_of_date,
    amounts.window_days,
    amounts.user_id,
    case when amounts.watch_seconds > 0 then 'watch_minutes' else 'interactions' end as measure,
    case
        when amounts.watch_seconds > 0 then amounts.watch_seconds / 60.0
        else cast(amounts.interactions as double)
    end as amount,
    heat_maps.weekday_dayparts,
    case
            when amounts.watch_seconds > 0
                then coalesce(amounts.weekend_seconds, 0.0) / amounts.watch_seconds
            else amounts.weekend_interactions / cast(amounts.interactions as double)
        end as weekend_share,
    case
            when amounts.watch_seconds > 0
                then coalesce(amounts.prime_time_seconds, 0.0) / amounts.watch_seconds
            else amounts.prime_time_interactions / cast(amounts.interactions as double)
        end as prime_time_share,
    case
            when amounts.watch_seconds > 0
                then coalesce(amounts.night_seconds, 0.0) / amounts.watch_seconds
            else amounts.night_interactions / cast(amounts.interactions as double)
        end as night_share,
    case
            when amounts.watch_seconds > 0
                then coalesce(thirds_of_month.first_seconds, 0.0) / amounts.watch_seconds
            else thirds_of_month.first_interactions / cast(amounts.interactions as double)
        end as first_third_of_month_share,
    case
            when amounts.watch_seconds > 0
                then coalesce(thirds_of_month.middle_seconds, 0.0) / amounts.watch_seconds
            else thirds_of_month.middle_interactions / cast(amounts.interactions as double)
        end as middle_third_of_month_share,
    case
            when amounts.watch_seconds > 0
                then coalesce(thirds_of_month.last_seconds, 0.0) / amounts.watch_seconds
            else thirds_of_month.last_interactions / cast(amounts.interactions as double)
        end as last_third_of_month_share,
    case
        when weekday_rhythms.watched_days >= 4
    and weekday_rhythms.weekday_concentration >= round(sqrt(3.0 / weekday_rhythms.watched_days), 9)
            then weekday_rhythms.most_watched_weekday
    end as peak_weekday,
    case
        when weekday_rhythms.watched_days >= 4
    and hour_rhythms.hour_concentration >= round(sqrt(3.0 / hour_rhythms.watched_hours), 9)
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