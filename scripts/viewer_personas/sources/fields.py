"""How a mapped field is read: SQL for its value, and for the text that could not be read as one.

A value that is there but cannot be read becomes null, and its text is kept: it is never mistaken
for a value that is not there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from viewer_personas.database.sql import literal, pointer
from viewer_personas.mapping import (
    BooleanField,
    DateField,
    IdField,
    ListField,
    Mapped,
    NumberField,
    Scalar,
    SecondsField,
    TimeField,
    Where,
)

# 30 years: no watch time or runtime is longer, and a sum of many stays exact.
_MOST_SECONDS = "1e9"
# A single time in the year 9999 would create slices for millennia.
_FIRST_TIME, _END_OF_TIMES = "timestamp '1990-01-01'", "timestamp '2100-01-02'"
# How MongoDB's tools write types that JSON lacks: {"$oid": "…"}, {"$date": …}, {"$numberInt": "1"}
_EXTENDED = ("$oid", "$numberInt", "$numberLong", "$numberDouble", "$numberDecimal", "$uuid")
_EPOCH_MICROSECONDS = {"s": "* 1e6", "ms": "* 1e3", "us": "", "ns": "/ 1e3"}
SECONDS_IN = {"s": 1, "ms": 0.001, "min": 60, "h": 3600}

WHAT = {
    "IdField": "a list or an object where a key is expected",
    "TextField": "a list or an object where a text is expected",
    "NumberField": "not a whole number",
    "SecondsField": "not a duration of the mapped unit from 0 to 30 years",
    "BooleanField": "neither true nor false",
    "DateField": "not a date of the mapped format (YYYY-MM-DD by default)",
    "TimeField": "not a time of the mapped format (ISO 8601 by default)",
    "ListField": "not a list of texts: map split for a separator, or name for objects",
    "RightsField": "not a list of objects with dates",
}
"""Why a value of a kind of field is unreadable."""


@dataclass(frozen=True)
class Value:
    """A value of the source in SQL: its text (null: there is none), and the type of the column.

    `is_json`: a text that is a JSON object or list is one; `json_type` says what it is, if known.
    `column` is the column itself, if its type is not a text. `is_typed`: the source has types, so
    that a text is no number.
    """

    text: str
    type: str = "VARCHAR"
    is_json: bool = False
    json_type: str = ""
    column: str = ""
    is_typed: bool = False

    @property
    def plain(self) -> str:
        """The text, or what an object of MongoDB's Extended JSON stands for."""
        return _unwrapped(self.text) if self.is_json else self.text


def is_integer(column_type: str) -> bool:
    """Whether a DuckDB type is that of an integer."""
    return column_type.endswith(("INT", "INTEGER"))


def is_number(column_type: str) -> bool:
    """Whether a DuckDB type is a number."""
    return column_type.startswith("DECIMAL") or (
        is_integer(column_type) or column_type.endswith(("FLOAT", "DOUBLE"))
    )


def is_time(column_type: str) -> bool:
    """Whether a DuckDB type is a date or a time."""
    return column_type.startswith(("TIMESTAMP", "DATE"))


# --- values -------------------------------------------------------------------------------------


def there(field: Mapped, text: str, nulls: Sequence[str] = ()) -> str:
    """A text after the replacements of the mapping; null if there is no value.

    Empty texts and those of `nulls` are no values: CSV cannot tell an empty text from null.
    """
    missing = ["", *nulls]
    cases = [f"when {text} in ({', '.join(map(literal, missing))}) then null"]
    # the values of a list are replaced one by one
    values = {} if isinstance(field, ListField) else field.values
    for theirs, ours in values.items():
        replacement = "null" if ours is None else literal(_word(ours))
        cases.append(f"when trim({text}) = {literal(theirs)} then {replacement}")
    if len(cases) == 1 and len(missing) == 1:
        return f"nullif({text}, '')"
    return f"case {' '.join(cases)} else {text} end"


