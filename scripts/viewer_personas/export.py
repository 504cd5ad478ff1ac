"""Exporting: what the exposures name leaves DuckDB, for files or for Druid."""

from pathlib import Path
from typing import TYPE_CHECKING

from viewer_personas.config import Sources
from viewer_personas.errors import InputError
from viewer_personas.export_druid import export_druid
from viewer_personas.export_files import export_files
from viewer_personas.publications import ExportSummary
from viewer_personas.raw import Report

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

TARGETS = ("files", "druid")


def check_target(to: str) -> None:
    """Raise `InputError` for a target that there is not."""
    if to not in TARGETS:
        raise InputError(f"--to {to}: there are {' and '.join(TARGETS)}")


def export(
    manifest: "Manifest",
    database: Path,
    to: str,
    *,
    directory: Path,
    sources: Sources | None = None,
    report: Report = lambda text, done, total: None,
) -> ExportSummary:
    """Export the exposures of one target: `files` below a directory, or `druid` of the sources.

    Raises `InputError` for an unknown target, and for `druid` where the sources file has no
    `export: druid:`; what else is raised, export_files and export_druid say.
    """
    check_target(to)
    if to == "files":
        return export_files(manifest, database, directory, report=report)
    if sources is None or sources.export.druid is None:
        file = sources.file if sources else "the sources file"
        raise InputError(
            f"--to druid: {file} does not say which Druid. Add, beside events:"
            " export: {druid: {url: https://druid.example.com:8888}}"
        )
    return export_druid(manifest, database, sources.export.druid, sources.file, report=report)
