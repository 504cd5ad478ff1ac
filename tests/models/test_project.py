"""For every model: layers, descriptions, contracts, grain; and thresholds that are checked."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from dbt.contracts.graph.manifest import Manifest
from typer.testing import CliRunner

from pages import lineage
from service import GRAINS, OF_TIMES, PARTITIONS, Demo
from viewer_personas.build import PROJECT, build, invoke, parse, variables_of
from viewer_personas.cli.app import app
from viewer_personas.database.connection import connect
from viewer_personas.database.raw import create_raw_tables
from viewer_personas.errors import CheckFailed, InputError
from viewer_personas.rules.catalogue import window_lengths

# --vars that no build can run with, and what the message names.
WRONG_VARS = {
    "{day_starts_at_hour: 13}": "day_starts_at_hour",
    "{lookback_days: 100}": "lookback_days",
    "{lookback_days: ~}": "lookback_days",
    "{as_of_weekday: someday}": "as_of_weekday",
    "{default_timezone: Berlin}": "default_timezone",
    "{default_timezone: [UTC]}": "default_timezone",
    "{binge_min_episodes: many}": "binge_min_episodes",
    "{exclusivity_method: loudest}": "exclusivity_method",
    "{spike_max_watch_minutes: .nan}": "spike_max_watch_minutes",
    "{churn_high_odds_ratio: .inf}": "churn_high_odds_ratio",
    "{churn_recency_bands: [7, .nan]}": "churn_recency_bands",
    "{raw_retention_days: 99999999999}": "raw_retention_days",
    "{content_fields: {title: name}}": "content_fields",
    "{max_clock_ahead_hours: -1}": "max_clock_ahead_hours",
    "{user_fields: {timezone: zone}}": "the sources file, under users.fields",
    "{min_watch_seconds: 9223372036854775808}": "beyond 64 bits",
    "{lookbak_days: 200}": "lookbak_days",
    "[lookback_days]": "--vars",
    "{lookback_days: ": "--vars",
}

# A layer reads from itself and from the layers before it.
LAYERS = ["raw", "reference", "staging", "metrics", "personas", "activation"]


@pytest.fixture(scope="module")
def database(finished_demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that was built on three months of a tiny demo."""
    database = tmp_path_factory.mktemp("project") / "personas.duckdb"
    shutil.copy(finished_demo.database, database)
    return database


@pytest.fixture(scope="module")
def manifest(database: Path) -> Manifest:
    return parse(database)


def test_no_layer_reads_from_a_later_one(manifest: Manifest) -> None:
    for node in [*manifest.nodes.values(), *manifest.exposures.values()]:
        if node.resource_type not in ("model", "snapshot", "seed"):
            continue
        for name in node.depends_on_nodes if node.resource_type != "seed" else []:
            read = manifest.nodes.get(name) or manifest.sources[name]
            assert LAYERS.index(read.schema) <= LAYERS.index(node.schema), (
                f"{node.schema}.{node.name} reads {read.schema}.{read.name}, a later layer"
            )
            assert read.schema != "raw" or node.schema == "staging" or read.name == "slices", (
                f"{node.schema}.{node.name} reads raw.{read.name}: only staging does"
            )


def test_only_user_content_hours_reads_events(manifest: Manifest) -> None:
    readers = [
        node.name
        for node in manifest.nodes.values()
        if node.resource_type == "model"
        and "model.viewer_personas.stg_events" in node.depends_on_nodes
    ]
    assert readers == ["user_content_hours"]


def test_every_result_has_a_contract_and_a_tested_grain(manifest: Manifest) -> None:
    tests = [
        (test.attached_node, test.test_metadata.name)
        for test in manifest.nodes.values()
        if test.resource_type == "test"
    ]
    tested = {node for node, name in tests if name in ("grain", "unique")}
    checked = {node for node, name in tests if name == "columns_hold"}
    for node in manifest.nodes.values():
        if node.resource_type != "model" or node.schema == "staging":
            continue
        assert node.contract.enforced, f"{node.name} has no enforced contract"
        assert node.unique_id in tested, f"no test proves the grain of {node.name}"
        assert node.unique_id in checked, f"no test checks the columns of {node.name}"
        assert node.description.startswith("One row per "), f"{node.name}: what is one row?"


