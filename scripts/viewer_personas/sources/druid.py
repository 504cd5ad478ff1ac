"""The Druid driver: events from a datasource, one slice per UTC day.

A slice is accepted only if it is complete: the answer is not truncated, all segments of the day
were available before and after, and Druid counts as many rows as arrived.
"""

import hashlib
import json
import uuid
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from pathlib import Path

import duckdb

from viewer_personas.config import DruidEvents
from viewer_personas.database.connection import scratch_directory
from viewer_personas.database.raw import SliceBatch, forget_files
from viewer_personas.database.sql import (
    Connection,
    literals,
    quoted,
    scalar,
    transaction,
    typed_columns,
)
from viewer_personas.druid import Druid, Incomplete, Passing, Segment
from viewer_personas.errors import InputError, Unreachable
from viewer_personas.mapping import EventFields, TimeField
from viewer_personas.sources.event_rows import (
    LANDED,
    MOST_EVENTS,
    REQUIRED,
    Clock,
    Columns,
    events_select,
    near,
    service_name,
)
from viewer_personas.sources.fields import SECONDS_IN, conditions

# Part of every slice's identity: increase it when the same segments give different rows.
_READER_VERSION = 2
_DAY = timedelta(days=1)
# The first time that counts as readable; see fields.
_FIRST_DAY = date(1990, 1, 1)
_TIME = TimeField(path=["__time"], unit="ms")
# Grouping a whole day may need more memory than Druid gives a query; an hour hardly does.
_ROLLUP_PIECE = timedelta(hours=1)
_KEYS = ("user_id", "content_id", "event_type")
_NOT_GROUPED = ("event_id", "device")
_ROWS, _SECONDS = "viewer personas: rows", "viewer personas: microseconds"
_FIRST, _LAST = "viewer personas: first", "viewer personas: last"
_UNREADABLE = "viewer personas: unreadable seconds"


class SliceRefused(Exception):
    """A day could not be read completely; others may be."""


@dataclass(frozen=True)
class Day:
    """The state of one UTC day in Druid: a hash of its segments, and what is special about them."""

    version: str
    is_open: bool
    """Whether part of it is still being written and not yet published."""
    missing: tuple[Segment, ...]
    """Segments that queries should see but do not."""


@dataclass(frozen=True)
class Fetched:
    """A completely read day: files of JSON lines, and the source rows that they stand for."""

    day: Day
    files: list[Path]
    odd: list[Path]
    """With a roll-up: the rows that cannot be events, not grouped."""
    rows: int


@dataclass
class DruidDays:
    """The current days of a datasource; a driver of events for `load`.

    `columns` are the mapped columns that exist, ours -> the service's, and `types` their DuckDB
    types by the service's names.
    """

    settings: DruidEvents
    clock: Clock
    druid: Druid
    columns: dict[str, str]
    types: dict[str, str]
    days: dict[date, Day] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def identities(self) -> dict[date, str]:
        """The source identity wanted for every day from the first to the last with rows."""
        return {day: self._identity(day, state) for day, state in self.days.items()}

    def _identity(self, day: date, state: Day) -> str:
        parts = {"mapping": _mapping_version(self.settings), "segments": state.version}
        if day == self.clock.limit.date():
            # a later load may accept more of this day
            parts["until"] = str(self.clock.limit)
        if state.is_open:
            # never equal: rows arrive without any change in the list of segments
            parts["read"] = str(uuid.uuid4())
        return json.dumps(parts)

    def warnings(self) -> list[str]:
        """Warnings about the datasource, one sentence each."""
        return self.notes

    def undated_sources(self) -> list[str]:
        """None: every row of Druid has a time."""
        return []

    def end(self, day: date) -> datetime:
        """The end of a day, or of the times that are accepted, if earlier; exclusive."""
        accepted = self.clock.limit.replace(microsecond=0) + timedelta(seconds=1)
        return min(datetime.combine(day, time()) + _DAY, accepted)

    def remember(self, connection: Connection) -> None:
        """Delete what a files driver recorded, and its undated rows."""
        with transaction(connection):
            forget_files(connection, kept=[])

    def batches(self, connection: Connection, stale: dict[date, str]) -> Iterator[SliceBatch]:
        """The stale days, one batch each; while one is landed, the next ones are read.

        Raises `Unreachable` if Druid stops answering, and at the end, if days could not be read
        completely, with all of their names.
        """
        refused: dict[date, str] = {}
        with (
            scratch_directory(connection) as folder,
            ThreadPoolExecutor(self.settings.parallel_slices) as pool,
        ):
            try:
                for day, future in _in_order(pool, self, sorted(stale), folder):
                    try:
                        fetched = future.result()
                    except SliceRefused as error:
                        refused[day] = str(error)
                        continue
                    yield SliceBatch(
                        identities={day: self._identity(day, fetched.day)},
                        land=partial(_land, self, day, fetched),
                        open_days=frozenset([day] if fetched.day.is_open else []),
                    )
                    for file in [*fetched.files, *fetched.odd]:
                        file.unlink()
            finally:
                self.druid.stop()
                pool.shutdown(cancel_futures=True)
        if refused:
            lines = [f"  {day}: {reason}" for day, reason in sorted(refused.items())]
            raise Unreachable(
                f"{self.druid.place}: {len(refused)} days of {self.settings.datasource} could not"
                " be read whole and are as they were before; run again later:\n" + "\n".join(lines)
            )


