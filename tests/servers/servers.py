"""Starts, drives and stops real servers on free ports of the loopback interface.

    with start_druid(tmp_path) as druid:
        druid.ingest("events", [{"time": "2026-01-01T10:00:00Z", "user_id": "u1"}])
        druid.sql('select count(*) as "rows" from "events"')

A server belongs to the process that started it: it ends with `stop`, and also when that process is
gone, because our Java mains end when their standard input closes.
"""

import base64
import json
import os
import random
import shutil
import socket
import string
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from servers.builds import build_druid, build_mongo, java_tool

HERE = Path(__file__).parent
DRUID_SERVERS = ("coordinator", "historical", "broker", "indexer", "router")
# Loaded once for each server of the JVM; see OneJvm.java.
OWN_JARS = ("druid-", "guice-servlet-", "jersey-guice-", "calcite-", "avatica-")
# What Druid asks for on Java 17.
DRUID_MODULES = (
    "--add-exports=java.base/jdk.internal.misc=ALL-UNNAMED",
    "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-opens=java.base/java.io=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=jdk.management/com.sun.management.internal=ALL-UNNAMED",
)
# Compiled quickly, and not well. By itself such a JVM has room for 48 MB of code, which the five
# servers fill, and interprets everything that comes after that.
COMPILE_ONCE = ("-XX:TieredStopAtLevel=1", "-XX:ReservedCodeCacheSize=256m")
ETERNITY = "-146136543-09-08T08:23:32.096Z/146140482-04-24T15:36:27.903Z"
# No proxy of the environment: the servers are on this machine.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))

Result = TypeVar("Result")


class ServerError(Exception):
    """A server did not start, or refused what it was asked."""


class AnswerError(ServerError):
    """An HTTP answer that is not a success; `status` and `body` are those of the answer."""

    def __init__(self, status: int, body: str, request: str) -> None:
        super().__init__(f"HTTP {status} to {request}: {body[:2000]}")
        self.status = status
        self.body = body


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens on.

    They are below those that the system gives to outgoing connections: a server that restarts
    must find its port as free as it left it.
    """
    ports: list[int] = []
    while len(ports) < number:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in ports:
            ports.append(port)
    return ports


def wait_for(
    condition: Callable[[], Result], what: str, *, timeout: float = 120, interval: float = 0.05
) -> Result:
    """Ask until the answer is true, and return it; TimeoutError names `what` was waited for."""
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"Waited {timeout:.0f} s for {what}; last answer: {answer!r}")
        time.sleep(interval)
    return answer


class JavaServer:
    """A process of ours with its directory; what Druid and MongoDB have in common."""

    name = "server"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / f"{self.name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)

    def command(self) -> list[str]:
        """The arguments of java."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Whether the server answers and everything it needs is there."""
        raise NotImplementedError

    @property
    def pid(self) -> int:
        """The id of the process."""
        if self.process is None:
            raise ServerError(f"{self.name} is not running")
        return self.process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start the process and return when it is ready."""
        if self.is_running:
            raise ServerError(f"{self.name} is already running")
        java = java_tool("java")
        if java is None:
            raise ServerError("java not found: a JDK 17 is needed")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [java, *self.command()], cwd=self.directory,
                stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        try:
            wait_for(self._is_ready_or_dead, f"{self.name} to be ready")
        except BaseException:
            self.kill()
            raise

    def _is_ready_or_dead(self) -> bool:
        if not self.is_running:
            end = "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])
            raise ServerError(f"{self.name} ended while it started; {self.log} ends:\n{end}")
        return self.is_ready()

    def stop(self) -> None:
        """Ask the process to end and wait for it; after five seconds, end it. May be repeated."""
        if self.process is None:
            return
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        self.kill()

    def kill(self) -> None:
        """End the process at once, as a crash does, and wait until it is gone."""
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process = None

    def restart(self) -> None:
        """Stop and start on the same ports."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


