"""From the rows of a source to those of raw.events: one mapping and one set of types for all."""

import difflib
from collections.abc import Callable, Sequence

from viewer_personas.config import DruidEvents, EventColumns, FileEvents
from viewer_personas.database.sql import literal, quoted

REQUIRED = ("user_id", "event_type", "occurred_at")


def service_name(settings: FileEvents | DruidEvents, ours: str) -> str:
    """The service's name for one of our columns; by default the same."""
    return settings.columns.given().get(ours, ours)


def events_select(
    settings: FileEvents | DruidEvents,
    type_of: Callable[[str], str | None],
    source: str,
    *,
    epoch_unit: str | None,
    extra: Sequence[str] = (),
) -> str:
    """A query of the rows of `source` under our names and in our types.

    `type_of` gives the DuckDB type of a column of the service, None if it does not exist. Also
    time_text, the original of an unreadable time, and `extra` expressions. occurred_at and user_id
    are null if they are unreadable or missing.
    """
    constants = settings.constants.given()
    fields = {
        ours: service_name(settings, ours)
        for ours in EventColumns.model_fields
        if ours not in constants
    }

    def text(ours: str) -> str:
        if ours in constants:
            return literal(constants[ours])
        if type_of(fields[ours]) is None:
            return "null::varchar"
        # CSV cannot tell an empty text from null, so no format distinguishes them.
        return f"nullif({quoted(fields[ours])}::varchar, '')"

    def number(ours: str, number_type: str) -> str:
        # if the value is the same, without the slower conversion to text
        there = type_of(fields[ours]) or "VARCHAR"
        if ours not in constants and (_is_integer(there) or there.lower() == number_type):
            return f"try_cast({quoted(fields[ours])} as {number_type})"
        return f"try_cast({text(ours)} as {number_type})"

    time = time_expression(
        quoted(fields["occurred_at"]), type_of(fields["occurred_at"]) or "VARCHAR", epoch_unit
    )
    # A single time in the year 9999 would create slices for millennia.
    is_readable = f"({time} >= timestamp '1990-01-01' and {time} < timestamp '2100-01-02')"
    seconds = number("watch_seconds", "double")
    # A NaN would make every sum of minutes that includes it NaN.
    return f"""
        select {text("event_id")} as event_id,
            {text("user_id")} as user_id,
            {text("content_id")} as content_id,
            {text("event_type")} as event_type,
            case when {is_readable} then {time} end as occurred_at,
            case when not coalesce({is_readable}, false) then {text("occurred_at")} end
                as time_text,
            case when isfinite({seconds}) then {seconds} end as watch_seconds,
            coalesce({number("event_count", "bigint")}, 1) as event_count,
            {text("device")} as device
            {"".join(f", {expression}" for expression in extra)}
        from {source}
    """


def time_expression(column: str, column_type: str, epoch_unit: str | None) -> str:
    """SQL for a timestamp in UTC, null if the value cannot be read as a time."""
    if epoch_unit == "ms" and _is_integer(column_type):
        return f"case when {column} between 0 and 1e13 then make_timestamp({column} * 1000) end"
    if epoch_unit:
        number = f"try_cast({column} as double)"
        seconds = number if epoch_unit == "s" else f"({number} / 1e3)"
        microseconds = f"round({seconds} * 1e6)::bigint"
        return f"case when {seconds} between 0 and 1e10 then make_timestamp({microseconds}) end"
    if is_time(column_type) and "ZONE" not in column_type:
        return f"try_cast({column} as timestamp)"
    if "ZONE" in column_type:
        return f"({column} at time zone 'UTC')"
    # What the cast alone cannot read: the basic format 20250101T100000Z, a decimal comma, blanks.
    extended = (
        f"regexp_replace(upper(trim({column}::varchar)), "
        r"'^(\d{4})-?(\d\d)-?(\d\d)T(\d\d):?(\d\d):?(\d\d)[.,]?(\d*)', "
        r"'\1-\2-\3T\4:\5:\6.\7')"
    )
    # The session is in UTC (see database.connect), so a text without a zone is read as UTC.
    return (
        f"(coalesce(try_cast({column}::varchar as timestamptz), "
        f"try_cast({extended} as timestamptz)) at time zone 'UTC')"
    )


def is_time(column_type: str) -> bool:
    """Whether a DuckDB type is a date or a time."""
    return column_type.startswith(("TIMESTAMP", "DATE"))


def is_number(column_type: str) -> bool:
    """Whether a DuckDB type is a number."""
    return column_type.startswith("DECIMAL") or (
        _is_integer(column_type) or column_type.endswith(("FLOAT", "DOUBLE"))
    )


def _is_integer(column_type: str) -> bool:
    return column_type.endswith(("INT", "INTEGER"))


def near(wanted: str, there: list[str]) -> str:
    """The end of a message: what was probably meant, else what exists."""
    found = difflib.get_close_matches(wanted, there, n=1)
    listed = ", ".join(there[:20]) + (", …" if len(there) > 20 else "")
    return f"; did you mean {found[0]}?" if found else f"; known are {listed}"
