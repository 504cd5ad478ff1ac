"""How much of the planted behaviour of a demo the personas recover.

A behaviour counts as planted at a date D if its row in the truth covers D, both ends included. It
is compared with `personas.user_personas` on the latest as-of date. Nothing else reads the truth:
the pipeline knows only the events, the catalogue and the users.

A planted behaviour and a persona are the same if they have the same name. Do not expect a perfect
score: a persona describes weeks, so a viewer whose behaviour changed a week ago, or who has been
absent for less than 28 days, still has the earlier persona; and a viewer may match two personas and
get the other one.
"""

import csv
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from viewer_personas.errors import InputError

_COLUMNS = ["user_id", "behaviour", "starts_on", "ends_on"]
NOT_PLACED = "(no persona)"
TRUTH = "truth.csv"
LARGEST = 6  # confusions that are listed by name


@dataclass(frozen=True)
class PersonaRecovery:
    """Viewers planted as a persona, put into it, and both (`recovered`)."""

    persona: str
    planted: int
    predicted: int
    recovered: int

    @property
    def precision(self) -> float | None:
        """The share planted as the persona among those put into it; None if nobody was."""
        return self.recovered / self.predicted if self.predicted else None

    @property
    def recall(self) -> float | None:
        """The share put into the persona among those planted; None if nobody was planted."""
        return self.recovered / self.planted if self.planted else None

    @property
    def f1(self) -> float | None:
        """2 recovered / (planted + predicted): the harmonic mean of precision and recall.

        0 if one of the two is undefined, None if both are.
        """
        both = self.planted + self.predicted
        return 2 * self.recovered / both if both else None


@dataclass(frozen=True)
class UnknownBehaviour:
    """A planted behaviour that is not a persona, and the personas of its viewers."""

    behaviour: str
    planted: int
    put_into: dict[str, int]


@dataclass(frozen=True)
class Confusion:
    """Viewers planted as one thing and put into another, out of all planted as the first."""

    behaviour: str
    persona: str
    viewers: int
    planted: int


@dataclass(frozen=True)
class Recovery:
    """The comparison on one as-of date; both lists are in order of name."""

    as_of_date: date
    viewers: int
    """Viewers with a behaviour planted on the date."""
    viewers_without_persona: int
    """Of these, those that are not in `personas.user_personas` on the date."""
    viewers_without_truth: int
    """Viewers with a persona on the date and no behaviour planted; they count as predicted."""
    personas: list[PersonaRecovery]
    unknown: list[UnknownBehaviour]
    confusion: dict[str, dict[str, int]]
    """Planted behaviour, persona put into, viewers; without empty pairs."""

    @property
    def macro_f1(self) -> float | None:
        """The mean F1 of the personas (macro F1), without those that have none."""
        scores = [row.f1 for row in self.personas if row.f1 is not None]
        return sum(scores) / len(scores) if scores else None

    @property
    def confusions(self) -> list[Confusion]:
        """Viewers put into a persona other than planted, most viewers first, ties by name."""
        pairs = [
            Confusion(behaviour, persona, viewers, sum(row.values()))
            for behaviour, row in self.confusion.items()
            for persona, viewers in row.items()
            if persona != behaviour
        ]
        return sorted(pairs, key=lambda pair: (-pair.viewers, pair.behaviour, pair.persona))


