"""Building: runs dbt in this process and turns its events into progress."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import md5
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from viewer_personas import checks
from viewer_personas.database.connection import (
    connect,
    interruptible,
    is_of_the_machine,
    memory_limit,
)
from viewer_personas.database.raw import Report, create_raw_tables
from viewer_personas.database.sql import scalar
from viewer_personas.errors import CheckFailed, InputError, Unreachable
from viewer_personas.project import PACKAGED, work_folder
from viewer_personas.thresholds import check_thresholds, refuse_unknown
from viewer_personas.yaml_text import read_yaml

# Importing dbt takes seconds, which `personas explain` should not have to wait for.
if TYPE_CHECKING:
    from dbt.cli.main import dbtRunnerResult
    from dbt.contracts.graph.manifest import Manifest

PROJECT = PACKAGED
"""The dbt project that commands use; `--project` sets another (see cli/options.py)."""


@dataclass
class BuildSummary:
    """What a build did: partitions rebuilt by model, and the checks that warned.

    `checks_unchanged` passed in an earlier build on exactly the current state.
    """

    invocation_id: str
    partitions_rebuilt: dict[str, int] = field(default_factory=dict)
    checks_passed: int = 0
    checks_unchanged: int = 0
    warnings: list[str] = field(default_factory=list)


def build(
    database: Path,
    *,
    variables: str | None = None,
    full_refresh: bool = False,
    tests: bool = True,
    all_tests: bool = False,
    report: Report = lambda text, done, total: None,
) -> BuildSummary:
    """Run every seed, snapshot and model of the dbt project on the database, and the data tests.

    A test that already passed on exactly the current state is skipped, except with `all_tests` or
    `full_refresh`. `tests` false runs none.

    `variables` is YAML for dbt's --vars. Raises `InputError` if nothing is loaded or a variable is
    unknown or out of range, `CheckFailed` if a model or a test fails. What was built before a
    failure stays; each model is replaced in one transaction.
    """
    values = variables_of(variables)
    with connect(database, read_only=True) as connection:
        if not _is_loaded(connection):
            raise InputError(f"{database}: nothing is loaded. Run `personas load` first.")
    with connect(database) as connection:
        create_raw_tables(connection)  # it may have been loaded by a version without some of them
        if not _has_fields(connection):
            raise InputError(
                f"{database}: loaded by an earlier version. Run `personas load` first."
            )
    project = parsed(database)
    left_out, before = _tests_of(project), {}
    if tests:
        inputs = _inputs(database, project, values)
        before = _states(database, project, inputs)
        left_out = set() if all_tests or full_refresh else _unchanged(database, before)
    options = ["--exclude-resource-type", "unit_test"]
    options += ["--full-refresh"] if full_refresh else []
    options += ["--vars", variables] if variables else []
    manifest = _without_tests(project, left_out)
    result = invoke(["build", *options], database, report, manifest=manifest)
    from dbt_common.invocation import get_invocation_id

    summary = BuildSummary(invocation_id=get_invocation_id())
    results = [result]
    if tests:
        after = _states(database, project, inputs)
        # Something changed unexpectedly, for example rows that were deleted by hand.
        late = {name for name in left_out if after[name] != before[name]}
        if late:
            manifest = _without_tests(project, _tests_of(project) - late)
            results.append(invoke(["test", *options], database, report, manifest=manifest))
        _record_tests(database, results, after)
        summary.checks_unchanged = len(left_out - late)
    _collect(results, summary, database)
    with connect(database, read_only=True) as connection:
        summary.partitions_rebuilt = _partitions_rebuilt(connection, summary.invocation_id)
    return summary


def _inputs(database: Path, project: "Manifest", values: dict[str, Any]) -> checks.Inputs:
    """What decides test results and no build changes: files, vars, seeds and loaded data."""
    files = _version_of_files(PROJECT, without=".csv")  # a test that reads no seed depends on none
    definitions = files + json.dumps(values, sort_keys=True, default=str)
    with connect(database, read_only=True) as connection:
        return checks.inputs(connection, project, definitions)


def _states(database: Path, project: "Manifest", inputs: checks.Inputs) -> checks.States:
    """The state of each test, by the current contents of the database."""
    with connect(database, read_only=True) as connection:
        return checks.states(connection, project, inputs)


def _unchanged(database: Path, now: checks.States) -> set[str]:
    with connect(database, read_only=True) as connection:
        passed = checks.passed(connection)
    return {name for name, state in now.items() if passed.get(name) == state}


def _record_tests(database: Path, results: list["dbtRunnerResult"], now: checks.States) -> None:
    ran = {node.node.unique_id: node.status for node in _nodes(results)}
    passed = {name: now[name] for name, status in ran.items() if name in now and status == "pass"}
    has_not = {name for name in ran if name in now} - passed.keys()
    if passed or has_not:
        with connect(database) as connection:
            checks.record(connection, passed, has_not)


def parse(database: Path, *, tests: bool = True) -> "Manifest":
    """The project as dbt reads it, to be run or changed; `tests` false leaves the tests out: dbt
    walks all nodes several times in each run.
    """
    project = parsed(database)
    # A copy, because dbt writes into the manifest that it runs.
    return project.deepcopy() if tests else _without_tests(project)


def parsed(database: Path) -> "Manifest":
    """The project as dbt reads it, read-only: models, exposures and their settings.

    Opens no database. A process parses once for all databases of one name, which dbt puts into the
    names of relations, as long as no file of the project changes. --vars change nothing in a
    manifest: models read them when they are compiled.
    """
    return _parsed(database.name, PROJECT, _version_of_files(PROJECT))


@lru_cache(maxsize=8)
def _parsed(database_name: str, project: Path, version: str) -> "Manifest":
    # The name alone: dbt's partial-parsing cache is invalid for a different path.
    result = invoke(["parse"], Path(database_name), lambda text, done, total: None)
    manifest: Manifest = result.result
    return manifest


def _version_of_files(project: Path, *, without: str | None = None) -> str:
    """The md5 of every file that dbt parses, or of all except those of one suffix."""
    files = [project / "dbt_project.yml", project / "selectors.yml"]
    for folder in ("macros", "models", "profiles", "seeds", "tests"):
        files += sorted((project / folder).rglob("*"))
    version = md5()
    for file in files:
        if file.is_file() and file.suffix != without:
            version.update(f"{file} {file.stat().st_size} ".encode())
            version.update(file.read_bytes())
    return version.hexdigest()


def _tests_of(manifest: "Manifest") -> set[str]:
    return {name for name, node in manifest.nodes.items() if node.resource_type == "test"}


def _without_tests(manifest: "Manifest", left_out: set[str] | None = None) -> "Manifest":
    """A copy for dbt to run: without unit tests, and without these data tests, or any."""
    left_out = _tests_of(manifest) if left_out is None else left_out
    reduced = copy(manifest)
    reduced.nodes = {name: node for name, node in manifest.nodes.items() if name not in left_out}
    reduced.unit_tests = {}
    reduced.files = {}  # only for parsing again, and as large as all the rest
    return reduced.deepcopy()


def invoke(
    arguments: list[str],
    database: Path,
    report: Report,
    *,
    project: Path | None = None,
    manifest: "Manifest | None" = None,
) -> "dbtRunnerResult":
    """Run one dbt command against the database, and close the file afterwards.

    `project` is another folder than that of the checkout; `manifest` is the project as it was
    parsed, which avoids a second parse.

    Raises `InputError` if dbt stops before it runs a node: the project, a variable or an option
    is wrong.
    """

    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.cli.main import dbtRunner

    def on_event(event: Any) -> None:
        if event.info.name == "LogStartLine":
            report(event.data.description, event.data.index - 1, event.data.total)

    folder = project or PROJECT
    with _environment(database), interruptible(_interrupt_dbt):
        try:
            result = dbtRunner(manifest=manifest, callbacks=[on_event]).invoke(
                [
                    *arguments,
                    *("--project-dir", str(folder), "--profiles-dir", str(folder / "profiles")),
                    *("--log-level", "none"),
                ]
            )
        finally:
            DuckDBConnectionManager.close_all_connections()
    if isinstance(result.exception, KeyboardInterrupt):
        raise result.exception
    if result.exception:
        raise InputError(_first_words(str(result.exception)))
    if arguments[0] == "parse":
        result.result.selectors = {}  # dbt cannot copy them; a run reads selectors.yml itself
    return result


def _interrupt_dbt() -> None:
    """Interrupt what dbt's threads ask DuckDB; dbt itself tries that once, and may miss."""
    from dbt.adapters.factory import FACTORY

    for adapter in list(FACTORY.adapters.values()):
        for connection in list(adapter.connections.thread_connections.values()):
            if connection.state == "open":
                connection.handle.cursor().interrupt()


