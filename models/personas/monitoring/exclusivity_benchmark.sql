{%- set ranked_methods = ['priority', 'strongest', 'rarest', 'riskiest'] -%}
{%- set horizon_days = var('churn_horizon_days') -%}

with persona_dates as (
    select
        *,
        row_number() over (order by as_of_date desc nulls last) as recency
    from {{ ref('persona_dates') }}
),

dates as (
    select
        as_of_date,
        previous_as_of_date
    from persona_dates
    where recency <= {{ var('exclusivity_benchmark_dates') }}
),

viewers as (
    select
        user_windows.as_of_date,
        user_windows.user_id,
        dates.previous_as_of_date
    from {{ ref('user_windows') }} as user_windows
    inner join dates on user_windows.as_of_date = dates.as_of_date
    where user_windows.window_days = {{ short_window() }}
),

candidates as (
    select * from {{ ref('persona_candidates') }}
    where as_of_date in (select as_of_date from dates)
),

match_sets as (
    select
        viewers.as_of_date,
        viewers.user_id,
        viewers.previous_as_of_date,
        count(candidates.persona) as match_count,
        {{ joined_text('candidates.persona') }} as matched_personas
    from viewers
    left join candidates
        on viewers.as_of_date = candidates.as_of_date and viewers.user_id = candidates.user_id
    group by 1, 2, 3
),

audience as (
    select
        match_sets.as_of_date,
        match_sets.user_id,
        match_sets.previous_as_of_date,
        match_sets.match_count,
        before.user_id is not null
        and coalesce(match_sets.matched_personas, '') = coalesce(before.matched_personas, '')
            as has_same_matches
    from match_sets
    left join match_sets as before
        on
            match_sets.previous_as_of_date = before.as_of_date
            and match_sets.user_id = before.user_id
),

churn_outcomes as (
    select * from {{ ref('churn_outcomes') }}
),

choices_anew as (
    {% for method in ranked_methods -%}
        select
            '{{ method }}' as exclusivity_method,
            viewers.as_of_date,
            viewers.user_id,
            viewers.previous_as_of_date,
            coalesce(candidates.persona, 'casual') as persona
        from viewers
        left join candidates
            on
                viewers.as_of_date = candidates.as_of_date
                and viewers.user_id = candidates.user_id
                and candidates.{{ method }}_rank = 1
        {{ 'union all' if not loop.last }}
    {% endfor %}
),

choices_by_priority as (
    select
        as_of_date,
        user_id,
        previous_as_of_date,
        persona
    from choices_anew
    where exclusivity_method = 'priority'
),

choices as (
    select
        exclusivity_method,
        as_of_date,
        user_id,
        persona
    from choices_anew
    union all
    select
        'sticky' as exclusivity_method,
        as_of_date,
        user_id,
        persona
    from ({{ sticky_choices('choices_by_priority', 'candidates') }}) as sticky
),

-- from here on there are methods, dates and personas, and no viewers
persona_counts as (
    select
        choices.exclusivity_method,
        choices.as_of_date,
        choices.persona,
        count(*) as viewers,
        count(case when audience.match_count > 0 then 1 end) as matched_viewers,
        count(case when audience.match_count > 1 then 1 end) as viewers_of_several,
        count(before.persona) as viewers_before,
        count(case when before.persona <> choices.persona then 1 end) as changed_viewers,
        count(case when audience.has_same_matches then 1 end) as unchanged_viewers,
        count(case when audience.has_same_matches and before.persona <> choices.persona then 1 end)
            as flipped_viewers,
        count(churn_outcomes.is_churned) as known_viewers,
        count(case when churn_outcomes.is_churned then 1 end) as churned_viewers
    from choices
    inner join audience
        on choices.as_of_date = audience.as_of_date and choices.user_id = audience.user_id
    left join choices as before
        on
            audience.previous_as_of_date = before.as_of_date
            and choices.user_id = before.user_id
            and choices.exclusivity_method = before.exclusivity_method
    left join churn_outcomes
        on
            choices.as_of_date = churn_outcomes.as_of_date
            and choices.user_id = churn_outcomes.user_id
    group by 1, 2, 3
),

