{#
    The query of as_of_date, user_id, previous_as_of_date and persona where a viewer keeps the persona
    of the evaluation date before while it is a candidate (hysteresis). `first_choices` is a relation
    with these columns and the persona that a viewer would have without it; `candidates` has
    as_of_date, user_id and persona. Goes from date to date: DuckDB by recursion, Spark by a fold over
    the dates of each viewer, because recursion there cannot hold the pruning of partitions.
#}
{% macro sticky_choices(first_choices, candidates) %}
    {{- return(adapter.dispatch('sticky_choices')(first_choices, candidates)) -}}
{% endmacro %}
{% macro duckdb__sticky_choices(first_choices, candidates) -%}
    with recursive kept as (
        select choices.*
        from {{ first_choices }} as choices
        left join {{ first_choices }} as previous
            on
                choices.previous_as_of_date = previous.as_of_date
                and choices.user_id = previous.user_id
        where previous.user_id is null
        union all
        select
            choices.as_of_date,
            choices.user_id,
            choices.previous_as_of_date,
            coalesce(candidates.persona, choices.persona) as persona
        from kept
        inner join {{ first_choices }} as choices
            on
                kept.as_of_date = choices.previous_as_of_date
                and kept.user_id = choices.user_id
        left join {{ candidates }} as candidates
            on
                choices.as_of_date = candidates.as_of_date
                and choices.user_id = candidates.user_id
                and kept.persona = candidates.persona
    )

    select * from kept
{%- endmacro %}
{% macro spark__sticky_choices(first_choices, candidates) %}
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
                choices.*,
                matched_personas.matched
            from {{ first_choices }} as choices
            left join (
                select
                    as_of_date,
                    user_id,
                    collect_set(persona) as matched
                from {{ candidates }}
                group by as_of_date, user_id
            ) as matched_personas
                on
                    choices.as_of_date = matched_personas.as_of_date
                    and choices.user_id = matched_personas.user_id
        ) as choices_with_matches
        group by user_id
    ) as choices_kept
{% endmacro %}
