"""Reading and writing databases through one DuckDB of the process.

Starting a DuckDB takes 20 ms, attaching a file to one that runs takes one, and tests ask thousands
of small questions.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path

import duckdb

from viewer_personas.database.connection import attach, memory_limit

_names = (f"opened_{number}" for number in count())


@cache
def _running() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("set TimeZone = 'UTC'")
    connection.execute("set preserve_insertion_order = false")
    connection.execute(f"set memory_limit = '{memory_limit()}'")
    connection.execute("set enable_progress_bar = false")
    return connection


@contextmanager
def opened(
    database: Path, *, read_only: bool = True, name: str | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """The database, with the settings of every step; let go of afterwards.

    `name` is what queries call it, if they do.
    """
    name = name or next(_names)
    connection = _running().cursor()
    attach(connection, database, read_only=read_only, name=name)
    try:
        connection.execute(f'use "{name}".main')
        yield connection
    finally:
        connection.close()
        _running().execute(f'detach "{name}"')