def _in_order(
    pool: ThreadPoolExecutor, days: DruidDays, wanted: list[date], folder: Path
) -> Iterator[tuple[date, Future[Fetched]]]:
    """The days with their reads, in order; the pool limits how many run at a time."""
    waiting: deque[tuple[date, Future[Fetched]]] = deque()
    for day in wanted:
        waiting.append((day, pool.submit(_fetch, days, day, folder)))
        if len(waiting) > days.settings.parallel_slices:
            yield waiting.popleft()
    yield from waiting


# --- what there is ------------------------------------------------------------------------------


def inspect_events(settings: DruidEvents, sources_file: Path, clock: Clock) -> DruidDays:
    """Ask Druid for the columns, the segments and the range of times of the datasource.

    Reads no rows. Raises `InputError` if the datasource or a mapped column is not there or the
    login is refused, and `Unreachable` if Druid does not answer.
    """
    place = f"{sources_file}: events"
    druid = Druid(settings, place, sources_file.absolute().parent)
    there = druid.columns(settings.datasource)
    if not there:
        raise InputError(
            f"{place}.datasource: there is no datasource {settings.datasource} in {settings.url}"
            f"{near(settings.datasource, druid.datasources())}"
        )
    columns = _mapped_columns(settings, there, place)
    _check_where(settings, there, place)
    days = DruidDays(settings, clock, druid, columns, _duckdb_types(columns, there))
    days.days, days.notes = druid.repeat(lambda: _look_at_days(days))
    if settings.rollup and "event_id" in there:
        days.notes.append("rollup: events that repeat an event_id are not left out")
    return days


def _mapped_columns(settings: DruidEvents, there: dict[str, str], place: str) -> dict[str, str]:
    """Our columns that the datasource has -> their names there. All of the required ones."""
    found = {}
    given, constants = settings.columns.given(), settings.constants.given()
    for ours in EventFields.model_fields:
        # the time of an event is always Druid's own
        name = "__time" if ours == "occurred_at" else service_name(settings, ours)
        if ours in constants or (settings.rollup and ours in _NOT_GROUPED):
            continue
        if name in there:
            found[ours] = name
        elif ours in given or ours in REQUIRED:
            raise InputError(
                f"{place}.columns.{ours}: there is no column {name} in the datasource"
                f" {settings.datasource}{near(name, sorted(there))}"
            )
    return found


def _check_where(settings: DruidEvents, there: dict[str, str], place: str) -> None:
    for name in settings.where:
        if name not in there:
            raise InputError(
                f"{place}.where: there is no column {name} in the datasource"
                f" {settings.datasource}{near(name, sorted(there))}"
            )


def _duckdb_types(columns: dict[str, str], there: dict[str, str]) -> dict[str, str]:
    numbers = {"BIGINT": "BIGINT", "DOUBLE": "DOUBLE", "FLOAT": "DOUBLE"}
    types = {name: numbers.get(there[name], "VARCHAR") for name in columns.values()}
    return types | {"__time": "BIGINT"}


