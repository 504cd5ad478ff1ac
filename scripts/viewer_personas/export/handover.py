"""The ways to hand rows from the exporter to Druid: http, storage and inline.

Each is a context manager that is given the files of some dates and gives, for each date, the
relation that Druid reads its rows from. Everything temporary is removed when it ends.
"""

import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from viewer_personas.config import DruidExport
from viewer_personas.database.sql import quoted
from viewer_personas.druid import Druid
from viewer_personas.errors import InputError, PersonasError, Unreachable
from viewer_personas.export.druid_tables import (
    Column,
    DruidTable,
    Relation,
    append_task,
    external,
    interval,
)
from viewer_personas.export.druid_tasks import Tasks, waits
from viewer_personas.export.offer import Offer

Files = Mapping[date, list[Path]]
Relations = Callable[[date], Relation]

_PATIENCE_SECONDS = 60
"""How long a worker may run without asking for a file."""


class Handover(Protocol):
    """One of the three ways. Files go below `folder`, compressed with gzip if so."""

    folder: Path
    is_compressed: bool

    def offered(
        self, settings: DruidTable, columns: list[Column], files: Files, rows: Mapping[date, int]
    ) -> AbstractContextManager[Relations]:
        """Make the rows of the dates readable for Druid, for as long as `with` goes."""
        ...

    def stuck(self, task_id: str) -> str | None:
        """Why a running task will not get its rows, as soon as that is known."""
        ...

    def hide(self, text: str) -> str:
        """The text without the secrets that give access to the rows."""
        ...


@contextmanager
def handover(druid: Druid, settings: DruidExport, folder: Path) -> Iterator[tuple[Handover, Tasks]]:
    """The way that the settings name, and its tasks; `folder` is for temporary files.

    Raises `InputError` if the settings do not work on this machine.
    """
    if settings.through == "http":
        with Offer(settings.listen, settings.address) as offer:
            tasks = Tasks(druid, settings.task_timeout_seconds, offer.hide)
            yield ThroughHttp(offer, folder, tasks), tasks
        return
    tasks = Tasks(druid, settings.task_timeout_seconds, lambda text: text)
    if settings.through == "inline":
        yield Inline(druid, settings.inline_bytes, folder, tasks), tasks
        return
    with _storage(settings.storage_uri or "", folder) as storage:
        yield storage, tasks


# --- http -----------------------------------------------------------------------------------------


class ThroughHttp:
    """Druid reads the files from a server that the exporter runs."""

    is_compressed = True

    def __init__(self, offer: Offer, folder: Path, tasks: Tasks) -> None:
        self.folder = folder
        self._offer = offer
        self._tasks = tasks
        self._reading_since: float | None = None

    @contextmanager
    def offered(
        self, settings: DruidTable, columns: list[Column], files: Files, rows: Mapping[date, int]
    ) -> Iterator[Relations]:
        """Offer the files."""
        uris = {day: [self._offer.add(file) for file in paths] for day, paths in files.items()}
        try:
            yield lambda day: external(columns, {"type": "http", "uris": uris[day]})
        finally:
            for paths in files.values():
                for path in paths:
                    self._offer.remove(path)

    def stuck(self, task_id: str) -> str | None:
        """Druid tries an unreachable address for minutes; the exporter notices earlier.

        It is enough that anything was ever requested: an address that worked once is right.
        """
        if self._offer.is_asked:
            return None
        report = self._tasks.report(task_id)
        phases = {stage.get("phase") for stage in report.get("stages", [])}
        if report.get("status", {}).get("pendingTasks") != 0 or "READING_INPUT" not in phases:
            return None
        now = time.monotonic()
        self._reading_since = self._reading_since or now
        if now - self._reading_since < _PATIENCE_SECONDS:
            return None
        return (
            f"Druid does not get to the rows: nobody has asked for them at {self._offer.address}."
            " Nothing was replaced. Set export.druid.address (and listen) to where Druid's workers"
            " reach this machine, or through: storage, or through: inline"
        )

    def hide(self, text: str) -> str:
        """Without the token."""
        return self._offer.hide(text)


# --- storage --------------------------------------------------------------------------------------


@contextmanager
def _storage(uri: str, folder: Path) -> Iterator[Handover]:
    """Files below a storage URI, in a separate folder that is removed at the end."""
    name = f"personas-export-{secrets.token_hex(8)}"
    if urlsplit(uri).scheme == "file":
        target = Path(unquote(urlsplit(uri).path)) / name
        try:
            target.mkdir(parents=True)
        except OSError as error:
            raise InputError(
                f"export.druid.storage_uri: cannot write below {uri}: {error.strerror or error}"
            ) from error
        try:
            yield InStorage(target, lambda file: str(file))
        finally:
            shutil.rmtree(target, ignore_errors=True)
        return
    store = f"{uri.rstrip('/')}/{name}"
    input_source([store])  # an unknown scheme is an error before anything is written
    try:
        import fsspec
    except ImportError:
        raise InputError(
            f"export.druid.storage_uri: {uri} needs fsspec and its package for"
            f" {urlsplit(uri).scheme}: pip install 'fsspec[{urlsplit(uri).scheme}]'"
        ) from None
    try:
        system, root = fsspec.core.url_to_fs(store)
    except (ImportError, ValueError) as error:
        raise InputError(f"export.druid.storage_uri: {uri}: {error}") from error

    def upload(file: Path) -> str:
        part = f"{file.parent.name}-{file.name}"
        try:
            system.put_file(str(file), f"{root}/{part}")
        except Exception as error:  # each store has its own errors
            raise Unreachable(
                f"export.druid.storage_uri: cannot write below {uri}: {error}"
            ) from error
        file.unlink()
        return f"{store}/{part}"

    try:
        yield InStorage(folder, upload)
    finally:
        with suppress(Exception):
            system.rm(root, recursive=True)