@contextmanager
def _environment(database: Path) -> Iterator[None]:
    """What profiles.yml and dbt read from the environment; put back what was there."""
    settings = {
        "PERSONAS_DATABASE": str(database.resolve()),
        "PERSONAS_MEMORY_LIMIT": memory_limit(),
        # they take a second of each build and are not used
        "DBT_WRITE_JSON": os.environ.get("DBT_WRITE_JSON", "false"),
        "DBT_LOG_LEVEL_FILE": os.environ.get("DBT_LOG_LEVEL_FILE", "info"),
    }
    if folder := work_folder(PROJECT):
        settings["DBT_TARGET_PATH"] = os.environ.get("DBT_TARGET_PATH", str(folder / "target"))
        settings["DBT_LOG_PATH"] = os.environ.get("DBT_LOG_PATH", str(folder / "logs"))
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def default_variables(project: Path) -> dict[str, Any]:
    """The vars of dbt_project.yml with their default values."""
    file = project / "dbt_project.yml"
    variables: dict[str, Any] = read_yaml(file.read_text(encoding="utf-8"), str(file))["vars"]
    return variables


def variables_of(variables: str | None) -> dict[str, Any]:
    """All vars, with --vars applied.

    Raises `InputError` if these are invalid YAML or unknown, or a var is out of its range.
    """
    values = default_variables(PROJECT)
    if variables:
        given = read_yaml(variables, "--vars")
        if not isinstance(given, dict):
            raise InputError("--vars: expected YAML like '{lookback_days: 200}'")
        refuse_unknown(given, values, "--vars", PROJECT)
        values |= given
    check_thresholds(values, PROJECT)
    return values