def _look_at_days(days: DruidDays) -> tuple[dict[date, Day], list[str]]:
    """The existing days, and warnings about the times of the rows.

    Raises `Passing` while the list of segments is being changed.
    """
    settings, druid = days.settings, days.druid
    segments = druid.segments(settings.datasource)
    if any(_is_in_transit(segment) for segment in segments):
        raise Passing(f"the segments of {settings.datasource} are being changed")
    first, last, strays = _bounds(days)
    missing = [_days_of(segment) for segment in segments if segment.is_missing]
    if any(end - start > 366 * _DAY for start, end in missing):
        raise Incomplete(
            f"segments of {settings.datasource} are not available, and their days are unknown:"
            " check that they are loaded"
        )
    starts = [start for start, _ in missing] + ([first] if first else [])
    ends = [end for _, end in missing] + ([last] if last else [])
    notes = []
    if strays:
        notes.append(
            f"{strays} events of {settings.datasource} are before {_FIRST_DAY} or"
            f" {days.clock.reason}; they are not loaded"
        )
    if not starts:
        return {}, notes
    covered = (max(min(starts), _FIRST_DAY), min(max(ends), days.clock.limit.date()))
    by_day: dict[date, list[Segment]] = {
        covered[0] + n * _DAY: [] for n in range((covered[1] - covered[0]).days + 1)
    }
    for segment in segments:
        start, end = _days_of(segment)
        start, end = max(start, covered[0]), min(end, covered[1])
        for n in range((end - start).days + 1):
            by_day[start + n * _DAY].append(segment)
    return {day: _day(found) for day, found in by_day.items()}, notes


def _is_in_transit(segment: Segment) -> bool:
    """Served, but neither published nor being written: about to be dropped, or still unknown."""
    return segment.is_available and not segment.is_published and not segment.is_realtime


def _bounds(days: DruidDays) -> tuple[date | None, date | None, int]:
    """The first and the last day with visible rows, and the number of rows with absurd times."""

    def ask(where: str = "") -> tuple[datetime | None, datetime | None]:
        row = days.druid.rows(
            'SELECT TIMESTAMP_TO_MILLIS(MIN("__time")) AS "first",'
            ' TIMESTAMP_TO_MILLIS(MAX("__time")) AS "last"'
            f" FROM {quoted(days.settings.datasource)}{where}",
            # two lookups instead of a scan; older versions ignore it
            {"enableTimeBoundaryPlanning": True},
        )[0]
        if row["first"] is None:
            return None, None
        epoch = datetime(1970, 1, 1)
        first, last = (epoch + timedelta(milliseconds=row[name]) for name in ("first", "last"))
        return first, last

    start, end = datetime.combine(_FIRST_DAY, time()), days.end(days.clock.limit.date())
    strays = 0
    try:
        first, last = ask()
    except OverflowError:  # beyond the year 9999
        first, last = datetime.min, datetime.max
    if first and last and not (first >= start and last < end):
        inside = _between(start, end)
        count = f"SELECT COUNT(*) AS n FROM {quoted(days.settings.datasource)} WHERE NOT ({inside})"
        strays = days.druid.rows(count)[0]["n"]
        first, last = ask(f" WHERE {inside}")
    return first.date() if first else None, last.date() if last else None, strays


def _days_of(segment: Segment) -> tuple[date, date]:
    """The first and the last UTC day of a segment; a segment for all times has all days."""

    def moment(text: str, otherwise: datetime) -> datetime:
        try:
            return datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)
        except (ValueError, OverflowError):
            return otherwise

    end = moment(segment.end, datetime.max) - timedelta(microseconds=1)
    return moment(segment.start, datetime.min).date(), end.date()


def _day(segments: list[Segment]) -> Day:
    current = [
        segment
        for segment in segments
        if segment.is_realtime or (segment.is_published and not segment.is_overshadowed)
    ]
    parts = sorted((part.segment_id, part.size, part.is_realtime) for part in current)
    return Day(
        version=hashlib.md5(json.dumps(parts).encode()).hexdigest(),
        is_open=any(segment.is_realtime for segment in current),
        missing=tuple(segment for segment in current if segment.is_missing),
    )


