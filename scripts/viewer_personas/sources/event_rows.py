"""From the rows of a source to those of raw.events: one mapping and one set of types for all."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from viewer_personas.config import DruidEvents, FileEvents
from viewer_personas.database.sql import literal, pointer, quoted
from viewer_personas.mapping import Mapped, TimeField
from viewer_personas.sources.fields import (
    Value,
    conditions,
    is_date,
    is_number,
    number_as_text,
    readable,
    there,
)
from viewer_personas.sources.synonyms import folded

REQUIRED = ("user_id", "event_type", "occurred_at")
LANDED = (
    "event_id, user_id, content_id, event_type, occurred_at, watch_seconds, event_count, device, "
    "has_time, unreadable_seconds"
)
# Sums of more would not fit into a bigint.
MOST_EVENTS = 1_000_000_000
# A row without one of these, though something stands there, is rejected.
_KEYS = ("event_id", "user_id", "content_id", "event_type", "device")


@dataclass(frozen=True)
class Clock:
    """The last moment that an event may have: that of the load and `hours`; UTC, no zone."""

    limit: datetime
    hours: float

    @property
    def reason(self) -> str:
        """Why a later event is rejected."""
        return f"later than the load by more than {self.hours:g} hours (max_clock_ahead_hours)"


@dataclass(frozen=True)
class Columns:
    """The columns of a source. `type_of` gives the DuckDB type of one, None if it does not exist.

    `is_json`: every column is a text, and one with an object or a list has JSON. `is_typed`: a
    text is one at the source, and not a number in a format without types.
    """

    type_of: Callable[[str], str | None]
    is_json: bool = False
    is_typed: bool = False

    def value(self, path: str) -> Value | None:
        """The value at a path: a column, or a part of one with an object; None if none exists."""
        column, inside = self.column(path)
        kind = self.type_of(column)
        if kind is None:
            return None
        if inside:
            document = f"try_cast({quoted(column)} as json)"
            if not self.is_json and kind != "VARCHAR":
                document = f"to_json({quoted(column)})"
            return Value(f"({document} ->> {pointer(inside)})", is_json=True)
        if kind == "VARCHAR":
            return Value(quoted(column), is_json=self.is_json, is_typed=self.is_typed)
        if is_number(kind):
            return Value(number_as_text(quoted(column), kind), kind, column=quoted(column))
        return Value(f"{quoted(column)}::varchar", kind, column=quoted(column))

    def column(self, path: str) -> tuple[str, str]:
        """The column of a path, and the path inside it, often empty."""
        if "." in path and (self.is_json or self.type_of(path) is None):
            column, _, inside = path.partition(".")
            return column, inside
        return path, ""


def service_columns(settings: FileEvents | DruidEvents) -> list[str]:
    """The paths of everything that the mapping reads."""
    constants = settings.constants.given()
    paths = [
        path
        for ours, field in settings.columns.mapped().items()
        if ours not in constants
        for path in field.paths()
    ]
    return list(dict.fromkeys([*paths, *settings.where]))


def service_name(settings: FileEvents | DruidEvents, ours: str) -> str:
    """The service's name for one of our columns; by default the same."""
    field: Mapped = settings.columns.mapped()[ours]
    return " and ".join(field.paths())


