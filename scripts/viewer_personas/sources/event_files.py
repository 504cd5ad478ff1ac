"""Events in Parquet, CSV and JSON lines."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import islice
from pathlib import Path

import duckdb

from viewer_personas.config import FileEvents
from viewer_personas.database.raw import Report, SliceBatch, forget_files
from viewer_personas.database.sql import Connection, quoted, scalar, transaction
from viewer_personas.errors import InputError
from viewer_personas.mapping import TimeField
from viewer_personas.sources.event_rows import (
    LANDED,
    REQUIRED,
    Clock,
    Columns,
    events_select,
    near,
    service_columns,
    service_name,
)
from viewer_personas.sources.fields import is_number, is_time
from viewer_personas.sources.file_tables import (
    FILE,
    ROW,
    Layout,
    SourceFile,
    by_layout,
    check_unchanged,
    column_names,
    has_column,
    layout_of,
    list_files,
    name_bad_lines,
    readable,
    rows_of,
    twins,
)
from viewer_personas.sources.guesses import epoch_unit
from viewer_personas.sources.synonyms import folded

# Part of every slice's identity: increase it when the same file gives different rows.
_READER_VERSION = 2
_FILES_PER_SCAN = 100


@dataclass(frozen=True)
class FileDays:
    """How many rows a file has for each UTC day, and how many without a readable time."""

    days: dict[date, int]
    undated_rows: int = 0


@dataclass
class EventFiles:
    """All current event files, and the days of each.

    `new` names those that the database does not have in this version.
    """

    settings: FileEvents
    sources_file: Path
    clock: Clock
    mapping_version: str
    files: dict[str, SourceFile]
    days: dict[str, FileDays]
    new: list[str]
    layouts: dict[str, Layout | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

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
        days = [day for day in files_of_day if day <= self.clock.limit.date()]
        if not days:
            return {}
        every_day = (min(days) + timedelta(days=n) for n in range((max(days) - min(days)).days + 1))
        return {day: self._identity(day, files_of_day.get(day, [])) for day in every_day}

    def _identity(self, day: date, names: list[str]) -> str:
        files = [self.files[name] for name in names]
        parts: dict[str, object] = {
            "mapping": self.mapping_version,
            "files": [
                {"file": file.name, "size": file.size_bytes, "modified": file.modified_at}
                for file in files
            ],
        }
        if day == self.clock.limit.date():
            # a later load may accept more of this day
            parts["until"] = str(self.clock.limit)
        return json.dumps(parts)

    def warnings(self) -> list[str]:
        """Files read for the first time with rows but no readable time."""
        column = service_name(self.settings, "occurred_at")
        without_times = [
            f"{name}: no row has a readable {column}; "
            f"all {self.days[name].undated_rows} are in raw.rejected_events"
            for name in self.new
            if self.days[name].undated_rows and not self.days[name].days
        ]
        return [*self.notes, *twins(self.files, self.new), *without_times]

    def remember(self, connection: Connection) -> None:
        """Record the days of the new files, and the rows that belong to no day that is loaded.

        Deletes the records of missing files. One transaction.
        """
        undated = [name for name in self.new if self.days[name].undated_rows]
        last = self.clock.limit.date()
        ahead = [name for name, found in self.days.items() if max(found.days, default=last) > last]
        with transaction(connection):
            forget_files(connection, kept=sorted(set(self.files) - set(self.new)))
            _insert_source_files(connection, self)
            if undated:
                _insert_rejected(connection, self, undated, "occurred_at is null", {})
            if ahead:
                later = "occurred_at::date > $last"
                _insert_rejected(connection, self, ahead, later, {"last": last})

    def undated_sources(self) -> list[str]:
        """The names in raw.rejected_events of what is read for the first time."""
        return self.new

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


def inspect_events(
    connection: Connection, settings: FileEvents, sources_file: Path, clock: Clock, report: Report
) -> EventFiles:
    """List the event files, and check the columns and days of new or changed ones.

    Reads the time column of the new files, and changes nothing in the database. Raises `InputError`
    naming the file and the key: no file matches, a file cannot be read, a mapped column is not
    there, a numeric time has no unit.
    """
    files = list_files(settings, "events", sources_file)
    version = _mapping_version(settings)
    known = _known_days(connection, version, files)
    new = sorted(set(files) - set(known))
    events = EventFiles(settings, sources_file, clock, version, files, known, new)
    for name in new:
        _check_event_columns(connection, events, name)
    _check_optional_columns(connection, events)
    _scan_days(connection, events, report)
    return events


def _scan_days(connection: Connection, events: EventFiles, report: Report) -> None:
    """Find the days of the new files, with one read of their time column."""
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
            insert into raw.events by name
            select {LANDED}, occurred_at::date as source_date
            from ({_events_select(connection, events, names)})
            where problem is null and {of_these_days}
            """,
            parameters,
        )
    wanted = set(days)
    expected = sum(
        rows for name in names for day, rows in events.days[name].days.items() if day in wanted
    )
    # Whole rows are read only if some are missing: the second read costs as much as the first.
    if inserted < expected:
        where = f"problem is not null and {of_these_days}"
        _insert_rejected(connection, events, names, where, parameters)
    for name in names:
        check_unchanged(events.files[name])


