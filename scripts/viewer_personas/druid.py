"""A Druid client: SQL with complete answers or an error, the JSON APIs, and the segments.

Metadata comes through pydruid. Its cursor is not used for rows: it accepts a truncated answer as
complete, and loses rows after a value that ends in a backslash.
"""

import json
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pydruid.db
import requests
import tenacity
import urllib3

from viewer_personas.config import DruidServer
from viewer_personas.database.sql import literal
from viewer_personas.errors import InputError, Unreachable

Result = TypeVar("Result")

# Temporary answers of a proxy or a busy Druid: too many queries, a server that starts or stops.
_PASSING = (408, 429, 500, 502, 503, 504)
_PIECE_BYTES = 1 << 20


class Passing(Exception):
    """A transient failure, worth a retry.

    `status` is the HTTP status, if there was an answer.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Incomplete(Passing):
    """Druid answered, but incompletely: truncated on the way, or segments were missing."""


@dataclass(frozen=True)
class Segment:
    """One row of sys.segments; `start` and `end` are ISO 8601 in UTC, `size` is in bytes."""

    segment_id: str
    start: str
    end: str
    version: str
    size: int
    is_published: bool
    is_available: bool
    is_realtime: bool
    is_overshadowed: bool
    replication_factor: int

    @property
    def is_missing(self) -> bool:
        """Whether queries should see it but do not."""
        return self.is_published and not self.is_overshadowed and not self.is_available


class Druid:
    """One Druid server, accessed as one user.

    `place` names the settings in messages, such as "sources.yml: events"; `folder` is what the path
    of the CA file is relative to. Nothing is sent before the first call. Every method raises
    `InputError` if Druid refuses the login or the query, and `Unreachable` if it still does not
    answer after all attempts. `stop()` ends the waits of other threads.
    """

    def __init__(self, server: DruidServer, place: str, folder: Path) -> None:
        self.server = server
        self.place = place
        self._stopping = threading.Event()
        self._verify: bool | str = True
        if server.ca_file:
            ca_file = folder / server.ca_file
            if not ca_file.is_file():
                raise InputError(f"{place}.ca_file: there is no file {ca_file}")
            self._verify = str(ca_file)
        self._password = server.password.get_secret_value() if server.password else None

    def stop(self) -> None:
        """Let calls in other threads end as soon as they can, and allow no new ones."""
        self._stopping.set()

    # --- attempts ---------------------------------------------------------------------------------

    def retrying(self) -> tenacity.Retrying:
        """Retry `Passing` errors as often as the settings allow; raises the last one."""
        return tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(Passing),
            stop=tenacity.stop_any(
                tenacity.stop_after_attempt(self.server.attempts),
                tenacity.stop_when_event_set(self._stopping),
            ),
            wait=tenacity.wait_exponential(multiplier=self.server.first_wait_seconds, max=30),
            sleep=tenacity.sleep_using_event(self._stopping),
            reraise=True,
        )

    def repeat(self, call: Callable[[], Result]) -> Result:
        """The result of `call`, retried while it raises `Passing`; finally `Unreachable`."""
        try:
            return self.retrying()(call)
        except Passing as error:
            attempts = f" ({self.server.attempts} attempts)" if self.server.attempts > 1 else ""
            raise Unreachable(f"{self.place}: {error}{attempts}") from error

    # --- SQL --------------------------------------------------------------------------------------

    def rows(self, query: str, context: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """A small answer as a list of rows, column -> value."""

        def ask() -> list[dict[str, Any]]:
            body = _sql(query, self.server.timeout_seconds, context or {})
            with self._request("POST", "/druid/v2/sql", body) as response:
                answer = self._read(response)
            if not answer.endswith(b"\n\n"):
                raise Incomplete(f"the answer of {self.server.url} was cut")
            return [json.loads(line) for line in answer.splitlines() if line]

        return self.repeat(ask)

    def stream(self, query: str, target: Path) -> tuple[Path, int]:
        """Write an answer of any size into a file of JSON lines; returns the file and its rows.

        The file is `target` with .json.gz or .json added, as Druid sent it. One attempt: raises
        `Passing`, and `Incomplete` if the answer is truncated. A complete answer ends in an empty
        line; a clean end of HTTP and gzip proves nothing, because Druid ends a query that failed
        half-way in the same way.
        """
        body = _sql(query, self.server.query_timeout_seconds, {})
        with self._request("POST", "/druid/v2/sql", body) as response, self._inflated():
            is_gzip = response.headers.get("Content-Encoding", "").lower() == "gzip"
            file = target.with_name(target.name + (".json.gz" if is_gzip else ".json"))
            inflate = zlib.decompressobj(zlib.MAX_WBITS | 16) if is_gzip else None
            line_ends, ending, has_rows = 0, b"", False
            with file.open("wb") as written:
                for piece in self._pieces(response):
                    text = inflate.decompress(piece) if inflate else piece
                    line_ends += text.count(b"\n")
                    has_rows = has_rows or text[:1] not in (b"", b"\n")
                    ending = (ending + text[-2:])[-2:]
                    written.write(piece)
        if ending != b"\n\n" or (inflate and not inflate.eof):
            raise Incomplete(f"the answer of {self.server.url} was cut after {line_ends} rows")
        return file, line_ends - 1 if has_rows else 0

    # --- JSON APIs --------------------------------------------------------------------------------

    def get(self, path: str) -> Any:
        """What a JSON API answers; None for an empty answer."""

        def ask() -> Any:
            with self._request("GET", path) as response:
                return _json(self._read(response))

        return self.repeat(ask)

    def post(self, path: str, body: Any) -> Any:
        """What a JSON API answers to a body.

        Retried only if Druid said that it is too busy or not available, never if it may have
        executed the request.
        """

        def ask() -> Any:
            try:
                with self._request("POST", path, body) as response:
                    return _json(self._read(response))
            except Passing as error:
                if error.status in (429, 503):
                    raise
                raise Unreachable(f"{self.place}: {error}") from error

        return self.repeat(ask)

    # --- metadata, through pydruid ----------------------------------------------------------------

    def datasources(self) -> list[str]:
        """The names of the datasources that can be queried, in order."""
        rows = self._metadata("TABLE_NAME", "INFORMATION_SCHEMA.TABLES", "TABLE_SCHEMA = 'druid'")
        return sorted(str(name) for (name,) in rows)

    def columns(self, datasource: str) -> dict[str, str]:
        """The columns of a datasource with their SQL types; empty if it does not exist."""
        rows = self._metadata(
            "COLUMN_NAME, DATA_TYPE",
            "INFORMATION_SCHEMA.COLUMNS",
            f"TABLE_SCHEMA = 'druid' AND TABLE_NAME = {literal(datasource)}",
        )
        return {str(name): str(data_type) for name, data_type in rows}

    def segments(
        self, datasource: str, first: datetime | None = None, last: datetime | None = None
    ) -> list[Segment]:
        """The segments of a datasource, in order; those that overlap [first, last) if given.

        Segments that were dropped or replaced and are still being served are among them.
        """
        where = f"datasource = {literal(datasource)}"
        if first and last:
            # Text compares as time from the year 0 to 9999; a segment of all times begins before.
            where += (
                f" AND (\"start\" < '{iso_time(last)}' AND \"end\" > '{iso_time(first)}'"
                " OR \"start\" LIKE '-%')"
            )
        rows = self._metadata(
            '"segment_id", "start", "end", "version", "size", "is_published",'
            ' "is_available", "is_realtime", "is_overshadowed", "replication_factor"',
            "sys.segments",
            where,
        )
        found = [
            Segment(
                segment_id=str(row[0]),
                start=str(row[1]),
                end=str(row[2]),
                version=str(row[3]),
                size=int(row[4]),
                is_published=bool(row[5]),
                is_available=bool(row[6]),
                is_realtime=bool(row[7]),
                is_overshadowed=bool(row[8]),
                replication_factor=int(row[9]),
            )
            for row in rows
        ]
        return sorted(found, key=lambda segment: segment.segment_id)

    def _metadata(self, columns: str, table: str, where: str) -> list[tuple[Any, ...]]:
        """Rows of a system table, counted too: pydruid does not notice a truncated answer."""

        def ask() -> list[tuple[Any, ...]]:
            # system tables give no row at all if there is nothing to count
            counted = self.rows(f"SELECT COUNT(*) AS n FROM {table} WHERE {where}") or [{"n": 0}]
            rows = self._pydruid(f"SELECT {columns} FROM {table} WHERE {where}")
            if counted[0]["n"] != len(rows):
                raise Incomplete(f"{self.server.url} counts other rows of {table} than it gives")
            return rows

        return self.repeat(ask)

    def _pydruid(self, query: str) -> list[tuple[Any, ...]]:
        """One query by pydruid, in a separate thread, because pydruid has no time-out."""
        url = urlsplit(self.server.url)
        answers: list[list[tuple[Any, ...]] | Exception] = []

        def ask() -> None:
            try:
                connection = pydruid.db.connect(
                    host=url.hostname,
                    port=url.port or (443 if url.scheme == "https" else 80),
                    path=f"{url.path}/druid/v2/sql",
                    scheme=url.scheme,
                    user=self.server.user,
                    password=self._password,
                    context={"timeout": round(self.server.timeout_seconds * 1000)},
                    ssl_verify_cert=self._verify,
                )
                rows = connection.cursor().execute(query).fetchall()
                answers.append([tuple(row) for row in rows])
            except Exception as error:
                answers.append(error)

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(self.server.timeout_seconds)
        if not answers:
            raise Passing(f"{self.server.url} did not answer in {self.server.timeout_seconds:g} s")
        if isinstance(answers[0], Exception):
            raise Passing(f"{self.server.url}: {first_line(str(answers[0]))}") from answers[0]
        return answers[0]

    # --- HTTP -------------------------------------------------------------------------------------

    @contextmanager
    def _request(self, method: str, path: str, body: Any = None) -> Iterator[requests.Response]:
        """A request with login and time-out; maps every failure to one of our errors."""
        auth = (self.server.user, self._password or "") if self.server.user else None
        try:
            with requests.request(
                method,
                self.server.url + path,
                json=body,
                auth=auth,
                headers={"Accept-Encoding": "gzip"},
                verify=self._verify,
                timeout=self.server.timeout_seconds,
                stream=True,
            ) as response:
                if response.status_code >= 400:
                    raise self._refusal(response)
                yield response
        except requests.exceptions.SSLError as error:
            raise InputError(
                f"{self.place}: {self.server.url} has a certificate that is not trusted: name the"
                f" file of its CA as ca_file ({_reason(error)})"
            ) from error
        except requests.RequestException as error:
            raise Passing(f"{self.server.url} cannot be reached: {_reason(error)}") from error

    def _refusal(self, response: requests.Response) -> Exception:
        status, message = response.status_code, _error_message(self._read(response))
        if status in (401, 403):
            who = f"the user {self.server.user}" if self.server.user else "a request without a user"
            return InputError(
                f"{self.place}: {self.server.url} refuses {who} (HTTP {status}): check user and"
                " password, and what the user may read and write"
            )
        text = f"{self.server.url} answers HTTP {status}: {message}"
        if status in _PASSING:
            return Passing(text, status)
        return InputError(f"{self.place}: {text}")

    def _read(self, response: requests.Response) -> bytes:
        """The whole body of a small answer, decoded."""
        try:
            return response.content
        except requests.RequestException as error:
            raise Incomplete(f"{self.server.url} was cut off: {_reason(error)}") from error

    @contextmanager
    def _inflated(self) -> Iterator[None]:
        """An answer that is not valid gzip was damaged on the way."""
        try:
            yield
        except zlib.error as error:
            raise Incomplete(f"the answer of {self.server.url} is damaged: {error}") from error

    def _pieces(self, response: requests.Response) -> Iterator[bytes]:
        """The body as it comes over the wire, a MiB at a time."""
        try:
            for piece in response.raw.stream(_PIECE_BYTES, decode_content=False):
                if self._stopping.is_set():
                    raise Passing("stopped")
                yield piece
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Incomplete(f"{self.server.url} was cut off: {_reason(error)}") from error


def iso_time(moment: datetime) -> str:
    """A time as Druid writes it in its metadata, 2026-01-01T00:00:00.000Z; without a zone, UTC."""
    return moment.replace(tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def first_line(text: str, length: int = 300) -> str:
    """A message of a server in one line."""
    return " ".join(text.split())[:length]


def _sql(query: str, timeout_seconds: float, context: dict[str, Any]) -> dict[str, Any]:
    milliseconds = round(timeout_seconds * 1000)
    return {
        "query": query,
        "resultFormat": "objectLines",
        "context": {"sqlTimeZone": "UTC", "timeout": milliseconds, **context},
    }


def _json(body: bytes) -> Any:
    try:
        return json.loads(body) if body.strip() else None
    except ValueError:
        return body.decode(errors="replace")


def _error_message(body: bytes) -> str:
    """What an error says: Druid's JSON in one of its forms, else the beginning of the text."""
    answer = _json(body)
    if isinstance(answer, dict):
        answer = answer.get("errorMessage") or answer.get("error") or answer
    return first_line(str(answer or "no message"))


def _reason(error: BaseException) -> str:
    """The innermost reason of an error of requests, in one line: the outer ones repeat it."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return first_line(str(error), 200) or type(error).__name__
