"""Spark's tables are DuckDB's: of the demo, of real ratings, of histories that nobody thought of.

DuckDB's own tables are proven elsewhere; here every table of the schemas metrics and personas is
compared, whole and to the last column but the versions, which are of an engine (that they change
when they should is shown by what is rebuilt). Where a build on Spark replaced some partitions, it
is compared with a database that was built from nothing, so that equal means: equal to a full
refresh.
"""

import json
import shutil
from datetime import date, timedelta
from pathlib import Path

import duckdb
from hypothesis import given

from engines.spark_warehouse import Warehouse
from histories import (
    STEPS,
    Delivery,
    World,
    deliveries,
    everything,
    examples,
    temporary_folder,
    worlds,
)
from service import Partition, Service
from viewer_personas.build import PROJECT, build
from viewer_personas.config import load_sources
from viewer_personas.database.connection import connect
from viewer_personas.demo import service as demo
from viewer_personas.sources.load import load

# Few dates, and churn that is known of most of them.
FEW_DATES = "{as_of_history_weeks: 4, churn_horizon_days: 7}"
# The two models that cost Spark most are made anew by each build, whatever was there before: they
# are shown once for the demo and once for MovieTweetings.
MADE_ANEW = ("exclusivity_benchmark", "churn_backtest")
LAST_DAY = date(2026, 4, 30)
FIRST_DAY = LAST_DAY - timedelta(days=62)


