"""Statements for DuckDB: values and names as SQL has them, transactions, single numbers."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb

Connection = duckdb.DuckDBPyConnection


def literal(text: str | Path) -> str:
    """A text, or a path, as a literal."""
    return "'" + str(text).replace("'", "''") + "'"


def quoted(name: str) -> str:
    """The name of a column."""
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """All or nothing: whatever is raised inside takes everything back."""
    connection.execute("begin transaction")
    try:
        yield
        connection.execute("commit")
    except BaseException:
        # A failed commit has already rolled back, and a second rollback would hide its error.
        with suppress(duckdb.TransactionException):
            connection.execute("rollback")
        raise


def scalar(connection: Connection, query: str, parameters: object = None) -> int:
    """The one number that a query gives; 0 for null."""
    row = connection.execute(query, parameters).fetchone()
    return int(row[0]) if row and row[0] is not None else 0