def _mapping_version(settings: DruidEvents) -> str:
    """A hash of all settings that affect the rows."""
    parts = {
        "reader": _READER_VERSION,
        "datasource": settings.datasource,
        "settings": settings.version(),
        "rollup": settings.rollup,
    }
    return hashlib.md5(json.dumps(parts, sort_keys=True).encode()).hexdigest()


# --- reading one day ----------------------------------------------------------------------------


def _fetch(days: DruidDays, day: date, folder: Path) -> Fetched:
    """Read a day until it is complete. Raises `SliceRefused`, or `Unreachable` if unanswered."""
    try:
        return days.druid.repeat(lambda: _attempt(days, day, folder))
    except Unreachable as error:
        if isinstance(error.__cause__, Incomplete):
            raise SliceRefused(str(error.__cause__)) from error
        raise


def _attempt(days: DruidDays, day: date, folder: Path) -> Fetched:
    state, counted = _state(days, day), _count(days, day)
    odd: list[Path] = []
    if days.settings.rollup:
        files, rows = _fetch_groups(days, day, folder)
        if rows < counted:
            target = folder / f"{day}.odd"
            file, lines = days.druid.stream(_rows_query(days, day, odd=True), target)
            odd, rows = [file], rows + lines
    else:
        file, rows = days.druid.stream(_rows_query(days, day), folder / str(day))
        files = [file]
    after, counted_after = _state(days, day), _count(days, day)
    if after.version != state.version:
        raise Incomplete("its segments changed while it was read")
    # rows may be added to an open day while it is read
    if not counted <= rows <= counted_after or (not state.is_open and counted != counted_after):
        raise Incomplete(f"{rows} rows came, but Druid counts {counted}, then {counted_after}")
    return Fetched(state, files, odd, rows)


def _state(days: DruidDays, day: date) -> Day:
    """The segments of the day. Raises if queries cannot see a part of the day."""
    start = datetime.combine(day, time())
    state = _day(days.druid.segments(days.settings.datasource, start, start + _DAY))
    if not state.missing:
        return state
    names = ", ".join(segment.segment_id for segment in state.missing[:3])
    if all(segment.replication_factor == 0 for segment in state.missing):
        raise SliceRefused(
            f"{len(state.missing)} segments are only in deep storage, where queries cannot see"
            f" them: add a load rule, or skip the day with --since ({names})"
        )
    raise Incomplete(f"{len(state.missing)} of its segments are not available ({names})")


def _count(days: DruidDays, day: date) -> int:
    source = quoted(days.settings.datasource)
    query = f"SELECT COUNT(*) AS n FROM {source} WHERE {_rows_of(days, day, days.end(day))}"
    # what is cached may be older than the segments
    rows = days.druid.rows(query, {"useCache": False, "useResultLevelCache": False})
    return int(rows[0]["n"])


def _rows_query(days: DruidDays, day: date, *, odd: bool = False) -> str:
    columns = [quoted(name) for name in days.columns.values() if name != "__time"]
    where = _rows_of(days, day, days.end(day))
    if odd:
        where += f" AND NOT ({_is_event(days)})"
    return (
        f'SELECT TIMESTAMP_TO_MILLIS("__time") AS "__time", {", ".join(columns)}'
        f" FROM {quoted(days.settings.datasource)} WHERE {where}"
    )


def _rows_of(days: DruidDays, first: date | datetime, end: date | datetime) -> str:
    """The condition of the rows to read between two times."""
    texts = {name: f"CAST({quoted(name)} AS VARCHAR)" for name in days.settings.where}
    wanted = conditions(days.settings.where, texts, cast="CAST")
    return _between(first, end) + (f" AND {wanted}" if texts else "")


def _events(days: DruidDays) -> str:
    """How many events a row stands for."""
    if "event_count" not in days.columns:
        return "1"
    return f"COALESCE(CAST({quoted(days.columns['event_count'])} AS BIGINT), 1)"


