"""Files as tables: which files exist, their layout, and how DuckDB reads them.

Nothing here depends on their contents. Python only lists the files and reads their columns.
"""

import codecs
import csv
import filecmp
import glob
import gzip
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, Literal

import duckdb

from viewer_personas.config import FileDocuments, FileEvents, FileFormat
from viewer_personas.database.connection import is_of_the_machine
from viewer_personas.database.sql import (
    Connection,
    literal,
    literals,
    pointer,
    quoted,
    scalar,
    typed_columns,
)
from viewer_personas.errors import InputError, Unreachable

_ENDINGS: dict[str, FileFormat] = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".json": "json",
    ".json.gz": "json",
    ".jsonl": "json",
    ".jsonl.gz": "json",
    ".ndjson": "json",
    ".ndjson.gz": "json",
}
_HEAD_BYTES = 1 << 16
_LINE_SHOWN = 2000
# No column of a service has such a name; DuckDB's default, filename, could be one.
FILE = '"viewer personas: file"'
ROW = '"viewer personas: row"'


@dataclass(frozen=True)
class SourceFile:
    """A file in its current state; `name` is its path from the folder of the sources file."""

    path: str
    name: str
    format: FileFormat
    size_bytes: int
    modified_at: int
    """Nanoseconds since 1970."""


@dataclass(frozen=True)
class Layout:
    """What files must share to be read together: format, columns with types, CSV delimiter, and
    how JSON documents stand in it (DuckDB's name for it).

    Files that differ in it are read separately: read together, a number in one file could get
    another text because of another file. JSON has no fixed columns.
    """

    format: FileFormat
    columns: tuple[tuple[str, str], ...] = ()
    delimiter: str = ","
    documents: Literal["newline_delimited", "array", "unstructured"] = "newline_delimited"

    def type_of(self, column: str) -> str | None:
        """The DuckDB type of a column, None if it does not exist."""
        return dict(self.columns).get(column)


def list_files(
    settings: FileEvents | FileDocuments, key: str, sources_file: Path
) -> dict[str, SourceFile]:
    """The files of all paths and globs by name, in order of name."""
    folder = sources_file.absolute().parent
    files: dict[str, SourceFile] = {}
    for path in settings.paths():
        _check_path(path, folder, f"{sources_file}: {key}.path")
        pattern = folder / path
        # Path.glob rejects absolute patterns.
        found = [str(pattern)] if pattern.is_file() else glob.glob(str(pattern), recursive=True)
        matches = [match for match in found if Path(match).is_file()]
        if not matches:
            raise InputError(f"{sources_file}: {key}.path: no file matches {path} (in {folder})")
        for match in matches:
            file = _source_file(match, folder, settings.format, f"{sources_file}: {key}.format")
            files[file.name] = file
    return dict(sorted(_without_links(files).items()))


def _without_links(files: dict[str, SourceFile]) -> dict[str, SourceFile]:
    """Each file once: a symbolic link to one that is there too is left out."""
    kept: dict[str, SourceFile] = {}
    for file in sorted(files.values(), key=lambda file: (os.path.islink(file.path), file.name)):
        kept.setdefault(os.path.realpath(file.path), file)
    return {file.name: file for file in kept.values()}


def twins(files: Mapping[str, SourceFile], names: Iterable[str]) -> list[str]:
    """Warnings about files that are probably there twice: `names` are those to look at.

    The same contents under two names; a file beside its compressed copy; "events (1).csv".
    """
    found = []
    by_size: dict[int, list[SourceFile]] = defaultdict(list)
    for file in files.values():
        by_size[file.size_bytes].append(file)
    for name in names:
        file = files[name]
        others = [other for other in by_size[file.size_bytes] if other.name < name]
        for other in others:
            if file.size_bytes and filecmp.cmp(file.path, other.path, shallow=False):
                found.append(f"{name} and {other.name} have the same contents: remove one")
        unpacked = name.removesuffix(".gz")
        if unpacked != name and unpacked in files:
            found.append(f"{name} is beside {unpacked}: if it is the same packed, remove one")
        original = re.sub(r" \(\d+\)(?=\.[^/]*$)", "", name)
        if original != name and original in files:
            found.append(f"{name} looks like a second copy of {original}: remove one")
    return list(dict.fromkeys(found))


