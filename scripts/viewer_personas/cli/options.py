"""The options of the commands: their types, names and help."""

from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from viewer_personas import build as build_step
from viewer_personas.database.connection import DEFAULT_DATABASE, check_name
from viewer_personas.project import compose

# --- of several commands -----------------------------------------------------------------------


def use_project(context: typer.Context, folder: Path | None) -> Path | None:
    """Work with the settings of a folder: its dbt project, and its files as defaults."""
    if folder:
        before = build_step.PROJECT
        context.call_on_close(lambda: setattr(build_step, "PROJECT", before))
        build_step.PROJECT = compose(folder)
        context.default_map = {
            "database": str(folder / DEFAULT_DATABASE),
            "sources": str(folder / "sources.yml"),
        }
    return folder


def usable_database(database: Path | None) -> Path | None:
    """Refuse a name that only a later step would stumble over."""
    if database:
        check_name(database)
    return database


Project = Annotated[
    Path | None,
    typer.Option(
        "--project",
        help="The folder of a service's own settings, as `personas init` writes it.",
        envvar="PERSONAS_PROJECT",
        metavar="DIR",
        is_eager=True,
        callback=use_project,
        show_default=False,
    ),
]

Sources = Annotated[
    Path | None,
    typer.Option(
        "--sources",
        help="Where events, contents and users come from, and the Druid to export to (YAML)."
        "  [default: profiles/sources.yml]",
        show_default=False,
    ),
]
Database = Annotated[
    Path,
    typer.Option(
        "--database",
        envvar="PERSONAS_DATABASE",
        help="The DuckDB file.",
        callback=usable_database,
    ),
]
Since = Annotated[
    datetime | None,
    typer.Option("--since", formats=["%Y-%m-%d"], help="First UTC day to load.", metavar="DATE"),
]
Until = Annotated[
    datetime | None,
    typer.Option("--until", formats=["%Y-%m-%d"], help="Last UTC day to load.", metavar="DATE"),
]
Vars = Annotated[
    str | None,
    typer.Option(
        "--vars", help="Thresholds for this run, such as '{lookback_days: 200}'.", metavar="YAML"
    ),
]
FullRefresh = Annotated[
    bool, typer.Option("--full-refresh", help="Rebuild everything from the loaded data.")
]
AllTests = Annotated[
    bool,
    typer.Option("--all-tests", help="Also run checks that already passed on the same data."),
]
To = Annotated[str, typer.Option("--to", help="Where to export to: files or druid.")]
Exports = Annotated[
    Path | None,
    typer.Option(
        "--exports",
        help="Directory of the exported files.  [default: exports, beside the database]",
        show_default=False,
    ),
]
AcceptShrunken = Annotated[
    bool,
    typer.Option(
        "--accept-shrunken",
        help="Load although a source lost more than shrinking.smallest_share allows.",
    ),
]
AcceptChanges = Annotated[
    bool,
    typer.Option(
        "--accept-changes",
        help="Export although the latest date or its audience moved further than export.guard"
        " allows.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]

# --- personas, init ----------------------------------------------------------------------------


def show_version(asked: bool) -> None:
    """Print the version and end."""
    if asked:
        typer.echo(f"personas {version('viewer-personas')}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", help="Show the version.", is_eager=True, callback=show_version),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", help="Show progress as lines, on a terminal too.")
]
InitFolder = Annotated[
    Path, typer.Argument(help="The folder; existing files stay as they are.", metavar="DIR")
]

InitEvents = Annotated[
    list[str] | None,
    typer.Option(
        "--events", help="Files of events, to draft sources.yml from; may repeat.", metavar="PATH"
    ),
]
InitContents = Annotated[
    list[str] | None, typer.Option("--contents", help="Files of contents.", metavar="PATH")
]
InitUsers = Annotated[
    list[str] | None, typer.Option("--users", help="Files of users.", metavar="PATH")
]

# --- load --------------------------------------------------------------------------------------

Restore = Annotated[
    bool,
    typer.Option(
        "--restore",
        help="Load pruned days again, exactly as the source has them; needs --since.",
    ),
]
LoadTo = Annotated[str, typer.Option("--to", help="duckdb, or parquet: files for Spark as well.")]
LoadDirectory = Annotated[
    Path | None,
    typer.Option(
        "--directory",
        help="Where the Parquet files go.  [default: warehouse, beside the database]",
        show_default=False,
    ),
]

# --- prune -------------------------------------------------------------------------------------

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be dropped.")]

# --- explain -----------------------------------------------------------------------------------

User = Annotated[str, typer.Argument(metavar="USER", help="The viewer, as the service names them.")]
AsOf = Annotated[
    datetime | None,
    typer.Option(
        "--as-of",
        formats=["%Y-%m-%d"],
        metavar="DATE",
        help="Evaluation date; default: the latest.",
    ),
]
Persona = Annotated[
    str | None,
    typer.Option("--persona", help="Explain why, or why not, this persona, clause by clause."),
]

# --- rules -------------------------------------------------------------------------------------

RulesFile = Annotated[
    Path | None,
    typer.Option(
        "--rules",
        metavar="FILE",
        help="The rules.  [default: seeds/persona_rules.csv]",
        show_default=False,
    ),
]
PersonasFile = Annotated[
    Path | None,
    typer.Option(
        "--personas",
        metavar="FILE",
        help="The personas.  [default: seeds/personas.csv]",
        show_default=False,
    ),
]
PopulationDatabase = Annotated[
    Path | None,
    typer.Option(
        "--database",
        help="Also report clauses that hold for no viewer, or for all, in this database.",
        callback=usable_database,
        show_default=False,
    ),
]
Against = Annotated[
    str,
    typer.Option(
        "--against",
        metavar="REV|FILE|DIRECTORY",
        help="The rules before: seeds at a git revision, in a file or in a directory.",
    ),
]
DiffFormat = Annotated[
    str, typer.Option("--format", help="text, markdown (for a comment in CI) or json.")
]
Examples = Annotated[int, typer.Option("--examples", min=0, help="Examples per movement.")]

# --- demo --------------------------------------------------------------------------------------

DemoDirectory = Annotated[
    Path, typer.Option("--directory", help="Where the demo service and its results go.")
]
Viewers = Annotated[int, typer.Option("--viewers", help="Number of viewers.")]
Days = Annotated[int, typer.Option("--days", help="Number of days of events.")]
Seed = Annotated[int, typer.Option("--seed", help="Random seed.")]
Noise = Annotated[
    float, typer.Option("--noise", help="How much viewers deviate from their behaviour.")
]