def recovery(
    connection: duckdb.DuckDBPyConnection, truth: Path, placed: Mapping[str, str] | None = None
) -> Recovery:
    """Compare the truth with the personas on the latest as-of date.

    `placed` are the personas of viewers to compare instead of those in `personas.user_personas`.
    Raises `InputError` if the truth cannot be read or gives a viewer two behaviours at once, or if
    the personas are not built yet.
    """
    as_of_date = _latest_as_of_date(connection)
    known = {str(row[0]) for row in _rows(connection, "select persona from reference.personas")}
    if placed is None:
        placed = {
            str(user_id): str(persona)
            for user_id, persona in _rows(
                connection,
                "select user_id, persona from personas.user_personas where as_of_date = ?",
                [as_of_date],
            )
        }
    planted = planted_on(truth, as_of_date)

    planted_counts = Counter(planted.values())
    placed_counts = Counter(placed.values())
    recovered_counts = Counter(
        behaviour for user_id, behaviour in planted.items() if placed.get(user_id) == behaviour
    )
    put_into: dict[str, Counter[str]] = defaultdict(Counter)
    for user_id, behaviour in planted.items():
        put_into[behaviour][placed.get(user_id, NOT_PLACED)] += 1

    return Recovery(
        as_of_date=as_of_date,
        viewers=len(planted),
        viewers_without_persona=len(planted.keys() - placed.keys()),
        viewers_without_truth=len(placed.keys() - planted.keys()),
        personas=[
            PersonaRecovery(
                persona=persona,
                planted=planted_counts[persona],
                predicted=placed_counts[persona],
                recovered=recovered_counts[persona],
            )
            for persona in sorted(known)
        ],
        unknown=[
            UnknownBehaviour(
                behaviour=behaviour,
                planted=planted_counts[behaviour],
                put_into=_largest_first(put_into[behaviour]),
            )
            for behaviour in sorted(planted_counts.keys() - known)
        ],
        confusion={
            behaviour: dict(sorted(put_into[behaviour].items())) for behaviour in sorted(put_into)
        },
    )


def render(result: Recovery) -> RenderableType:
    """The comparison as a table, with the personas of behaviours that are not a persona."""
    table = Table(title=f"Planted behaviour recovered on {result.as_of_date}")
    table.add_column("persona")
    for heading in ("planted", "predicted", "recovered", "precision", "recall", "F1"):
        table.add_column(heading, justify="right")
    for row in result.personas:
        table.add_row(
            row.persona,
            str(row.planted),
            str(row.predicted),
            str(row.recovered),
            _share_text(row.precision),
            _share_text(row.recall),
            _share_text(row.f1),
        )
    table.add_section()
    table.add_row("macro F1", *[""] * 5, _share_text(result.macro_f1))
    parts: list[RenderableType] = [table]
    if result.confusion:
        parts += [_confusion_table(result), *_confusion_lines(result)]
    if result.unknown:
        unknown = Table(title="Planted behaviours without a persona")
        unknown.add_column("behaviour")
        unknown.add_column("planted", justify="right")
        unknown.add_column("put into")
        for behaviour in result.unknown:
            destinations = ", ".join(
                f"{persona} {number}" for persona, number in behaviour.put_into.items()
            )
            unknown.add_row(behaviour.behaviour, str(behaviour.planted), destinations)
        parts.append(unknown)
    if result.viewers_without_persona:
        parts.append(Text(f"{result.viewers_without_persona} viewers have no persona on the date."))
    if result.viewers_without_truth:
        parts.append(Text(f"{result.viewers_without_truth} viewers are not in the truth."))
    return Group(*parts)


def to_dict(result: Recovery) -> dict[str, Any]:
    """The comparison for JSON; undefined figures are null."""
    return {
        "as_of_date": result.as_of_date.isoformat(),
        "viewers": result.viewers,
        "viewers_without_persona": result.viewers_without_persona,
        "viewers_without_truth": result.viewers_without_truth,
        "macro_f1": result.macro_f1,
        "personas": [
            {
                "persona": row.persona,
                "planted": row.planted,
                "predicted": row.predicted,
                "recovered": row.recovered,
                "precision": row.precision,
                "recall": row.recall,
                "f1": row.f1,
            }
            for row in result.personas
        ],
        "unknown_behaviours": [
            {"behaviour": row.behaviour, "planted": row.planted, "put_into": row.put_into}
            for row in result.unknown
        ],
        "confusion": result.confusion,
    }


