"""Exporting to Druid, as far as it goes without one: types, SQL, tasks, and the offered files."""

import gzip
import json
import sys
import threading
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
import requests
from typer.testing import CliRunner

from exported import create_database, druid_meta, manifest_of, rows, set_date
from viewer_personas import build as build_step
from viewer_personas.cli.app import app
from viewer_personas.config import DruidExport
from viewer_personas.database.connection import connect
from viewer_personas.druid import Druid, Segment
from viewer_personas.errors import CheckFailed, InputError, PersonasError, Unreachable
from viewer_personas.export import druid as export_step
from viewer_personas.export import files
from viewer_personas.export.druid_tables import (
    Column,
    DruidTable,
    Relation,
    append_task,
    columns_of,
    external,
    replace_sql,
    rows_sql,
)
from viewer_personas.export.druid_tasks import Tasks
from viewer_personas.export.files import FileExport, export_files
from viewer_personas.export.handover import handover, input_source, pieces
from viewer_personas.export.offer import Offer
from viewer_personas.export.publications import (
    ExportSettings,
    Exposure,
    dates_of,
    exposures,
    record,
)

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

DAY = date(2026, 1, 4)


@pytest.fixture(scope="module")
def manifest() -> "Manifest":
    return build_step.parse(Path("service.duckdb"))


def table(**changes: Any) -> DruidTable:
    return DruidTable(**{**druid_meta("user_personas", "user_personas"), **changes})


def exposure_of(columns: str, **changes: Any) -> tuple[duckdb.DuckDBPyConnection, Any]:
    """A connection with one table of these columns, and an exposure of it."""
    connection = duckdb.connect()
    connection.execute("create schema personas")
    connection.execute(f"create table personas.things (as_of_date date, {columns})")
    settings = {"cluster_by": ["user_id"], "reconcile_by": ["user_id"], **changes}
    return connection, Exposure("things_druid", "personas.things", table(**settings))


# --- exposures ------------------------------------------------------------------------------------


def test_exposures_name_columns_of_their_models_and_types_that_can_be_exported(
    manifest: "Manifest",
) -> None:
    found = exposures(manifest, "druid", DruidTable)
    assert {item.settings.datasource for item in found} == {
        "user_personas", "persona_transitions", "churn_risk",
    }  # fmt: skip
    nodes = {f"{node.schema}.{node.name}": node for node in manifest.nodes.values()}
    for item in found:
        columns = nodes[item.table].columns.values()
        declared = ", ".join(f"{column.name} {column.data_type}" for column in columns)
        connection = duckdb.connect()
        connection.execute(f"create schema personas; create table {item.table} ({declared})")
        exported = [column.name for column in columns_of(connection, item)]
        assert sorted(exported) == sorted(column.name for column in columns)
        assert exported[0] == "as_of_date"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"datasource": "a/b"}, "config.meta.export.datasource"),
        ({"cluster_by": []}, "config.meta.export.cluster_by"),
        ({"colour": "red"}, "config.meta.export.colour"),
    ],
)
def test_wrong_settings_of_an_exposure_are_named(changes: dict[str, Any], message: str) -> None:
    meta = {**druid_meta("user_personas", "user_personas"), **changes}
    with pytest.raises(InputError, match=f"exposure personas: {message}"):
        exposures(manifest_of({"personas": ("user_personas", meta)}), "druid", DruidTable)


# --- types ----------------------------------------------------------------------------------------


def test_types_become_what_every_druid_reads() -> None:
    connection, exposure = exposure_of(
        "user_id varchar, small integer, large bigint, ratio double, short_ratio float,"
        " is_new boolean, since date, seen_at timestamp, zoned timestamptz, tags varchar[],"
        " numbers integer[], kind enum ('a', 'b')"
    )
    connection.execute("set TimeZone = 'Europe/Berlin'")
    connection.execute(
        """
        insert into personas.things values
            ('2026-01-04', '', 1, 9007199254740993, 1 / 3, 0.1, true, '2026-01-01',
             '2026-01-01 10:00:00.25', '2026-01-01 10:00:00+01', ['b', 'a'], [2, 1], 'a'),
            ('2026-01-04', null, null, null, null, null, null, null, null, null, null, null, null),
            ('2026-01-05', 'another date', 1, 1, 1, 1, true, null, null, null, [], [], 'b')
        """
    )
    columns = columns_of(connection, exposure)
    assert {column.name: column.druid_type for column in columns} == {
        "as_of_date": "VARCHAR", "user_id": "VARCHAR", "small": "BIGINT", "large": "BIGINT",
        "ratio": "DOUBLE", "short_ratio": "DOUBLE", "is_new": "BIGINT", "since": "VARCHAR",
        "seen_at": "VARCHAR", "zoned": "VARCHAR", "tags": "VARCHAR", "numbers": "VARCHAR",
        "kind": "VARCHAR",
    }  # fmt: skip
    first, second = connection.execute(rows_sql(exposure, columns, DAY)).fetchall()
    assert first == (
        "2026-01-04", "", 1, 9007199254740993, 1 / 3, 0.10000000149011612, 1, "2026-01-01",
        "2026-01-01T10:00:00.250000Z", "2026-01-01T09:00:00.000000Z", ["a", "b"], ["1", "2"], "a",
    )  # fmt: skip
    assert second == ("2026-01-04", *[None] * 12)


