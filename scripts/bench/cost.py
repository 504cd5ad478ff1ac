"""What a run costs: seconds and peak memory of each step and each model, beside bare floors.

    python -m bench.cost --events 20000000 [--json FILE]

Generates a streaming service of the given size inside DuckDB, lands it, builds the personas of the
latest date, then the next day's events, then the weekly dates before; and measures in the same run
what bare DuckDB needs for the unavoidable part: landing the same files without any guarantee, and
reading the landed events once to group them by viewer and day. Machines differ and are shared; the
ratios to those floors are what to compare.
"""

import json
import os
import shutil
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import duckdb
import psutil
import typer
from rich.console import Console
from rich.table import Table

from bench.service import Service, generate, viewers_of
from viewer_personas.build import invoke
from viewer_personas.config import load_sources
from viewer_personas.database.connection import connect
from viewer_personas.database.connection import memory_limit as memory_limit_now
from viewer_personas.database.sql import scalar
from viewer_personas.errors import CheckFailed
from viewer_personas.sources.load import load

SAMPLE_SECONDS = 0.05
CLOCK_TICK_SECONDS = 0.01  # CPU seconds are told in ticks: less than one may be told as none
COSTLIEST = 5  # models whose plans are looked at
OPERATORS = 8  # of each plan
MODELS_SHOWN = 12  # of each step
OF_DAYS = ("source_dates", "activity_dates")
OF_EVALUATION_DATES = ("as_of_dates", "persona_dates")

LANDING = "bare landing of the files"
GROUP_BY = "bare group-by of viewer and day"
LOAD = "load"
BUILD = "build to user_personas"
IDLE = "build with nothing new"
NEXT_LOAD = "next day: load"
NEXT_BUILD = "next day: build"
BACK_FILL = "backfill of the weekly dates"
REST = "all other models"
TESTS = "data tests"
FLOORS = {
    LANDING: "create table events as select * from '{files}'",
    GROUP_BY: """
        create temp table user_days as
        select viewer as user_id, cast(ts as date) as day, count(*) as events,
            sum(seconds) as seconds, min(ts) as first_at, max(ts) as last_at
        from events group by 1, 2""",
}


@dataclass
class Measurement:
    """One step, model or floor: seconds on the clock, seconds of all cores together, the largest
    resident size of the process meanwhile in MiB, and the largest size of DuckDB's temporary files
    in MiB. `step` is what a model was built in, `partition_list` what it is partitioned by."""

    kind: str
    step: str
    name: str
    seconds: float
    cpu_seconds: float
    peak_memory_mib: float
    spill_mib: float
    partition_list: str = ""


@dataclass(frozen=True)
class Operator:
    """One operator of a query plan: seconds of all cores together, and rows that come out of it."""

    name: str
    about: str
    seconds: float
    rows: int


@dataclass
class Figures:
    """What a run found. `dates_filled` are the weekly dates of the backfill."""

    service: Service
    measurements: list[Measurement] = field(default_factory=list)
    profiles: dict[str, list[Operator]] = field(default_factory=dict)
    dates_filled: int = 0


class Sampler:
    """Watches what this process uses, and remembers it under the label of what is being done."""

    def __init__(self, spill: Path) -> None:
        self.peaks: dict[str, tuple[float, float]] = {}
        self.cpu_seconds: defaultdict[str, float] = defaultdict(float)
        self._process = psutil.Process()
        self._label = ""
        self._cpu_before = self.cpu()
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
        cpu = self.cpu()
        self.cpu_seconds[self._label] += cpu - self._cpu_before
        self._cpu_before = cpu
        self._label = label

    def measurement(self, kind: str, step: str, name: str, seconds: float) -> Measurement:
        """What was used under this name since the last call for it."""
        memory, spill = self.peaks.pop(name, (0.0, 0.0))
        cpu_seconds = self.cpu_seconds.pop(name, 0.0)
        return Measurement(kind, step, name, seconds, cpu_seconds, memory, spill)

    def cpu(self) -> float:
        """CPU seconds of this process since it began."""
        times = self._process.cpu_times()
        return times.user + times.system

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            memory = self._process.memory_info().rss / 2**20
            spill = _size(self._spill) / 2**20
            label = self._label
            before = self.peaks.get(label, (0.0, 0.0))
            self.peaks[label] = (max(before[0], memory), max(before[1], spill))


