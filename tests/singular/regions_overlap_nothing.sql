-- a viewer is in one region at most on a date, and in no period but a spike of a ghost region
with regions as (
    select * from {{ ref('inactivity_regions') }}
),

overlapping_regions as (
    select
        regions.as_of_date,
        regions.user_id,
        regions.region_start,
        others.region_start as other_start
    from regions
    inner join regions as others
        on
            regions.as_of_date = others.as_of_date
            and regions.user_id = others.user_id
            and regions.region_start < others.region_start
            and regions.region_end >= others.region_start
),

overlapped_periods as (
    select
        regions.as_of_date,
        regions.user_id,
        regions.region_start,
        periods.period_start as other_start
    from regions
    inner join {{ ref('activity_periods') }} as periods
        on
            regions.as_of_date = periods.as_of_date
            and regions.user_id = periods.user_id
            and regions.region_start <= periods.period_end
            and regions.region_end >= periods.period_start
    where regions.region_type = 'sleepy' or not periods.is_spike
)

select * from overlapping_regions
union all
select * from overlapped_periods