def events_select(
    settings: FileEvents | DruidEvents,
    columns: Columns,
    source: str,
    *,
    occurred_at: TimeField,
    clock: Clock,
    is_filtered: bool = False,
    unreadable_seconds: str | None = None,
    extra: Sequence[str] = (),
) -> str:
    """A query of the rows of `source` under our names and in our types.

    Also time_text, the original of an unreadable time, `problem`, why a row is not an event (null:
    it is one), and `extra` expressions. `is_filtered`: the source has applied `where` already;
    `unreadable_seconds`: SQL for seconds that could not be read, if the source knows.
    """
    fields = {**settings.columns.mapped(), "occurred_at": occurred_at}
    constants = settings.constants.given()
    found = {
        name: None if name in constants else _found(columns, field)
        for name, field in fields.items()
    }
    # Each step is a query of its own, so that no text is worked out twice.
    plain = {name: value.plain if value else "null::varchar" for name, value in found.items()}
    texts = {
        name: literal(constants[name])
        if name in constants
        else there(fields[name], _text(name), settings.nulls)
        for name in fields
    }
    values = {
        name: _text(name)
        if name in constants
        else readable(fields[name], *_as_column(name, found[name]))
        for name in fields
    }
    seconds = _value("watch_seconds")
    unreadable = (
        unreadable_seconds or f"case when {seconds} is null then {_text('watch_seconds')} end"
    )
    moment, of_time = _as_column("occurred_at", found["occurred_at"])
    problem = _problem(clock, [name for name, value in found.items() if value and value.is_json])
    where_texts = {} if is_filtered else {path: _plain(columns, path) for path in settings.where}
    where = conditions({path: settings.where[path] for path in where_texts}, where_texts)
    return f"""
        select {_listed({name: _value(name) for name in _KEYS})},
            {_value("occurred_at")} as occurred_at,
            not {is_date(occurred_at, of_time.column or moment, of_time.type)} as has_time,
            case when {_value("occurred_at")} is null then {moment} end as time_text,
            {seconds} as watch_seconds,
            {unreadable} as unreadable_seconds,
            coalesce({_value("event_count")}, 1) as event_count,
            {problem} as problem
            {"".join(f", {expression}" for expression in extra)}
        from (
            select *, {_listed({_value(name): value for name, value in values.items()})}
            from (
                select * replace ({_listed({_text(name): text for name, text in texts.items()})})
                from (
                    select *, {_listed({_text(name): text for name, text in plain.items()})}
                    from {source}
                    where {where}
                )
            )
        )
    """


def _listed(expressions: dict[str, str]) -> str:
    return ", ".join(f"{expression} as {name}" for name, expression in expressions.items())


def _text(name: str) -> str:
    return quoted(f"{name}: text")


def _value(name: str) -> str:
    return quoted(f"{name}: value")


def _found(columns: Columns, field: Mapped) -> Value | None:
    """The value of a field; of several columns, their texts behind each other."""
    values = [columns.value(path) for path in field.paths()]
    if len(values) == 1:
        return values[0]
    texts = [value.plain if value else "null::varchar" for value in values]
    return Value("(" + " || ' ' || ".join(texts) + ")")


def _as_column(name: str, value: Value | None) -> tuple[str, Value]:
    """The text of a field where it is a column, and its value with it."""
    if value is None:
        return _text(name), Value(_text(name))
    return _text(name), replace(value, text=_text(name))


def _plain(columns: Columns, path: str) -> str:
    value = columns.value(path)
    return value.plain if value else "null::varchar"


def _problem(clock: Clock, json_fields: list[str]) -> str:
    """SQL for why a row is no event; null if it is one."""
    moment, count = _value("occurred_at"), _value("event_count")
    unreadable_keys = " ".join(
        f"when {_value(name)} is null and {_text(name)} is not null"
        f" then 'unreadable {name}: ' || {_text(name)}"
        for name in _KEYS
        if name in json_fields
    )
    # Volatile, though never true: DuckDB would work out a filter on it before and apart from all
    # columns, each of its texts several times (2 million lines of CSV: 9.7 CPU s, not 2.4).
    range_of_counts = f"'event_count is not between 1 and {MOST_EVENTS}: '"
    return f"""
        case
            when random() < 0 then 'never'
            when {moment} is null and {_text("occurred_at")} is null then 'no time'
            when {moment} is null then 'unreadable time: ' || {_text("occurred_at")}
            when {moment} > timestamp '{clock.limit}' then {literal(clock.reason)}
            {unreadable_keys}
            when nullif(trim({_text("user_id")}), '') is null then 'no user'
            when {count} between 1 and {MOST_EVENTS} or {_text("event_count")} is null then null
            else {range_of_counts} || {_text("event_count")}
        end
    """


def near(wanted: str, there: list[str]) -> str:
    """The end of a message: what was probably meant, else what exists."""
    found = difflib.get_close_matches(wanted, there, n=1)
    found = [name for name in there if folded(name) == folded(wanted)] or found
    listed = ", ".join(there[:20]) + (", …" if len(there) > 20 else "")
    return f"; did you mean {found[0]}?" if found else f"; known are {listed}"
