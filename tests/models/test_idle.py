"""A build with nothing new touches no partitioned table and runs no test that passed before.

Whatever could make a test end otherwise makes it run again.
"""

import re
import shutil
from collections.abc import Iterator
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import pytest

from histories import CATALOGUE, corrected
from reference.definitions import Event, Vars
from service import PARTITIONS, Service, as_yaml, dates_between
from viewer_personas import build as build_step
from viewer_personas import checks
from viewer_personas.build import BuildSummary
from viewer_personas.database.connection import connect
from viewer_personas.errors import CheckFailed

WARNED = {"event_types_are_known", "data_quality_is_good"}


def events() -> dict[str, Event]:
    days = dates_between(date(2024, 2, 1), date(2024, 5, 20))
    found = {
        f"{user}-{day}": Event(user, content, "play", datetime.combine(day, time(12)), 600)
        for user, content, every in (("dora", "film", 1), ("emil", "other_film", 3))
        for number, day in enumerate(days)
        if number % every == 0
    }
    return {**found, "odd": Event("dora", None, "unheard_of", datetime(2024, 5, 1, 13))}


class Builds:
    """`personas build` of one service, with the tests that each build ran."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.ran: set[str] = set()

    def build(self, variables: Vars | None = None, **options: Any) -> BuildSummary:
        self.ran = set()
        given = as_yaml(variables) if variables else None
        return build_step.build(
            self.service.database, variables=given, report=self._report, **options
        )

    def _report(self, text: str, done: int, total: int) -> None:
        if text.startswith("test "):
            self.ran.add(text.split()[1])

    def ran_of(self, table: str) -> bool:
        return any(table in name for name in self.ran)


def warned(summary: BuildSummary) -> set[str]:
    return {warning.split(":")[0] for warning in summary.warnings}


@pytest.fixture(scope="module")
def singular(project_copy: Path) -> Iterator[None]:
    """The project with the tests that other test files do without."""
    copied = project_copy / "tests" / "singular"
    shutil.copytree(Path(__file__).parents[1] / "singular", copied)
    yield
    shutil.rmtree(copied)


@pytest.fixture(scope="module")
def built_once(tmp_path_factory: pytest.TempPathFactory, singular: None) -> Service:
    """A service with an event of an unknown type, built, and its tests run for the first time."""
    service = Service(tmp_path_factory.mktemp("idle") / "built_once")
    service.write_contents(CATALOGUE)
    service.write_users({"dora": {"timezone": "Europe/Berlin"}})
    service.write_events("all", events())
    service.load()
    summary = Builds(service).build()
    assert summary.checks_unchanged == 0
    assert warned(summary) == WARNED
    return service


@pytest.fixture
def builds(built_once: Service, tmp_path: Path) -> Builds:
    return Builds(built_once.copy(tmp_path / "copied"))


# --- tables ---------------------------------------------------------------------------------------


def test_a_build_with_nothing_new_changes_no_partitioned_table(
    builds: Builds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBT_LOG_PATH", str(tmp_path / "logs"))
    monkeypatch.setenv("DBT_LOG_LEVEL_FILE", "debug")
    assert builds.service.build_by_dbt().partitions_rebuilt == {}
    log = (tmp_path / "logs" / "dbt.log").read_text(encoding="utf-8")
    names = r'"service"\."(\w+)"\."(\w+)"'
    changed = re.findall(
        f"(?:insert into|delete from|create table|alter table|update) {names}", log
    )
    assert not {".".join(name) for name in changed} & {*PARTITIONS, "metrics.partition_ledger"}
    assert ("metrics", "user_days") in re.findall(f"from {names}", log), "it was compared"


def test_rows_deleted_by_hand_come_back_and_their_tests_run(builds: Builds) -> None:
    day = date(2024, 5, 6)
    builds.service.execute(f"delete from metrics.user_days where activity_date = '{day}'")
    summary = builds.build()
    assert builds.service.rebuilt(summary) == {"metrics.user_days": {day}}
    assert builds.ran_of("user_days") and not builds.ran_of("user_content_hours")
    assert builds.service.rows(f"from metrics.user_days where activity_date = '{day}'")


def test_a_new_type_in_a_contract_is_noticed(builds: Builds, edited: "Edited") -> None:
    edited.replace("models/metrics/rollups/user_days.yml", "data_type: bigint", "data_type: double")
    with pytest.raises(CheckFailed, match=r"user_days: .*contract"):
        builds.service.build_by_dbt()


@pytest.mark.proof
def test_a_new_constraint_in_a_contract_makes_the_table_anew(
    builds: Builds, edited: "Edited"
) -> None:
    edited.replace("models/metrics/rollups/user_days.yml", "[{type: not_null}]", "[]", 0)
    rebuilt = builds.service.build_by_dbt().partitions_rebuilt
    assert "metrics.user_days" in rebuilt and "metrics.user_content_hours" not in rebuilt


# --- tests ----------------------------------------------------------------------------------------


def test_only_what_warned_is_run_again_when_nothing_changed(builds: Builds) -> None:
    summary = builds.build()
    assert builds.ran == warned(summary) == WARNED
    unchanged = summary.checks_unchanged
    assert summary.checks_passed == 0 and unchanged > 100

    summary = builds.build(all_tests=True)
    assert (summary.checks_passed, summary.checks_unchanged) == (unchanged, 0)


def test_a_corrected_catalogue_entry_runs_the_tests_of_what_reads_it(builds: Builds) -> None:
    builds.service.write_contents({key: corrected(row) for key, row in CATALOGUE.items()})
    builds.service.load()
    builds.build()
    assert builds.ran_of("title_tags") and builds.ran_of("user_titles")
    assert not builds.ran_of("event_types_interaction") and not builds.ran_of("user_zones")


@pytest.mark.proof
def test_a_test_that_failed_is_run_until_it_passes(builds: Builds, edited: "Edited") -> None:
    edited.replace("seeds/personas.csv", "\ncasual,", "\ngone,")
    for _ in range(2):
        with pytest.raises(CheckFailed, match="casual_is_a_persona"):
            builds.build()
        assert "casual_is_a_persona" in builds.ran
    edited.undo()
    builds.build()
    assert "casual_is_a_persona" in builds.ran and not builds.ran_of("user_days")


@pytest.mark.proof
def test_a_killed_build_leaves_no_test_as_passed(
    builds: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = Event("emil", "film", "play", datetime(2024, 5, 9, 13), 600)
    builds.service.write_events("late", {"late": late})
    builds.service.load()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(build_step, "_record_tests", _killed)
        builds.build()
    assert builds.ran_of("user_days")
    assert builds.service.rebuilt(builds.build()) == {}, "the tables were finished"
    assert builds.ran_of("user_days") and builds.ran_of("everybody_has_one_persona")
    builds.build()
    assert not builds.ran_of("user_days")


@pytest.mark.proof
def test_what_dbt_alone_rebuilt_is_tested_again(builds: Builds) -> None:
    other = Vars(min_watch_seconds=700)
    builds.service.build_only_by_dbt("activity_dates+", variables=other)
    builds.service.build_only_by_dbt("activity_dates+")
    assert builds.service.rebuilt(builds.build()) == {}
    assert builds.ran_of("user_content_days") and not builds.ran_of("user_content_hours")


def _killed(*arguments: Any) -> None:
    raise KeyboardInterrupt


# --- what a test rests on -------------------------------------------------------------------------


def test_vars_and_files_are_part_of_every_state(builds: Builds, edited: "Edited") -> None:
    assert not _moved(builds.service, lambda: None)
    assert _moved(builds.service, lambda: None, Vars(min_watch_seconds=700)) == _all(builds.service)
    for file in (
        "tests/generic/grain.sql",
        "models/metrics/rollups/user_days.sql",
        "macros/formulas/sums.sql",
        "seeds/seeds.yml",
    ):
        moved = _moved(builds.service, lambda file=file: edited.append(file, "\n"))
        assert moved == _all(builds.service), file


@pytest.mark.parametrize(
    ("statement", "moves", "stays"),
    [
        ("update raw.content_fields set genres = []", "title_tags", "user_zones"),
        ("delete from raw.user_fields", "user_zones", "event_types"),
        ("update raw.slices set version = 'other'", "user_days", "title_tags"),
        ("insert into raw.publications (model) values ('x')", "membership_changes", "user_days"),
        (
            "update metrics.partition_ledger set invocation_id = 'other'"
            " where model = 'metrics.user_days'",
            "user_days",
            "user_content_hours",
        ),
        ("update metrics.user_history set timezone = 'UTC'", "user_zones", "event_types"),
        ("delete from metrics.zone_restatements", "zone_restatements", "event_types"),
    ],
)
def test_rows_are_part_of_the_states_of_what_reads_them(
    builds: Builds, statement: str, moves: str, stays: str
) -> None:
    moved = _moved(builds.service, lambda: builds.service.execute(statement))
    assert any(moves in name for name in moved)
    assert not any(name.split(".")[2].startswith(f"columns_hold_{stays}") for name in moved)
    assert moved < _all(builds.service)


def test_a_seed_is_part_of_the_states_of_what_reads_it(builds: Builds, edited: "Edited") -> None:
    moved = _moved(
        builds.service, lambda: edited.replace("seeds/persona_rules.csv", "0.", "0.0", 1)
    )
    assert any("user_personas" in name for name in moved)
    assert not any("user_days" in name for name in moved)


def test_reading_the_same_slices_again_moves_no_state(builds: Builds) -> None:
    statement = "update raw.slices set loaded_at = now(), run_id = 'other'"
    assert not _moved(builds.service, lambda: builds.service.execute(statement))


def _states(service: Service, variables: Vars | None = None) -> checks.States:
    project = build_step.parsed(service.database)
    values = build_step.variables_of(as_yaml(variables) if variables else None)
    inputs = build_step._inputs(service.database, project, values)
    with connect(service.database, read_only=True) as connection:
        return checks.states(connection, project, inputs)


def _moved(service: Service, change: Any, variables: Vars | None = None) -> set[str]:
    before = _states(service)
    change()
    after = _states(service, variables)
    return {name for name in before if after[name] != before[name]}


def _all(service: Service) -> set[str]:
    return set(_states(service))


# --- files that are edited and put back -----------------------------------------------------------


class Edited:
    def __init__(self, project: Path) -> None:
        self.project = project
        self.before: dict[Path, bytes] = {}

    def replace(self, name: str, text: str, by: str, count: int = 1) -> None:
        path = self.project / name
        self._keep(path)
        before = path.read_text()
        assert text in before, f"{name} has no {text}"
        path.write_text(before.replace(text, by, count or -1))

    def append(self, name: str, text: str) -> None:
        path = self.project / name
        self._keep(path)
        path.write_text(path.read_text() + text)

    def undo(self) -> None:
        for path, content in self.before.items():
            path.write_bytes(content)

    def _keep(self, path: Path) -> None:
        self.before.setdefault(path, path.read_bytes())


@pytest.fixture
def edited(project_copy: Path) -> Iterator[Edited]:
    files = Edited(project_copy)
    yield files
    files.undo()
