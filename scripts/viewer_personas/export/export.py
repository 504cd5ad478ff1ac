"""Exporting: what the exposures name leaves DuckDB, for files or for Druid."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from viewer_personas.database.raw import Report
from viewer_personas.errors import InputError
from viewer_personas.export.files import export_files
from viewer_personas.export.publications import ExportSummary
from viewer_personas.sources.config import DruidExport, Sources

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

TARGETS = ("files", "druid")


def check_target(to: str, read_sources: Callable[[], Sources]) -> DruidExport | None:
    """The settings of a target that needs some; so that nothing runs for one that is not there.

    `files` needs none, and then the sources file is not read. Raises `InputError` for an unknown
    target, and for `druid` where the sources file has no `export: druid:`.
    """
    if to not in TARGETS:
        raise InputError(f"--to {to}: there are {' and '.join(TARGETS)}")
    if to == "files":
        return None
    sources = read_sources()
    if sources.export.druid is None:
        raise InputError(
            f"--to druid: {sources.file} does not say which Druid. Add, beside events:"
            " export: {druid: {url: https://druid.example.com:8888}}"
        )
    return sources.export.druid


def export(
    manifest: "Manifest",
    database: Path,
    to: str,
    *,
    directory: Path,
    read_sources: Callable[[], Sources],
    report: Report = lambda text, done, total: None,
) -> ExportSummary:
    """Export the exposures of one target: `files` below a directory, or `druid` of the sources.

    Raises what check_target, export_files and export_druid say.
    """
    druid = check_target(to, read_sources)
    if druid is None:
        return export_files(manifest, database, directory, report=report)
    # here, because the client of Druid takes a while that other commands do not need
    from viewer_personas.export.druid import export_druid

    return export_druid(manifest, database, druid, read_sources().file, report=report)
