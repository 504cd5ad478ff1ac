"""The command `personas`."""

import dataclasses
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any

import duckdb
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from viewer_personas.build import PROJECT, BuildSummary, parse
from viewer_personas.build import build as run_build
from viewer_personas.database.connection import DEFAULT_DATABASE, connect
from viewer_personas.database.parquet import LandingSummary, check_directory, land
from viewer_personas.database.raw import Report
from viewer_personas.demo import detection, recovery
from viewer_personas.demo import service as demo_service
from viewer_personas.errors import InputError, PersonasError
from viewer_personas.export.export import check_target
from viewer_personas.export.export import export as run_export
from viewer_personas.export.publications import ExportSummary
from viewer_personas.prune import PruneSummary, has_retention
from viewer_personas.prune import prune as run_prune
from viewer_personas.rules.catalogue import (
    PERSONA_COLUMNS,
    RULE_COLUMNS,
    Finding,
    as_rules,
    check_population,
    check_rules,
    read_seed,
    seed_path,
    shown_path,
)
from viewer_personas.rules.diff import (
    RulesDiff,
    as_markdown,
    as_text,
    checkout,
    other_side,
    rules_diff,
)
from viewer_personas.rules.explain import Clause, Explanation, WhyNot, explain_persona
from viewer_personas.rules.explain import explain as run_explain
from viewer_personas.sources.config import Sources, load_sources
from viewer_personas.sources.load import LoadSummary
from viewer_personas.sources.load import load as run_load
from viewer_personas.summary import Contents, database_contents

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Explainable viewer personas from the raw events of a streaming service.",
)
rules_app = typer.Typer(
    no_args_is_help=True, help="The rules: check them, and see whom a change of them moves."
)
app.add_typer(rules_app, name="rules")
# Results go to standard output; progress and errors do not get into a machine's way.
console = Console(highlight=False)
progress_console = Console(stderr=True, highlight=False)

