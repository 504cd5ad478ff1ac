{#
    Overrides of macros and one materialization of dbt-spark that do not fit this project, for Spark
    only, under the names by which dbt finds them.
#}

{# What a run needs from its engine. DuckDB: a session in UTC, because the snapshot records times in
   the session's zone. Spark: the raw tables, which are files in the folder that `personas load --to
   parquet` writes. #}
{% macro prepare_engine() %}{{ return(adapter.dispatch('prepare_engine')()) }}{% endmacro %}
{% macro duckdb__prepare_engine() %}
    {% set zone = run_query("select current_setting('TimeZone')").rows[0][0] if execute else 'UTC' %}
    {% if zone not in ['UTC', 'Etc/UTC'] %}
        {% do exceptions.raise_compiler_error(
            'The session of DuckDB is in the time zone ' ~ zone
            ~ '; give the target in profiles.yml `settings: {TimeZone: UTC}`.'
        ) %}
    {% endif %}
{% endmacro %}
{% macro spark__prepare_engine() %}
    {% if not execute %}{{ return('') }}{% endif %}
    {% set warehouse = env_var('PERSONAS_WAREHOUSE', '') %}
    {% if warehouse[:1] != '/' and '://' not in warehouse %}
        {% do exceptions.raise_compiler_error(
            'PERSONAS_WAREHOUSE is "' ~ warehouse ~ '"; the target spark needs it to be the absolute '
            ~ 'path or the URL of the folder that personas load --to parquet writes (docs/scale.md).'
        ) %}
    {% endif %}
    {% for source in graph.sources.values() if source.package_name == 'viewer_personas' %}
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

{# Contracts: the types of the YAML in Spark's spelling. #}
{% macro spark__get_empty_schema_sql(columns) %}
    select
    {%- for column in columns.values() %}
        cast(null as {{ data_type(column.data_type) }}) as {{ column.name }}{{ ',' if not loop.last }}
    {%- endfor %}
{% endmacro %}

{# Tables: create the table, then insert its rows. `create table … as` writes the rows first; if it
   is killed, it leaves a folder that blocks later runs. #}
{% macro spark__create_table_as(temporary, relation, compiled_code, language='sql') %}
    {% if temporary %}
        {{ return(create_temporary_view(relation, compiled_code)) }}
    {% endif %}
    {% do get_assert_columns_equivalent(compiled_code) %}
    {% do create_empty_table(relation) %}
    insert overwrite {{ relation }} by name
    {{ compiled_code }}
{% endmacro %}

{# Constraints: a Parquet table has none; the test columns_hold looks for nulls instead. #}
{% macro spark__persist_constraints(relation, model) %}{% endmacro %}

{# Descriptions: a Parquet table gets them when it is created; dbt-spark would query its columns
   each time and then change nothing. #}
{% macro spark__persist_docs(relation, model, for_relation, for_columns) %}{% endmacro %}

{# A text as a Spark SQL literal. #}
{% macro spark_text(text) %}
    {{ return("'" ~ text | string | replace("\\", "\\\\") | replace("'", "\\'") ~ "'") }}
{% endmacro %}

{# Seeds: dbt-spark does not escape quotes in texts, and writes a missing text as None. #}
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
                        {%- else -%} {{ spark_text(value) }}
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
    Snapshots: dbt-spark merges into a table, which Parquet cannot do. The content of a `check`
    snapshot is an append-only log of what was seen, and when. The snapshot is a view of the log: a
    value holds until the next row of the same key.
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
