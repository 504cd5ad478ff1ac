"""The command `personas`."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import typer
from rich.console import RenderableType

from viewer_personas import build as build_step
from viewer_personas.build import BuildSummary, parsed, variables_of
from viewer_personas.build import build as run_build
from viewer_personas.cli import ending, options, text
from viewer_personas.config import Sources, load_sources
from viewer_personas.database.connection import DEFAULT_DATABASE, connect
from viewer_personas.database.parquet import check_directory, land
from viewer_personas.demo import detection, recovery
from viewer_personas.demo import service as demo_service
from viewer_personas.errors import InputError
from viewer_personas.export.export import Target, target_of
from viewer_personas.export.export import export as run_export
from viewer_personas.export.publications import ExportSummary
from viewer_personas.project import init as write_settings
from viewer_personas.project import new_vars
from viewer_personas.prune import has_retention
from viewer_personas.prune import prune as run_prune
from viewer_personas.rules.catalogue import CASUAL, as_rules, seed_path, shown_path
from viewer_personas.rules.check import check_files, check_population, refuse_wrong_rules
from viewer_personas.rules.diff import as_markdown, as_text, checkout, other_side, rules_diff
from viewer_personas.rules.explain import explain as run_explain
from viewer_personas.rules.explain import explain_persona
from viewer_personas.sources.load import LoadSummary
from viewer_personas.sources.load import load as run_load
from viewer_personas.summary import database_contents

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
rules_app = typer.Typer(
    no_args_is_help=True, help="Check the rules, and see which viewers a change moves."
)
app.add_typer(rules_app, name="rules")


@app.callback()
def personas(
    version: options.Version = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Explainable viewer personas from the raw events of a streaming service."""
    if quiet and verbose:
        raise InputError("--quiet and --verbose: choose one")
    text.show_progress("quiet" if quiet else "verbose" if verbose else "auto")


@app.command()
def init(
    folder: options.InitFolder,
    events: options.InitEvents = None,
    contents: options.InitContents = None,
    users: options.InitUsers = None,
) -> None:
    """Write a folder for a service's own settings: sources, vars, event types, personas, rules.

    With --events, sources.yml is drafted from your files, each guess is marked, and checked.
    """
    if not events:
        if contents or users:
            raise InputError("--contents and --users need --events: name the files of events")
        written, kept = write_settings(folder)
        text.print_lines(text.init_lines(folder, written, kept, new_vars(folder)))
        return
    from viewer_personas.sources.draft import add_types, draft

    paths = {"events": events, "contents": contents or [], "users": users or []}
    is_new = not (folder / "sources.yml").exists()
    drafted = draft(folder, paths) if is_new else ""
    written, kept = write_settings(folder, drafted or None)
    lines = text.init_lines(folder, written, kept, new_vars(folder))
    guesses = [f"Guess  {line}" for line in add_types(folder, written)]
    text.print_lines([*lines[:-2], *guesses, ""])
    _check_sources(folder / "sources.yml", folder / "seeds", False)
    text.print_lines(
        [
            f"Correct the guesses in {folder / 'sources.yml'}. Then:",
            f"personas check --project {folder}",
            f"personas run --project {folder}",
        ]
    )


@app.command()
def check(
    project: options.Project = None,
    sources: options.Sources = None,
    as_json: options.Json = False,
) -> None:
    """Show what the sources hold and what looks wrong; loads nothing. Exit with 1 if it does."""
    status = _check_sources(_sources_file(sources), build_step.PROJECT / "seeds", as_json)
    if status:
        raise typer.Exit(status)


