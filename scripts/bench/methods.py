"""Compares the methods of choosing one persona where several match, on demos with known behaviour.

    python -m bench.methods demo [MORE DEMOS] --losses 3

To what personas.exclusivity_benchmark says of each method this adds what a database alone cannot
say: how well the planted behaviour is found again, and how many viewers get another persona when
5 % of the events are lost at random. Each loss is a service of its own, loaded and built anew.
docs/decisions/0011-exclusivity-method.md has a table and what follows from it.
"""

import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import duckdb
import typer
from rich.console import Console

from bench.demos import load_and_build
from viewer_personas.build import invoke
from viewer_personas.database.connection import connect
from viewer_personas.database.sql import literal
from viewer_personas.demo.recovery import TRUTH, recovery
from viewer_personas.demo.service import DATABASE
from viewer_personas.errors import CheckFailed, InputError, PersonasError

METHODS = ("priority", "strongest", "rarest", "sticky", "riskiest")
RANKED = [method for method in METHODS if method != "sticky"]
LOST_SHARE = 0.05

Placed = dict[str, str]
"""The persona of each viewer."""

# All dates, because sticky looks back. RANKED are those with a rank.
CHOICES = """
with viewers as (
    select user_windows.as_of_date, user_windows.user_id, persona_dates.previous_as_of_date
    from {{ ref('user_windows') }} as user_windows
    inner join {{ ref('persona_dates') }} as persona_dates
        on user_windows.as_of_date = persona_dates.as_of_date
    where user_windows.window_days = {{ short_window() }}
),
candidates as (select * from {{ ref('persona_candidates') }}),
{% for method in RANKED %}
    {{ method }} as (
        select viewers.*, coalesce(candidates.persona, 'casual') as persona
        from viewers
        left join candidates
            on viewers.as_of_date = candidates.as_of_date
            and viewers.user_id = candidates.user_id
            and candidates.{{ method }}_rank = 1
    ),
{% endfor %}
sticky as ({{ sticky_choices('priority', 'candidates') }}),
choices as (
    {% for method in RANKED + ['sticky'] %}
        select '{{ method }}' as exclusivity_method, * from {{ method }}
        {{ 'union all' if not loop.last }}
    {% endfor %}
)
select exclusivity_method, user_id, persona from choices
where as_of_date = (select max(as_of_date) from {{ ref('persona_dates') }})
"""

BENCHMARK = (
    "coverage",
    "several_matches_share",
    "changed_share",
    "flip_share",
    "effective_personas",
    "log_loss_skill",
)


def choices_of_methods(database: Path) -> dict[str, Placed]:
    """The persona of each viewer on the latest date by each method, of a database that is built."""
    compiled = invoke(
        ["compile", "--inline", CHOICES.replace("RANKED", str(RANKED))],
        database,
        lambda *_: None,
    )
    if not compiled.success:
        raise CheckFailed("the choices of the methods cannot be compiled; logs/dbt.log says why.")
    placed: dict[str, Placed] = defaultdict(dict)
    for method, user_id, persona in rows_of_compiled(
        database, compiled.result.results[0].node.compiled_code
    ):
        placed[method][user_id] = persona
    return placed


def rows_of_compiled(database: Path, query: str) -> list[tuple[Any, ...]]:
    """The rows of a query that dbt compiled, which names the catalogue as the file is called."""
    with duckdb.connect(str(database), read_only=True) as connection:
        return connection.execute(query).fetchall()


def lose_events(service: Path, directory: Path, seed: int, share: float = LOST_SHARE) -> int:
    """Write the demo service `service` into `directory` without a random share of its events.

    Which events are lost depends on the seed, the file and the row alone. Returns how many are
    lost. Raises `InputError` where the service has no event files such as a demo has.
    """
    files = sorted((service / "events").glob("*.parquet"))
    if not files:
        raise InputError(f"{service}: no events/*.parquet. `personas demo` writes a service.")
    (directory / "events").mkdir(parents=True)
    for name in ("sources.yml", "contents.jsonl", "users.jsonl", TRUTH):
        shutil.copy(service / name, directory)
    lost = 0
    # the first eight digits of a hash, below this share of all that there are
    limit = f"{int(share * 16**8):08x}"
    with duckdb.connect() as connection:
        for file in files:
            chance = f"md5('{seed} {file.name} ' || file_row_number)"
            rows = f"read_parquet({literal(file)}, file_row_number = true)"
            connection.execute(
                f"copy (select * exclude (file_row_number) from {rows} where {chance} >= '{limit}')"
                f" to {literal(directory / 'events' / file.name)} (format parquet)"
            )
            [(count,)] = connection.execute(
                f"select count(*) from {rows} where {chance} < '{limit}'"
            ).fetchall()
            lost += count
    return lost


