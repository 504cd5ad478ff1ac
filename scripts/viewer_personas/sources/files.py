"""The files driver: events, contents and users from Parquet, CSV and JSON lines.

DuckDB reads the rows; Python only lists the files and looks at their columns.
"""

import csv
import glob
import gzip
import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import chain, islice
from pathlib import Path

import duckdb

from viewer_personas.database.raw import Report, SliceBatch, forget_files, replace_documents
from viewer_personas.database.sql import Connection, literal, quoted, scalar, transaction
from viewer_personas.errors import InputError
from viewer_personas.sources.config import EventColumns, FileDocuments, FileEvents, FileFormat
from viewer_personas.sources.event_rows import (
    REQUIRED,
    events_select,
    is_number,
    is_time,
    near,
    service_name,
    time_expression,
)

# Part of every slice's identity: raise it when the same file would be read into other rows.
_READER_VERSION = 1
_FILES_PER_SCAN = 100
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
# No column of a service has such a name; DuckDB's own name for it, filename, may well be one.
_FILE = '"viewer personas: file"'
_ROW = '"viewer personas: row"'


@dataclass(frozen=True)
class SourceFile:
    """A file as it is now; `name` is its path seen from the folder of the sources file."""

    path: str
    name: str
    format: FileFormat
    size_bytes: int
    modified_at: int
    """Nanoseconds since 1970."""


@dataclass(frozen=True)
class Layout:
    """What files must share to be read together: format, columns with types, CSV delimiter.

    Files that differ in it are read apart: read together, a number in one would change its text
    because of another file. JSON lines have no columns of their own.
    """

    format: FileFormat
    columns: tuple[tuple[str, str], ...] = ()
    delimiter: str = ","

    def type_of(self, column: str) -> str | None:
        """The DuckDB type of a column, None if it is not there."""
        return dict(self.columns).get(column)


@dataclass(frozen=True)
class FileDays:
    """How many rows a file has of each UTC day, and how many without a readable time."""

    days: dict[date, int]
    undated_rows: int = 0


@dataclass
class EventFiles:
    """All event files as they are now, and the days that each one has.

    `new` names those that the database does not know in this version.
    """

    settings: FileEvents
    sources_file: Path
    mapping_version: str
    files: dict[str, SourceFile]
    days: dict[str, FileDays]
    new: list[str]
    layouts: dict[str, Layout | None] = field(default_factory=dict)

    def files_of_days(self) -> dict[date, list[str]]:
        """The names of the files with rows of each day, in order of name."""
        files_of_day: dict[date, list[str]] = defaultdict(list)
        for name in sorted(self.days):
            for day in self.days[name].days:
                files_of_day[day].append(name)
        return files_of_day

    def identities(self) -> dict[date, str]:
        """The source identity wanted for every day from the first to the last with rows."""
        files_of_day = self.files_of_days()
        if not files_of_day:
            return {}
        first, last = min(files_of_day), max(files_of_day)
        every_day = (first + timedelta(days=n) for n in range((last - first).days + 1))
        return {day: self._identity(files_of_day.get(day, [])) for day in every_day}

    def _identity(self, names: list[str]) -> str:
        files = [self.files[name] for name in names]
        parts = [
            {"file": file.name, "size": file.size_bytes, "modified": file.modified_at}
            for file in files
        ]
        return json.dumps({"mapping": self.mapping_version, "files": parts})

    def warnings(self) -> list[str]:
        """Files read for the first time that have rows, but none with a readable time."""
        column = service_name(self.settings, "occurred_at")
        return [
            f"{name}: no row has a readable {column}; "
            f"all {self.days[name].undated_rows} are in raw.rejected_events"
            for name in self.new
            if self.days[name].undated_rows and not self.days[name].days
        ]

    def remember(self, connection: Connection) -> None:
        """Write what was learned of the new files: their days, and their rows without a time.

        Forgets files that are gone. One transaction.
        """
        undated = [name for name in self.new if self.days[name].undated_rows]
        with transaction(connection):
            forget_files(connection, kept=sorted(set(self.files) - set(self.new)))
            _insert_source_files(connection, self)
            if undated:
                _insert_rejected(connection, self, undated, "occurred_at is null", {})

    def batches(self, connection: Connection, stale: dict[date, str]) -> Iterator[SliceBatch]:
        """The stale days with their identities, as batches that can be replaced one by one.

        Days that share a file are in one batch, so that each file is read once.
        """
        files_of_day = self.files_of_days()
        for days, names in _components(stale, files_of_day):
            yield SliceBatch(
                identities={day: stale[day] for day in days},
                land=_landing(self, names, days),
            )


