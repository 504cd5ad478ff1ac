"""Exporting to files: the manifest, what leaves, and what stops an export."""

import hashlib
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from typer.testing import CliRunner, Result

from exported import create_database, manifest_of, rows, set_date
from viewer_personas.cli import app as cli
from viewer_personas.config import ExportGuard, FilesExport
from viewer_personas.database.connection import connect
from viewer_personas.errors import CheckFailed
from viewer_personas.export import files as files_step
from viewer_personas.export import manifest as manifest_step
from viewer_personas.export.files import export_files
from viewer_personas.export.guard import Implausible
from viewer_personas.export.publications import ExportSummary

FIRST, SECOND, THIRD = date(2026, 1, 4), date(2026, 1, 11), date(2026, 1, 14)
VIEWERS = {f"v{number:02}": ("binger", "casual")[number % 2] for number in range(10)}
NOW = datetime(2026, 1, 15, tzinfo=UTC)


def exposure(directory: str, model: str = "user_personas", order_by: str = "user_id") -> Any:
    meta = {"to": "files", "directory": directory, "partition_by": "as_of_date"}
    return model, {**meta, "order_by": [order_by]}


MANIFEST = manifest_of(
    {"personas_files": exposure("personas"), "risk_files": exposure("risk", "churn_risk")}
)


