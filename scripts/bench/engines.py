"""Whether Spark's tables are those of DuckDB: every table of the schemas metrics and personas.

Run by `make compare-engines` (docs/scale.md); the tests use `compare`. DuckDB reads the files that
Spark wrote, so that no table has to fit into memory.
"""

import os
import shutil
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import psutil

from viewer_personas.build import PROJECT, build
from viewer_personas.config import Sources, load_sources
from viewer_personas.database.connection import connect
from viewer_personas.database.parquet import land
from viewer_personas.database.sql import literal
from viewer_personas.demo import service as demo
from viewer_personas.sources.load import load

TOLERANCE = 1e-9
"""Of two doubles, against the larger one or 1: engines add up and round in another order."""

SCHEMAS = ("metrics", "personas")
NOT_COMPARED = {"metrics.partition_ledger": "which run built what, and when"}
TIMES_OF_RUNS = {
    "metrics.user_history": ("dbt_scd_id", "dbt_updated_at", "dbt_valid_from", "dbt_valid_to"),
    "metrics.user_zones": ("seen_at", "valid_from", "valid_until"),
    "metrics.zone_restatements": ("seen_at",),
}
"""What an engine's own runs knew when: left out, as is each `*_version`, because the definitions
behind a version include the macros of the engine."""


@dataclass
class TableComparison:
    """Rows of a table in DuckDB and in Spark, and the first rows that differ, as texts."""

    table: str
    rows: int
    spark_rows: int
    different_rows: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def is_equal(self) -> bool:
        """Whether the tables have the same rows."""
        return self.rows == self.spark_rows and not self.different_rows


def compare(database: Path, warehouse: Path) -> list[TableComparison]:
    """Compare every table of the database with the folder that Spark wrote for it."""
    with connect(database, read_only=True) as connection:
        query = """
            select table_schema || '.' || table_name
            from information_schema.tables
            where table_catalog = 'opened_database' and list_contains($1, table_schema)
            order by all
        """
        tables = [name for (name,) in connection.execute(query, [list(SCHEMAS)]).fetchall()]
        return [
            _compare_table(connection, table, warehouse / "tables")
            for table in tables
            if table not in NOT_COMPARED
        ]


def _compare_table(
    connection: duckdb.DuckDBPyConnection, table: str, tables: Path
) -> TableComparison:
    schema, name = table.split(".")
    # a snapshot is a view there, of a log of what was seen
    folder = tables / f"{schema}.db" / (f"{name}_log" if name == "user_history" else name)
    rows = connection.execute(f"select count(*) from {table}").fetchall()[0][0]
    if not any(folder.rglob("*.parquet")):
        return TableComparison(table, rows, spark_rows=0)
    connection.execute(
        f"create or replace temp view in_spark as select * from"
        f" read_parquet({literal(folder / '**/*.parquet')}, hive_partitioning = true)"
    )
    spark_rows = connection.execute("select count(*) from in_spark").fetchall()[0][0]
    columns = {
        column: kind
        for column, kind, *_ in connection.execute(f"describe {table}").fetchall()
        if column not in TIMES_OF_RUNS.get(table, ()) and not column.endswith("_version")
    }
    exact = [column for column, kind in columns.items() if "DOUBLE" not in kind]
    inexact = {column: kind for column, kind in columns.items() if column not in exact}
    # Rows are matched by all that must be equal, numbered among their equals by the rest.
    order = ", ".join(inexact) or "1"
    numbered = (
        f"select {', '.join(columns)}, row_number() over (partition by"
        f" {', '.join(exact)} order by {order}) as number from "
    )
    same = " and ".join(
        [f"one.{column} is not distinct from other.{column}" for column in [*exact, "number"]]
        + [_is_close(f"one.{column}", f"other.{column}", kind) for column, kind in inexact.items()]
    )
    found = TableComparison(table, rows, spark_rows)
    for side, (one, other) in {
        "DuckDB": (table, "in_spark"),
        "Spark": ("in_spark", table),
    }.items():
        query = (
            f"with one as ({numbered} {one}), other as ({numbered} {other})"
            f" select one.* from one anti join other on {same} order by all"
        )
        left = connection.execute(f"select count(*) from ({query})").fetchall()[0][0]
        found.different_rows += left
        result = connection.execute(f"{query} limit 3")
        names = [column[0] for column in result.description or []]
        found.examples += [
            f"only in {side}: {dict(zip(names, row, strict=True))}" for row in result.fetchall()
        ]
    return found