@dataclass(frozen=True)
class DocumentFiles:
    """All files of contents or users with rows, and the fields of the id and the last change."""

    files: list[SourceFile]
    layouts: dict[str, Layout | None]
    id_field: str
    updated_at_field: str | None

    def load(self, connection: Connection, table: str) -> list[str]:
        """Replace `raw.contents` or `raw.users` by the documents; returns warnings."""
        with readable(self.files):
            repeated = replace_documents(connection, table, _documents_select(self))
        if repeated:
            return [f"{table}: {repeated} documents repeat the id of another and were left out"]
        return []


# --- events -----------------------------------------------------------------------------------


def inspect_events(
    connection: Connection, settings: FileEvents, sources_file: Path, report: Report
) -> EventFiles:
    """List the event files, and check those that are new or changed: their columns, their days.

    Reads of the new files the time column, and changes nothing in the database. Raises `InputError`
    naming the file and the key: no file matches, a file cannot be read, a mapped column is not
    there, a numeric time has no unit.
    """
    files = _list_files(settings, "events", sources_file)
    version = _mapping_version(settings)
    known = _known_days(connection, version, files)
    new = sorted(set(files) - set(known))
    events = EventFiles(settings, sources_file, version, files, known, new)
    for name in new:
        _check_event_columns(connection, events, name)
    _check_optional_columns(connection, events)
    _scan_days(connection, events, report)
    return events


def _scan_days(connection: Connection, events: EventFiles, report: Report) -> None:
    """Learn which days the new files have, by one read of their time column."""
    done = 0
    for names in _batched(events.new, _FILES_PER_SCAN):
        report("Looking for the days in new event files", done, len(events.new))
        _scan(connection, events, names)
        done += len(names)
    if events.new:
        report("Looking for the days in new event files", done, done)


def _landing(
    events: EventFiles, names: list[str], days: list[date]
) -> Callable[[Connection], None]:
    def land(connection: Connection) -> None:
        if names:
            _land(connection, events, names, days)

    return land


def _land(connection: Connection, events: EventFiles, names: list[str], days: list[date]) -> None:
    parameters = {"days": days}
    of_these_days = "occurred_at::date in (select unnest($days))"
    with readable(events.files[name] for name in names):
        inserted = scalar(
            connection,
            f"""
            insert into raw.events
            select event_id, user_id, content_id, event_type, occurred_at, watch_seconds,
                event_count, device, occurred_at::date
            from ({_events_select(connection, events, names)})
            where user_id is not null and {of_these_days}
            """,
            parameters,
        )
    wanted = set(days)
    expected = sum(
        rows for name in names for day, rows in events.days[name].days.items() if day in wanted
    )
    # Whole rows are read only where some are missing: the second read costs as much as the first.
    if inserted < expected:
        where = f"user_id is null and {of_these_days}"
        _insert_rejected(connection, events, names, where, parameters)
    for name in names:
        _check_unchanged(events.files[name])


def _insert_rejected(
    connection: Connection,
    events: EventFiles,
    names: list[str],
    where: str,
    parameters: dict[str, list[date]],
) -> None:
    connection.execute("create or replace temp table file_names (path varchar, name varchar)")
    connection.execute(
        "insert into file_names select unnest($paths), unnest($names)",
        {"paths": [events.files[name].path for name in names], "names": names},
    )
    with readable(events.files[name] for name in names):
        connection.execute(
            f"""
            insert into raw.rejected_events
            select file_names.name,
                occurred_at::date,
                case
                    when occurred_at is not null then 'no user'
                    when time_text is null then 'no time'
                    else 'unreadable time: ' || time_text
                end,
                source_row
            from ({_events_select(connection, events, names, with_rows=True)}) as source_rows
            inner join file_names on source_rows.source_file = file_names.path
            where {where}
            """,
            parameters,
        )
    connection.execute("drop table file_names")