class Exported:
    """A database with three dates, and the directory that it is exported to."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "personas.duckdb"
        self.directory = folder / "exports"
        create_database(self.database)
        for day in (FIRST, SECOND, THIRD):
            self.set(day)

    def set(self, day: date, viewers: dict[str, str] = VIEWERS, version: str = "v1") -> None:
        set_date(self.database, day, viewers, f"{version} of {day}")

    def withdraw(self, *days: date) -> None:
        """Make the model no longer list these dates."""
        with connect(self.database) as connection:
            for table in (
                "personas.user_personas",
                "personas.churn_risk",
                "personas.persona_dates",
            ):
                connection.execute(f"delete from {table} where as_of_date in $1", [list(days)])
            connection.execute(
                "delete from metrics.partition_ledger where partition_date in $1", [list(days)]
            )

    def export(self, smallest_share: float = 0.5, **options: Any) -> ExportSummary:
        return export_files(
            MANIFEST,
            self.database,
            self.directory,
            settings=FilesExport(smallest_share=smallest_share),
            **{"now": NOW, **options},
        )

    def manifest(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.directory / "manifest.json").read_text())
        return found

    def latest(self) -> str:
        return (self.directory / "latest").read_text()

    def files(self) -> dict[str, bytes]:
        """Every file of the directory except the manifest and `latest`."""
        return {
            path.relative_to(self.directory).as_posix(): path.read_bytes()
            for path in self.directory.rglob("*")
            if path.is_file() and path.name not in ("manifest.json", "latest")
        }

    def listed(self) -> dict[str, dict[str, Any]]:
        """The files of the manifest by path."""
        return {
            file["path"]: file
            for table in self.manifest()["tables"].values()
            for day in table["dates"]
            for file in day["files"]
        }

    def check(self) -> None:
        """The manifest, the files and the model say the same."""
        files, listed = self.files(), self.listed()
        assert files.keys() == listed.keys()
        for path, content in files.items():
            assert listed[path]["sha256"] == hashlib.sha256(content).hexdigest()
            assert listed[path]["bytes"] == len(content)
        for folder, model in (("personas", "user_personas"), ("risk", "churn_risk")):
            table = self.manifest()["tables"][folder]
            counted = rows(
                self.database,
                "select cast(as_of_date as varchar), count(*), max(input_version)"
                f" from personas.{model} group by 1 order by 1",
            )
            assert counted == [
                (day["date"], day["rows"], day["table_version"]) for day in table["dates"]
            ]
            for day in table["dates"]:
                paths = [str(self.directory / file["path"]) for file in day["files"]]
                [(there,)] = duckdb.execute(
                    f"select count(*) from read_parquet({paths})"
                ).fetchall()
                assert there == day["rows"]
            assert table["latest"] == self.manifest()["latest"] == self.latest().strip()
        assert self.latest() == f"{counted[-1][0]}\n"


@pytest.fixture
def exported(tmp_path: Path) -> Exported:
    """Three dates of two tables, as a first export leaves them."""
    service = Exported(tmp_path)
    service.export()
    service.check()
    return service


# --- the manifest ---------------------------------------------------------------------------------


def test_manifest_names_the_versions_and_an_idle_export_changes_no_byte(
    exported: Exported,
) -> None:
    [day, *_] = exported.manifest()["tables"]["personas"]["dates"]
    for name in ("table", "input", "history", "activity", "rules"):
        assert day[f"{name}_version"] == "v1 of 2026-01-04"
    before = {path: path.stat().st_mtime_ns for path in exported.directory.rglob("*")}
    assert exported.export(now=NOW + timedelta(days=1)).written == 0
    assert {path: path.stat().st_mtime_ns for path in exported.directory.rglob("*")} == before


def test_changed_and_new_dates_change_the_manifest(exported: Exported) -> None:
    exported.set(SECOND, {**VIEWERS, "new": "casual"}, "v2")
    exported.set(date(2026, 1, 18))
    summary = exported.export()
    assert (summary.written, summary.unchanged, summary.removed) == (4, 4, 0)
    exported.check()


@pytest.mark.parametrize("damage", ["gone", "cut", "one byte", "no manifest", "no latest"])
def test_what_was_lost_or_damaged_is_restored(exported: Exported, damage: str) -> None:
    before = exported.files(), exported.listed()
    [file, *_] = sorted(exported.directory.rglob("*.parquet"))
    content = file.read_bytes()
    match damage:
        case "gone":
            file.unlink()
        case "cut":
            file.write_bytes(content[:50])
        case "one byte":
            file.write_bytes(content[:20] + bytes([content[20] ^ 1]) + content[21:])
        case "no manifest":
            (exported.directory / "manifest.json").write_text("{")
        case "no latest":
            (exported.directory / "latest").unlink()
    exported.export()
    exported.check()
    assert (exported.files(), exported.listed()) == before


STEPS = ("_write", "settle", "write", "replace", "_remove_others", "record")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("call", [1, 2])
def test_killed_anywhere_the_manifest_names_whole_files_and_the_next_export_heals(
    exported: Exported, monkeypatch: pytest.MonkeyPatch, step: str, call: int
) -> None:
    exported.withdraw(THIRD)
    exported.set(FIRST, {**VIEWERS, "new": "casual"}, "v2")
    exported.set(SECOND, {**VIEWERS, "new": "casual"}, "v2")
    place: Any = {
        "write": manifest_step.FilesManifest, "replace": manifest_step,
    }.get(step, files_step)  # fmt: skip
    original, calls = getattr(place, step), iter(range(1, 100))

    def killed(*arguments: Any, **options: Any) -> Any:
        if next(calls) == call:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    monkeypatch.setattr(place, step, killed)
    if call == 1 or step in ("_write", "settle", "replace", "_remove_others"):
        with pytest.raises(KeyboardInterrupt):
            exported.export()
    files = exported.files()
    for path, file in exported.listed().items():
        [(there,)] = duckdb.execute(
            f"select count(*) from read_parquet('{exported.directory / path}')"
        ).fetchall()
        assert there in (10, 11)  # the old file or the new one, and whole
        # only a file that was being replaced may differ from the manifest
        assert file["sha256"] == hashlib.sha256(files[path]).hexdigest() or there == 11
    assert (exported.directory / "personas" / f"as_of_date={exported.latest().strip()}").exists()
    monkeypatch.undo()
    exported.export()
    exported.check()
    assert rows(exported.database, "select distinct as_of_date from raw.published_personas") in (
        [(FIRST,), (SECOND,)], [(SECOND,), (FIRST,)],
    )  # fmt: skip


def test_a_service_without_any_date_has_an_empty_manifest(tmp_path: Path) -> None:
    service = Exported(tmp_path)
    service.withdraw(FIRST, SECOND, THIRD)
    service.export()
    assert service.manifest()["latest"] is None and service.listed() == {}
    assert not (service.directory / "latest").exists()


# --- what leaves ----------------------------------------------------------------------------------


def test_withdrawn_dates_leave_and_files_of_others_stay(exported: Exported) -> None:
    other = exported.directory / "personas" / "as_of_date=2026-01-14" / "notes.txt"
    other.write_text("of somebody else")
    leftover = exported.directory / "personas" / "as_of_date=2026-01-11" / "user_personas.writing"
    leftover.write_bytes(b"half a file")
    exported.withdraw(THIRD)
    summary = exported.export()
    assert (summary.written, summary.unchanged, summary.removed) == (0, 4, 2)
    assert summary.warnings[0].endswith("goes back 3 days, from 2026-01-14 to 2026-01-11")
    assert other.exists() and not leftover.exists()
    assert not (exported.directory / "risk" / "as_of_date=2026-01-14").exists()
    other.unlink()
    exported.check()


def test_future_dates_are_stopped_and_once_exported_leave_again(exported: Exported) -> None:
    """One event dated 14 months ahead: 27 dates in the future, and the real ones gone."""
    before = exported.files()
    exported.withdraw(FIRST, SECOND)
    future = [date(2027, 3, 7) + timedelta(weeks=week) for week in range(3)]
    for day in future:
        exported.set(day, dict.fromkeys(VIEWERS, "sleeper"))
    exported.withdraw(THIRD)
    with pytest.raises(Implausible, match="latest date leaps 431 days, from 2026-01-14") as caught:
        exported.export()
    assert caught.value.exit_status == 3 and "--accept-changes" in str(caught.value)
    assert exported.files() == before
    exported.export(accept=True)
    exported.check()
    exported.withdraw(*future)
    for day in (FIRST, SECOND, THIRD):
        exported.set(day)
    with pytest.raises(Implausible, match="latest date goes back 431 days"):
        exported.export()
    assert exported.export(accept=True).removed == 6
    exported.check()
    assert exported.files() == before


# --- what stops an export -------------------------------------------------------------------------


def test_a_date_with_much_fewer_rows_is_refused_before_anything_is_written(
    exported: Exported,
) -> None:
    before = exported.files(), exported.manifest()
    exported.set(FIRST, {**VIEWERS, "new": "casual"}, "v2")
    exported.set(THIRD, dict(list(VIEWERS.items())[:4]), "v2")
    with pytest.raises(
        CheckFailed,
        match=r"2026-01-14: 4 rows instead of 10.*export\.files\.smallest_share \(0\.5\)",
    ):
        exported.export()
    assert (exported.files(), exported.manifest()) == before
    assert exported.export(smallest_share=0.4).written == 4
    exported.check()


def test_without_a_manifest_the_files_themselves_are_counted(exported: Exported) -> None:
    (exported.directory / "manifest.json").unlink()
    exported.set(THIRD, dict(list(VIEWERS.items())[:4]), "v2")
    with pytest.raises(CheckFailed, match="2026-01-14: 4 rows instead of 10"):
        exported.export()


def test_an_emptied_date_is_never_exported_and_can_be_dropped(exported: Exported) -> None:
    exported.set(SECOND, {}, "emptied")
    with pytest.raises(CheckFailed, match=r"2026-01-11: 0 rows .* or drop the date there"):
        exported.export(smallest_share=0)
    for file in exported.directory.rglob("as_of_date=2026-01-11/*.parquet"):
        file.unlink()
    exported.export()
    exported.check()


def test_a_table_that_loses_most_of_its_dates_is_refused(exported: Exported) -> None:
    exported.withdraw(FIRST, SECOND)
    with pytest.raises(CheckFailed, match="personas: 1 dates instead of 3"):
        exported.export()
    exported.export(smallest_share=0.3)
    exported.check()


@pytest.mark.parametrize(
    ("days", "elapsed", "warns", "stops"),
    [
        (7, 0, False, False),
        (8, 0, True, False),
        (8, 1, False, False),
        (28, 0, True, False),
        (29, 0, True, True),
        (100, 93, False, False),
        (-1, 0, True, False),
        (-7, 0, True, False),
        (-8, 0, True, True),
    ],
)
def test_how_far_the_latest_date_may_move(
    tmp_path: Path, days: int, elapsed: int, warns: bool, stops: bool
) -> None:
    service = Exported(tmp_path)
    service.withdraw(FIRST, SECOND)
    service.export()
    service.withdraw(THIRD)
    service.set(THIRD + timedelta(days=days))
    later = NOW + timedelta(days=elapsed)
    if stops:
        with pytest.raises(Implausible):
            service.export(now=later)
    assert bool(service.export(now=later, accept=stops).warnings) is warns
    service.check()


# --- the audience of the latest date --------------------------------------------------------------

OTHER = "another build"


def shift(
    service: Exported,
    *,
    change: float,
    deviations: float | None,
    audience: int = 10,
    audience_deviations: float | None = 0,
    version: str = f"v1 of {THIRD}",
) -> None:
    """What personas.persona_shifts says of casual viewers on the latest date."""
    with connect(service.database) as connection:
        connection.execute(
            """
            create or replace table personas.persona_shifts as
            select
                $day as as_of_date, 'casual' as persona, $before as previous_as_of_date,
                5 as viewers, 5 as previous_viewers, $audience as audience,
                10 as previous_audience, 0.5 + $change as share, $change as share_change,
                $deviations::double as deviations,
                $audience_deviations::double as audience_deviations, $version as input_version
            """,
            {
                "day": THIRD,
                "before": SECOND,
                "change": change,
                "deviations": deviations,
                "audience": audience,
                "audience_deviations": audience_deviations,
                "version": version,
            },
        )


@pytest.mark.parametrize(
    ("found", "warns", "stops"),
    [
        ({"change": 0.3, "deviations": None}, False, False),  # no past yet
        ({"change": 0.3, "deviations": 4.0}, False, False),
        ({"change": 0.1, "deviations": 4.1}, True, False),
        ({"change": 0.11, "deviations": 4.1}, True, True),
        ({"change": -0.11, "deviations": -4.1}, True, True),
        ({"change": -0.11, "deviations": -4.1, "version": OTHER}, False, False),
        ({"audience": 20, "audience_deviations": 4.0}, False, False),
        ({"audience": 20, "audience_deviations": 4.1}, True, False),
        ({"audience": 21, "audience_deviations": 4.1}, True, True),
        ({"audience": 4, "audience_deviations": -4.1}, True, True),
    ],
)
def test_a_shift_beyond_chance_warns_and_a_large_one_stops_until_it_is_accepted(
    tmp_path: Path, found: dict[str, Any], warns: bool, stops: bool
) -> None:
    service = Exported(tmp_path)
    shift(service, **{"change": 0.0, "deviations": 0.0, **found})
    if stops:
        with pytest.raises(Implausible, match=r"Nothing was exported: the (share|number) of"):
            service.export()
        assert not service.directory.exists()
    assert bool(service.export(accept=stops).warnings) is warns
    service.check()


def test_a_shift_that_was_accepted_is_not_stopped_again_and_the_limits_are_settings(
    exported: Exported,
) -> None:
    exported.set(THIRD, dict.fromkeys(VIEWERS, "casual"), "v2")
    shift(exported, change=0.5, deviations=9, version=f"v2 of {THIRD}")
    with pytest.raises(Implausible, match=r"share of casual moves by \+50.0% of all viewers"):
        exported.export()
    assert not exported.export(guard=ExportGuard(warn_deviations=10)).warnings
    # published now: until the next weekly date, the date before stays the same
    assert len(exported.export().warnings) == 1


# --- the command ----------------------------------------------------------------------------------


def test_the_command_takes_the_limits_from_the_sources_file_and_insists_when_told(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "parsed", lambda database: MANIFEST)
    sources = tmp_path / "sources.yml"

    def command(*arguments: str) -> Result:
        places = ["--database", str(exported.database), "--sources", str(sources)]
        return CliRunner().invoke(cli.app, ["export", *places, *arguments])

    exported.withdraw(THIRD)
    assert "goes back 3 days" in command().stdout  # there is no sources file
    exported.withdraw(SECOND)
    sources.write_text("export: {guard: {largest_setback_days: 6}}")
    stopped = command()
    assert isinstance(stopped.exception, Implausible) and stopped.exception.exit_status == 3
    assert command("--accept-changes").exit_code == 0
    exported.check()
    exported.set(FIRST, {"v00": "casual"}, "v2")
    assert isinstance(command("--accept-changes").exception, CheckFailed)
    sources.write_text("export: {files: {smallest_share: 0.1}}")
    done = json.loads(command("--json").stdout)["export"]
    assert (done["written"], done["removed"], done["warnings"]) == (2, 0, [])
    exported.check()
