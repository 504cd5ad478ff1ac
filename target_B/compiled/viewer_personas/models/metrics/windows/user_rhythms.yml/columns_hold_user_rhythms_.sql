
    with counted as (
        select
                count(case when as_of_date is null then 1 end) as rows_1,
                min(case when as_of_date is null then cast(as_of_date as string) end)
                    as example_1,
                count(case when window_days is null then 1 end) as rows_2,
                min(case when window_days is null then cast(window_days as string) end)
                    as example_2,
                count(case when cast(window_days as string) not in ('28', '84') then 1 end) as rows_3,
                min(case when cast(window_days as string) not in ('28', '84') then cast(window_days as string) end)
                    as example_3,
                count(case when user_id is null then 1 end) as rows_4,
                min(case when user_id is null then cast(user_id as string) end)
                    as example_4,
                count(case when measure is null then 1 end) as rows_5,
                min(case when measure is null then cast(measure as string) end)
                    as example_5,
                count(case when cast(measure as string) not in ('watch_minutes', 'interactions') then 1 end) as rows_6,
                min(case when cast(measure as string) not in ('watch_minutes', 'interactions') then cast(measure as string) end)
                    as example_6,
                count(case when amount is null then 1 end) as rows_7,
                min(case when amount is null then cast(amount as string) end)
                    as example_7,
                count(case when abs(amount) > 1.7976931348623157e308 then 1 end) as rows_8,
                min(case when abs(amount) > 1.7976931348623157e308 then cast(amount as string) end)
                    as example_8,
                count(case when amount < 0 then 1 end) as rows_9,
                min(case when amount < 0 then cast(amount as string) end)
                    as example_9,
                count(case when weekday_dayparts is null then 1 end) as rows_10,
                min(case when weekday_dayparts is null then cast(weekday_dayparts as string) end)
                    as example_10,
                count(case when weekend_share is null then 1 end) as rows_11,
                min(case when weekend_share is null then cast(weekend_share as string) end)
                    as example_11,
                count(case when abs(weekend_share) > 1.7976931348623157e308 then 1 end) as rows_12,
                min(case when abs(weekend_share) > 1.7976931348623157e308 then cast(weekend_share as string) end)
                    as example_12,
                count(case when weekend_share < 0 then 1 end) as rows_13,
                min(case when weekend_share < 0 then cast(weekend_share as string) end)
                    as example_13,
                count(case when weekend_share > 1 then 1 end) as rows_14,
                min(case when weekend_share > 1 then cast(weekend_share as string) end)
                    as example_14,
                count(case when prime_time_share is null then 1 end) as rows_15,
                min(case when prime_time_share is null then cast(prime_time_share as string) end)
                    as example_15,
                count(case when abs(prime_time_share) > 1.7976931348623157e308 then 1 end) as rows_16,
                min(case when abs(prime_time_share) > 1.7976931348623157e308 then cast(prime_time_share as string) end)
                    as example_16,
                count(case when prime_time_share < 0 then 1 end) as rows_17,
                min(case when prime_time_share < 0 then cast(prime_time_share as string) end)
                    as example_17,
                count(case when prime_time_share > 1 then 1 end) as rows_18,
                min(case when prime_time_share > 1 then cast(prime_time_share as string) end)
                    as example_18,
                count(case when night_share is null then 1 end) as rows_19,
                min(case when night_share is null then cast(night_share as string) end)
                    as example_19,
                count(case when abs(night_share) > 1.7976931348623157e308 then 1 end) as rows_20,
                min(case when abs(night_share) > 1.7976931348623157e308 then cast(night_share as string) end)
                    as example_20,
                count(case when night_share < 0 then 1 end) as rows_21,
                min(case when night_share < 0 then cast(night_share as string) end)
                    as example_21,
                count(case when night_share > 1 then 1 end) as rows_22,
                min(case when night_share > 1 then cast(night_share as string) end)
                    as example_22,
                count(case when peak_weekday < 1 then 1 end) as rows_23,
                min(case when peak_weekday < 1 then cast(peak_weekday as string) end)
                    as example_23,
                count(case when peak_weekday > 7 then 1 end) as rows_24,
                min(case when peak_weekday > 7 then cast(peak_weekday as string) end)
                    as example_24,
                count(case when peak_hour < 0 then 1 end) as rows_25,
                min(case when peak_hour < 0 then cast(peak_hour as string) end)
                    as example_25,
                count(case when peak_hour > 23 then 1 end) as rows_26,
                min(case when peak_hour > 23 then cast(peak_hour as string) end)
                    as example_26,
                count(case when abs(hour_concentration) > 1.7976931348623157e308 then 1 end) as rows_27,
                min(case when abs(hour_concentration) > 1.7976931348623157e308 then cast(hour_concentration as string) end)
                    as example_27,
                count(case when hour_concentration < 0 then 1 end) as rows_28,
                min(case when hour_concentration < 0 then cast(hour_concentration as string) end)
                    as example_28,
                count(case when hour_concentration > 1 then 1 end) as rows_29,
                min(case when hour_concentration > 1 then cast(hour_concentration as string) end)
                    as example_29,
                count(case when watched_hours is null then 1 end) as rows_30,
                min(case when watched_hours is null then cast(watched_hours as string) end)
                    as example_30,
                count(case when watched_hours < 0 then 1 end) as rows_31,
                min(case when watched_hours < 0 then cast(watched_hours as string) end)
                    as example_31,
                count(case when abs(weekday_concentration) > 1.7976931348623157e308 then 1 end) as rows_32,
                min(case when abs(weekday_concentration) > 1.7976931348623157e308 then cast(weekday_concentration as string) end)
                    as example_32,
                count(case when weekday_concentration < 0 then 1 end) as rows_33,
                min(case when weekday_concentration < 0 then cast(weekday_concentration as string) end)
                    as example_33,
                count(case when weekday_concentration > 1 then 1 end) as rows_34,
                min(case when weekday_concentration > 1 then cast(weekday_concentration as string) end)
                    as example_34,
                count(case when watched_days is null then 1 end) as rows_35,
                min(case when watched_days is null then cast(watched_days as string) end)
                    as example_35,
                count(case when watched_days < 0 then 1 end) as rows_36,
                min(case when watched_days < 0 then cast(watched_days as string) end)
                    as example_36,
                count(case when first_third_of_month_share is null then 1 end) as rows_37,
                min(case when first_third_of_month_share is null then cast(first_third_of_month_share as string) end)
                    as example_37,
                count(case when abs(first_third_of_month_share) > 1.7976931348623157e308 then 1 end) as rows_38,
                min(case when abs(first_third_of_month_share) > 1.7976931348623157e308 then cast(first_third_of_month_share as string) end)
                    as example_38,
                count(case when first_third_of_month_share < 0 then 1 end) as rows_39,
                min(case when first_third_of_month_share < 0 then cast(first_third_of_month_share as string) end)
                    as example_39,
                count(case when first_third_of_month_share > 1 then 1 end) as rows_40,
                min(case when first_third_of_month_share > 1 then cast(first_third_of_month_share as string) end)
                    as example_40,
                count(case when middle_third_of_month_share is null then 1 end) as rows_41,
                min(case when middle_third_of_month_share is null then cast(middle_third_of_month_share as string) end)
                    as example_41,
                count(case when abs(middle_third_of_month_share) > 1.7976931348623157e308 then 1 end) as rows_42,
                min(case when abs(middle_third_of_month_share) > 1.7976931348623157e308 then cast(middle_third_of_month_share as string) end)
                    as example_42,
                count(case when middle_third_of_month_share < 0 then 1 end) as rows_43,
                min(case when middle_third_of_month_share < 0 then cast(middle_third_of_month_share as string) end)
                    as example_43,
                count(case when middle_third_of_month_share > 1 then 1 end) as rows_44,
                min(case when middle_third_of_month_share > 1 then cast(middle_third_of_month_share as string) end)
                    as example_44,
                count(case when last_third_of_month_share is null then 1 end) as rows_45,
                min(case when last_third_of_month_share is null then cast(last_third_of_month_share as string) end)
                    as example_45,
                count(case when abs(last_third_of_month_share) > 1.7976931348623157e308 then 1 end) as rows_46,
                min(case when abs(last_third_of_month_share) > 1.7976931348623157e308 then cast(last_third_of_month_share as string) end)
                    as example_46,
                count(case when last_third_of_month_share < 0 then 1 end) as rows_47,
                min(case when last_third_of_month_share < 0 then cast(last_third_of_month_share as string) end)
                    as example_47,
                count(case when last_third_of_month_share > 1 then 1 end) as rows_48,
                min(case when last_third_of_month_share > 1 then cast(last_third_of_month_share as string) end)
                    as example_48,
                count(case when weeks_active_streak is null then 1 end) as rows_49,
                min(case when weeks_active_streak is null then cast(weeks_active_streak as string) end)
                    as example_49,
                count(case when weeks_active_streak < 0 then 1 end) as rows_50,
                min(case when weeks_active_streak < 0 then cast(weeks_active_streak as string) end)
                    as example_50,
                count(case when input_version is null then 1 end) as rows_51,
                min(case when input_version is null then cast(input_version as string) end)
                    as example_51
        from "B_demo"."metrics"."user_rhythms"
    ),

    rules as (
            select
                1 as rule_number,
                'as_of_date' as column_name,
                'is null' as problem
            union all
            select
                2 as rule_number,
                'window_days' as column_name,
                'is null' as problem
            union all
            select
                3 as rule_number,
                'window_days' as column_name,
                'is not one of 28, 84' as problem
            union all
            select
                4 as rule_number,
                'user_id' as column_name,
                'is null' as problem
            union all
            select
                5 as rule_number,
                'measure' as column_name,
                'is null' as problem
            union all
            select
                6 as rule_number,
                'measure' as column_name,
                'is not one of watch_minutes, interactions' as problem
            union all
            select
                7 as rule_number,
                'amount' as column_name,
                'is null' as problem
            union all
            select
                8 as rule_number,
                'amount' as column_name,
                'is not a finite number' as problem
            union all
            select
                9 as rule_number,
                'amount' as column_name,
                'is less than 0' as problem
            union all
            select
                10 as rule_number,
                'weekday_dayparts' as column_name,
                'is null' as problem
            union all
            select
                11 as rule_number,
                'weekend_share' as column_name,
                'is null' as problem
            union all
            select
                12 as rule_number,
                'weekend_share' as column_name,
                'is not a finite number' as problem
            union all
            select
                13 as rule_number,
                'weekend_share' as column_name,
                'is less than 0' as problem
            union all
            select
                14 as rule_number,
                'weekend_share' as column_name,
                'is more than 1' as problem
            union all
            select
                15 as rule_number,
                'prime_time_share' as column_name,
                'is null' as problem
            union all
            select
                16 as rule_number,
                'prime_time_share' as column_name,
                'is not a finite number' as problem
            union all
            select
                17 as rule_number,
                'prime_time_share' as column_name,
                'is less than 0' as problem
            union all
            select
                18 as rule_number,
                'prime_time_share' as column_name,
                'is more than 1' as problem
            union all
            select
                19 as rule_number,
                'night_share' as column_name,
                'is null' as problem
            union all
            select
                20 as rule_number,
                'night_share' as column_name,
                'is not a finite number' as problem
            union all
            select
                21 as rule_number,
                'night_share' as column_name,
                'is less than 0' as problem
            union all
            select
                22 as rule_number,
                'night_share' as column_name,
                'is more than 1' as problem
            union all
            select
                23 as rule_number,
                'peak_weekday' as column_name,
                'is less than 1' as problem
            union all
            select
                24 as rule_number,
                'peak_weekday' as column_name,
                'is more than 7' as problem
            union all
            select
                25 as rule_number,
                'peak_hour' as column_name,
                'is less than 0' as problem
            union all
            select
                26 as rule_number,
                'peak_hour' as column_name,
                'is more than 23' as problem
            union all
            select
                27 as rule_number,
                'hour_concentration' as column_name,
                'is not a finite number' as problem
            union all
            select
                28 as rule_number,
                'hour_concentration' as column_name,
                'is less than 0' as problem
            union all
            select
                29 as rule_number,
                'hour_concentration' as column_name,
                'is more than 1' as problem
            union all
            select
                30 as rule_number,
                'watched_hours' as column_name,
                'is null' as problem
            union all
            select
                31 as rule_number,
                'watched_hours' as column_name,
                'is less than 0' as problem
            union all
            select
                32 as rule_number,
                'weekday_concentration' as column_name,
                'is not a finite number' as problem
            union all
            select
                33 as rule_number,
                'weekday_concentration' as column_name,
                'is less than 0' as problem
            union all
            select
                34 as rule_number,
                'weekday_concentration' as column_name,
                'is more than 1' as problem
            union all
            select
                35 as rule_number,
                'watched_days' as column_name,
                'is null' as problem
            union all
            select
                36 as rule_number,
                'watched_days' as column_name,
                'is less than 0' as problem
            union all
            select
                37 as rule_number,
                'first_third_of_month_share' as column_name,
                'is null' as problem
            union all
            select
                38 as rule_number,
                'first_third_of_month_share' as column_name,
                'is not a finite number' as problem
            union all
            select
                39 as rule_number,
                'first_third_of_month_share' as column_name,
                'is less than 0' as problem
            union all
            select
                40 as rule_number,
                'first_third_of_month_share' as column_name,
                'is more than 1' as problem
            union all
            select
                41 as rule_number,
                'middle_third_of_month_share' as column_name,
                'is null' as problem
            union all
            select
                42 as rule_number,
                'middle_third_of_month_share' as column_name,
                'is not a finite number' as problem
            union all
            select
                43 as rule_number,
                'middle_third_of_month_share' as column_name,
                'is less than 0' as problem
            union all
            select
                44 as rule_number,
                'middle_third_of_month_share' as column_name,
                'is more than 1' as problem
            union all
            select
                45 as rule_number,
                'last_third_of_month_share' as column_name,
                'is null' as problem
            union all
            select
                46 as rule_number,
                'last_third_of_month_share' as column_name,
                'is not a finite number' as problem
            union all
            select
                47 as rule_number,
                'last_third_of_month_share' as column_name,
                'is less than 0' as problem
            union all
            select
                48 as rule_number,
                'last_third_of_month_share' as column_name,
                'is more than 1' as problem
            union all
            select
                49 as rule_number,
                'weeks_active_streak' as column_name,
                'is null' as problem
            union all
            select
                50 as rule_number,
                'weeks_active_streak' as column_name,
                'is less than 0' as problem
            union all
            select
                51 as rule_number,
                'input_version' as column_name,
                'is null' as problem
            
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
                    when 12 then counted.example_12
                    when 13 then counted.example_13
                    when 14 then counted.example_14
                    when 15 then counted.example_15
                    when 16 then counted.example_16
                    when 17 then counted.example_17
                    when 18 then counted.example_18
                    when 19 then counted.example_19
                    when 20 then counted.example_20
                    when 21 then counted.example_21
                    when 22 then counted.example_22
                    when 23 then counted.example_23
                    when 24 then counted.example_24
                    when 25 then counted.example_25
                    when 26 then counted.example_26
                    when 27 then counted.example_27
                    when 28 then counted.example_28
                    when 29 then counted.example_29
                    when 30 then counted.example_30
                    when 31 then counted.example_31
                    when 32 then counted.example_32
                    when 33 then counted.example_33
                    when 34 then counted.example_34
                    when 35 then counted.example_35
                    when 36 then counted.example_36
                    when 37 then counted.example_37
                    when 38 then counted.example_38
                    when 39 then counted.example_39
                    when 40 then counted.example_40
                    when 41 then counted.example_41
                    when 42 then counted.example_42
                    when 43 then counted.example_43
                    when 44 then counted.example_44
                    when 45 then counted.example_45
                    when 46 then counted.example_46
                    when 47 then counted.example_47
                    when 48 then counted.example_48
                    when 49 then counted.example_49
                    when 50 then counted.example_50
                    when 51 then counted.example_51
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
                    when 12 then counted.rows_12
                    when 13 then counted.rows_13
                    when 14 then counted.rows_14
                    when 15 then counted.rows_15
                    when 16 then counted.rows_16
                    when 17 then counted.rows_17
                    when 18 then counted.rows_18
                    when 19 then counted.rows_19
                    when 20 then counted.rows_20
                    when 21 then counted.rows_21
                    when 22 then counted.rows_22
                    when 23 then counted.rows_23
                    when 24 then counted.rows_24
                    when 25 then counted.rows_25
                    when 26 then counted.rows_26
                    when 27 then counted.rows_27
                    when 28 then counted.rows_28
                    when 29 then counted.rows_29
                    when 30 then counted.rows_30
                    when 31 then counted.rows_31
                    when 32 then counted.rows_32
                    when 33 then counted.rows_33
                    when 34 then counted.rows_34
                    when 35 then counted.rows_35
                    when 36 then counted.rows_36
                    when 37 then counted.rows_37
                    when 38 then counted.rows_38
                    when 39 then counted.rows_39
                    when 40 then counted.rows_40
                    when 41 then counted.rows_41
                    when 42 then counted.rows_42
                    when 43 then counted.rows_43
                    when 44 then counted.rows_44
                    when 45 then counted.rows_45
                    when 46 then counted.rows_46
                    when 47 then counted.rows_47
                    when 48 then counted.rows_48
                    when 49 then counted.rows_49
                    when 50 then counted.rows_50
                    when 51 then counted.rows_51
            end as number_of_rows
        from counted
        cross join rules
    )

    select * from results
    where number_of_rows > 0
