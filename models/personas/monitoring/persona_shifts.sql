{%- set past = var('shift_past_dates') -%}

with dates as (
    select
        *,
        row_number() over (order by as_of_date asc nulls last) as date_number
    from {{ ref('persona_dates') }}
),

dates_to_build as (
    select * from dates
    where {{ needs_building() }}
),

-- the date, the one before, and as many before as have the earlier changes
dates_compared as (
    select
        dates_to_build.as_of_date,
        dates_to_build.history_version as input_version,
        earlier.as_of_date as compared_date
    from dates_to_build
    inner join dates as earlier
        on
            dates_to_build.date_number >= earlier.date_number
            and dates_to_build.date_number <= earlier.date_number + {{ past }} + 1
),

counts as (
    select
        as_of_date as compared_date,
        persona,
        count(*) as viewers
    from {{ ref('persona_choices') }}
    where as_of_date in (select compared_date from dates_compared)
    group by 1, 2
),

audiences as (
    select
        compared_date,
        cast(sum(viewers) as bigint) as audience
    from counts
    group by 1
),

-- a persona counts with 0 viewers on the dates on which it has none
personas_compared as (
    select
        dates_compared.as_of_date,
        counts.persona
    from dates_compared
    inner join counts on dates_compared.compared_date = counts.compared_date
    group by 1, 2
),

shares as (
    select
        dates_compared.as_of_date,
        dates_compared.input_version,
        dates_compared.compared_date,
        personas_compared.persona,
        coalesce(counts.viewers, 0) as viewers,
        audiences.audience,
        coalesce(counts.viewers, 0) / cast(audiences.audience as double) as share
    from dates_compared
    inner join personas_compared on dates_compared.as_of_date = personas_compared.as_of_date
    inner join audiences on dates_compared.compared_date = audiences.compared_date
    left join counts
        on
            dates_compared.compared_date = counts.compared_date
            and personas_compared.persona = counts.persona
),

with_previous as (
    select
        *,
        lag(compared_date) over (
            partition by as_of_date, persona order by compared_date asc nulls last
        ) as previous_as_of_date,
        lag(viewers) over (
            partition by as_of_date, persona order by compared_date asc nulls last
        ) as previous_viewers,
        lag(audience) over (
            partition by as_of_date, persona order by compared_date asc nulls last
        ) as previous_audience,
        lag(share) over (
            partition by as_of_date, persona order by compared_date asc nulls last
        ) as previous_share
    from shares
),

changes as (
    select
        *,
        share - previous_share as share_change,
        ln(cast(audience as double) / previous_audience) as growth
    from with_previous
),

pasts as (
    select
        as_of_date,
        persona,
        count(share_change) as past_changes,
        {{ exact_sum('power(share_change, 2)', 'decimal(38, 20)') }}
        / nullif(count(share_change), 0) as past_variance,
        {{ exact_sum('power(growth, 2)', 'decimal(38, 20)') }}
        / nullif(count(growth), 0) as past_growth_variance
    from changes
    where compared_date < as_of_date
    group by 1, 2
),

-- half a viewer more on both sides, as in drift, so that an empty persona leaves room for chance
with_chance as (
    select
        changes.*,
        pasts.past_changes,
        pasts.past_variance,
        pasts.past_growth_variance,
        (changes.viewers + changes.previous_viewers + 1.0e0)
        / (changes.audience + changes.previous_audience + 2.0e0) as pooled_share,
        1.0e0 / changes.audience + 1.0e0 / changes.previous_audience as chance
    from changes
    left join pasts
        on changes.as_of_date = pasts.as_of_date and changes.persona = pasts.persona
    where changes.compared_date = changes.as_of_date
)

select
    as_of_date,
    persona,
    previous_as_of_date,
    viewers,
    previous_viewers,
    audience,
    previous_audience,
    share,
    share_change,
    case
        when past_changes = {{ past }}
            then round(
                share_change
                / sqrt(past_variance + pooled_share * (1.0e0 - pooled_share) * chance),
                9
            )
    end as deviations,
    case
        when past_changes = {{ past }}
            then round(growth / sqrt(past_growth_variance + chance), 9)
    end as audience_deviations,
    input_version
from with_chance
