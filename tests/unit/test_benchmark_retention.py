"""The days that are simulated to see the database level off."""

from pathlib import Path
from typing import Any

import duckdb

from bench.retention import Size, as_markdown, write_day


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    return duckdb.execute(query.format(f"read_parquet('{folder}/events/*.parquet')")).fetchall()


def test_a_day_has_events_of_its_own_and_late_ones_of_the_day_before(tmp_path: Path) -> None:
    for number in range(4):
        write_day(tmp_path, number, 500)
    by_file = rows(
        tmp_path,
        "select parse_filename(filename, true)::integer as number,"
        " date_diff('day', date '2026-01-01', occurred_at)::integer as day, count(*)"
        " from {} group by all order by all",
    )
    assert {(number, day) for number, day, _ in by_file} == {
        (number, day) for number in range(4) for day in (number - 1, number) if day >= 0
    }
    [(late, in_all)] = rows(
        tmp_path,
        "select count(*) filter (where occurred_at < date '2026-01-01'"
        " + parse_filename(filename, true)::integer), count(*) from {}",
    )
    assert 0.002 < late / in_all < 0.03


def test_the_same_number_gives_the_same_day(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        write_day(tmp_path / folder, 5, 100)
    query = "select * from {} order by all"
    assert rows(tmp_path / "one", query) == rows(tmp_path / "other", query) != []


def test_the_table_has_every_so_many_days_and_the_last() -> None:
    sizes = [Size(day, 10.0, 5.4, 1000, 10, 5, 3) for day in range(8)]
    table = as_markdown(sizes, 5).splitlines()
    assert table[0].startswith("| day | MiB | in use |")
    assert [line.split("|")[1].strip() for line in table[2:]] == ["0", "5", "7"]
    assert table[2] == "| 0 | 10 | 5 | 1,000 | 10 | 5 | 3 |"
