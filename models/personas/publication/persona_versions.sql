with persona_dates as (
    select * from {{ ref('persona_dates') }}
),

as_of_dates as (
    select * from {{ ref('as_of_dates') }}
),

source_dates as (
    select * from {{ ref('source_dates') }}
),

activity_dates as (
    select * from {{ ref('activity_dates') }}
),

slices as (
    select * from {{ source('raw', 'slices') }}
),

-- how many days around its own an activity date draws on
reach as (
    select
        {{ days_between('max(source_dates.source_date)', 'max(activity_dates.activity_date)') }}
            as days
    from source_dates
    cross join activity_dates
),

-- what was loaded and nothing else: neither how it is counted nor what documents say of it
activity_versions as (
    select
        as_of_dates.as_of_date,
        md5({{ joined_text("concat_ws('|', slices.source_date, slices.version)") }})
            as activity_version
    from as_of_dates
    cross join reach
    inner join slices
        on
            slices.source_date
            between {{ plus_days('as_of_dates.lookback_start', '0 - reach.days') }}
            and {{ plus_days('as_of_dates.as_of_date', 'reach.days') }}
    group by as_of_dates.as_of_date
),

-- of the personas only what decides: their words may change without moving anybody
personas as (
    {{ seed_version('personas', ['persona', 'priority', 'expected_risk']) }}
),

rules as (
    {{ seed_version('persona_rules', [
        'persona', 'alternative', 'clause', 'window_days', 'metric', 'operator', 'threshold'
    ]) }}
),

event_types as (
    {{ seed_version('event_types', ['event_type', 'interaction', 'counts_as_activity']) }}
),

time_zones as (
    {{ seed_version('time_zones', ['time_zone']) }}
)

select
    persona_dates.as_of_date,
    persona_dates.is_latest,
    activity_versions.activity_version,
    md5(
        concat_ws(
            '|', personas.seed_version, rules.seed_version, event_types.seed_version,
            time_zones.seed_version,
            {% for list in ['source_dates', 'activity_dates', 'as_of_dates', 'persona_dates'] -%}
                '{{ definition_version(list) }}',
            {% endfor -%}
            '{{ definition_version("persona_dates", "history_version") }}'
        )
    ) as rules_version,
    persona_dates.input_version,
    persona_dates.history_version,
    '{{ var("exclusivity_method") }}' as exclusivity_method
from persona_dates
inner join activity_versions on persona_dates.as_of_date = activity_versions.as_of_date
cross join personas
cross join rules
cross join event_types
cross join time_zones
