"""A small streaming service for the pipeline tests: its files, its database, its tables."""

import csv
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import yaml

import compiled
from opened import opened
from reference.definitions import Event, Persona, Row, Rule, Vars, World
from viewer_personas import build as build_step
from viewer_personas.build import BuildSummary
from viewer_personas.config import load_sources
from viewer_personas.sources.load import LoadSummary, load

Events = Mapping[str, Event]
"""Events by event_id."""

Partition = tuple[str, date]
"""A model (`metrics.user_days`) and the date of one of its partitions."""

OF_TIMES = ("metrics.user_zones", "metrics.zone_restatements")
"""The tables that also depend on when a run saw a time zone."""


def _properties() -> dict[str, dict[str, Any]]:
    """What the YAML says of each model of metrics and personas, by the name of its table."""
    properties = {}
    for folder in ("metrics", "personas"):
        for path in sorted((build_step.PROJECT / "models" / folder).rglob("*.yml")):
            loaded = yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)
            for model in loaded.get("models", []):
                properties[f"{folder}.{model['name']}"] = model
    return properties


def _grain(model: dict[str, Any]) -> tuple[str, ...]:
    """The columns of the test `grain`, or the first one whose values are tested to be unique."""
    for test in model["data_tests"]:
        if "grain" in test:
            return tuple(test["grain"]["arguments"]["columns"])
    return next((column["name"],) for column in model["columns"] if "data_tests" in column)


def _partition_column(model: dict[str, Any], models: Mapping[str, dict[str, Any]]) -> str:
    """As in macros/partitions: that of its list unless the model has another."""
    meta = model["config"]["meta"]
    [listed] = [of for of in models.values() if of["name"] == meta["partition_list"]]
    column: str = {**listed["config"]["meta"], **meta}["partition_column"]
    return column


MODELS = _properties()

GRAINS: dict[str, tuple[str, ...]] = {
    name: _grain(model) for name, model in MODELS.items() if name not in OF_TIMES
}
"""Every table that is promised to depend on what was loaded alone, with its grain."""

PARTITIONS: dict[str, str] = {
    name: _partition_column(model, MODELS)
    for name, model in MODELS.items()
    if "partition_list" in model.get("config", {}).get("meta", {})
}
"""The partitioned models, with the column that they are partitioned by."""

OUTCOMES = ("outcome_date", "outcome_version", "outcome_history_version")
"""The columns of persona_dates that are filled in when the horizon of a date is over."""

VERSIONS = (
    "input_version",
    "history_version",
    "risk_version",
    "explanation_version",
    *OUTCOMES[1:],
)
"""The columns of which what a run knew of a viewer's time zone, and when, is part."""