def _insert_source_files(connection: Connection, events: EventFiles) -> None:
    rows: list[tuple[str, int, int, date | None, int]] = []
    for name in events.new:
        file, found = events.files[name], events.days[name]
        stamp = (name, file.size_bytes, file.modified_at)
        rows += [(*stamp, day, count) for day, count in sorted(found.days.items())]
        if not found.days:
            rows.append((*stamp, None, found.undated_rows))
    if not rows:
        return
    names, sizes, times, days, counts = (list(column) for column in zip(*rows, strict=True))
    connection.execute(
        """
        insert into raw.source_files
        select unnest($names), unnest($sizes), unnest($times), $version,
            unnest($days::date[]), unnest($counts)
        """,
        {
            "names": names,
            "sizes": sizes,
            "times": times,
            "version": events.mapping_version,
            "days": days,
            "counts": counts,
        },
    )


def _known_days(
    connection: Connection, version: str, files: dict[str, SourceFile]
) -> dict[str, FileDays]:
    """The days of the files that are in the database exactly as they are now."""
    query = """
        select file, source_date, row_count, size_bytes, modified_at
        from raw.source_files
        where mapping_version = ?
    """
    try:
        rows = connection.execute(query, [version]).fetchall()
    except duckdb.CatalogException:
        return {}
    known: dict[str, FileDays] = {}
    for name, day, count, size, modified in rows:
        file = files.get(name)
        if file and (file.size_bytes, file.modified_at) == (size, modified):
            days = known.setdefault(name, FileDays({})).days
            if day is not None:
                days[day] = count
    return known


