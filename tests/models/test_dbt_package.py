"""The project as a package of another dbt project: examples/dbt_package, as its README says."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from service import Demo
from viewer_personas import build as build_step
from viewer_personas.build import build
from viewer_personas.config import load_sources
from viewer_personas.project import CHECKOUT, compose, init
from viewer_personas.sources.load import load

EXAMPLE = CHECKOUT / "examples" / "dbt_package"
LAYERS = ("reference", "staging", "metrics", "personas")
OF_A_RUN = (
    "built_at",
    "invocation_id",
    "dbt_scd_id",
    "dbt_updated_at",
    "dbt_valid_from",
    "seen_at",
)
"""Columns that say when, or in which run, a row was written."""

pytestmark = pytest.mark.proof


class Project:
    """A copy of the example, and its database."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "service.duckdb"
        shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("target", "dbt_packages"))
        self.edit("packages.yml", "local: ../..", f"local: {CHECKOUT}")
        assert self.dbt("deps").returncode == 0

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.folder / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")

    def dbt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        own = ("DBT_", "PERSONAS_", "SERVICE_")
        return subprocess.run(
            [str(Path(sys.executable).with_name("dbt")), *arguments],
            cwd=self.folder,
            env={name: value for name, value in os.environ.items() if not name.startswith(own)},
            capture_output=True,
            text=True,
        )

    def written(self, name: str) -> dict[str, Any]:
        """What the last command has left in target/."""
        found: dict[str, Any] = json.loads((self.folder / "target" / name).read_text())
        return found

    def results(self) -> dict[str, str]:
        return {
            row["unique_id"]: row["status"] for row in self.written("run_results.json")["results"]
        }


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, finished_demo: Demo) -> Project:
    """The example after its first build in a developer's schema."""
    made = Project(tmp_path_factory.mktemp("package") / "project")
    load(load_sources(finished_demo.folder / "sources.yml"), made.database)
    built = made.dbt("build")
    assert built.returncode == 0, built.stdout
    return made


