{#
    Everything that DuckDB and Spark do differently, and nothing else; a test sees to it that no
    other file names an engine. A model that needs more than these macros is written in the SQL that
    both read.
#}

{# The date `days` days after `date`. #}
{% macro plus_days(date, days) %}{{ return(adapter.dispatch('plus_days')(date, days)) }}{% endmacro %}
{% macro duckdb__plus_days(date, days) %}({{ date }} + cast({{ days }} as integer)){% endmacro %}
{% macro spark__plus_days(date, days) %}date_add({{ date }}, cast({{ days }} as int)){% endmacro %}

{# Whole days from `start` to `end`, an integer. #}
{% macro days_between(start, end) %}{{ return(adapter.dispatch('days_between')(start, end)) }}{% endmacro %}
{% macro duckdb__days_between(start, end) %}cast({{ end }} - {{ start }} as integer){% endmacro %}
{% macro spark__days_between(start, end) %}datediff({{ end }}, {{ start }}){% endmacro %}

{# ISO weekday of a date: 1 = Monday … 7 = Sunday. #}
{% macro iso_weekday(date) %}{{ return(adapter.dispatch('iso_weekday')(date)) }}{% endmacro %}
{% macro duckdb__iso_weekday(date) %}cast(isodow({{ date }}) as integer){% endmacro %}
{% macro spark__iso_weekday(date) %}(weekday({{ date }}) + 1){% endmacro %}

{# The wall clock in `timezone` (an IANA name that the engine knows) at a UTC timestamp. #}
{% macro local_time(utc_timestamp, timezone) %}
    {{- return(adapter.dispatch('local_time')(utc_timestamp, timezone)) -}}
{% endmacro %}
{% macro duckdb__local_time(utc_timestamp, timezone) -%}
    timezone({{ timezone }}, timezone('UTC', {{ utc_timestamp }}))
{%- endmacro %}
{% macro spark__local_time(utc_timestamp, timezone) -%}
    cast(from_utc_timestamp({{ utc_timestamp }}, {{ timezone }}) as timestamp)
{%- endmacro %}

{# The quarter of an hour in which a timestamp lies: the timestamp at which it begins. #}
{% macro quarter_hour(timestamp) %}{{ return(adapter.dispatch('quarter_hour')(timestamp)) }}{% endmacro %}
{% macro duckdb__quarter_hour(timestamp) -%}
    time_bucket(interval '15' minute, {{ timestamp }})
{%- endmacro %}
{% macro spark__quarter_hour(timestamp) -%}
    cast(timestamp_seconds(900 * floor(unix_timestamp({{ timestamp }}) / 900)) as timestamp)
{%- endmacro %}

{# The texts of a group in one text, sorted by themselves or by `order_by`, so that the order of the
   rows does not matter. #}
{% macro joined_text(expression, separator=',', order_by=none) %}
    {{- return(adapter.dispatch('joined_text')(expression, separator, order_by)) -}}
{% endmacro %}
{% macro duckdb__joined_text(expression, separator, order_by) -%}
    string_agg({{ expression }}, '{{ separator }}' order by {{ order_by or expression }} asc nulls last)
{%- endmacro %}
{% macro spark__joined_text(expression, separator, order_by) -%}
    case
        when count({{ expression }}) > 0
            then array_join(
                transform(
                    array_sort(collect_list(named_struct(
                        'position', {{ order_by or expression }}, 'text', {{ expression }}
                    ))),
                    item -> item.text
                ),
                '{{ separator }}'
            )
    end
{%- endmacro %}

{# A scalar inside a JSON document as text. `path` is a dotted path: `a.b`. Null where it is not
   there, and where a list or an object is. #}
{% macro json_text(document, path) %}
    {{- return(adapter.dispatch('json_text')(document, path)) -}}
{% endmacro %}
{% macro duckdb__json_text(document, path) -%}
    case
        when json_type({{ document }}, '$.{{ path }}') not in ('ARRAY', 'OBJECT')
            then json_extract_string({{ document }}, '$.{{ path }}')
    end
{%- endmacro %}
{% macro spark__json_text(document, path) -%}
    case
        when {{ spark__json_kind(document, path) }} = 'scalar'
            then get_json_object({{ document }}, '$.{{ path }}')
    end
{%- endmacro %}

{# What there is in a JSON document at a path: scalar, list or object; null where there is nothing.
   Spark sees no difference between a list and a text that holds one. #}
{% macro json_kind(document, path) %}
    {{- return(adapter.dispatch('json_kind')(document, path)) -}}
{% endmacro %}
{% macro duckdb__json_kind(document, path) -%}
    case json_type({{ document }}, '$.{{ path }}')
        when 'ARRAY' then 'list'
        when 'OBJECT' then 'object'
        when 'NULL' then null
        else case when json_exists({{ document }}, '$.{{ path }}') then 'scalar' end
    end
{%- endmacro %}
{% macro spark__json_kind(document, path) -%}
    case
        when json_array_length(get_json_object({{ document }}, '$.{{ path }}')) is not null
            then 'list'
        when json_object_keys(get_json_object({{ document }}, '$.{{ path }}')) is not null
            then 'object'
        when get_json_object({{ document }}, '$.{{ path }}') is not null then 'scalar'
    end
{%- endmacro %}

{# The texts of a JSON list, or of one scalar, as a list. Empty where there is none. #}
{% macro json_texts(document, path) %}
    {{- return(adapter.dispatch('json_texts')(document, path)) -}}
{% endmacro %}
{% macro duckdb__json_texts(document, path) -%}
    case json_type({{ document }}, '$.{{ path }}')
        when 'ARRAY' then json_extract_string({{ document }}, '$.{{ path }}[*]')
        when 'OBJECT' then cast([] as varchar[])
        when 'NULL' then cast([] as varchar[])
        else
            list_filter(
                [json_extract_string({{ document }}, '$.{{ path }}')],
                lambda item: item is not null
            )
    end
{%- endmacro %}
{% macro spark__json_texts(document, path) -%}
    case {{ spark__json_kind(document, path) }}
        when 'list'
            then from_json(get_json_object({{ document }}, '$.{{ path }}'), 'array<string>')
        when 'scalar' then array(get_json_object({{ document }}, '$.{{ path }}'))
        else cast(array() as array<string>)
    end
{%- endmacro %}

{# The objects of a JSON list, each as a JSON document. #}
{% macro json_documents(document, path) %}
    {{- return(adapter.dispatch('json_documents')(document, path)) -}}
{% endmacro %}
{% macro duckdb__json_documents(document, path) -%}
    case json_type({{ document }}, '$.{{ path }}')
        when 'ARRAY' then json_extract({{ document }}, '$.{{ path }}[*]')
        else cast([] as json[])
    end
{%- endmacro %}
{% macro spark__json_documents(document, path) -%}
    from_json(get_json_object({{ document }}, '$.{{ path }}'), 'array<string>')
{%- endmacro %}

{# A text as a value of a type: date, integer, double or boolean; null where it is none. What is a
   date begins with year, month and day, and a fraction is rounded to an integer. #}
{% macro text_as(type, text) %}{{ return(adapter.dispatch('text_as')(type, text)) }}{% endmacro %}
{% macro duckdb__text_as(type, text) %}try_cast({{ text }} as {{ type }}){% endmacro %}
{% macro spark__text_as(type, text) -%}
    {%- if type == 'date' -%}
        case
            when {{ text }} rlike '^ *[0-9]+[-/][0-9]+[-/][0-9]+'
                then try_cast(replace({{ text }}, '/', '-') as date)
        end
    {%- elif type == 'integer' -%}
        try_cast(round(try_cast({{ text }} as double)) as integer)
    {%- elif type == 'boolean' -%}
        case when {{ text }} = trim({{ text }}) then try_cast({{ text }} as boolean) end
    {%- else -%}
        try_cast({{ text }} as {{ type }})
    {%- endif -%}
{%- endmacro %}

{# A double rounded to some digits, halves away from zero, and never -0.0. DuckDB multiplies first; Spark looks at
   the shortest text of the number, so that 1.005 has another half. #}
{% macro rounded(value, digits) %}
    {{- return(adapter.dispatch('rounded')(value, digits)) -}}
{% endmacro %}
{% macro duckdb__rounded(value, digits) %}(0.0 + round({{ value }}, {{ digits }})){% endmacro %}
{% macro spark__rounded(value, digits) -%}
    (0.0e0 + round(({{ value }}) * {{ 10 ** digits }}, 0) / {{ 10 ** digits }})
{%- endmacro %}

{# One row per element of a list, in the select list. #}
{% macro each_of(list) %}{{ return(adapter.dispatch('each_of')(list)) }}{% endmacro %}
{% macro duckdb__each_of(list) %}unnest({{ list }}){% endmacro %}
{% macro spark__each_of(list) %}explode({{ list }}){% endmacro %}

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

{# The rows of a group as a list of structs, sorted by its fields. `fields` maps names to SQL. #}
{% macro list_of_structs(fields) %}
    {{- return(adapter.dispatch('list_of_structs')(fields)) -}}
{% endmacro %}
{% macro duckdb__list_of_structs(fields) -%}
    list_sort(list({
        {%- for name, expression in fields.items() %}
        '{{ name }}': {{ expression }}{{ ',' if not loop.last }}
        {%- endfor %}
    }))
{%- endmacro %}
{% macro spark__list_of_structs(fields) -%}
    array_sort(collect_list(named_struct(
        {%- for name, expression in fields.items() %}
        '{{ name }}', {{ expression }}{{ ',' if not loop.last }}
        {%- endfor %}
    )))
{%- endmacro %}

{# The texts of a group as a list, sorted by `order_by`. #}
{% macro list_of_texts(expression, order_by) %}
    {{- return(adapter.dispatch('list_of_texts')(expression, order_by)) -}}
{% endmacro %}
{% macro duckdb__list_of_texts(expression, order_by) -%}
    list({{ expression }} order by {{ order_by }} asc nulls last, {{ expression }} asc nulls last)
{%- endmacro %}
{% macro spark__list_of_texts(expression, order_by) -%}
    transform(
        array_sort(collect_list(named_struct('position', {{ order_by }}, 'text', {{ expression }}))),
        item -> item.text
    )
{%- endmacro %}

{#
    The engine's half of the partition pattern (macros/partitions.sql): the ledger, how many
    partitions are built at a time, and what is done to them. `kept` are dates.
#}
{% macro create_ledger(ledger, columns) %}
    {{- return(adapter.dispatch('create_ledger')(ledger, columns)) -}}
{% endmacro %}
{% macro duckdb__create_ledger(ledger, columns) %}
    create schema if not exists {{ ledger.without_identifier() }};
    create table if not exists {{ ledger }} (
        {%- for name, type in columns.items() %}
            {{ name }} {{ type }}{{ ',' if not loop.last }}
        {%- endfor %}
    );
{% endmacro %}
{% macro spark__create_ledger(ledger, columns) %}
    {% do run_query('create schema if not exists ' ~ ledger.without_identifier()) %}
    create table if not exists {{ ledger }} (
        {%- for name, type in columns.items() %}
            {{ name }} {{ data_type(type) }}{{ ',' if not loop.last }}
        {%- endfor %}
    )
    using parquet partitioned by (model)
{% endmacro %}

{# Forget the entries of a model but those of the kept partitions. #}
{% macro forget_partitions(ledger, model_condition, kept) %}
    {{- return(adapter.dispatch('forget_partitions')(ledger, model_condition, kept)) -}}
{% endmacro %}
{% macro duckdb__forget_partitions(ledger, model_condition, kept) %}
    delete from {{ ledger }}
    where {{ model_condition }}
    {% if kept %}
        and partition_date not in ({{ date_literals(kept) }})
    {% endif %}
{% endmacro %}
{% macro spark__forget_partitions(ledger, model_condition, kept) %}
    {% if kept %}
        insert overwrite {{ ledger }} by name
        select /*+ coalesce(1) */ * from {{ ledger }}
        where {{ model_condition }} and partition_date in ({{ date_literals(kept) }})
    {% else %}
        alter table {{ ledger }} drop if exists partition ({{ model_condition }})
    {% endif %}
{% endmacro %}
{% macro date_literals(dates) -%}
    {%- for date in dates -%} date '{{ date }}'{{ ', ' if not loop.last }} {%- endfor -%}
{%- endmacro %}

{# A table without rows, of the columns that a model declares; for partitioned models by what they are
   partitioned. #}
{% macro create_empty_table(relation, partition_by=none) %}
    {{- return(adapter.dispatch('create_empty_table')(relation, partition_by)) -}}
{% endmacro %}
{% macro duckdb__create_empty_table(relation, partition_by) %}
    {% do run_query('create table ' ~ relation ~ get_table_columns_and_constraints()) %}
{% endmacro %}
{% macro spark__create_empty_table(relation, partition_by) %}
    {% set columns = [] %}
    {% for column in model.columns.values() %}
        {% do columns.append(column.name ~ ' ' ~ data_type(column.data_type)) %}
    {% endfor %}
    {% do run_query(
        'create table ' ~ relation ~ ' (' ~ columns | join(', ') ~ ') using parquet'
        ~ (' partitioned by (' ~ partition_by ~ ')' if partition_by else '')
    ) %}
{% endmacro %}

{# Take every partition that is not kept out of a table. #}
{% macro delete_partitions(relation, partition_by, kept) %}
    {{- return(adapter.dispatch('delete_partitions')(relation, partition_by, kept)) -}}
{% endmacro %}
{% macro duckdb__delete_partitions(relation, partition_by, kept) %}
    {% do run_query(
        'delete from ' ~ relation ~ ' where ' ~ partition_by ~ ' not in ('
        ~ date_literals(kept) ~ ')'
    ) %}
{% endmacro %}
{% macro spark__delete_partitions(relation, partition_by, kept) %}
    {% set kept_folders = [] %}
    {% for date in kept %}
        {% do kept_folders.append(partition_by ~ '=' ~ date) %}
    {% endfor %}
    {% set dropped = [] %}
    {% for row in run_query('show partitions ' ~ relation) if row[0] not in kept_folders %}
        {% do dropped.append('partition (' ~ row[0] | replace('=', " = '") ~ "')") %}
    {% endfor %}
    {% if dropped %}
        {% do run_query('alter table ' ~ relation ~ ' drop if exists ' ~ dropped | join(', ')) %}
    {% endif %}
{% endmacro %}

{# Put the partitions that a query gives into a table. #}
{% macro insert_partitions(relation, partition_by, query) %}
    {{- return(adapter.dispatch('insert_partitions')(relation, partition_by, query)) -}}
{% endmacro %}
{% macro duckdb__insert_partitions(relation, partition_by, query) %}
    {# what parts_in_time counts from #}
    {% do run_query('set variable first_date = (' ~ first_missing_partition() ~ ')') %}
    {% do run_query('insert into ' ~ relation ~ ' by name\n' ~ query) %}
{% endmacro %}
{% macro spark__insert_partitions(relation, partition_by, query) %}
    {% do run_query(
        'insert overwrite ' ~ relation ~ ' by name select /*+ rebalance(' ~ partition_by
        ~ ') */ * from (\n' ~ query ~ '\n) as model_rows'
    ) %}
{% endmacro %}

{# Write what was built into the ledger. On Spark two models that append to one table at the same time
   delete each other's temporary folder; those that overwrite have a folder each, so the entries of
   the model are written anew. #}
{% macro record_partitions(ledger, model_condition, entries) %}
    {{- return(adapter.dispatch('record_partitions')(ledger, model_condition, entries)) -}}
{% endmacro %}
{% macro duckdb__record_partitions(ledger, model_condition, entries) %}
    {% do run_query('insert into ' ~ ledger ~ ' by name ' ~ entries) %}
{% endmacro %}
{% macro spark__record_partitions(ledger, model_condition, entries) %}
    {% do run_query(
        'insert overwrite ' ~ ledger ~ ' by name select /*+ coalesce(1) */ * from (select '
        ~ ledger_columns() | join(', ') ~ ' from ' ~ ledger ~ ' where ' ~ model_condition
        ~ ' union all ' ~ entries ~ ') as model_entries'
    ) %}
{% endmacro %}

{# How many partitions of a list, from the date `first` on, fit into memory at a time, as SQL; none for
   all of them. On DuckDB the vars events_at_once and viewer_days_at_once say it. Spark has the memory
   of a cluster. #}
{% macro partitions_at_once(partition_list, first) %}
    {{- return(adapter.dispatch('partitions_at_once')(partition_list, first)) -}}
{% endmacro %}
{% macro duckdb__partitions_at_once(partition_list, first) -%}
    {%- if partition_list in ['source_dates', 'activity_dates'] -%}
        (
            select greatest(1, count(*))
            from (
                select sum(row_count) over (order by source_date asc nulls last) as events
                from {{ raw_slices() }}
                where source_date >= ({{ first }})
            ) as days
            where events <= {{ var('events_at_once') }}
        )
    {%- else -%}
        (
            select greatest(1, {{ var('viewer_days_at_once') }} // greatest(1, sum(row_count)))
            from {{ partition_ledger() }}
            where model = 'metrics.user_days'
        )
    {%- endif -%}
{%- endmacro %}
{% macro spark__partitions_at_once(partition_list, first) %}{{ return(none) }}{% endmacro %}
{% macro raw_slices() %}
    {{- return(api.Relation.create(database=target.database, schema='raw', identifier='slices')) -}}
{% endmacro %}

{# Conditions on the time of an event that divide what is built at a time into parts: one, or more
   where a day alone has more than events_at_once. Its events are then counted part by part, in the
   order in which they lie there, so that no more than a part's is in memory. The parts are whole
   quarters of an hour of the first date, and the last one has everything after it. Spark has the
   memory of a cluster. #}
{% macro parts_in_time(occurred_at) %}
    {{- return(adapter.dispatch('parts_in_time')(occurred_at)) -}}
{% endmacro %}
{% macro duckdb__parts_in_time(occurred_at) %}
    {% set quarters = 24 * 4 %}
    {% set parts = 1 %}
    {% if execute and model.resource_type == 'model' and load_relation(raw_slices()) %}
        {% set parts = run_query(
            'select least(' ~ quarters ~ ', greatest(1, ceil(max(row_count) / '
            ~ var('events_at_once') ~ ')))::integer from ' ~ raw_slices()
        ).rows[0][0] %}
    {% endif %}
    {% set conditions = [] %}
    {% for part in range(parts) %}
        {% set limits = [] %}
        {% for sign, edge in [('>=', part), ('<', part + 1)] if 0 < edge < parts %}
            {# a constant, unlike a subquery: only the rows of the part are looked at #}
            {% do limits.append(
                occurred_at ~ ' ' ~ sign ~ " cast(getvariable('first_date') as timestamp) + to_minutes("
                ~ (quarters * edge // parts) * 15 ~ ')'
            ) %}
        {% endfor %}
        {% do conditions.append(limits | join(' and ') or '1 = 1') %}
    {% endfor %}
    {{ return(conditions) }}
{% endmacro %}
{% macro spark__parts_in_time(occurred_at) %}{{ return(['1 = 1']) }}{% endmacro %}

{# A list without elements, where the elements would be texts. #}
{% macro empty_list_of_texts() %}{{ return(adapter.dispatch('empty_list_of_texts')()) }}{% endmacro %}
{% macro duckdb__empty_list_of_texts() %}cast([] as varchar[]){% endmacro %}
{% macro spark__empty_list_of_texts() %}cast(array() as array<string>){% endmacro %}

{#
    The spelling of a data type in the YAML of models and sources. The contracts are written in
    DuckDB's: varchar, json, lists as `type[]`, structs as `struct(name type, …)`.
#}
{% macro data_type(name) %}{{ return(adapter.dispatch('data_type')(name)) }}{% endmacro %}
{% macro duckdb__data_type(name) %}{{ return(name) }}{% endmacro %}
{% macro spark__data_type(name) %}
    {% set spelled = name | replace('varchar', 'string') | replace('json', 'string')
        | replace('"', '`') %}
    {% if spelled[-2:] == '[]' %}
        {% set spelled = 'array<' ~ spelled[:-2] ~ '>' %}
    {% endif %}
    {{ return(spelled | replace('struct(', 'struct<') | replace(')', '>')) }}
{% endmacro %}

{# What a run needs besides before it begins: DuckDB has the raw tables in its file, and Spark reads
   them as files, in the folder where `personas load --to parquet` has put them. #}
{% macro find_raw_tables() %}{{ return(adapter.dispatch('find_raw_tables')()) }}{% endmacro %}
{% macro duckdb__find_raw_tables() %}{% endmacro %}
{% macro spark__find_raw_tables() %}
    {% if not execute %}{{ return('') }}{% endif %}
    {% set warehouse = env_var('PERSONAS_WAREHOUSE', '') %}
    {% if warehouse[:1] != '/' and '://' not in warehouse %}
        {% do exceptions.raise_compiler_error(
            'PERSONAS_WAREHOUSE is "' ~ warehouse ~ '"; the target spark needs it to be the absolute '
            ~ 'path or the URL of the folder that personas load --to parquet writes (docs/scale.md).'
        ) %}
    {% endif %}
    {% for source in graph.sources.values() %}
        {% set table = source.schema ~ '.' ~ source.identifier %}
        {% set partition = source.config.meta.get('partition') %}
        {% set columns = [] %}
        {% for column in source.columns.values() %}
            {% do columns.append(column.name ~ ' ' ~ data_type(column.data_type)) %}
        {% endfor %}
        {% do run_query('create schema if not exists ' ~ source.schema) %}
        {% do run_query(
            'create table if not exists ' ~ table ~ ' (' ~ columns | join(', ') ~ ') using parquet'
            ~ (' partitioned by (' ~ partition ~ ')' if partition else '')
            ~ " location '" ~ warehouse ~ '/raw/' ~ source.identifier ~ "'"
        ) %}
        {% do run_query(
            'msck repair table ' ~ table ~ ' sync partitions' if partition
            else 'refresh table ' ~ table
        ) %}
    {% endfor %}
{% endmacro %}

{#
    Below are macros and one materialization of dbt-spark that do not fit: they are replaced, for
    Spark alone, under the names by which dbt finds them.
#}

{# Contracts: the types of the YAML in Spark's spelling. #}
{% macro spark__get_empty_schema_sql(columns) %}
    select
    {%- for column in columns.values() %}
        cast(null as {{ data_type(column.data_type) }}) as {{ column.name }}{{ ',' if not loop.last }}
    {%- endfor %}
{% endmacro %}

{# Tables: the table first and its rows after it. `create table … as` writes the rows first, and where
   it is killed leaves a folder that no later run may use. #}
{% macro spark__create_table_as(temporary, relation, compiled_code, language='sql') %}
    {% if temporary %}
        {{ return(create_temporary_view(relation, compiled_code)) }}
    {% endif %}
    {% do get_assert_columns_equivalent(compiled_code) %}
    {% do create_empty_table(relation) %}
    insert overwrite {{ relation }} by name
    {{ compiled_code }}
{% endmacro %}

{# Seeds: dbt-spark writes a text with a quote in it as it is, and a missing one as None. #}
{% macro spark__create_csv_table(model, agate_table) %}
    {% set statement_text %}
        create table {{ this }} (
            {%- for name in agate_table.column_names %}
                {{ name }} {{ data_type(model.config.column_types[name]) }}
                {{- ',' if not loop.last }}
            {%- endfor %}
        ) using parquet
    {% endset %}
    {% do run_query(statement_text) %}
    {{ return(statement_text) }}
{% endmacro %}
{% macro spark__load_csv_rows(model, agate_table) %}
    {% set statement_text %}
        insert into {{ this }}
        select /*+ coalesce(1) */
            {%- for name in agate_table.column_names %}
                cast({{ name }} as {{ data_type(model.config.column_types[name]) }}) as {{ name }}
                {{- ',' if not loop.last }}
            {%- endfor %}
        from (
            values
            {%- for row in agate_table.rows %}
                (
                    {%- for value in row.values() -%}
                        {%- if value is none -%} cast(null as string)
                        {%- else -%} '{{ value | string | replace("\\", "\\\\") | replace("'", "\\'") }}'
                        {%- endif -%}
                        {{- ', ' if not loop.last -}}
                    {%- endfor -%}
                ){{ ',' if not loop.last }}
            {%- endfor %}
        ) as seed_rows ({{ agate_table.column_names | join(', ') }})
    {% endset %}
    {% do run_query(statement_text) %}
    {{ return(statement_text) }}
{% endmacro %}

{#
    Snapshots: dbt-spark merges into a table, which Parquet cannot do. What a snapshot of the
    strategy `check` knows is a log, to which rows are only added: what was seen, and when. The
    snapshot is a view of it; what is seen holds until the next row of the same key.
#}
{% materialization snapshot, adapter='spark' %}
    {%- set key = config.get('unique_key') -%}
    {%- set checked = config.get('check_cols') -%}
    {%- set seen_columns = ([key] + checked) | join(', ') -%}
    {%- set log = this.incorporate(path={'identifier': this.identifier ~ '_log'}) -%}
    {% do run_query(
        'create table if not exists ' ~ log ~ ' as select ' ~ seen_columns
        ~ ', cast(null as timestamp) as seen_at from (' ~ model.compiled_code ~ ') where false'
    ) %}
    {% call statement('main') %}
        insert into {{ log }} by name
        select /*+ coalesce(1) */
            seen.*,
            cast(current_timestamp() as timestamp) as seen_at
        from (select {{ seen_columns }} from ({{ model.compiled_code }})) as seen
        left join (
            select
                {{ key }},
                {%- for column in checked %}
                    max_by({{ column }}, seen_at) as {{ column }}{{ ',' if not loop.last }}
                {%- endfor %}
            from {{ log }}
            group by {{ key }}
        ) as known on seen.{{ key }} = known.{{ key }}
        where
            known.{{ key }} is null
            {%- for column in checked %}
                or seen.{{ column }} is distinct from known.{{ column }}
            {%- endfor %}
    {% endcall %}
    {% do run_query(
        'create or replace view ' ~ this ~ ' as select ' ~ seen_columns
        ~ ", md5(concat_ws('|', " ~ key ~ ', seen_at)) as dbt_scd_id'
        ~ ', seen_at as dbt_updated_at, seen_at as dbt_valid_from, lead(seen_at) over ('
        ~ 'partition by ' ~ key ~ ' order by seen_at asc nulls last) as dbt_valid_to from ' ~ log
    ) %}
    {{ return({'relations': [this.incorporate(type='view')]}) }}
{% endmaterialization %}
