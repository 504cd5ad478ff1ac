"""How an exported table looks in Druid: column types, the SQL that replaces a date, specs."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

import duckdb
from pydantic import Field

from viewer_personas.database.sql import literal, quoted
from viewer_personas.errors import InputError
from viewer_personas.export.publications import ExportSettings, Exposure

VERSION = "input_version"
"""The column that tells queries and the next export the version of a date."""

Counts = dict[tuple[Any, ...], int]
"""Rows by date (ISO 8601 text), version and the columns that are reconciled by."""

DruidType = Literal["VARCHAR", "BIGINT", "DOUBLE"]

_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")
_AS_UTC = "strftime({}, '%Y-%m-%dT%H:%M:%S.%fZ')"

# DuckDB's type -> Druid's, and how the value is written; {} is the column.
_TYPES: dict[str, tuple[DruidType, str]] = {
    "VARCHAR": ("VARCHAR", "{}"),
    "DATE": ("VARCHAR", "cast({} as varchar)"),
    "TIMESTAMP": ("VARCHAR", _AS_UTC),
    "TIMESTAMP WITH TIME ZONE": ("VARCHAR", _AS_UTC.format("{} at time zone 'UTC'")),
    # Druid has no other booleans
    "BOOLEAN": ("BIGINT", "cast({} as bigint)"),
    **dict.fromkeys(_INTEGERS, ("BIGINT", "{}")),
    "FLOAT": ("DOUBLE", "cast({} as double)"),
    "DOUBLE": ("DOUBLE", "{}"),
}  # fmt: skip


class DruidTable(ExportSettings):
    """The datasource of the table, and the columns that its segments are sorted and counted by.

    `partition_by` is a date and becomes __time: a date is a day of Druid's.
    """

    datasource: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")
    cluster_by: list[str] = Field(min_length=1)
    reconcile_by: list[str] = Field(min_length=1)


@dataclass(frozen=True)
class Column:
    """A column: its type in Druid, and the expression in DuckDB that gives what is written."""

    name: str
    druid_type: DruidType
    expression: str
    is_list: bool = False


@dataclass(frozen=True)
class Relation:
    """Where Druid reads rows to publish: the SQL after FROM, and the SQL of their __time."""

    text: str
    time: str


def columns_of(
    connection: duckdb.DuckDBPyConnection, exposure: Exposure[DruidTable]
) -> list[Column]:
    """The columns of the exposed table, that of the date first.

    Numbers stay numbers, booleans become 0 and 1, dates and times become ISO 8601 text (times in
    UTC), and lists become multi-value strings, sorted as Druid keeps them. Raises `InputError` for
    a type without an equivalent, and for settings that name an unknown column or a list.
    """
    settings = exposure.settings
    described = connection.execute(f"describe {exposure.table}").fetchall()
    found = {str(row[0]): _column(exposure, str(row[0]), str(row[1])) for row in described}
    types = {str(row[0]): str(row[1]) for row in described}
    place = f"exposure {exposure.name}: config.meta.export"
    named = [("partition_by", settings.partition_by)]
    named += [("cluster_by", name) for name in settings.cluster_by]
    named += [("reconcile_by", name) for name in settings.reconcile_by]
    for key, name in named:
        if name not in found:
            raise InputError(f"{place}.{key}: {exposure.table} has no column {name}")
        if found[name].is_list:
            raise InputError(f"{place}.{key}: {name} is a list; name a column with one value")
    if types[settings.partition_by] != "DATE":
        raise InputError(f"{place}.partition_by: {settings.partition_by} is not a date")
    return [found.pop(settings.partition_by), *found.values()]


def _column(exposure: Exposure[DruidTable], name: str, duckdb_type: str) -> Column:
    is_list = duckdb_type.endswith("[]")
    element = "VARCHAR" if duckdb_type.startswith("ENUM(") else duckdb_type.removesuffix("[]")
    column = quoted(name)
    if name == "__time" or element not in _TYPES:
        reason = "is Druid's own name" if name == "__time" else f"is {duckdb_type}"
        raise InputError(
            f"exposure {exposure.name}: the column {name} of {exposure.table} {reason}, which"
            " cannot be exported to Druid: cast it in the model to text, a number, a boolean, a"
            " date or a time, or a list of these, or give it another name"
        )
    druid_type, expression = _TYPES[element]
    if not is_list:
        return Column(name, druid_type, expression.format(column))
    # Druid sorts them when it stores them, in all versions; sorting them here avoids surprises
    each = f"cast({expression.format('element')} as varchar)"
    return Column(
        name, "VARCHAR", f"list_sort(list_transform({column}, lambda element: {each}))", True
    )


# --- DuckDB ---------------------------------------------------------------------------------------


def rows_sql(exposure: Exposure[DruidTable], columns: list[Column], day: date) -> str:
    """The query in DuckDB whose rows are written for a date."""
    selected = ", ".join(f"{column.expression} as {quoted(column.name)}" for column in columns)
    where = f"{quoted(exposure.settings.partition_by)} = date '{day}'"
    return f"select {selected} from {exposure.table} where {where}"


def model_counts(
    connection: duckdb.DuckDBPyConnection, exposure: Exposure[DruidTable], columns: list[Column]
) -> Counts:
    """Row counts of the model by date, version and reconciliation columns, in Druid's form."""
    by_name = {column.name: column.expression for column in columns}
    groups = [by_name[name] for name in _groups(exposure.settings)]
    rows = connection.execute(
        f"select {', '.join(groups)}, count(*) from {exposure.table} group by all"
    ).fetchall()
    return {row[:-1]: row[-1] for row in rows}