@app.command()
def load(
    project: options.Project = None,
    sources: options.Sources = None,
    database: options.Database = DEFAULT_DATABASE,
    since: options.Since = None,
    until: options.Until = None,
    restore: options.Restore = False,
    accept_shrunken: options.AcceptShrunken = False,
    to: options.LoadTo = "duckdb",
    directory: options.LoadDirectory = None,
    variables: options.Vars = None,
    as_json: options.Json = False,
) -> None:
    """Load what changed at the sources into the raw layer."""
    if to not in ("duckdb", "parquet"):
        raise InputError(f"--to {to}: unknown target; choose duckdb or parquet")
    if directory and to != "parquet":
        raise InputError("--directory is for files: add --to parquet")
    if to == "duckdb":
        summary = _load(
            _reader(sources), database, since, until, restore, accept_shrunken, variables
        )
        text.print_results(as_json, {"load": summary}, [text.load_lines(summary)])
        return
    warehouse = directory or database.parent / "warehouse"
    check_directory(warehouse)
    summary = _load(_reader(sources), database, since, until, restore, accept_shrunken, variables)
    with text.progress("Landing") as report:
        landed = land(database, warehouse, report=report)
    text.print_results(
        as_json,
        {"load": summary, "parquet": landed},
        [text.load_lines(summary), text.landing_lines(landed)],
    )


@app.command()
def build(
    project: options.Project = None,
    database: options.Database = DEFAULT_DATABASE,
    full_refresh: options.FullRefresh = False,
    all_tests: options.AllTests = False,
    variables: options.Vars = None,
    as_json: options.Json = False,
) -> None:
    """Build metrics and personas; rebuilds only partitions with changed inputs or definitions."""
    _check(variables)
    summary = _build(database, full_refresh, all_tests, variables)
    text.print_results(as_json, {"build": summary}, [text.build_lines(summary)])


@app.command()
def export(
    project: options.Project = None,
    database: options.Database = DEFAULT_DATABASE,
    to: options.To = "files",
    sources: options.Sources = None,
    exports: options.Exports = None,
    accept_changes: options.AcceptChanges = False,
    as_json: options.Json = False,
) -> None:
    """Export the tables declared as exposures."""
    target = _target(_reader(sources), sources, database, to, exports)
    summary = _export(target, database, accept_changes)
    text.print_results(as_json, {"export": summary}, [text.export_lines(summary)])


@app.command()
def prune(
    project: options.Project = None,
    database: options.Database = DEFAULT_DATABASE,
    variables: options.Vars = None,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
) -> None:
    """Drop data older than raw_retention_days and history_retention_days; no result changes."""
    summary = run_prune(database, variables=variables, dry_run=dry_run)
    text.print_results(as_json, {"prune": summary}, [text.prune_lines(summary)])


@app.command()
def run(
    project: options.Project = None,
    sources: options.Sources = None,
    database: options.Database = DEFAULT_DATABASE,
    since: options.Since = None,
    until: options.Until = None,
    full_refresh: options.FullRefresh = False,
    all_tests: options.AllTests = False,
    variables: options.Vars = None,
    to: options.To = "files",
    exports: options.Exports = None,
    accept_shrunken: options.AcceptShrunken = False,
    accept_changes: options.AcceptChanges = False,
    as_json: options.Json = False,
) -> None:
    """Load, build and export; then prune, if a retention policy is set."""
    results, lines = _run(
        sources,
        database,
        exports=exports,
        since=since,
        until=until,
        accept_shrunken=accept_shrunken,
        full_refresh=full_refresh,
        all_tests=all_tests,
        variables=variables,
        to=to,
        accept_changes=accept_changes,
    )
    text.print_results(as_json, results, lines)


@app.command()
def explain(
    user: options.User,
    project: options.Project = None,
    database: options.Database = DEFAULT_DATABASE,
    as_of: options.AsOf = None,
    persona: options.Persona = None,
    as_json: options.Json = False,
) -> None:
    """Say why a viewer has their persona, or why they do not have another."""
    try:
        with connect(database, read_only=True) as connection:
            if persona:
                why_not = explain_persona(connection, user, persona, _day(as_of))
                found, lines = dataclasses.asdict(why_not), text.why_not_lines(why_not)
            else:
                explanation = run_explain(connection, user, _day(as_of))
                found, lines = dataclasses.asdict(explanation), text.explanation_lines(explanation)
    except (duckdb.CatalogException, duckdb.BinderException) as error:
        raise InputError(
            f"{database}: built by another version. Run `personas build` first."
        ) from error
    text.print_results(as_json, found, lines)