def _insert_rejected(
    connection: Connection,
    events: EventFiles,
    names: list[str],
    where: str,
    parameters: Mapping[str, object],
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
                problem,
                source_row
            from ({_events_select(connection, events, names, with_rows=True)}) as source_rows
            inner join file_names on source_rows.source_file = file_names.path
            where {where}
            """,
            parameters,
        )
    connection.execute("drop table file_names")
    for name in names:
        name_bad_lines(connection, events.files[name], name)


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
    """The days of the files that the database has in exactly their current version."""
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
    """A hash of all settings that affect how a file becomes rows."""
    parts = {
        "reader": _READER_VERSION,
        "mapping": settings.version(),
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
    only_numbers: dict[str, float | None] = {}
    with readable(events.files[name] for name in names):
        rows = connection.execute(
            f"""
            select source_file,
                occurred_at::date,
                count(*),
                count(*) filter (where time_text is not null),
                count(*) filter (
                    where regexp_full_match(trim(time_text), '-?[0-9]+([.][0-9]+)?')
                ),
                median(try_cast(time_text as double))
            from ({_events_select(connection, events, names)})
            group by all
            """
        ).fetchall()
    for path, day, count, unreadable, numbers, middle in rows:
        name = name_of_path[path]
        if day is None:
            found[name] = FileDays(found[name].days, count)
            only_numbers[name] = middle if numbers and numbers == unreadable else None
        else:
            found[name].days[day] = count
    for name in names:
        middle = only_numbers.get(name)
        has_unit = events.settings.occurred_at.unit
        if middle is not None and not found[name].days and (not has_unit or epoch_unit(middle)):
            raise _wrong_epoch_unit(events, name, middle)
        check_unchanged(events.files[name])
    events.days.update(found)


def _check_event_columns(connection: Connection, events: EventFiles, name: str) -> None:
    file, settings = events.files[name], events.settings
    layout = _layout(connection, events, name)
    if layout is None:
        return
    mapped = settings.columns.mapped()
    events.notes += _near_names(connection, events, file, layout)
    for ours in REQUIRED:
        if ours in settings.constants.given():
            continue
        for path in mapped[ours].paths():
            if not has_column(connection, file, layout, path):
                raise _no_column(connection, events, file, layout, f"columns.{ours}", path)
    field = settings.occurred_at
    if len(field.paths()) > 1:
        return
    time_type = layout.type_of(field.paths()[0]) or "VARCHAR"
    if field.unit and is_time(time_type):
        raise InputError(
            f"{events.sources_file}: events.epoch_unit: the times in {name} are not numbers, "
            f"but {time_type}: remove epoch_unit"
        )
    if not field.unit and not field.format and is_number(time_type):
        raise _wrong_epoch_unit(events, name, _middle_time(connection, file, layout, field))


def _near_names(
    connection: Connection, events: EventFiles, file: SourceFile, layout: Layout
) -> Iterator[str]:
    """Optional columns that the file lacks, but has under a name that differs in few letters."""
    there = column_names(connection, file, layout)
    by_folded_name = {folded(name): name for name in there}
    for ours, field_of_ours in events.settings.columns.mapped().items():
        if ours in REQUIRED or ours in events.settings.constants.given():
            continue
        for path in field_of_ours.paths():
            near_name = by_folded_name.get(folded(path))
            if near_name and path not in there:
                yield (
                    f"{file.name}: there is no column {path} for {ours}, but '{near_name}':"
                    f' map it (events.columns: {{{ours}: "{near_name}"}})'
                )


def _check_optional_columns(connection: Connection, events: EventFiles) -> None:
    """A mapped optional column may be missing in some files; missing in all, it is misspelt."""
    if not events.new:
        return
    given = events.settings.columns.given()
    optional = {
        path: f"columns.{ours}"
        for ours, field in events.settings.columns.mapped().items()
        if ours in given and ours not in REQUIRED
        for path in field.paths()
    }
    for column, key in [*optional.items(), *((path, "where") for path in events.settings.where)]:
        missing = None
        # New files first: they nearly always have it, so the others need not be opened again.
        for name in [*events.new, *sorted(set(events.files) - set(events.new))]:
            file, layout = events.files[name], _layout(connection, events, name)
            if layout is None:
                continue
            if has_column(connection, file, layout, column):
                break
            missing = missing or (file, layout)
        else:
            if missing:
                raise _no_column(connection, events, *missing, key, column)


def _no_column(
    connection: Connection,
    events: EventFiles,
    file: SourceFile,
    layout: Layout,
    key: str,
    column: str,
) -> InputError:
    there = column_names(connection, file, layout)
    return InputError(
        f"{events.sources_file}: events.{key}: "
        f"there is no column {column} in {file.name}{near(column, there)}"
    )


def _middle_time(
    connection: Connection, file: SourceFile, layout: Layout, occurred_at: TimeField
) -> float | None:
    rows = rows_of(layout, [file], [], with_rows=False)
    query = f"select median({quoted(occurred_at.path[0])}) from {rows}"
    row = connection.execute(query).fetchone()
    return float(row[0]) if row and row[0] is not None else None


def _wrong_epoch_unit(events: EventFiles, name: str, middle: float | None) -> InputError:
    """The times are numbers that the unit, or none, does not explain; what their size suggests."""
    column = service_name(events.settings, "occurred_at")
    unit = events.settings.occurred_at.unit
    likely = epoch_unit(middle) if middle is not None else None
    hint = f"{middle:.0f} looks like {likely}, so set it to {likely}" if likely else ""
    hint = hint or "set it to s, ms, us or ns"
    return InputError(
        f"{events.sources_file}: events.epoch_unit: is {unit or 'not set'}, but the times in {name}"
        f" (column {column}) are numbers{' of another size' if unit else ''}: {hint}"
    )


def _layout(connection: Connection, events: EventFiles, name: str) -> Layout | None:
    if name not in events.layouts:
        file = events.files[name]
        events.layouts[name] = layout_of(connection, file, events.settings.delimiter)
    return events.layouts[name]


def _events_select(
    connection: Connection, events: EventFiles, names: Sequence[str], *, with_rows: bool = False
) -> str:
    """A query of the rows of the files under our names and in our types, as `events_select`.

    Also source_file (its path), and with `with_rows` source_row, the row as JSON.
    """
    groups = by_layout((events.files[name], _layout(connection, events, name)) for name in names)
    if not groups:
        groups = {Layout("json"): []}
    selects = [
        _group_select(events, layout, files, with_rows=with_rows)
        for layout, files in groups.items()
    ]
    return " union all ".join(selects)


def _group_select(
    events: EventFiles, layout: Layout, files: list[SourceFile], *, with_rows: bool
) -> str:
    settings, is_json = events.settings, layout.format == "json"
    columns = Columns(layout.type_of, is_typed=layout.format == "parquet")
    if is_json:
        columns = Columns(lambda _: "VARCHAR", is_json=True)
    fields = dict.fromkeys(columns.column(path)[0] for path in service_columns(settings))
    return events_select(
        settings,
        columns,
        rows_of(layout, files, list(fields), with_rows=with_rows),
        occurred_at=settings.occurred_at,
        clock=events.clock,
        extra=[f"{FILE} as source_file", *([f"{ROW} as source_row"] if with_rows else [])],
    )


def _batched(items: Iterable[str], size: int) -> Iterator[list[str]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