def _check_path(path: str, folder: Path, place: str) -> None:
    """Raise `InputError` with what to write instead for a path that names no files."""
    if "://" in path:
        raise InputError(
            f"{place}: {path} is not on this machine: copy it to a folder first (a tool of the"
            " store syncs only what changed), and name that folder's files, such as"
            " data/events/*.parquet"
        )
    if path.startswith("~"):
        raise InputError(f"{place}: ~ is not expanded: write {os.path.expanduser(path)}")
    if (folder / path).is_dir():
        raise InputError(f"{place}: {path} is a folder: write {glob_of(folder / path, path)}")


def glob_of(folder: Path, shown: str) -> str:
    """A glob of the files in a folder, by the ending that most of them have."""
    for pattern in ("*", "**/*"):
        names = [str(found).lower() for found in folder.glob(pattern) if found.is_file()]
        found = [
            max((ending for ending in _ENDINGS if name.endswith(ending)), key=len, default="")
            for name in names
        ]
        endings = Counter(filter(None, found)).most_common(1)
        if endings:
            return f"{shown.rstrip('/')}/{pattern}{endings[0][0]}"
    return f"{shown.rstrip('/')}/*.parquet (there are no such files yet)"


def _source_file(path: str, folder: Path, file_format: FileFormat | None, key: str) -> SourceFile:
    path = os.path.normpath(path)
    name = Path(os.path.relpath(path, folder)).as_posix()
    if file_format is None:
        endings = [ending for ending in _ENDINGS if path.lower().endswith(ending)]
        if not endings:
            raise InputError(
                f"{key}: cannot tell the format of {name} from its ending: "
                "set it to parquet, csv or json"
            )
        file_format = _ENDINGS[endings[0]]
    stat = Path(path).stat()
    return SourceFile(path, name, file_format, stat.st_size, stat.st_mtime_ns)


def check_unchanged(file: SourceFile) -> None:
    """Rows of two versions of a file must not be mixed or recorded as one of them.

    Raises `Unreachable`: the source is not whole now.
    """
    try:
        stat = Path(file.path).stat()
    except FileNotFoundError:
        raise Unreachable(f"{file.name}: vanished while it was read. Load again.") from None
    if (stat.st_size, stat.st_mtime_ns) != (file.size_bytes, file.modified_at):
        raise Unreachable(f"{file.name}: changed while it was read. Load again.")


@contextmanager
def readable(files: Iterable[SourceFile]) -> Iterator[None]:
    """Turn DuckDB's error about a broken file into an `InputError` that names it."""
    try:
        yield
    except duckdb.Error as error:
        if is_of_the_machine(str(error)):
            raise
        text = str(error)
        files = list(files)
        broken = [file for file in files if file.path in text] or (files if len(files) == 1 else [])
        reading = (
            duckdb.InvalidInputException,
            duckdb.ConversionException,
            duckdb.SerializationException,
        )
        if not broken and not isinstance(error, reading):
            raise
        names = ", ".join(file.name for file in broken or files)
        found = [ends for file in broken or files if (ends := _mixed_line_ends(file, text))]
        reason = found[0] if found else _first_lines(text)
        raise InputError(f"{names}: cannot be read: {reason}") from error


def _mixed_line_ends(file: SourceFile, message: str) -> str:
    """Which line ends otherwise than those before it, which DuckDB's message does not say."""
    if file.format != "csv" or "state machine" not in message:
        return ""
    with _opened(file, "rb") as lines:
        first = None
        for number, line in enumerate(lines, 1):
            ending = "CRLF" if line.endswith(b"\r\n") else "LF"
            first = first or ending
            if ending != first and line.endswith(b"\n"):
                return f"line {number} ends with {ending}, and those before with {first}: use one"
    return "a quote is not closed, or stands inside a value without being doubled"


@contextmanager
def _opened(file: SourceFile, mode: str, **options: Any) -> Iterator[IO[Any]]:
    """The file, decompressed."""
    open_file: Callable[..., IO[Any]] = open
    if file.path.lower().endswith(".gz"):
        open_file = gzip.open
    with open_file(file.path, mode, **options) as opened:
        yield opened