@rules_app.command("check")
def rules_check(
    project: options.Project = None,
    rules: options.RulesFile = None,
    personas: options.PersonasFile = None,
    database: options.PopulationDatabase = None,
    as_json: options.Json = False,
) -> None:
    """Report problems in the rules, row by row; exit with 1 if there is an error."""
    rules_file = rules or seed_path("persona_rules")
    personas_file = personas or seed_path("personas")
    findings, rule_rows, persona_rows = check_files(rules_file, personas_file)
    errors = [finding for finding in findings if finding.level == "error"]
    if database and not errors:
        with connect(database, read_only=True) as connection:
            findings += check_population(
                connection, as_rules(rule_rows), rules_file=shown_path(rules_file)
            )
    counts = {"errors": len(errors), "warnings": len(findings) - len(errors)}
    checked = f"{len(rule_rows)} clauses of {len(persona_rows)} personas"
    lines = text.check_lines(findings, counts, checked, has_database=database is not None)
    text.print_results(as_json, {"findings": findings, **counts}, lines)
    if errors:
        raise typer.Exit(1)


@rules_app.command("diff")
def rules_diff_command(
    against: options.Against,
    project: options.Project = None,
    database: options.Database = DEFAULT_DATABASE,
    text_format: options.DiffFormat = "text",
    examples: options.Examples = 3,
    variables: options.Vars = None,
) -> None:
    """Say which viewers the rules of the checkout (after) move, compared with others (before).

    Both are built in a scratch database with the models of the checkout; yours is only read.
    """
    writers = {"text": as_text, "markdown": as_markdown, "json": text.as_json}
    if text_format not in writers:
        raise InputError(f"--format {text_format}: unknown format; choose {', '.join(writers)}")
    before, after = other_side(against), checkout()
    with text.progress("Comparing") as report:
        found = rules_diff(
            database, before, after, examples=examples, variables=variables, report=report
        )
    text.print_lines([writers[text_format](found)])


@app.command()
def demo(
    directory: options.DemoDirectory = Path("demo"),
    viewers: options.Viewers = 2000,
    days: options.Days = 182,
    seed: options.Seed = 7,
    noise: options.Noise = 1.0,
    as_json: options.Json = False,
) -> None:
    """Generate a small streaming service, run everything on it, and check what was planted."""
    settings = {"viewers": viewers, "days": days, "seed": seed, "noise": noise}
    _generate(directory, settings)
    database = directory / demo_service.DATABASE
    results, lines = _run(directory / "sources.yml", database)
    with connect(database, read_only=True) as connection:
        recovered = recovery.recovery(connection, directory / recovery.TRUTH)
        detected = detection.detection(connection, directory / recovery.TRUTH)
        examples = connection.execute(
            "select persona, min(user_id) from personas.user_personas"
            " where as_of_date = (select max(as_of_date) from metrics.as_of_dates)"
            " and persona <> $1 group by persona order by persona",
            [CASUAL],
        ).fetchall()
    lines += ["", recovery.render(recovered), "", detection.render(detected)]
    lines += text.example_lines(examples, database)
    found = {"recovery": recovery.to_dict(recovered), "detection": detection.to_dict(detected)}
    text.print_results(as_json, {**results, **found}, lines)


def main() -> None:
    """Run the command; an error that a person can act on is one message and its exit status."""

    def command() -> None:
        ending.use_umask()
        app()

    ending.run(command)


# --- the steps ---------------------------------------------------------------------------------


def _reader(sources: Path | None) -> Callable[[], Sources]:
    """Reads the sources when they are first asked for, and only then."""
    return cache(lambda: load_sources(_sources_file(sources)))


def _sources_file(sources: Path | None) -> Path:
    return sources or build_step.PROJECT / "profiles" / "sources.yml"


