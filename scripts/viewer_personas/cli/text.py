"""What the commands print: the layout of every result, in words and as JSON."""

import dataclasses
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from viewer_personas.build import BuildSummary
from viewer_personas.database.parquet import LandingSummary
from viewer_personas.database.raw import Report
from viewer_personas.errors import PersonasError
from viewer_personas.export.publications import ExportSummary
from viewer_personas.prune import PruneSummary
from viewer_personas.rules.check import Finding
from viewer_personas.rules.explain import Clause, Explanation, WhyNot
from viewer_personas.sources.check import CheckResult, SourceFound
from viewer_personas.sources.load import LoadSummary
from viewer_personas.summary import Contents

# Results go to standard output, progress and errors to standard error.
console = Console(highlight=False)
progress_console = Console(stderr=True, highlight=False)


@contextmanager
def progress(step: str) -> Iterator[Report]:
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
    with Progress(*columns, console=progress_console, transient=True) as bar:
        task = bar.add_task("", total=None)

        def report(text: str, done: int, total: int) -> None:
            bar.update(task, description=escape(text), completed=done, total=total or None)

        yield report


def print_results(in_json: bool, results: dict[str, Any], lines: list[Any]) -> None:
    if in_json:
        typer.echo(as_json(results))
        return
    for line in lines:
        console.print(line, soft_wrap=isinstance(line, str))


def as_json(results: Any) -> str:
    """Results as JSON; a dataclass is an object, a date its text."""
    return json.dumps(results, default=_as_json, indent=2, ensure_ascii=False)


def _as_json(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return str(value)


def print_error(error: PersonasError) -> None:
    """One message on standard error."""
    progress_console.print(f"[bold red]Error:[/bold red] {escape(str(error))}", soft_wrap=True)


def load_lines(summary: LoadSummary) -> str:
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


def landing_lines(summary: LandingSummary) -> str:
    removed = f", {summary.slices_removed} removed" if summary.slices_removed else ""
    return f"Landed    {summary.slices_written} days written{removed}: {escape(summary.place)}"


def build_lines(summary: BuildSummary) -> str:
    rebuilt = sum(summary.partitions_rebuilt.values())
    lines = [
        f"Built     {rebuilt:,} partitions rebuilt; {summary.checks_passed} checks passed,"
        f" {summary.checks_unchanged} unchanged"
    ]
    lines += [f"          {model}: {count}" for model, count in summary.partitions_rebuilt.items()]
    lines += [f"          [yellow]{escape(warning)}[/yellow]" for warning in summary.warnings]
    return "\n".join(lines)


def export_lines(summary: ExportSummary) -> str:
    written = "files written" if summary.to == "files" else "dates published"
    lines = [
        f"Exported  {summary.written} {written}, {summary.unchanged} unchanged"
        + (f", {summary.removed} removed" if summary.removed else "")
        + f"; {summary.rows:,} rows"
    ]
    lines += [f"          [yellow]{escape(warning)}[/yellow]" for warning in summary.warnings]
    if summary.written and summary.seconds:
        steps = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in summary.seconds.items())
        lines.append(f"          {steps}")
    return "\n".join(lines)


def prune_lines(summary: PruneSummary) -> str:
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


def contents_lines(contents: Contents) -> list[str]:
    if contents.as_of_date is None:
        return [
            f"{contents.events:,} events; no personas yet: the first complete activity date needs a"
            " loaded day before it and one after it."
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
            f"The shares have drifted since {contents.drift.baseline_date} by more than chance:"
            f" stability index {contents.drift.population_stability_index:.3f},"
            f" by chance at most {contents.drift.chance_limit:.3f} (personas.drift)."
        ]
    if contents.suspicious:
        lines += ["", "Suspicious in the last 28 days, all of it kept (metrics.data_quality):"]
    lines += [
        f"  {check.quality_check.replace('_', ' '):28} {check.affected:>9,}  {check.share:6.1%}"
        + (f"  such as {escape(check.example)}" if check.example else "")
        for check in contents.suspicious
    ]
    return lines


def place_lines(database: Path, exported: ExportSummary) -> list[str]:
    return [f"Database: {escape(str(database))}", f"Exports:  {escape(exported.place)}"]


def example_lines(examples: list[tuple[str, str]], database: Path) -> list[str]:
    """A command to type for a viewer of each persona."""
    called = Path(sys.argv[0])  # as it can be typed again from the same place
    command = str(called) if called.name == "personas" else "personas"
    return [
        "Ask why:",
        *(
            f"  {escape(command)} explain {user} --database {escape(str(database))}"
            f"   [dim]# {persona}[/dim]"
            for persona, user in examples
        ),
    ]


def explanation_lines(explanation: Explanation) -> list[str]:
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


def why_not_lines(why_not: WhyNot) -> list[str]:
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


def check_lines(
    findings: list[Finding], counts: dict[str, int], checked: str, *, has_database: bool
) -> list[str]:
    lines = [_finding_line(finding) for finding in findings]
    lines.append(f"{checked} checked: {counts['errors']} errors, {counts['warnings']} warnings")
    if has_database and counts["errors"]:
        lines.append("Not compared with the database: fix the errors first.")
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


def init_lines(
    folder: Path, written: list[Path], kept: list[Path], new_vars: dict[str, Any]
) -> list[str]:
    """What `personas init` did, the vars missing in its vars.yml, and the next step."""
    lines = [f"Wrote  {path}" for path in written] + [f"Kept   {path}" for path in kept]
    for name, value in new_vars.items():
        lines.append(f"New    {name}, {value} unless {folder / 'vars.yml'} has another value")
    return [
        *lines,
        "",
        f"Say in {folder / 'sources.yml'} where your data is. Then:",
        f"personas run --project {folder}",
    ]


_COLUMNS = ("field", "from", "filled", "unreadable", "examples", "kind")


def sources_lines(found: CheckResult) -> list[Any]:
    """What `personas check` found: a table for each source, then what looks wrong, numbered."""
    lines: list[Any] = []
    for source in found.sources:
        lines += [f"[bold]{source.source}[/bold]: {escape(source.sampled)}", _fields(source), ""]
    colors = {"error": "red", "warning": "yellow", "note": "cyan"}
    for number, finding in enumerate(found.findings, 1):
        color = colors[finding.level]
        lines.append(
            f"{number}. [{color}]{finding.level}[/{color}] {escape(_plain(finding.place))}:"
            f" {escape(_plain(finding.message))}"
        )
        if finding.write:
            lines += [f"     {escape(_plain(line))}" for line in finding.write.split("\n")]
    lines.append("" if found.findings else "Nothing looks wrong.")
    return lines


def _plain(text: str) -> str:
    """Without control characters, which a terminal would obey."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _fields(source: SourceFound) -> Any:
    rows = [
        (
            found.field,
            found.path,
            _share(found.filled),
            _share(found.unreadable),
            ", ".join(found.examples),
            found.kind,
        )
        for found in source.fields
    ]
    if console.is_terminal:
        table = Table(*_COLUMNS)
        for row in rows:
            table.add_row(*(escape(_plain(cell)) for cell in row))
        return table
    return "\n".join(escape(_plain(" | ".join(row))) for row in [_COLUMNS, *rows])


def _share(share: float | None) -> str:
    if share is None:
        return ""
    return f"{share:.0%}" if share in (0, 1) or 0.01 <= share <= 0.99 else f"{share:.1%}"
