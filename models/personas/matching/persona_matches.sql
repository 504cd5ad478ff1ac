with persona_dates as (
    select * from {{ ref('persona_dates') }}
    where {{ needs_building() }}
),

rules as (
    select * from {{ ref('persona_rules') }}
),

user_windows as (
    select
        {% for metric in rule_metrics() -%}
            cast({{ metric }} as double) as {{ metric }},
        {% endfor -%}
        as_of_date,
        window_days,
        user_id
    from {{ ref('user_windows') }}
    where as_of_date in (select as_of_date from persona_dates)
),

metric_values as (
    select
        as_of_date,
        window_days,
        user_id,
        metric,
        value
    from user_windows
    unpivot include nulls (value for metric in ({{ rule_metrics() | join(', ') }}))
),

-- spread over the whole audience of the date: the yardstick for how clear a clause is
spreads as (
    select
        as_of_date,
        window_days,
        metric,
        {{ exact_standard_deviation('value') }} as standard_deviation
    from metric_values
    where metric in (select metric from rules)
    group by 1, 2, 3
),

clauses as (
    select
        metric_values.as_of_date,
        metric_values.user_id,
        rules.persona,
        rules.alternative,
        rules.clause,
        rules.metric,
        rules.window_days,
        metric_values.value,
        rules.operator,
        cast(rules.threshold as double) as threshold,
        coalesce(
            case rules.operator
                when '>=' then metric_values.value >= rules.threshold
                when '>' then metric_values.value > rules.threshold
                when '<=' then metric_values.value <= rules.threshold
                when '<' then metric_values.value < rules.threshold
                when '=' then metric_values.value = rules.threshold
            end,
            false
        ) as is_met,
        case
            -- least() passes over a null: without this, nothing known would be most clear
            when metric_values.value is null then null
            when spreads.standard_deviation > 0
                then
                    least(
                        3.0,
                        abs(metric_values.value - rules.threshold) / spreads.standard_deviation
                    )
            when metric_values.value <> rules.threshold then 3.0
            when metric_values.value = rules.threshold then 0.0
        end as distance
    from metric_values
    inner join rules
        on metric_values.metric = rules.metric and metric_values.window_days = rules.window_days
    inner join spreads
        on
            metric_values.as_of_date = spreads.as_of_date
            and metric_values.window_days = spreads.window_days
            and metric_values.metric = spreads.metric
),

-- most alternatives come to nothing: only those that are kept are put into words
alternatives as (
    select
        as_of_date,
        user_id,
        persona,
        alternative,
        count(*) as clauses,
        count(case when is_met then 1 end) as clauses_met,
        -- rounded, so that the last bits of a double decide between no two alternatives
        round(min(distance), 9) as strength
    from clauses
    group by 1, 2, 3, 4
    having count(case when is_met then 1 end) >= count(*) - 1
),

ranked as (
    select
        *,
        row_number() over (
            partition by as_of_date, user_id, persona
            order by
                clauses - clauses_met asc nulls last,
                strength desc nulls last,
                alternative asc nulls last
        ) as alternative_rank
    from alternatives
),

best_alternatives as (
    select * from ranked
    where alternative_rank = 1
),

worded_clauses as (
    select
        clauses.*,
        {{ clause_phrase() }} as phrase
    from clauses
    inner join best_alternatives
        on
            clauses.as_of_date = best_alternatives.as_of_date
            and clauses.user_id = best_alternatives.user_id
            and clauses.persona = best_alternatives.persona
            and clauses.alternative = best_alternatives.alternative
),

reasons as (
    select
        as_of_date,
        user_id,
        persona,
        {{ list_of_structs({
            'clause': 'clause', 'metric': 'metric', 'window_days': 'window_days',
            'value': 'value', 'operator': 'operator', 'threshold': 'threshold', 'is_met': 'is_met',
        }) }} as evidence,
        {{ joined_text('phrase', '; ', 'clause') }} as reason
    from worded_clauses
    group by 1, 2, 3
)

select
    best_alternatives.as_of_date,
    best_alternatives.user_id,
    best_alternatives.persona,
    best_alternatives.clauses_met = best_alternatives.clauses as is_match,
    best_alternatives.alternative,
    best_alternatives.clauses,
    best_alternatives.clauses_met,
    best_alternatives.strength,
    reasons.evidence,
    reasons.reason,
    persona_dates.input_version
from best_alternatives
inner join persona_dates on best_alternatives.as_of_date = persona_dates.as_of_date
inner join reasons
    on
        best_alternatives.as_of_date = reasons.as_of_date
        and best_alternatives.user_id = reasons.user_id
        and best_alternatives.persona = reasons.persona
