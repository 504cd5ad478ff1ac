"""Exporting to a real Druid: what queries see, what stays after a failure, and what is recorded."""

import json
import logging
import secrets
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from exported import MODELS, create_database, druid_meta, manifest_of, rows, set_date
from servers.faults import Answer, FaultProxy
from servers.servers import DruidServer, wait_for
from viewer_personas.cli import app as cli
from viewer_personas.config import DruidExport
from viewer_personas.database.connection import connect
from viewer_personas.errors import CheckFailed, InputError, Unreachable
from viewer_personas.export import druid as export_step
from viewer_personas.export import handover
from viewer_personas.export.druid import export_druid
from viewer_personas.export.druid_tables import DruidTable, columns_of
from viewer_personas.export.druid_tasks import Tasks
from viewer_personas.export.guard import Implausible
from viewer_personas.export.publications import ExportSummary, exposures

FIRST, SECOND, THIRD = date(2026, 1, 4), date(2026, 1, 11), date(2026, 1, 14)
VIEWERS = {f"v{number:02}": ("binger", "casual", "regular")[number % 3] for number in range(40)}


class Service:
    """A database with three dates, and exposures of it in datasources of its own."""

    def __init__(
        self, folder: Path, druid: DruidServer, datasource: str, models: tuple[str, ...]
    ) -> None:
        self.folder = folder
        self.druid = druid
        self.names = {model: f"{datasource}_{model}" for model in models}
        self.datasource = self.names["user_personas"]
        self.database = folder / "personas.duckdb"
        self.manifest = manifest_of(
            {
                f"{model}_druid": (model, druid_meta(model, name))
                for model, name in self.names.items()
            }
        )
        create_database(self.database)
        for day in (FIRST, SECOND, THIRD):
            self.set(day, VIEWERS)

    def set(self, day: date, viewers: dict[str, str], version: str = "v1") -> None:
        set_date(self.database, day, viewers, f"{version} of {day}")

    def export(self, accept: bool = False, **settings: Any) -> ExportSummary:
        chosen = {"url": self.druid.url, "timeout_seconds": 60, "first_wait_seconds": 0, **settings}
        file = self.folder / "sources.yml"
        return export_druid(
            self.manifest, self.database, DruidExport(**chosen), file, accept=accept
        )

    def wanted(self, model: str = "user_personas") -> list[dict[str, Any]]:
        """The rows of the model as Druid is to give them."""
        [exposure] = [
            exposure
            for exposure in exposures(self.manifest, "druid", DruidTable)
            if exposure.table == f"personas.{model}"
        ]
        with connect(self.database, read_only=True) as connection:
            columns = columns_of(connection, exposure)
            selected = ", ".join(column.expression for column in columns)
            found = connection.execute(f"select {selected} from {exposure.table}").fetchall()
        names = ["__time", *(column.name for column in columns[1:])]
        return ordered(
            dict(zip(names, [f"{row[0]}T00:00:00.000Z", *map(as_druid, row[1:])], strict=True))
            for row in found
        )

    def there(self, model: str = "user_personas") -> list[dict[str, Any]]:
        """The rows that queries see now."""
        return ordered(self.druid.sql(f'select * from "{self.names[model]}"'))

    def tasks(self) -> int:
        """How many tasks there have been, of all kinds."""
        path = f"/druid/indexer/v1/tasks?datasource={self.datasource}"
        return len(self.druid.request("GET", path))

    def ledger(self) -> list[tuple[Any, ...]]:
        return rows(
            self.database,
            "select exposure, model, as_of_date, table_version, row_count from raw.publications"
            " order by all",
        )


def as_druid(value: Any) -> Any:
    """A multi-value string as SQL gives it: no value is null, and one value is a text."""
    if not isinstance(value, list):
        return value
    return json.dumps(value, separators=(",", ":")) if len(value) > 1 else (value or [None])[0]


def ordered(found: Any) -> list[dict[str, Any]]:
    return sorted(found, key=lambda row: json.dumps(row, sort_keys=True))


@pytest.fixture
def service(tmp_path: Path, druid: DruidServer, datasource: str) -> Service:
    return Service(tmp_path, druid, datasource, ("user_personas",))


# --- what queries see -----------------------------------------------------------------------------


