"""What the commands print: the layout of every result, in words and as JSON."""

import dataclasses
import json
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from viewer_personas.build import BuildSummary
from viewer_personas.database.parquet import LandingSummary
from viewer_personas.database.raw import Report
from viewer_personas.errors import PersonasError
from viewer_personas.export.publications import ExportSummary
from viewer_personas.prune import PruneSummary
from viewer_personas.rules.check import Finding
from viewer_personas.rules.explain import Clause, Explanation, WhyNot
from viewer_personas.sources.load import LoadSummary
from viewer_personas.summary import Contents

if TYPE_CHECKING:
    from viewer_personas.sources.check import CheckResult, SourceFound

Line = str | Text

# What a terminal would obey instead of showing: control characters, marks that turn the direction
# of writing, and bytes of file names that are no UTF-8.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


class _Console(Console):
    """A console on which data is only ever shown: it has no markup, and no control characters.

    What is styled is a `Text`, so that nothing needs escaping.
    """

    def __init__(self, *, stderr: bool) -> None:
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """As rich does it; of a control character in a text, a sign."""
        for segment in super().render(renderable, options):
            if segment.control or not _UNSEEN.search(segment.text):
                yield segment
            else:
                yield Segment(_UNSEEN.sub(_sign, segment.text), segment.style)

    def on_broken_pipe(self) -> None:
        """A reader that has seen enough, such as `head`, is no failure."""
        with suppress(SystemExit):
            super().on_broken_pipe()
        raise SystemExit(0)


