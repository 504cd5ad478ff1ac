"""Compares the persona rules with k-means and Gaussian mixtures on the same metrics of a demo.

    python -m bench.clusters demo --bootstraps 20 --losses 3

Every method sees `user_windows` on the latest evaluation date: all metrics that are numbers, of 28
and of 84 days, standardised; a null is set to the mean of the metric, which says nothing; metrics
with one value are left out. There are as many clusters as personas. Measured are time and memory,
stability, silhouette and agreement with the planted behaviour; docs/comparison.md has a table and
says what the measures are worth. scikit-learn is needed, in the dependency group `compare`:
`make compare-clusters` brings it.
"""

import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import duckdb
import typer
from rich.console import Console

from bench.agreement import (
    Grouping,
    adjusted_rand_index,
    group_stability,
    matched_macro_f1,
)
from bench.methods import build_with_loss, table
from viewer_personas.build import invoke
from viewer_personas.database.connection import connect
from viewer_personas.demo.recovery import TRUTH, planted_on, recovery
from viewer_personas.demo.service import DATABASE
from viewer_personas.errors import CheckFailed, InputError, PersonasError

RULES = "rules"
CLUSTERINGS = ("k-means", "Gaussian mixture, diagonal", "Gaussian mixture, full")
SEED = 7
STARTS = {"k-means": 10, "Gaussian mixture, diagonal": 3, "Gaussian mixture, full": 3}
SILHOUETTE_VIEWERS = 5000
TRUSTED = 0.6
"""From which mean Jaccard similarity on a group is more than a pattern of chance (Hennig 2007)."""

KEYS = {"as_of_date", "window_days", "user_id"}

# numpy is not installed but by `make compare-clusters`, so that its types are not known here.
Matrix = Any


@dataclass(frozen=True)
class Audience:
    """The viewers of the latest date: a row of metrics for each, None where one is not known."""

    as_of_date: Any
    viewers: list[str]
    metrics: list[str]
    rows: list[tuple[float | None, ...]]
    personas: dict[str, str]


@dataclass
class Figures:
    """What was measured of one method. The lists have a value for each bootstrap, or each loss."""

    seconds: float
    mebibytes: float | None
    silhouette: float | None = None
    rand_of_truth: float | None = None
    f1_of_truth: float | None = None
    bootstrap_rand: list[float] = field(default_factory=list)
    bootstrap_groups: dict[Hashable, list[float]] = field(default_factory=dict)
    loss_rand: list[float] = field(default_factory=list)
    loss_groups: dict[Hashable, list[float]] = field(default_factory=dict)
    kept_rand: list[float] = field(default_factory=list)


def audience(database: Path) -> Audience:
    """The viewers of the latest evaluation date with their metrics and personas."""
    with connect(database, read_only=True) as connection:
        [(as_of_date,)] = connection.execute(
            "select max(as_of_date) from metrics.user_windows"
        ).fetchall()
        if as_of_date is None:
            raise InputError(f"{database}: has no evaluation date, so there is nothing to compare.")
        described = connection.execute("describe metrics.user_windows").fetchall()
        metrics = [
            row[0] for row in described
            if row[0] not in KEYS and row[1] in ("BIGINT", "INTEGER", "DOUBLE")
        ]  # fmt: skip
        columns = [
            f"cast({window}.{metric} as double)"
            for window in ("short_window", "long_window")
            for metric in metrics
        ]
        rows = connection.execute(
            f"""
            select short_window.user_id, persona, {", ".join(columns)}
            from metrics.user_windows as short_window
            inner join metrics.user_windows as long_window using (as_of_date, user_id)
            inner join personas.persona_choices using (as_of_date, user_id)
            where as_of_date = $1 and short_window.window_days = 28
                and long_window.window_days = 84
            order by short_window.user_id
            """,
            [as_of_date],
        ).fetchall()
    return Audience(
        as_of_date=as_of_date,
        viewers=[row[0] for row in rows],
        metrics=[f"{metric} {days}" for days in (28, 84) for metric in metrics],
        rows=[row[2:] for row in rows],
        personas={row[0]: row[1] for row in rows},
    )


class Scale:
    """Standardises metrics as they were distributed over one audience."""

    def __init__(self, values: Matrix) -> None:
        import numpy

        self.means = numpy.nan_to_num(numpy.nanmean(values, axis=0))
        deviations = numpy.nan_to_num(numpy.nanstd(values, axis=0))
        self.kept = deviations > 0
        self.deviations = numpy.where(self.kept, deviations, 1.0)

    def __call__(self, values: Matrix) -> Matrix:
        import numpy

        scaled = (values - self.means) / self.deviations
        return numpy.nan_to_num(scaled, nan=0.0)[:, self.kept]


def matrix(rows: Sequence[Sequence[float | None]]) -> Matrix:
    """Rows of metrics as an array, NaN where one is not known."""
    import numpy

    return numpy.array(rows, dtype=float)