def test_first_export_publishes_all_models_and_the_second_does_nothing(
    tmp_path: Path, druid: DruidServer, datasource: str
) -> None:
    service = Service(tmp_path, druid, datasource, MODELS)
    first = service.export()
    for model in MODELS:
        assert service.there(model) == service.wanted(model)
    assert (first.written, first.unchanged, first.rows) == (9, 0, 3 * 40 * 2 + 3 * 3)
    before = service.tasks(), service.ledger(), service.druid.segments(service.datasource)
    stamp = service.database.stat().st_mtime_ns
    second = service.export()
    assert (second.written, second.unchanged, second.rows) == (0, 9, first.rows)
    assert before == (
        service.tasks(), service.ledger(), service.druid.segments(service.datasource),
    )  # fmt: skip
    assert service.database.stat().st_mtime_ns == stamp, "the database was written to"
    assert [row for row in service.ledger() if row[0] == "churn_risk_druid"] == [
        ("churn_risk_druid", "personas.churn_risk", day, f"v1 of {day}", 40)
        for day in (FIRST, SECOND, THIRD)
    ]
    assert not list(tmp_path.glob("*.tmp")), "rows were left on the disk"


@pytest.mark.parametrize("through", ["http", "storage", "inline"])
def test_every_way_gives_the_rows_of_the_model(service: Service, through: str) -> None:
    shared = service.folder / "shared"
    ways: dict[str, dict[str, Any]] = {
        "http": {},
        "storage": {"storage_uri": shared.as_uri()},
        "inline": {"inline_bytes": 2000},
    }
    assert service.export(through=through, **ways[through]).written == 3
    assert service.there() == service.wanted()
    assert {row["previous_persona"] for row in service.there()} == {None, "", 'it\'s "é" \\'}
    assert not shared.exists() or not list(shared.iterdir())
    assert not staging(service.druid)
    # published by one way, it is known to be there by all others
    assert service.export(through="http").written == 0


def staging(druid: DruidServer) -> list[str]:
    """The segments of staging datasources that are still in use."""
    found = druid.request("GET", "/druid/coordinator/v1/metadata/datasources")
    return [name for name in found if name.startswith("personas_staging_")]


def test_only_the_changed_date_is_replaced_and_queries_see_it_at_once(service: Service) -> None:
    service.export()
    for number in range(3):
        before = service.druid.segments(service.datasource)
        service.set(SECOND, {**VIEWERS, "v00": f"persona_{number}"}, f"change {number}")
        assert service.export().written == 1
        # the old rows answer for a second or two after the task has succeeded
        assert service.there() == service.wanted()
        kept = service.druid.segments(service.datasource) & before
        assert {day for day in (FIRST, SECOND, THIRD) if f"_{day}T" in str(kept)} >= {FIRST, THIRD}
    assert [row[3] for row in service.ledger() if row[2] == SECOND] == [
        "change 0 of 2026-01-11", "change 1 of 2026-01-11", "change 2 of 2026-01-11",
        "v1 of 2026-01-11",
    ]  # fmt: skip


def test_a_date_that_was_dropped_in_druid_is_published_again(service: Service) -> None:
    service.export()
    service.druid.request(
        "POST",
        f"/druid/coordinator/v1/datasources/{service.datasource}/markUnused",
        {"interval": "2026-01-11/2026-01-12"},
    )
    wait_for(lambda: len(service.there()) == 80, "the date to be dropped")
    assert service.export().written == 1
    assert service.there() == service.wanted()


def test_a_date_that_the_model_no_longer_lists_leaves(service: Service) -> None:
    service.export()
    with connect(service.database) as connection:
        for table in ("personas.user_personas", "personas.persona_dates"):
            connection.execute(f"delete from {table} where as_of_date = $1", [THIRD])
        connection.execute(
            "delete from metrics.partition_ledger where partition_date = $1", [THIRD]
        )
    tasks = service.tasks()
    summary = service.export()
    assert (summary.written, summary.unchanged, summary.removed) == (0, 2, 1)
    assert summary.warnings == [
        f"{service.datasource}: the latest date goes back 3 days, from {THIRD} to {SECOND}"
    ]
    assert service.there() == service.wanted()
    assert service.tasks() == tasks
    assert service.export().removed == 0
    # and it comes back if the model lists it again
    service.set(THIRD, VIEWERS)
    assert service.export().written == 1
    assert service.there() == service.wanted()


def test_a_latest_date_in_the_future_is_stopped_unless_it_is_accepted(service: Service) -> None:
    service.export()
    there = service.there()
    service.set(date(2027, 3, 7), VIEWERS)
    with pytest.raises(Implausible, match="latest date leaps 417 days, from 2026-01-14"):
        service.export()
    assert service.there() == there
    assert service.export(accept=True).written == 1
    assert service.there() == service.wanted()


