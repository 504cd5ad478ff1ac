
    with counted as (
        select
                count(case when source_date is null then 1 end) as rows_1,
                min(case when source_date is null then cast(source_date as string) end)
                    as example_1,
                count(case when quality_check is null then 1 end) as rows_2,
                min(case when quality_check is null then cast(quality_check as string) end)
                    as example_2,
                count(case when cast(quality_check as string) not in ('events_of_unknown_type', 'events_on_unknown_contents', 'contents_without_genre', 'contents_with_unreadable_fields', 'episodes_without_series', 'series_without_episodes', 'users_in_unknown_time_zones') then 1 end) as rows_3,
                min(case when cast(quality_check as string) not in ('events_of_unknown_type', 'events_on_unknown_contents', 'contents_without_genre', 'contents_with_unreadable_fields', 'episodes_without_series', 'series_without_episodes', 'users_in_unknown_time_zones') then cast(quality_check as string) end)
                    as example_3,
                count(case when affected is null then 1 end) as rows_4,
                min(case when affected is null then cast(affected as string) end)
                    as example_4,
                count(case when affected < 0 then 1 end) as rows_5,
                min(case when affected < 0 then cast(affected as string) end)
                    as example_5,
                count(case when total is null then 1 end) as rows_6,
                min(case when total is null then cast(total as string) end)
                    as example_6,
                count(case when total < 0 then 1 end) as rows_7,
                min(case when total < 0 then cast(total as string) end)
                    as example_7,
                count(case when share is null then 1 end) as rows_8,
                min(case when share is null then cast(share as string) end)
                    as example_8,
                count(case when abs(share) > 1.7976931348623157e308 then 1 end) as rows_9,
                min(case when abs(share) > 1.7976931348623157e308 then cast(share as string) end)
                    as example_9,
                count(case when share < 0 then 1 end) as rows_10,
                min(case when share < 0 then cast(share as string) end)
                    as example_10,
                count(case when share > 1 then 1 end) as rows_11,
                min(case when share > 1 then cast(share as string) end)
                    as example_11
        from "B_demo"."metrics"."data_quality"
    ),

    rules as (
            select
                1 as rule_number,
                'source_date' as column_name,
                'is null' as problem
            union all
            select
                2 as rule_number,
                'quality_check' as column_name,
                'is null' as problem
            union all
            select
                3 as rule_number,
                'quality_check' as column_name,
                'is not one of events_of_unknown_type, events_on_unknown_contents, contents_without_genre, contents_with_unreadable_fields, episodes_without_series, series_without_episodes, users_in_unknown_time_zones' as problem
            union all
            select
                4 as rule_number,
                'affected' as column_name,
                'is null' as problem
            union all
            select
                5 as rule_number,
                'affected' as column_name,
                'is less than 0' as problem
            union all
            select
                6 as rule_number,
                'total' as column_name,
                'is null' as problem
            union all
            select
                7 as rule_number,
                'total' as column_name,
                'is less than 0' as problem
            union all
            select
                8 as rule_number,
                'share' as column_name,
                'is null' as problem
            union all
            select
                9 as rule_number,
                'share' as column_name,
                'is not a finite number' as problem
            union all
            select
                10 as rule_number,
                'share' as column_name,
                'is less than 0' as problem
            union all
            select
                11 as rule_number,
                'share' as column_name,
                'is more than 1' as problem
            
    ),

    results as (
        select
            rules.column_name,
            rules.problem,
            case rules.rule_number
                    when 1 then counted.example_1
                    when 2 then counted.example_2
                    when 3 then counted.example_3
                    when 4 then counted.example_4
                    when 5 then counted.example_5
                    when 6 then counted.example_6
                    when 7 then counted.example_7
                    when 8 then counted.example_8
                    when 9 then counted.example_9
                    when 10 then counted.example_10
                    when 11 then counted.example_11
            end as example,
            case rules.rule_number
                    when 1 then counted.rows_1
                    when 2 then counted.rows_2
                    when 3 then counted.rows_3
                    when 4 then counted.rows_4
                    when 5 then counted.rows_5
                    when 6 then counted.rows_6
                    when 7 then counted.rows_7
                    when 8 then counted.rows_8
                    when 9 then counted.rows_9
                    when 10 then counted.rows_10
                    when 11 then counted.rows_11
            end as number_of_rows
        from counted
        cross join rules
    )

    select * from results
    where number_of_rows > 0
