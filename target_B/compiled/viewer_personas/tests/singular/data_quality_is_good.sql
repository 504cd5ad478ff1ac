-- suspicious data is reported, never dropped: a warning for each check over the last four weeks


select
    quality_check,
    sum(affected) as affected,
    sum(total) as total,
    max(example) as example
from "B_demo"."metrics"."data_quality"
where
    source_date > (
        select (max(source_date) + cast(-28 as integer)) from "B_demo"."metrics"."source_dates"
    )
group by quality_check
having sum(affected) > 0.02 * sum(total)