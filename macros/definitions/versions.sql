{#
    A hash of how partitions are computed, for the models that go by one version of a list: the text
    and the contract of these models, of what they read (up to the lists, and to models that go by
    another version) and of the macros that all of these reach on this engine, and each threshold
    that the texts name. Comments and spaces are left out, so that they rebuild nothing.

    A list is not in it: what a list tells of a partition is part of the versions it gives.
#}
{% macro definition_version(partition_list, version='input_version') %}
    {% if not execute %}{{ return('') }}{% endif %}
    {% set parts = [] %}
    {% for unique_id, text in definition_texts(partition_list, version) | dictsort %}
        {% do parts.append(unique_id ~ '=' ~ text) %}
    {% endfor %}
    {% set named = modules.re.findall("\\bvar\\( *['\"](\\w+)", parts | join('\n')) %}
    {% for name in definitions() | sort if name in named %}
        {% do parts.append(name ~ '=' ~ var(name)) %}
    {% endfor %}
    {{ return(local_md5(parts | join('\n'))) }}
{% endmacro %}

{# The texts that a version of a list stands for, by the unique_id of the model or macro. #}
{% macro definition_texts(partition_list, version) %}
    {% set lists, found, pending = [], {}, [] %}
    {% for node in graph.nodes.values() if node.config.meta.get('partition_list') %}
        {% do lists.append(node.config.meta.partition_list) %}
        {% if goes_by(node, partition_list, version) %}{% do pending.append(node.unique_id) %}{% endif %}
    {% endfor %}
    {# A list that grows while it is read: each text adds what it reads and calls. #}
    {% for unique_id in pending if unique_id not in found %}
        {% if unique_id.startswith('macro.') %}
            {% set macro = macro_of_project(unique_id) %}
            {% if macro %}
                {% do found.update({unique_id: without_comments(macro.macro_sql)}) %}
                {% do pending.extend(macro.depends_on.macros) %}
            {% endif %}
        {% else %}
            {% set node = graph.nodes.get(unique_id) %}
            {% if node and node.resource_type == 'model' and node.name not in lists
                and goes_by(node, partition_list, version) %}
                {% do found.update({
                    unique_id: without_comments(node.raw_code) ~ contract_text(node)
                }) %}
                {% do pending.extend(node.depends_on.nodes + node.depends_on.macros) %}
            {% endif %}
        {% endif %}
    {% endfor %}
    {{ return(found) }}
{% endmacro %}

{# The columns that a contract promises: a table is made anew where one has another type or constraint. #}
{% macro contract_text(node) %}
    {% set columns = [] %}
    {% for column in node.columns.values() if node.config.contract.enforced %}
        {% do columns.append(
            ([column.name, column.data_type] + column.constraints | map(attribute='type') | list) | join(' ')
        ) %}
    {% endfor %}
    {{ return('\n' ~ columns | sort | join('\n') if columns else '') }}
{% endmacro %}

{# Whether a model goes by a version of a list; one that is not partitioned goes by any. #}
{% macro goes_by(node, partition_list, version) %}
    {% set meta = node.config.meta %}
    {{ return(
        meta.get('partition_list', partition_list) == partition_list
        and (
            'partition_list' not in meta
            or meta.get('partition_version', 'input_version') == version
        )
    ) }}
{% endmacro %}

{#
    The macro of an id; none for those of dbt and its adapters, and for those that say which
    partitions are built, when and how many at a time, but not what is in them.
#}
{% macro macro_of_project(unique_id) %}
    {% set package, name = unique_id.split('.')[1:] %}
    {% if package not in packages_of_dbt() %}
        {# the node behind a macro is not in dbt's graph; tests/models/test_versions.py relies on it #}
        {% set macro = context[package][name].macro %}
        {% if not modules.re.match(
            'macros/(partitions/|definitions/|engine/partitions[.]sql)', macro.original_file_path
        ) %}
            {{ return(macro) }}
        {% endif %}
    {% endif %}
    {{ return(none) }}
{% endmacro %}

{#
    A text of SQL and Jinja without comments, and with one space or line break where there are
    several. What is in quotes stays as it is, and so does a comment that Jinja is in: dbt runs it.
#}
{% macro without_comments(text) %}
    {% set comment = '[{]#.*?#[}]' %}
    {% set line = '--(?:' ~ comment ~ '|[{](?![{%#])|[^{\\n])*' %}
    {% set kept = "(?s)('(?:[^'\\\\]|\\\\.)*'|\"(?:[^\"\\\\]|\\\\.)*\"|" ~ line ~ '[{][{%][^\\n]*)' %}
    {% set text = modules.re.sub(kept ~ '|' ~ comment ~ '|' ~ line, '\\1', text) %}
    {% set text = modules.re.sub(kept ~ '|[ ]*(\\n)\\s*|([ ])[ ]+', '\\1\\2\\3', text) %}
    {{ return(text | trim) }}
{% endmacro %}

{#
    One hash of all rows of a seed, as a scalar: a changed row is a changed definition. Of the columns
    that are given; without them of all but those that only readers look at (meta.for_readers).
#}
{% macro seed_version(seed, columns=none) -%}
    {%- set relation = ref(seed) -%}
    {%- if execute -%}
        {%- set hashed = columns or columns_that_decide(seed) -%}
        (
            select md5({{ joined_text(
                "concat_ws('|', coalesce(cast("
                ~ hashed | join(" as string), '-'), coalesce(cast(")
                ~ " as string), '-'))", ';'
            ) }})
            from {{ relation }}
        )
    {%- endif -%}
{%- endmacro %}

{# The columns of a seed without those for readers, whichever project it lies in. #}
{% macro columns_that_decide(seed) %}
    {% set columns = [] %}
    {% for id in model.depends_on.nodes if graph.nodes[id] and graph.nodes[id].name == seed %}
        {% for column in graph.nodes[id].columns.values()
            if not column.config.meta.get('for_readers') %}
            {% do columns.append(column.name) %}
        {% endfor %}
    {% endfor %}
    {{ return(columns) }}
{% endmacro %}
