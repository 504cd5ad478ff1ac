{#
    What follows the CTE first_choices where a viewer keeps the persona of the evaluation date before
    while it matches. Needs the CTE matches. Walks from date to date: DuckDB by recursion. Spark's
    cannot hold the pruning of partitions, and folds the dates of each viewer into one another.
#}
{% macro sticky_choices() %}{{ return(adapter.dispatch('sticky_choices')()) }}{% endmacro %}
{% macro duckdb__sticky_choices() -%}
    ,

    sticky_choices as (
        select first_choices.*
        from first_choices
        left join first_choices as before
            on
                first_choices.previous_as_of_date = before.as_of_date
                and first_choices.user_id = before.user_id
        where before.user_id is null
        union all
        select
            first_choices.as_of_date,
            first_choices.user_id,
            first_choices.previous_as_of_date,
            coalesce(matches.persona, first_choices.persona) as persona
        from sticky_choices
        inner join first_choices
            on
                sticky_choices.as_of_date = first_choices.previous_as_of_date
                and sticky_choices.user_id = first_choices.user_id
        left join matches
            on
                first_choices.as_of_date = matches.as_of_date
                and first_choices.user_id = matches.user_id
                and sticky_choices.persona = matches.persona
    )

    select * from sticky_choices
{%- endmacro %}
{% macro spark__sticky_choices() %}
    select
        kept.as_of_date,
        user_id,
        kept.previous_as_of_date,
        kept.persona
    from (
        select
            user_id,
            explode(
                aggregate(
                    array_sort(collect_list(named_struct(
                        'as_of_date', as_of_date,
                        'previous_as_of_date', previous_as_of_date,
                        'persona', persona,
                        'matched', matched
                    ))),
                    cast(
                        array() as array<
                            struct<as_of_date: date, previous_as_of_date: date, persona: string>
                        >
                    ),
                    (kept, seen) -> concat(kept, array(named_struct(
                        'as_of_date', seen.as_of_date,
                        'previous_as_of_date', seen.previous_as_of_date,
                        'persona',
                        case
                            when
                                element_at(kept, -1).as_of_date = seen.previous_as_of_date
                                and array_contains(seen.matched, element_at(kept, -1).persona)
                                then element_at(kept, -1).persona
                            else seen.persona
                        end
                    )))
                )
            ) as kept
        from (
            select
                first_choices.*,
                matched_personas.matched
            from first_choices
            left join (
                select
                    as_of_date,
                    user_id,
                    collect_set(persona) as matched
                from matches
                group by as_of_date, user_id
            ) as matched_personas
                on
                    first_choices.as_of_date = matched_personas.as_of_date
                    and first_choices.user_id = matched_personas.user_id
        ) as choices_with_matches
        group by user_id
    ) as choices_kept
{% endmacro %}
