"""The version of definitions moves with what the models of a list reach, and with nothing else."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from dbt.cli.main import dbtRunner
from dbt.contracts.graph.manifest import Manifest

from viewer_personas import build as build_step

Version = tuple[str, str]
"""A partition list, and the name of one of the versions that it gives."""

PATTERN = re.compile(r"macros/(partitions/|definitions/|engine/partitions\.sql)")
"""The macros that say which partitions are built and when, but not what is in them."""

COMMENT = '{# it\'s "edited": {{ x }} #}'
LINES = f" -- it's  edited{COMMENT}\n    {COMMENT}\n\n    -- the viewer's \"edit"


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return build_step.parse(Path("personas.duckdb"), tests=False)


def test_an_edit_moves_the_versions_whose_models_reach_it(
    manifest: Manifest, tmp_path: Path
) -> None:
    """Each macro and each model, edited in turn."""
    reaching = _reaching(manifest)
    assert len(reaching) > 150
    edits = [{name: _edited(_text(manifest, name))} for name in reaching]
    assert dict(zip(reaching, _moved(manifest, tmp_path, edits), strict=True)) == reaching
    # and that says something: there are edits that move none, and such that move several
    assert {len(versions) for versions in reaching.values()} >= {0, 1, 2, 3}


def test_a_comment_moves_none(manifest: Manifest, tmp_path: Path) -> None:
    commented = {}
    for name in _reaching(manifest):
        text = _text(manifest, name)
        if "\n" in text:
            before, _, after = text.rpartition("\n")
            commented[name] = f"{COMMENT}{before}{LINES}\n{after}"
        else:
            commented[name] = text.replace("%}", "%}" + COMMENT, 1)
    assert _moved(manifest, tmp_path, [commented]) == [set()]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("select 'a  b'", "select 'a b'"),
        ("select 'a' -- b\n, c", "select 'a' -- b, c"),
        ("select '--' || a", "select '--' || b"),
        ("select '{# a #}'", "select '{# b #}'"),
        ("select '\\d', '--a'", "select '\\d', '--b'"),
        ('{{ f("it\'s -- a") }}', '{{ f("it\'s -- b") }}'),
        ("select 1 -- {{ f(1) }}", "select 1 -- {{ f(2) }}"),
        ("select 1 -- {# {{ b }} #} {{ f(1) }}", "select 1 -- {# {{ b }} #} {{ f(2) }}"),
        ("select 1 {# it's #} + '-- a'", "select 1 {# it's #} + '-- b'"),
    ],
)
def test_what_looks_like_a_comment_moves(
    manifest: Manifest, tmp_path: Path, before: str, after: str
) -> None:
    name = "model.viewer_personas.user_days"
    moved = _moved(manifest, tmp_path, [{name: before}, {name: after}], from_first=True)
    assert moved == [{("activity_dates", "input_version")}]


def test_a_threshold_moves_the_versions_whose_texts_name_it(
    manifest: Manifest, tmp_path: Path
) -> None:
    values = build_step.default_variables(build_step.PROJECT)
    naming = _naming(manifest)
    unused = {name for name in values if not naming.get(name)}
    assert {"as_of_weekday", "raw_retention_days"} <= unused
    assert _moved(manifest, tmp_path, variables=dict.fromkeys(unused, "another")) == [set()]
    # one of each set of versions; the others are named in the same texts
    for versions, name in {frozenset(naming[name]): name for name in naming}.items():
        moved = _moved(manifest, tmp_path, variables={name: "another"})
        assert moved == [set(versions)], name


def test_the_docs_say_what_a_threshold_rebuilds(manifest: Manifest) -> None:
    named: dict[Version, set[str]] = {}
    for name, versions in _naming(manifest).items():
        for version in versions:
            named.setdefault(version, set()).add(name)
    table = "".join(
        f"| `{partition_list}.{version}` | {', '.join(f'`{name}`' for name in sorted(names))} |\n"
        for (partition_list, version), names in sorted(named.items())
    )
    page = Path(__file__).parents[2] / "docs" / "architecture.md"
    assert table in page.read_text(encoding="utf-8"), f"docs/architecture.md must say:\n{table}"


def test_every_variable_is_named_where_it_is_read(project_copy: Path) -> None:
    """A var that is read by a name in a variable would be in no version."""
    for path in [*project_copy.glob("models/**/*.sql"), *project_copy.glob("macros/**/*.sql")]:
        if not PATTERN.match(str(path.relative_to(project_copy))):
            calls = re.findall(r"\bvar\(.", path.read_text(encoding="utf-8"))
            assert set(calls) <= {"var('", 'var("'}, path


def test_every_list_hashes_the_definitions_of_the_models_that_go_by_it(manifest: Manifest) -> None:
    for partition_list, version in _all_versions(manifest):
        text = _text(manifest, f"model.viewer_personas.{partition_list}")
        call = f'definition_version("{partition_list}"'
        call += ")" if version == "input_version" else f', "{version}")'
        assert call in text, f"{partition_list} does not hash {call} into its {version}"


@pytest.mark.proof
def test_files_that_are_edited(
    manifest: Manifest, tmp_path: Path, project_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same with dbt's own eyes: a comment in every file, and one formula."""
    folder = tmp_path / "project"
    shutil.copytree(project_copy, folder)
    for path in [*folder.glob("macros/**/*.sql"), *folder.glob("models/**/*.sql")]:
        path.write_text(f"{{# it's new #}}\n{path.read_text(encoding='utf-8')}", encoding="utf-8")
    text_macros = folder / "macros" / "engine" / "lists_and_text.sql"
    text = text_macros.read_text(encoding="utf-8")
    assert text.count("(0.0 + round(") == text.count("(0.0e0 + round(") == 1
    text_macros.write_text(text.replace("(0.0e0 + round(", "(0.1e0 + round("), encoding="utf-8")
    before = _versions(manifest, tmp_path, [{}])
    monkeypatch.setattr(build_step, "PROJECT", folder)
    after = build_step.parse(Path("personas.duckdb"), tests=False)
    # nor does the half of the engine that does not run
    assert _versions(after, tmp_path, [{}]) == before

    text_macros.write_text(text.replace("(0.0 + round(", "(0.1 + round("), encoding="utf-8")
    after = build_step.parse(Path("personas.duckdb"), tests=False)
    [old], [new] = before, _versions(after, tmp_path, [{}])
    assert {version for version in old if old[version] != new[version]} == {
        ("persona_dates", "input_version")
    }