def _size(folder: Path) -> int:
    try:
        return sum(file.stat().st_size for file in folder.rglob("*"))
    except FileNotFoundError:  # DuckDB removed one, or all of it, in between
        return 0


@contextmanager
def timed(sampler: Sampler, found: list[Measurement], kind: str, name: str) -> Iterator[None]:
    sampler.begin(name)
    began = time.monotonic()
    yield
    seconds = time.monotonic() - began
    sampler.begin("")
    found.append(sampler.measurement(kind, name, name, seconds))


def measure(
    directory: Path, figures: Figures, weeks: int, console: Console, *, quick: bool = False
) -> None:
    """Generate, land and build a service in `directory`, and measure each step into `figures`.

    `weeks` is how many weekly dates are filled in afterwards at most (as_of_history_weeks). `quick`
    ends with the build to user_personas.
    """
    database = directory / "benchmark.duckdb"
    sources = directory / "sources.yml"
    found = figures.measurements
    console.print(f"Generating {figures.service.events:,} events …")
    generate(directory, figures.service)
    with Sampler(database.with_name(f"{database.name}.tmp")) as sampler:
        _floors(sampler, found, directory)
        console.print("Loading and building …")
        with timed(sampler, found, "step", LOAD):
            load(load_sources(sources), database)
        queries = _build(sampler, found, database, BUILD, ["--select", "+user_personas"])
        # before and after: a machine that is shared is not the same throughout
        _floors(sampler, found, directory)
        figures.profiles.update(_profiles(database, found, queries, console))
        if quick:
            return
        console.print("The next day …")
        _build(sampler, found, database, IDLE, ["--select", "+user_personas"])
        for file in (directory / "later").iterdir():
            file.rename(directory / "events" / file.name)
        with timed(sampler, found, "step", NEXT_LOAD):
            load(load_sources(sources), database)
        _build(sampler, found, database, NEXT_BUILD, ["--select", "+user_personas"])
        console.print("The dates before …")
        _build(sampler, found, database, BACK_FILL, ["--select", "+user_personas"], weeks)
        with connect(database, read_only=True) as connection:
            dates = scalar(connection, "select count(*) from metrics.as_of_dates")
        figures.dates_filled = dates - 1
        console.print("Everything else …")
        _build(sampler, found, database, REST, ["--exclude", "+user_personas"], weeks)
        _build(sampler, found, database, TESTS, ["--resource-type", "test"], weeks)


def _floors(sampler: Sampler, found: list[Measurement], directory: Path) -> None:
    database = directory / "floor.duckdb"
    for name, query in FLOORS.items():
        _floor(sampler, found, database, name, query.format(files=f"{directory}/events/*.parquet"))
    database.unlink()


def _floor(
    sampler: Sampler, found: list[Measurement], database: Path, name: str, query: str
) -> None:
    with timed(sampler, found, "floor", name), connect(database) as connection:
        connection.execute(query)


