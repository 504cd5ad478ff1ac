"""Writes docs/personas: a page for each persona, from the seeds and from a built demo.

What a page says of a persona comes from the seeds personas and persona_rules and from the words in
the YAML of user_windows. What it says of the demo is between two markers and comes from a database
that `personas demo` built. The first part is compared with the seeds by a test, without a demo; of
the second only the form is checked, because its numbers are those of one run.

    python -m pages.personas demo/personas.duckdb   # writes the pages
    python -m pages.personas                        # the same, examples as they are
    python -m pages.personas --check                # are they what the seeds give?
"""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb

from pages.markdown import BEGIN, END, with_demo_part, wrapped
from viewer_personas.build import PROJECT, default_variables
from viewer_personas.database.connection import connect
from viewer_personas.errors import CheckFailed, InputError, PersonasError
from viewer_personas.rules.catalogue import (
    CASUAL,
    Metric,
    Persona,
    Rule,
    metrics,
    rules_in,
)
from viewer_personas.rules.check import read_personas, read_rules
from viewer_personas.rules.explain import Clause, Match, explain
from viewer_personas.rules.words import asked_for, value_text

FOLDER = Path("docs/personas")
COMMAND = "make persona-pages"
WEEKS_BEFORE = 4
MOST_LINES = 5  # of near misses and of where they went

NOTE = (
    f"<!-- Written by `{COMMAND}` from the seeds and the demo: change seeds/personas.csv or\n"
    "     seeds/persona_rules.csv, not this page. -->"
)

INDEX = f"""\
# Personas

{NOTE}

Every viewer has exactly one persona on each evaluation date; who matches none is casual.
Where several match, PRECEDENCE.

The risk of churn is the one expected until it is estimated from a service's own history. Each page
has the rule in words, a viewer of the demo with the evidence, who nearly has the persona, what to
send, and what not to do. How often the demo's viewers are put where they belong is in
[Recovery](../recovery.md); how a persona is added, in [Adding a persona](../adding-a-persona.md).

| persona | who they are | expected risk | when and how often to send |
|---|---|---|---|
"""

NUMBERS = {2: "two", 3: "three", 4: "four"}
PRECEDENCE = {"priority": "the one further up in this table is theirs"}