# --- what dbt says ----------------------------------------------------------------------------


def _moved(
    manifest: Manifest,
    folder: Path,
    edits: list[dict[str, str]] | None = None,
    *,
    variables: Mapping[str, Any] | None = None,
    from_first: bool = False,
) -> list[set[Version]]:
    """The versions that each edit moves, or that variables move."""
    first, *others = (
        _versions(manifest, folder, [{}]) + _versions(manifest, folder, [{}], variables)
        if variables
        else _versions(manifest, folder, [*([] if from_first else [{}]), *(edits or [])])
    )
    return [{version for version in first if other[version] != first[version]} for other in others]


def _versions(
    manifest: Manifest,
    folder: Path,
    edits: list[dict[str, str]],
    variables: Mapping[str, Any] | None = None,
) -> list[dict[Version, str]]:
    """The versions of definitions after each of several edits, by one run of dbt.

    An edit is another text for some models and macros, by unique_id. dbt runs one query that asks
    for all versions again and again; in between the texts are edited where dbt has them.
    """
    versions = _all_versions(manifest)
    asked = "".join(
        "{% do log('TOLD ' ~ definition_version('" + "', '".join(version) + "')) %}"
        for version in versions
    )
    query = "{% if execute %}{% for edit in range(EDITS) %}{% do log('EDIT ' ~ edit) %}".replace(
        "EDITS", str(len(edits))
    )
    query += asked + "{% endfor %}{% endif %}"
    edited = manifest.deepcopy()
    undone: dict[str, str] = {}
    told: list[str] = []

    def on_event(event: Any) -> None:
        if event.info.name != "JinjaLogDebug":
            return
        word, value = event.data.msg.split()
        if word == "TOLD":
            told.append(value)
            return
        for name, text in undone.items():
            _give(edited, name, text)
        undone.clear()
        for name, text in edits[int(value)].items():
            undone[name] = _text(edited, name)
            _give(edited, name, text)

    arguments = ["--project-dir", str(build_step.PROJECT), "--log-level", "none"]
    arguments += ["--profiles-dir", str(build_step.PROJECT / "profiles")]
    arguments += ["--vars", json.dumps(dict(variables or {}))]
    with build_step._environment(folder / "personas.duckdb"):
        result = dbtRunner(manifest=edited, callbacks=[on_event]).invoke(
            ["compile", "--inline", query, *arguments]
        )
    assert result.success, result.exception
    assert len(told) == len(versions) * len(edits)
    return [
        dict(zip(versions, told[start : start + len(versions)], strict=True))
        for start in range(0, len(told), len(versions))
    ]


