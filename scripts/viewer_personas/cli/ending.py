"""How a command ends: whatever a user can cause is one message and an exit status."""

import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

import duckdb

from viewer_personas.cli import text
from viewer_personas.database.connection import interrupt_queries, is_of_the_machine
from viewer_personas.errors import InputError, PersonasError, Unreachable

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run(command: Callable[[], object]) -> NoReturn:
    """Run the command and end the process with its exit status."""
    status = status_of(command)
    if status <= 128:
        sys.exit(status)
    # At once: a thread that has not heard of the interrupt would keep the process waiting.
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(status)


def use_umask() -> None:
    """What the command writes is for the account that runs it, unless PERSONAS_UMASK says more."""
    mask = os.environ.get("PERSONAS_UMASK") or "077"
    if not re.fullmatch("[0-7]{1,4}", mask):
        raise InputError("PERSONAS_UMASK: not a umask; write it like 027")
    os.umask(int(mask, 8))


def status_of(command: Callable[[], object]) -> int:
    """Run the command and return its exit status; print a message if it ends early.

    Ctrl-C and SIGTERM end it with 130 and 143, whatever DuckDB or dbt make of them. A disk that is
    full, a file that may not be written and memory that does not suffice end it with 3. Errors that
    nobody foresaw are raised: their traceback is for a bug report.
    """
    error: BaseException | None = None
    with _stopped_by_signals() as received:
        try:
            command()
        except BaseException as raised:
            error = raised
    if error is None:
        return 0
    if received:
        text.print_interrupted()
        return 128 + received[0]
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(bool(error.code))
    told = error if isinstance(error, PersonasError) else _of_the_machine(error)
    if told is None:
        raise error
    text.print_error(told)
    return told.exit_status


@contextmanager
def _stopped_by_signals() -> Iterator[list[int]]:
    """Both signals raise KeyboardInterrupt and, as long as the command goes on, interrupt what
    DuckDB computes; yields those that came."""
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        with _queries_interrupted():
            yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _queries_interrupted() -> Iterator[None]:
    """From the first signal on, a thread interrupts all queries once a second.

    The handler above is not enough: it waits for a query of the main thread, and what it raises
    there can get lost in DuckDB, or in a library that takes it for an error of a step. What Python
    itself writes to a socket when a signal comes waits for nothing.
    """
    ours, of_python = socket.socketpair()
    of_python.setblocking(False)
    before = signal.set_wakeup_fd(of_python.fileno(), warn_on_full_buffer=False)
    has_ended = threading.Event()

    def watch() -> None:
        while (number := ours.recv(1)) and number[0] not in SIGNALS:
            pass
        while not has_ended.wait(1):
            interrupt_queries()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        has_ended.set()
        signal.set_wakeup_fd(before)
        of_python.close()
        watcher.join()
        ours.close()


def _of_the_machine(error: BaseException) -> PersonasError | None:
    """The message about a disk, a file or memory; None for any other error."""
    kept = "What was finished is kept; run the same command again."
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return Unreachable(f"{place}{error.strerror or error}. {kept}")
    first_line = next(iter(str(error).splitlines()), "")
    if isinstance(error, duckdb.OutOfMemoryException):
        return Unreachable(
            f"{first_line}. Raise PERSONAS_MEMORY_LIMIT, or lower the vars events_at_once and"
            f" viewer_days_at_once. {kept}"
        )
    if isinstance(error, duckdb.Error) and "Corrupt database" in first_line:
        return InputError(
            f"{first_line}. Restore a copy of the database, or load and build it anew."
        )
    broken = (duckdb.IOException, duckdb.FatalException, duckdb.SerializationException)
    is_ours = isinstance(error, duckdb.Error)
    if isinstance(error, broken) or (is_ours and is_of_the_machine(str(error))):
        return Unreachable(f"the database or a file beside it: {first_line}. {kept}")
    return None