def _build(
    sampler: Sampler,
    found: list[Measurement],
    database: Path,
    step: str,
    selection: Sequence[str],
    weeks: int = 0,
) -> dict[str, str]:
    """Run dbt, measure it and its models; returns the query of each model by its name."""

    def start(description: str, done: int, total: int) -> None:
        # "sql partitioned model metrics.user_days" or "test grain_user_days_..."
        kind = description.split()[0]
        sampler.begin(step if kind == "test" else description.split()[-1])

    arguments = ["build", "--exclude-resource-types", "unit_test", *selection]
    if "test" not in selection:
        arguments[2:2] = ["test"]
    cpu_before, began = sampler.cpu(), time.monotonic()
    sampler.begin(step)
    result = invoke([*arguments, "--vars", f"{{as_of_history_weeks: {weeks}}}"], database, start)
    seconds = time.monotonic() - began
    sampler.begin("")
    queries = {}
    built = [sampler.measurement("step", step, step, seconds)]
    for run in result.result.results:
        if run.status in ("error", "fail"):
            raise CheckFailed(f"{run.node.name}: {run.message}")
        if run.node.resource_type in ("model", "snapshot"):
            name = f"{run.node.schema}.{run.node.name}"
            queries[name] = run.node.compiled_code
            built.append(sampler.measurement("model", step, name, run.execution_time))
            built[-1].partition_list = run.node.config.meta.get("partition_list", "")
    built[0].cpu_seconds = sampler.cpu() - cpu_before
    built[0].peak_memory_mib = max(item.peak_memory_mib for item in built)
    built[0].spill_mib = max(item.spill_mib for item in built)
    found += built
    return queries


def _profiles(
    database: Path, found: list[Measurement], queries: dict[str, str], console: Console
) -> dict[str, list[Operator]]:
    """The costliest operators of the costliest models, by EXPLAIN ANALYZE of each model's query.

    The ledger forgets the model for it, so that there is something to build, and remembers again.
    A query that ran beside its limit when it was built can run out of memory when it is explained:
    that is said, and the model is left out.
    """
    models = [item for item in found if item.partition_list]
    profiles = {}
    # opened plainly: compiled SQL names the catalogue, which is called as the file
    with duckdb.connect(str(database)) as connection:
        connection.execute(f"set memory_limit = '{memory_limit_now()}'")
        connection.execute("set TimeZone = 'UTC'")
        connection.execute("set preserve_insertion_order = false")
        connection.execute("set variable first_date = (select min(source_date) from raw.slices)")
        for model in sorted(models, key=lambda item: -item.cpu_seconds)[:COSTLIEST]:
            connection.execute("begin transaction")
            connection.execute("delete from metrics.partition_ledger where model = ?", [model.name])
            try:
                row = connection.execute(
                    f"explain (analyze, format json) {queries[model.name]}"
                ).fetchone()
            except duckdb.OutOfMemoryException as error:
                console.print(f"No profile of {model.name}: {str(error).splitlines()[0]}")
                continue
            finally:
                connection.execute("rollback")
            plan = json.loads(row[1])["operator"] if row else []
            operators = sorted(_operators(plan), key=lambda operator: -operator.seconds)
            profiles[model.name] = operators[:OPERATORS]
    return profiles


def _operators(plans: list[dict[str, Any]]) -> Iterator[Operator]:
    for plan in plans:
        about = {
            key: value
            for key, value in plan["extra_info"].items()
            if key in ("Table", "Groups", "Conditions", "Aggregates", "Projections", "Expression")
        }
        yield Operator(
            name=plan["type"],
            about=" ".join(str(about).split())[:200],
            seconds=plan["timing"],
            rows=plan["intermediate_rows"],
        )
        yield from _operators(plan.get("children", []))


