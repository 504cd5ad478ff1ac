{#
    The one incremental pattern (docs/architecture.md).

    A partitioned model names its partition list in `meta.partition_list` (source_dates,
    activity_dates, as_of_dates, persona_dates, outcome_dates, risk_dates) and reads from that list
    only the rows that `needs_building()`. The list says which partitions are wanted and at which
    input_version; metrics.partition_ledger says which ones the table holds. On DuckDB in one
    transaction, a run forgets the ledger's entries that are stale, builds what the ledger lacks,
    and records it.
#}

{% macro partition_ledger() %}
    {{- return(api.Relation.create(
        database=target.get('database'), schema='metrics', identifier='partition_ledger'
    )) -}}
{% endmacro %}

{# row_count lets a partition that somebody deleted from the table be noticed and built again. #}
{% macro create_partition_ledger() %}
    {% if execute %}
        {{ create_ledger(partition_ledger(), {
            'model': 'varchar',
            'partition_date': 'date',
            'input_version': 'varchar',
            'row_count': 'bigint',
            'built_at': 'timestamp',
            'invocation_id': 'varchar',
        }) }}
    {% endif %}
{% endmacro %}

{# What a partitioned model declares: its list, its partition column and its version column. #}
{% macro partition_settings() %}
    {% set meta = model.config.meta %}
    {{ return({
        'list': ref(meta.partition_list),
        'column': partition_column(meta.partition_list),
        'version': meta.get('partition_version', 'input_version'),
        'ledger_rows': "model = '" ~ this.schema ~ "." ~ this.identifier ~ "'",
        'name': "'" ~ this.schema ~ "." ~ this.identifier ~ "'",
    }) }}
{% endmacro %}

{# source_dates → source_date; personas and risks are partitioned by as_of_date, too. #}
{% macro partition_column(partition_list) %}
    {{ return(
        'as_of_date' if partition_list in ['persona_dates', 'risk_dates'] else partition_list[:-1]
    ) }}
{% endmacro %}

{# A condition on the rows of the partition list: is this partition to be built in this run? #}
{% macro needs_building() -%}
    {%- if not execute or model.resource_type == 'unit_test' -%}
        1 = 1
    {%- else -%}
        {%- set partition = partition_settings() -%}
        {{ partition.column }} not in (
            select partition_date from {{ partition_ledger() }} where {{ partition.ledger_rows }}
        )
    {%- endif -%}
{%- endmacro %}

{# The partitions that the table holds whole and in the wanted version. #}
{% macro kept_partitions() %}
    {% set partition = partition_settings() %}
    select ledger.partition_date
    from {{ partition_ledger() }} as ledger
    inner join {{ partition.list }} as wanted
        on ledger.partition_date = wanted.{{ partition.column }}
        and ledger.input_version = wanted.{{ partition.version }}
    left join (
        select {{ partition.column }} as partition_date, count(*) as row_count
        from {{ this }}
        group by {{ partition.column }}
    ) as present
        on ledger.partition_date = present.partition_date
    where ledger.{{ partition.ledger_rows }}
        and ledger.row_count = coalesce(present.row_count, 0)
{% endmacro %}

{% macro forget_stale_partitions() %}
    {% if execute %}
        {% set partition = partition_settings() %}
        {{ forget_partitions(
            partition_ledger(), partition.ledger_rows, kept_partitions() if is_incremental()
        ) }}
    {% endif %}
{% endmacro %}

{% macro record_built_partitions() %}
    {% if execute %}
        {% set partition = partition_settings() %}
        insert into {{ partition_ledger() }} by name
        select
            {{ partition.name }} as model,
            wanted.{{ partition.column }} as partition_date,
            wanted.{{ partition.version }} as input_version,
            coalesce(present.row_count, 0) as row_count,
            cast('{{ run_started_at.strftime("%Y-%m-%d %H:%M:%S") }}' as timestamp) as built_at,
            '{{ invocation_id }}' as invocation_id
        from {{ partition.list }} as wanted
        left join (
            select {{ partition.column }}, count(*) as row_count
            from {{ this }}
            group by {{ partition.column }}
        ) as present
            on wanted.{{ partition.column }} = present.{{ partition.column }}
        where wanted.{{ needs_building() | trim }}
    {% endif %}
{% endmacro %}

{# dbt's hook for a custom incremental strategy: `incremental_strategy: partitions`. #}
{% macro get_incremental_partitions_sql(arguments) %}
    {% set partition = partition_settings() %}
    {{ return(replace_partitions(
        arguments['target_relation'],
        arguments['temp_relation'],
        partition.column,
        'select partition_date as ' ~ partition.column ~ ' from ' ~ partition_ledger()
            ~ ' where ' ~ partition.ledger_rows,
        arguments['dest_columns'] | map(attribute='quoted') | join(', ')
    )) }}
{% endmacro %}

{#
    Overrides dbt's macro of this name: a partitioned model of which nothing can be kept (a changed
    definition, an upgraded project) is built anew, so that its columns may change, too.
#}
{% macro should_full_refresh() %}
    {% set configured = config.get('full_refresh') %}
    {% if configured is not none %}
        {{ return(configured) }}
    {% endif %}
    {% if flags.FULL_REFRESH or not execute or not model.config.meta.get('partition_list') %}
        {{ return(flags.FULL_REFRESH) }}
    {% endif %}
    {% if load_relation(this) is none %}
        {{ return(false) }}
    {% endif %}
    {% set kept = run_query('select count(*) from (' ~ kept_partitions() ~ ') as kept') %}
    {{ return(kept.rows[0][0] == 0) }}
{% endmacro %}