def readable(field: Mapped, text: str, value: Value) -> str:
    """SQL for the value of a field from its text; null if it cannot be read."""
    match field:
        case ListField():
            return _texts(field, text)
        case SecondsField(unit="clock" | "iso"):
            return _seconds(field, text)
        case SecondsField():
            return _seconds(field, _number(field, text, value))
        case NumberField():
            return _whole_number(_number(field, text, value))
        case BooleanField():
            return f"try_cast(lower(trim({text})) as boolean)"
        case TimeField():
            return time(field, value.column or text, value.type)
        case DateField():
            return _date(field, text)
        case IdField():
            return _key(text, value)
        case _:
            return _no_object(text, value)


def _word(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _unwrapped(text: str) -> str:
    """A text, or what an object of MongoDB's Extended JSON stands for."""
    document = f"try_cast({text} as json)"
    parts = ", ".join(f"{document} ->> '/{name}'" for name in _EXTENDED)
    number = f"coalesce({document} ->> '/$date/$numberLong', {document} ->> '/$date')"
    moment = f"make_timestamp(try_cast({number} as bigint) * 1000)"
    date = f"coalesce(strftime({moment}, '%Y-%m-%dT%H:%M:%S.%fZ'), {document} ->> '/$date')"
    return (
        f"""case when starts_with({text}, '{{"$') then coalesce({parts}, {date}) else {text} end"""
    )


def _no_object(text: str, value: Value) -> str:
    if not value.is_json:
        return text
    is_object = f"(starts_with({text}, '{{') or starts_with({text}, '[')) and json_valid({text})"
    if value.json_type:
        is_object = f"{is_object} and {value.json_type} in ('OBJECT', 'ARRAY')"
    return f"case when not ({is_object}) then {text} end"


def _key(text: str, value: Value) -> str:
    """A whole number is its integer text, as 7.0 is what tools make of 7 beside a missing value."""
    if is_integer(value.type) or (value.is_typed and not is_number(value.type)):
        return text
    folded = f"regexp_replace({text}, '^(-?[0-9]+)[.]0+$', '\\1')"
    return f"case when contains({text}, '.0') then {folded} else {_no_object(text, value)} end"


def number_as_text(column: str, column_type: str) -> str:
    """The text of a numeric column that may be a key: without an exponent if it is whole."""
    if column_type.endswith(("FLOAT", "DOUBLE")):
        is_whole = f"{column} = trunc({column}) and abs({column}) < 1e18"
        return f"case when {is_whole} then {column}::bigint::varchar else {column}::varchar end"
    return f"{column}::varchar"


def _number(field: NumberField, text: str, value: Value) -> str:
    """A number, or its text in a form that can be cast; without the detour by a text if possible,
    which is slow."""
    if is_number(value.type) and not field.values:
        return value.column
    text = f"trim({text})"
    if field.decimal == ",":
        return f"replace(replace({text}, '.', ''), ',', '.')"
    return f"replace({text}, ',', '')" if field.decimal else text


def _whole_number(text: str) -> str:
    number = f"try_cast({text} as double)"
    whole = f"coalesce(try_cast({text} as bigint), try_cast({number} as bigint))"
    return f"case when {number} = trunc({number}) and abs({number}) < 1e18 then {whole} end"


def _seconds(field: SecondsField, text: str) -> str:
    if field.unit == "clock":
        parts = f"string_split(trim({text}), ':')"
        is_clock = f"regexp_full_match(trim({text}), '([0-9]+:)?[0-9]+:[0-5][0-9]([.][0-9]+)?')"
        seconds = (
            f"list_reduce(list_transform({parts}, lambda part: part::double),"
            " lambda total, part: total * 60 + part)"
        )
        seconds = f"case when {is_clock} then {seconds} end"
    elif field.unit == "iso":
        upper = f"upper(trim({text}))"
        pattern = "'P(([0-9]+)D)?(T(([0-9.]+)H)?(([0-9.]+)M)?(([0-9.]+)S)?)?'"

        def part(group: int) -> str:
            found = f"nullif(regexp_extract({upper}, {pattern}, {group}), '')"
            return f"coalesce(try_cast({found} as double), 0)"

        is_duration = f"regexp_full_match({upper}, {pattern}) and regexp_matches({upper}, '[0-9]')"
        total = f"{part(2)} * 86400 + {part(5)} * 3600 + {part(7)} * 60 + {part(9)}"
        seconds = f"case when {is_duration} then {total} end"
    else:
        number = f"try_cast({text} as double)"
        factor = SECONDS_IN[field.unit]
        seconds = number if factor == 1 else f"{number} * {factor}"
    return in_range(seconds)


def in_range(seconds: str) -> str:
    """Seconds that can be a duration: not negative, infinite or NaN, and less than 30 years."""
    return f"case when {seconds} >= 0 and {seconds} < {_MOST_SECONDS} then {seconds} end"


# --- times --------------------------------------------------------------------------------------


def time(field: TimeField | DateField, text: str, column_type: str = "VARCHAR") -> str:
    """A timestamp in UTC, null if it cannot be read; `text` is the column if it is no text."""
    if field.unit:
        moment = _since_1970(text, field.unit, column_type)
    elif "ZONE" in column_type:
        moment = f"({text} at time zone 'UTC')"
    elif is_time(column_type):
        moment = _in_utc(f"try_cast({text} as timestamp)", field, text, column_type)
    elif field.format:
        formats = "[" + ", ".join(map(literal, field.format)) + "]"
        parsed = f"try_strptime(trim({text}), {formats})"
        has_zone = any("%z" in each or "%Z" in each for each in field.format)
        moment = f"({parsed} at time zone 'UTC')" if has_zone else _in_utc(parsed, field, text)
    else:
        moment = _iso_time(field, text)
    return f"case when {moment} >= {_FIRST_TIME} and {moment} < {_END_OF_TIMES} then {moment} end"


def _in_utc(
    moment: str, field: TimeField | DateField, text: str, column_type: str = "VARCHAR"
) -> str:
    """A local time in UTC. A date without a time stays: it is that date everywhere."""
    if field.timezone in (None, "UTC"):
        return moment
    shifted = f"(({moment} at time zone {literal(str(field.timezone))}) at time zone 'UTC')"
    return f"case when {is_date(field, text, column_type)} then {moment} else {shifted} end"


def _since_1970(text: str, unit: str, column_type: str) -> str:
    if is_integer(column_type) and unit == "ms":
        return f"case when {text} between 0 and 1e13 then make_timestamp({text} * 1000) end"
    number = f"try_cast({text} as double)"
    microseconds = f"round({number} {_EPOCH_MICROSECONDS[unit]})"
    is_sane = f"{microseconds} between 0 and 1e16"
    return f"case when {is_sane} then make_timestamp({microseconds}::bigint) end"


def _iso_time(field: TimeField | DateField, text: str) -> str:
    # What the cast alone cannot read: the basic format 20250101T100000Z, a decimal comma, blanks.
    extended = (
        f"regexp_replace(upper(trim({text})), "
        r"'^(\d{4})-?(\d\d)-?(\d\d)T(\d\d):?(\d\d):?(\d\d)[.,]?(\d*)', "
        r"'\1-\2-\3T\4:\5:\6.\7')"
    )
    # The session is in UTC (see database.connect), so a text without an offset is read as UTC.
    moment = (
        f"(coalesce(try_cast({text} as timestamptz), "
        f"try_cast({extended} as timestamptz)) at time zone 'UTC')"
    )
    if field.timezone not in (None, "UTC"):
        offset = r"\d\d([.,]\d+)?\s*([zZ]|[+-]\d\d(:?\d\d)?|[A-Za-z/_]+)$"
        is_local = f"not regexp_matches(trim({text}), '{offset}')"
        moment = f"case when {is_local} then {_in_utc(moment, field, text)} else {moment} end"
    # offsets go from -12 to +14 hours
    wrong_offset = r":\d\d([.,]\d+)?\s*[+-](1[5-9]|[2-9]\d)(:?\d\d)?$"
    may_have_one = f"length({text}) > 19 and not ends_with({text}, 'Z')"
    is_wrong = f"{may_have_one} and regexp_matches({text}, '{wrong_offset}')"
    return f"case when not ({is_wrong}) then {moment} end"


def is_date(field: TimeField | DateField, text: str, column_type: str) -> str:
    """SQL that is true for a date without a time."""
    if field.unit:
        return "false"
    if is_time(column_type):
        return "true" if column_type == "DATE" else "false"
    if field.format:
        dates = [each for each in field.format if "%H" not in each and "%I" not in each]
        if not dates or len(dates) == len(field.format):
            return "true" if dates else "false"
        formats = "[" + ", ".join(map(literal, dates)) + "]"
        return f"try_strptime(trim({text}), {formats}) is not null"
    return f"(length(trim({text})) <= 10 and not contains({text}, ':'))"


def _date(field: DateField, text: str) -> str:
    if field.unit or field.format:
        moment = time(DateField(path=field.path, unit=field.unit, format=field.format), text)
        if field.unit and field.timezone:
            moment = f"(({moment} at time zone 'UTC') at time zone {literal(field.timezone)})"
        return f"({moment})::date"
    if field.timezone:
        instant = f"({_iso_time(DateField(path=field.path), text)} at time zone 'UTC')"
        local = f"({instant} at time zone {literal(field.timezone)})::date"
        has_time = f"not {is_date(field, text, 'VARCHAR')}"
        return f"case when {has_time} then {local} else try_cast({text} as date) end"
    return f"try_cast({text} as date)"


# --- lists --------------------------------------------------------------------------------------


def _texts(field: ListField, text: str) -> str:
    """A list of texts, from a JSON list, or from a text that has one or is one."""
    is_list = f"(left(trim({text}), 1) = '[' and json_valid({text}))"
    is_object = f"(left(trim({text}), 1) = '{{' and json_valid({text}))"
    name = "null"
    if field.name:
        name = f"item ->> {pointer(field.name)}"
    of_item = (
        f"case json_type(item) when 'OBJECT' then {name} "
        "when 'ARRAY' then null when 'BOOLEAN' then null else item ->> '$' end"
    )
    items = f"json_extract(case when {is_list} then {text}::json end, '$[*]')"
    items = f"list_filter({items}, lambda item: json_type(item) <> 'NULL')"
    listed = f"list_transform({items}, lambda item: {of_item})"
    if field.split:
        separated = (
            f"list_transform(string_split({text}, {literal(field.split)}), lambda t: trim(t))"
        )
        separated = f"list_filter({separated}, lambda t: t <> '')"
        whole = "true"
    else:
        separated = f"[{text}]"
        whole = "true" if field.split == "" else f"not regexp_matches({text}, '[,;|/]')"
    of_object = f"{text}::json ->> {pointer(field.name)}" if field.name else "null"
    single = f"case when lower({text}) not in ('true', 'false') and {whole} then {separated} end"
    found = (
        f"case when {is_list} then case when not list_contains(list_transform({listed}, "
        f"lambda t: t is null), true) then {listed} end "
        f"when {is_object} then case when {of_object} is not null then [{of_object}] end "
        f"else {single} end"
    )
    if not field.values:
        return found
    cases = " ".join(
        f"when {literal(theirs)} then {'null' if ours is None else literal(_word(ours))}"
        for theirs, ours in field.values.items()
    )
    replaced = f"list_transform({found}, lambda t: case trim(t) {cases} else t end)"
    return f"list_filter({replaced}, lambda t: t is not null)"


# --- rows to leave out --------------------------------------------------------------------------


def conditions(where: Where, text_of: Mapping[str, str], cast: str = "try_cast") -> str:
    """SQL that is true for the rows to read; `text_of` has the text of each column or path.

    Only standard functions, because Druid gets it too, with its own `cast`.
    """
    parts = []
    for path, condition in where.items():
        text = text_of[path]
        number = f"{cast}({text} as double)"
        for values, operator in ((condition.only, "in"), (condition.never, "not in")):
            if values is not None:
                listed = ", ".join(literal(_word(value)) for value in values)
                parts.append(f"coalesce({text}, '') {operator} ({listed})")
        if condition.above is not None:
            parts.append(f"{number} > {condition.above}")
        if condition.below is not None:
            parts.append(f"{number} < {condition.below}")
    return " and ".join(parts) or "true"