class Service:
    """A folder with the files of a service, its sources file and its database.

    Event files are written as CSV, all with the same columns. Each write makes a file newer than
    all before, whatever the clock of the machine says.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "service.duckdb"
        self.clock = 0
        (folder / "events").mkdir(parents=True)
        sources = {
            "events": {"driver": "files", "path": "events/*.csv"},
            "contents": {"driver": "files", "path": "contents.jsonl"},
            "users": {"driver": "files", "path": "users.jsonl"},
            "unreadable": {"warn_share": 1},
        }
        (folder / "sources.yml").write_text(yaml.safe_dump(sources), encoding="utf-8")
        self.write_contents({})
        self.write_users({})

    def copy(self, folder: Path) -> "Service":
        """The same service in another folder, with its database as it is."""
        shutil.copytree(self.folder, folder)
        # A copy keeps the times of the files, so that nothing is read again.
        copied = Service.__new__(Service)
        copied.folder, copied.database, copied.clock = (
            folder,
            folder / self.database.name,
            self.clock,
        )
        return copied

    def write_events(self, name: str, events: Events) -> None:
        """Write `events/<name>.csv`, in place of what it held; without rows only the header."""
        path = self.folder / "events" / f"{name}.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(
                [
                    "event_id",
                    "user_id",
                    "content_id",
                    "event_type",
                    "occurred_at",
                    "watch_seconds",
                    "event_count",
                ]
            )
            for event_id, event in events.items():
                writer.writerow(
                    [
                        event_id,
                        event.user_id,
                        event.content_id,
                        event.event_type,
                        event.occurred_at.isoformat(sep=" "),
                        event.watch_seconds,
                        event.event_count,
                    ]
                )
        self._stamp(path)

    def remove_events(self, name: str) -> None:
        """Take `events/<name>.csv` away."""
        (self.folder / "events" / f"{name}.csv").unlink()

    def write_contents(self, contents: Mapping[str, Row]) -> None:
        """Write the whole catalogue: documents by content_id."""
        self._write_documents("contents.jsonl", contents)

    def write_users(self, users: Mapping[str, Row]) -> None:
        """Write all user documents, by user_id."""
        self._write_documents("users.jsonl", users)

    def load(self) -> LoadSummary:
        """`personas load`."""
        sources = load_sources(self.folder / "sources.yml")
        # times to come, and catalogues that lose most of their contents, are part of the tests
        return load(sources, self.database, accept_shrunken=True, clock_ahead_hours=20 * 8766)

    def build(
        self, variables: Vars | None = None, *selected: str, full_refresh: bool = False
    ) -> BuildSummary:
        """The tables that `personas build` makes, by the SQL that dbt compiles (compiled.py)."""
        variables = variables or Vars()
        return compiled.build(
            self.database,
            vars(variables),
            as_yaml(variables),
            full_refresh=full_refresh,
            selected=selected,
        )

    def build_by_dbt(self, variables: Vars | None = None, **options: Any) -> BuildSummary:
        """`personas build` without the data tests; `variables` are passed where they differ."""
        given = as_yaml(variables) if variables else None
        return build_step.build(self.database, variables=given, **{"tests": False, **options})

    def build_only_by_dbt(self, *selected: str, variables: Vars | None = None) -> None:
        """`dbt build --select`, for a test of what dbt itself does."""
        arguments = ["build", "--select", *selected]
        given = as_yaml(variables) if variables else None
        if given:
            arguments += ["--vars", given]
        manifest = build_step.parse(self.database, tests=False)
        result = build_step.invoke(arguments, self.database, lambda *_: None, manifest=manifest)
        assert result.success, result

    def build_only(
        self, *selected: str, variables: Vars | None = None, full_refresh: bool = False
    ) -> None:
        """Build what dbt's --select would name, for a test that looks at nothing else."""
        self.build(variables, *selected, full_refresh=full_refresh)

    def run(self, variables: Vars | None = None) -> BuildSummary:
        """Load and build."""
        self.load()
        return self.build(variables)

    def rows(self, query: str) -> list[Row]:
        """The rows of a query by column name."""
        return self.answers(query)[0]

    def answers(self, *queries: str) -> list[list[Row]]:
        """The rows of each query by column name."""
        with opened(self.database) as connection:
            return [_rows(connection, query) for query in queries]

    def execute(self, statement: str) -> None:
        """Change the database by hand."""
        with opened(self.database, read_only=False) as connection:
            connection.execute(statement)

    def tables(self) -> dict[str, list[Row]]:
        """All tables of GRAINS, each in the order of its grain, nulls first."""
        queries = [
            f"select * from {name} order by "
            + ", ".join(f"{column} asc nulls first" for column in grain)
            for name, grain in GRAINS.items()
        ]
        return dict(zip(GRAINS, self.answers(*queries), strict=True))

    def ledger(self) -> dict[Partition, str]:
        """The run that built each partition."""
        rows = self.rows(
            "select model, partition_date, invocation_id from metrics.partition_ledger"
        )
        return {(row["model"], row["partition_date"]): row["invocation_id"] for row in rows}

    def rebuilt(self, summary: BuildSummary) -> dict[str, set[date]]:
        """Which partitions a build rebuilt, by model; a model of which it rebuilt none is left out.

        Also checks that the summary counts them.
        """
        dates: dict[str, set[date]] = {}
        for (model, partition_date), run in self.ledger().items():
            if run == summary.invocation_id:
                dates.setdefault(model, set()).add(partition_date)
        assert summary.partitions_rebuilt == {model: len(found) for model, found in dates.items()}
        return dates

    def _write_documents(self, name: str, documents: Mapping[str, Row]) -> None:
        path = self.folder / name
        lines = [
            json.dumps({"_id": identifier, **document}, default=date.isoformat)
            for identifier, document in documents.items()
        ]
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        self._stamp(path)

    def _stamp(self, path: Path) -> None:
        self.clock += 1
        os.utime(path, ns=(self.clock * 1_000_000, self.clock * 1_000_000))


def load_at_once(
    folder: Path,
    events: Events,
    contents: Mapping[str, Row],
    users: Mapping[str, Row],
    variables: Vars | None = None,
) -> Service:
    """Another service with all of it in one file, loaded and built once."""
    service = Service(folder)
    service.write_contents(contents)
    service.write_users(users)
    # in another order than they happened
    service.write_events("all", dict(sorted(events.items(), key=lambda item: item[0][::-1])))
    service.run(variables)
    return service