SourcesOption = Annotated[
    Path | None,
    typer.Option(
        "--sources",
        help="Where events, contents and users come from, and which Druid is exported to (YAML)."
        "  [default: profiles/sources.yml]",
        show_default=False,
    ),
]
DatabaseOption = Annotated[
    Path, typer.Option("--database", envvar="PERSONAS_DATABASE", help="The DuckDB file.")
]
SinceOption = Annotated[
    datetime | None,
    typer.Option("--since", formats=["%Y-%m-%d"], help="First UTC day to load.", metavar="DATE"),
]
UntilOption = Annotated[
    datetime | None,
    typer.Option("--until", formats=["%Y-%m-%d"], help="Last UTC day to load.", metavar="DATE"),
]
VarsOption = Annotated[
    str | None,
    typer.Option(
        "--vars", help="Thresholds for this run, such as '{lookback_days: 200}'.", metavar="YAML"
    ),
]
FullRefreshOption = Annotated[
    bool, typer.Option("--full-refresh", help="Build everything anew from what is loaded.")
]
ToOption = Annotated[str, typer.Option("--to", help="Where to export to: files or druid.")]
ExportsOption = Annotated[
    Path | None,
    typer.Option(
        "--exports",
        help="Directory of the exported files.  [default: exports, beside the database]",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


@app.command()
def load(
    sources: SourcesOption = None,
    database: DatabaseOption = DEFAULT_DATABASE,
    since: SinceOption = None,
    until: UntilOption = None,
    restore: Annotated[
        bool,
        typer.Option(
            "--restore",
            help="Read the days whose events were pruned again, and take them as the source has"
            " them; with --since.",
        ),
    ] = False,
    to: Annotated[
        str, typer.Option("--to", help="duckdb, or parquet: files for Spark as well.")
    ] = "duckdb",
    directory: Annotated[
        Path | None,
        typer.Option(
            "--directory",
            help="Where the Parquet files go.  [default: warehouse, beside the database]",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Load what changed at the sources into the raw layer."""
    if to not in ("duckdb", "parquet"):
        raise InputError(f"--to {to}: there are duckdb and parquet")
    if directory and to != "parquet":
        raise InputError("--directory is for files: add --to parquet")
    if to == "duckdb":
        summary = _load(sources, database, since, until, restore)
        _print(as_json, {"load": summary}, [_load_lines(summary)])
        return
    warehouse = directory or database.parent / "warehouse"
    check_directory(warehouse)
    summary = _load(sources, database, since, until, restore)
    with _progress("Landing") as report:
        landed = land(database, warehouse, report=report)
    _print(
        as_json,
        {"load": summary, "parquet": landed},
        [_load_lines(summary), _landing_lines(landed)],
    )


@app.command()
def build(
    database: DatabaseOption = DEFAULT_DATABASE,
    full_refresh: FullRefreshOption = False,
    variables: VarsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build metrics and personas; only the partitions whose inputs or definitions changed."""
    summary = _build(database, full_refresh, variables)
    _print(as_json, {"build": summary}, [_build_lines(summary)])


@app.command()
def export(
    database: DatabaseOption = DEFAULT_DATABASE,
    to: ToOption = "files",
    sources: SourcesOption = None,
    exports: ExportsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Export what the exposures name."""
    summary = _export(sources, database, to, exports)
    _print(as_json, {"export": summary}, [_export_lines(summary)])


@app.command()
def prune(
    database: DatabaseOption = DEFAULT_DATABASE,
    variables: VarsOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be dropped.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Drop what is older than raw_retention_days and history_retention_days; no result changes."""
    summary = run_prune(database, variables=variables, dry_run=dry_run)
    _print(as_json, {"prune": summary}, [_prune_lines(summary)])


@app.command()
def run(
    sources: SourcesOption = None,
    database: DatabaseOption = DEFAULT_DATABASE,
    since: SinceOption = None,
    until: UntilOption = None,
    full_refresh: FullRefreshOption = False,
    variables: VarsOption = None,
    to: ToOption = "files",
    exports: ExportsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Load, build and export in turn; then prune, where a retention is set."""
    results, lines = _run(sources, database, since, until, full_refresh, variables, to, exports)
    _print(as_json, results, lines)


@app.command()
def explain(
    user: Annotated[
        str, typer.Argument(metavar="USER", help="The viewer, as the service names them.")
    ],
    database: DatabaseOption = DEFAULT_DATABASE,
    as_of: Annotated[
        datetime | None,
        typer.Option(
            "--as-of",
            formats=["%Y-%m-%d"],
            metavar="DATE",
            help="Evaluation date; else the latest.",
        ),
    ] = None,
    persona: Annotated[
        str | None,
        typer.Option("--persona", help="Say of this persona why, or why not, clause by clause."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say why a viewer has the persona that they have, or why they do not have another."""
    try:
        with connect(database, read_only=True) as connection:
            if persona:
                why_not = explain_persona(connection, user, persona, _day(as_of))
                found, lines = dataclasses.asdict(why_not), _why_not_lines(why_not)
            else:
                explanation = run_explain(connection, user, _day(as_of))
                found, lines = dataclasses.asdict(explanation), _explanation_lines(explanation)
    except (duckdb.CatalogException, duckdb.BinderException) as error:
        raise InputError(
            f"{database}: was built by another version. Run `personas build` first."
        ) from error
    _print(as_json, found, lines)


@rules_app.command("check")
def rules_check(
    rules: Annotated[
        Path | None,
        typer.Option(
            "--rules",
            metavar="FILE",
            help="The rules.  [default: seeds/persona_rules.csv]",
            show_default=False,
        ),
    ] = None,
    personas: Annotated[
        Path | None,
        typer.Option(
            "--personas",
            metavar="FILE",
            help="The personas.  [default: seeds/personas.csv]",
            show_default=False,
        ),
    ] = None,
    database: Annotated[
        Path | None,
        typer.Option(
            "--database",
            help="Also look for clauses that hold for nobody, or for everybody, in this database.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is wrong with the rules, row by row; exit with 1 where there is an error."""
    rules_file = rules or seed_path("persona_rules")
    personas_file = personas or seed_path("personas")
    rule_rows = read_seed(rules_file, RULE_COLUMNS)
    persona_rows = read_seed(personas_file, PERSONA_COLUMNS)
    names = {"rules_file": shown_path(rules_file), "personas_file": shown_path(personas_file)}
    findings = check_rules(rule_rows, persona_rows, **names)
    errors = [finding for finding in findings if finding.level == "error"]
    if database and not errors:
        with connect(database, read_only=True) as connection:
            findings += check_population(
                connection, as_rules(rule_rows), rules_file=names["rules_file"]
            )
    counts = {"errors": len(errors), "warnings": len(findings) - len(errors)}
    lines = [_finding_line(finding) for finding in findings]
    lines.append(
        f"{len(rule_rows)} clauses of {len(persona_rows)} personas checked:"
        f" {counts['errors']} errors, {counts['warnings']} warnings"
    )
    if database and errors:
        lines.append("Not compared with the database: mend the errors first.")
    _print(as_json, {"findings": findings, **counts}, lines)
    if errors:
        raise typer.Exit(1)


@rules_app.command("diff")
def rules_diff_command(
    against: Annotated[
        str,
        typer.Option(
            "--against",
            metavar="REV|FILE|DIRECTORY",
            help="The side before: seeds at a git revision, in a file or in a directory.",
        ),
    ],
    database: DatabaseOption = DEFAULT_DATABASE,
    text_format: Annotated[
        str, typer.Option("--format", help="text, markdown (for a comment in CI) or json.")
    ] = "text",
    examples: Annotated[
        int, typer.Option("--examples", min=0, help="Viewers named for each movement.")
    ] = 3,
    variables: VarsOption = None,
) -> None:
    """Say whom the rules of the checkout (after) move against other rules (before).

    Both are built in a scratch database by the models of the checkout; yours is only read.
    """
    writers = {"text": as_text, "markdown": as_markdown, "json": _diff_as_json}
    if text_format not in writers:
        raise InputError(f"--format {text_format}: there are {', '.join(writers)}")
    before, after = other_side(against), checkout()
    with _progress("Comparing") as report:
        found = rules_diff(
            database, before, after, examples=examples, variables=variables, report=report
        )
    typer.echo(writers[text_format](found))


def _diff_as_json(found: RulesDiff) -> str:
    return json.dumps(dataclasses.asdict(found), default=_as_json, indent=2, ensure_ascii=False)


@app.command()
def demo(
    directory: Annotated[
        Path, typer.Option("--directory", help="Where the demo service and its results go.")
    ] = Path("demo"),
    viewers: Annotated[int, typer.Option("--viewers", help="Number of viewers.")] = 2000,
    days: Annotated[int, typer.Option("--days", help="Number of days of events.")] = 182,
    seed: Annotated[int, typer.Option("--seed", help="Another seed, another audience.")] = 7,
    noise: Annotated[
        float, typer.Option("--noise", help="How far viewers stray from their behaviour.")
    ] = 1.0,
    as_json: JsonOption = False,
) -> None:
    """Generate a small streaming service, run everything on it, and check what was planted."""
    settings = {"viewers": viewers, "days": days, "seed": seed, "noise": noise}
    _generate(directory, settings)
    database = directory / "personas.duckdb"
    results, lines = _run(
        directory / "sources.yml", database, None, None, False, None, "files", None
    )
    with connect(database, read_only=True) as connection:
        recovered = recovery.recovery(connection, directory / recovery.TRUTH)
        detected = detection.detection(connection, directory / recovery.TRUTH)
        examples = connection.execute(
            "select persona, min(user_id) from personas.user_personas"
            " where as_of_date = (select max(as_of_date) from metrics.as_of_dates)"
            " and persona <> 'casual' group by persona order by persona"
        ).fetchall()
    lines += [
        "",
        recovery.render(recovered),
        "",
        detection.render(detected),
        "Ask why:",
        *(
            f"  {escape(_command())} explain {user} --database {escape(str(database))}"
            f"   [dim]# {persona}[/dim]"
            for persona, user in examples
        ),
    ]
    found = {"recovery": recovery.to_dict(recovered), "detection": detection.to_dict(detected)}
    _print(as_json, {**results, **found}, lines)


def main() -> None:
    """Run the command; an error that a person can act on is one message and its exit status."""
    try:
        app()
    except PersonasError as error:
        progress_console.print(f"[bold red]Error:[/bold red] {escape(str(error))}", soft_wrap=True)
        sys.exit(error.exit_status)


def _command() -> str:
    """This command as it can be typed again from the same place."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "personas" else "personas"


# --- the steps ---------------------------------------------------------------------------------


def _load(
    sources: Path | None,
    database: Path,
    since: datetime | None,
    until: datetime | None,
    restore: bool = False,
) -> LoadSummary:
    with _progress("Loading") as report:
        return run_load(
            _sources(sources),
            database,
            since=_day(since),
            until=_day(until),
            restore=restore,
            report=report,
        )


def _sources(file: Path | None) -> Sources:
    return load_sources(file or PROJECT / "profiles" / "sources.yml")


def _build(database: Path, full_refresh: bool, variables: str | None) -> BuildSummary:
    with _progress("Building") as report:
        return run_build(database, variables=variables, full_refresh=full_refresh, report=report)


def _export(sources: Path | None, database: Path, to: str, exports: Path | None) -> ExportSummary:
    def read_sources() -> Sources:
        return _sources(sources)

    check_target(to, read_sources)
    directory = exports or database.parent / "exports"
    with _progress("Exporting") as report:
        manifest = parse(database)
        return run_export(
            manifest, database, to, directory=directory, read_sources=read_sources, report=report
        )


def _run(
    sources: Path | None,
    database: Path,
    since: datetime | None,
    until: datetime | None,
    full_refresh: bool,
    variables: str | None,
    to: str,
    exports: Path | None,
) -> tuple[dict[str, Any], list[Any]]:
    check_target(to, lambda: _sources(sources))
    loaded = _load(sources, database, since, until)
    built = _build(database, full_refresh, variables)
    exported = _export(sources, database, to, exports)
    with connect(database, read_only=True) as connection:
        contents = database_contents(connection)
    results = {"load": loaded, "build": built, "export": exported, "contents": contents}
    lines = [_load_lines(loaded), _build_lines(built), _export_lines(exported)]
    if has_retention(variables):
        pruned = run_prune(database, variables=variables)
        results["prune"] = pruned
        lines.append(_prune_lines(pruned))
    lines += [
        "",
        *_contents_lines(contents),
        "",
        f"Database: {escape(str(database))}",
        f"Exports:  {escape(exported.place)}",
    ]
    return results, lines


def _generate(directory: Path, settings: dict[str, Any]) -> None:
    """Generate the demo service, unless the directory already holds it for these settings."""
    written = directory / "settings.json"
    if written.exists() and json.loads(written.read_text()) == settings:
        return
    written.unlink(missing_ok=True)
    with _progress("Generating") as report:
        demo_service.generate(directory, **settings, report=lambda text: report(text, 0, 0))
    written.write_text(json.dumps(settings) + "\n")


def _day(moment: datetime | None) -> date | None:
    return moment.date() if moment else None


# --- what is printed ---------------------------------------------------------------------------


@contextmanager
def _progress(step: str) -> Iterator[Report]:
    """A live line with a bar on a terminal; elsewhere one line when the step begins."""
    if not progress_console.is_terminal:
        progress_console.print(f"{step} …")
        yield lambda text, done, total: None
        return
    columns = (
        TextColumn(f"{step:10}"),
        BarColumn(bar_width=30),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=progress_console, transient=True) as progress:
        task = progress.add_task("", total=None)

        def report(text: str, done: int, total: int) -> None:
            progress.update(task, description=escape(text), completed=done, total=total or None)

        yield report


def _print(as_json: bool, results: dict[str, Any], lines: list[Any]) -> None:
    if as_json:
        typer.echo(json.dumps(results, default=_as_json, indent=2, ensure_ascii=False))
        return
    for line in lines:
        console.print(line, soft_wrap=isinstance(line, str))


def _as_json(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return str(value)


def _load_lines(summary: LoadSummary) -> str:
    lines = [
        f"Loaded    {summary.slices_loaded} of {summary.slices_total} days read,"
        f" {summary.slices_changed} changed; {summary.events:,} events,"
        f" {summary.contents:,} contents, {summary.users:,} users"
    ]
    if summary.rejected:
        lines.append(f"          {summary.rejected:,} rows rejected: see raw.rejected_events")
    if summary.duplicates:
        lines.append(f"          {summary.duplicates:,} repeated events left out")
    lines += [f"          [yellow]{escape(warning)}[/yellow]" for warning in summary.warnings]
    return "\n".join(lines)


def _landing_lines(summary: LandingSummary) -> str:
    removed = f", {summary.slices_removed} removed" if summary.slices_removed else ""
    return f"Landed    {summary.slices_written} days written{removed}: {escape(summary.place)}"


def _build_lines(summary: BuildSummary) -> str:
    rebuilt = sum(summary.partitions_rebuilt.values())
    lines = [f"Built     {rebuilt:,} partitions rebuilt; {summary.checks_passed} checks passed"]
    lines += [f"          {model}: {count}" for model, count in summary.partitions_rebuilt.items()]
    lines += [f"          [yellow]{escape(warning)}[/yellow]" for warning in summary.warnings]
    return "\n".join(lines)


def _export_lines(summary: ExportSummary) -> str:
    written = "files written" if summary.to == "files" else "dates published"
    lines = [
        f"Exported  {summary.written} {written}, {summary.unchanged} unchanged;"
        f" {summary.rows:,} rows"
    ]
    if summary.written and summary.seconds:
        steps = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in summary.seconds.items())
        lines.append(f"          {steps}")
    return "\n".join(lines)


def _prune_lines(summary: PruneSummary) -> str:
    if summary.events_from is None:
        return "Pruned    nothing: raw_retention_days and history_retention_days keep everything"
    size = f"{summary.bytes_before / 2**20:,.0f} MiB"
    if not summary.is_dry_run:
        size = f"{summary.bytes_after / 2**20:,.0f} MiB, {size} before"
    lines = [
        f"{'Would go ' if summary.is_dry_run else 'Pruned   '}"
        f" events before {summary.events_from}"
        + (f", history before {summary.history_from}" if summary.history_from else "")
        + f"; the database has {size}"
    ]
    lines += [
        f"          {table}: {gone.rows:,} rows of {gone.days:,} days"
        for table, gone in summary.tables.items()
    ]
    return "\n".join(lines)


def _contents_lines(contents: Contents) -> list[str]:
    if contents.as_of_date is None:
        return [
            f"{contents.events:,} events; there are personas from the first complete activity date"
            " on, which takes a loaded day before it and one after it."
        ]
    lines = [
        f"{contents.events:,} events from {contents.first_day} to {contents.last_day};"
        f" {contents.viewers:,} viewers on {contents.as_of_date},"
        f" the latest of {contents.as_of_dates} evaluation dates:"
    ]
    lines += [
        f"  {share.label:15} {share.viewers:>9,}  {share.share:6.1%}"
        f"  {'█' * round(40 * share.share)}".rstrip()
        for share in contents.personas
    ]
    if contents.drift:
        lines += [
            f"The shares have moved since {contents.drift.baseline_date} by more than chance:"
            f" stability index {contents.drift.population_stability_index:.3f},"
            f" by chance up to {contents.drift.chance_limit:.3f} (personas.drift)."
        ]
    if contents.suspicious:
        lines += ["", "Suspicious in the last 28 days, all of it kept (metrics.data_quality):"]
    lines += [
        f"  {check.quality_check.replace('_', ' '):28} {check.affected:>9,}  {check.share:6.1%}"
        + (f"  such as {escape(check.example)}" if check.example else "")
        for check in contents.suspicious
    ]
    return lines


def _explanation_lines(explanation: Explanation) -> list[str]:
    lines = [
        f"[bold]{escape(explanation.user_id)} is a {explanation.label}[/bold] on"
        f" {explanation.as_of_date}, since {explanation.persona_since}",
        f"{explanation.definition}",
        f"Risk of churn: {explanation.churn_risk_level}"
        + (
            " (expected of the persona; not estimated yet)"
            if explanation.churn_risk is None
            else f" ({explanation.churn_risk:.1%}, 95 % interval"
            f" {explanation.churn_risk_lower:.1%} to {explanation.churn_risk_upper:.1%};"
            f" {explanation.churn_base_rate:.1%} of all)"
        ),
    ]
    for match in explanation.matches:
        lines += ["", f"{match.label}: every clause holds{_how_clearly(match.strength)}"]
        lines += [_clause_line(clause) for clause in match.clauses]
    if not explanation.matches:
        lines += ["", "No rule holds in full."]
    for match in explanation.near_misses:
        lines += ["", f"Nearly {match.label}: one clause does not hold"]
        lines += [_clause_line(clause) for clause in match.clauses]
    lines += ["", "History:"]
    lines += [
        f"  {spell.first_date} to {spell.last_date}  {spell.label}" for spell in explanation.history
    ]
    lines += [
        "",
        f"What to do: {explanation.strategy}",
        f"  Content: {explanation.content_policy}",
        f"  Sending: {explanation.send_policy}",
        f"  Avoid:   {explanation.avoid}",
    ]
    return lines


def _why_not_lines(why_not: WhyNot) -> list[str]:
    is_it = "is" if why_not.is_chosen else "is not"
    lines = [
        f"[bold]{escape(why_not.user_id)} {is_it} {why_not.label}[/bold] on {why_not.as_of_date}",
        escape(why_not.definition),
        escape(why_not.choice),
    ]
    for alternative in why_not.alternatives:
        total = len(alternative.clauses)
        held = (
            f"every clause holds{_how_clearly(alternative.strength)}"
            if alternative.is_match
            else f"{alternative.clauses_met} of {total} clauses hold"
        )
        number = f", alternative {alternative.number}" if len(why_not.alternatives) > 1 else ""
        lines += ["", f"{why_not.label}{number}: {held}"]
        for clause in alternative.clauses:
            mark = "[green]✓[/green]" if clause.is_met else "[red]✗[/red]"
            lines.append(
                f"  {mark} {escape(clause.words)}: [dim]{escape(clause.difference_words)}[/dim]"
            )
    return lines


def _finding_line(finding: Finding) -> str:
    color = "red" if finding.level == "error" else "yellow"
    line = f" line {finding.line}" if finding.line else ""
    return (
        f"{escape(finding.file)}{line}: [{color}]{finding.level}[/{color}]:"
        f" {escape(finding.message)}"
    )


def _how_clearly(strength: float | None) -> str:
    """The strength in words: in standard deviations of the audience, and at most 3."""
    if strength is None:
        return ""
    if strength < 0.1:
        return ", one of them only just"
    return ", all of them clearly" if strength >= 1 else ""


def _clause_line(clause: Clause) -> str:
    mark = "[green]✓[/green]" if clause.is_met else "[red]✗[/red]"
    return f"  {mark} {escape(clause.words)}"