def fit(name: str, values: Matrix, groups: int) -> Callable[[Matrix], Matrix]:
    """Cluster standardised values; the function that says in which cluster others are."""
    from sklearn.cluster import KMeans
    from sklearn.mixture import GaussianMixture

    if name == "k-means":
        clustering = KMeans(groups, n_init=STARTS[name], random_state=SEED)
    else:
        clustering = GaussianMixture(
            groups,
            covariance_type="full" if name.endswith("full") else "diag",
            n_init=STARTS[name],
            # metrics that are 0 for a whole cluster have no spread in it
            reg_covar=1e-3,
            random_state=SEED,
        )
    fitted = clustering.fit(values)
    return lambda others: fitted.predict(others)


def measured(work: Callable[..., None], *arguments: Any) -> tuple[float, float | None]:
    """CPU seconds, and MiB that a new process needs on top of what it had before, for one call."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(sender, work, arguments))
    process.start()
    sender.close()
    try:
        seconds, mebibytes = receiver.recv()
    except EOFError:
        raise CheckFailed("a method that was measured broke off; its message is above.") from None
    finally:
        process.join()
    return seconds, mebibytes


def _measure(sender: Any, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    if work is cluster_once:
        _import_scikit_learn()
        _use_one_thread()
    before = _memory("VmRSS")
    began = time.process_time()
    work(*arguments)
    seconds = time.process_time() - began
    peak = _memory("VmHWM")
    sender.send((seconds, None if before is None or peak is None else peak - before))


def _memory(name: str) -> float | None:
    """MiB of this process, as Linux counts them; None elsewhere. `resource` would give the largest
    size of the process that started this one."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    [line] = [line for line in status.read_text().splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1]) / 1024


def cluster_once(name: str, rows: list[tuple[float | None, ...]], groups: int) -> None:
    """What a clustering does on one date: standardise, fit, and say who is where."""
    values = matrix(rows)
    scaled = Scale(values)(values)
    fit(name, scaled, groups)(scaled)


def apply_rules(database: Path, statements: list[str]) -> None:
    """What the rules do on one date: match, with evidence and words, and choose."""
    with duckdb.connect(str(database), read_only=True) as connection:
        connection.execute("set enable_progress_bar = false")
        connection.execute("set preserve_insertion_order = false")
        for number, statement in enumerate(statements):
            connection.execute(f"create temp table result_{number} as {statement}")


def statements_of_rules(database: Path, work: Path) -> tuple[Path, list[str]]:
    """A copy of the database in which only the latest date is to be built, and the SQL for it."""
    copied = work / "rules.duckdb"
    shutil.copy(database, copied)
    with connect(copied) as connection:
        connection.execute("delete from personas.persona_dates where not is_latest")
        connection.execute(
            "delete from metrics.partition_ledger"
            " where model in ('personas.persona_matches', 'personas.persona_choices')"
        )
    compiled = invoke(
        ["compile", "--select", "persona_matches", "persona_choices"], copied, lambda *_: None
    )
    if not compiled.success:
        raise CheckFailed("the persona models cannot be compiled; logs/dbt.log says why.")
    code = {run.node.name: run.node.compiled_code for run in compiled.result.results}
    return copied, [code["persona_matches"], code["persona_choices"]]


def add(groups: dict[Hashable, list[float]], found: dict[Hashable, float]) -> None:
    """Append the stability of each group to what was found of it before."""
    for group, similarity in found.items():
        groups.setdefault(group, []).append(similarity)


def compare(
    service: Path, bootstraps: int, losses: int, work: Path, console: Console
) -> tuple[Audience, dict[str, Figures], float | None]:
    """The figures of each method on one demo that is built, and the macro F1 of the personas by
    their names."""
    import numpy
    from sklearn.metrics import silhouette_score

    database = service / DATABASE
    full = audience(database)
    with connect(database, read_only=True) as connection:
        [(groups,)] = connection.execute("select count(*) from reference.personas").fetchall()
        by_name = recovery(connection, service / TRUTH, full.personas).macro_f1
    truth = planted_on(service / TRUTH, full.as_of_date)
    values = matrix(full.rows)
    scale = Scale(values)
    scaled = scale(values)
    thinned = []
    for seed in range(1, losses + 1):
        console.print(f"{service}: without 5 % of its events, {seed} of {losses} …")
        thinned.append(audience(build_with_loss(service, work / str(seed), seed)))
        shutil.rmtree(work / str(seed))

    found = {}
    for name in (RULES, *CLUSTERINGS):
        console.print(f"{service}: {name} …")
        grouping: Grouping
        if name == RULES:
            copied, statements = statements_of_rules(database, work)
            figures = Figures(*measured(apply_rules, copied, statements))
            grouping = full.personas
        else:
            figures = Figures(*measured(cluster_once, name, full.rows, groups))
            predict = fit(name, scaled, groups)
            grouping = _grouping(full.viewers, predict(scaled))
        found[name] = figures
        labels = [grouping[viewer] for viewer in full.viewers]
        figures.silhouette = float(
            silhouette_score(
                scaled,
                labels,
                sample_size=min(len(labels), SILHOUETTE_VIEWERS),
                random_state=SEED,
            )
        )
        figures.rand_of_truth = adjusted_rand_index(grouping, truth)
        figures.f1_of_truth = matched_macro_f1(grouping, truth)

        drawn = numpy.random.default_rng(SEED)
        for _ in range(bootstraps):
            sample = drawn.integers(0, len(full.viewers), len(full.viewers))
            present = sorted({int(place) for place in sample})
            viewers = [full.viewers[place] for place in present]
            if name == RULES:
                # a rule judges each viewer alone: who else is there does not matter
                again = {viewer: full.personas[viewer] for viewer in viewers}
            else:
                scale_again = Scale(values[sample])
                predict_again = fit(name, scale_again(values[sample]), groups)
                again = _grouping(viewers, predict_again(scale_again(values[present])))
            figures.bootstrap_rand.append(adjusted_rand_index(grouping, again) or 0.0)
            add(figures.bootstrap_groups, group_stability(grouping, again))

        for thin in thinned:
            thin_values = matrix(thin.rows)
            if name == RULES:
                again = thin.personas
                kept: Grouping = thin.personas
            else:
                thin_scale = Scale(thin_values)
                predict_again = fit(name, thin_scale(thin_values), groups)
                again = _grouping(thin.viewers, predict_again(thin_scale(thin_values)))
                kept = _grouping(thin.viewers, predict(scale(thin_values)))
            figures.loss_rand.append(adjusted_rand_index(grouping, again) or 0.0)
            add(figures.loss_groups, group_stability(grouping, again))
            figures.kept_rand.append(adjusted_rand_index(grouping, kept) or 0.0)
    return full, found, by_name


