{#
    The one incremental pattern (docs/architecture.md): the materialization `partitioned`.

    A partitioned model names its partition list in `meta.partition_list` and reads from that list
    only the rows that `needs_building()`. The list says in its meta by which column it partitions
    (`partition_column`), and in its rows which partitions are wanted and in which version. A model
    may go by another column of the list (its own `partition_column`) and by another version
    (`partition_version`): where the list gives none, it wants no partition.

    The table partition_ledger says which partitions the table holds. Where list, ledger and table
    agree, a run is done with the model. Otherwise it forgets the ledger's entries that are stale,
    deletes the partitions that have no entry, and builds and records what the ledger lacks: all at
    once, so that what partitions have in common is computed once; or, where they have nothing in
    common and are large (`meta.in_batches`), as many at a time as fit into memory.

    On DuckDB all this is one transaction. On Spark each step is a statement, and the order makes up
    for it: an entry is forgotten before its partition is touched and recorded after it, so that a
    killed run has built what it recorded.

    A table of which nothing can be kept (a changed definition, an upgraded project) is made anew,
    so that its columns may change, too.
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
        {# a changed description waits for the next partition, so that an idle run stays quick #}
        {% do persist_docs(table, model) %}
    {% endif %}
    {% do apply_grants(table, config.get('grants'), should_revoke=kept > 0) %}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {% do adapter.commit() %}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [table]}) }}
{% endmaterialization %}
{# The ledger lies beside the first list, wherever a target or a project has put that. #}
{% macro partition_ledger() %}
    {% set list = relation_of('model.viewer_personas.source_dates') %}
    {{- return(list.incorporate(path={'identifier': 'partition_ledger'})) -}}
{% endmacro %}

{# The table of a node of this package. `ref` and `source` would make it an input of the model. #}
{% macro relation_of(unique_id) %}
    {% set node = graph.nodes.get(unique_id) or graph.sources[unique_id] %}
    {{ return(api.Relation.create(
        database=node.database, schema=node.schema, identifier=node.alias or node.identifier
    )) }}
{% endmacro %}

{# How the ledger names a table. #}
{% macro name_in_ledger(relation) %}
    {{ return("'" ~ relation.schema ~ "." ~ relation.identifier ~ "'") }}
{% endmacro %}

{# row_count lets a partition that somebody deleted from the table be noticed and built again. #}
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
    What a partitioned model goes by: a list, its partition column (that of the list unless the
    model has another) and its version column.
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

{# The node of a model that the model which is running reads. #}
{% macro node_read(name) %}
    {% for unique_id in model.depends_on.nodes if unique_id.split('.')[2] == name %}
        {{ return(graph.nodes[unique_id]) }}
    {% endfor %}
{% endmacro %}