def _first_lines(message: str) -> str:
    """DuckDB's message without its advice, which is about DuckDB's options."""
    lines = []
    for line in message.splitlines():
        if line.startswith(("Possible fixes", "Possible solution", "Try setting")) or not line:
            break
        lines.append(line)
    return " ".join(lines).split(" Error: ", 1)[-1]


def layout_of(connection: Connection, file: SourceFile, delimiter: str | None) -> Layout | None:
    """The layout of a file, None if it has no rows."""
    if file.format == "csv":
        return _csv_layout(file, delimiter)
    layout = Layout(file.format)
    if file.format == "json":
        layout = replace(layout, documents=_documents_of(file))
    with readable([file]):
        if file.format == "parquet":
            described = connection.execute(f"describe select * from {_parquet([file])}").fetchall()
            columns = [(str(row[0]), str(row[1])) for row in described if f'"{row[0]}"' != FILE]
            layout = Layout("parquet", tuple(columns))
        rows = rows_of(layout, [file], [], with_rows=True)
        query = f"select count(*) from (select 1 from {rows} limit 1)"
        return layout if scalar(connection, query) else None


def _documents_of(
    file: SourceFile,
) -> Literal["newline_delimited", "array", "unstructured"]:
    """How the documents stand in a JSON file: one a line, as a list, or over several lines."""
    try:
        with _opened(file, "rb") as opened:
            head = opened.read(_HEAD_BYTES).decode("utf-8-sig", "replace")
            opened.seek(0)
            has_mark = opened.read(3) == codecs.BOM_UTF8
    except (OSError, EOFError) as error:
        raise InputError(f"{file.name}: cannot be read: {error}") from error
    text = head.lstrip()
    if text.startswith("["):
        return "array"
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except ValueError:
        end = 0
    # DuckDB takes a byte order mark only where it reads without looking for lines
    return "unstructured" if has_mark or "\n" in text[:end] else "newline_delimited"


def bad_lines(connection: Connection, file: SourceFile) -> Iterator[tuple[int, str]]:
    """The lines of a file of JSON lines that are no JSON, with their numbers from 1."""
    with _opened(file, "rb") as lines:
        numbered = ((n, line.decode("utf-8", "replace")) for n, line in enumerate(lines, 1))
        while batch := [(n, line) for n, line in islice(numbered, 10_000) if line.strip()]:
            [(valid,)] = connection.execute(
                "select list_transform($1, lambda line: json_valid(line))",
                [[line for _, line in batch]],
            ).fetchall()
            for (number, line), is_valid in zip(batch, valid, strict=True):
                if not is_valid:
                    yield number, line.strip()


def name_bad_lines(connection: Connection, file: SourceFile, source: str) -> None:
    """Give the rejected lines of a file that are no JSON, and so rows of nothing, number and text.

    `source` names the file in raw.rejected_events.
    """
    of_nothing = "source = ? and row is null"
    query = f"select count(*) from raw.rejected_events where {of_nothing}"
    if not scalar(connection, query, [source]):
        return
    connection.execute(f"delete from raw.rejected_events where {of_nothing}", [source])
    for number, line in bad_lines(connection, file):
        connection.execute(
            "insert into raw.rejected_events values (?, null, ?, to_json(?::varchar))",
            [source, f"no JSON: line {number}", line[:_LINE_SHOWN]],
        )


def _csv_layout(file: SourceFile, delimiter: str | None) -> Layout | None:
    """The header, read here instead of sniffed: one odd row must not change how a file is read."""
    try:
        with _opened(file, "rt", encoding="utf-8-sig", newline="") as lines:
            first = lines.readline()
            delimiter = delimiter or max(",;\t|", key=first.count)
            rows = csv.reader(chain([first], lines), delimiter=delimiter)
            header = next(rows, [])
            has_rows = any(line.strip() for line in lines)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file.name}: cannot be read: {error}") from error
    names = [name or f"column {position}" for position, name in enumerate(header, 1)]
    for position, name in enumerate(names):
        if name.lower() in (earlier.lower() for earlier in names[:position]):
            raise InputError(f"{file.name}: the header names the column {name} twice")
    if not has_rows:
        return None
    return Layout("csv", tuple((name, "VARCHAR") for name in names), delimiter)


