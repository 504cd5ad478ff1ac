"""The effect of a rule change on the viewers, before it is merged.

Both sides are built by dbt itself, in a scratch database with copies of the tables that the persona
layer reads; so the result equals that of `personas build`, and the user's database is only read.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from viewer_personas import build as build_step
from viewer_personas.database.connection import attach, connect
from viewer_personas.database.raw import Report
from viewer_personas.database.sql import quoted
from viewer_personas.errors import CheckFailed, InputError
from viewer_personas.rules.catalogue import (
    CASUAL,
    Rule,
    as_personas,
    as_rules,
    by_alternative,
    columns_of,
    metrics,
    parse_seed,
    read_text,
    rules_in,
    seed_path,
    shown_path,
)
from viewer_personas.rules.check import check_rules, refuse_errors
from viewer_personas.rules.words import clause_words
from viewer_personas.seeds import Row

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

SEEDS = ("persona_rules", "personas")
RESULT = "model.viewer_personas.user_personas"
LEVELS = ("low", "medium", "high")

Values = dict[tuple[int, str], float | None]
"""The metrics of one viewer by window and name."""


@dataclass(frozen=True)
class Side:
    """One side of the comparison: its name, and the text of its two seeds."""

    name: str
    texts: dict[str, str]
    rules: list[Rule]
    rows: dict[str, list[Row]]

    @property
    def labels(self) -> dict[str, str]:
        """The labels by persona, in the order of the priorities."""
        return {one.persona: one.label for one in as_personas(self.rows["personas"])}


@dataclass(frozen=True)
class Example:
    """One viewer who moves, and why."""

    user_id: str
    reason: str


@dataclass(frozen=True)
class Movement:
    """Viewers who have one persona before and another after."""

    before: str
    after: str
    viewers: int
    examples: list[Example]


@dataclass(frozen=True)
class PersonaChange:
    """The viewer counts of one persona; before − left + entered = after."""

    persona: str
    label: str
    before: int
    entered: int
    left: int
    after: int


@dataclass(frozen=True)
class LevelChange:
    """Viewers by their level of churn risk before and after."""

    before: str
    after: str
    viewers: int


@dataclass
class RulesDiff:
    """What the seeds of the side `after` change against those of the side `before`."""

    before: str
    after: str
    as_of_date: date
    viewers: int
    seed_changes: list[str]
    changed: int = 0
    personas: list[PersonaChange] = field(default_factory=list)
    movements: list[Movement] = field(default_factory=list)
    risk_levels: list[LevelChange] = field(default_factory=list)


# --- the two sides -------------------------------------------------------------------------------


def checkout() -> Side:
    """The seeds of the checkout. Raises `InputError` for rules that do not pass the check."""
    texts = {name: read_text(seed_path(name)) for name in SEEDS}
    return _side("seeds of the checkout", texts, {name: f"seeds/{name}.csv" for name in SEEDS})


def other_side(against: str) -> Side:
    """The seeds of a file, a directory or a git revision.

    A file is persona_rules.csv or personas.csv, recognized by its columns; a missing one comes from
    the checkout. Raises `InputError` if there is neither, or the rules do not pass the check.
    """
    path = Path(against)
    if path.is_dir():
        return _of_directory(path)
    if path.exists():
        return _of_file(path)
    return _of_revision(against)


def _of_directory(directory: Path) -> Side:
    folder = directory if any(_seeds_in(directory)) else directory / "seeds"
    found = {path.stem: path for path in _seeds_in(folder)}
    if not found:
        raise InputError(f"--against {directory}: has neither persona_rules.csv nor personas.csv.")
    paths = {name: found.get(name, seed_path(name)) for name in SEEDS}
    texts = {name: read_text(path) for name, path in paths.items()}
    return _side(str(directory), texts, {name: shown_path(path) for name, path in paths.items()})


def _seeds_in(folder: Path) -> Iterator[Path]:
    return (path for name in SEEDS if (path := folder / f"{name}.csv").is_file())


def _of_file(path: Path) -> Side:
    text = read_text(path)
    header = {column.strip() for column in text.partition("\n")[0].lstrip("\ufeff").split(",")}
    for name in SEEDS:
        if header >= set(columns_of(name)):
            texts = {other: read_text(seed_path(other)) for other in SEEDS} | {name: text}
            names = {other: f"seeds/{other}.csv" for other in SEEDS} | {name: str(path)}
            return _side(str(path), texts, names)
    raise InputError(
        f"--against {path}: is not a seed of rules or personas. The first line must name"
        f" {', or '.join(', '.join(columns_of(name)) for name in SEEDS)}."
    )


def _of_revision(revision: str) -> Side:
    commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if commit is None:
        raise InputError(
            f"--against {revision}: no such file, directory, or git revision in"
            f" {build_step.PROJECT}. In CI, fetch the branch first."
        )
    texts = {}
    for name in SEEDS:
        text = _git("show", f"{commit.strip()}:./seeds/{name}.csv")
        if text is None:
            raise InputError(f"--against {revision}: that revision has no seeds/{name}.csv.")
        texts[name] = text
    name = f"git {revision} ({commit[:7]})"
    return _side(name, texts, {seed: f"seeds/{seed}.csv at {revision}" for seed in SEEDS})


def _git(*arguments: str) -> str | None:
    """What git prints; None if it fails."""
    try:
        result = subprocess.run(
            ["git", "-C", str(build_step.PROJECT), *arguments],
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
    except FileNotFoundError:
        return None
    return result.stdout if result.returncode == 0 else None


def _side(name: str, texts: dict[str, str], files: dict[str, str]) -> Side:
    rows = {seed: parse_seed(seed, texts[seed], files[seed]) for seed in SEEDS}
    findings = check_rules(
        rows["persona_rules"],
        rows["personas"],
        rules_file=files["persona_rules"],
        personas_file=files["personas"],
    )
    refuse_errors(findings, f"The rules of one side ({name}) cannot be built:")
    return Side(name, texts, as_rules(rows["persona_rules"]), rows)


def _seed_changes(before: Side, after: Side) -> list[str]:
    """The rows that only one side has, as in a diff."""
    changes = []
    for name in SEEDS:
        texts = [
            [
                ",".join(row[column].strip() for column in columns_of(name))
                for row in side.rows[name]
            ]
            for side in (before, after)
        ]
        changes += [f"- {name}: {row}" for row in texts[0] if row not in texts[1]]
        changes += [f"+ {name}: {row}" for row in texts[1] if row not in texts[0]]
    return changes


# --- comparing -----------------------------------------------------------------------------------


def rules_diff(
    database: Path,
    before: Side,
    after: Side,
    *,
    examples: int = 3,
    variables: str | None = None,
    report: Report = lambda text, done, total: None,
) -> RulesDiff:
    """Who enters, leaves and moves on the latest evaluation date if `before` becomes `after`.

    Builds the persona layer of both sides in a scratch database, with the models and vars of the
    checkout. Raises `InputError` if the database is not built, `CheckFailed` if dbt fails.
    """
    with connect(database, read_only=True) as connection:
        day, viewers = _latest(connection)
        is_built_by_after = _is_built_by(connection, after)
    found = RulesDiff(before.name, after.name, day, viewers, _seed_changes(before, after))
    if not found.seed_changes:
        return found
    with _scratch(database, variables) as scratch:
        # first the side that the database was built with: nothing of it is rebuilt
        for side in (after, before) if is_built_by_after else (before, after):
            scratch.build(side, "before" if side is before else "after", day, report)
        with connect(scratch.database, read_only=True) as connection:
            _compare(connection, found, before, after, examples)
    return found


def _latest(connection: duckdb.DuckDBPyConnection) -> tuple[date, int]:
    """The latest evaluation date and its viewers; the ledger must say that it is built."""
    try:
        rows = connection.execute(
            """
            select as_of_dates.as_of_date, ledger.input_version = as_of_dates.input_version
            from metrics.as_of_dates as as_of_dates
            left join metrics.partition_ledger as ledger
                on ledger.model = 'metrics.user_windows'
                    and ledger.partition_date = as_of_dates.as_of_date
            order by as_of_dates.as_of_date
            """
        ).fetchall()
    except duckdb.CatalogException as error:
        raise InputError("Nothing is built in this database. Run `personas run` first.") from error
    if not rows:
        raise InputError("There is no evaluation date yet: no complete day is loaded.")
    unfinished = [day for day, is_built in rows if not is_built]
    if unfinished:
        raise InputError(
            f"The metrics of {unfinished[0]} are not built: the last build did not finish. Run"
            " `personas build` first."
        )
    [(viewers,)] = connection.execute(
        "select count(distinct user_id) from metrics.user_windows where as_of_date = $1",
        [rows[-1][0]],
    ).fetchall()
    return rows[-1][0], viewers


def _is_built_by(connection: duckdb.DuckDBPyConnection, side: Side) -> bool:
    try:
        return set(rules_in(connection)) == set(side.rules)
    except InputError:
        return False


@dataclass(frozen=True)
class _Scratch:
    """A separate project and database, of which only the persona layer is built."""

    project: Path
    database: Path
    manifest: "Manifest"
    options: list[str]
    selection: list[str]

    def build(self, side: Side, name: str, day: date, report: Report) -> None:
        """Build the persona layer with the side's seeds; keep its result of the day as a table."""
        for seed, text in side.texts.items():
            (self.project / "seeds" / f"{seed}.csv").write_text(text, encoding="utf-8")
        without_tests = ["--exclude-resource-type", "test", "--exclude-resource-type", "unit_test"]
        result = build_step.invoke(
            ["build", "--select", *self.selection, *without_tests, *self.options],
            self.database,
            report,
            project=self.project,
            manifest=self.manifest,
        )
        failures = [
            f"{node.node.name}: {node.message}"
            for node in getattr(result.result, "results", [])
            if node.status == "error"
        ]
        if failures or not result.success:
            raise CheckFailed(
                f"The persona layer could not be built by the {side.name}:\n"
                + "\n".join(f"  {' '.join(failure.split())[:600]}" for failure in failures)
                + "\nIf a metric is missing, run `personas build` first."
            )
        with connect(self.database) as connection:
            connection.execute(
                f"create table main.{name} as"
                " select user_id, persona, all_matches, churn_risk_level"
                f" from personas.user_personas where as_of_date = '{day}'"
            )