def _confusion_table(result: Recovery) -> Table:
    """The confusion matrix: planted in rows, put into in columns, in the same order.

    The headings are abbreviated, so that thirteen fit into 80 columns.
    """
    names = [row.persona for row in result.personas]
    columns = names + [NOT_PLACED] * any(NOT_PLACED in row for row in result.confusion.values())
    table = Table(title="Planted (rows) and put into (columns)", box=None, padding=(0, 1, 0, 0))
    table.add_column("planted", no_wrap=True)
    for heading in _beginnings(columns):
        table.add_column(heading, justify="right", no_wrap=True)
    unknown = [behaviour for behaviour in result.confusion if behaviour not in names]
    for behaviour in names + unknown:
        row = result.confusion.get(behaviour, {})
        table.add_row(
            behaviour,
            *(
                Text(str(row.get(persona, "·")), style="bold" if persona == behaviour else "")
                for persona in columns
            ),
        )
    return table


def _confusion_lines(result: Recovery) -> list[Text]:
    pairs = result.confusions[:LARGEST]
    if not pairs:
        return []
    return [
        Text("Largest confusions:"),
        *(
            Text(
                f"  {pair.behaviour} seen as {pair.persona}: {pair.viewers} of {pair.planted}"
                f" ({pair.viewers / pair.planted:.0%})"
            )
            for pair in pairs
        ),
    ]


def _beginnings(names: list[str]) -> list[str]:
    """The shortest unique prefixes of the names, of three letters or more."""
    for length in range(3, max(map(len, names), default=3)):
        beginnings = [name.strip("(")[:length] for name in names]
        if len(set(beginnings)) == len(names):
            return beginnings
    return names


def _latest_as_of_date(connection: duckdb.DuckDBPyConnection) -> date:
    rows = _rows(connection, "select as_of_date from metrics.as_of_dates where is_latest")
    if len(rows) != 1:
        raise InputError(
            f"metrics.as_of_dates has {len(rows)} latest dates: run `personas build` first."
        )
    latest = rows[0][0]
    if not isinstance(latest, date):
        raise InputError(f"metrics.as_of_dates.as_of_date is not a date: {latest!r}")
    return latest


def _rows(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: list[object] | None = None
) -> list[tuple[Any, ...]]:
    try:
        return connection.execute(query, parameters or []).fetchall()
    except duckdb.CatalogException as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"the personas are not built yet: run `personas run` first. ({reason})"
        ) from error


@dataclass(frozen=True)
class Planted:
    """One row of the truth: a behaviour of a viewer, both dates included."""

    user_id: str
    behaviour: str
    starts_on: date
    ends_on: date


def read_truth(truth: Path) -> list[Planted]:
    """The rows of the truth in its order. Raises `InputError` if it cannot be read."""
    try:
        with truth.open(encoding="utf-8", newline="") as truth_file:
            reader = csv.DictReader(truth_file)
            if reader.fieldnames != _COLUMNS:
                raise InputError(f"{truth}: the columns must be {', '.join(_COLUMNS)}.")
            rows = list(reader)
    except FileNotFoundError:
        raise InputError(f"{truth}: no such file. `personas demo` writes one.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{truth}: cannot be read: {error}") from error
    planted = []
    for number, row in enumerate(rows, 2):
        try:
            starts_on = date.fromisoformat(row["starts_on"])
            ends_on = date.fromisoformat(row["ends_on"])
        except (TypeError, ValueError):
            raise InputError(f"{truth}: row {number} has no dates like 2026-04-30.") from None
        planted.append(Planted(row["user_id"], row["behaviour"], starts_on, ends_on))
    return planted


def planted_on(truth: Path, on: date) -> dict[str, str]:
    """The behaviour of each viewer on a date."""
    planted: dict[str, str] = {}
    for row in read_truth(truth):
        if row.starts_on <= on <= row.ends_on:
            if row.user_id in planted:
                raise InputError(f"{truth}: {row.user_id} has two behaviours on {on}.")
            planted[row.user_id] = row.behaviour
    return planted


def _largest_first(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _share_text(share: float | None) -> str:
    return "–" if share is None else f"{share:.2f}"