def _is_close(one: str, other: str, kind: str) -> str:
    """SQL: whether two values of a type are equal, doubles in it within the tolerance."""
    if kind == "DOUBLE":
        return (
            f"({one} is not distinct from {other} or abs({one} - {other})"
            f" <= {TOLERANCE} * greatest(1, abs({one}), abs({other})))"
        )
    # a list of structs, field by field
    fields = kind.removeprefix("STRUCT(").removesuffix(")[]").split(", ")
    same = " and ".join(
        _is_close(f"pair[1].{name}", f"pair[2].{name}", field_kind)
        if field_kind == "DOUBLE"
        else f"pair[1].{name} is not distinct from pair[2].{name}"
        for name, field_kind in (field.rsplit(" ", 1) for field in fields)
    )
    pairs = f"list_zip({one}, {other})"
    return (
        f"(len({one}) = len({other})"
        f" and list_bool_and(list_transform({pairs}, lambda pair: {same})))"
    )


@dataclass
class Measured:
    """What a build took: seconds by the clock and of all cores, and MiB at most."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    mebibytes: float = 0.0


def build_on_spark(warehouse: Path, *, vars_yaml: str | None = None) -> Measured:
    """`dbt build --target spark`, without tests, in processes of its own."""
    command = [str(Path(sys.executable).with_name("dbt")), "build", "--target", "spark"]
    command += ["--exclude-resource-type", "test", "unit_test", "--log-level", "warn"]
    command += ["--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT / "profiles")]
    if vars_yaml:
        command += ["--vars", vars_yaml]
    environment = {**os.environ, "PERSONAS_WAREHOUSE": str(warehouse.resolve())}
    measured, started = Measured(), time.monotonic()
    process = psutil.Popen(command, env=environment, cwd=warehouse)
    while process.poll() is None:
        with suppress(psutil.NoSuchProcess):
            processes = [process, *process.children(recursive=True)]
            memory = sum(one.memory_info().rss for one in processes) / 2**20
            cpu = sum(sum(one.cpu_times()[:2]) for one in processes)
            measured.mebibytes = max(measured.mebibytes, memory)
            measured.cpu_seconds = max(measured.cpu_seconds, cpu)
        time.sleep(0.5)
    if process.returncode:
        sys.exit(f"{' '.join(command)}: exit status {process.returncode}")
    measured.seconds = time.monotonic() - started
    return measured


def compare_services(directory: Path, services: dict[str, Path]) -> bool:
    """Build services (their sources files by name) on both engines and compare: all days but the
    last from nothing, and then the last one."""
    are_equal = True
    for name, file in services.items():
        sources = load_sources(file)
        database, warehouse = directory / f"{name}.duckdb", directory / f"{name}-warehouse"
        last_day = _last_day(sources, directory / f"{name}-once.duckdb")
        for until in (last_day - timedelta(days=1), last_day):
            loaded = load(sources, database, until=until)
            landed = land(database, warehouse)
            print(f"{name}: {loaded.events:,} events, {landed.slices_written} days written")
            started, cpu_before = time.monotonic(), time.process_time()
            build(database, tests=False)
            seconds, cpu_seconds = time.monotonic() - started, time.process_time() - cpu_before
            print(f"  DuckDB {seconds:.0f} s, {cpu_seconds:.0f} CPU seconds")
            on_spark = build_on_spark(warehouse)
            print(
                f"  Spark  {on_spark.seconds:.0f} s, {on_spark.cpu_seconds:.0f} CPU seconds,"
                f" at most {on_spark.mebibytes:,.0f} MiB"
            )
            are_equal = report(compare(database, warehouse)) and are_equal
    return are_equal


def _last_day(sources: Sources, database: Path) -> date:
    """The last day that a service has, by loading it all into a database that goes again."""
    load(sources, database)
    with connect(database, read_only=True) as connection:
        query = "select max(source_date) from raw.slices"
        last_day: date = connection.execute(query).fetchall()[0][0]
    database.unlink()
    return last_day


def report(found: list[TableComparison]) -> bool:
    """Print what was compared, differences first of all; whether there are none."""
    for table in found:
        if not table.is_equal:
            print(
                f"  {table.table}: {table.rows:,} rows in DuckDB, {table.spark_rows:,} in Spark;"
                f" {table.different_rows:,} differ"
            )
        for example in table.examples:
            print(f"    {example}")
    equal = sum(table.is_equal for table in found)
    print(f"  {equal} of {len(found)} tables equal, {sum(table.rows for table in found):,} rows")
    return equal == len(found)


def main() -> None:
    """Build the demo and MovieTweetings on both engines, and compare every table."""
    directory = Path("compare-engines")
    shutil.rmtree(directory, ignore_errors=True)
    demo.generate(directory / "demo")
    services = {
        "demo": directory / "demo" / "sources.yml",
        "movietweetings": PROJECT / "examples" / "movietweetings" / "sources.yml",
    }
    sys.exit(not compare_services(directory, services))


def as_failures(found: list[TableComparison]) -> dict[str, Any]:
    """The tables that differ with their first rows, for an assertion."""
    return {
        table.table: (table.rows, table.spark_rows, table.examples)
        for table in found
        if not table.is_equal
    }


if __name__ == "__main__":
    main()