def _sign(unseen: re.Match[str]) -> str:
    code = ord(unseen[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else "�"


# Results go to standard output, progress and errors to standard error.
console = _Console(stderr=False)
progress_console = _Console(stderr=True)

Progressing = Literal["auto", "quiet", "verbose"]
progressing: Progressing = "auto"
"""How progress is shown: as a bar on a terminal, else as lines; as nothing; always as lines."""


def show_progress(how: Progressing) -> None:
    """Choose how the commands of this process show their progress."""
    global progressing
    progressing = how


@contextmanager
def progress(step: str) -> Iterator[Report]:
    """A live line with a bar on a terminal; elsewhere a line for each part that has ended, with its
    number, its name and its seconds."""
    if progressing == "quiet":
        yield lambda text, done, total: None
    elif progressing == "verbose" or not progress_console.is_terminal:
        progress_console.print(f"{step} …")
        lines = _ProgressLines(step)
        yield lines.report
        lines.end()
    else:
        with _progress_bar(step) as report:
            yield report


class _ProgressLines:
    """Prints each part of a step when the next one begins, or the step ends."""

    def __init__(self, step: str) -> None:
        self.step = step
        self.part: tuple[str, int, int] | None = None
        self.began = 0.0

    def report(self, text: str, done: int, total: int) -> None:
        """A part begins, after `done` others of `total`; if these are all, none does."""
        self.end()
        if not total or done < total:
            self.part, self.began = (text, done + 1, total), time.monotonic()

    def end(self) -> None:
        """The part that is being done has ended."""
        if self.part:
            text, number, total = self.part
            place = f" {number} of {total} " if total else " "
            seconds = time.monotonic() - self.began
            progress_console.print(f"{self.step}{place}{text} {seconds:.1f} s", soft_wrap=True)
        self.part = None


@contextmanager
def _progress_bar(step: str) -> Iterator[Report]:
    columns = (
        TextColumn(f"{step:10}"),
        BarColumn(bar_width=30),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=progress_console, transient=True) as bar:
        task = bar.add_task("", total=None)

        def report(text: str, done: int, total: int) -> None:
            bar.update(task, description=text, completed=done, total=total or None)

        yield report


def print_results(in_json: bool, results: dict[str, Any], lines: Sequence[RenderableType]) -> None:
    if in_json:
        print_lines([as_json(results)])
    else:
        print_lines(lines)


def print_lines(lines: Sequence[RenderableType]) -> None:
    """Print lines, which are never wrapped, and tables."""
    for line in lines:
        console.print(line, soft_wrap=isinstance(line, Line))


def as_json(results: Any) -> str:
    """Results as JSON; a dataclass is an object, a date its text."""
    text = json.dumps(results, default=_as_json, indent=2, ensure_ascii=False)
    # json itself escapes those below a space
    return _UNSEEN.sub(lambda unseen: f"\\u{ord(unseen[0]):04x}", text)


def _as_json(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return str(value)


def print_error(error: PersonasError) -> None:
    """One message on standard error."""
    message = Text.assemble(("Error:", "bold red"), f" {error}")
    progress_console.print(message, soft_wrap=True)


def print_interrupted() -> None:
    progress_console.print("Interrupted. What was finished is kept. Run it again.", soft_wrap=True)


def _joined(lines: Iterable[Line]) -> Text:
    return Text("\n").join(line if isinstance(line, Text) else Text(line) for line in lines)


def _warning_lines(warnings: list[str]) -> list[Line]:
    return [Text.assemble("          ", (warning, "yellow")) for warning in warnings]


def load_lines(summary: LoadSummary) -> Text:
    lines: list[Line] = [
        f"Loaded    {summary.slices_loaded} of {summary.slices_total} days read,"
        f" {summary.slices_changed} changed; {summary.events:,} events,"
        f" {summary.contents:,} contents, {summary.users:,} users"
    ]
    if summary.rejected:
        reasons = ", ".join(f"{reason} {number:,}" for reason, number in _reasons(summary))
        lines.append(
            f"          {summary.rejected:,} rows rejected ({reasons}): see raw.rejected_events"
        )
    if summary.duplicates:
        lines.append(f"          {summary.duplicates:,} repeated events left out")
    return _joined([*lines, *_warning_lines(summary.warnings)])


def _reasons(summary: LoadSummary) -> list[tuple[str, int]]:
    return sorted(summary.rejected_reasons.items(), key=lambda item: (-item[1], item[0]))


def landing_lines(summary: LandingSummary) -> str:
    removed = f", {summary.slices_removed} removed" if summary.slices_removed else ""
    return f"Landed    {summary.slices_written} days written{removed}: {summary.place}"


def build_lines(summary: BuildSummary) -> Text:
    rebuilt = sum(summary.partitions_rebuilt.values())
    lines: list[Line] = [
        f"Built     {rebuilt:,} partitions rebuilt; {summary.checks_passed} checks passed,"
        f" {summary.checks_unchanged} unchanged"
    ]
    lines += [f"          {model}: {count}" for model, count in summary.partitions_rebuilt.items()]
    return _joined([*lines, *_warning_lines(summary.warnings)])


def export_lines(summary: ExportSummary) -> Text:
    written = "files written" if summary.to == "files" else "dates published"
    lines: list[Line] = [
        f"Exported  {summary.written} {written}, {summary.unchanged} unchanged"
        + (f", {summary.removed} removed" if summary.removed else "")
        + f"; {summary.rows:,} rows"
    ]
    lines += _warning_lines(summary.warnings)
    if summary.written and summary.seconds:
        steps = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in summary.seconds.items())
        lines.append(f"          {steps}")
    return _joined(lines)


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
        + (f"  such as {check.example}" if check.example else "")
        for check in contents.suspicious
    ]
    return lines


def place_lines(database: Path, exported: ExportSummary) -> list[str]:
    return [f"Database: {database}", f"Exports:  {exported.place}"]


def example_lines(examples: list[tuple[str, str]], database: Path) -> list[Line]:
    """A command to type for a viewer of each persona."""
    called = Path(sys.argv[0])  # as it can be typed again from the same place
    command = str(called) if called.name == "personas" else "personas"
    return [
        "Ask why:",
        *(
            Text.assemble(
                f"  {command} explain {user} --database {database}", (f"   # {persona}", "dim")
            )
            for persona, user in examples
        ),
    ]


def explanation_lines(explanation: Explanation) -> list[Line]:
    lines: list[Line] = [
        Text.assemble(
            (f"{explanation.user_id} is a {explanation.label}", "bold"),
            f" on {explanation.as_of_date}, since {explanation.persona_since}",
        ),
        explanation.definition,
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


def why_not_lines(why_not: WhyNot) -> list[Line]:
    is_it = "is" if why_not.is_chosen else "is not"
    lines: list[Line] = [
        Text.assemble(
            (f"{why_not.user_id} {is_it} {why_not.label}", "bold"), f" on {why_not.as_of_date}"
        ),
        why_not.definition,
        why_not.choice,
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
            lines.append(
                Text.assemble(
                    "  ",
                    _mark(clause.is_met),
                    f" {clause.words}: ",
                    (clause.difference_words, "dim"),
                )
            )
    return lines


def check_lines(
    findings: list[Finding], counts: dict[str, int], checked: str, *, has_database: bool
) -> list[Line]:
    lines: list[Line] = [_finding_line(finding) for finding in findings]
    lines.append(f"{checked} checked: {counts['errors']} errors, {counts['warnings']} warnings")
    if has_database and counts["errors"]:
        lines.append("Not compared with the database: fix the errors first.")
    return lines


def _finding_line(finding: Finding) -> Text:
    color = "red" if finding.level == "error" else "yellow"
    line = f" line {finding.line}" if finding.line else ""
    return Text.assemble(f"{finding.file}{line}: ", (finding.level, color), f": {finding.message}")


def _how_clearly(strength: float | None) -> str:
    """The strength in words: in standard deviations of the audience, and at most 3."""
    if strength is None:
        return ""
    if strength < 0.1:
        return ", one of them only just"
    return ", all of them clearly" if strength >= 1 else ""


def _clause_line(clause: Clause) -> Text:
    return Text.assemble("  ", _mark(clause.is_met), f" {clause.words}")


def _mark(is_met: bool) -> tuple[str, str]:
    return ("✓", "green") if is_met else ("✗", "red")


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


def sources_lines(found: "CheckResult") -> list[RenderableType]:
    """What `personas check` found: a table for each source, then what looks wrong, numbered."""
    lines: list[RenderableType] = []
    for source in found.sources:
        lines += [Text.assemble((source.source, "bold"), f": {source.sampled}"), _fields(source)]
        lines.append("")
    colors = {"error": "red", "warning": "yellow", "note": "cyan"}
    for number, finding in enumerate(found.findings, 1):
        level = (finding.level, colors[finding.level])
        lines.append(Text.assemble(f"{number}. ", level, f" {finding.place}: {finding.message}"))
        if finding.write:
            lines += [f"     {line}" for line in finding.write.split("\n")]
    lines.append("" if found.findings else "Nothing looks wrong.")
    return lines


def _fields(source: "SourceFound") -> RenderableType:
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
            table.add_row(*map(Text, row))
        return table
    return "\n".join(" | ".join(row) for row in [_COLUMNS, *rows])


def _share(share: float | None) -> str:
    if share is None:
        return ""
    return f"{share:.0%}" if share in (0, 1) or 0.01 <= share <= 0.99 else f"{share:.1%}"