def _mapping_version(settings: FileEvents) -> str:
    """A hash of everything in the settings that decides how a file becomes rows."""
    parts = {
        "reader": _READER_VERSION,
        "columns": settings.columns.given(),
        "constants": settings.constants.given(),
        "epoch_unit": settings.epoch_unit,
        "format": settings.format,
        "delimiter": settings.delimiter,
    }
    return hashlib.md5(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _components(
    stale: Iterable[date], files_of_day: dict[date, list[str]]
) -> Iterator[tuple[list[date], list[str]]]:
    """Group the days that share files, directly or through others; days without files first."""
    without_files = sorted(day for day in stale if day not in files_of_day)
    if without_files:
        yield without_files, []
    days_of_file: dict[str, list[date]] = defaultdict(list)
    waiting = sorted(day for day in stale if day in files_of_day)
    for day in waiting:
        for name in files_of_day[day]:
            days_of_file[name].append(day)
    seen: set[date] = set()
    for start in waiting:
        if start in seen:
            continue
        seen.add(start)
        days, names, reached = [], set[str](), [start]
        while reached:
            day = reached.pop()
            days.append(day)
            for name in set(files_of_day[day]) - names:
                names.add(name)
                reached += [other for other in days_of_file[name] if other not in seen]
                seen.update(days_of_file[name])
        yield sorted(days), sorted(names)


def _scan(connection: Connection, events: EventFiles, names: list[str]) -> None:
    name_of_path = {events.files[name].path: name for name in names}
    found = {name: FileDays({}) for name in names}
    only_numbers: dict[str, bool] = {}
    with readable(events.files[name] for name in names):
        rows = connection.execute(
            f"""
            select source_file,
                occurred_at::date,
                count(*),
                count(*) filter (where time_text is not null),
                count(*) filter (
                    where regexp_full_match(trim(time_text), '-?[0-9]+([.][0-9]+)?')
                )
            from ({_events_select(connection, events, names)})
            group by all
            """
        ).fetchall()
    for path, day, count, unreadable, numbers in rows:
        name = name_of_path[path]
        if day is None:
            found[name] = FileDays(found[name].days, count)
            only_numbers[name] = numbers > 0 and numbers == unreadable
        else:
            found[name].days[day] = count
    for name in names:
        if only_numbers.get(name) and not found[name].days and not events.settings.epoch_unit:
            raise _no_epoch_unit(events, name)
        _check_unchanged(events.files[name])
    events.days.update(found)


def _check_event_columns(connection: Connection, events: EventFiles, name: str) -> None:
    file, settings = events.files[name], events.settings
    layout = _layout(connection, events, name)
    if layout is None:
        return
    for ours in REQUIRED:
        if ours in settings.constants.given():
            continue
        column = service_name(settings, ours)
        if not _has_column(connection, file, layout, column):
            raise _no_column(connection, events, file, layout, ours, column)
    time_type = layout.type_of(service_name(settings, "occurred_at")) or "VARCHAR"
    if settings.epoch_unit and is_time(time_type):
        raise InputError(
            f"{events.sources_file}: events.epoch_unit: the times in {name} are no numbers, "
            f"but {time_type}: remove epoch_unit"
        )
    if not settings.epoch_unit and is_number(time_type):
        raise _no_epoch_unit(events, name)


def _check_optional_columns(connection: Connection, events: EventFiles) -> None:
    """A mapped optional column may be missing in some files; in all of them it is misspelt."""
    if not events.new:
        return
    for ours, column in events.settings.columns.given().items():
        if ours in REQUIRED:
            continue
        missing = None
        # New files first: they nearly always have it, and the others need not be opened again.
        for name in [*events.new, *sorted(set(events.files) - set(events.new))]:
            file, layout = events.files[name], _layout(connection, events, name)
            if layout is None:
                continue
            if _has_column(connection, file, layout, column):
                break
            missing = missing or (file, layout)
        else:
            if missing:
                raise _no_column(connection, events, *missing, ours, column)


def _no_column(
    connection: Connection,
    events: EventFiles,
    file: SourceFile,
    layout: Layout,
    ours: str,
    column: str,
) -> InputError:
    there = _column_names(connection, file, layout)
    return InputError(
        f"{events.sources_file}: events.columns.{ours}: "
        f"there is no column {column} in {file.name}{near(column, there)}"
    )


def _no_epoch_unit(events: EventFiles, name: str) -> InputError:
    column = service_name(events.settings, "occurred_at")
    return InputError(
        f"{events.sources_file}: events.epoch_unit: is not set, but the times in {name} "
        f"(column {column}) are numbers: set it to s or ms"
    )


def _layout(connection: Connection, events: EventFiles, name: str) -> Layout | None:
    if name not in events.layouts:
        file = events.files[name]
        events.layouts[name] = _layout_of(connection, file, events.settings.delimiter)
    return events.layouts[name]


def _events_select(
    connection: Connection, events: EventFiles, names: Sequence[str], *, with_rows: bool = False
) -> str:
    """A query of the rows of the files under our names and in our types.

    Also source_file (its path) and time_text, and with `with_rows` source_row, the row as JSON.
    occurred_at and user_id are null where they are unreadable or missing.
    """
    groups = _by_layout((events.files[name], _layout(connection, events, name)) for name in names)
    if not groups:
        groups = {Layout("json"): []}
    selects = [
        _group_select(events.settings, layout, files, with_rows=with_rows)
        for layout, files in groups.items()
    ]
    return " union all ".join(selects)


def _group_select(
    settings: FileEvents, layout: Layout, files: list[SourceFile], *, with_rows: bool
) -> str:
    def type_of(column: str) -> str | None:
        return "VARCHAR" if layout.format == "json" else layout.type_of(column)

    fields = [service_name(settings, ours) for ours in EventColumns.model_fields]
    return events_select(
        settings,
        type_of,
        _read(layout, files, fields, with_rows=with_rows),
        epoch_unit=settings.epoch_unit,
        extra=[f"{_FILE} as source_file", *([f"{_ROW} as source_row"] if with_rows else [])],
    )


# --- contents and users -----------------------------------------------------------------------


def inspect_documents(
    connection: Connection, settings: FileDocuments, sources_file: Path, key: str
) -> DocumentFiles:
    """List the files of `contents` or `users` and find their fields.

    Changes nothing in the database. Raises `InputError` naming the file and the key.
    """
    files = _list_files(settings, key, sources_file)
    layouts = {
        name: _layout_of(connection, file, settings.delimiter) for name, file in files.items()
    }
    with_rows = [file for name, file in files.items() if layouts[name] is not None]

    def found(candidates: list[str]) -> str | None:
        for column in candidates:
            for file in with_rows:
                layout = layouts[file.name]
                if layout and _has_column(connection, file, layout, column):
                    return column
        return None

    default_ids = ["_id", f"{key.removesuffix('s')}_id"]
    id_field = found([settings.id] if settings.id else default_ids)
    updated_at = found([settings.updated_at or "updated_at"])
    if with_rows:
        if id_field is None:
            wanted = settings.id or " or ".join(default_ids)
            raise _no_field(connection, sources_file, f"{key}.id", wanted, with_rows[0], layouts)
        if settings.updated_at and updated_at is None:
            place = f"{key}.updated_at"
            raise _no_field(
                connection, sources_file, place, settings.updated_at, with_rows[0], layouts
            )
    return DocumentFiles(with_rows, layouts, id_field or "_id", updated_at)


def _no_field(
    connection: Connection,
    sources_file: Path,
    key: str,
    wanted: str,
    file: SourceFile,
    layouts: dict[str, Layout | None],
) -> InputError:
    layout = layouts[file.name]
    there = _column_names(connection, file, layout) if layout else []
    return InputError(
        f"{sources_file}: {key}: there is no {wanted} in {file.name}{near(wanted, there)}"
    )


def _documents_select(documents: DocumentFiles) -> str | None:
    """A query for `replace_documents`: file, _id, updated_at, doc. None without any rows."""
    selects = []
    for file in documents.files:
        layout = documents.layouts[file.name]
        if layout is None:
            continue
        updated_at = "null::timestamp"
        field_name = documents.updated_at_field
        if layout.format == "json":
            identifier = f"{_ROW} ->> {_pointer(documents.id_field)}"
            if field_name:
                value = f"({_ROW} ->> {_pointer(field_name)})"
                updated_at = time_expression(value, "VARCHAR", None)
        else:
            known = layout.type_of(documents.id_field)
            identifier = f"{quoted(documents.id_field)}::varchar" if known else "null::varchar"
            column_type = layout.type_of(field_name) if field_name else None
            if field_name and column_type:
                updated_at = time_expression(quoted(field_name), column_type, None)
        selects.append(
            f"select {literal(file.name)} as file, nullif({identifier}, '') as _id, "
            f"{updated_at} as updated_at, {_ROW} as doc "
            f"from {_read(layout, [file], [], with_rows=True)}"
        )
    return " union all ".join(selects) or None


# --- files, whatever is in them ---------------------------------------------------------------


def _list_files(
    settings: FileEvents | FileDocuments, key: str, sources_file: Path
) -> dict[str, SourceFile]:
    """The files of all paths and globs by name, in order of name."""
    folder = sources_file.absolute().parent
    files: dict[str, SourceFile] = {}
    for path in settings.paths():
        pattern = folder / path
        # Path.glob takes no absolute patterns.
        found = [str(pattern)] if pattern.is_file() else glob.glob(str(pattern), recursive=True)
        matches = [match for match in found if Path(match).is_file()]
        if not matches:
            raise InputError(f"{sources_file}: {key}.path: no file matches {path} (in {folder})")
        for match in matches:
            file = _source_file(match, folder, settings.format, f"{sources_file}: {key}.format")
            files[file.name] = file
    return dict(sorted(files.items()))


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


def _check_unchanged(file: SourceFile) -> None:
    """Rows of two versions of a file must not be mixed, nor be taken for one of them."""
    try:
        stat = Path(file.path).stat()
    except FileNotFoundError:
        raise InputError(f"{file.name}: vanished while it was read. Load again.") from None
    if (stat.st_size, stat.st_mtime_ns) != (file.size_bytes, file.modified_at):
        raise InputError(f"{file.name}: changed while it was read. Load again.")


@contextmanager
def readable(files: Iterable[SourceFile]) -> Iterator[None]:
    """Turn what DuckDB says of a broken file into an `InputError` that names it."""
    try:
        yield
    except duckdb.Error as error:
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
        raise InputError(f"{names}: cannot be read: {_first_lines(text)}") from error


def _first_lines(message: str) -> str:
    """DuckDB's message without its advice, which is about options of its own."""
    lines = []
    for line in message.splitlines():
        if line.startswith(("Possible fixes", "Possible solution", "Try setting")) or not line:
            break
        lines.append(line)
    return " ".join(lines).split(" Error: ", 1)[-1]


def _layout_of(connection: Connection, file: SourceFile, delimiter: str | None) -> Layout | None:
    """The layout of a file, None if it has no rows."""
    if file.format == "csv":
        return _csv_layout(file, delimiter)
    layout = Layout(file.format)
    with readable([file]):
        if file.format == "parquet":
            described = connection.execute(f"describe select * from {_parquet([file])}").fetchall()
            columns = [(str(row[0]), str(row[1])) for row in described if f'"{row[0]}"' != _FILE]
            layout = Layout("parquet", tuple(columns))
        rows = _read(layout, [file], [], with_rows=True)
        query = f"select count(*) from (select 1 from {rows} limit 1)"
        return layout if scalar(connection, query) else None


def _csv_layout(file: SourceFile, delimiter: str | None) -> Layout | None:
    """The header, read here and not sniffed: one odd row must not change how a file is read."""
    open_text = gzip.open if file.path.lower().endswith(".gz") else open
    try:
        with open_text(file.path, "rt", encoding="utf-8-sig", newline="") as lines:
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


def _has_column(connection: Connection, file: SourceFile, layout: Layout, column: str) -> bool:
    if layout.format != "json":
        return layout.type_of(column) is not None
    with readable([file]):
        query = f"""
            select count(*) from (
                select 1 from {_json_objects([file])}
                where json_exists({_ROW}, {_pointer(column)})
                limit 1
            )
        """
        return scalar(connection, query) > 0


def _column_names(connection: Connection, file: SourceFile, layout: Layout) -> list[str]:
    if layout.format != "json":
        return [name for name, _ in layout.columns]
    query = f"select json_keys({_ROW}) from {_json_objects([file])} limit 1"
    row = connection.execute(query).fetchone()
    return list(row[0]) if row and row[0] else []


def _by_layout(
    files: Iterable[tuple[SourceFile, Layout | None]],
) -> dict[Layout, list[SourceFile]]:
    groups: dict[Layout, list[SourceFile]] = defaultdict(list)
    for file, layout in files:
        if layout is not None:
            groups[layout].append(file)
    return groups


def _read(layout: Layout, files: list[SourceFile], fields: list[str], *, with_rows: bool) -> str:
    """The files as a table: their columns (of JSON the fields, as text), the file, the row."""
    if layout.format == "json":
        return _json_rows(files, fields) if with_rows else _json_fields(files, fields)
    source = _csv(layout, files) if layout.format == "csv" else _parquet(files)
    if not with_rows:
        return source
    row = ", ".join(f"{quoted(name)} := {quoted(name)}" for name, _ in layout.columns)
    return f"(select *, to_json(struct_pack({row})) as {_ROW} from {source})"


def _parquet(files: list[SourceFile]) -> str:
    return f"read_parquet({_paths(files)}, {_FILE_OPTIONS})"


def _csv(layout: Layout, files: list[SourceFile]) -> str:
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name, _ in layout.columns)
    return (
        f"read_csv({_paths(files)}, auto_detect = false, header = true, "
        f"delim = {literal(layout.delimiter)}, quote = '\"', escape = '\"', "
        f"columns = {{{columns}}}, {_FILE_OPTIONS})"
    )


