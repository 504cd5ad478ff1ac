"""What a run costs: seconds and peak memory of each step and each model, beside bare floors.

    python -m viewer_personas.benchmark --events 20000000 [--json FILE]

Generates a streaming service of the given size inside DuckDB, lands it, builds everything for the
latest date, and measures in the same run what bare DuckDB needs for the unavoidable part: landing
the same files without any guarantee, and reading the landed events once to group them by viewer
and day. Machines differ and are shared; the ratios to those floors are what to compare.
"""

import json
import os
import shutil
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import duckdb
import psutil
import typer
from rich.console import Console
from rich.table import Table

from viewer_personas.build import invoke
from viewer_personas.config import load_sources
from viewer_personas.database import connect
from viewer_personas.errors import CheckFailed
from viewer_personas.load import load

DAYS = 91
EVENTS_PER_VIEWER = 240  # over those days
EVENTS_PER_VISIT = 38  # on 1.6 days of 2.5 viewings with 10 events, less what lies behind the end
SAMPLE_SECONDS = 0.05
CLOCK_TICK_SECONDS = 0.01  # CPU seconds are told in ticks: less than one may be told as none

SOURCES = """\
events:
  driver: files
  path: events/*.parquet
  columns: {user_id: viewer, content_id: asset, event_type: action, occurred_at: ts,
            watch_seconds: seconds}
contents: {driver: files, path: contents.jsonl}
users: {driver: files, path: users.jsonl}
"""

LANDING = "bare landing of the files"
GROUPED_FILES = "bare group-by of the files"
GROUPED_EVENTS = "bare group-by of raw.events"
GRAINS = "bare tables of the same grains"
TESTS = "build: data tests"
GROUP_BY = (
    "create or replace temp table user_days as select {user} as user_id, cast({at} as date) as day,"
    " sum({count}) as events, sum(seconds) as seconds, min({at}) as first_at, max({at}) as last_at"
    " from {table} group by 1, 2"
)

# The metrics layer without its definitions: plain counts and sums to the grains of its tables, in
# UTC, each written to the database file.
BARE_TABLES = {
    "hours": """
        select source_date, user_id, date_trunc('hour', occurred_at) as hour_at, content_id,
            event_type, sum(event_count) as events, sum(watch_seconds) as seconds,
            min(occurred_at) as first_at, max(occurred_at) as last_at
        from raw.events group by all""",
    "days": """
        select hour_at::date as day, user_id, content_id, count(*) as interactions,
            sum(events) as events, sum(seconds) as seconds, min(first_at) as first_at,
            max(last_at) as last_at
        from bare.hours group by all""",
    "user_hours": """
        select hour_at::date as day, hour(hour_at) as hour, user_id, count(*) as interactions,
            sum(seconds) as seconds
        from bare.hours group by all""",
    "user_days": """
        select day, user_id, sum(interactions) as interactions, sum(seconds) as seconds
        from bare.days group by all""",
    "content_days": """
        select day, content_id, count(*) as users, sum(interactions) as interactions,
            sum(seconds) as seconds
        from bare.days group by all""",
    "titles": """
        select window_days, user_id, content_id, sum(interactions) as interactions,
            sum(seconds) as seconds
        from bare.days, (values (28), (84)) as windows (window_days)
        where day > (select max(day) from bare.days) - window_days group by all""",
    "genres": """
        select window_days, user_id, tag, count(*) as titles, sum(seconds) as seconds
        from bare.titles inner join metrics.title_tags on content_id = title_id
        where is_genre group by all""",
    "rhythms": """
        select window_days, user_id, dayofweek(day) as weekday, hour, sum(interactions)
            as interactions, sum(seconds) as seconds
        from bare.user_hours, (values (28), (84)) as windows (window_days)
        where day > (select max(day) from bare.user_hours) - window_days group by all""",
    "windows": """
        select window_days, user_id, count(*) as active_days, sum(interactions) as interactions,
            sum(seconds) as seconds, min(day) as first_day, max(day) as last_day
        from bare.user_days, (values (28), (84)) as windows (window_days)
        where day > (select max(day) from bare.user_days) - window_days group by all""",
}

