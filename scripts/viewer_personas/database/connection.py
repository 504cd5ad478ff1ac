"""Opening the DuckDB file with the settings that every step shares."""

import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from viewer_personas.database.sql import literal, quoted
from viewer_personas.errors import InputError, Unreachable

DEFAULT_DATABASE = Path("viewer_personas.duckdb")
_OF_THE_SYSTEM = ("Permission denied", "Read-only file system", "No space left", "Too many open")
_TAKEN = ("main", "raw", "staging", "system", "temp")
_INTERRUPTS: list[Callable[[], object]] = []
_INTERRUPTS_LOCK = threading.RLock()


def memory_limit() -> str:
    """The memory that DuckDB may use, the same for the loader, dbt and the exporter.

    Raises `InputError` if PERSONAS_MEMORY_LIMIT is no size.
    """
    limit = os.environ.get("PERSONAS_MEMORY_LIMIT") or "4GB"
    if not re.fullmatch(r"(\d+([.]\d+)?) ?([KMGT]i?B|%)", limit, re.IGNORECASE):
        raise InputError("PERSONAS_MEMORY_LIMIT: not a size; write it like 4GB, 512MB or 60%")
    return limit


def check_name(database: Path) -> None:
    """Raise `InputError` if a build could not use a database of this name.

    DuckDB names the catalogue after the file, and dbt writes that name into its SQL.
    """
    catalogue = database.name.lstrip(".").split(".")[0].lower()
    if not re.fullmatch(r"[\w .-]+", database.name) or not catalogue.strip():
        raise InputError(
            f"{database}: no name for a database; use letters, digits, spaces, and the signs . _ -"
        )
    if catalogue in _TAKEN:
        raise InputError(
            f"{database}: DuckDB or a schema has the name {catalogue}; choose another one for the"
            " file, such as viewer_personas.duckdb"
        )


def is_of_the_machine(message: str) -> bool:
    """Whether DuckDB says that memory or a disk did not suffice, whatever it was doing."""
    signs = ("Out of Memory", "Could not write", "No space left", "File too large", "Disk quota")
    return any(sign in message for sign in signs)


@contextmanager
def connect(database: Path, *, read_only: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the database for one step and close it again, so that the next step can use it.

    Raises `InputError` if a database to read does not exist or is not a DuckDB file, and
    `Unreachable` if another process holds it.
    """
    if read_only and not database.exists():
        raise InputError(f"{database}: no such database. Run `personas run` first.")
    database.parent.mkdir(parents=True, exist_ok=True)
    # no extension is ever downloaded: a file that DuckDB would need one for is no database of ours
    connection = duckdb.connect(
        config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    )
    with interruptible(connection.interrupt):  # until it is closed: that waits for its queries
        try:
            connection.execute(f"set temp_directory = {literal(f'{database}.tmp')}")
            connection.execute("set TimeZone = 'UTC'")
            connection.execute("set preserve_insertion_order = false")
            connection.execute(f"set memory_limit = '{memory_limit()}'")
            connection.execute("set enable_progress_bar = false")
            attach(connection, database, read_only=read_only)
            connection.execute("use opened_database.main")
            yield connection
        finally:
            connection.close()


@contextmanager
def interruptible(interrupt: Callable[[], object]) -> Iterator[None]:
    """Let `interrupt_queries` call `interrupt` from another thread, until the block ends."""
    with _INTERRUPTS_LOCK:
        _INTERRUPTS.append(interrupt)
    try:
        yield
    finally:
        with _INTERRUPTS_LOCK:
            _INTERRUPTS.remove(interrupt)


def interrupt_queries() -> None:
    """Interrupt the queries of all open connections: each ends with an error."""
    with _INTERRUPTS_LOCK:
        for interrupt in _INTERRUPTS:
            with suppress(Exception):  # a connection that is closing has no query to interrupt
                interrupt()


@contextmanager
def scratch_directory(connection: duckdb.DuckDBPyConnection) -> Iterator[Path]:
    """A temporary directory for data that does not fit into memory, removed at the end.

    DuckDB spills to it. It is beside the database, because the system's own may be in memory.
    Leftovers of a killed run are removed first; no other process has the database open.
    """
    row = connection.execute("select current_setting('temp_directory')").fetchone()
    parent = Path(str(row[0])) if row else Path(".")
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob("personas-*"):
        shutil.rmtree(left, ignore_errors=True)
    try:
        with TemporaryDirectory(dir=parent, prefix="personas-") as directory:
            yield Path(directory)
    finally:
        with suppress(OSError):  # DuckDB may be using it
            parent.rmdir()


def attach(
    connection: duckdb.DuckDBPyConnection,
    database: Path,
    *,
    read_only: bool,
    name: str = "opened_database",
) -> None:
    """Attach a database under a name, with the errors of `connect`.

    The name is ours: a file personas.duckdb, opened plainly, would be a catalog `personas` with a
    schema `personas`, and two-part names would be ambiguous.
    """
    mode = " (read_only)" if read_only else ""
    try:
        connection.execute(f"attach {literal(database)} as {quoted(name)}{mode}")
    except duckdb.Error as error:
        first_line = str(error).splitlines()[0]
        if "lock" in first_line.lower():
            raise Unreachable(
                f"{database}: another process has this database open. Wait for it, then run again."
            ) from error
        if any(word in first_line for word in _OF_THE_SYSTEM):
            raise Unreachable(f"{database}: {first_line}") from error
        # DuckDB looks for an extension that could read a file of another kind
        why = "it is of another kind" if "extension" in first_line else first_line
        raise InputError(f"{database}: cannot be opened as a DuckDB file: {why}") from error