def test_demo_is_the_same_and_a_second_day_rebuilds_what_changed(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    service = tmp_path / "service"
    demo.generate(service, viewers=30, days=90)
    before, after = tmp_path / "before.duckdb", tmp_path / "after.duckdb"
    sources = load_sources(service / "sources.yml")

    load(sources, before, since=FIRST_DAY, until=LAST_DAY - timedelta(days=1))
    warehouse.land(before)
    first_run = warehouse.build(FEW_DATES, "--exclude", *MADE_ANEW)
    build(before, variables=FEW_DATES, tests=False)
    assert warehouse.differences(before, without=MADE_ANEW) == {}
    whole = warehouse.rebuilt(first_run)

    late, emptied = LAST_DAY - timedelta(days=9), LAST_DAY - timedelta(days=20)
    empty(service, emptied)
    repeat_an_event_of(service, late)
    correct_an_entry(service, touched_on(before, LAST_DAY - timedelta(days=3)))
    load(sources, before, since=FIRST_DAY)
    # what a run leaves that is killed while it replaces a partition
    lost = LAST_DAY - timedelta(days=15)
    warehouse.rows(f"alter table metrics.user_days drop partition (activity_date = '{lost}')")
    landed = warehouse.land(before)
    assert (landed.slices_written, landed.slices_removed) == (2, 1)
    rebuilt = warehouse.rebuilt(warehouse.build(FEW_DATES))

    load(sources, after, since=FIRST_DAY)
    build(after, variables=FEW_DATES, tests=False)
    assert warehouse.differences(after) == {}
    # what a build on DuckDB rebuilds, and that is not everything
    assert rebuilt == rebuilt_by_duckdb(before) | {("metrics.user_days", lost)}
    assert {day for model, day in rebuilt if model == "metrics.user_content_hours"} == {
        late, emptied, LAST_DAY,
    }  # fmt: skip
    assert ("metrics.user_hours", lost) in whole - rebuilt
    # an emptied day is known to be built, and has no rows
    hours = "metrics.user_content_hours"
    assert warehouse.rows(
        f"select row_count from metrics.partition_ledger where model = '{hours}'"
        f" and partition_date = date '{emptied}'"
    ) == [{"row_count": 0}]
    assert emptied not in warehouse.partitions(hours)
    assert late in warehouse.partitions(hours)


def rebuilt_by_duckdb(database: Path) -> set[Partition]:
    """The partitions that the next build on DuckDB rebuilds."""
    run = build(database, variables=FEW_DATES, tests=False).invocation_id
    with connect(database, read_only=True) as connection:
        query = (
            "select model, partition_date from metrics.partition_ledger where invocation_id = $1"
        )
        return set(connection.execute(query, [run]).fetchall())


def repeat_an_event_of(service: Path, day: date) -> None:
    """Let one event of the day come again, in a file of its own; the demo's have no ids."""
    events = service / "events"
    duckdb.execute(
        f"copy (select * from read_parquet('{events}/*.parquet') where ts::date = date '{day}'"
        f" order by all limit 1) to '{events / 'late.parquet'}'"
    )


def empty(service: Path, day: date) -> None:
    """Let no file have an event of the day any more."""
    for file in (service / "events").glob("*.parquet"):
        if abs(date.fromisoformat(file.stem) - day) <= timedelta(days=1):
            duckdb.execute(
                "create or replace temp table others as"
                f" from read_parquet('{file}') where ts::date <> date '{day}'"
            )
            duckdb.execute(f"copy others to '{file}'")


def touched_on(database: Path, day: date) -> str:
    """A film that somebody watched on a day."""
    with connect(database, read_only=True) as connection:
        query = """
            select min(content_id) from metrics.user_content_days
            where activity_date = $1 and is_watched and content_id like 'film%'
        """
        return str(connection.execute(query, [day]).fetchall()[0][0])


def correct_an_entry(service: Path, content_id: str) -> None:
    """Let the catalogue say that a film is of a genre of its own."""
    file = service / "contents.jsonl"
    documents = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    [entry] = [document for document in documents if content_id in document.values()]
    entry["genres"] = ["corrected"]
    file.write_text(
        "".join(f"{json.dumps(document)}\n" for document in documents), encoding="utf-8"
    )


def test_movietweetings_is_the_same(warehouse: Warehouse, tmp_path: Path) -> None:
    """Every eighth of real people, no watch time, zones and sign-ups unknown; and the method that
    walks."""
    example = tmp_path / "movietweetings"
    shutil.copytree(PROJECT / "examples" / "movietweetings", example)
    ratings = example / "ratings.csv.gz"
    duckdb.execute(
        f"create or replace temp table eighth as from '{ratings}' where user_id::integer % 8 = 0"
    )
    duckdb.execute(f"copy eighth to '{ratings}'")
    database = tmp_path / "service.duckdb"
    sources = load_sources(example / "sources.yml")
    load(sources, database, since=date(2013, 6, 1), until=date(2013, 7, 10))
    warehouse.land(database)
    sticky = FEW_DATES.replace("}", ", exclusivity_method: sticky}")
    warehouse.build(sticky)
    build(database, variables=sticky, tests=False)
    assert warehouse.differences(database) == {}


def test_any_order_of_arrival_gives_the_tables_of_one_load(warehouse: Warehouse) -> None:
    """test_any_delivery.py in small: its generator, one example, and DuckDB's tables to be met.

    Without the models that are made anew, whatever came before.
    """
    shown = 0

    @examples(1)
    @given(worlds(21, (45,)), deliveries())
    def delivered_in_steps_is_loaded_at_once(world: World, delivery: Delivery) -> None:
        nonlocal shown
        with temporary_folder() as folder:
            in_steps = Service(folder / "in_steps")
            in_steps.write_users(world.users)
            for step in delivery.steps(in_steps, world):
                in_steps.load()
                warehouse.land(in_steps.database)
                if step in (min(delivery.builds_after), STEPS - 1):
                    warehouse.build(FEW_DATES, "--exclude", *MADE_ANEW)

            at_once = Service(folder / "at_once")
            at_once.write_users(world.users)
            at_once.write_contents(world.contents)
            at_once.write_events("all", everything(delivery.folder(world, STEPS - 1)))
            at_once.load()
            build(at_once.database, variables=FEW_DATES, tests=False)
            assert warehouse.differences(at_once.database, without=MADE_ANEW) == {}
        shown += 1

    delivered_in_steps_is_loaded_at_once()
    assert shown