def test_a_developers_schema_has_what_a_build_with_the_same_settings_gives(
    project: Project, finished_demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every table, column and row; versions too, so that nothing depends on how it is installed."""
    service = tmp_path / "plain"
    init(service)
    shutil.copy(EXAMPLE / "seeds" / "persona_rules.csv", service / "seeds")
    (service / "vars.yml").write_text("min_watch_seconds: 300\n")
    database = service / "plain.duckdb"
    load(load_sources(finished_demo.folder / "sources.yml"), database)
    monkeypatch.setattr(build_step, "PROJECT", compose(service))
    build(database, tests=False)

    with duckdb.connect(":memory:") as connection:
        connection.execute(f"attach '{project.database}' as package (read_only)")
        connection.execute(f"attach '{database}' as plain (read_only)")
        columns = _columns(connection, "plain", "")
        columns.pop("metrics.test_ledger", None)  # of `personas build`
        assert _columns(connection, "package", "ann_") == columns
        assert len(columns) > 50
        for table, names in columns.items():
            kept = ", ".join(name for name in names if name not in OF_A_RUN)
            plain = f"select {kept} from plain.{table}"
            ours = f"select {kept} from package.ann_{table}"
            if table == "metrics.partition_ledger":
                ours = f"select * replace (replace(model, 'ann_', '') as model) from ({ours})"
            for one, other in ((ours, plain), (plain, ours)):
                query = f"select * from ({one}) except all select * from ({other}) limit 3"
                assert connection.execute(query).fetchall() == [], table
        entries = connection.execute(
            "select count(*) from plain.metrics.partition_ledger where row_count > 0"
        ).fetchone()
        assert entries and entries[0] > 100, "there was something to compare"


def _columns(
    connection: duckdb.DuckDBPyConnection, catalogue: str, prefix: str
) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for schema, table, column in connection.execute(
        "select schema_name, table_name, column_name from duckdb_columns()"
        " where database_name = $1 and not internal order by all",
        [catalogue],
    ).fetchall():
        if schema in [prefix + layer for layer in LAYERS]:
            found.setdefault(f"{schema.removeprefix(prefix)}.{table}", []).append(column)
    return found


def test_nothing_is_written_into_schemas_of_others(project: Project) -> None:
    with duckdb.connect(str(project.database), read_only=True) as connection:
        found = connection.execute(
            "select distinct schema_name from duckdb_tables() where not internal"
            " union select distinct schema_name from duckdb_views() where not internal"
        ).fetchall()
        assert {name for (name,) in found} == {"raw", "ann", *(f"ann_{name}" for name in LAYERS)}
        mailed = connection.execute("select count(*) from ann.mail_audience").fetchone()
        bingers = connection.execute(
            "select count(*) from ann_personas.user_personas where persona = 'binger'"
            " and as_of_date = (select max(as_of_date) from ann_personas.user_personas)"
            " and churn_risk_level <> 'high'"
        ).fetchone()
        assert mailed == bingers


def test_the_second_build_has_nothing_to_build_and_checks_all(project: Project) -> None:
    """Data tests of the package run, those of a replaced seed too; hooks run once."""
    built = project.dbt("build")
    assert built.returncode == 0, built.stdout
    with duckdb.connect(str(project.database), read_only=True) as connection:
        runs = connection.execute(
            "select count(distinct invocation_id) from ann_metrics.partition_ledger"
        ).fetchone()
        assert runs == (1,), "the second run has built a partition"
    results = project.results()
    assert set(results.values()) <= {"success", "pass", "warn", "no-op"}
    tests = [name for name in results if name.startswith("test.viewer_personas.")]
    assert len(tests) > 100
    for of_seed in ("known_rule_terms_persona_rules", "columns_hold_persona_rules"):
        assert any(of_seed in name for name in tests)
    assert not any(name.startswith("unit_test.") for name in results)
    hooks = [name for name in results if name.startswith("operation.")]
    assert len(hooks) == len(set(hooks)) == 3


def test_a_rule_of_ones_own_is_checked(project: Project) -> None:
    project.edit("seeds/persona_rules.csv", "days_known", "days_unknown")
    built = project.dbt("build", "--select", "persona_rules")
    failed = [name for name, status in project.results().items() if status == "fail"]
    project.edit("seeds/persona_rules.csv", "days_unknown", "days_known")
    assert project.dbt("seed", "--select", "persona_rules").returncode == 0
    assert built.returncode == 1
    assert [name.split(".")[2] for name in failed] == ["known_rule_terms_persona_rules_"]


@pytest.fixture(scope="module")
def rejected(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a var and a session that the package rejects, and a model without it."""
    made = Project(tmp_path_factory.mktemp("rejected") / "project")
    (made.folder / "models" / "other.sql").write_text("select 1 as one\n")
    made.edit("dbt_project.yml", "min_watch_seconds: 300", "min_watch_seconds: -1")
    made.edit("dbt_project.yml", "    min_watch", "    raw_schema: landing\n    min_watch")
    made.edit("profiles.yml", "TimeZone: UTC", "TimeZone: Asia/Tokyo")
    ran = made.dbt("run", "--target", "prod", "--select", "other")
    assert ran.returncode == 0, ran.stdout
    return made


def test_hooks_leave_runs_alone_that_are_not_about_the_package(rejected: Project) -> None:
    with duckdb.connect(str(rejected.database), read_only=True) as connection:
        tables = connection.execute("select schema_name, table_name from duckdb_tables()")
        assert tables.fetchall() == [("main", "other")]
    said = rejected.dbt("run", "--target", "prod", "--select", "viewer_personas")
    assert said.returncode == 2
    assert "Asia/Tokyo" in said.stdout and "settings: {TimeZone: UTC}" in said.stdout


def test_the_schema_main_keeps_plain_names_and_raw_may_lie_elsewhere(rejected: Project) -> None:
    manifest = rejected.written("manifest.json")
    nodes = {
        node["schema"]
        for node in manifest["nodes"].values()
        if node["resource_type"] in ("model", "seed", "snapshot")
    }
    assert nodes == {"main", *LAYERS}
    assert {source["schema"] for source in manifest["sources"].values()} == {"landing"}
