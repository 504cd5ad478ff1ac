"""Which data tests a build may skip: those that passed on exactly the current state.

`metrics.test_ledger` records for each data test that passed the state of what it reads. The state
is an md5 of the project's files, the vars and, for all that the test reads, directly or not, what
decides its rows: a seed's file, the entries of a partitioned table in the ledger of partitions, the
rows of loaded data and of tables kept from run to run. Other tables and views are rebuilt in every
build, so they follow from these.

A test is recorded after it passed. One that warned, failed or was not reached has no entry.
"""

from collections.abc import Collection
from dataclasses import dataclass
from hashlib import md5
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from viewer_personas.database.sql import transaction

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

States = dict[str, str]
"""The unique_id of a data test, and the state of what it reads."""


@dataclass(frozen=True)
class Inputs:
    """What no build changes: `definitions`, and the rows of seeds and sources by unique_id."""

    definitions: str
    rows: dict[str, str]


def inputs(connection: duckdb.DuckDBPyConnection, manifest: "Manifest", definitions: str) -> Inputs:
    """The inputs of a build; `definitions` stands for the project's files and the vars."""
    engines = [version(name) for name in ("dbt-core", "dbt-duckdb", "duckdb")]
    rows = {
        name: _state_of_rows(
            connection,
            # the events are too many to scan each time: each slice has their checksum
            "select * exclude (loaded_at, run_id) from raw.slices"
            if source.identifier in ("events", "slices")
            else f"from {source.schema}.{source.identifier}",
        )
        for name, source in manifest.sources.items()
    }
    for name, node in manifest.nodes.items():
        if node.resource_type == "seed":
            file = Path(node.root_path) / node.original_file_path
            rows[name] = md5(file.read_bytes()).hexdigest()
    return Inputs("\n".join([definitions, *engines]), rows)


def states(connection: duckdb.DuckDBPyConnection, manifest: "Manifest", inputs: Inputs) -> States:
    """The state of each data test, by the inputs and the current contents of the database."""
    rows = dict(inputs.rows)
    for name, node in manifest.nodes.items():
        table = f"{node.schema}.{node.alias}"
        if node.config.materialized == "partitioned":
            query = f"from metrics.partition_ledger where model = '{table}'"
            rows[name] = _state_of_rows(connection, query)
        elif node.config.materialized in ("incremental", "snapshot"):
            rows[name] = _state_of_rows(connection, f"from {table}")
    found = {}
    for name, node in manifest.nodes.items():
        if node.resource_type == "test":
            read = [f"{read} {rows.get(read)}" for read in _all_read(manifest, name)]
            text = "\n".join([name, inputs.definitions, *read])
            found[name] = md5(text.encode()).hexdigest()
    return found


def passed(connection: duckdb.DuckDBPyConnection) -> States:
    """The tests that passed when they last ran, and the state in which they passed."""
    try:
        rows = connection.execute("select test, state from metrics.test_ledger").fetchall()
    except duckdb.CatalogException:
        return {}  # nothing was recorded yet
    return dict(rows)


def record(
    connection: duckdb.DuckDBPyConnection, has_passed: States, has_not: Collection[str]
) -> None:
    """Record which tests passed in which state, and delete those that did not pass."""
    with transaction(connection):
        connection.execute("create schema if not exists metrics")
        connection.execute(
            "create table if not exists metrics.test_ledger (test varchar, state varchar)"
        )
        connection.execute(
            "delete from metrics.test_ledger where test in (select unnest($1::varchar[]))",
            [[*has_passed, *has_not]],
        )
        connection.execute(
            "insert into metrics.test_ledger select unnest($1::varchar[]), unnest($2::varchar[])",
            [list(has_passed), list(has_passed.values())],
        )


def _all_read(manifest: "Manifest", unique_id: str) -> list[str]:
    """All seeds, sources, snapshots and models that a test reads, directly or not."""
    found: set[str] = set()
    pending = list(manifest.nodes[unique_id].depends_on.nodes)
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            if name in manifest.nodes and manifest.nodes[name].resource_type != "seed":
                pending += manifest.nodes[name].depends_on.nodes
    return sorted(found)


def _state_of_rows(connection: duckdb.DuckDBPyConnection, query: str) -> str:
    """The row count and an order-independent sum of the row checksums."""
    try:
        found = connection.execute(
            "select count(*), sum(md5_number_lower(state_rows::varchar))"
            f" from ({query}) as state_rows"
        ).fetchone()
    except duckdb.CatalogException:
        return "no table"
    return str(found)