@pytest.mark.parametrize(
    ("columns", "changes", "message"),
    [
        ("user_id varchar, cost decimal(10, 2)", {}, r"the column cost .* is DECIMAL\(10,2\)"),
        ("user_id varchar, row struct(a integer)", {}, "the column row"),
        ("user_id varchar, deep integer[][]", {}, "the column deep"),
        ("user_id varchar, __time timestamp", {}, "the column __time"),
        ("user_id varchar", {"cluster_by": ["nobody"]}, "cluster_by: .* has no column nobody"),
        ("user_id varchar[]", {}, "cluster_by: user_id is a list"),
        ("user_id varchar", {"partition_by": "user_id"}, "partition_by: user_id is not a date"),
    ],
)
def test_what_cannot_be_exported_is_named(
    columns: str, changes: dict[str, Any], message: str
) -> None:
    connection, exposure = exposure_of(columns, **changes)
    with pytest.raises(InputError, match=f"exposure things_druid: .*{message}"):
        columns_of(connection, exposure)


# --- SQL and specs --------------------------------------------------------------------------------

COLUMNS = [
    Column("as_of_date", "VARCHAR", "as_of_date"),
    Column('odd"name', "VARCHAR", "odd"),
    Column("number", "BIGINT", "number"),
]


def test_one_statement_replaces_exactly_one_date() -> None:
    relation = external(COLUMNS, {"type": "http", "uris": ["http://host/it's.json.gz"]})
    assert replace_sql(table(cluster_by=['odd"name']), COLUMNS, DAY, relation) == (
        'REPLACE INTO "user_personas" OVERWRITE WHERE'
        " __time >= TIMESTAMP '2026-01-04' AND __time < TIMESTAMP '2026-01-05'\n"
        'SELECT TIME_PARSE("as_of_date") AS "__time", "odd""name", "number"\n'
        "FROM TABLE(EXTERN("
        '\'{"type": "http", "uris": ["http://host/it\'\'s.json.gz"]}\', \'{"type": "json"}\'))'
        ' EXTEND ("as_of_date" VARCHAR, "odd""name" VARCHAR, "number" BIGINT)\n'
        'PARTITIONED BY DAY CLUSTERED BY "odd""name"'
    )


def test_from_a_staging_datasource_only_the_date_is_read() -> None:
    statement = replace_sql(table(), COLUMNS, DAY, Relation('"staging"', '"__time"'))
    assert statement.count("__time >= TIMESTAMP '2026-01-04'") == 2
    assert 'SELECT "__time" AS "__time"' in statement


def test_native_task_appends_one_date_with_the_types_of_the_columns() -> None:
    task = append_task("id", "staging", COLUMNS, date(2026, 1, 31), '{"a": 1}\n')
    spec = task["spec"]
    assert spec["dataSchema"]["granularitySpec"]["intervals"] == ["2026-01-31/2026-02-01"]
    assert spec["dataSchema"]["dimensionsSpec"]["dimensions"] == [
        {"name": 'odd"name', "type": "string"},
        {"name": "number", "type": "long"},
    ]
    assert spec["ioConfig"]["appendToExisting"] is True
    assert spec["ioConfig"]["inputSource"] == {"type": "inline", "data": '{"a": 1}\n'}
    assert spec["tuningConfig"]["logParseExceptions"] is False


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("/shared/1.json.gz", {"type": "local", "files": ["/shared/1.json.gz"]}),
        ("s3://bucket/1.gz", {"type": "s3", "uris": ["s3://bucket/1.gz"]}),
        ("gs://bucket/1.gz", {"type": "google", "uris": ["gs://bucket/1.gz"]}),
        ("az://box/1.gz", {"type": "azure", "uris": ["azure://box/1.gz"]}),
        (
            "abfss://box@account.dfs.core.windows.net/in/1.gz",
            {"type": "azureStorage", "uris": ["azureStorage://account/box/in/1.gz"]},
        ),
        ("hdfs://name:8020/in/1.gz", {"type": "hdfs", "paths": ["hdfs://name:8020/in/1.gz"]}),
    ],
)
def test_input_source_follows_the_scheme(place: str, source: dict[str, Any]) -> None:
    assert input_source([place]) == source


