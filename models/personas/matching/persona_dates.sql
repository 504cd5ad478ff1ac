with as_of_dates as (
    select * from {{ ref('as_of_dates') }}
),

personas_of_date as (
    select
        as_of_dates.as_of_date,
        as_of_dates.is_latest,
        as_of_dates.lookback_start,
        lag(as_of_dates.as_of_date) over (order by as_of_dates.as_of_date asc nulls last)
            as previous_as_of_date,
        as_of_dates.input_version as metrics_version,
        md5(
            concat_ws(
                '|', as_of_dates.input_version, {{ seed_version('persona_rules') }},
                '{{ definition_version("persona_dates") }}'
            )
        ) as input_version
    from as_of_dates
),

-- who a viewer was before is part of the result, so every earlier date is an input
histories as (
    select
        personas_of_date.as_of_date,
        md5(
            concat_ws(
                '|',
                {{ joined_text("concat_ws('|', earlier.as_of_date, earlier.input_version)") }},
                {{ seed_version('personas') }},
                '{{ definition_version("persona_dates", "history_version") }}'
            )
        ) as history_version
    from personas_of_date
    inner join personas_of_date as earlier on personas_of_date.as_of_date >= earlier.as_of_date
    group by personas_of_date.as_of_date
),

latest as (
    select max(as_of_date) as as_of_date
    from as_of_dates
    where is_latest
),

-- the evaluation dates whose horizon is over; the latest date is never one, so that only weekly
-- dates are ever counted
horizons as (
    select
        as_of_dates.as_of_date,
        {{ plus_days('as_of_dates.as_of_date', var('churn_horizon_days')) }} as outcome_date
    from as_of_dates
    inner join latest
        on
            {{ plus_days('as_of_dates.as_of_date', var('churn_horizon_days')) }}
            <= latest.as_of_date
),

activity_in_horizon as (
    select
        horizons.as_of_date,
        md5({{ joined_text(
            "concat_ws('|', activity_dates.activity_date, activity_dates.input_version)"
        ) }}) as activity_version
    from horizons
    inner join {{ ref('activity_dates') }} as activity_dates
        on
            horizons.as_of_date < activity_dates.activity_date
            and horizons.outcome_date >= activity_dates.activity_date
    group by horizons.as_of_date
),

cancellations_in_horizon as (
    select
        horizons.as_of_date,
        md5({{ joined_text("concat_ws('|', users.cancelled_on, users.user_id)") }})
            as cancellation_version
    from horizons
    inner join {{ ref('stg_users') }} as users
        on
            horizons.as_of_date < users.cancelled_on
            and horizons.outcome_date >= users.cancelled_on
    where users.signed_up_on is not null
    group by horizons.as_of_date
),

outcomes as (
    select
        horizons.as_of_date,
        horizons.outcome_date,
        md5(
            concat_ws(
                '|',
                personas_of_date.metrics_version,
                activity_in_horizon.activity_version,
                coalesce(cancellations_in_horizon.cancellation_version, '-'),
                '{{ definition_version("persona_dates", "outcome_version") }}'
            )
        ) as outcome_version
    from horizons
    inner join personas_of_date on horizons.as_of_date = personas_of_date.as_of_date
    inner join activity_in_horizon on horizons.as_of_date = activity_in_horizon.as_of_date
    left join cancellations_in_horizon
        on horizons.as_of_date = cancellations_in_horizon.as_of_date
),

outcome_histories as (
    select
        outcomes.as_of_date,
        outcomes.outcome_date,
        outcomes.outcome_version,
        md5(
            concat_ws(
                '|', outcomes.outcome_version, histories.history_version,
                '{{ definition_version("persona_dates", "outcome_history_version") }}'
            )
        ) as outcome_history_version
    from outcomes
    inner join histories on outcomes.as_of_date = histories.as_of_date
),

known_outcomes as (
    select
        histories.as_of_date,
        md5({{ joined_text(
            "concat_ws('|', outcome_histories.outcome_date, "
            ~ "outcome_histories.outcome_history_version)"
        ) }}) as outcome_version
    from histories
    inner join outcome_histories on histories.as_of_date >= outcome_histories.outcome_date
    group by histories.as_of_date
),

-- how many days around its own an activity date draws on
reach as (
    select
        {{ days_between('max(source_dates.source_date)', 'max(activity_dates.activity_date)') }}
            as days
    from {{ ref('source_dates') }} as source_dates
    cross join {{ ref('activity_dates') }} as activity_dates
),

-- what was loaded and nothing else: neither how it is counted nor what documents say of it
activity_versions as (
    select
        as_of_dates.as_of_date,
        md5({{ joined_text("concat_ws('|', slices.source_date, slices.version)") }})
            as activity_version
    from as_of_dates
    cross join reach
    inner join {{ source('raw', 'slices') }} as slices
        on
            slices.source_date
            between {{ plus_days('as_of_dates.lookback_start', '0 - reach.days') }}
            and {{ plus_days('as_of_dates.as_of_date', 'reach.days') }}
    group by as_of_dates.as_of_date
),

risks as (
    select
        histories.as_of_date,
        md5(
            concat_ws(
                '|',
                histories.history_version,
                coalesce(known_outcomes.outcome_version, '-'),
                '{{ definition_version("persona_dates", "risk_version") }}'
            )
        ) as risk_version
    from histories
    left join known_outcomes on histories.as_of_date = known_outcomes.as_of_date
)

select
    personas_of_date.as_of_date,
    personas_of_date.is_latest,
    personas_of_date.previous_as_of_date,
    outcome_histories.outcome_date,
    personas_of_date.input_version,
    histories.history_version,
    outcome_histories.outcome_version,
    outcome_histories.outcome_history_version,
    risks.risk_version,
    md5(
        concat_ws(
            '|',
            risks.risk_version,
            {{ seed_version('personas', ['persona', 'label', 'definition']) }},
            '{{ definition_version("persona_dates", "explanation_version") }}'
        )
    ) as explanation_version,
    activity_versions.activity_version,
    md5(
        concat_ws(
            '|',
            {% for seed in ['personas', 'persona_rules', 'event_types', 'time_zones'] -%}
                {{ seed_version(seed) }},
            {% endfor -%}
            {% for list in ['source_dates', 'activity_dates', 'as_of_dates', 'persona_dates'] -%}
                '{{ definition_version(list) }}',
            {% endfor -%}
            '{{ definition_version("persona_dates", "history_version") }}'
        )
    ) as rules_version,
    '{{ var("exclusivity_method") }}' as exclusivity_method
from personas_of_date
inner join histories on personas_of_date.as_of_date = histories.as_of_date
inner join risks on personas_of_date.as_of_date = risks.as_of_date
left join outcome_histories on personas_of_date.as_of_date = outcome_histories.as_of_date
left join activity_versions on personas_of_date.as_of_date = activity_versions.as_of_date
