"""macros/engine: each macro gives on Spark what it gives on DuckDB, at the edges of its values.

Besides: no other file of the project names an engine.
"""

import re
from pathlib import Path
from typing import Any

import pytest

from engines.spark_warehouse import Warehouse
from viewer_personas.build import PROJECT, invoke, parse
from viewer_personas.database.connection import connect
from viewer_personas.database.raw import create_raw_tables

DATES = ["2024-02-28", "2024-02-29", "2023-12-31", "2024-01-01", "1999-03-01"]
TIMES = [
    "2024-03-31 00:59:59.999999",
    "2024-03-31 01:00:00",
    "2024-10-27 00:30:00",
    "2024-10-27 01:30:00",
    "1990-01-01 00:00:00",
    "2099-12-31 23:59:59",
]
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Chatham"]


def values(name: str, texts: list[str | None], kind: str = "string") -> str:
    """A table of one column and its number, as both engines read it."""
    return " union all ".join(
        f"select {number} as number, "
        + (
            f"cast({literal(text)} as {kind}) as {name}"
            if text is not None
            else f"cast(null as {kind}) as {name}"
        )
        for number, text in enumerate(texts)
    )


def literal(text: str) -> str:
    """A text in quotes; Spark takes a backslash for more than one, so it is put together."""
    return "concat('" + text.replace("\\", "', chr(92), '") + "', '')"


DATE_ROWS = values("day", list(DATES), "date")
TIME_ROWS = values("moment", list(TIMES), "timestamp")

QUERIES = {
    "dates": f"""
        select number,
            cast({{{{ plus_days('day', 1) }}}} as string) as next,
            cast({{{{ plus_days('day', '-number') }}}} as string) as earlier,
            {{{{ days_between("date '2024-01-01'", 'day') }}}} as days,
            {{{{ iso_weekday('day') }}}} as weekday
        from ({DATE_ROWS}) order by number""",
    **{
        f"local_time in {zone}": f"""
        select number, cast({{{{ local_time('moment', "'{zone}'") }}}} as string) as local,
            cast({{{{ activity_date(local_time('moment', "'{zone}'")) }}}} as string) as day
        from ({TIME_ROWS}) order by number"""
        for zone in ZONES
    },
    "quarter_hour": f"""
        select number, cast({{{{ quarter_hour('moment') }}}} as string) as quarter,
            {{{{ quarter_hour('moment') }}}} <= moment as is_before
        from ({TIME_ROWS}) order by number""",
    "lists": """
        select part,
            {{ joined_text('word') }} as joined,
            {{ joined_text('word', '; ', 'number') }} as in_order
        from (
            select 1 as part, 2 as number, 'b' as word union all select 1, 1, 'c'
            union all select 1, 3, 'a' union all select 2, 1, null
        ) group by part order by part""",
    "list_of_structs": """
        select each.n as n, each.word as word
        from (
            select {{ each_of('all_of_it') }} as each
            from (
                select {{ list_of_structs({'n': 'number', 'word': 'word'}) }} as all_of_it
                from (
                    select 2 as number, 'b' as word
                    union all select 1, 'c' union all select 1, 'a'
                )
            )
        )""",
    "list_of_texts": """
        select {{ each_of('all_of_it') }} as word
        from (
            select {{ list_of_texts('word', 'number') }} as all_of_it
            from (select 2 as number, 'b' as word union all select 1, 'c' union all select 1, 'a')
        )""",
    "metric_text": """
        select {{ metric_text('value') }} as said
        from (
            select 'watch_share' as metric, cast(0.28125 as double) as value
            union all select 'watch_share', 0.3333333 union all select 'watch_share', 1.0
            union all select 'activity_trend', -0.004 union all select 'activity_trend', 1.005
            union all select 'watch_minutes', 90.25 union all select 'watch_minutes', 0.05
            union all select 'watch_minutes', 1234567.0 union all select 'watch_minutes', null
        ) order by metric, value nulls last""",
}  # fmt: skip


@pytest.mark.parametrize("name", QUERIES)
def test_a_macro_means_the_same(name: str, spark: Warehouse, tmp_path: Path) -> None:
    database = tmp_path / "service.duckdb"
    with connect(database) as connection:
        create_raw_tables(connection)
    arguments = ["show", "--inline", QUERIES[name], "--limit", "-1"]
    manifest = parse(database, tests=False)
    shown = invoke(arguments, database, lambda *_: None, manifest=manifest)
    table = shown.result.results[0].agate_table
    in_duckdb = [dict(zip(table.column_names, row.values(), strict=True)) for row in table.rows]
    assert plain(spark.show(QUERIES[name])) == plain(in_duckdb)
    assert in_duckdb


def plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What agate has made of numbers, as texts."""
    return [
        {name: None if value is None else str(value) for name, value in row.items()} for row in rows
    ]


def test_no_other_file_names_an_engine() -> None:
    named = re.compile(r"duckdb__|spark__|target\.type|dbt_spark|adapter\s*==|adapter\.type")
    files = [
        *PROJECT.glob("macros/**/*"),
        *PROJECT.glob("models/**/*"),
        PROJECT / "dbt_project.yml",
    ]
    found = {
        file.parent.name
        for file in files
        if file.is_file() and named.search(file.read_text(encoding="utf-8"))
    }
    assert found == {"engine"}