def _give(manifest: Manifest, name: str, text: str) -> None:
    if name.startswith("macro."):
        manifest.macros[name].macro_sql = text
    else:
        manifest.nodes[name].raw_code = text
        manifest.flat_graph["nodes"][name]["raw_code"] = text


def _text(manifest: Manifest, name: str) -> str:
    if name.startswith("macro."):
        return str(manifest.macros[name].macro_sql)
    return str(manifest.nodes[name].raw_code)


def _edited(text: str) -> str:
    """The same with one more word, which is no comment."""
    return re.sub(r"((\{%-? endmacro -?%\})|$)", r" edited\1", text, count=1)


# --- what is expected -------------------------------------------------------------------------


def _models(manifest: Manifest) -> Iterator[Any]:
    yield from (node for node in manifest.nodes.values() if node.resource_type == "model")


def _goes_by(model: Any) -> Version | None:
    meta = model.config.meta
    if "partition_list" not in meta:
        return None
    return meta["partition_list"], meta.get("partition_version", "input_version")


def _all_versions(manifest: Manifest) -> list[Version]:
    return sorted({version for version in map(_goes_by, _models(manifest)) if version})


def _reaching(manifest: Manifest) -> dict[str, set[Version]]:
    """By the unique_id of each model and macro of the project: the versions that it is part of."""
    lists = {partition_list for partition_list, _ in _all_versions(manifest)}
    reaching: dict[str, set[Version]] = {
        name: set() for name in manifest.macros if name.startswith("macro.viewer_personas.")
    }
    reaching |= {model.unique_id: set() for model in _models(manifest)}

    def reach(name: str, version: Version) -> None:
        if name in reaching and version not in reaching[name]:
            if name.startswith("macro."):
                macro = manifest.macros[name]
                if PATTERN.match(macro.original_file_path):
                    return
                following = macro.depends_on.macros
            else:
                model = manifest.nodes[name]
                if model.name in lists or _goes_by(model) not in (None, version):
                    return
                following = [*model.depends_on.nodes, *model.depends_on.macros]
            reaching[name].add(version)
            for other in following:
                reach(other, version)

    for model in _models(manifest):
        version = _goes_by(model)
        if version:
            reach(model.unique_id, version)
    return reaching


def _naming(manifest: Manifest) -> dict[str, set[Version]]:
    """The versions that each threshold is part of, for those that are part of any."""
    naming: dict[str, set[Version]] = {}
    for name, versions in _reaching(manifest).items():
        for variable in re.findall(r"\bvar\(['\"](\w+)", _text(manifest, name)):
            if versions and not variable.endswith("_fields"):
                naming.setdefault(variable, set()).update(versions)
    return naming