def build_with_loss(service: Path, directory: Path, seed: int) -> Path:
    """Load and build the service without a random share of its events; the database."""
    lose_events(service, directory, seed)
    return load_and_build(directory)


def share_that_differs(one: Placed, other: Placed) -> float:
    """The share of the viewers of `one` who have another persona in `other`, or are not there."""
    return sum(other.get(user_id) != persona for user_id, persona in one.items()) / len(one)


def compare(service: Path, losses: int, work: Path, console: Console) -> dict[str, dict[str, Any]]:
    """The figures of each method on one demo that is built; a figure without a value is None."""
    database = service / DATABASE
    with connect(database, read_only=True) as connection:
        benchmark = connection.execute(
            f"select exclusivity_method, {', '.join(BENCHMARK)}"
            " from personas.exclusivity_benchmark where as_of_date is null"
        ).fetchall()
    if not benchmark:
        raise InputError(f"{database}: has no evaluation date, so there is nothing to compare.")
    figures = {row[0]: dict(zip(BENCHMARK, row[1:], strict=True)) for row in benchmark}
    choices = choices_of_methods(database)
    with connect(database, read_only=True) as connection:
        for method in METHODS:
            recovered = recovery(connection, service / TRUTH, choices[method])
            figures[method]["macro_f1"] = recovered.macro_f1
    differing: dict[str, list[float]] = defaultdict(list)
    for seed in range(1, losses + 1):
        console.print(f"{service}: without {LOST_SHARE:.0%} of its events, {seed} of {losses} …")
        thinned = choices_of_methods(build_with_loss(service, work / str(seed), seed))
        shutil.rmtree(work / str(seed))
        for method in METHODS:
            differing[method].append(share_that_differs(choices[method], thinned[method]))
    for method, shares in differing.items():
        figures[method]["differs_after_loss"] = sum(shares) / len(shares)
        figures[method]["differs_at_least"] = min(shares)
        figures[method]["differs_at_most"] = max(shares)
    return figures


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, as docs/ has it."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def as_markdown(figures: dict[str, dict[str, Any]]) -> str:
    """The figures of one demo, a row for each method."""

    def percent(value: float | None) -> str:
        return "–" if value is None else f"{100 * value:.2f} %"

    def number(value: float | None) -> str:
        return "–" if value is None else f"{value:.3f}"

    rows = []
    for method in METHODS:
        of_method = figures[method]
        loss = percent(of_method.get("differs_after_loss"))
        if of_method.get("differs_at_most") is not None:
            least, most = of_method["differs_at_least"], of_method["differs_at_most"]
            loss += f" ({100 * least:.2f} to {100 * most:.2f})"
        rows.append(
            [
                f"`{method}`",
                number(of_method["macro_f1"]),
                loss,
                percent(of_method["flip_share"]),
                percent(of_method["changed_share"]),
                number(of_method["effective_personas"]),
                number(of_method["log_loss_skill"]),
            ]
        )
    headings = ["method", "macro F1", "differs after a loss of 5 %", "flips", "changes",
                "effective personas", "skill for churn"]  # fmt: skip
    some = figures[METHODS[0]]
    return (
        f"Coverage {percent(some['coverage'])}, more than one match"
        f" {percent(some['several_matches_share'])}, the same for all methods.\n\n"
        + table(headings, rows)
    )


def main(
    services: Annotated[
        list[Path], typer.Argument(help="Directories that `personas demo` has written and built.")
    ],
    losses: Annotated[int, typer.Option(help="How often to lose 5 % of the events.")] = 3,
) -> None:
    """Compare the methods of choosing one persona where several match."""
    console = Console(stderr=True)
    try:
        for service in services:
            work = Path(tempfile.mkdtemp(prefix="viewer_personas_losses_"))
            try:
                figures = compare(service, losses, work, console)
            finally:
                shutil.rmtree(work)
            print(f"\n{service}\n\n{as_markdown(figures)}")
    except PersonasError as error:
        sys.exit(error.say())


if __name__ == "__main__":
    typer.run(main)