def _rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[Row]:
    result = connection.execute(query)
    names = [column[0] for column in result.description or []]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def as_yaml(variables: Vars) -> str | None:
    """The vars that differ from their defaults, as dbt's --vars; None where none does."""
    given = {
        name: value for name, value in vars(variables).items() if value != getattr(Vars(), name)
    }
    return yaml.safe_dump(given) if given else None


def differences(
    one: Mapping[str, list[Row]], other: Mapping[str, list[Row]], *, without: Iterable[str] = ()
) -> dict[str, list[tuple[Row | None, Row | None]]]:
    """What differs between two sets of tables: for each table the first pairs of rows.

    Rows are matched by the grain and compared by what Python prints of them, which tells the last
    bit of a double and a minus in front of a zero. `without` names columns that are left out.
    """
    assert one.keys() == other.keys()
    found = {}
    for table in one:
        rows = [_by_grain(table, tables[table], set(without)) for tables in (one, other)]
        keys = [*rows[0], *(key for key in rows[1] if key not in rows[0])]
        pairs = [(rows[0].get(key), rows[1].get(key)) for key in keys]
        different = [pair for pair in pairs if repr(pair[0]) != repr(pair[1])]
        if different:
            found[table] = [_only_different(*pair) for pair in different[:3]]
    return found


def known_on(as_of_date: date, rows: list[Row]) -> list[Row]:
    """The rows of a table that has dates as they were on a date: what came later is left out.

    Rows without a date are of all dates pooled, and left out as well.
    """
    dates: tuple[str, ...] = ("outcome_date", "as_of_date", "activity_date", "source_date")
    if rows and "outcome_version" in rows[0]:
        nothing: Row = dict.fromkeys(OUTCOMES)
        rows = [
            row if row["outcome_date"] and row["outcome_date"] <= as_of_date else {**row, **nothing}
            for row in rows
        ]
        dates = dates[1:]
    column = next((name for name in dates if rows and name in rows[0]), None)
    if column is None:
        return rows
    return [row for row in rows if row[column] and row[column] <= as_of_date]


def _by_grain(table: str, rows: list[Row], without: set[str]) -> dict[tuple[Any, ...], Row]:
    by_grain = {
        tuple(row[column] for column in GRAINS[table]): {
            name: value for name, value in row.items() if name not in without
        }
        for row in rows
    }
    assert len(by_grain) == len(rows), f"{table} has a row twice"
    return by_grain


def _only_different(one: Row | None, other: Row | None) -> tuple[Row | None, Row | None]:
    """Of a pair of rows the grain and whatever differs, so that a failure can be read."""
    if one is None or other is None:
        return one, other
    grains = {column for grain in GRAINS.values() for column in grain}
    names = [name for name in one if name in grains or repr(one[name]) != repr(other.get(name))]
    return {name: one[name] for name in names}, {name: other.get(name) for name in names}


# --- a demo ----------------------------------------------------------------------------------

DEMO = ("--viewers", "80", "--days", "90")


@dataclass(frozen=True)
class Demo:
    """The folder of a demo, and what the run that made it said as JSON."""

    folder: Path
    said: dict[str, Any]

    @property
    def database(self) -> Path:
        return self.folder / "personas.duckdb"


# --- worlds for the reference -------------------------------------------------------------------


def seed(name: str) -> list[dict[str, str]]:
    """The rows of a seed of the project that builds use at the moment."""
    path = build_step.PROJECT / "seeds" / f"{name}.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def make_world(
    events: Events,
    contents: Mapping[str, Row],
    users: Mapping[str, Row],
    variables: Vars | None = None,
) -> World:
    """What the reference has to know of a service: every day between two events is loaded."""
    days = [event.occurred_at.date() for event in events.values()]
    return World(
        events=[replace(event) for event in events.values()],
        contents=dict(contents),
        users=dict(users),
        source_dates=dates_between(min(days), max(days)),
        event_types={
            row["event_type"]: (row["interaction"], row["counts_as_activity"] == "true")
            for row in seed("event_types")
        },
        vars=variables or Vars(),
        rules=[
            Rule(
                persona=row["persona"],
                alternative=int(row["alternative"]),
                clause=int(row["clause"]),
                window_days=int(row["window_days"]),
                metric=row["metric"],
                operator=row["operator"],
                threshold=float(row["threshold"]),
            )
            for row in seed("persona_rules")
        ],
        personas=[
            Persona(row["persona"], int(row["priority"]), row["expected_risk"])
            for row in seed("personas")
        ],
    )


def dates_between(first: date, last: date) -> list[date]:
    """All dates from first to last, both included."""
    return [first + timedelta(days=offset) for offset in range((last - first).days + 1)]