-- what was known of churn on a date: the outcomes of the dates whose horizon had ended by then
known_before as (
    select
        dates.as_of_date,
        persona_counts.exclusivity_method,
        persona_counts.persona,
        sum(persona_counts.known_viewers) as known_viewers,
        sum(persona_counts.churned_viewers) as churned_viewers
    from dates
    inner join persona_counts
        on
            {{ plus_days('persona_counts.as_of_date', horizon_days) }}
            <= dates.as_of_date
    group by 1, 2, 3
),

base_rates as (
    select
        as_of_date,
        exclusivity_method,
        (sum(churned_viewers) + 0.5e0) / (sum(known_viewers) + 1.0e0) as base_rate
    from known_before
    group by 1, 2
    having sum(known_viewers) > 0
),

-- the base rate counts as one more viewer of each persona, so that no rate is 0 or 1
rates as (
    select
        persona_counts.*,
        base_rates.base_rate,
        (coalesce(known_before.churned_viewers, 0) + base_rates.base_rate)
        / (coalesce(known_before.known_viewers, 0) + 1.0e0) as churn_rate
    from persona_counts
    left join base_rates
        on
            persona_counts.as_of_date = base_rates.as_of_date
            and persona_counts.exclusivity_method = base_rates.exclusivity_method
    left join known_before
        on
            persona_counts.as_of_date = known_before.as_of_date
            and persona_counts.exclusivity_method = known_before.exclusivity_method
            and persona_counts.persona = known_before.persona
),

losses as (
    select
        *,
        case when base_rate is not null then known_viewers else 0 end as predicted_viewers,
        -churned_viewers * ln(churn_rate)
        - (known_viewers - churned_viewers) * ln(1.0e0 - churn_rate) as loss,
        -churned_viewers * ln(base_rate)
        - (known_viewers - churned_viewers) * ln(1.0e0 - base_rate) as base_loss
    from rates
),

by_date_and_pooled as (
    {% for as_of_date in ['as_of_date', 'cast(null as date)'] -%}
        select
            exclusivity_method,
            {{ as_of_date }} as as_of_date,
            persona,
            count(*) as dates,
            {% for count in [
                'viewers', 'matched_viewers', 'viewers_of_several', 'viewers_before',
                'changed_viewers', 'unchanged_viewers', 'flipped_viewers', 'predicted_viewers',
            ] -%}
                sum({{ count }}) as {{ count }},
            {% endfor -%}
            {{ exact_sum('loss', 'decimal(38, 12)') }} as loss,
            {{ exact_sum('base_loss', 'decimal(38, 12)') }} as base_loss
        from losses
        group by 1, 2, 3
        {{ 'union all' if not loop.last }}
    {% endfor %}
),

shares as (
    select
        *,
        cast(viewers as double)
        / sum(viewers) over (partition by exclusivity_method, as_of_date) as share
    from by_date_and_pooled
),

by_method as (
    select
        exclusivity_method,
        as_of_date,
        cast(sum(viewers) as bigint) as viewers,
        sum(matched_viewers) / cast(sum(viewers) as double) as coverage,
        sum(viewers_of_several) / cast(sum(viewers) as double) as several_matches_share,
        cast(sum(viewers_before) as bigint) as viewers_before,
        sum(changed_viewers) / cast(nullif(sum(viewers_before), 0) as double) as changed_share,
        cast(sum(unchanged_viewers) as bigint) as unchanged_viewers,
        sum(flipped_viewers) / cast(nullif(sum(unchanged_viewers), 0) as double) as flip_share,
        round(exp(-{{ exact_sum('share * ln(share)', 'decimal(38, 15)') }}), 9)
            as effective_personas,
        cast(sum(predicted_viewers) as bigint) as predicted_viewers,
        round(
            {{ exact_sum('loss', 'decimal(38, 12)') }}
            / nullif(sum(predicted_viewers), 0), 12
        ) as log_loss,
        round(
            {{ exact_sum('base_loss', 'decimal(38, 12)') }}
            / nullif(sum(predicted_viewers), 0), 12
        ) as base_log_loss
    from shares
    group by 1, 2
)

select
    exclusivity_method,
    as_of_date,
    viewers,
    coverage,
    several_matches_share,
    viewers_before,
    changed_share,
    unchanged_viewers,
    flip_share,
    effective_personas,
    predicted_viewers,
    log_loss,
    base_log_loss,
    1.0e0 - log_loss / nullif(base_log_loss, 0.0e0) as log_loss_skill
from by_method