def test_pieces_are_bounded_whole_lines_in_order(tmp_path: Path) -> None:
    lines = [f'{{"number": {number}, "name": "é"}}\n' for number in range(100)]
    lines.insert(50, '{"long": "' + "x" * 500 + '"}\n')
    files = [tmp_path / "1.json", tmp_path / "2.json"]
    files[0].write_text("".join(lines[:70]))
    files[1].write_text("".join(lines[70:]))
    found = list(pieces(files, 200))
    assert "".join(found) == "".join(lines)
    assert all(len(piece.encode()) <= 200 or piece.count("\n") == 1 for piece in found)
    assert list(pieces([], 200)) == []


# --- files that are offered -----------------------------------------------------------------------


@pytest.fixture
def offered_file(tmp_path: Path) -> Path:
    file = tmp_path / "secret-name.json.gz"
    file.write_bytes(gzip.compress(b'{"user_id": "u1"}\n' * 1000))
    return file


def test_only_the_files_that_were_added_can_be_read_and_only_by_their_url(
    offered_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (offered_file.parent / "1.json.gz").write_text("not offered")
    with Offer("127.0.0.1:0") as offer:
        url = offer.add(offered_file)
        base, token, name = url.rsplit("/", 2)
        assert len(token) >= 43 and "secret-name" not in url and name.endswith(".json.gz")
        answer = requests.get(url, timeout=10)
        assert (answer.status_code, answer.content) == (200, offered_file.read_bytes())
        head = requests.head(url, timeout=10)
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["Content-Length"]) == offered_file.stat().st_size
        for wrong in (
            base, f"{base}/", f"{base}/{token}", f"{base}/{token}/", f"{base}/{token}/2.json.gz",
            f"{base}/{token[:-1]}/{name}", f"{base}/{name}", f"{base}/é/{name}",
            f"{base}/{token}/{name}/", f"{base}/{token}/../{token}/{name}x",
            f"{base}/{token}/secret-name.json.gz", f"{url}?all",
        ):  # fmt: skip
            assert requests.get(wrong, timeout=10).status_code == 404, wrong
            assert requests.head(wrong, timeout=10).status_code == 404, wrong
        assert requests.post(url, data=b"x", timeout=10).status_code == 501
        offer.remove(offered_file)
        assert requests.get(url, timeout=10).status_code == 404
        assert offer.hide(f"cannot read {url}") == f"cannot read {base}/…/{name}"
    assert capfd.readouterr() == ("", "")


def test_a_range_begins_where_it_is_asked_to(offered_file: Path) -> None:
    content = offered_file.read_bytes()
    with Offer("127.0.0.1:0") as offer:
        url = offer.add(offered_file)

        def get(value: str) -> requests.Response:
            return requests.get(url, headers={"Range": value}, timeout=10)

        for start in (0, 7):
            answer = get(f"bytes={start}-")
            assert (answer.status_code, answer.content) == (206, content[start:])
            last = len(content) - 1
            assert answer.headers["Content-Range"] == f"bytes {start}-{last}/{len(content)}"
        assert get(f"bytes={len(content)}-").status_code == 416
        assert (get("bytes=0-3").status_code, get("lines=1-").content) == (200, content)


def test_the_server_is_gone_when_the_export_is_over_however_it_ends(offered_file: Path) -> None:
    before = threading.active_count()
    for error in (None, KeyboardInterrupt):
        try:
            with Offer("127.0.0.1:0") as offer:
                url = offer.add(offered_file)
                assert requests.get(url, timeout=10).status_code == 200
                if error:
                    raise error
        except KeyboardInterrupt:
            pass
        with pytest.raises(requests.ConnectionError):
            requests.get(url, timeout=10)
    assert threading.active_count() <= before + 1


def test_two_exports_have_different_tokens_and_the_address_is_the_one_configured() -> None:
    urls = []
    for _ in range(2):
        with Offer("0.0.0.0:0", "https://exporter.example.com:8099/") as offer:
            urls.append(offer.add(Path("1.json.gz")))
    assert all(url.startswith("https://exporter.example.com:8099/") for url in urls)
    assert urls[0] != urls[1]