def _grouping(viewers: Sequence[str], labels: Any) -> dict[str, Any]:
    return {viewer: int(label) for viewer, label in zip(viewers, labels, strict=True)}


def mean(values: Sequence[float]) -> float | None:
    """The mean; None of nothing."""
    return sum(values) / len(values) if values else None


def as_markdown(found: dict[str, Figures]) -> str:
    """The figures, a row for each measure and a column for each method."""

    def text(value: float | None, digits: int = 2) -> str:
        return "–" if value is None else f"{value:.{digits}f}"

    def of_groups(groups: dict[Hashable, list[float]]) -> str:
        means = [mean(similarities) or 0.0 for similarities in groups.values()]
        below = sum(similarity < TRUSTED for similarity in means)
        return f"{text(mean(means))}; {below} of {len(means)}" if means else "–"

    measures: dict[str, Callable[[Figures], str]] = {
        "CPU seconds": lambda figures: text(figures.seconds),
        "MiB on top of the data": lambda figures: text(figures.mebibytes, 0),
        "bootstrap: adjusted Rand": lambda figures: text(mean(figures.bootstrap_rand)),
        "bootstrap: mean Jaccard; groups below 0.6": lambda figures: of_groups(
            figures.bootstrap_groups
        ),
        "loss of 5 %, clustered anew: adjusted Rand": lambda figures: text(mean(figures.loss_rand)),
        "loss of 5 %, clustered anew: mean Jaccard; groups below 0.6": lambda figures: of_groups(
            figures.loss_groups
        ),
        "loss of 5 %, clusters kept: adjusted Rand": lambda figures: text(mean(figures.kept_rand)),
        "silhouette": lambda figures: text(figures.silhouette),
        "truth: adjusted Rand": lambda figures: text(figures.rand_of_truth),
        "truth: macro F1 after the best matching": lambda figures: text(figures.f1_of_truth),
    }
    rows = [
        [measure, *(of_method(figures) for figures in found.values())]
        for measure, of_method in measures.items()
    ]
    return table(["", *found], rows)


def _import_scikit_learn() -> None:
    try:
        import sklearn.cluster
        import sklearn.metrics
        import sklearn.mixture  # noqa: F401
    except ImportError as error:
        raise InputError(
            "scikit-learn is not installed: `make compare-clusters` brings it, or"
            " `uv sync --group compare`."
        ) from error


def _use_one_thread() -> None:
    """Threads that wait for each other on a shared machine took fifty times as long as one."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)


def main(
    service: Annotated[
        Path, typer.Argument(help="A directory that `personas demo` has written and built.")
    ],
    bootstraps: Annotated[int, typer.Option(help="How often to draw the viewers anew.")] = 20,
    losses: Annotated[int, typer.Option(help="How often to lose 5 % of the events.")] = 3,
) -> None:
    """Compare the persona rules with clusterings of the same metrics."""
    work = Path(tempfile.mkdtemp(prefix="viewer_personas_clusters_"))
    try:
        _import_scikit_learn()
        _use_one_thread()
        full, found, by_name = compare(service, bootstraps, losses, work, Console(stderr=True))
    except PersonasError as error:
        sys.exit(error.say())
    finally:
        shutil.rmtree(work)
    print(
        f"{service} on {full.as_of_date}: {len(full.viewers)} viewers,"
        f" {len(full.metrics)} metrics; {bootstraps} bootstraps, {losses} losses\n"
    )
    print(as_markdown(found))
    if by_name is not None:
        print(f"\nMacro F1 of the personas by their own names: {by_name:.2f}")


if __name__ == "__main__":
    typer.run(main)