@contextmanager
def _scratch(database: Path, variables: str | None) -> Iterator[_Scratch]:
    with tempfile.TemporaryDirectory(prefix="personas_rules_diff_") as folder:
        project = Path(folder) / "project"
        project.mkdir()
        for path in build_step.PROJECT.iterdir():
            if path.name in ("macros", "models", "profiles", "tests", "dbt_project.yml"):
                (project / path.name).symlink_to(path.resolve())
        shutil.copytree(build_step.PROJECT / "seeds", project / "seeds")
        scratch_database = Path(folder) / "scratch.duckdb"
        options = ["--target-path", f"{folder}/target", "--log-path", f"{folder}/logs"]
        if variables:
            options += ["--vars", variables]
        parsed = build_step.invoke(
            ["parse", *options], scratch_database, lambda *_: None, project=project
        )
        manifest: Manifest = parsed.result
        built, read = _persona_layer(manifest)
        _copy(database, scratch_database, manifest, built, read)
        selection = [f"path:{manifest.nodes[node].original_file_path}" for node in built]
        yield _Scratch(project, scratch_database, manifest, options, selection)


def _persona_layer(manifest: "Manifest") -> tuple[list[str], list[str]]:
    """What to build for user_personas (models of the layer and the two seeds), and what these read
    from other layers."""
    built: list[str] = []
    read: list[str] = []
    pending = [RESULT]
    for unique_id in pending:
        if unique_id in built or unique_id in read:
            continue
        node = manifest.nodes.get(unique_id)
        if node and (node.schema == "personas" or node.name in SEEDS):
            built.append(unique_id)
            pending.extend(node.depends_on_nodes if node.resource_type == "model" else [])
        else:
            read.append(unique_id)
    return built, read


