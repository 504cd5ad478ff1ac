
    select
        source_date, quality_check,
        count(*) as number_of_rows
    from "B_demo"."metrics"."data_quality"
    group by source_date, quality_check
    having count(*) > 1