# --- what is refused ------------------------------------------------------------------------------


def test_a_date_with_much_fewer_rows_is_refused_before_anything_is_replaced(
    service: Service,
) -> None:
    service.export()
    before = service.there(), service.ledger(), service.tasks()
    service.set(FIRST, {**VIEWERS, "new": "casual"}, "v2")
    service.set(THIRD, dict(list(VIEWERS.items())[:19]), "v2")
    with pytest.raises(CheckFailed, match=r"2026-01-14: 19 rows instead of 40.*smallest_share"):
        service.export()
    assert (service.there(), service.ledger(), service.tasks()) == before
    assert service.export(smallest_share=0.4).written == 2
    assert service.there() == service.wanted()


def test_nothing_is_never_published(service: Service) -> None:
    service.export()
    before = service.there(), service.ledger(), service.tasks()
    service.set(SECOND, {}, "emptied")
    with pytest.raises(CheckFailed, match="2026-01-11: 0 rows instead of 40"):
        service.export(smallest_share=0)
    with connect(service.database) as connection:
        connection.execute("delete from personas.user_personas")
    with pytest.raises(CheckFailed, match=r"user_personas is empty, but dates .* were exported"):
        service.export(smallest_share=0)
    assert (service.there(), service.ledger(), service.tasks()) == before


def test_a_datasource_that_holds_something_else_is_not_touched(service: Service) -> None:
    service.druid.ingest(service.datasource, [{"time": f"{FIRST}T00:00:00Z", "film": "f1"}])
    with pytest.raises(InputError, match=f"datasource {service.datasource} has no column input_v"):
        service.export()
    assert [row["film"] for row in service.there()] == ["f1"]


def test_a_user_who_may_not_read_the_datasource_does_not_replace_it(
    service: Service, druid_proxy: FaultProxy
) -> None:
    druid_proxy.arm(Answer(403), when=lambda request: b"SELECT COUNT(*) FROM \\" in request.body)
    with pytest.raises(InputError, match="what the user may read"):
        service.export(url=druid_proxy.url)
    assert service.tasks() == 0


# --- what fails -----------------------------------------------------------------------------------


@pytest.fixture
def changed(service: Service) -> Service:
    """A service that is published, and has a changed date."""
    service.export()
    service.set(SECOND, {**VIEWERS, "new": "casual"}, "v2")
    return service