# A uniform number in [0, 1) for a row and a purpose: the same in every run of one DuckDB version.
RANDOM = "(hash({row} * 1000003 + {purpose}) % 1000000007) / 1000000007.0"


@dataclass
class Measurement:
    """One step, model or floor: seconds on the clock, seconds of all cores together, the largest
    resident size of the process meanwhile in MiB, and the largest size of DuckDB's temporary files
    in MiB."""

    kind: str
    name: str
    seconds: float
    cpu_seconds: float
    peak_memory_mib: float
    spill_mib: float


class Sampler:
    """Watches what this process uses, and remembers it under the label of what is being done."""

    def __init__(self, spill: Path) -> None:
        self.peaks: dict[str, tuple[float, float]] = {}
        self.cpu_seconds: defaultdict[str, float] = defaultdict(float)
        self._process = psutil.Process()
        self._label = ""
        self._cpu_before = self._cpu()
        self._spill = spill
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Sampler":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def begin(self, label: str) -> None:
        """What is used from now on is used for this; nothing in particular for an empty label."""
        cpu = self._cpu()
        self.cpu_seconds[self._label] += cpu - self._cpu_before
        self._cpu_before = cpu
        self._label = label

    def measurement(self, kind: str, name: str, seconds: float) -> Measurement:
        """What was used under this name since the last call for it."""
        memory, spill = self.peaks.pop(name, (0.0, 0.0))
        return Measurement(kind, name, seconds, self.cpu_seconds.pop(name, 0.0), memory, spill)

    def _cpu(self) -> float:
        times = self._process.cpu_times()
        return times.user + times.system

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            memory = self._process.memory_info().rss / 2**20
            spill = sum(_size(file) for file in self._spill.glob("*")) / 2**20
            label = self._label
            before = self.peaks.get(label, (0.0, 0.0))
            self.peaks[label] = (max(before[0], memory), max(before[1], spill))


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # DuckDB removed it in between
        return 0


