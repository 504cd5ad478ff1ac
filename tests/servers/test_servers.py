"""The servers and the proxy do what the tests of loading and exporting rely on."""

import gzip
import http.client
import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pymongo
import pytest
from pymongo import errors

from servers import builds
from servers.builds import BuildError, build, build_druid
from servers.faults import (
    Answer,
    Call,
    CutBody,
    CutConnection,
    FaultProxy,
    Request,
    self_signed,
)
from servers.servers import (
    AnswerError,
    DruidServer,
    MongoServer,
    ServerError,
    free_ports,
    start_druid,
    start_mongo,
    wait_for,
)

DAY = "2026-01-01"
TWO_DAYS = "2026-01-01/2026-01-03"


def events(number: int, *, day: str = DAY) -> list[dict[str, Any]]:
    """Rows of one day, all alike but for the user."""
    return [
        {"time": f"{day}T10:00:00Z", "user_id": f"user-{i:06}", "seconds": i} for i in range(number)
    ]


def rows(druid: DruidServer, datasource: str) -> int:
    """How many rows the broker answers with."""
    [row] = druid.sql(f'select count(*) as "rows" from "{datasource}"')
    return int(row["rows"])


# Builds


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for java, javac and mvn, and a cache of the test's own; mvn notes its calls."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("java", "javac", "mvn"):
        script = folder / name
        script.write_text(f'#!/bin/sh\necho called >> "{folder}/{name}.calls"\nmkdir -p lib\n')
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("VIEWER_PERSONAS_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """What a server is built from."""
    folder = tmp_path / "source"
    (folder / "src" / "shared").mkdir(parents=True)
    (folder / "src" / "shared" / "Main.java").write_text("class Main {}")
    (folder / "pom.xml").write_text("<project/>")
    return folder


def calls(tools: Path, name: str) -> int:
    """How often a stand-in was called."""
    path = tools / f"{name}.calls"
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_second_process_waits_for_the_build_of_the_first(
    tools: Path, source: Path, tmp_path: Path
) -> None:
    built = build(source)
    kept = built.rename(tmp_path / "kept")
    ask = f"from servers.builds import *; build(Path({str(source)!r}))"
    lock = tmp_path / "cache" / "source.lock"
    with builds.locked(lock):
        second = subprocess.Popen([sys.executable, "-c", ask], cwd=builds.HERE.parent)
        files = psutil.Process(second.pid).open_files
        wait_for(lambda: str(lock) in {file.path for file in files()}, "the second to ask")
        kept.rename(built)
    assert second.wait() == 0
    assert calls(tools, "mvn") == 1


def test_other_sources_are_another_build(tools: Path, source: Path) -> None:
    first = build(source)
    (source / "src" / "shared" / "Main.java").write_text("class Main { int other; }")
    second = build(source)
    assert first != second
    assert first.is_dir()
    assert build(source) == second
    assert calls(tools, "mvn") == 2


def test_failed_build_says_why_and_leaves_nothing_to_be_taken_for_one(
    tools: Path, source: Path, tmp_path: Path
) -> None:
    working = (tools / "mvn").read_text()
    (tools / "mvn").write_text(working + "echo 'no such artifact'\nexit 1\n")
    with pytest.raises(BuildError, match=r"mvn failed with 1:\n.*no such artifact"):
        build(source)
    assert calls(tools, "mvn") == builds.ATTEMPTS
    (tools / "mvn").write_text(working)
    assert (build(source) / "lib").is_dir()
    assert not list((tmp_path / "cache").glob("*.partial"))


# Druid


def test_rows_replace_their_days_or_are_added(druid: DruidServer, datasource: str) -> None:
    druid.ingest(datasource, events(10) + events(5, day="2026-01-02"))
    assert rows(druid, datasource) == 15
    druid.ingest(datasource, events(3))
    assert rows(druid, datasource) == 8
    druid.ingest(datasource, [{"time": f"{DAY}T11:00:00Z", "country": ""}], append=True)
    [row] = druid.sql(f'select * from "{datasource}" where country is not null')
    assert row == {
        "__time": f"{DAY}T11:00:00.000Z", "user_id": None, "seconds": None, "country": "",
    }  # fmt: skip
    druid.ingest(datasource, events(2), interval=TWO_DAYS)
    assert rows(druid, datasource) == 2


def test_metrics_roll_rows_up(druid: DruidServer, datasource: str) -> None:
    same = [{"time": f"{DAY}T10:00:00Z", "title": "film", "seconds": 30}] * 4
    total = {"type": "longSum", "name": "watched", "fieldName": "seconds"}
    druid.ingest(datasource, same, metrics=[total])
    [row] = druid.sql(f'select title, watched from "{datasource}"')
    assert row == {"title": "film", "watched": 120}


def test_failed_task_says_why(druid: DruidServer, datasource: str) -> None:
    with pytest.raises(ServerError, match="failed: "):
        druid.ingest(datasource, [{"time": "not a time"}])


def test_compaction_makes_other_segments_of_the_same_rows(
    druid: DruidServer, datasource: str
) -> None:
    druid.ingest(datasource, events(3))
    before = druid.available_segments(datasource)
    druid.compact(datasource, f"{DAY}/P1D")
    assert druid.available_segments(datasource) - before
    assert rows(druid, datasource) == 3


def test_load_rules_hide_days_and_dropping_hides_all(druid: DruidServer, datasource: str) -> None:
    druid.ingest(datasource, events(3) + events(4, day="2026-01-02"))
    tier = {"_default_tier": 1}
    rule = {"type": "loadByInterval", "interval": f"{DAY}/P1D", "tieredReplicants": tier}
    druid.set_load_rules(datasource, [rule, {"type": "dropForever"}])
    wait_for(lambda: rows(druid, datasource) == 3, "the second day to be hidden")
    druid.ingest(datasource, events(9, day="2026-01-03"), wait=False)
    assert rows(druid, datasource) == 3
    druid.drop(datasource)
    with pytest.raises(AnswerError, match="not found"):
        rows(druid, datasource)


@pytest.mark.parametrize("suffix", [".json.gz", ".csv"])
def test_files_become_a_datasource(
    druid: DruidServer, datasource: str, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"events{suffix}"
    if suffix == ".csv":
        lines = ["user_id,seconds,time"]
        lines += [f"{row['user_id']},{row['seconds']},{row['time']}" for row in events(1000)]
        path.write_text("\n".join(lines))
    else:
        with gzip.open(path, "wt") as file:
            file.writelines(json.dumps(row) + "\n" for row in events(1000))
    druid.ingest_files(
        datasource, [path], {"time": "varchar", "user_id": "varchar", "seconds": "bigint"}
    )
    [row] = druid.sql(
        f'select count(distinct user_id) as users, sum(seconds) as seconds from "{datasource}"'
    )
    assert row == {"users": 1000, "seconds": 999 * 500}


def test_killed_druid_comes_back_with_its_data(druid: DruidServer, datasource: str) -> None:
    druid.ingest(datasource, events(7))
    segments = druid.available_segments(datasource)
    pid, url = druid.pid, druid.url
    druid.kill()
    assert not psutil.pid_exists(pid)
    druid.start()
    druid.wait_until_available(datasource, segments)
    assert rows(druid, datasource) == 7
    assert druid.url == url


def test_druid_with_a_password_answers_nobody_else_and_leaves_nothing(
    java: None, tmp_path: Path, datasource: str
) -> None:
    with start_druid(tmp_path / "druid", auth=True) as server:
        server.ingest(datasource, events(2))
        assert rows(server, datasource) == 2
        pid, password = server.pid, server.password
        server.password = "another"
        with pytest.raises(AnswerError) as refused:
            server.sql("select 1")
        assert refused.value.status == 401
        server.password = password
    assert not psutil.pid_exists(pid)
    for port in server.ports.values():
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port))


def test_server_ends_with_who_started_it(java: None, tmp_path: Path) -> None:
    start = (
        "from pathlib import Path; from servers.servers import start_mongo; import time\n"
        f"print(start_mongo(Path({str(tmp_path)!r})).pid, flush=True)\n"
        "time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", start], cwd=builds.HERE.parent, stdout=subprocess.PIPE
    ) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        assert psutil.pid_exists(pid)
        starter.send_signal(signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(pid), "the server to end")


def test_druid_ends_when_its_standard_input_closes(java: None, tmp_path: Path) -> None:
    built = build_druid()
    paths = f"{built}/classes/shared{os.pathsep}{built}/lib/*"
    [port] = free_ports(1)
    command = ["java", "-cp", paths, "OneJvm", ".", str(tmp_path / "zookeeper"), str(port), "."]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            with socket.socket() as probe:
                wait_for(lambda: probe.connect_ex(("127.0.0.1", port)) == 0, "ZooKeeper to listen")
            assert process.poll() is None
            process.communicate()  # closes the standard input
        finally:
            process.kill()
    assert process.returncode == 0


# Faults


@pytest.fixture(scope="module")
def films(druid: DruidServer) -> str:
    """A datasource of 5,000 rows, whose gzip answer is more than one piece."""
    name = "films_of_faults"
    druid.ingest(name, events(5000))
    return name


class Client:
    """A client of the proxy that asks for gzip, as a loader does."""

    def __init__(self, url: str, datasource: str, context: ssl.SSLContext | None = None) -> None:
        self.query = {"query": f'select * from "{datasource}"', "resultFormat": "objectLines"}
        self.url = url
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if context:
            handlers.append(urllib.request.HTTPSHandler(context=context))
        self.opener = urllib.request.build_opener(*handlers)

    def open(self, timeout: float = 60) -> http.client.HTTPResponse:
        """The answer, whose body is yet to be read."""
        request = urllib.request.Request(
            f"{self.url}/druid/v2/sql", json.dumps(self.query).encode()
        )
        request.add_header("Content-Type", "application/json")
        request.add_header("Accept-Encoding", "gzip")
        request.add_header("Authorization", "Basic c2VjcmV0")
        answer = self.opener.open(request, timeout=timeout)
        assert isinstance(answer, http.client.HTTPResponse)
        return answer

    def read(self) -> bytes:
        """The whole text of the answer."""
        with self.open() as answer:
            assert answer.getheader("Content-Encoding") == "gzip"
            return gzip.decompress(answer.read())


@pytest.fixture
def client(druid_proxy: FaultProxy, films: str) -> Client:
    """A client of the proxy."""
    return Client(druid_proxy.url, films)


def asks_for_all(request: Request) -> bool:
    """Whether a request is one of the client's queries."""
    return b"select *" in request.body


def test_proxy_passes_on_what_is_not_armed(
    druid: DruidServer, druid_proxy: FaultProxy, client: Client, films: str
) -> None:
    text = client.read()
    assert text == Client(druid.url, films).read()
    assert text.endswith(b"}\n\n")
    assert text.count(b"\n") == 5001
    [request] = druid_proxy.requests
    assert (request.method, request.path) == ("POST", "/druid/v2/sql")
    assert request.json == client.query
    assert request.headers["Authorization"] == "Basic"


def test_cut_at_the_end_of_a_row_looks_whole_but_for_the_blank_line(
    druid_proxy: FaultProxy, client: Client
) -> None:
    druid_proxy.arm(CutBody(after=200_000, at="row end"), when=asks_for_all)
    text = client.read()
    assert 199_000 < len(text) <= 200_000
    assert text.endswith(b"}\n")
    assert client.read().startswith(text)  # the fault was for one request


def test_cut_inside_a_row_ends_with_a_part_of_it(druid_proxy: FaultProxy, client: Client) -> None:
    druid_proxy.arm(CutBody(after=200_000, at="inside row"))
    text = client.read()
    last = text.splitlines()[-1]
    assert last.startswith(b"{")
    assert not last.endswith(b"}")
    assert not text.endswith(b"\n")


def test_cut_connection_is_noticed_by_the_client(druid_proxy: FaultProxy, client: Client) -> None:
    druid_proxy.arm(CutConnection(after=5000))
    with client.open() as answer, pytest.raises(http.client.IncompleteRead) as cut:
        answer.read()
    assert len(cut.value.partial) == 5000


def test_reset_and_refused_connections(druid_proxy: FaultProxy, client: Client) -> None:
    druid_proxy.arm(CutConnection(reset=True))
    druid_proxy.arm(CutConnection())
    druid_proxy.arm(CutConnection(after=5000, reset=True))
    with pytest.raises((ConnectionResetError, urllib.error.URLError), match="reset by peer"):
        client.read()
    with pytest.raises(http.client.RemoteDisconnected):
        client.read()
    with client.open() as answer, pytest.raises(ConnectionResetError):
        answer.read()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_answers_with_an_error_of_druid(
    druid_proxy: FaultProxy, client: Client, status: int
) -> None:
    druid_proxy.arm(Answer(status, {"Retry-After": "1"}), skip=1, times=2)
    assert client.read()
    for _ in range(2):
        with pytest.raises(urllib.error.HTTPError) as refused:
            client.read()
        with refused.value as error:
            assert error.code == status
            assert error.headers["Retry-After"] == "1"
            assert json.load(error)["errorMessage"]
    assert client.read()


def test_answer_is_late_until_it_is_released(druid_proxy: FaultProxy, client: Client) -> None:
    release = threading.Event()
    druid_proxy.arm(Call(release.wait))
    try:
        with pytest.raises(TimeoutError):
            client.open(timeout=0.2)
    finally:
        release.set()


def test_function_is_called_in_the_middle_of_an_answer(
    druid_proxy: FaultProxy, client: Client
) -> None:
    reached, release = threading.Event(), threading.Event()

    def stop_here() -> None:
        reached.set()
        assert release.wait(60)

    druid_proxy.arm(Call(stop_here, after=5000))
    with client.open() as answer:
        start = answer.read(5000)
        assert reached.wait(60)
        release.set()
        text = gzip.decompress(start + answer.read())
    assert text.endswith(b"}\n\n")


def test_fault_that_was_not_met_or_could_not_be_done_is_an_error(
    druid: DruidServer, films: str
) -> None:
    with pytest.raises(AssertionError, match="No request met"), FaultProxy(druid.url) as proxy:
        proxy.arm(Answer(503))
    with pytest.raises(AssertionError, match="found only"), FaultProxy(druid.url) as proxy:
        proxy.arm(CutBody(after=10_000_000))
        Client(proxy.url, films).read()


def test_proxy_with_a_certificate_of_its_own(
    druid: DruidServer, films: str, tmp_path: Path
) -> None:
    certificate = self_signed(tmp_path)
    with FaultProxy(druid.url, certificate=certificate) as proxy:
        assert proxy.url.startswith("https://")
        trusting = ssl.create_default_context(cafile=certificate.file)
        assert Client(proxy.url, films, trusting).read().endswith(b"\n\n")
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            Client(proxy.url, films).read()


# MongoDB


def documents(server: MongoServer, **options: Any) -> Any:
    """A client of the server. The driver's package is needed for it."""
    return pymongo.MongoClient(server.url, serverSelectionTimeoutMS=10_000, **options)


def test_fail_point_breaks_a_chosen_command(mongo: MongoServer, mongo_database: str) -> None:
    with documents(mongo) as client:
        films = client[mongo_database].films
        films.insert_many([{"_id": i} for i in range(10)])
        data = {"failCommands": ["getMore"], "errorCode": 43}
        point = {"configureFailPoint": "failCommand", "mode": {"times": 1}, "data": data}
        client.admin.command(point)
        with pytest.raises(errors.CursorNotFound):
            list(films.find().batch_size(3))
        assert len(list(films.find().batch_size(3))) == 10


def test_replica_set_offers_snapshots_and_a_standalone_does_not(
    mongo: MongoServer, mongo_replica_set: MongoServer, mongo_database: str
) -> None:
    with documents(mongo_replica_set) as client, client.start_session(snapshot=True) as session:
        films = client[mongo_database].films
        films.insert_many([{"_id": i} for i in range(5)])
        client.admin.command("testCommandLog")
        assert len(list(films.find(session=session))) == 5
        assert films.count_documents({}, session=session) == 5
        find, count = client.admin.command("testCommandLog")["commands"]
        assert find == {
            "command": "find", "database": mongo_database, "argument": "films",
            "readConcern": {"level": "snapshot"},
        }  # fmt: skip
        assert count["command"] == "aggregate"
        assert set(count["readConcern"]) == {"level", "atClusterTime"}
        assert client.topology_description.replica_set_name == "films"
    with documents(mongo) as client, client.start_session(snapshot=True) as session:
        with pytest.raises(errors.OperationFailure) as refused:
            list(client[mongo_database].films.find(session=session))
        assert refused.value.code == 123


def test_mongo_with_a_password_answers_nobody_else(java: None, tmp_path: Path) -> None:
    with start_mongo(tmp_path, auth=True) as server:
        with documents(server, username=server.user, password=server.password) as client:
            assert client.service.films.find_one() is None
        for options, code in (
            ({"username": server.user, "password": "wrong"}, 18),
            ({"username": "nobody", "password": server.password}, 18),
            ({}, 13),
        ):
            with documents(server, **options) as client:
                with pytest.raises(errors.OperationFailure) as refused:
                    client.service.films.find_one()
                assert refused.value.code == code
        pid = server.pid
    assert not psutil.pid_exists(pid)