@pytest.mark.parametrize(
    ("listen", "message"),
    [
        ("8099", "must be HOST:PORT"),
        ("127.0.0.1:port", "must be HOST:PORT"),
        ("0.0.0.0:0", "say as export.druid.address"),
        ("203.0.113.1:0", "cannot listen on 203.0.113.1:0"),
    ],
)
def test_a_server_that_cannot_be_says_what_to_set(listen: str, message: str) -> None:
    with pytest.raises(InputError, match=message), Offer(listen):
        pass


# --- object stores --------------------------------------------------------------------------------


def storage(tmp_path: Path, uri: str) -> tuple[Druid, DruidExport, Path]:
    settings = DruidExport(url="http://127.0.0.1:1", through="storage", storage_uri=uri)
    return Druid(settings, "sources.yml: export.druid", tmp_path), settings, tmp_path


def test_an_object_store_gets_the_files_and_loses_them_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored: dict[str, bytes] = {}

    class Store:
        def put_file(self, file: str, key: str) -> None:
            stored[key] = Path(file).read_bytes()

        def rm(self, root: str, recursive: bool) -> None:
            assert recursive
            for key in [key for key in stored if key.startswith(f"{root}/")]:
                del stored[key]

    fsspec = ModuleType("fsspec")
    parts = SimpleNamespace(url_to_fs=lambda url: (Store(), url.removeprefix("s3://")))
    monkeypatch.setattr(fsspec, "core", parts, raising=False)
    monkeypatch.setitem(sys.modules, "fsspec", fsspec)
    folder = tmp_path / "personas-2026-01-04"
    folder.mkdir()
    file = folder / "data_0.json.gz"
    file.write_bytes(b"rows")
    stored["bucket/exports/of-somebody-else"] = b"stays"
    with handover(*storage(tmp_path, "s3://bucket/exports/")) as (way, _):
        with way.offered(table(), COLUMNS, {DAY: [file]}, {DAY: 1}) as relation_of:
            text = relation_of(DAY).text
        [key] = [key for key in stored if key.endswith("data_0.json.gz")]
        assert stored[key] == b"rows"
        assert f'{{"type": "s3", "uris": ["s3://{key}"]}}' in text
        assert not file.exists()
    assert list(stored) == ["bucket/exports/of-somebody-else"]


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("s3://bucket/exports", r"pip install 'fsspec\[s3\]'"),
        ("ftp://host/exports", "Druid reads nothing from ftp://"),
        ("file:///proc/exports", "cannot write below file:///proc/exports"),
    ],
)
def test_a_storage_that_cannot_be_used_says_what_to_do(
    tmp_path: Path, uri: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(InputError, match=message), handover(*storage(tmp_path, uri)):
        pass


# --- tasks ----------------------------------------------------------------------------------------


class Overlord:
    """As much of the client as tasks need: answers in turn, and what was asked."""

    def __init__(self, statuses: list[Any], report: dict[str, Any] | None = None) -> None:
        self.place = "sources.yml: export.druid"
        self.server = DruidExport(url="http://127.0.0.1:1", attempts=3, first_wait_seconds=0)
        self.statuses = statuses
        self.payload = report or {}
        self.submitted: list[dict[str, Any]] = []
        self.shut_down: list[str] = []
        self.refusal: PersonasError | None = None

    def retrying(self) -> Any:
        return Druid(self.server, self.place, Path()).retrying()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        if path.endswith("/shutdown"):
            self.shut_down.append(path.split("/")[-2])
            return None
        self.submitted.append(body)
        if self.refusal:
            raise self.refusal
        return {"taskId": f"query-{body['context']['sqlQueryId']}"}

    def get(self, path: str) -> Any:
        if path.endswith("/reports"):
            return {"multiStageQuery": {"payload": self.payload}}
        status = self.statuses.pop(0)
        if isinstance(status, BaseException):
            raise status
        return {"status": {"statusCode": status, "errorMsg": "Something: about http://h/token/1"}}

    def tasks(self, timeout_seconds: float = 60) -> Tasks:
        druid: Any = self
        return Tasks(druid, timeout_seconds, lambda text: text.replace("token", "…"))


def failed(code: str, message: str = "no reason") -> dict[str, Any]:
    return {"status": {"errorReport": {"error": {"errorCode": code, "errorMessage": message}}}}


def test_a_task_may_not_write_nothing_or_skip_a_row() -> None:
    overlord = Overlord(["RUNNING", "SUCCESS"])
    overlord.tasks().run_sql("REPLACE …", 5)
    [body] = overlord.submitted
    assert body["context"].items() >= {
        "maxNumTasks": 5, "failOnEmptyInsert": True, "maxParseExceptions": 0, "sqlTimeZone": "UTC",
    }.items()  # fmt: skip
    assert overlord.shut_down == []


def test_a_failed_task_is_one_line_with_the_reason_and_without_the_token() -> None:
    overlord = Overlord(["FAILED"], failed("InsertTimeOutOfBounds", "a\nb http://h/token/1"))
    with pytest.raises(Unreachable) as caught:
        overlord.tasks().run_sql("REPLACE …", 2)
    assert "InsertTimeOutOfBounds: a b http://h/…/1" in str(caught.value)
    assert "the old rows stay" in str(caught.value)
    assert "\n" not in str(caught.value) and "token" not in str(caught.value)
    assert len(overlord.submitted) == 1


def test_a_task_whose_lock_was_taken_is_tried_again_under_another_name() -> None:
    overlord = Overlord(["FAILED", "FAILED", "SUCCESS"], failed("InsertLockPreempted"))
    overlord.tasks().run_sql("REPLACE …", 2)
    assert len({body["context"]["sqlQueryId"] for body in overlord.submitted}) == 3
    overlord = Overlord(["FAILED"] * 3, failed("TaskStartTimeout"))
    with pytest.raises(Unreachable, match="TaskStartTimeout"):
        overlord.tasks().run_sql("REPLACE …", 2)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Unreachable("Druid is away")])
