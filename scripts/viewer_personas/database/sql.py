"""SQL helpers: literals and names for DuckDB and Druid, transactions, numbers."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb

from viewer_personas.errors import InputError

Connection = duckdb.DuckDBPyConnection


def literal(text: str | Path) -> str:
    """A text, or a path, as a literal. Raises `InputError` for a path that is no UTF-8."""
    try:
        str(text).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{text}: the name is no UTF-8. Rename the file or folder.") from error
    return "'" + str(text).replace("'", "''") + "'"


def literals(texts: Iterable[str | Path]) -> str:
    """Texts or paths as a list, which DuckDB's functions that read files take."""
    return "[" + ", ".join(map(literal, texts)) + "]"


def quoted(name: str) -> str:
    """The name of a column, a table or a database."""
    return '"' + name.replace('"', '""') + '"'


def pointer(path: str) -> str:
    """A dotted path as a JSON pointer, as a literal."""
    names = [name.replace("~", "~0").replace("/", "~1") for name in path.split(".")]
    return literal("/" + "/".join(names))


def typed_columns(types: Mapping[str, str]) -> str:
    """Names with their types, as DuckDB's functions that read files take them."""
    return "{" + ", ".join(f"{literal(name)}: '{kind}'" for name, kind in types.items()) + "}"


# The connections in a transaction, by identity: a second "begin" would abort the first.
_in_transaction: set[int] = set()


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """One transaction: an exception inside rolls everything back. Inside another, a part of it."""
    if id(connection) in _in_transaction:
        yield
        return
    connection.execute("begin transaction")
    _in_transaction.add(id(connection))
    try:
        yield
        connection.execute("commit")
    except BaseException:
        # A failed commit has already rolled back, and a second rollback would hide its error.
        with suppress(duckdb.TransactionException):
            connection.execute("rollback")
        raise
    finally:
        _in_transaction.discard(id(connection))


def scalar(connection: Connection, query: str, parameters: object = None) -> int:
    """The single number that a query returns; 0 for null."""
    row = connection.execute(query, parameters).fetchone()
    return int(row[0]) if row and row[0] is not None else 0