def test_an_address_that_druid_does_not_reach_is_named_and_the_old_rows_stay(
    changed: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = changed.there(), changed.ledger()
    with monkeypatch.context() as patch, pytest.raises(Unreachable) as caught:
        patch.setattr(handover, "_PATIENCE_SECONDS", 0)
        changed.export(address="http://127.0.0.1:1")
    message = str(caught.value)
    assert "nobody has asked for them at http://127.0.0.1:1." in message
    assert "export.druid.address" in message and "\n" not in message
    assert (changed.there(), changed.ledger()) == before
    running = f"/druid/indexer/v1/tasks?datasource={changed.datasource}&state=running"
    wait_for(lambda: not changed.druid.request("GET", running), "the task to be shut down")
    assert changed.export().written == 1


@pytest.mark.parametrize("through", ["http", "inline"])
def test_rows_that_druid_cannot_read_fail_the_task_and_the_old_ones_stay(
    changed: Service, monkeypatch: pytest.MonkeyPatch, through: str
) -> None:
    original = export_step._write

    def broken(*arguments: Any) -> Any:
        files = original(*arguments)
        for paths in files.values():
            paths[0].write_bytes(b"\x1f\x8b no gzip" if through == "http" else b"{no json\n")
        return files

    monkeypatch.setattr(export_step, "_write", broken)
    before = changed.there(), changed.ledger()
    with pytest.raises(Unreachable, match="failed, and the old rows stay") as caught:
        changed.export(through=through)
    assert "\n" not in str(caught.value)
    assert (changed.there(), changed.ledger()) == before
    assert not staging(changed.druid)
    monkeypatch.undo()
    assert changed.export(through=through).written == 1
    assert changed.there() == changed.wanted()


def test_what_is_published_and_not_loaded_is_not_called_done(service: Service) -> None:
    rules = f"/druid/coordinator/v1/rules/{service.datasource}"
    nowhere = [{"type": "loadForever", "tieredReplicants": {"a_tier_that_is_not_there": 1}}]
    service.druid.request("POST", rules, nowhere)
    with pytest.raises(Unreachable, match=r"2026-01-04 is published, but .* not loaded"):
        service.export(timeout_seconds=5)
    assert service.ledger() == []
    service.druid.request("POST", rules, [])
    service.export()
    assert service.there() == service.wanted()
    assert len(service.ledger()) == 3


def test_other_rows_than_those_of_the_model_are_noticed(
    changed: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Tasks.run_sql

    def with_one_row_more(*arguments: Any) -> None:
        original(*arguments)
        extra = {"time": f"{SECOND}T00:00:00Z", "persona": "binger", "input_version": "stray"}
        changed.druid.ingest(changed.datasource, [extra], append=True)

    monkeypatch.setattr(Tasks, "run_sql", with_one_row_more)
    before = changed.ledger()
    with pytest.raises(CheckFailed, match="count 1 rows of input_version stray, persona binger"):
        changed.export(timeout_seconds=5)
    assert changed.ledger() == before
    monkeypatch.undo()
    assert changed.export().written == 1
    assert changed.there() == changed.wanted()


def test_an_export_that_died_before_it_was_recorded_is_recorded_by_the_next(
    changed: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*arguments: Any) -> None:
        raise KeyboardInterrupt

    before = changed.ledger()
    monkeypatch.setattr(export_step, "record", killed)
    with pytest.raises(KeyboardInterrupt):
        changed.export()
    assert changed.ledger() == before
    monkeypatch.undo()
    assert changed.export().written == 0
    assert len(changed.ledger()) == len(before) + 1


def test_a_model_that_is_rebuilt_meanwhile_is_not_published(
    changed: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = export_step._check

    def rebuilt(*arguments: Any) -> Any:
        warnings = original(*arguments)
        changed.set(SECOND, VIEWERS, "v3")
        return warnings

    monkeypatch.setattr(export_step, "_check", rebuilt)
    before = changed.there()
    with pytest.raises(CheckFailed, match="was rebuilt while it was exported"):
        changed.export()
    assert changed.there() == before


# --- the command ----------------------------------------------------------------------------------

PASSWORD = "never-to-be-seen"
TOKEN = "token-that-nobody-may-see-" + "x" * 20


@pytest.fixture
def configured(service: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    """The service with a sources file that has a password, and a token that one can look for."""
    monkeypatch.setattr(cli, "parsed", lambda database: service.manifest)
    monkeypatch.setattr(secrets, "token_urlsafe", lambda length: TOKEN)
    monkeypatch.setenv("DRUID_PASSWORD", PASSWORD)
    return service


def personas_export(service: Service, url: str, more: str = "") -> Result:
    sources = service.folder / "sources.yml"
    sources.write_text(
        "events: {driver: files, path: events.csv}\n"
        f"export: {{druid: {{url: '{url}', user: exporter, password: '${{DRUID_PASSWORD}}',"
        f" timeout_seconds: 60, first_wait_seconds: 0{more}}}}}\n"
    )
    arguments = ["export", "--to", "druid", "--database", str(service.database)]
    return CliRunner().invoke(cli.app, [*arguments, "--sources", str(sources), "--json"])


def test_no_output_and_no_log_holds_the_password_or_the_token(
    configured: Service,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with caplog.at_level(logging.DEBUG):
        done = personas_export(configured, configured.druid.url)
        assert done.exit_code == 0, done.exception
        assert json.loads(done.stdout)["export"]["written"] == 3
        monkeypatch.setattr(handover, "_PATIENCE_SECONDS", 0)
        configured.set(FIRST, {**VIEWERS, "new": "casual"}, "v2")
        failed = personas_export(
            configured, configured.druid.url, ", address: 'http://127.0.0.1:1'"
        )
    assert isinstance(failed.exception, Unreachable) and failed.exception.exit_status == 3
    assert caplog.text, "the test looks at logs"
    shown = [done.output, failed.output, str(failed.exception), caplog.text, *capfd.readouterr()]
    for text in shown:
        assert PASSWORD not in text and TOKEN not in text


def test_a_wrong_password_is_one_line_that_says_what_to_check(
    configured: Service, druid_proxy: FaultProxy
) -> None:
    druid_proxy.arm(Answer(401))
    result = personas_export(configured, druid_proxy.url)
    assert isinstance(result.exception, InputError)
    message = str(result.exception)
    assert "refuses the user exporter (HTTP 401): check user and password" in message
    assert "\n" not in message and PASSWORD not in message