def _json_fields(files: list[SourceFile], fields: list[str]) -> str:
    if not files:
        return f"(select null::varchar as {_FILE}, {_no_fields(fields)} where false)"
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in dict.fromkeys(fields))
    return (
        f"read_json({_paths(files)}, format = 'newline_delimited', records = true, "
        f"columns = {{{columns}}}, {_FILE_OPTIONS})"
    )


def _json_objects(files: list[SourceFile]) -> str:
    return (
        f"(select json as {_ROW}, {_FILE} from "
        f"read_json_objects({_paths(files)}, format = 'newline_delimited', {_FILE_OPTIONS}))"
    )


def _json_rows(files: list[SourceFile], fields: list[str]) -> str:
    if not fields:
        return _json_objects(files)
    # The same conversion as read_json does, so that both ways see the same rows as rejected.
    shape = json.dumps(dict.fromkeys(fields, "VARCHAR"))
    return (
        f"(select {_ROW}, {_FILE}, unnest(json_transform({_ROW}, {literal(shape)})) "
        f"from {_json_objects(files)})"
    )


def _no_fields(fields: list[str]) -> str:
    return ", ".join(f"null::varchar as {quoted(name)}" for name in dict.fromkeys(fields))


_FILE_OPTIONS = f"filename = '{_FILE[1:-1]}', hive_partitioning = false"


def _paths(files: list[SourceFile]) -> str:
    return "[" + ", ".join(literal(_escaped(file.path)) for file in files) + "]"


def _escaped(path: str) -> str:
    """A path as a glob that matches nothing else: DuckDB takes every path for a glob."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in path)


def _pointer(field_name: str) -> str:
    """The JSON pointer to a top-level field."""
    return literal("/" + field_name.replace("~", "~0").replace("/", "~1"))


def _batched(items: Iterable[str], size: int) -> Iterator[list[str]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
