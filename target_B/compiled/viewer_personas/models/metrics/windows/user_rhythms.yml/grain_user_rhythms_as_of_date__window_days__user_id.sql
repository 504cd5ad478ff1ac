
    select
        as_of_date, window_days, user_id,
        count(*) as number_of_rows
    from "B_demo"."metrics"."user_rhythms"
    group by as_of_date, window_days, user_id
    having count(*) > 1