def test_no_table_is_left_out_of_the_comparisons(manifest: Manifest) -> None:
    models = {
        f"{node.schema}.{node.alias}": str(node.config.materialized)
        for node in manifest.nodes.values()
        if node.resource_type == "model" and node.schema != "staging"
    }
    assert models.keys() == {*GRAINS, *OF_TIMES}
    partitioned = {name for name, kind in models.items() if kind == "partitioned"}
    assert partitioned == PARTITIONS.keys()


def test_what_leaves_is_an_exposure(manifest: Manifest) -> None:
    assert {exposure.name for exposure in manifest.exposures.values()} == {
        "user_personas_files",
        "user_personas_druid",
        "persona_transitions_druid",
        "churn_risk_druid",
    }
    for exposure in manifest.exposures.values():
        assert exposure.description and exposure.owner.name and exposure.owner.email


def test_public_is_what_an_exposure_reads_and_no_other_model(manifest: Manifest) -> None:
    read = {name for node in manifest.exposures.values() for name in node.depends_on_nodes}
    assert {node.unique_id for node in _models(manifest) if node.config.access == "public"} == read
    assert {node.config.access for node in _models(manifest)} == {"public", "protected"}


def test_every_model_has_a_description_and_a_group_with_an_owner(manifest: Manifest) -> None:
    groups = {group.name: group for group in manifest.groups.values()}
    for node in _models(manifest):
        assert node.description, f"{node.name} has no description"
        assert node.config.group in groups, f"{node.name} belongs to no group"
    assert {node.config.group for node in _models(manifest)} == groups.keys()
    for group in groups.values():
        assert group.description and group.owner.name and group.owner.email


def test_a_model_with_rows_of_single_viewers_is_tagged_as_personal_data(manifest: Manifest) -> None:
    tagged = {node.name for node in _models(manifest) if "personal_data" in node.config.tags}
    assert tagged == {node.name for node in _models(manifest) if "user_id" in node.columns}


def test_a_model_has_the_colour_of_its_layer(manifest: Manifest) -> None:
    colours = {(node.config.schema, node.docs.node_color) for node in _models(manifest)}
    assert len(colours) == len(dict(colours)) and all(colour for _, colour in colours)


def test_selectors_name_what_they_say(database: Path, manifest: Manifest) -> None:
    models = {node.name for node in _models(manifest)}
    named = yaml.safe_load((PROJECT / "selectors.yml").read_text())["selectors"]
    selected = {
        selector["name"]: _selected(selector["name"], database, manifest) for selector in named
    }
    assert selected.keys() == {"metrics", "rules", "audiences", "reports", "cases"}
    assert all(selected.values())

    public = {node.name for node in _models(manifest) if node.config.access == "public"}
    assert public < selected["audiences"]
    assert selected["audiences"] & models | selected["reports"] & models == models
    assert selected["audiences"] & selected["reports"] == set()

    of_metrics = {node.name for node in _models(manifest) if node.config.group == "metrics"}
    assert selected["metrics"] & models == of_metrics
    # user_windows gives the metrics that rules may name; it does not read them
    assert selected["rules"] & of_metrics == set()
    assert {"persona_matches", "user_personas", "churn_risk"} < selected["rules"]
    assert selected["cases"] == {case.name for case in manifest.unit_tests.values()}


def _models(manifest: Manifest) -> list[Any]:
    return [node for node in manifest.nodes.values() if node.resource_type == "model"]


def _selected(selector: str, database: Path, manifest: Manifest) -> set[str]:
    arguments = ["list", "--selector", selector, "--output", "name"]
    # a copy, because dbt writes into the manifest that it runs
    listed = invoke(arguments, database, lambda *_: None, manifest=manifest.deepcopy())
    return set(listed.result)


