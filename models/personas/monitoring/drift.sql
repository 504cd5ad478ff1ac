with persona_dates as (
    select * from {{ ref('persona_dates') }}
),

dates_to_build as (
    select * from persona_dates
    where {{ needs_building() }}
),

-- the last date far enough back; in the first weeks, the first date
comparisons as (
    select
        dates_to_build.as_of_date,
        dates_to_build.history_version,
        coalesce(
            max(
                case
                    when
                        {{ plus_days('earlier.as_of_date', 7 * var('drift_baseline_weeks')) }}
                        <= dates_to_build.as_of_date
                        then earlier.as_of_date
                end
            ),
            min(earlier.as_of_date)
        ) as baseline_date
    from dates_to_build
    inner join persona_dates as earlier on dates_to_build.as_of_date >= earlier.as_of_date
    group by 1, 2
),

dates_compared as (
    select as_of_date from comparisons
    union
    select baseline_date as as_of_date from comparisons
),

user_windows as (
    select
        {% for metric in rule_metrics() -%}
            cast({{ metric }} as double) as {{ metric }},
        {% endfor -%}
        as_of_date
    from {{ ref('user_windows') }}
    where
        window_days = {{ short_window() }}
        and as_of_date in (select as_of_date from dates_compared)
),

-- most metrics have few distinct values: from here on viewers are counted, not listed
metric_values as (
    select
        as_of_date,
        metric as subject,
        value,
        count(*) as viewers
    from user_windows
    unpivot include nulls (value for metric in ({{ rule_metrics() | join(', ') }}))
    group by 1, 2, 3
),

places as (
    select
        *,
        sum(viewers) over (
            partition by as_of_date, subject
            order by value asc nulls last
            rows between unbounded preceding and current row
        ) as place,
        sum(viewers) over (partition by as_of_date, subject) as places
    from metric_values
    where value is not null and as_of_date in (select baseline_date from comparisons)
),

-- the deciles: the smallest value that so many tenths of the viewers do not exceed
deciles as (
    select
        {% for tenth in range(1, 10) -%}
            min(case when 10 * place >= {{ tenth }} * places then value end) as decile_{{ tenth }},
        {% endfor -%}
        as_of_date,
        subject
    from places
    group by 10, 11
),

values_compared as (
    select
        comparisons.as_of_date,
        comparisons.baseline_date,
        metric_values.subject,
        metric_values.value,
        metric_values.viewers,
        cast(0 as bigint) as baseline_viewers
    from comparisons
    inner join metric_values on comparisons.as_of_date = metric_values.as_of_date
    union all
    select
        comparisons.as_of_date,
        comparisons.baseline_date,
        metric_values.subject,
        metric_values.value,
        cast(0 as bigint) as viewers,
        metric_values.viewers as baseline_viewers
    from comparisons
    inner join metric_values on comparisons.baseline_date = metric_values.as_of_date
),

-- equal deciles have no values between them, so their bins merge
binned as (
    select
        values_compared.as_of_date,
        values_compared.subject,
        case
            when values_compared.value is null then 'not known'
            else cast(
                0
                {% for tenths in range(1, 10) -%}
                    + case
                        when values_compared.value > deciles.decile_{{ tenths }} then 1 else 0
                    end
                {% endfor -%}
                as string
            )
        end as bin,
        values_compared.viewers,
        values_compared.baseline_viewers
    from values_compared
    left join deciles
        on
            values_compared.baseline_date = deciles.as_of_date
            and values_compared.subject = deciles.subject
    union all
    select
        comparisons.as_of_date,
        'persona' as subject,
        persona_shifts.persona as bin,
        case
            when persona_shifts.as_of_date = comparisons.as_of_date then persona_shifts.viewers
            else 0
        end as viewers,
        case
            when persona_shifts.as_of_date = comparisons.baseline_date then persona_shifts.viewers
            else 0
        end as baseline_viewers
    from comparisons
    inner join {{ ref('persona_shifts') }} as persona_shifts
        on persona_shifts.as_of_date in (comparisons.as_of_date, comparisons.baseline_date)
    where persona_shifts.viewers > 0
),

bins as (
    select
        as_of_date,
        subject,
        bin,
        sum(viewers) as viewers,
        sum(baseline_viewers) as baseline_viewers
    from binned
    group by 1, 2, 3
),

-- half a viewer more in each bin, so that an empty one does not make the index infinite
shares as (
    select
        *,
        count(*) over (partition by as_of_date, subject) as number_of_bins,
        (viewers + 0.5e0)
        / sum(viewers + 0.5e0) over (partition by as_of_date, subject) as share,
        (baseline_viewers + 0.5e0)
        / sum(baseline_viewers + 0.5e0) over (partition by as_of_date, subject) as baseline_share
    from bins
),

divergences as (
    select
        as_of_date,
        subject,
        cast(sum(viewers) as bigint) as viewers,
        cast(sum(baseline_viewers) as bigint) as baseline_viewers,
        max(number_of_bins) as bins,
        {{ exact_sum('(share - baseline_share) * ln(share / baseline_share)', 'decimal(38, 15)') }}
            as population_stability_index,
        {{ exact_sum('share * ln(share / baseline_share)', 'decimal(38, 15)') }} as kl_divergence,
        max(number_of_bins) - 1 as degrees_of_freedom
    from shares
    group by 1, 2
),

-- by chance, samples of N and M viewers from one distribution differ by a chi-square variable times
-- 1/N + 1/M; its 95 % quantile by Wilson and Hilferty's cube root, 1.644854 being that of the
-- normal
with_chance as (
    select
        *,
        degrees_of_freedom * (1.0e0 / viewers + 1.0e0 / baseline_viewers) as expected_by_chance,
        case
            when degrees_of_freedom = 0 then 0.0e0
            else
                round(
                    degrees_of_freedom
                    * power(
                        1.0e0 - 2.0e0 / (9.0e0 * degrees_of_freedom)
                        + 1.644854e0 * sqrt(2.0e0 / (9.0e0 * degrees_of_freedom)),
                        3
                    )
                    * (1.0e0 / viewers + 1.0e0 / baseline_viewers),
                    12
                )
        end as chance_limit
    from divergences
    where viewers > 0 and baseline_viewers > 0
)

select
    with_chance.as_of_date,
    with_chance.subject,
    comparisons.baseline_date,
    with_chance.viewers,
    with_chance.baseline_viewers,
    with_chance.bins,
    -- rounded, because a sum of logarithms of equal shares can end up below zero
    greatest(0.0e0, round(with_chance.population_stability_index, 12))
        as population_stability_index,
    greatest(0.0e0, round(with_chance.kl_divergence, 12)) as kl_divergence,
    with_chance.expected_by_chance,
    with_chance.chance_limit,
    with_chance.population_stability_index > with_chance.chance_limit as is_beyond_chance,
    comparisons.history_version as input_version
from with_chance
inner join comparisons on with_chance.as_of_date = comparisons.as_of_date