def generate(directory: Path, events: int) -> None:
    """Write a service of about `events` events on 91 days, with one file of events a day.

    Viewers and contents are skewed: few are very active, few are watched by many. A viewer comes
    for one to three days in a row, with one to four viewings on each; in three visits of five all
    of them are episodes of one series. A viewing is a click and a heartbeat every five minutes, 9
    on average; one viewing in a hundred is reported in the file of the next day.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "sources.yml").write_text(SOURCES)
    viewers = max(50, events // EVENTS_PER_VIEWER)
    visits = events // EVENTS_PER_VISIT

    def random(purpose: int, row: str = "visit") -> str:
        return RANDOM.format(row=row, purpose=purpose)

    connection = duckdb.connect()
    connection.execute("set TimeZone = 'UTC'")
    connection.execute("set preserve_insertion_order = false")
    connection.execute(
        """
        create table contents as
        select
            'c' || number as content_id,
            case when number < 2000 then 'movie' else 'episode' end as content_type,
            case when number >= 2000 then 's' || (number // 20) end as series_id,
            1 as season_number,
            number % 20 as episode_number,
            list_distinct([
                ['drama', 'comedy', 'crime', 'action', 'family', 'documentary', 'horror', 'romance']
                [1 + (hash(if(number < 2000, number, number // 20) * 3 + place) % 8)::integer]
                for place in range(2)
            ]) as genres,
            ['mood ' || hash(if(number < 2000, number, number // 20) * 7 + place) % 60
                for place in range(4)] as tags
        from range(12000) as numbers (number)
        """
    )
    connection.execute(f"copy contents to '{directory}/contents.jsonl' (format json)")
    connection.execute(
        f"""
        copy (
            select
                'viewer-' || lpad(number::varchar, 9, '0') as user_id,
                ['UTC', 'Europe/Berlin', 'America/New_York', 'Asia/Tokyo'][1 + number::integer % 4]
                    as timezone,
                date '2025-06-01' + (number % 200)::integer as signed_up_on
            from range({viewers}) as numbers (number)
        ) to '{directory}/users.jsonl' (format json)
        """
    )
    connection.execute(
        f"""
        create table viewings as
        with visits as (
            select
                visit,
                floor({viewers} * power({random(1)}, 1.5))::bigint as viewer,
                floor(12000 * power({random(2)}, 2.5))::bigint as content,
                floor({DAYS} * {random(3)})::integer as first_day,
                1 + floor(3 * power({random(4)}, 2))::integer as days,
                {random(5)} < 0.6 as is_series
            from range({visits}) as numbers (visit)
        ),
        days as (
            select *, unnest(range(days)) as later, 1 + floor(4 * {random(6)})::integer as viewings
            from visits
        ),
        viewings as (
            select *, unnest(range(viewings)) as place, visit * 100 + later * 10 + place as viewing
            from days
        )
        select
            viewer,
            first_day + later as day,
            case
                -- the next episodes of the series, which has twenty
                when is_series and content >= 2000
                    then content - content % 20 + (content + later * 4 + place) % 20
                else floor(12000 * power({random(7, "viewing")}, 2.5))::bigint
            end as content,
            -- evenings are fuller than mornings
            floor(86400 * sqrt({random(8, "viewing")}))::integer as second_of_day,
            1 + floor(17 * {random(9, "viewing")})::integer as heartbeats,
            {random(10, "viewing")} < 0.01 as is_late
        from viewings
        where first_day + later < {DAYS}
        order by day
        """
    )
    (directory / "events").mkdir(exist_ok=True)
    for day in range(DAYS):
        # in the order of time, as a log is: the reports of a viewing lie far apart
        connection.execute(
            f"""
            copy (
                select
                    'viewer-' || lpad(viewer::varchar, 9, '0') as viewer,
                    'c' || content as asset,
                    if(heartbeat = 0, 'click', 'play') as action,
                    if(heartbeat = 0, null, 300.0) as seconds,
                    timestamp '2026-01-01' + to_days(day)
                        + to_seconds(least(second_of_day + 300 * heartbeat, 86399)) as ts
                from (
                    select *, unnest(range(heartbeats + 1)) as heartbeat
                    from viewings
                    where day = {day} and not is_late or day = {day - 1} and is_late
                )
                order by ts
            ) to '{directory}/events/{day:04}.parquet' (format parquet)
            """
        )
    connection.close()


@contextmanager
def timed(sampler: Sampler, found: list[Measurement], kind: str, name: str) -> Iterator[None]:
    sampler.begin(name)
    began = time.monotonic()
    yield
    seconds = time.monotonic() - began
    sampler.begin("")
    found.append(sampler.measurement(kind, name, seconds))


def measure(directory: Path, events: int, console: Console) -> list[Measurement]:
    """Generate, land and build a service of this size in `directory`, and measure each step."""
    database = directory / "benchmark.duckdb"
    files = f"'{directory}/events/*.parquet'"
    found: list[Measurement] = []
    console.print(f"Generating {events:,} events …")
    generate(directory, events)
    with Sampler(directory / "benchmark.duckdb.tmp") as sampler:
        console.print("Landing …")
        land = f"create table events as select * from {files}"
        _floor(sampler, found, directory / "floor.duckdb", LANDING, land)
        (directory / "floor.duckdb").unlink()
        with timed(sampler, found, "step", "load"):
            load(load_sources(directory / "sources.yml"), database)
        console.print("Building …")
        # before and after: a machine that is shared is not the same throughout
        for build in (_build, None):
            of_files = GROUP_BY.format(user="viewer", at="ts", count="1", table=files)
            _floor(sampler, found, directory / "none.duckdb", GROUPED_FILES, of_files)
            landed = GROUP_BY.format(
                user="user_id", at="occurred_at", count="event_count", table="raw.events"
            ).replace("seconds)", "watch_seconds)")
            _floor(sampler, found, database, GROUPED_EVENTS, landed)
            if build:
                build(sampler, found, database)
        tables = [f"create table bare.{name} as {query}" for name, query in BARE_TABLES.items()]
        bare = ";".join(["create schema bare", *tables, "checkpoint", "drop schema bare cascade"])
        _floor(sampler, found, database, GRAINS, bare)
    return found


def _floor(
    sampler: Sampler, found: list[Measurement], database: Path, name: str, query: str
) -> None:
    with connect(database) as connection, timed(sampler, found, "floor", name):
        connection.execute(query)


def _build(sampler: Sampler, found: list[Measurement], database: Path) -> None:
    def start(description: str, done: int, total: int) -> None:
        # "sql incremental model metrics.user_days" or "test grain_user_days_..."
        kind = description.split()[0]
        sampler.begin(TESTS if kind == "test" else description.split()[-1])

    began = time.monotonic()
    # the latest date only: what a first run costs, and each day's run at most
    arguments = ["build", "--exclude-resource-type", "unit_test"]
    result = invoke([*arguments, "--vars", "{as_of_history_weeks: 0}"], database, start)
    seconds = time.monotonic() - began
    sampler.begin("")
    tests = 0.0
    built = []
    for run in result.result.results:
        if run.status in ("error", "fail"):
            raise CheckFailed(f"{run.node.name}: {run.message}")
        if run.node.resource_type == "test":
            tests += run.execution_time
        elif run.node.resource_type in ("model", "snapshot"):
            name = f"{run.node.schema}.{run.node.name}"
            built.append(sampler.measurement("model", name, run.execution_time))
    built.append(sampler.measurement("step", TESTS, tests))
    found += [
        *built,
        Measurement(
            "step",
            "build",
            seconds,
            sum(item.cpu_seconds for item in built),
            max(item.peak_memory_mib for item in built),
            max(item.spill_mib for item in built),
        ),
    ]


def ratios(found: list[Measurement], unit: str) -> dict[str, float]:
    """What a layer costs in units of the floors that it stands on. `unit` is seconds, on the clock,
    or cpu_seconds, which suffer less where others use the machine, too."""

    def cost(*names: str) -> float:
        """Of all that begins so; a floor was measured more than once, and the mean counts."""
        total = 0.0
        for name in names:
            costs = [getattr(item, unit) for item in found if item.name.startswith(name)]
            total += sum(costs) / (len(costs) if name.startswith("bare") else 1)
        return max(total, CLOCK_TICK_SECONDS)

    return {
        f"load / {LANDING}": cost("load") / cost(LANDING),
        f"metrics layer / {GROUPED_FILES}": cost("metrics.") / cost(GROUPED_FILES),
        f"metrics layer / {GROUPED_EVENTS}": cost("metrics.") / cost(GROUPED_EVENTS),
        f"metrics layer / {GRAINS}": cost("metrics.") / cost(GRAINS),
        "load and models / (bare landing + bare group-by)": cost("load", "metrics.", "personas.")
        / cost(LANDING, GROUPED_EVENTS),
    }


def show(console: Console, found: list[Measurement]) -> None:
    """Print every measurement, the dearest of its kind first, and the ratios."""
    table = Table("", "name", "seconds", "CPU", "MiB", "spill", box=None)
    for column in table.columns[2:]:
        column.justify = "right"
    for item in sorted(found, key=lambda item: (item.kind, -item.seconds)):
        table.add_row(
            item.kind,
            item.name,
            f"{item.seconds:.2f}",
            f"{item.cpu_seconds:.2f}",
            f"{item.peak_memory_mib:,.0f}",
            f"{item.spill_mib:,.0f}",
        )
    console.print(table)
    of_cpu = ratios(found, "cpu_seconds")
    for name, ratio in ratios(found, "seconds").items():
        console.print(f"{name}: {ratio:.1f} (of CPU seconds {of_cpu[name]:.1f})", soft_wrap=True)


def main(
    events: Annotated[int, typer.Option(help="How many events to generate, about.")] = 1_000_000,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Where to write the figures as JSON.")
    ] = None,
    directory: Annotated[
        Path | None, typer.Option(help="Where to work, and to leave everything afterwards.")
    ] = None,
) -> None:
    """Measure each step and each model at a size given in events, beside bare floors."""
    console = Console()
    work = directory or Path(tempfile.mkdtemp(prefix="viewer_personas_benchmark_"))
    try:
        found = measure(work, events, console)
    finally:
        if directory is None:
            shutil.rmtree(work)
    show(console, found)
    if json_file:
        figures: dict[str, Any] = {
            "events": events,
            "days": DAYS,
            "cores": os.cpu_count(),
            "duckdb": duckdb.__version__,
            "measurements": [asdict(item) for item in found],
            "ratios": ratios(found, "seconds"),
            "cpu_ratios": ratios(found, "cpu_seconds"),
        }
        json_file.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