def _check_sources(sources: Path, seeds: Path, as_json: bool) -> int:
    """Print what a sample of the sources holds; returns the exit status."""
    # here, because no other command needs its tables of names
    from viewer_personas.sources.check import check as run_check

    settings = load_sources(sources)
    with text.progress("Checking"):
        found = run_check(settings, seeds)
    results = {**dataclasses.asdict(found), "exit_status": found.exit_status}
    text.print_results(as_json, results, text.sources_lines(found))
    return found.exit_status


def _target(
    read_sources: Callable[[], Sources],
    sources: Path | None,
    database: Path,
    to: str,
    exports: Path | None,
) -> Target:
    return target_of(
        to,
        directory=exports or database.parent / "exports",
        file=_sources_file(sources),
        read_sources=read_sources,
    )


def _load(
    read_sources: Callable[[], Sources],
    database: Path,
    since: datetime | None,
    until: datetime | None,
    restore: bool = False,
    accept_shrunken: bool = False,
    variables: str | None = None,
) -> LoadSummary:
    with text.progress("Loading") as report:
        return run_load(
            read_sources(),
            database,
            since=_day(since),
            until=_day(until),
            restore=restore,
            accept_shrunken=accept_shrunken,
            clock_ahead_hours=variables_of(variables)["max_clock_ahead_hours"],
            report=report,
        )


def _check(variables: str | None) -> None:
    """Raise `InputError` for vars or rules with which a build would fail, before anything runs."""
    variables_of(variables)
    refuse_wrong_rules()


def _build(
    database: Path, full_refresh: bool, all_tests: bool, variables: str | None
) -> BuildSummary:
    with text.progress("Building") as report:
        return run_build(
            database,
            variables=variables,
            full_refresh=full_refresh,
            all_tests=all_tests,
            report=report,
        )


def _export(target: Target, database: Path, accept_changes: bool) -> ExportSummary:
    with text.progress("Exporting") as report:
        return run_export(parsed(database), database, target, accept=accept_changes, report=report)


def _run(
    sources: Path | None,
    database: Path,
    *,
    exports: Path | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    accept_shrunken: bool = False,
    full_refresh: bool = False,
    all_tests: bool = False,
    variables: str | None = None,
    to: str = "files",
    accept_changes: bool = False,
) -> tuple[dict[str, Any], list[RenderableType]]:
    _check(variables)
    read_sources = _reader(sources)
    target = _target(read_sources, sources, database, to, exports)
    loaded = _load(
        read_sources,
        database,
        since,
        until,
        accept_shrunken=accept_shrunken,
        variables=variables,
    )
    built = _build(database, full_refresh, all_tests, variables)
    exported = _export(target, database, accept_changes)
    with connect(database, read_only=True) as connection:
        contents = database_contents(connection)
    results = {"load": loaded, "build": built, "export": exported, "contents": contents}
    lines: list[RenderableType] = [
        text.load_lines(loaded),
        text.build_lines(built),
        text.export_lines(exported),
    ]
    if has_retention(variables):
        pruned = run_prune(database, variables=variables)
        results["prune"] = pruned
        lines.append(text.prune_lines(pruned))
    lines += ["", *text.contents_lines(contents), "", *text.place_lines(database, exported)]
    return results, lines


def _generate(directory: Path, settings: dict[str, Any]) -> None:
    """Generate the demo service, unless the directory already holds it for these settings.

    With other settings it is another service, which has exported nothing yet.
    """
    written = directory / "settings.json"
    if written.exists() and json.loads(written.read_text()) == settings:
        return
    written.unlink(missing_ok=True)
    shutil.rmtree(directory / "exports", ignore_errors=True)
    with text.progress("Generating") as report:
        demo_service.generate(directory, **settings, report=lambda step: report(step, 0, 0))
    written.write_text(json.dumps(settings) + "\n")


def _day(moment: datetime | None) -> date | None:
    return moment.date() if moment else None