def test_a_task_that_nobody_waits_for_is_shut_down(error: BaseException) -> None:
    overlord = Overlord(["RUNNING", error])
    with pytest.raises(type(error)):
        overlord.tasks().run_sql("REPLACE …", 2)
    assert overlord.shut_down == [f"query-{overlord.submitted[0]['context']['sqlQueryId']}"]


def test_a_task_whose_answer_was_lost_is_shut_down_and_its_url_is_not_told() -> None:
    overlord = Overlord([])
    overlord.refusal = Unreachable("lost: EXTERN(http://h/token/1)")
    with pytest.raises(Unreachable) as caught:
        overlord.tasks().run_sql("REPLACE …", 2)
    assert "token" not in str(caught.value)
    assert overlord.shut_down == [f"query-{overlord.submitted[0]['context']['sqlQueryId']}"]


def test_a_task_that_takes_too_long_is_shut_down() -> None:
    overlord = Overlord(["RUNNING"] * 10)
    with pytest.raises(Unreachable, match="task_timeout_seconds"):
        overlord.tasks(timeout_seconds=0.01).run_sql("REPLACE …", 2)
    assert len(overlord.shut_down) == 1


# --- the export -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end", "is_of_the_day"),
    [
        ("2026-01-04T00:00:00.000Z", "2026-01-05T00:00:00.000Z", True),
        ("2026-01-03T00:00:00.000Z", "2026-01-04T00:00:00.000Z", False),
        ("2026-01-05T00:00:00.000Z", "2026-01-06T00:00:00.000Z", False),
        ("2026-01-04T10:00:00.000Z", "2026-01-04T11:00:00.000Z", True),
        ("2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00.000Z", True),
        ("-146136543-09-08T08:23:32.096Z", "146140482-04-24T15:36:27.903Z", True),
    ],
)
def test_a_segment_is_of_the_days_that_it_overlaps(
    start: str, end: str, is_of_the_day: bool
) -> None:
    segment = Segment("id", start, end, "v", 1, True, True, False, False, 1)
    assert export_step._overlaps(segment, DAY) is is_of_the_day


# --- the command ----------------------------------------------------------------------------------


def message_of(*arguments: str) -> str:
    with pytest.raises(InputError) as caught:
        CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    return str(caught.value)


def test_an_unknown_target_says_which_there_are(tmp_path: Path) -> None:
    database = str(tmp_path / "none.duckdb")
    for command in ("export", "run"):
        message = message_of(command, "--database", database, "--to", "fax")
        assert message == "--to fax: unknown target; choose files or druid"


