"""Events out of a real Druid: the same tables as from files, whole slices or none."""

import json
import logging
import random
import threading
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pydruid.db
import pytest

from servers.faults import (
    Answer,
    Call,
    CutBody,
    CutConnection,
    Fault,
    FaultProxy,
    Request,
    self_signed,
)
from servers.servers import DruidServer, wait_for
from viewer_personas.config import load_sources
from viewer_personas.errors import InputError, Unreachable
from viewer_personas.sources.load import LoadSummary, load

DAYS = [date(2026, 1, day) for day in range(1, 5)]
EVENTS = "plays and clicks"


def events(day: date, number: int, seed: int = 0) -> list[dict[str, Any]]:
    """Events of a day with everything that is odd: nulls, quotes, backslashes, no viewer."""
    drawn = random.Random(f"{day} {seed}")
    return [
        {
            "time": f"{day}T{drawn.randrange(24):02}:{drawn.randrange(60):02}:"
            f"{drawn.randrange(60):02}.{drawn.randrange(1000):03}Z",
            "viewer": None if row % 97 == 0 else f"viewer {drawn.randrange(40)}",
            "asset": drawn.choice([None, "c1", "C:\\", 'é "x"', "line\nend"]),
            "action": drawn.choice(["play", "click"]),
            "seconds": drawn.choice([None, 30.0, 12.345678, -4.0, 1e-3]),
            "device": drawn.choice(["tv", "phone"]),
        }
        for row in range(number)
    ]