def _groups(settings: DruidTable) -> list[str]:
    return [settings.partition_by, VERSION, *settings.reconcile_by]


# --- Druid's SQL ----------------------------------------------------------------------------------


def interval(day: date, last: date | None = None) -> str:
    """The interval of a date, or of the dates from one to another, as a condition."""
    end = (last or day) + timedelta(days=1)
    return f"__time >= TIMESTAMP '{day}' AND __time < TIMESTAMP '{end}'"


def replace_sql(settings: DruidTable, columns: list[Column], day: date, relation: Relation) -> str:
    """The statement that replaces one date by the rows of the relation, all or nothing."""
    names = ", ".join(quoted(column.name) for column in columns[1:])
    where = "" if relation.time != '"__time"' else f"\nWHERE {interval(day)}"
    return (
        f"REPLACE INTO {quoted(settings.datasource)} OVERWRITE WHERE {interval(day)}\n"
        f'SELECT {relation.time} AS "__time", {names}\n'
        f"FROM {relation.text}{where}\n"
        f"PARTITIONED BY DAY CLUSTERED BY {', '.join(map(quoted, settings.cluster_by))}"
    )


def external(columns: list[Column], source: dict[str, Any]) -> Relation:
    """JSON lines at an input source, read with the types of the columns.

    A list is a VARCHAR too: the only multi-value string syntax that all versions read alike (27
    does not know VARCHAR ARRAY there).
    """
    types = ", ".join(f"{quoted(column.name)} {column.druid_type}" for column in columns)
    text = (
        f"TABLE(EXTERN({literal(json.dumps(source))}, {literal(json.dumps({'type': 'json'}))}))"
        f" EXTEND ({types})"
    )
    return Relation(text, f"TIME_PARSE({quoted(columns[0].name)})")


def counts_sql(settings: DruidTable, first: date, last: date) -> str:
    """Rows by date, version and reconciliation columns, from the first to the last date."""
    names = ", ".join(map(quoted, [VERSION, *settings.reconcile_by]))
    return (
        f'SELECT FLOOR(__time TO DAY) AS "day", {names}, COUNT(*) AS "row_count"'
        f" FROM {quoted(settings.datasource)} WHERE {interval(first, last)}"
        f" GROUP BY FLOOR(__time TO DAY), {names}"
    )


def versions_sql(datasource: str) -> str:
    """Rows by date and version of a whole datasource."""
    version = quoted(VERSION)
    return (
        f'SELECT FLOOR(__time TO DAY) AS "day", {version}, COUNT(*) AS "row_count"'
        f" FROM {quoted(datasource)} GROUP BY FLOOR(__time TO DAY), {version}"
    )


def as_counts(settings: DruidTable, rows: Iterable[dict[str, Any]]) -> Counts:
    """The answer to `counts_sql`, as `model_counts` has it."""
    names = [VERSION, *settings.reconcile_by]
    return {
        (str(row["day"])[:10], *(row[name] for name in names)): row["row_count"] for row in rows
    }


# --- native batch ---------------------------------------------------------------------------------


def append_task(
    task_id: str, datasource: str, columns: list[Column], day: date, lines: str
) -> dict[str, Any]:
    """A native task that appends JSON lines of one date to a datasource."""
    native = {"VARCHAR": "string", "BIGINT": "long", "DOUBLE": "double"}
    return {
        "type": "index_parallel",
        "id": task_id,
        "spec": {
            "dataSchema": {
                "dataSource": datasource,
                "timestampSpec": {"column": columns[0].name, "format": "iso"},
                "dimensionsSpec": {
                    "dimensions": [
                        {"name": column.name, "type": native[column.druid_type]}
                        for column in columns[1:]
                    ]
                },
                "granularitySpec": {
                    "segmentGranularity": "DAY",
                    "queryGranularity": "NONE",
                    "rollup": False,
                    "intervals": [f"{day}/{day + timedelta(days=1)}"],
                },
            },
            "ioConfig": {
                "type": "index_parallel",
                "inputSource": {"type": "inline", "data": lines},
                "inputFormat": {"type": "json"},
                "appendToExisting": True,
            },
            "tuningConfig": {
                "type": "index_parallel",
                "maxParseExceptions": 0,
                "logParseExceptions": False,
            },
        },
    }
