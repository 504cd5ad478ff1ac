{#
    The one incremental pattern (docs/architecture.md): the materialization `partitioned`. A
    partitioned model names its partition list in `meta.partition_list` and reads from that list
    only the rows that `needs_building()`. The meta of the list names its partition column
    (`partition_column`); its rows name the wanted partitions and their versions. A model may use
    another column of the list (its own `partition_column`) and another version
    (`partition_version`); if that version is null, the partition is not wanted.

    The table partition_ledger records which partitions the table holds. If list, ledger and table
    agree, the model needs nothing. Otherwise a run deletes stale ledger entries, deletes the
    partitions without an entry, and builds and records what is missing in the ledger: all at once,
    so that work shared by partitions is done once; or, for large partitions that share no work
    (`meta.in_batches`), as many at a time as fit into memory.

    On DuckDB all this is one transaction. On Spark each step is a separate statement, and the order
    keeps it safe: an entry is deleted before its partition is touched and recorded after it is
    built, so a killed run has built everything that it recorded.

    A table with nothing to keep (a changed definition, an upgraded project) is recreated, so that
    its columns may change too.
#}
{% materialization partitioned, default %}
    {% set partition = partition_settings() %}
    {% set table = this.incorporate(type='table') %}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {% call statement('main', fetch_result=True) %}
        {{ partition_counts() }}
    {% endcall %}
    {% set kept, stale = load_result('main').data[0] %}
    {% if stale or not kept %}
        {% do get_assert_columns_equivalent(compiled_code) %}
        {% do forget_partitions(kept_partitions() if kept) %}
        {% if kept %}
            {% do delete_partitions(table) %}
        {% else %}
            {% set existing = load_relation(this) %}
            {% if existing %}
                {% do adapter.drop_relation(existing) %}
            {% endif %}
            {% do create_empty_table(table, partition.column) %}
        {% endif %}
        {% for _ in range(missing_partitions()) %}
            {% do insert_partitions(table, partition.column, compiled_code) %}
            {% do record_partitions(partition_ledger(), partition.ledger_rows, built_partitions()) %}
            {% if not missing_partitions() %}{% break %}{% endif %}
        {% endfor %}
        {# a changed description waits for the next partition, so an idle run stays fast #}
        {% do persist_docs(table, model) %}
    {% endif %}
    {% do apply_grants(table, config.get('grants'), should_revoke=kept > 0) %}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {% do adapter.commit() %}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [table]}) }}
{% endmaterialization %}
{# The ledger is in the schema of the first list, wherever a target or a project puts that. #}
{% macro partition_ledger() %}
    {% set list = relation_of('model.viewer_personas.source_dates') %}
    {{- return(list.incorporate(path={'identifier': 'partition_ledger'})) -}}
{% endmacro %}

{# The table of a node of this package. `ref` and `source` would add it to the lineage of the model.
   #}
{% macro relation_of(unique_id) %}
    {% set node = graph.nodes.get(unique_id) or graph.sources[unique_id] %}
    {{ return(api.Relation.create(
        database=node.database, schema=node.schema, identifier=node.alias or node.identifier
    )) }}
{% endmacro %}

{# The name of a table in the ledger. #}
{% macro name_in_ledger(relation) %}
    {{ return("'" ~ relation.schema ~ "." ~ relation.identifier ~ "'") }}
{% endmacro %}

{# row_count reveals a partition that was deleted from the table, so that it is rebuilt. #}
{% macro ledger_columns() %}
    {{ return({
        'model': 'varchar',
        'partition_date': 'date',
        'input_version': 'varchar',
        'row_count': 'bigint',
        'built_at': 'timestamp',
        'invocation_id': 'varchar',
    }) }}
{% endmacro %}
{% macro create_partition_ledger() %}
    {% if execute %}
        {{ create_ledger(partition_ledger(), ledger_columns()) }}
    {% endif %}
{% endmacro %}

{#
    The partitioning of a model: its list, partition column (that of the list unless the model has
    its own) and version column.
#}
{% macro partition_settings() %}
    {% set meta = model.config.meta %}
    {% set list = node_read(meta.partition_list) %}
    {{ return({
        'list': ref(meta.partition_list),
        'column': meta.get('partition_column', list.config.meta.partition_column),
        'version': meta.get('partition_version', 'input_version'),
        'ledger_rows': 'model = ' ~ name_in_ledger(this),
        'name': name_in_ledger(this),
    }) }}
{% endmacro %}

{# The node of a model that the running model reads. #}
{% macro node_read(name) %}
    {% for unique_id in model.depends_on.nodes if unique_id.split('.')[2] == name %}
        {{ return(graph.nodes[unique_id]) }}
    {% endfor %}
{% endmacro %}