class Service:
    """A folder with sources files, and databases that are loaded from them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load_druid(
        self, url: str, datasource: str, *, database: str = "druid", **settings: Any
    ) -> LoadSummary:
        """Load from Druid, with few and quick attempts unless the settings say otherwise."""
        given = {"attempts": 3, "first_wait_seconds": 0.01, "timeout_seconds": 60, **settings}
        columns = {"user_id": "viewer", "content_id": "asset", "event_type": "action"}
        columns |= {"watch_seconds": "seconds"} | (
            {} if "rollup" in given else {"device": "device"}
        )
        source = {"driver": "druid", "url": url, "datasource": datasource, "columns": columns}
        return self._load(source | given, database)

    def load_files(self, rows: list[dict[str, Any]], *, database: str = "files") -> LoadSummary:
        """Load the same events from a file."""
        (self.folder / "events.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        columns = {"user_id": "viewer", "content_id": "asset", "event_type": "action"}
        columns |= {"watch_seconds": "seconds", "occurred_at": "time", "device": "device"}
        source = {"driver": "files", "path": "events.jsonl", "columns": columns}
        return self._load(source, database)

    def _load(self, source: dict[str, Any], database: str) -> LoadSummary:
        sources = self.folder / f"{database}.yml"
        sources.write_text(json.dumps({"events": source}))
        return load(load_sources(sources), self.folder / f"{database}.duckdb")

    def query(self, query: str, database: str = "druid") -> list[tuple[Any, ...]]:
        """The rows of a query of one of the databases."""
        with duckdb.connect(str(self.folder / f"{database}.duckdb"), read_only=True) as connection:
            return connection.execute(query).fetchall()

    def tables(self, database: str = "druid") -> list[list[tuple[Any, ...]]]:
        """All events and all slices, without what says when and how they were read."""
        return [
            self.query(
                "select * replace (unreadable_seconds is not null as unreadable_seconds)"
                " from raw.events order by all",
                database,
            ),
            self.query(
                "select source_date, version, row_count, rejected_count, duplicate_count, is_open"
                " from raw.slices order by all",
                database,
            ),
            self.query("select source_date, reason from raw.rejected_events order by 1", database),
        ]

    def read_again(self) -> set[date]:
        """The days that the last run read."""
        days = self.query(
            "select source_date from raw.slices where run_id ="
            " (select max_by(run_id, loaded_at) from raw.slices)"
        )
        return {day for (day,) in days}


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


@pytest.fixture(scope="module")
def four_days(druid: DruidServer) -> tuple[str, list[dict[str, Any]]]:
    """A datasource that is only read, and its events; the third day has none."""
    rows = [row for day in DAYS if day != DAYS[2] for row in events(day, 1500)]
    druid.ingest(EVENTS, rows)
    return EVENTS, rows


def asks_for_rows(request: Request) -> bool:
    """Whether a request is that for the rows of a slice."""
    wanted = 'SELECT TIMESTAMP_TO_MILLIS("__time") AS "__time"'
    return request.path == "/druid/v2/sql" and request.json["query"].startswith(wanted)


# --- equal to files -----------------------------------------------------------------------------


def test_the_tables_are_those_of_a_load_from_files(
    service: Service, druid: DruidServer, four_days: tuple[str, list[dict[str, Any]]]
) -> None:
    datasource, rows = four_days
    summary = service.load_druid(druid.url, datasource)
    service.load_files(rows)
    assert service.tables("druid") == service.tables("files")
    assert (summary.slices_loaded, summary.slices_changed) == (4, 4)
    assert summary.rejected == sum(row["viewer"] is None for row in rows) > 0
    assert service.query("select row_count from raw.slices where source_date = '2026-01-03'") == [
        (0,)
    ]
    kept = service.query("select row ->> 'action', row ->> 'device' from raw.rejected_events")
    without_viewer = [(row["action"], row["device"]) for row in rows if row["viewer"] is None]
    assert sorted(kept) == sorted(without_viewer)


def test_a_second_load_reads_nothing(
    service: Service, druid: DruidServer, four_days: tuple[str, list[dict[str, Any]]]
) -> None:
    service.load_druid(druid.url, four_days[0])
    assert service.load_druid(druid.url, four_days[0]).slices_loaded == 0


def test_days_before_and_after_those_asked_for_stay(
    service: Service, druid: DruidServer, four_days: tuple[str, list[dict[str, Any]]]
) -> None:
    columns = {"user_id": "viewer", "event_type": "action"}
    settings = {"driver": "druid", "url": druid.url, "datasource": four_days[0], "columns": columns}
    (service.folder / "s.yml").write_text(json.dumps({"events": settings}))
    sources = load_sources(service.folder / "s.yml")
    load(sources, service.folder / "druid.duckdb", since=DAYS[1], until=DAYS[1])
    assert service.query("select source_date from raw.slices") == [(DAYS[1],)]


def test_groups_give_what_user_content_hours_adds_up_from_rows(
    service: Service, druid: DruidServer, four_days: tuple[str, list[dict[str, Any]]]
) -> None:
    datasource, rows = four_days
    service.load_druid(druid.url, datasource, rollup="PT15M")
    service.load_files(rows)
    # the sums of models/metrics/rollups/user_content_hours.sql, for every clock there is: all of
    # them differ from UTC by a multiple of a quarter of an hour
    hours = """
        select user_id, content_id, event_type, time_bucket(interval 15 minutes, occurred_at),
            sum(event_count),
            sum(cast(case when watch_seconds >= 0 then watch_seconds end as decimal(18, 6))),
            min(occurred_at), max(occurred_at)
        from raw.events
        group by all
        order by all
    """
    assert service.query(hours, "druid") == service.query(hours, "files")
    assert service.tables("druid")[2] == service.tables("files")[2]
    fewer = service.query("select count(*) from raw.events", "druid")
    assert fewer < service.query("select count(*) from raw.events", "files")


def test_a_count_and_a_text_of_seconds_are_added_up_in_groups(
    service: Service, druid: DruidServer, datasource: str
) -> None:
    rows = [
        {"time": f"2026-01-01T10:{minute:02}:00Z", "user_id": "ann", "event_type": "play",
         "event_count": 3, "watch_seconds": seconds}
        for minute, seconds in ((1, "30"), (5, "0.5"), (16, "many"), (17, None))
    ]  # fmt: skip
    druid.ingest(datasource, rows)
    for name, settings in (("rows", {}), ("groups", {"rollup": "PT15M"})):
        service._load(
            {"driver": "druid", "url": druid.url, "datasource": datasource, **settings}, name
        )
    sums = (
        "select time_bucket(interval 15 minutes, occurred_at), sum(event_count),"
        " sum(watch_seconds) from raw.events group by 1 order by 1"
    )
    assert service.query(sums, "groups") == service.query(sums, "rows")
    assert [row[1:] for row in service.query(sums, "rows")] == [(6, 30.5), (6, None)]


# --- what changed -------------------------------------------------------------------------------


def test_only_days_that_changed_are_read_and_a_compaction_changes_nothing(
    service: Service, druid: DruidServer, datasource: str
) -> None:
    by_day = {day: events(day, 300) for day in DAYS}

    def everything() -> list[dict[str, Any]]:
        return [row for rows in by_day.values() for row in rows]

    def loaded_as_from_files() -> LoadSummary:
        summary = service.load_druid(druid.url, datasource)
        service.load_files(everything())
        assert service.tables("druid") == service.tables("files")
        return summary

    druid.ingest(datasource, everything())
    loaded_as_from_files()

    late = events(DAYS[1], 20, seed=1)
    druid.ingest(datasource, late, append=True)
    by_day[DAYS[1]] += late
    assert loaded_as_from_files().slices_loaded == 1
    assert service.read_again() == {DAYS[1]}

    by_day[DAYS[2]] = events(DAYS[2], 200, seed=2)
    druid.ingest(datasource, by_day[DAYS[2]], interval=f"{DAYS[2]}/{DAYS[3]}")
    summary = loaded_as_from_files()
    assert (summary.slices_loaded, summary.slices_changed) == (1, 1)
    assert service.read_again() == {DAYS[2]}

    druid.compact(datasource, f"{DAYS[1]}/{DAYS[2]}")
    summary = loaded_as_from_files()
    assert (summary.slices_loaded, summary.slices_changed) == (1, 0)
    assert service.read_again() == {DAYS[1]}


# --- faults -------------------------------------------------------------------------------------


FAULTS: dict[str, Fault] = {
    "cut at a row boundary": CutBody(20_000, "row end"),
    "cut inside a row": CutBody(20_000, "inside row"),
    "connection closed in the body": CutConnection(5_000),
    "connection reset in the body": CutConnection(5_000, reset=True),
    "connection reset before the answer": CutConnection(reset=True),
    "too many queries": Answer(429),
    "an error inside": Answer(500),
    "not there": Answer(503),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_that_passes_changes_nothing(
    service: Service,
    druid_proxy: FaultProxy,
    four_days: tuple[str, list[dict[str, Any]]],
    fault: Fault,
) -> None:
    druid_proxy.arm(fault, when=asks_for_rows, skip=1)
    service.load_druid(druid_proxy.url, four_days[0])
    service.load_files(four_days[1])
    assert service.tables("druid") == service.tables("files")


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_that_stays_leaves_the_slice_as_it_was(
    service: Service,
    druid: DruidServer,
    druid_proxy: FaultProxy,
    four_days: tuple[str, list[dict[str, Any]]],
    fault: Fault,
) -> None:
    service.load_druid(druid_proxy.url, four_days[0])
    before = service.tables()
    # the third day has no rows, so there is nothing to cut
    druid_proxy.arm(
        fault,
        when=lambda request: (
            asks_for_rows(request) and b">= TIMESTAMP '2026-01-03" not in request.body
        ),
        times=1000,
    )
    # with another mapping, every day is read again and would be another one
    columns = {"user_id": "viewer", "event_type": "action"}
    with pytest.raises(Unreachable, match=r"could not be read whole|\(3 attempts\)") as refused:
        service.load_druid(druid_proxy.url, four_days[0], columns=columns)
    assert refused.value.exit_status == 3
    assert service.tables() == before


def test_every_day_that_was_refused_is_named(
    service: Service, druid_proxy: FaultProxy, four_days: tuple[str, list[dict[str, Any]]]
) -> None:
    druid_proxy.arm(
        CutBody(20_000, "row end"),
        when=lambda request: asks_for_rows(request) and b">= TIMESTAMP '2026-01-02" in request.body,
        times=1000,
    )
    with pytest.raises(Unreachable) as refused:
        service.load_druid(druid_proxy.url, four_days[0])
    assert "1 days of plays and clicks could not be read whole" in str(refused.value)
    assert "2026-01-02: " in str(refused.value) and "was cut after" in str(refused.value)
    days = service.query("select source_date from raw.slices order by 1")
    assert [day for (day,) in days] == [DAYS[0], DAYS[2], DAYS[3]]
    druid_proxy.disarm()
    service.load_druid(druid_proxy.url, four_days[0])
    assert service.read_again() == {DAYS[1]}
    service.load_files(four_days[1])
    assert service.tables("druid") == service.tables("files")


def test_an_answer_that_does_not_come_in_time_is_asked_for_again(
    service: Service, druid_proxy: FaultProxy, four_days: tuple[str, list[dict[str, Any]]]
) -> None:
    is_over = threading.Event()
    druid_proxy.arm(Call(is_over.wait, after=5_000), when=asks_for_rows)
    try:
        service.load_druid(druid_proxy.url, four_days[0], timeout_seconds=5)
        service.load_files(four_days[1])
        assert service.tables("druid") == service.tables("files")
        druid_proxy.arm(Call(is_over.wait), when=asks_for_rows, times=1000)
        with pytest.raises(Unreachable, match="timed out"):
            service.load_druid(
                druid_proxy.url, four_days[0], database="other", timeout_seconds=5, attempts=1
            )
    finally:
        is_over.set()


def test_metadata_that_does_not_come_in_time_is_no_endless_wait(
    service: Service, druid_proxy: FaultProxy, four_days: tuple[str, list[dict[str, Any]]]
) -> None:
    is_over = threading.Event()
    druid_proxy.arm(Call(is_over.wait), when=lambda request: b"sys.segments" in request.body)
    try:
        service.load_druid(druid_proxy.url, four_days[0], timeout_seconds=5)
        assert len(service.query("select * from raw.slices")) == 4
    finally:
        is_over.set()


def test_a_list_of_segments_that_was_cut_is_not_taken_for_whole(
    service: Service, druid_proxy: FaultProxy, four_days: tuple[str, list[dict[str, Any]]]
) -> None:
    def lists_segments(request: Request) -> bool:
        return b"sys.segments" in request.body and b"COUNT" not in request.body

    druid_proxy.arm(CutBody(300, "byte"), when=lists_segments)
    service.load_druid(druid_proxy.url, four_days[0])
    service.load_files(four_days[1])
    assert service.tables("druid") == service.tables("files")


def test_a_server_that_restarts_in_the_middle(
    service: Service,
    druid: DruidServer,
    druid_proxy: FaultProxy,
    four_days: tuple[str, list[dict[str, Any]]],
) -> None:
    druid_proxy.arm(Call(druid.restart, after=5_000), when=asks_for_rows)
    service.load_druid(druid_proxy.url, four_days[0], attempts=30, first_wait_seconds=0.5)
    service.load_files(four_days[1])
    assert service.tables("druid") == service.tables("files")


def test_a_server_that_is_away(service: Service, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"^.*events: http://127.0.0.1:9 cannot be reached"):
        service.load_druid("http://127.0.0.1:9", "any")
    assert not (tmp_path / "druid.duckdb").exists()


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"tieredReplicants": {"a tier without servers": 1}}, "are not available"),
        ({"tieredReplicants": {}, "useDefaultTierForNull": False}, "only in deep storage"),
    ],
    ids=["not loaded", "in deep storage only"],
)
def test_a_day_with_segments_missing_is_refused_and_the_others_are_loaded(
    service: Service, druid: DruidServer, datasource: str, rule: dict[str, Any], reason: str
) -> None:
    by_day = {day: events(day, 50) for day in DAYS}
    druid.ingest(datasource, [row for rows in by_day.values() for row in rows])
    service.load_druid(druid.url, datasource)
    before = service.tables()
    rule_of_a_day = {"type": "loadByInterval", "interval": f"{DAYS[1]}/{DAYS[2]}", **rule}
    druid.set_load_rules(datasource, [rule_of_a_day, {"type": "loadForever"}])
    try:
        wait_for(lambda: missing_segments(druid, datasource), "the segment to be gone")
        # what did not change is not read, so it need not be there
        assert service.load_druid(druid.url, datasource).slices_loaded == 0
        druid.ingest(datasource, events(DAYS[1], 5, seed=1), append=True, wait=False)
        late = events(DAYS[0], 5, seed=1)
        druid.ingest(datasource, late, append=True)
        with pytest.raises(Unreachable, match=f"2026-01-02: .*{reason}"):
            service.load_druid(druid.url, datasource)
    finally:
        druid.set_load_rules(datasource, [{"type": "loadForever"}])
    after = service.tables()
    assert [row for row in after[0] if row[-1] != DAYS[0]] == [
        row for row in before[0] if row[-1] != DAYS[0]
    ]
    assert len(after[0]) == len(before[0]) + sum(row["viewer"] is not None for row in late)


def missing_segments(druid: DruidServer, datasource: str) -> bool:
    """Whether a published segment is served by nobody."""
    return bool(
        druid.sql(
            f"select 1 from sys.segments where datasource = '{datasource}'"
            " and is_published = 1 and is_overshadowed = 0 and is_available = 0"
        )
    )


# --- pydruid ------------------------------------------------------------------------------------


def test_why_pydruid_does_not_read_rows(
    druid: DruidServer, druid_proxy: FaultProxy, datasource: str
) -> None:
    rows = [
        {"time": "2026-01-01T00:00:00Z", "user_id": f"u{n}", "asset": "C:\\" if n == 0 else "c"}
        for n in range(500)
    ]
    druid.ingest(datasource, rows)

    def counted(query: str) -> int:
        port = int(druid_proxy.url.rsplit(":", 1)[1])
        cursor = pydruid.db.connect(host="127.0.0.1", port=port, path="/druid/v2/sql/").cursor()
        return len(cursor.execute(query).fetchall())

    healthy = f'select user_id from "{datasource}"'
    assert counted(healthy) == 500
    druid_proxy.arm(CutBody(5_000))
    assert 0 < counted(healthy) < 500, "if it raises now: a cut answer is seen"
    ends_in_backslash = f'select asset, user_id from "{datasource}"'
    assert counted(ends_in_backslash) < 500, "if all are there now: backslashes are read"


# --- messages -----------------------------------------------------------------------------------


PASSWORD = "not-the-password-7391"


def test_wrong_settings_are_named_in_one_line(
    service: Service,
    druid: DruidServer,
    four_days: tuple[str, list[dict[str, Any]]],
) -> None:
    def message(**settings: Any) -> str:
        with pytest.raises(InputError) as refused:
            service.load_druid(druid.url, settings.pop("datasource", EVENTS), **settings)
        assert "\n" not in str(refused.value)
        return str(refused.value)

    assert "events.datasource: there is no datasource plays and click in" in message(
        datasource="plays and click"
    )
    assert "did you mean plays and clicks?" in message(datasource="plays and click")
    wrong = {"user_id": "viewers", "event_type": "action"}
    assert (
        "events.columns.user_id: there is no column viewers in the datasource plays and clicks;"
        " did you mean viewer?" in message(columns=wrong)
    )
    assert "events.ca_file: there is no file" in message(ca_file="nowhere.pem")


def test_a_wrong_password_is_one_line_and_in_no_log(
    service: Service,
    druid_with_login: DruidServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(InputError) as refused:
        service.load_druid(druid_with_login.url, "any", user="admin", password=PASSWORD)
    assert "refuses the user admin (HTTP 401): check user and password" in str(refused.value)
    with pytest.raises(InputError, match=r"refuses a request without a user \(HTTP 401\)"):
        service.load_druid(druid_with_login.url, "any")
    assert PASSWORD not in str(refused.value) + repr(refused.value.__cause__) + caplog.text


def test_the_right_password_opens(
    service: Service, druid_with_login: DruidServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    rows = events(DAYS[0], 50)
    druid_with_login.ingest("events", rows)
    user, password = druid_with_login.user, druid_with_login.password
    service.load_druid(druid_with_login.url, "events", user=user, password=password)
    service.load_files(rows)
    assert service.tables("druid") == service.tables("files")
    assert str(druid_with_login.password) not in caplog.text


def test_a_certificate_of_the_own_authority(
    service: Service, druid: DruidServer, four_days: tuple[str, list[dict[str, Any]]]
) -> None:
    certificate = self_signed(service.folder)
    with FaultProxy(druid.url, certificate=certificate) as proxy:
        service.load_druid(proxy.url, four_days[0], ca_file=certificate.file.name)
        assert len(service.query("select * from raw.slices")) == 4
        with pytest.raises(InputError, match="a certificate that is not trusted: name the file"):
            service.load_druid(proxy.url, four_days[0])