class InStorage:
    """Druid reads the files from a directory or an object store that both reach."""

    is_compressed = True

    def __init__(self, folder: Path, place: Callable[[Path], str]) -> None:
        self.folder = folder
        self._place = place

    @contextmanager
    def offered(
        self, settings: DruidTable, columns: list[Column], files: Files, rows: Mapping[date, int]
    ) -> Iterator[Relations]:
        """Put the files where Druid reads them."""

        def relation(day: date) -> Relation:
            return external(columns, input_source([self._place(file) for file in files[day]]))

        yield relation

    def stuck(self, task_id: str) -> str | None:
        """Druid says at once what it cannot read."""
        return None

    def hide(self, text: str) -> str:
        """There are no secrets to hide."""
        return text


def input_source(places: list[str]) -> dict[str, Any]:
    """Druid's input source for files of one kind: paths, or URIs of an object store.

    Raises `InputError` for a scheme that Druid does not read.
    """
    parts = urlsplit(places[0])
    match parts.scheme:
        case "":
            return {"type": "local", "files": places}
        case "s3":
            return {"type": "s3", "uris": places}
        case "gs":
            return {"type": "google", "uris": places}
        case "az":
            return {"type": "azure", "uris": [f"azure{uri.removeprefix('az')}" for uri in places]}
        case "abfs" | "abfss":
            # container@account.dfs.core.windows.net/path -> account/container/path
            account = (parts.hostname or "").split(".")[0]
            return {
                "type": "azureStorage",
                "uris": [
                    f"azureStorage://{account}/{parts.username}{urlsplit(uri).path}"
                    for uri in places
                ],
            }
        case "hdfs":
            return {"type": "hdfs", "paths": places}
    raise InputError(
        f"export.druid.storage_uri: Druid reads nothing from {parts.scheme}://; there are file, s3,"
        " gs, az, abfss and hdfs"
    )


# --- inline ---------------------------------------------------------------------------------------


class Inline:
    """Rows are sent in native tasks, into a staging datasource that is dropped afterwards.

    From there one statement replaces a date, so no reader sees part of it. MSQ could take the rows
    in the statement too, but parses it in quadratic time.
    """

    is_compressed = False

    def __init__(self, druid: Druid, inline_bytes: int, folder: Path, tasks: Tasks) -> None:
        self.folder = folder
        self._druid = druid
        self._inline_bytes = inline_bytes
        self._tasks = tasks

    @contextmanager
    def offered(
        self, settings: DruidTable, columns: list[Column], files: Files, rows: Mapping[date, int]
    ) -> Iterator[Relations]:
        """Load the rows of all dates into the staging datasource, and wait until all are there."""
        staging = f"personas_staging_{secrets.token_hex(12)}"
        numbers = iter(range(1_000_000_000))
        try:
            for day, paths in files.items():
                for lines in pieces(paths, self._inline_bytes):
                    task_id = f"{staging}_{next(numbers)}"
                    self._tasks.run_native(append_task(task_id, staging, columns, day, lines))
            self._wait_until_there(staging, rows)
            yield lambda day: Relation(quoted(staging), '"__time"')
        except BaseException:
            with suppress(PersonasError):  # report the first error
                self._drop(staging)
            raise
        self._drop(staging)

    def _wait_until_there(self, staging: str, rows: Mapping[date, int]) -> None:
        expected = {str(day): number for day, number in rows.items()}
        query = (
            f'SELECT FLOOR(__time TO DAY) AS "day", COUNT(*) AS "row_count" FROM'
            f" {quoted(staging)} WHERE {interval(min(rows), max(rows))}"
            " GROUP BY FLOOR(__time TO DAY)"
        )
        started = time.monotonic()
        for _ in waits():
            found = {}
            if self._druid.columns(staging):
                # the router may ask another broker, which does not know it yet
                with suppress(InputError):
                    found = {row["day"][:10]: row["row_count"] for row in self._druid.rows(query)}
            if found == expected:
                return
            if time.monotonic() - started > self._druid.server.timeout_seconds:
                raise Unreachable(
                    f"{self._druid.place}: of {sum(expected.values())} rows sent,"
                    f" {sum(found.values())} can be queried after"
                    f" {self._druid.server.timeout_seconds:g} s; nothing was replaced. Is there"
                    " room on the historicals? Else raise export.druid.timeout_seconds"
                )

    def _drop(self, staging: str) -> None:
        """Mark every segment unused, and delete it."""
        whole = "1000-01-01/3000-01-01"
        path = f"/druid/coordinator/v1/datasources/{staging}/markUnused"
        kill = {"type": "kill", "dataSource": staging, "interval": whole}
        self._druid.post(path, {"interval": whole})
        self._druid.post("/druid/indexer/v1/task", kill)

    def stuck(self, task_id: str) -> str | None:
        """What is read is in Druid already."""
        return None

    def hide(self, text: str) -> str:
        """There are no secrets to hide."""
        return text


def pieces(files: list[Path], most_bytes: int) -> Iterator[str]:
    """The lines of the files, in chunks of at most so many bytes, or of one longer line."""
    piece: list[bytes] = []
    size = 0
    for file in files:
        with file.open("rb") as lines:
            for line in lines:
                if piece and size + len(line) > most_bytes:
                    yield b"".join(piece).decode()
                    piece, size = [], 0
                piece.append(line)
                size += len(line)
    if piece:
        yield b"".join(piece).decode()