def _is_loaded(connection: duckdb.DuckDBPyConnection) -> bool:
    try:
        return bool(scalar(connection, "select count(*) from raw.slices"))
    except duckdb.CatalogException:
        return False


def _has_fields(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether the mapping was applied to the documents, which earlier versions left to dbt."""
    query = "select count(*) from raw.{} limit 1"
    return not scalar(connection, query.format("contents")) or bool(
        scalar(connection, query.format("field_profiles"))
    )


def _nodes(results: list["dbtRunnerResult"]) -> Iterator[Any]:
    for result in results:
        yield from getattr(result.result, "results", [])


def _collect(results: list["dbtRunnerResult"], summary: BuildSummary, database: Path) -> None:
    failures = []
    for node in _nodes(results):
        message = f"{node.node.name}: {_first_words(node.message or str(node.status))}"
        if node.status == "fail":
            failures.append(message + _failing_rows(database, node.node.compiled_code))
        elif node.status == "error":
            failures.append(message)
        elif node.status == "warn":
            summary.warnings.append(message + _failing_rows(database, node.node.compiled_code))
        elif node.status == "pass":
            summary.checks_passed += 1
    for failure in failures:
        if is_of_the_machine(failure):
            raise Unreachable(
                f"{database}: {failure}. What was built before is kept; run the same command again."
            )
    if failures:
        raise CheckFailed("dbt build failed:\n" + "\n".join(f"  {line}" for line in failures))
    if not all(result.success for result in results):
        raise CheckFailed("dbt build failed; logs/dbt.log says where.")


def _failing_rows(database: Path, query: str) -> str:
    """The first rows that a failing test found, so that the message names them."""
    # opened plainly: compiled SQL names the catalogue, which has the name of the file
    with duckdb.connect(str(database), read_only=True) as connection:
        found = connection.execute(f"select * from ({query}) limit 3")
        names = [column[0] for column in found.description or []]
        rows = found.fetchall()
    return "".join(
        "\n    " + ", ".join(f"{name}: {value}" for name, value in zip(names, row, strict=True))
        for row in rows
    )


def _partitions_rebuilt(
    connection: duckdb.DuckDBPyConnection, invocation_id: str
) -> dict[str, int]:
    rows = connection.execute(
        "select model, count(*) from metrics.partition_ledger"
        " where invocation_id = $1 group by model order by model",
        [invocation_id],
    ).fetchall()
    return dict(rows)


def _first_words(message: str) -> str:
    """A message in one line, without dbt's frame around it."""
    lines = [line.strip() for line in message.splitlines()]
    kept = [line for line in lines if line and not line.startswith(("> in macro", "> called by"))]
    return " ".join(kept)[:600]
