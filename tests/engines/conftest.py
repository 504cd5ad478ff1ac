"""Fixtures: Spark, one session for all tests of the process."""

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.spark_warehouse import Warehouse, write_settings


@pytest.fixture(scope="session")
def spark(project_copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """The target spark. Where a user has no Java or not the extra, tests are skipped; in CI that is
    a failure."""
    missing = [name for name in ("dbt.adapters.spark", "pyspark") if not _is_installed(name)]
    if not shutil.which("java") and "JAVA_HOME" not in os.environ:
        missing.append("Java 17")
    if missing:
        reason = f"{', '.join(missing)} not found: Spark needs Java and `--extra spark`"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("warehouse")
    settings = tmp_path_factory.mktemp("spark")
    write_settings(settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_CONF_DIR", str(settings))
        patch.setenv("PERSONAS_WAREHOUSE", str(folder))
        # a metastore takes more time than all the queries of the tests together
        patch.setenv("PERSONAS_SPARK_CATALOG", "in-memory")
        patch.setenv("PERSONAS_SPARK_MASTER", "local[2]")
        patch.setenv("PERSONAS_SPARK_MEMORY", "2g")
        patch.setenv("PERSONAS_SPARK_SHUFFLE_PARTITIONS", "1")
        yield Warehouse(folder)


@pytest.fixture
def warehouse(spark: Warehouse) -> Warehouse:
    """Spark without any table."""
    spark.clear()
    return spark


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