def test_without_a_druid_in_the_sources_file_the_message_shows_what_to_write(
    tmp_path: Path,
) -> None:
    sources = tmp_path / "sources.yml"
    sources.write_text("events: {driver: files, path: events.csv}\n")
    arguments = ("export", "--to", "druid", "--database", str(tmp_path / "none.duckdb"))
    message = message_of(*arguments, "--sources", str(sources))
    assert str(sources) in message and "export: {druid: {url: " in message
    missing = message_of(*arguments, "--sources", str(tmp_path / "missing.yml"))
    assert "missing.yml: no such file" in missing


# --- the ledger -----------------------------------------------------------------------------------

FILES = {"to": "files", "directory": "p", "partition_by": "as_of_date", "order_by": ["user_id"]}
BOTH = {
    "personas_files": ("user_personas", FILES),
    "personas_druid": ("user_personas", druid_meta("user_personas", "user_personas")),
}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "personas.duckdb"
    create_database(path)
    set_date(path, DAY, {"ann": "binger", "bob": "casual"}, "v1")
    yield path


def publish(database: Path, target: str) -> None:
    """What an export that left everything as the model has it records."""
    kind: type[ExportSettings] = DruidTable if target == "druid" else FileExport
    [exposure] = exposures(manifest_of(BOTH), target, kind)
    with connect(database, read_only=True) as connection:
        dates = dates_of(connection, exposure)
    record(database, [(exposure, dates)])


def ledger(database: Path) -> list[tuple[Any, ...]]:
    return rows(
        database,
        "select exposure, table_version from raw.publications order by published_at",
    )


def state(database: Path) -> set[tuple[Any, ...]]:
    return set(rows(database, "select user_id, persona from raw.published_personas"))


def test_the_last_state_is_that_of_the_last_export_to_any_target(database: Path) -> None:
    publish(database, "files")
    publish(database, "druid")
    assert ledger(database) == [("personas_files", "v1"), ("personas_druid", "v1")]
    set_date(database, DAY, {"ann": "casual"}, "v2")
    publish(database, "druid")
    assert state(database) == {("ann", "casual")}
    # back to what the files have had all along: the state follows, and so does its version
    set_date(database, DAY, {"ann": "binger", "bob": "casual"}, "v1")
    publish(database, "files")
    assert state(database) == {("ann", "binger"), ("bob", "casual")}
    assert ledger(database)[-2:] == [("personas_druid", "v2"), ("personas_files", "v1")]
    publish(database, "files")
    assert len(ledger(database)) == 4


def test_files_and_druid_have_exposures_of_their_own(database: Path, tmp_path: Path) -> None:
    summary = export_files(manifest_of(BOTH), database, tmp_path / "exports")
    assert (summary.to, summary.written, summary.rows) == ("files", 1, 2)
    assert ledger(database) == [("personas_files", "v1")]


@pytest.mark.parametrize("counted", [1, 3])
def test_a_file_with_another_number_of_rows_does_not_take_the_place_of_the_old_one(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: int
) -> None:
    folder = tmp_path / "exports"
    export_files(manifest_of(BOTH), database, folder)
    [before] = folder.rglob("*.parquet")
    content = before.read_bytes()
    set_date(database, DAY, {"ann": "casual", "bob": "casual"}, "v2")
    monkeypatch.setattr(files, "_count", lambda connection, file: counted)
    with pytest.raises(CheckFailed, match=f"{counted} rows were written, .* has 2"):
        export_files(manifest_of(BOTH), database, folder)
    assert not list(folder.rglob("*.writing")) and list(folder.rglob("*.parquet")) == [before]
    assert before.read_bytes() == content
    assert ledger(database) == [("personas_files", "v1")]


def test_json_of_rows_is_what_druid_is_to_read(database: Path, tmp_path: Path) -> None:
    [exposure] = exposures(manifest_of(BOTH), "druid", DruidTable)
    with connect(database, read_only=True) as connection:
        columns = columns_of(connection, exposure)
        query = rows_sql(exposure, columns, DAY)
        connection.execute(f"copy ({query}) to '{tmp_path}/rows.json' (format json)")
    written = [json.loads(line) for line in (tmp_path / "rows.json").read_text().splitlines()]
    assert [row["previous_persona"] for row in written] == [None, ""]
    assert [row["explanation"] for row in written] == ["why\n0", "why\n1"]


def test_an_emptied_model_is_refused_by_both(database: Path, tmp_path: Path) -> None:
    export_files(manifest_of(BOTH), database, tmp_path / "exports")
    with connect(database) as connection:
        connection.execute("delete from personas.user_personas")
    with pytest.raises(CheckFailed, match="is empty"):
        export_files(manifest_of(BOTH), database, tmp_path / "exports")