def _copy(
    database: Path, scratch: Path, manifest: "Manifest", built: list[str], read: list[str]
) -> None:
    """Copy what the layer reads, and the layer itself with its ledger: what the rules leave
    unchanged need not be rebuilt."""
    # under the name that dbt gave it, because compiled views name their catalogue
    name = database.stem if database.stem != "opened_database" else "built"
    with connect(scratch) as connection:
        attach(connection, database, read_only=True, name=name)
        tables = [_relation(manifest, unique_id) for unique_id in read]
        tables.append(("metrics", "partition_ledger"))
        for schema, table in tables:
            _copy_table(connection, name, schema, table)
        there = set(
            connection.execute(
                "select schema_name, table_name from duckdb_tables() where database_name = $1",
                [name],
            ).fetchall()
        )
        for schema, table in (_relation(manifest, unique_id) for unique_id in built):
            if (schema, table) in there:
                _copy_table(connection, name, schema, table)


def _relation(manifest: "Manifest", unique_id: str) -> tuple[str, str]:
    node: Any = manifest.nodes.get(unique_id) or manifest.sources[unique_id]
    return node.schema, node.identifier if unique_id in manifest.sources else node.alias


def _copy_table(
    connection: duckdb.DuckDBPyConnection, database: str, schema: str, table: str
) -> None:
    # always three-part names: the file may have the name of a schema
    name = f"{quoted(schema)}.{quoted(table)}"
    connection.execute(f'create schema if not exists "opened_database".{quoted(schema)}')
    try:
        connection.execute(
            f'create table "opened_database".{name} as select * from {quoted(database)}.{name}'
        )
    except (duckdb.CatalogException, duckdb.BinderException) as error:
        raise InputError(
            f"The database has no {schema}.{table} as this checkout reads it. Run `personas build`"
            " first."
        ) from error