def has_column(connection: Connection, file: SourceFile, layout: Layout, column: str) -> bool:
    """Whether a file has a column, or a path inside one."""
    if layout.format != "json":
        whole, _, inside = column.partition(".")
        return layout.type_of(column) is not None or bool(inside and layout.type_of(whole))
    with readable([file]):
        query = f"""
            select count(*) from (
                select 1 from {_json_objects(layout, [file])}
                where json_exists({ROW}, {pointer(column)})
                limit 1
            )
        """
        return scalar(connection, query) > 0


def column_names(connection: Connection, file: SourceFile, layout: Layout) -> list[str]:
    if layout.format != "json":
        return [name for name, _ in layout.columns]
    query = f"""
        select list(distinct key) from (
            select unnest(json_keys({ROW})) as key
            from (select {ROW} from {_json_objects(layout, [file])} limit 100)
        )
    """
    row = connection.execute(query).fetchone()
    return sorted(row[0]) if row and row[0] else []


def by_layout(
    files: Iterable[tuple[SourceFile, Layout | None]],
) -> dict[Layout, list[SourceFile]]:
    groups: dict[Layout, list[SourceFile]] = defaultdict(list)
    for file, layout in files:
        if layout is not None:
            groups[layout].append(file)
    return groups


def rows_of(layout: Layout, files: list[SourceFile], fields: list[str], *, with_rows: bool) -> str:
    """The files as a table: their columns (for JSON, the fields as text), the file, the row."""
    if layout.format == "json":
        read = _json_rows if with_rows else _json_fields
        return read(layout, files, fields)
    source = _csv(layout, files) if layout.format == "csv" else _parquet(files)
    if not with_rows:
        return source
    row = ", ".join(f"{quoted(name)} := {quoted(name)}" for name, _ in layout.columns)
    return f"(select *, to_json(struct_pack({row})) as {ROW} from {source})"


def _parquet(files: list[SourceFile]) -> str:
    # older writers do not say that their texts are texts
    return f"read_parquet({_paths(files)}, binary_as_string = true, {_FILE_OPTIONS})"


def _csv(layout: Layout, files: list[SourceFile]) -> str:
    columns = typed_columns({name: "VARCHAR" for name, _ in layout.columns})
    return (
        f"read_csv({_paths(files)}, auto_detect = false, header = true, "
        f"delim = {literal(layout.delimiter)}, quote = '\"', escape = '\"', "
        f"columns = {columns}, {_FILE_OPTIONS})"
    )


def _json_fields(layout: Layout, files: list[SourceFile], fields: list[str]) -> str:
    if not files:
        return f"(select null::varchar as {FILE}, {_no_fields(fields)} where false)"
    columns = typed_columns(dict.fromkeys(fields, "VARCHAR"))
    return (
        f"read_json({_paths(files)}, {_json_format(layout)}, records = true, "
        f"columns = {columns}, {_FILE_OPTIONS})"
    )


def _json_format(layout: Layout) -> str:
    """A line that is no JSON becomes a row of nulls; see `bad_lines`."""
    is_by_line = layout.documents == "newline_delimited"
    return f"format = '{layout.documents}', ignore_errors = {'true' if is_by_line else 'false'}"


def _json_objects(layout: Layout, files: list[SourceFile]) -> str:
    return (
        f"(select json as {ROW}, {FILE} from "
        f"read_json_objects({_paths(files)}, {_json_format(layout)}, {_FILE_OPTIONS}))"
    )


def _json_rows(layout: Layout, files: list[SourceFile], fields: list[str]) -> str:
    if not fields:
        return _json_objects(layout, files)
    # The same conversion as in read_json, so that both ways reject the same rows.
    shape = json.dumps(dict.fromkeys(fields, "VARCHAR"))
    return (
        f"(select {ROW}, {FILE}, unnest(json_transform({ROW}, {literal(shape)})) "
        f"from {_json_objects(layout, files)})"
    )


def _no_fields(fields: list[str]) -> str:
    return ", ".join(f"null::varchar as {quoted(name)}" for name in dict.fromkeys(fields))


_FILE_OPTIONS = f"filename = '{FILE[1:-1]}', hive_partitioning = false"


def _paths(files: list[SourceFile]) -> str:
    return literals(_escaped(file.path) for file in files)


def _escaped(path: str) -> str:
    """A path as a glob that matches only itself: DuckDB treats every path as a glob."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in path)
