"""Spark for the tests: one session in a process, with a folder of its own, and builds in it."""

import shutil
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.engines import SCHEMAS, as_failures, compare
from reference.definitions import Row
from service import Partition
from viewer_personas import build as build_step
from viewer_personas.database.parquet import FOLDER, LandingSummary, land

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest
    from pyspark.sql import SparkSession

# What tests want of Spark besides the profile. Tables of a few rows should not wait for compilers,
# nor their many small files for checksums, a reader's buffers and a process that changes the mode
# of each. A JVM that may compile once only (TieredStopAtLevel=1) has room for 48 MB of code, and
# interprets everything that comes after that.
SPARK_DEFAULTS = """\
spark.driver.extraJavaOptions -XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m \
-XX:+UseSerialGC -XX:MetaspaceSize=512m -Xmn1g
spark.sql.codegen.wholeStage false
spark.sql.codegen.factoryMode NO_CODEGEN
spark.sql.adaptive.enabled false
spark.sql.sources.parallelPartitionDiscovery.threshold 10000
spark.sql.parquet.enableVectorizedReader false
spark.sql.parquet.compression.codec uncompressed
spark.hadoop.fs.file.impl org.apache.hadoop.fs.RawLocalFileSystem
"""
LOG_SETTINGS = """\
rootLogger.level = error
rootLogger.appenderRef.stderr.ref = stderr
appender.console.type = Console
appender.console.name = stderr
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %p %c{1}: %m%n
"""


def write_settings(folder: Path) -> None:
    """Write what Spark reads from SPARK_CONF_DIR."""
    (folder / "spark-defaults.conf").write_text(SPARK_DEFAULTS, encoding="utf-8")
    (folder / "log4j2.properties").write_text(LOG_SETTINGS, encoding="utf-8")


class Warehouse:
    """The folder of the target spark, and what is in it. PERSONAS_WAREHOUSE names it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._manifest: Manifest | None = None
        self._is_started = False

    def clear(self) -> None:
        """Forget every table, and the raw layer."""
        for schema in ("raw", "reference", "staging", *SCHEMAS):
            self.session.sql(f"drop schema if exists {schema} cascade")
        shutil.rmtree(self.folder / FOLDER, ignore_errors=True)

    def land(self, database: Path) -> LandingSummary:
        """What `personas load --to parquet` does after the load."""
        return land(database, self.folder)

    def build(self, variables: str | None = None, *options: str) -> str:
        """`dbt build --target spark` without the data tests; the id of the run."""
        # the copy because dbt writes into the manifest that it runs
        result = self._dbt(
            ["build", *options, *(["--vars", variables] if variables else [])],
            manifest=self.manifest.deepcopy(),
        )
        failed = [
            f"{run.node.name}: {run.message}"
            for run in result.result.results
            if run.status not in ("success", "no-op")
        ]
        assert not failed, "\n".join(failed)
        from dbt_common.invocation import get_invocation_id

        return str(get_invocation_id())

    def show(self, query: str) -> list[Row]:
        """The rows of a query that may use the project's macros."""
        arguments = ["show", "--inline", query, "--limit", "-1"]
        result = self._dbt(arguments, manifest=self.manifest.deepcopy())
        table = result.result.results[0].agate_table
        return [dict(zip(table.column_names, row.values(), strict=True)) for row in table.rows]

    def rows(self, query: str) -> list[Row]:
        """The rows of a query."""
        return [row.asDict(recursive=True) for row in self.session.sql(query).collect()]

    def rebuilt(self, run: str) -> set[Partition]:
        """The partitions that a run built."""
        query = "select model, partition_date, invocation_id from metrics.partition_ledger"
        return {
            (row["model"], row["partition_date"])
            for row in self.rows(query)
            if row["invocation_id"] == run
        }

    def partitions(self, table: str) -> set[date]:
        """The partitions of which a table has a folder."""
        return {
            date.fromisoformat(row["partition"].split("=")[1])
            for row in self.rows(f"show partitions {table}")
        }

    def differences(self, database: Path, without: Iterable[str] = ()) -> dict[str, Any]:
        """The tables that are not those of DuckDB, with their first rows.

        `without` names tables of the schema personas that are left out.
        """
        found = compare(database, self.folder)
        assert len(found) >= 45
        left_out = {f"personas.{name}" for name in without}
        return {name: what for name, what in as_failures(found).items() if name not in left_out}

    @property
    def session(self) -> "SparkSession":
        """The session that dbt-spark uses."""
        from pyspark.sql import SparkSession

        if not self._is_started:
            self.show("select 1 as one")  # so that it has the settings of the profile
            self._is_started = True
        return SparkSession.builder.getOrCreate()

    @property
    def manifest(self) -> "Manifest":
        """The project for this target, parsed once, without its tests."""
        if self._manifest is None:
            self._manifest = build_step._without_tests(self._dbt(["parse"]).result)
        return self._manifest

    def _dbt(self, arguments: list[str], manifest: "Manifest | None" = None) -> Any:
        return build_step.invoke(
            [*arguments, "--target", "spark"],
            self.folder / "none.duckdb",
            lambda *_: None,
            manifest=manifest,
        )
