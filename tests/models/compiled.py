"""A build without dbt: the SQL that dbt compiles, run straight by DuckDB.

Most of what a small build costs is dbt's own work. The proofs of exactness build hundreds of small
services, so they compile the models once for each set of vars and run the texts themselves: seeds
from their files, the snapshot by two statements, tables and views as they are, and partitioned
models by the steps of macros/partitions. `test_compiled.py` shows in every run that this gives the
tables and the ledger that dbt gives.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import duckdb

from opened import opened
from viewer_personas import build as build_step
from viewer_personas.build import BuildSummary
from viewer_personas.database.raw import create_raw_tables
from viewer_personas.database.sql import scalar

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

LEDGER = "metrics.partition_ledger"


@dataclass(frozen=True)
class Step:
    """A seed, snapshot or model: where it goes, its SQL and what its YAML says of it."""

    name: str
    reads: tuple[str, ...]
    table: str
    kind: str
    """`seed`, or the materialization."""

    sql: str
    columns: dict[str, str]
    """Name and type, with its constraint."""

    partition: dict[str, str] = field(default_factory=dict)
    """Of a partitioned model: its list, its partition column and its version column."""

    in_batches: bool = False
    key: str = ""
    checked: tuple[str, ...] = ()
    """Of a snapshot: the column of its key, and those of which a change is a new row."""


def build(
    database: Path,
    variables: dict[str, Any],
    given: str | None,
    *,
    full_refresh: bool = False,
    selected: Sequence[str] = (),
) -> BuildSummary:
    """Build all seeds, snapshots and models, or those that are selected as dbt's --select does.

    `variables` are all vars, `given` is the YAML of those that differ from their defaults. A name
    is selected as `name`, with all that it reads as `+name`, with all that reads it as `name+`.
    """
    run = str(uuid4())
    with _open(database) as connection:
        create_raw_tables(connection)
        known = _known(connection, variables)
    steps = _selected(_steps(database, given, known), selected)
    with _open(database) as connection:
        for schema in sorted({step.table.split(".")[0] for step in steps} | {"metrics"}):
            connection.execute(f"create schema if not exists {schema}")
        connection.execute(
            f"create table if not exists {LEDGER} (model varchar, partition_date date,"
            " input_version varchar, row_count bigint, built_at timestamp, invocation_id varchar)"
        )
        for step in steps:
            _run(connection, step, variables, run, full_refresh=full_refresh)
        rebuilt = connection.execute(
            f"select model, count(*) from {LEDGER} where invocation_id = $1 group by model", [run]
        ).fetchall()
    return BuildSummary(invocation_id=run, partitions_rebuilt=dict(rebuilt))


def _selected(steps: list[Step], selected: Sequence[str]) -> list[Step]:
    if not selected:
        return steps
    reads = {step.name: set(step.reads) for step in steps}
    wanted: set[str] = set()
    for selector in selected:
        name = selector.strip("+")
        found = {name}
        assert name in reads, f"{selector} selects nothing"
        if selector.startswith("+"):
            for step in reversed(steps):
                found |= reads[step.name] if step.name in found else set()
        if selector.endswith("+"):
            for step in steps:
                found |= {step.name} if reads[step.name] & found else set()
        wanted |= found
    return [step for step in steps if step.name in wanted]


@dataclass(frozen=True)
class _Known:
    """What the compiled SQL depends on besides the vars: files, and what a model asks meanwhile."""

    files: frozenset[tuple[Path, int, int]]
    """All that is compiled. Seeds are not: they are read when they are loaded."""

    tables: frozenset[str]
    parts_of_a_day: int


def _known(connection: duckdb.DuckDBPyConnection, variables: dict[str, Any]) -> _Known:
    project = build_step.PROJECT
    files = [
        project / "dbt_project.yml",
        *project.glob("macros/**/*"),
        *project.glob("models/**/*"),
    ]
    found = [(file, file.stat()) for file in files]
    tables = connection.execute(
        "select schema_name || '.' || table_name from duckdb_tables()"
        " where database_name = current_database() and schema_name <> 'raw'"
    ).fetchall()
    most = scalar(connection, "select max(row_count) from raw.slices")
    return _Known(
        files=frozenset((file, stat.st_mtime_ns, stat.st_size) for file, stat in found),
        tables=frozenset(name for (name,) in tables),
        parts_of_a_day=max(1, -(-most // variables["events_at_once"])),
    )


_compiled: dict[tuple[Any, ...], list[Step]] = {}


def _steps(database: Path, given: str | None, known: _Known) -> list[Step]:
    """All steps in an order in which they can run; compiled once for what they depend on."""
    key = (database.name, given, known)
    if key not in _compiled:
        arguments = ["compile"] + (["--vars", given] if given else [])
        manifest = build_step.parse(database, tests=False)
        result = build_step.invoke(arguments, database, lambda *_: None, manifest=manifest)
        assert result.success, result
        texts = {run.node.unique_id: run.node.compiled_code for run in result.result.results}
        _compiled[key] = [
            _step(manifest.nodes[name], texts.get(name, ""), manifest) for name in _order(manifest)
        ]
    return _compiled[key]


def _order(manifest: "Manifest") -> list[str]:
    kinds = ("seed", "snapshot", "model")
    nodes = {name: node for name, node in manifest.nodes.items() if node.resource_type in kinds}
    reads = {
        name: [] if node.resource_type == "seed" else node.depends_on_nodes
        for name, node in sorted(nodes.items())
    }
    return [name for name in TopologicalSorter(reads).static_order() if name in nodes]


def _partition(node: Any, manifest: "Manifest") -> dict[str, str]:
    meta = node.config.meta
    if "partition_list" not in meta:
        return {}
    [listed] = [
        manifest.nodes[read]
        for read in node.depends_on_nodes
        if read.split(".")[2] == meta["partition_list"]
    ]
    return {
        "list": f"{listed.schema}.{listed.alias}",
        "column": meta.get("partition_column", listed.config.meta["partition_column"]),
        "version": meta.get("partition_version", "input_version"),
    }


def _step(node: Any, sql: str, manifest: "Manifest") -> Step:
    config = node.config
    table = f"{node.schema}.{node.alias}"
    if node.resource_type == "seed":
        path = build_step.PROJECT / node.original_file_path
        return Step(node.name, (), table, "seed", str(path), dict(config.column_types))
    return Step(
        name=node.name,
        reads=tuple(
            read.rsplit(".", 1)[1]
            for read in node.depends_on_nodes
            if not read.startswith("source.")
        ),
        table=table,
        kind=str(config.materialized),
        sql=sql,
        columns={column.name: _declared(column) for column in node.columns.values()},
        partition=_partition(node, manifest),
        in_batches=bool(config.meta.get("in_batches")),
        key=str(config.get("unique_key") or ""),
        checked=tuple(config.get("check_cols") or ()),
    )


def _declared(column: Any) -> str:
    is_required = any(constraint.type == "not_null" for constraint in column.constraints)
    return f"{column.data_type}{' not null' if is_required else ''}"


def _run(
    connection: duckdb.DuckDBPyConnection,
    step: Step,
    variables: dict[str, Any],
    run: str,
    *,
    full_refresh: bool,
) -> None:
    columns = ", ".join(step.columns)
    match step.kind:
        case "seed":
            types = ", ".join(f"'{name}': '{kind}'" for name, kind in step.columns.items())
            connection.execute(
                f"create or replace table {step.table} as select {columns} from"
                f" read_csv('{step.sql}', header = true, nullstr = '', columns = {{{types}}})"
            )
        case "view":
            connection.execute(f"create or replace view {step.table} as {step.sql}")
        case "table":
            connection.execute(
                f"create or replace table {step.table} as select {columns} from ({step.sql})"
            )
        case "incremental":
            if _exists(connection, step.table):
                connection.execute(f"insert into {step.table} by name {step.sql}")
            else:
                connection.execute(f"create table {step.table} as {step.sql}")
        case "snapshot":
            _snapshot(connection, step)
        case "partitioned":
            _build_partitions(connection, step, variables, run, full_refresh=full_refresh)
        case other:
            raise AssertionError(f"{step.table} is materialized as {other}")


def _snapshot(connection: duckdb.DuckDBPyConnection, step: Step) -> None:
    """The strategy `check`: a changed row ends, and begins again as it is now; none is deleted."""
    now = "cast(current_timestamp as timestamp)"
    added = (
        f"md5({step.key} || {now}) as dbt_scd_id, {now} as dbt_updated_at,"
        f" {now} as dbt_valid_from, cast(null as timestamp) as dbt_valid_to"
    )
    if not _exists(connection, step.table):
        connection.execute(f"create table {step.table} as select *, {added} from ({step.sql})")
        return
    differs = " or ".join(f"held.{name} is distinct from seen.{name}" for name in step.checked)
    connection.execute(
        f"update {step.table} as held set dbt_valid_to = {now} from ({step.sql}) as seen"
        f" where held.{step.key} = seen.{step.key} and held.dbt_valid_to is null and ({differs})"
    )
    connection.execute(
        f"insert into {step.table} by name select seen.*, {added} from ({step.sql}) as seen"
        f" where {step.key} not in (select {step.key} from {step.table} where dbt_valid_to is null)"
    )


def _build_partitions(
    connection: duckdb.DuckDBPyConnection,
    step: Step,
    variables: dict[str, Any],
    run: str,
    *,
    full_refresh: bool,
) -> None:
    """Forget and delete what is stale, then build and record what is missing, batch by batch."""
    listed, column, version = (step.partition[name] for name in ("list", "column", "version"))
    kept = "select cast(null as date) where false"
    if _exists(connection, step.table) and not full_refresh:
        kept = f"""
            select partition_date
            from {LEDGER} as ledger
            inner join {listed} as wanted
                on partition_date = wanted.{column} and ledger.input_version = wanted.{version}
            left join (
                select {column} as present, count(*) as rows from {step.table} group by all
            ) on present = partition_date
            where model = '{step.table}' and ledger.row_count = coalesce(rows, 0)
        """
    keeps = _dates(connection, kept)
    connection.execute(
        f"delete from {LEDGER} where model = '{step.table}' and partition_date not in $1", [keeps]
    )
    if keeps:
        connection.execute(f"delete from {step.table} where {column} not in $1", [keeps])
    else:
        columns = ", ".join(f"{name} {kind}" for name, kind in step.columns.items())
        connection.execute(f"create or replace table {step.table} ({columns})")
    lacking = (
        f"select {column} from {listed} where {version} is not null and {column} not in"
        f" (select partition_date from {LEDGER} where model = '{step.table}') order by 1"
    )
    while missing := _dates(connection, lacking):
        batch = missing[: _at_once(connection, step, missing[0], variables)]
        connection.execute("set variable first_date = $1", [missing[0]])
        connection.execute(f"insert into {step.table} by name {step.sql}")
        connection.execute(
            f"""
            insert into {LEDGER} by name
            select
                '{step.table}' as model,
                {column} as partition_date,
                {version} as input_version,
                (select count(*) from {step.table} as built where built.{column} = wanted.{column})
                    as row_count,
                '{run}' as invocation_id
            from {listed} as wanted
            where {column} in $1
            """,
            [batch],
        )


def _at_once(
    connection: duckdb.DuckDBPyConnection, step: Step, first: Any, variables: dict[str, Any]
) -> int | None:
    """How many partitions are built at a time; None for all that are missing."""
    if not step.in_batches:
        return None
    if step.partition["column"] in ("source_date", "activity_date"):
        query = f"""
            select count(*)
            from (
                select sum(row_count) over (order by source_date) as events
                from raw.slices
                where source_date >= date '{first}'
            )
            where events <= {variables["events_at_once"]}
        """
    else:
        query = f"""
            select {variables["viewer_days_at_once"]} // greatest(1, sum(row_count))
            from {LEDGER}
            where model = 'metrics.user_days'
        """
    return max(1, scalar(connection, query))


def _dates(connection: duckdb.DuckDBPyConnection, query: str) -> list[Any]:
    return [value for (value,) in connection.execute(query).fetchall()]


def _exists(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    schema, name = table.split(".")
    found = connection.execute(
        "select 1 from duckdb_tables() where database_name = current_database()"
        " and schema_name = $1 and table_name = $2",
        [schema, name],
    )
    return found.fetchone() is not None


def _open(database: Path) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
    """The file under its own name, which compiled SQL has."""
    return opened(database, read_only=False, name=database.stem)
