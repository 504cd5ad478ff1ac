{# A condition on the rows of the partition list: must this partition be built now? `dbt show` asks
   for what the table holds, not for what is missing in it. #}
{% macro needs_building() -%}
    {%- if not execute or model.resource_type == 'unit_test' -%}
        1 = 1
    {%- elif flags.WHICH == 'show' -%}
        {{ partition_settings().version }} is not null
    {%- else -%}
        {%- set partition = partition_settings() -%}
        {%- set at_once = partitions_at_once(
            model.config.meta.partition_list, first_missing_partition()
        ) if model.config.meta.get('in_batches') -%}
        {{ partition.column }} in (
            select {{ partition.column }}
            from {{ partition.list }}
            where {{ lacks_entry() }}
            {%- if at_once %}
                order by 1 asc nulls last
                limit {{ at_once }}
            {%- endif %}
        )
    {%- endif -%}
{%- endmacro %}

{# A condition on the rows of the partition list: is this partition wanted but missing in the
   ledger? #}
{% macro lacks_entry() -%}
    {%- set partition = partition_settings() -%}
    {{ partition.version }} is not null
    and {{ partition.column }} not in ({{ recorded_partitions() }})
{%- endmacro %}

{# The partitions of the model in the ledger, as a query. #}
{% macro recorded_partitions() -%}
    select partition_date
    from {{ partition_ledger() }}
    where {{ partition_settings().ledger_rows }}
{%- endmacro %}

{# The first date with a partition missing in the ledger, as a query. #}
{% macro first_missing_partition() -%}
    {%- set partition = partition_settings() -%}
    select min({{ partition.column }}) from {{ partition.list }} where {{ lacks_entry() }}
{%- endmacro %}

{# How many partitions are missing in the ledger. #}
{% macro missing_partitions() %}
    {% set query = 'select count(*) from ' ~ partition_settings().list ~ ' where ' ~ lacks_entry() %}
    {{ return(run_query(query).rows[0][0]) }}
{% endmacro %}

{# Is there a table with partitions that can be kept? #}
{% macro holds_partitions() %}
    {{ return(load_relation(this) is not none and not should_full_refresh()) }}
{% endmacro %}

{# Each partition in the list, the ledger or the table: do the three agree on it? The row count
   reveals a partition that was deleted by hand. #}
{% macro compared_partitions() %}
    {% set partition = partition_settings() %}
    select
        partition_date,
        coalesce(
            wanted.input_version = ledger.input_version
            and ledger.row_count = coalesce(present.row_count, 0),
            false
        ) as is_kept
    from (
        select {{ partition.column }} as partition_date, {{ partition.version }} as input_version
        from {{ partition.list }}
        where {{ partition.version }} is not null
    ) as wanted
    full outer join (
        select partition_date, input_version, row_count
        from {{ partition_ledger() }}
        where {{ partition.ledger_rows }}
    ) as ledger using (partition_date)
    full outer join (
        select {{ partition.column }} as partition_date, count(*) as row_count
        from {{ this }}
        group by {{ partition.column }}
    ) as present using (partition_date)
{% endmacro %}

{# How many partitions are kept, and how many are not. #}
{% macro partition_counts() %}
    {% if holds_partitions() %}
        select
            count(case when is_kept then 1 end) as kept,
            count(case when not is_kept then 1 end) as stale
        from ({{ compared_partitions() }}) as compared
    {% else %}
        select 0 as kept, 0 as stale
    {% endif %}
{% endmacro %}

{# The partitions that the table holds completely and in the wanted version. #}
{% macro kept_partitions() %}
    select partition_date from ({{ compared_partitions() }}) as compared where is_kept
{% endmacro %}

{# The ledger entries of the partitions that were just built. #}
{% macro built_partitions() %}
    {% set partition = partition_settings() %}
    {% set built = needs_building() | trim %}
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
        where {{ built }}
        group by {{ partition.column }}
    ) as present
        on wanted.{{ partition.column }} = present.{{ partition.column }}
    where wanted.{{ built }}
{% endmacro %}