class DruidServer(JavaServer):
    """Druid 27 in one process: router, broker, coordinator with overlord, historical, indexer.

    `url` is the router's, which passes every interface on. Segments, metadata and logs are in the
    directory and stay over a restart.
    """

    name = "druid"

    def __init__(
        self,
        directory: Path,
        *,
        auth: bool = False,
        heap: str = "1536m",
        optimised: bool = False,
    ) -> None:
        super().__init__(directory)
        self.built = build_druid()
        self.heap = heap
        self.optimised = optimised
        self.user = "admin" if auth else None
        self.password = "password-of-admin" if auth else None
        names = (*DRUID_SERVERS, "zookeeper", "derby")
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.url = f"http://127.0.0.1:{self.ports['router']}"
        self._files = count(1)
        self._write_conf()

    def _write_conf(self) -> None:
        """Write the configuration with our ports into the directory."""
        values = {f"{name}_port": str(port) for name, port in self.ports.items()}
        values["password"] = str(self.password)
        conf = self.directory / "conf"
        conf.mkdir(exist_ok=True)
        shutil.copy(HERE / "druid" / "conf" / "log4j2.xml", conf)
        texts = {
            template.stem: string.Template(template.read_text()).substitute(values)
            for template in (HERE / "druid" / "conf").glob("*.properties")
        }
        auth = texts.pop("auth")
        if self.password:
            texts["common"] += auth
        for name, text in texts.items():
            (conf / f"{name}.properties").write_text(text)
        (self.directory / "tmp").mkdir(exist_ok=True)

    def command(self) -> list[str]:
        jars = sorted((self.built / "lib").glob("*.jar"))
        own = [self.built / "classes" / "server", *(j for j in jars if j.name.startswith(OWN_JARS))]
        shared = [self.built / "classes" / "shared", self.directory / "conf"]
        shared += [jar for jar in jars if jar not in own]
        return [
            *DRUID_MODULES,
            "-XX:+UseSerialGC",
            "-XX:+ExitOnOutOfMemoryError",
            "-Xms512m",
            f"-Xmx{self.heap}",
            *(() if self.optimised else COMPILE_ONCE),
            "-XX:MaxDirectMemorySize=1g",
            "-Duser.timezone=UTC",
            "-Dfile.encoding=UTF-8",
            f"-Djava.io.tmpdir={self.directory / 'tmp'}",
            "-Djava.util.logging.manager=org.apache.logging.log4j.jul.LogManager",
            *("-cp", os.pathsep.join(map(str, shared))),
            *("OneJvm", "conf", "data/zookeeper", str(self.ports["zookeeper"])),
            os.pathsep.join(str(path) + ("" if path.suffix else "/") for path in own),
            *DRUID_SERVERS,
        ]

    def is_ready(self) -> bool:
        """Whether SQL answers, the broker sees every server, and a worker waits for tasks."""
        try:
            rows = self.sql("select server_type from sys.servers")
            seen = {row["server_type"] for row in rows}
            workers = self.request("GET", "/druid/indexer/v1/workers")
        except (AnswerError, OSError):
            return False
        return seen >= {*DRUID_SERVERS, "overlord"} and bool(workers)

    def request(self, method: str, path: str, body: Any = None, *, timeout: float = 60) -> Any:
        """Send JSON to the router and return the JSON of the answer, or its text if it is none."""
        request = urllib.request.Request(self.url + path, method=method)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        if self.user:
            token = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            request.add_header("Authorization", f"Basic {token}")
        try:
            with OPENER.open(request, timeout=timeout) as answer:
                text = answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                text = error.read().decode(errors="replace")
            raise AnswerError(error.code, text, f"{method} {path}") from None
        try:
            return json.loads(text)
        except ValueError:
            return text

    def sql(self, query: str, **context: Any) -> list[dict[str, Any]]:
        """The rows of a query. Counts of distinct values are exact unless the context differs."""
        context = {"useApproximateCountDistinct": False, "sqlTimeZone": "UTC"} | context
        rows = self.request("POST", "/druid/v2/sql", {"query": query, "context": context})
        assert isinstance(rows, list)
        return rows

    def segments(self, datasource: str) -> set[str]:
        """The ids of all published segments in use, read from the metadata itself.

        Those are in it that a newer version hides.
        """
        path = f"/druid/coordinator/v1/metadata/datasources/{quoted(datasource)}/segments"
        return set(self.request("POST", path, [ETERNITY]))

    def available_segments(self, datasource: str) -> set[str]:
        """The ids of the segments that the broker can ask."""
        rows = self.sql(
            "select segment_id from sys.segments where is_available = 1"
            f" and datasource = {literal(datasource)}"
        )
        return {row["segment_id"] for row in rows}

    def columns(self, datasource: str) -> set[str]:
        """The columns that the broker knows of a datasource; none when it is unknown."""
        rows = self.sql(
            'select COLUMN_NAME as "name" from INFORMATION_SCHEMA.COLUMNS'
            f" where TABLE_SCHEMA = 'druid' and TABLE_NAME = {literal(datasource)}"
        )
        return {row["name"] for row in rows}

    def ingest(
        self,
        datasource: str,
        rows: Iterable[Mapping[str, Any]],
        *,
        time_column: str = "time",
        granularity: str = "day",
        append: bool = False,
        interval: str | None = None,
        dimensions: Mapping[str, str] | None = None,
        metrics: Sequence[Mapping[str, Any]] = (),
        wait: bool = True,
    ) -> None:
        """Ingest rows by a native batch task, and wait until queries answer with them.

        Without `append`, the rows replace what is in the time chunks that they touch, or, with an
        interval ("2026-01-01/2026-01-03"), everything in it. The time is ISO 8601 text or
        milliseconds. `dimensions` gives columns their type (string, long, double, json); left out,
        it follows from the values. With `metrics` ({"type": "longSum", ...}) rows are rolled up.
        With `wait=False` only the task is waited for, as it must be where a rule lets nothing load.
        """
        folder = self.directory / "ingest" / str(next(self._files))
        folder.mkdir(parents=True)
        stored = list(rows)
        with (folder / "rows.json").open("w") as file:
            file.writelines(json.dumps(row) + "\n" for row in stored)
        aggregated = {name for metric in metrics for name in (metric["name"], metric["fieldName"])}
        if dimensions is None:
            dimensions = types_of(stored, {time_column, *aggregated})
        granularity_spec: dict[str, Any] = {
            "segmentGranularity": granularity,
            "queryGranularity": "none",
            "rollup": bool(metrics),
        }
        if interval:
            granularity_spec["intervals"] = [interval]
        spec = {
            "dataSchema": {
                "dataSource": datasource,
                "timestampSpec": {"column": time_column, "format": "auto"},
                "dimensionsSpec": {
                    "dimensions": [{"name": n, "type": t} for n, t in dimensions.items()]
                },
                "metricsSpec": list(metrics),
                "granularitySpec": granularity_spec,
            },
            "ioConfig": {
                "type": "index_parallel",
                "inputSource": {"type": "local", "baseDir": str(folder), "filter": "*.json"},
                "inputFormat": {"type": "json"},
                "appendToExisting": append,
                "dropExisting": interval is not None and not append,
            },
            "tuningConfig": {"type": "index_parallel", "maxParseExceptions": 0},
        }
        columns = {"__time", *dimensions, *(str(metric["name"]) for metric in metrics)}
        self._change(
            datasource,
            lambda: self.run_task({"type": "index_parallel", "spec": spec}),
            columns if stored else set(),
            wait=wait,
        )
        shutil.rmtree(folder)

    def ingest_files(
        self,
        datasource: str,
        files: Sequence[Path],
        columns: Mapping[str, str],
        *,
        time_column: str = "time",
        granularity: str = "day",
        timeout: float = 1800,
    ) -> None:
        """Replace a datasource by what is in files, and wait until queries answer with it.

        For millions of rows, by the multi-stage query engine: with two files or more, one half is
        read while the other is sorted. The files are JSON lines or CSV with a header (`.csv`), also
        `.gz`. `columns` are the columns of the files with their types in SQL (varchar, bigint,
        double); the time is ISO 8601 text (varchar) or milliseconds (bigint).
        """
        of_csv = {".csv" in path.suffixes for path in files}
        assert len(of_csv) == 1, "CSV and JSON cannot be mixed"
        source = {"type": "local", "files": [str(path.resolve()) for path in files]}
        form = (
            {"type": "csv", "findColumnsFromHeader": True} if True in of_csv else {"type": "json"}
        )
        parse = "millis_to_timestamp" if columns[time_column] == "bigint" else "time_parse"
        stored = [name for name in columns if name != time_column]
        selected = [f"{parse}({identifier(time_column)}) as __time", *map(identifier, stored)]
        query = f"""
            replace into {identifier(datasource)} overwrite all
            select {", ".join(selected)}
            from table(extern({literal(json.dumps(source))}, {literal(json.dumps(form))}))
                extend ({", ".join(f"{identifier(n)} {t}" for n, t in columns.items())})
            partitioned by {granularity}
        """
        context = {"maxNumTasks": 2, "maxParseExceptions": 0, "failOnEmptyInsert": True}

        def task() -> None:
            body = {"query": query, "context": context}
            submitted = self.request("POST", "/druid/v2/sql/task", body)
            self.wait_for_task(str(submitted["taskId"]), timeout=timeout)

        self._change(datasource, task, {"__time", *stored})

    def compact(self, datasource: str, interval: str, *, granularity: str = "day") -> None:
        """Compact the segments of an interval: the same rows in new segments."""
        task = {
            "type": "compact",
            "dataSource": datasource,
            "ioConfig": {
                "type": "compact",
                "inputSpec": {"type": "interval", "interval": interval},
            },
            "granularitySpec": {"segmentGranularity": granularity},
            "tuningConfig": {"type": "index_parallel"},
        }
        self._change(datasource, lambda: self.run_task(task), set())

    def set_load_rules(self, datasource: str, rules: Sequence[Mapping[str, Any]]) -> None:
        """Set which segments are loaded, such as [{"type": "dropForever"}].

        The coordinator follows them a moment later, so a test waits for what it expects. Without
        rules of its own, all of a datasource is loaded.
        """
        self.request("POST", f"/druid/coordinator/v1/rules/{quoted(datasource)}", rules)

    def drop(self, datasource: str) -> None:
        """Mark all segments as unused, and wait until the broker does not know the datasource."""
        self.request("DELETE", f"/druid/coordinator/v1/datasources/{quoted(datasource)}")
        wait_for(
            lambda: not self.available_segments(datasource) and not self.columns(datasource),
            f"{datasource} to be gone",
        )

    def run_task(self, task: Mapping[str, Any]) -> str:
        """Submit a task and wait until it has succeeded; the id of the task."""
        task_id = str(self.request("POST", "/druid/indexer/v1/task", task)["task"])
        self.wait_for_task(task_id)
        return task_id

    def wait_for_task(self, task_id: str, *, timeout: float = 600) -> None:
        """Wait until a task has succeeded; ServerError with its message if it fails."""
        path = f"/druid/indexer/v1/task/{quoted(task_id)}/status"

        def finished() -> Any:
            status = self.request("GET", path)["status"]
            return status if status["statusCode"] != "RUNNING" else None

        status = wait_for(finished, f"task {task_id}", timeout=timeout)
        if status["statusCode"] != "SUCCESS":
            raise ServerError(f"Task {task_id} failed: {status['errorMsg']}; see {self.log}")

    def _change(
        self,
        datasource: str,
        task: Callable[[], object],
        columns: set[str],
        *,
        wait: bool = True,
    ) -> None:
        """Run a task; wait until the broker answers with the segments that it has published.

        That every published segment is available proves nothing: right after a task the broker
        does not know the new ones yet and still answers with the old.
        """
        before = self.segments(datasource)
        task()
        new = self.segments(datasource) - before
        if wait:
            self.wait_until_available(datasource, new, columns)

    def wait_until_available(
        self, datasource: str, segments: set[str], columns: set[str] | None = None
    ) -> None:
        """Wait until queries are answered from these segments, after a start for example.

        The broker finds segments and columns one after the other; a query for a column that it has
        not found yet is refused.
        """
        wait_for(
            lambda: (
                segments <= self.available_segments(datasource)
                and (columns or {"__time"} if segments else set()) <= self.columns(datasource)
            ),
            f"{len(segments)} segments of {datasource} to be available",
        )