def _compare(
    connection: duckdb.DuckDBPyConnection,
    found: RulesDiff,
    before: Side,
    after: Side,
    examples: int,
) -> None:
    rows = connection.execute(
        """
        select before.persona, after.persona, count(*), min(before.user_id)
        from main.before inner join main.after using (user_id)
        group by all
        order by count(*) desc, before.persona, after.persona
        """
    ).fetchall()
    counts = {(one, other): viewers for one, other, viewers, _ in rows}
    moved = {pair: viewers for pair, viewers in counts.items() if pair[0] != pair[1]}
    found.changed = sum(moved.values())
    found.personas = [
        PersonaChange(
            persona=persona,
            label=label,
            before=sum(viewers for (one, _), viewers in counts.items() if one == persona),
            entered=sum(viewers for (_, other), viewers in moved.items() if other == persona),
            left=sum(viewers for (one, _), viewers in moved.items() if one == persona),
            after=sum(viewers for (_, other), viewers in counts.items() if other == persona),
        )
        for persona, label in (before.labels | after.labels).items()
    ]
    reasons = _Reasons(connection, found.as_of_date, before, after)
    found.movements = [
        Movement(one, other, viewers, list(reasons.examples(one, other, examples)))
        for (one, other), viewers in moved.items()
    ]
    levels = connection.execute(
        "select before.churn_risk_level, after.churn_risk_level, count(*)"
        " from main.before inner join main.after using (user_id) group by all"
    ).fetchall()
    found.risk_levels = [
        LevelChange(*row)
        for row in sorted(levels, key=lambda row: (LEVELS.index(row[0]), LEVELS.index(row[1])))
    ]


# --- reasons -------------------------------------------------------------------------------------