@pytest.mark.parametrize(("hours", "status"), [(29, "pass"), (31, "warn"), (55, "error")])
def test_a_load_that_is_late_is_not_fresh(
    database: Path, manifest: Manifest, tmp_path: Path, hours: int, status: str
) -> None:
    copy = tmp_path / database.name
    shutil.copy(database, copy)
    with connect(copy) as connection:
        connection.execute(
            f"update raw.slices set loaded_at = now()::timestamp - interval {hours} hour"
        )
    arguments = ["source", "freshness", "--output", str(tmp_path / "freshness.json")]
    checked = invoke(arguments, copy, lambda *_: None, manifest=manifest.deepcopy())
    found = {result.node.name: result.status for result in checked.result.results}
    assert found["slices"] == status


def test_descriptions_are_in_the_database(database: Path, manifest: Manifest) -> None:
    with connect(database, read_only=True) as connection:
        comments = dict(
            connection.execute(
                """
                select schema_name || '.' || view_name, comment from duckdb_views()
                union all
                select schema_name || '.' || table_name, comment from duckdb_tables()
                union all
                select schema_name || '.' || table_name || '.' || column_name, comment
                from duckdb_columns()
                """
            ).fetchall()
        )
    for node in _models(manifest):
        name = f"{node.schema}.{node.name}"
        assert comments[name] == node.description
        for column in node.columns.values():
            assert comments[f"{name}.{column.name}"] == column.description


@pytest.mark.proof
def test_lineage_page_describes_every_model_and_every_column(tmp_path: Path) -> None:
    lineage.write(tmp_path)
    page = (tmp_path / "static_index.html").read_text()
    assert "user_personas" in page
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    catalog = json.loads((tmp_path / "catalog.json").read_text())
    overview = manifest["docs"]["doc.viewer_personas.__overview__"]["block_contents"]
    for link in re.findall(r"#!/model/([\w.]+)", overview):
        assert link in manifest["nodes"]
    described = {**manifest["nodes"], **manifest["sources"]}
    tables = {**catalog["nodes"], **catalog["sources"]}
    with_rows = ("model", "seed", "snapshot")
    assert tables.keys() == manifest["sources"].keys() | {
        name for name, node in manifest["nodes"].items() if node["resource_type"] in with_rows
    }
    assert all(column["type"] for table in tables.values() for column in table["columns"].values())
    missing = [
        f"{name}.{column}" for name, table in tables.items()
        for column in _undescribed(described[name], table)
    ]  # fmt: skip
    assert not missing


def _undescribed(described: dict[str, Any], table: dict[str, Any]) -> list[str]:
    columns = {name.lower(): column for name, column in described["columns"].items()}
    found = [] if described["description"] else [""]
    return found + [
        name for name in table["columns"] if not columns.get(name.lower(), {}).get("description")
    ]


def test_every_threshold_is_declared_with_its_range() -> None:
    variables = yaml.safe_load((PROJECT / "dbt_project.yml").read_text())["vars"]
    text = (PROJECT / "macros" / "definitions" / "thresholds.sql").read_text()
    declared = re.findall(r"^        '(\w+)': \{$", text, re.MULTILINE)
    assert sorted(declared) == sorted(variables)
    assert text.count("'minimum'") == text.count("'maximum'"), "a number has both"


def test_dbt_refuses_the_same_vars_as_the_command(tmp_path: Path) -> None:
    """The command checks them without dbt, by the macros that dbt runs too."""
    project = parse(tmp_path / "personas.duckdb", tests=False)
    for variables in ("{spike_max_watch_minutes: .nan}", "{content_fields: {title: name}}"):
        with pytest.raises(InputError) as by_us:
            variables_of(variables)
        with pytest.raises(InputError) as by_dbt:
            invoke(
                ["run", "--select", "source_dates", "--vars", variables],
                tmp_path / "personas.duckdb",
                lambda *_: None,
                manifest=project,
            )
        assert str(by_us.value)[:300] in str(by_dbt.value)


@pytest.mark.parametrize("variables", WRONG_VARS)
def test_a_threshold_that_makes_no_sense_is_named_before_anything_runs(
    tmp_path: Path, variables: str
) -> None:
    database = tmp_path / "personas.duckdb"
    for command in ("build", "run"):
        result = CliRunner().invoke(
            app, [command, "--database", str(database), "--vars", variables]
        )
        assert isinstance(result.exception, InputError)
        assert WRONG_VARS[variables] in str(result.exception)
        assert not database.exists()


