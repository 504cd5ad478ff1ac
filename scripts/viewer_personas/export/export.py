"""Exporting the tables declared as exposures from DuckDB, to files or to Druid."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from viewer_personas.config import (
    DruidExport,
    ExportGuard,
    FilesExport,
    Sources,
    load_file_exports,
)
from viewer_personas.database.raw import Report
from viewer_personas.errors import InputError
from viewer_personas.export.files import export_files
from viewer_personas.export.publications import ExportSummary

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

TARGETS = ("files", "druid")


@dataclass(frozen=True)
class FilesTarget:
    """Files below a directory."""

    directory: Path
    settings: FilesExport
    guard: ExportGuard


@dataclass(frozen=True)
class DruidTarget:
    """A Druid, by the settings of a sources file."""

    settings: DruidExport
    file: Path
    guard: ExportGuard


Target = FilesTarget | DruidTarget


def target_of(
    to: str, *, directory: Path, file: Path, read_sources: Callable[[], Sources]
) -> Target:
    """The target that `--to` names, found before anything runs.

    For `files` only the settings of exports are read from the sources file, if there is one. Raises
    `InputError` for an unknown target, for wrong settings, and for `druid` if the sources file has
    no `export: druid:`.
    """
    if to not in TARGETS:
        raise InputError(f"--to {to}: unknown target; choose {' or '.join(TARGETS)}")
    if to == "files":
        exports = load_file_exports(file)
        return FilesTarget(directory, exports.files, exports.guard)
    sources = read_sources()
    if sources.export.druid is None:
        raise InputError(
            f"--to druid: {sources.file} names no Druid. Add, beside events:"
            " export: {druid: {url: https://druid.example.com:8888}}"
        )
    return DruidTarget(sources.export.druid, sources.file, sources.export.guard)


def export(
    manifest: "Manifest",
    database: Path,
    target: Target,
    *,
    accept: bool = False,
    report: Report = lambda text, done, total: None,
) -> ExportSummary:
    """Export the exposures of one target. Raises what export_files and export_druid raise.

    `accept` lets pass what the guard would stop.
    """
    if isinstance(target, FilesTarget):
        return export_files(
            manifest,
            database,
            target.directory,
            settings=target.settings,
            guard=target.guard,
            accept=accept,
            report=report,
        )
    # here, because importing the Druid client takes time that other commands do not need
    from viewer_personas.export.druid import export_druid

    return export_druid(
        manifest,
        database,
        target.settings,
        target.file,
        guard=target.guard,
        accept=accept,
        report=report,
    )
