{# Every match up to the last date to build, with what the methods of choosing look at. Needs the
   CTE dates_to_build. #}
{% macro ranked_matches() %}
    select
        persona_matches.as_of_date,
        persona_matches.user_id,
        persona_matches.persona,
        persona_matches.strength,
        persona_matches.reason,
        personas.priority,
        case personas.expected_risk when 'high' then 3 when 'medium' then 2 else 1 end
            as expected_risk,
        count(*) over (partition by persona_matches.as_of_date, persona_matches.persona)
            as viewers_who_match
    from {{ ref('persona_matches') }} as persona_matches
    inner join {{ ref('personas') }} as personas on persona_matches.persona = personas.persona
    where
        persona_matches.is_match
        and persona_matches.as_of_date <= (select max(as_of_date) from dates_to_build)
{% endmacro %}

{# How a method orders the personas that a viewer matches: the first one is theirs. Sticky orders as
   priority does where it has to choose anew. #}
{% macro order_of_choice(method) -%}
    {{ {
        'strongest': 'strength desc nulls last, ',
        'rarest': 'viewers_who_match asc nulls last, ',
        'riskiest': 'expected_risk desc nulls last, ',
    }.get(method, '') -}}
    priority asc nulls last, persona asc nulls last
{%- endmacro %}

{#
    One persona for each viewer and date by one method: as_of_date, user_id, previous_as_of_date and
    persona; casual without a match. Needs the CTEs viewers and matches.

    Sticky walks from date to date: a viewer keeps the persona of the date before while it matches.
#}
{% macro choices_by(method) %}
    with {{ 'recursive ' if method == 'sticky' }}first_choices as (
        select
            viewers.*,
            coalesce(ranked.persona, 'casual') as persona
        from viewers
        left join (
            select
                as_of_date,
                user_id,
                persona,
                row_number() over (
                    partition by as_of_date, user_id order by {{ order_of_choice(method) }}
                ) as choice_rank
            from matches
        ) as ranked
            on
                viewers.as_of_date = ranked.as_of_date
                and viewers.user_id = ranked.user_id
                and ranked.choice_rank = 1
    )
    {%- if method == 'sticky' %}
        {{- sticky_choices() }}
    {%- else %}

    select * from first_choices
    {%- endif %}
{% endmacro %}