@pytest.mark.parametrize(
    ("seed", "text", "named"),
    [
        ("persona_rules", "regular,1,9,28,active_share,>=,nan", "threshold 'nan'"),
        ("persona_rules", "regular,1,9,28,active_share,>=,inf", "threshold 'inf'"),
        ("persona_rules", None, "has no rule"),
        ("personas", None, "unknown persona"),
        ("personas", "a,A,x,Is.,low,,,,No.", "priority 'x'"),
    ],
)
def test_rules_that_make_no_sense_are_named_before_anything_runs(
    tmp_path: Path, project: Path, seed: str, text: str | None, named: str
) -> None:
    file = project / "seeds" / f"{seed}.csv"
    before = file.read_text().rstrip("\n")
    file.write_text(f"{before}\n{text}\n" if text else before.splitlines()[0] + "\n")
    database = tmp_path / "personas.duckdb"
    for command in ("build", "run"):
        result = CliRunner().invoke(app, [command, "--database", str(database)])
        assert isinstance(result.exception, InputError)
        assert named in str(result.exception)
        assert not database.exists()


def test_build_without_a_load_says_what_to_do(tmp_path: Path) -> None:
    database = tmp_path / "empty.duckdb"
    with connect(database) as connection:
        create_raw_tables(connection)
    with pytest.raises(InputError, match="personas load"):
        build(database)


def test_dbt_show_shows_what_a_table_holds(database: Path) -> None:
    """Not what the next build would add, which is nothing."""
    with connect(database, read_only=True) as connection:
        wanted = connection.execute("select count(*) from personas.drift").fetchone()
    arguments = ["show", "--select", "drift", "--limit", "-1"]
    shown = invoke(arguments, database, lambda *_: None).result.results[0].agate_table
    assert (len(shown.rows),) == wanted != (0,)


def test_the_windows_of_the_contract_are_those_of_the_models(project: Path) -> None:
    text = (project / "macros" / "formulas" / "windows.sql").read_text(encoding="utf-8")
    [lengths] = re.findall(r"macro window_lengths\(\) %}{{ return\((.+?)\) }}", text)
    assert json.loads(lengths) == window_lengths()


def test_rules_that_name_unknown_things_fail_with_the_row(database: Path, project: Path) -> None:
    rules = project / "seeds" / "persona_rules.csv"
    rules.write_text(rules.read_text() + "regular,1,9,28,activ_share,>=,0.5\n")
    with pytest.raises(CheckFailed, match=r"clause: 9, window_days: 28, metric: activ_share"):
        build(database)


def test_thresholds_change_nothing_of_what_is_parsed(manifest: Manifest, tmp_path: Path) -> None:
    """So that a process can parse once for builds with any --vars."""
    variables = "{lookback_days: 200, exclusivity_method: sticky, as_of_weekday: wednesday}"
    arguments = ["parse", "--vars", variables, "--target-path", str(tmp_path)]
    parsed = invoke(arguments, Path("personas.duckdb"), lambda *_: None).result
    with_variables, without = _nodes(parsed), _nodes(manifest)
    # names only: the difference of two manifests takes minutes to print
    assert with_variables.keys() == without.keys()
    assert [name for name in without if with_variables[name] != without[name]] == []


def _nodes(manifest: Manifest) -> dict[str, dict[str, Any]]:
    return {
        name: {**node.to_dict(), "created_at": None}
        for nodes in (manifest.nodes, manifest.sources, manifest.macros, manifest.exposures)
        for name, node in nodes.items()
    }


def test_what_is_parsed_once_is_parsed_again_when_a_file_has_changed(project: Path) -> None:
    database = Path("personas.duckdb")
    before = parse(database)
    personas = project / "seeds" / "personas.csv"
    personas.write_text(personas.read_text(encoding="utf-8").replace("Binger", "Bingee"))
    changed = {
        name for name, node in parse(database).nodes.items()
        if _checksum(node) != _checksum(before.nodes[name])
    }  # fmt: skip
    assert changed == {"seed.viewer_personas.personas"}


def _checksum(node: Any) -> str:
    return str(node.checksum.checksum)