class _Reasons:
    """Explains which clause made individual viewers move."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, day: date, before: Side, after: Side
    ) -> None:
        self.connection = connection
        self.day = day
        self.labels = before.labels | after.labels
        self.rules = [by_alternative(side.rules) for side in (before, after)]
        self.metrics = metrics()

    def examples(self, before: str, after: str, limit: int) -> Iterator[Example]:
        """The first viewers by name who move from one persona to the other."""
        for user_id, matches_before, matches_after in self.connection.execute(
            """
            select user_id, before.all_matches, after.all_matches
            from main.before inner join main.after using (user_id)
            where before.persona = $1 and after.persona = $2
            order by user_id
            limit $3
            """,
            [before, after, limit],
        ).fetchall():
            values = self._values(user_id)
            parts = []
            if before != CASUAL and before not in matches_after:
                parts.append(f"not {self.labels[before]} now: {self._unmet(1, before, values)}")
            if after != CASUAL and after not in matches_before:
                parts.append(f"not {self.labels[after]} before: {self._unmet(0, after, values)}")
            if before in matches_after and after in matches_before:
                parts.append(
                    f"matches {self.labels[before]} and {self.labels[after]} on both sides;"
                    " another one goes first"
                )
            elif before in matches_after:
                parts.append(
                    f"{self.labels[before]} still matches; {self.labels[after]} goes first"
                )
            yield Example(user_id, "; ".join(parts) or "no other persona matches now")

    def _values(self, user_id: str) -> Values:
        result = self.connection.execute(
            "select * from metrics.user_windows where as_of_date = $1 and user_id = $2",
            [self.day, user_id],
        )
        names = [column[0] for column in result.description or []]
        rows = [dict(zip(names, row, strict=True)) for row in result.fetchall()]
        return {(row["window_days"], name): row[name] for row in rows for name in names}

    def _unmet(self, side: int, persona: str, values: Values) -> str:
        """The clauses that fail in the alternative with the fewest failures."""
        alternatives = self.rules[side].get(persona)
        if not alternatives:
            return "it has no rule there"
        unmet = [
            [rule for rule in clauses if not rule.holds(values[rule.window_days, rule.metric])]
            for clauses in alternatives
        ]
        return ", ".join(
            clause_words(rule, values[rule.window_days, rule.metric], self.metrics)
            for rule in min(unmet, key=len)
        )


# --- as text -------------------------------------------------------------------------------------


def as_markdown(found: RulesDiff) -> str:
    """The comparison as a comment on a change: tables, with collapsed examples."""
    lines = ["### What the changed rules do", "", _headline(found)]
    if found.seed_changes:
        lines += ["", "```diff", *found.seed_changes, "```"]
    if found.changed:
        lines += ["", "| persona | before | left | entered | after |", "|---|---:|---:|---:|---:|"]
        lines += [
            f"| {_cell(item.label)} | {item.before:,} | {item.left:,} | {item.entered:,}"
            f" | {item.after:,} |"
            for item in found.personas
            if item.left or item.entered
        ]
        labels = {item.persona: item.label for item in found.personas}
        lines += ["", "| from | to | viewers | for example |", "|---|---|---:|---|"]
        lines += [
            f"| {_cell(labels[item.before])} | {_cell(labels[item.after])} | {item.viewers:,} | "
            + "<br>".join(
                f"`{_cell(example.user_id)}`: {_cell(example.reason)}" for example in item.examples
            )
            + " |"
            for item in found.movements
        ]
    if any(item.before != item.after for item in found.risk_levels):
        lines += ["", "| churn risk before | " + " | ".join(f"{level} after" for level in LEVELS)]
        lines[-1] += " |"
        lines.append("|---|" + "---:|" * len(LEVELS))
        lines += [
            f"| {one} | "
            + " | ".join(f"{_viewers(found, one, other):,}" for other in LEVELS)
            + " |"
            for one in LEVELS
        ]
    elif found.changed:
        lines += ["", "No level of churn risk changes."]
    return "\n".join(lines)


def as_text(found: RulesDiff) -> str:
    """The comparison for a terminal."""
    lines = [_headline(found).replace("**", "").replace("`", "")]
    lines += [f"  {change}" for change in found.seed_changes]
    if found.changed:
        lines += ["", f"  {'persona':15} {'before':>9} {'left':>7} {'entered':>8} {'after':>9}"]
        lines += [
            f"  {item.label:15} {item.before:>9,} {item.left:>7,} {item.entered:>8,}"
            f" {item.after:>9,}"
            for item in found.personas
            if item.left or item.entered
        ]
    labels = {item.persona: item.label for item in found.personas}
    for movement in found.movements:
        lines += [
            "",
            f"  {labels[movement.before]} → {labels[movement.after]}: {movement.viewers:,} viewers",
        ]
        lines += [f"    {example.user_id}: {example.reason}" for example in movement.examples]
    levels = [item for item in found.risk_levels if item.before != item.after]
    if levels:
        lines += ["", "  Level of churn risk:"]
        lines += [f"    {item.before} → {item.after}: {item.viewers:,} viewers" for item in levels]
    elif found.changed:
        lines += ["", "  No level of churn risk changes."]
    return "\n".join(lines)


def _headline(found: RulesDiff) -> str:
    sides = f"Before: {found.before}. After: {found.after}."
    if not found.seed_changes:
        return f"{sides} The rules and personas are the same: nothing changes."
    share = found.changed / found.viewers if found.viewers else 0.0
    return (
        f"{sides} On {found.as_of_date}, **{found.changed:,} of {found.viewers:,} viewers"
        f" ({share:.1%})** get another persona."
    )


def _viewers(found: RulesDiff, before: str, after: str) -> int:
    return sum(
        item.viewers for item in found.risk_levels if (item.before, item.after) == (before, after)
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
