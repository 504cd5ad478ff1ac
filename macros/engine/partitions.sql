{#
    The engine-specific half of the partition pattern (macros/partitions): the ledger, batch sizes,
    and the changes to partitions.
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

{# Delete the ledger entries of a model except those of the partitions in the query `kept`; all of
   them without one. #}
{% macro forget_partitions(kept) %}{{ return(adapter.dispatch('forget_partitions')(kept)) }}{% endmacro %}
{% macro duckdb__forget_partitions(kept) %}
    {% do run_query(
        'delete from ' ~ partition_ledger() ~ ' where ' ~ partition_settings().ledger_rows
        ~ (' and partition_date not in (' ~ kept ~ ')' if kept else '')
    ) %}
{% endmacro %}
{% macro spark__forget_partitions(kept) %}
    {% set ledger_rows = partition_settings().ledger_rows %}
    {% do run_query(
        'insert overwrite ' ~ partition_ledger() ~ ' by name select /*+ coalesce(1) */ * from '
        ~ partition_ledger() ~ ' where ' ~ ledger_rows ~ ' and partition_date in (' ~ kept ~ ')'
        if kept else
        'alter table ' ~ partition_ledger() ~ ' drop if exists partition (' ~ ledger_rows ~ ')'
    ) %}
{% endmacro %}

{# An empty table with the columns that a model declares; partitioned like the model. #}
{% macro create_empty_table(relation, partition_by=none) %}
    {{- return(adapter.dispatch('create_empty_table')(relation, partition_by)) -}}
{% endmacro %}
{% macro duckdb__create_empty_table(relation, partition_by) %}
    {% do run_query('create table ' ~ relation ~ get_table_columns_and_constraints()) %}
{% endmacro %}
{% macro spark__create_empty_table(relation, partition_by) %}
    {% set columns = [] %}
    {% for column in model.columns.values() %}
        {% do columns.append(
            column.name ~ ' ' ~ data_type(column.data_type)
            ~ (' comment ' ~ spark_text(column.description) if config.persist_column_docs())
        ) %}
    {% endfor %}
    {% do run_query(
        'create table ' ~ relation ~ ' (' ~ columns | join(', ') ~ ') using parquet'
        ~ (' partitioned by (' ~ partition_by ~ ')' if partition_by else '')
        ~ (' comment ' ~ spark_text(model.description) if config.persist_relation_docs())
    ) %}
{% endmacro %}

{# Delete each partition without a ledger entry from a table. #}
{% macro delete_partitions(table) %}{{ return(adapter.dispatch('delete_partitions')(table)) }}{% endmacro %}
{% macro duckdb__delete_partitions(table) %}
    {% do run_query(
        'delete from ' ~ table ~ ' where ' ~ partition_settings().column ~ ' not in ('
        ~ recorded_partitions() ~ ')'
    ) %}
{% endmacro %}
{% macro spark__delete_partitions(table) %}
    {% set kept_folders = [] %}
    {% for row in run_query(recorded_partitions()) %}
        {% do kept_folders.append(partition_settings().column ~ '=' ~ row[0]) %}
    {% endfor %}
    {% set dropped = [] %}
    {% for row in run_query('show partitions ' ~ table) if row[0] not in kept_folders %}
        {% do dropped.append('partition (' ~ row[0] | replace('=', " = '") ~ "')") %}
    {% endfor %}
    {% if dropped %}
        {% do run_query('alter table ' ~ table ~ ' drop if exists ' ~ dropped | join(', ')) %}
    {% endif %}
{% endmacro %}

{# Insert the partitions of a query into a table. #}
{% macro insert_partitions(relation, partition_by, query) %}
    {{- return(adapter.dispatch('insert_partitions')(relation, partition_by, query)) -}}
{% endmacro %}
{% macro duckdb__insert_partitions(relation, partition_by, query) %}
    {# the base of parts_in_time #}
    {% do run_query('set variable first_date = (' ~ first_missing_partition() ~ ')') %}
    {% do run_query('insert into ' ~ relation ~ ' by name\n' ~ query) %}
{% endmacro %}
{% macro spark__insert_partitions(relation, partition_by, query) %}
    {% do run_query(
        'insert overwrite ' ~ relation ~ ' by name select /*+ rebalance(' ~ partition_by
        ~ ') */ * from (\n' ~ query ~ '\n) as model_rows'
    ) %}
{% endmacro %}

{# Record what was built in the ledger. On Spark, two models that append to one table at the same
   time delete each other's temporary folder; overwrites have separate folders, so the entries of
   the model are rewritten. #}
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

{# How many partitions of a list, from the date `first`, to build at a time, as SQL; none for all of
   them. On DuckDB the vars events_at_once and viewer_days_at_once set the limit. Spark has the
   memory of a cluster. #}
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
            where model = {{ name_in_ledger(relation_of('model.viewer_personas.user_days')) }}
        )
    {%- endif -%}
{%- endmacro %}
{% macro spark__partitions_at_once(partition_list, first) %}{{ return(none) }}{% endmacro %}
{% macro raw_slices() %}
    {{- return(relation_of('source.viewer_personas.raw.slices')) -}}
{% endmacro %}

{# Conditions on the time of an event that split a batch into parts: one, or more if a single day
   has more than events_at_once. Its events are then aggregated part by part, in storage order, so
   that only one part is in memory. The parts are whole quarters of an hour of the first date; the
   last one includes everything after it. Spark has the memory of a cluster. #}
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
            {# a constant, unlike a subquery, so only the rows of the part are scanned #}
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

{# The packages of dbt and its adapter; definition versions leave out their macros. #}
{% macro packages_of_dbt() %}{{ return(['dbt', 'dbt_' ~ target.type]) }}{% endmacro %}