def ratios(figures: Figures, unit: str) -> dict[str, float]:
    """What the steps cost in units of the floors that they stand on, as far as they were measured.

    `unit` is seconds, on the clock, or cpu_seconds, which suffer less where others use the machine,
    too.
    """

    def cost(name: str) -> float:
        """A floor was measured twice, and the mean counts."""
        costs: list[float] = [
            getattr(item, unit) for item in figures.measurements if item.name == name
        ]
        return max(sum(costs) / len(costs), CLOCK_TICK_SECONDS)

    def models(step: str, *partition_lists: str) -> float:
        costs: list[float] = [
            getattr(item, unit)
            for item in figures.measurements
            if item.step == step and item.partition_list in partition_lists
        ]
        return max(sum(costs), CLOCK_TICK_SECONDS)

    measured = {item.name for item in figures.measurements}
    found = {}
    if BUILD in measured:
        full = cost(LOAD) + cost(BUILD)
        found[f"load / {LANDING}"] = cost(LOAD) / cost(LANDING)
        found[f"load and build to user_personas / ({LANDING} + {GROUP_BY})"] = full / (
            cost(LANDING) + cost(GROUP_BY)
        )
    if NEXT_BUILD in measured:
        found["next day: load and roll-ups / those of all days"] = (
            cost(NEXT_LOAD) + models(NEXT_BUILD, *OF_DAYS)
        ) / (cost(LOAD) + models(BUILD, *OF_DAYS))
        found["next day beyond dbt's own start / load and build to user_personas"] = (
            cost(NEXT_LOAD) + cost(NEXT_BUILD) - cost(IDLE)
        ) / full
    if figures.dates_filled:
        found["a date of the backfill / the latest date alone"] = (
            models(BACK_FILL, *OF_EVALUATION_DATES)
            / figures.dates_filled
            / models(BUILD, *OF_EVALUATION_DATES)
        )
    return found


def show(console: Console, figures: Figures) -> None:
    """Print the measurements in the order of time, the costliest models of each, and the ratios."""
    table = Table("", "seconds", "CPU", "events/s", "MiB", "spill", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for item in figures.measurements:
        if item.kind != "model":
            table.add_row(item.name, *_columns(item, figures.service.events), style="bold")
        models = [model for model in figures.measurements if model.step == item.name != model.name]
        for model in sorted(models, key=lambda model: -model.seconds)[:MODELS_SHOWN]:
            table.add_row(f"  {model.name}", *_columns(model, figures.service.events))
    console.print(table)
    of_cpu = ratios(figures, "cpu_seconds")
    for name, ratio in ratios(figures, "seconds").items():
        console.print(f"{name}: {ratio:.3g} (of CPU seconds {of_cpu[name]:.3g})", soft_wrap=True)


def _columns(item: Measurement, events: int) -> list[str]:
    return [
        f"{item.seconds:.2f}",
        f"{item.cpu_seconds:.2f}",
        f"{events / max(item.seconds, CLOCK_TICK_SECONDS):,.0f}",
        f"{item.peak_memory_mib:,.0f}",
        f"{item.spill_mib:,.0f}",
    ]


def main(
    events: Annotated[int, typer.Option(help="How many events to generate, about.")] = 1_000_000,
    viewers: Annotated[
        int | None, typer.Option(help="Of how many viewers at most.", show_default="events / 240")
    ] = None,
    days: Annotated[int, typer.Option(help="On how many days.")] = 91,
    heartbeat_seconds: Annotated[int, typer.Option(help="How often a play reports.")] = 60,
    one_day: Annotated[
        bool, typer.Option("--one-day", help="All but a thousandth on the last day but one.")
    ] = False,
    weeks: Annotated[int, typer.Option(help="How many weekly dates are filled in.")] = 26,
    quick: Annotated[
        bool, typer.Option("--quick", help="End with the first build to user_personas.")
    ] = False,
    memory_limit: Annotated[str, typer.Option(help="What DuckDB may use.")] = "6GB",
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
    service = Service(
        events=events,
        viewers=viewers or viewers_of(events),
        days=days,
        heartbeat_seconds=heartbeat_seconds,
        one_day=one_day,
    )
    os.environ["PERSONAS_MEMORY_LIMIT"] = memory_limit
    figures = Figures(service)
    try:
        measure(work, figures, weeks, console, quick=quick)
    finally:  # what was found before a failure took hours, perhaps
        if directory is None:
            shutil.rmtree(work)
        show(console, figures)
        if json_file:
            written: dict[str, Any] = {
                **asdict(figures),
                "memory_limit": memory_limit,
                "cores": os.cpu_count(),
                "duckdb": duckdb.__version__,
                "ratios": ratios(figures, "seconds"),
                "cpu_ratios": ratios(figures, "cpu_seconds"),
            }
            json_file.write_text(json.dumps(written, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