def main(arguments: list[str] | None = None) -> int:
    """Write the pages, or with `--check` compare them; 0 if they are up to date, else 1 to 3."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if arguments == ["--check"]:
            check()
        elif len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
            raise InputError(f"{' '.join(arguments)}: give one database, or --check")
        else:
            write(Path(arguments[0]) if arguments else None)
    except PersonasError as error:
        return error.say()
    return 0


def write(database: Path | None, project: Path = PROJECT) -> None:
    """Write every page, and remove those of personas that are no more.

    Without a database the part on the demo stays what it is. Raises `InputError` where the database
    was built with other personas or rules than the seeds have now.
    """
    folder = project / FOLDER
    texts = pages(project)
    if database is None:
        demo_parts = {name: _demo_part(_text(folder / name)) for name in texts}
    else:
        with connect(database, read_only=True) as connection:
            _check_is_built_from(connection, project)
            demo_parts = {f"{one}.md": part for one, part in examples(connection, project).items()}
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.md"):
        if path.name not in texts:
            path.unlink()
    for name, text in texts.items():
        part = demo_parts.get(name, "")
        (folder / name).write_text(with_demo_part(text, part), encoding="utf-8")


def check(project: Path = PROJECT) -> None:
    """Raise `CheckFailed` that names each page that is not what the seeds give, or whose part on
    the demo does not have the form of one."""
    folder = project / FOLDER
    texts = pages(project)
    problems = []
    for name, text in texts.items():
        written = _text(folder / name)
        if with_demo_part(written, "") != text:
            problems.append(f"{FOLDER / name}: not what the seeds give")
        elif BEGIN in text:
            problems += [
                f"{FOLDER / name}: its part on the demo {problem}"
                for problem in problems_of_form(_demo_part(written))
            ]
    for path in sorted(folder.glob("*.md")):
        if path.name not in texts:
            problems.append(f"{FOLDER / path.name}: a persona that is not in seeds/personas.csv")
    if problems:
        raise CheckFailed("\n  ".join(["The pages of personas:", *problems, f"Run `{COMMAND}`."]))


def problems_of_form(part: str) -> list[str]:
    """What is missing in a part on the demo; its numbers are not looked at."""
    patterns = {
        "does not say how many have it": r"^On \d{4}-\d\d-\d\d, \d[\d,]* of \d[\d,]* viewers",
        "has no example viewer": r"^### (An example: `[^`]+`|No example)$",
        "has no evidence": r"^\| .*\| value \| asked for \|$|^### No example$",
        "has no near misses": r"^### Near misses$",
        "does not say where they went": r"^### Where they went$",
    }
    return [text for text, pattern in patterns.items() if not re.search(pattern, part, re.M)]


def pages(project: Path = PROJECT) -> dict[str, str]:
    """File name → text of every page as the seeds give it, the part on the demo empty.

    Raises `InputError` that names the row of a persona with an empty cell, of a rule without a
    persona, and of an unknown metric or operator.
    """
    personas = read_personas(project)
    rules = read_rules(project)
    known_metrics = metrics(project)
    method = str(default_variables(project)["exclusivity_method"])
    for row in personas:
        for column, value in vars(row).items():
            if value == "":
                raise InputError(f"seeds/personas.csv: {row.persona} has no {column}")
    lines = [
        f"| [{row.label}]({row.persona}.md) | {row.definition} | {row.expected_risk}"
        f" | {row.send_policy} |"
        for row in personas
    ]
    precedence = PRECEDENCE.get(method, f"`exclusivity_method: {method}` decides")
    texts = {"README.md": INDEX.replace("PRECEDENCE", precedence) + "\n".join(lines) + "\n"}
    for number, row in enumerate(personas):
        texts[f"{row.persona}.md"] = _page(
            row, personas[:number], rules.get(row.persona, []), known_metrics, method
        )
    return texts


def rule_lines(alternatives: list[list[Rule]], metrics: dict[str, Metric]) -> list[str]:
    """A rule as Markdown: its clauses, and "either … or …" where there are alternatives."""
    lines: list[str] = []
    for number, clauses in enumerate(alternatives):
        if len(alternatives) > 1:
            lines += ["", "Or:", ""] if number else ["Either:", ""]
        for clause in clauses:
            words = metrics[clause.metric].words
            lines.append(
                f"- [{words}](../metrics.md#{clause.metric}): {asked_for(clause, metrics)}"
            )
    return lines


def _page(
    row: Persona,
    before: list[Persona],
    alternatives: list[list[Rule]],
    metrics: dict[str, Metric],
    method: str,
) -> str:
    label = row.label
    if alternatives:
        ways = len(alternatives)
        intro = f"A viewer is a {label.lower()} on an evaluation date when all of this holds"
        intro += ":" if ways == 1 else f", in one of {NUMBERS.get(ways, ways)} ways:"
        rule = [wrapped(intro), "", *rule_lines(alternatives, metrics)]
        names = ", ".join(one.label.lower() for one in before)
        if method != "priority":
            precedence = f"Where several personas match, `exclusivity_method: {method}` decides."
        elif before:
            precedence = f"Who also matches one of these has that persona instead: {names}."
        else:
            precedence = "Whoever matches it has this persona, whatever else matches."
        rule += ["", wrapped(precedence)]
    else:
        rule = [wrapped("It has no rule: who matches no other persona has this one.")]
    return "\n".join(
        [
            f"# {label}",
            "",
            NOTE,
            "",
            wrapped(row.definition),
            "",
            f"Expected risk of churn: **{row.expected_risk}**. Strategy: **{row.strategy}**.",
            "",
            "## The rule",
            "",
            *rule,
            "",
            "## What to send",
            "",
            wrapped(f"- **What**: {row.content_policy}", "  "),
            wrapped(f"- **When and how often**: {row.send_policy}", "  "),
            "",
            "## What not to do",
            "",
            wrapped(row.avoid),
            "",
            "## In the demo",
            "",
            BEGIN,
            END,
            "",
            "[All personas](README.md)",
            "",
        ]
    )


# --- The part on the demo ----------------------------------------------------------------------


@dataclass(frozen=True)
class _Demo:
    """What the examples are taken from: the latest evaluation date, and the one weeks before."""

    connection: duckdb.DuckDBPyConnection
    as_of_date: date
    earlier: date | None
    viewers: int
    labels: dict[str, str]
    metrics: dict[str, Metric]


def examples(connection: duckdb.DuckDBPyConnection, project: Path = PROJECT) -> dict[str, str]:
    """Persona → the part of its page on the demo, as Markdown.

    The same database gives the same text. Raises `InputError` where nothing is built.
    """
    try:
        dates = [
            row[0]
            for row in connection.execute(
                "select distinct as_of_date from personas.user_personas order by 1"  # one a date
            ).fetchall()
        ]
    except duckdb.CatalogException as error:
        raise InputError("Nothing is built in this database. Run `personas demo` first.") from error
    if not dates:
        raise InputError("There is no evaluation date in this database. Run `personas demo` first.")
    latest = dates[-1]
    earlier = [day for day in dates if day <= latest - timedelta(weeks=WEEKS_BEFORE)]
    personas = read_personas(project)
    demo = _Demo(
        connection=connection,
        as_of_date=latest,
        earlier=earlier[-1] if earlier else None,
        viewers=_count(connection, "select count(*) from personas.user_personas where {}", latest),
        labels={row.persona: row.label.lower() for row in personas},
        metrics=metrics(project),
    )
    return {row.persona: _example_part(demo, row.persona) for row in personas}


def _example_part(demo: _Demo, persona: str) -> str:
    sections = [
        _how_many(demo, persona),
        _example_viewer(demo, persona),
        _near_misses(demo, persona),
        _where_they_went(demo, persona),
    ]
    return "\n\n".join(sections) + "\n"


def _how_many(demo: _Demo, persona: str) -> str:
    rows = demo.connection.execute(
        """
        select persona, count(*) from personas.user_personas
        where as_of_date = $1 and (persona = $2 or list_contains(all_matches, $2))
        group by persona order by count(*) desc, persona
        """,
        [demo.as_of_date, persona],
    ).fetchall()
    others = [(name, number) for name, number in rows if name != persona]
    number = sum(number for name, number in rows if name == persona)
    text = (
        f"On {demo.as_of_date}, {number:,} of {demo.viewers:,} viewers"
        f" ({100 * number / demo.viewers:.1f} %) have this persona."
    )
    if others:
        text += f" {sum(count for _, count in others):,} more match its rule and have another"
        text += f" persona: {_listed(demo, others)}."
    return wrapped(text)


def _example_viewer(demo: _Demo, persona: str) -> str:
    viewers = demo.connection.execute(
        """
        select user_id from personas.user_personas where as_of_date = $1 and persona = $2
        order by strength nulls first, user_id
        """,
        [demo.as_of_date, persona],
    ).fetchall()
    if not viewers:
        return "### No example\n\nNobody has this persona on the date."
    user_id = viewers[(len(viewers) - 1) // 2][0]
    explanation = explain(demo.connection, user_id, demo.as_of_date)
    own = [match for match in explanation.matches if match.persona == persona]
    before = explanation.previous_persona
    lines = [f"### An example: `{user_id}`", ""]
    middle = "of middling strength" if own else "in the middle of the list of names"
    text = f"The viewer {middle} among them, {demo.labels[persona]} since"
    text += f" {explanation.persona_since}."
    if before and before != persona:
        text += f" A week or less before: {demo.labels[before]}."
    lines.append(wrapped(text))
    if own:
        lines += ["", *_evidence(own[0], demo.metrics)]
        if own[0].strength is not None:
            lines += [
                "",
                wrapped(
                    f"Strength {own[0].strength:.2f}: the clause nearest to its threshold is so"
                    " many standard deviations of all viewers away from it."
                ),
            ]
    others = [match for match in explanation.matches if match.persona != persona]
    misses = explanation.near_misses
    if not own and misses:
        lines += ["", "Why they have none of these:", "", *_missed(misses, demo.metrics)]
    notes = []
    if others:
        notes.append(f"Also matches: {', '.join(match.label.lower() for match in others)}.")
    if own and misses:
        notes.append(f"Misses by one clause: {', '.join(m.label.lower() for m in misses)}.")
    if notes:
        lines += ["", wrapped(" ".join(notes))]
    return "\n".join(lines)


def _evidence(match: Match, metrics: dict[str, Metric]) -> list[str]:
    lines = ["| | value | asked for |", "|---|---|---|"]
    lines += [f"| {_cells(match.persona, clause, metrics)} |" for clause in match.clauses]
    return lines


def _missed(misses: list[Match], metrics: dict[str, Metric]) -> list[str]:
    """The clause that does not hold, for each persona that is nearly matched."""
    lines = ["| persona | what does not hold | value | asked for |", "|---|---|---|---|"]
    lines += [
        f"| {match.label.lower()} | {_cells(match.persona, clause, metrics)} |"
        for match in misses
        for clause in match.clauses
        if not clause.is_met
    ]
    return lines


def _cells(persona: str, clause: Clause, metrics: dict[str, Metric]) -> str:
    rule = Rule(persona, 0, 0, clause.window_days, clause.metric, clause.operator, clause.threshold)
    metric = metrics[clause.metric]
    value = value_text(metric.unit, clause.value)
    return f"{metric.words} | {value} | {asked_for(rule, metrics)}"


def _near_misses(demo: _Demo, persona: str) -> str:
    rows = demo.connection.execute(
        """
        with missed as (
            select user_id, unnest(evidence) as item
            from personas.persona_matches
            where as_of_date = $1 and persona = $2 and not is_match
        )

        select item.metric, item.window_days, item.operator, item.threshold, count(*)
        from missed
        where not item.is_met
        group by all
        order by count(*) desc, item.metric, item.window_days
        """,
        [demo.as_of_date, persona],
    ).fetchall()
    heading = "### Near misses\n\n"
    if not rows:
        text = "Nobody misses it by a single clause."
        return heading + (text if persona != CASUAL else "It has no rule that could be missed.")
    total = sum(row[4] for row in rows)
    lines = [
        wrapped(
            f"{total:,} viewer{'s' * (total != 1)} would have it but for one clause of the"
            " alternative that is nearest. It is this one:"
        ),
        "",
        "| the clause that does not hold | viewers |",
        "|---|---:|",
    ]
    for metric, window_days, operator, threshold, number in rows[:MOST_LINES]:
        rule = Rule(persona, 0, 0, window_days, metric, operator, threshold)
        words = f"{demo.metrics[metric].words}: {asked_for(rule, demo.metrics)}"
        lines.append(f"| {words} | {number:,} |")
    rest = sum(row[4] for row in rows[MOST_LINES:])
    if rest:
        lines.append(f"| another | {rest:,} |")
    return heading + "\n".join(lines)


def _where_they_went(demo: _Demo, persona: str) -> str:
    heading = "### Where they went\n\n"
    if demo.earlier is None:
        return heading + f"The demo has no evaluation date {WEEKS_BEFORE} weeks before."
    rows = demo.connection.execute(
        """
        select coalesce(later.persona, ''), count(*)
        from personas.user_personas as earlier
        left join personas.user_personas as later
            on earlier.user_id = later.user_id and later.as_of_date = $1
        where earlier.as_of_date = $2 and earlier.persona = $3
        group by 1 order by count(*) desc, 1
        """,
        [demo.as_of_date, demo.earlier, persona],
    ).fetchall()
    total = sum(number for _, number in rows)
    if not total:
        return heading + f"Nobody had it on {demo.earlier}."
    stayed = sum(number for name, number in rows if name == persona)
    others = [(name, number) for name, number in rows if name != persona]
    text = f"Of {total:,} who had it on {demo.earlier}, {stayed:,} ({100 * stayed / total:.0f} %)"
    text += f" have it on {demo.as_of_date}."
    if others:
        text += f" The others are {_listed(demo, others)}."
    left = demo.connection.execute(
        """
        select persona, count(*) from personas.user_personas
        where previous_persona = $1 and persona <> $1
        group by persona order by count(*) desc, persona
        """,
        [persona],
    ).fetchall()
    if left:
        times = sum(number for _, number in left)
        text += f" On all evaluation dates of the demo it was left {times:,} times, for"
        text += f" {_listed(demo, left)}."
    return heading + wrapped(text)


def _listed(demo: _Demo, counts: list[tuple[str, int]]) -> str:
    """ "casual 12, regular 3": the most first, the rest in one number."""
    shown = [f"{demo.labels.get(name, 'gone')} {number:,}" for name, number in counts[:MOST_LINES]]
    rest = sum(number for _, number in counts[MOST_LINES:])
    return ", ".join(shown + ([f"others {rest:,}"] if rest else []))


def _check_is_built_from(connection: duckdb.DuckDBPyConnection, project: Path) -> None:
    """The examples must be evidence for the rules beside them."""
    built = rules_in(connection)
    names = connection.execute("select persona from reference.personas order by 1").fetchall()
    wanted = [
        clause
        for alternatives in read_rules(project).values()
        for clauses in alternatives
        for clause in clauses
    ]
    personas = sorted(row.persona for row in read_personas(project))
    if set(built) != set(wanted) or [name for (name,) in names] != personas:
        raise InputError(
            "The database was built with other personas or rules than the seeds have now."
            " Run `personas demo` first."
        )


# --- Text --------------------------------------------------------------------------------------


def _count(connection: duckdb.DuckDBPyConnection, query: str, day: date) -> int:
    rows: Sequence[tuple[int]] = connection.execute(
        query.format("as_of_date = $1"), [day]
    ).fetchall()
    return rows[0][0]


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _demo_part(text: str) -> str:
    found = re.search(f"{BEGIN}\n(.*){END}", text, re.S)
    return found.group(1) if found else ""


if __name__ == "__main__":
    sys.exit(main())
