{# One row per value of `columns`: the sentence that begins the description, proved. #}
{% test grain(model, columns) %}
    select
        {{ columns | join(', ') }},
        count(*) as number_of_rows
    from {{ model }}
    group by {{ columns | join(', ') }}
    having count(*) > 1
{% endtest %}