def _is_event(days: DruidDays) -> str:
    """The condition of rows with a user and a possible count; never null."""
    # Compare with = and > only: Druid 27 treats null as different from '', and so keeps it.
    user = f"COALESCE(CAST({quoted(days.columns['user_id'])} AS VARCHAR), '') > ''"
    if "event_count" not in days.columns:
        return user
    name = quoted(days.columns["event_count"])
    count = f"COALESCE(CAST({name} AS BIGINT), CASE WHEN {name} IS NULL THEN 1 ELSE 0 END)"
    return f"{user} AND {count} BETWEEN 1 AND {MOST_EVENTS}"


def _between(first: date | datetime, end: date | datetime) -> str:
    def moment(value: date | datetime) -> str:
        return f"TIMESTAMP '{value:%Y-%m-%d %H:%M:%S}'"

    return f'"__time" >= {moment(first)} AND "__time" < {moment(end)}'


def _fetch_groups(days: DruidDays, day: date, folder: Path) -> tuple[list[Path], int]:
    """The groups of a day, hour by hour, and the number of source rows in them."""
    start = datetime.combine(day, time())
    files = []
    for n in range(_DAY // _ROLLUP_PIECE):
        piece = start + n * _ROLLUP_PIECE
        query = _groups_query(days, piece, min(piece + _ROLLUP_PIECE, days.end(day)))
        file, _ = days.druid.stream(query, folder / f"{day}.{n}")
        files.append(file)
    with duckdb.connect() as connection:
        rows = scalar(
            connection, f"select sum({quoted(_ROWS)}) from {_read(files, {_ROWS: 'BIGINT'})}"
        )
    return files, rows


def _groups_query(days: DruidDays, first: datetime, end: datetime) -> str:
    """One row for each user, content, event type and quarter of an hour.

    Seconds are summed as whole microseconds, which is exact in any order, as in user_content_hours;
    and only values that can be watch seconds.
    """
    keys = [quoted(days.columns[ours]) for ours in _KEYS if ours in days.columns]
    measures = {
        _ROWS: "COUNT(*)",
        _FIRST: 'TIMESTAMP_TO_MILLIS(MIN("__time"))',
        _LAST: 'TIMESTAMP_TO_MILLIS(MAX("__time"))',
    }
    if "watch_seconds" in days.columns:
        name = quoted(days.columns["watch_seconds"])
        seconds = f"CAST({name} AS DOUBLE)"
        most = 1_000_000_000 / SECONDS_IN[days.settings.columns.mapped()["watch_seconds"].unit]
        is_readable = f"{seconds} >= 0 AND {seconds} < {most:.0f}"
        measures[_SECONDS] = (
            f"SUM(CAST(ROUND({seconds} * 1000000) AS BIGINT)) FILTER (WHERE {is_readable})"
        )
        measures[_UNREADABLE] = (
            f"SUM({_events(days)}) FILTER (WHERE NOT COALESCE({is_readable}, FALSE)"
            f" AND {name} IS NOT NULL)"
        )
    if "event_count" in days.columns:
        measures[days.columns["event_count"]] = f"SUM({_events(days)})"
    selected = [*keys, *(f"{text} AS {quoted(name)}" for name, text in measures.items())]
    quarter = f"TIME_FLOOR(\"__time\", '{days.settings.rollup}')"
    return (
        f"SELECT {', '.join(selected)} FROM {quoted(days.settings.datasource)}"
        f" WHERE {_rows_of(days, first, end)} AND {_is_event(days)}"
        f" GROUP BY {', '.join([*keys, quarter])}"
    )


# --- landing ------------------------------------------------------------------------------------


def _land(days: DruidDays, day: date, fetched: Fetched, connection: Connection) -> None:
    """Insert the rows of a day, and apart those without a user.

    Raises `Unreachable` if the files do not give the rows that came, which takes all back.
    """
    if days.settings.rollup:
        source, types = _ungrouped(days, fetched.files)
        _insert_events(connection, days, day, source, types, quoted(_UNREADABLE))
        _insert_rejected(connection, days, day, fetched.odd)
        return
    inserted = _insert_events(connection, days, day, _read(fetched.files, days.types), days.types)
    if inserted < fetched.rows:
        inserted += _insert_rejected(connection, days, day, fetched.files)
    if inserted != fetched.rows:
        raise Unreachable(
            f"{days.druid.place}: {fetched.rows} rows came for {day}, and {inserted} could be read"
        )


def _selected(
    days: DruidDays, source: str, types: dict[str, str], unreadable: str | None, *extra: str
) -> str:
    return events_select(
        days.settings,
        Columns(types.get, is_typed=True),
        source,
        occurred_at=_TIME,
        clock=days.clock,
        is_filtered=True,
        unreadable_seconds=unreadable,
        extra=extra,
    )


def _insert_events(
    connection: Connection,
    days: DruidDays,
    day: date,
    source: str,
    types: dict[str, str],
    unreadable: str | None = None,
) -> int:
    unreadable = unreadable if unreadable and "watch_seconds" in days.columns else None
    return scalar(
        connection,
        f"""
        insert into raw.events by name
        select {LANDED}, $day::date as source_date
        from ({_selected(days, source, types, unreadable)})
        where problem is null
        """,
        {"day": day},
    )


def _insert_rejected(connection: Connection, days: DruidDays, day: date, files: list[Path]) -> int:
    if not files:
        return 0
    row = ", ".join(f"{quoted(name)} := {quoted(name)}" for name in days.types)
    source, whole = _read(files, days.types), f"to_json(struct_pack({row})) as source_row"
    return scalar(
        connection,
        f"""
        insert into raw.rejected_events
        select $source, $day, problem, source_row
        from ({_selected(days, source, days.types, None, whole)})
        where problem is not null
        """,
        {"source": f"druid: {days.settings.datasource}", "day": day},
    )


def _ungrouped(days: DruidDays, files: list[Path]) -> tuple[str, dict[str, str]]:
    """Groups as typed rows again: as few as keep the first and the last time of each, and the
    events whose seconds could not be read.

    So first and last times, counts and sums aggregated from them equal those of the rows.
    """
    mapped = {name: days.columns[name] for name in _KEYS if name in days.columns}
    keys = {name: days.types[name] for name in mapped.values()}
    count_name = days.columns.get("event_count", service_name(days.settings, "event_count"))
    seconds_name = days.columns.get("watch_seconds")
    measures = dict.fromkeys([_ROWS, _FIRST, _LAST], "BIGINT")
    if seconds_name:
        measures |= {_SECONDS: "BIGINT", _UNREADABLE: "BIGINT"}
    if "event_count" in days.columns:
        measures[count_name] = "BIGINT"
    count = quoted(count_name if "event_count" in days.columns else _ROWS)
    is_spread = f"({quoted(_LAST)} > {quoted(_FIRST)})"
    unreadable = f"coalesce({quoted(_UNREADABLE)}, 0)" if seconds_name else "0"
    seconds = f"{quoted(_SECONDS)} / 1e6" if seconds_name else "null"
    groups = f"""(
        select *, {is_spread} as is_spread, {count} - {is_spread}::bigint as before_last,
            {unreadable} as unreadable, {seconds} as seconds
        from {_read(files, {**keys, **measures})}
    )"""
    key_list = "".join(f"{quoted(name)}, " for name in keys)

    def rows(moment: str, number: str, seconds: str, is_unreadable: str, where: str) -> str:
        text = f"case when {is_unreadable} then 'in a group' end as {quoted(_UNREADABLE)}"
        measured = f", {seconds} as {quoted(seconds_name)}, {text}" if seconds_name else ""
        return f"""
            select {key_list}{quoted(moment)} as "__time",
                {number} as {quoted(count_name)}{measured}
            from {groups}
            where {where}
        """

    readable = "before_last - unreadable"
    parts = [
        rows(_FIRST, readable, "seconds", "false", f"{readable} > 0"),
        rows(_FIRST, "least(unreadable, before_last)", "null", "true",
             "least(unreadable, before_last) > 0"),
        rows(_LAST, "1", f"case when {readable} <= 0 then seconds end", "unreadable > before_last",
             "is_spread"),
    ]  # fmt: skip
    types = {**keys, "__time": "BIGINT", count_name: "BIGINT"}
    return f"({' union all '.join(parts)})", types | (
        {seconds_name: "DOUBLE"} if seconds_name else {}
    )


def _read(files: list[Path], types: dict[str, str]) -> str:
    columns = typed_columns(types)
    return f"read_json({literals(files)}, format = 'newline_delimited', columns = {columns})"