def start_druid(
    directory: Path, *, auth: bool = False, heap: str = "1536m", optimised: bool = False
) -> DruidServer:
    """Start a Druid with its data in the directory.

    With `auth` it answers nobody but `user` with `password`. With `optimised` the JVM compiles its
    code fully: it starts and first ingests at half the speed, but is quicker with millions of rows.
    """
    server = DruidServer(directory, auth=auth, heap=heap, optimised=optimised)
    server.start()
    return server


class MongoServer(JavaServer):
    """A server that speaks MongoDB's protocol and keeps everything in memory.

    What it can and cannot do is said in mongo/src/shared/MongoTestServer.java. As it has no data on
    disk, it is empty after a restart.
    """

    name = "mongo"

    def __init__(
        self, directory: Path, *, replica_set: str | None = None, auth: bool = False
    ) -> None:
        super().__init__(directory)
        self.built = build_mongo()
        self.replica_set = replica_set
        self.user = "reader" if auth else None
        self.password = "password-of-reader" if auth else None
        [self.port] = free_ports(1)
        # without name and password, so that a test can give wrong ones
        self.url = f"mongodb://127.0.0.1:{self.port}/"
        if replica_set:
            self.url += f"?replicaSet={replica_set}"

    def command(self) -> list[str]:
        classes = [self.built / "classes" / "shared", self.built / "lib" / "*"]
        command = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx1g"]
        command += ["-cp", os.pathsep.join(map(str, classes)), "MongoTestServer", str(self.port)]
        if self.replica_set:
            command += ["--replica-set", self.replica_set]
        if self.user and self.password:
            command += ["--user", self.user, self.password]
        return command

    def is_ready(self) -> bool:
        """Whether it listens."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def start_mongo(
    directory: Path, *, replica_set: str | None = None, auth: bool = False
) -> MongoServer:
    """Start an empty server: a standalone, or the primary of a replica set of one.

    With `auth` it answers nobody but `user` with `password`.
    """
    server = MongoServer(directory, replica_set=replica_set, auth=auth)
    server.start()
    return server


def types_of(rows: Iterable[Mapping[str, Any]], without: set[str]) -> dict[str, str]:
    """The type of Druid for each column, by its first value that is not null."""
    types: dict[str, str] = {}
    names: dict[str, None] = {}
    for row in rows:
        for name, value in row.items():
            names.setdefault(name)
            if value is None or name in types:
                continue
            if isinstance(value, dict):
                types[name] = "json"
            elif isinstance(value, bool | int):
                types[name] = "long"
            else:
                types[name] = "double" if isinstance(value, float) else "string"
    return {name: types.get(name, "string") for name in names if name not in without}


def identifier(name: str) -> str:
    """A name as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def quoted(text: str) -> str:
    """A name as a part of a path."""
    return urllib.parse.quote(text, safe="")
