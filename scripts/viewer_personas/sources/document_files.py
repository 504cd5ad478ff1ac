"""Contents and users in Parquet, CSV and JSON lines."""

from dataclasses import dataclass
from pathlib import Path

from viewer_personas.config import FileDocuments
from viewer_personas.database.raw import replace_documents
from viewer_personas.database.sql import Connection, literal
from viewer_personas.errors import InputError
from viewer_personas.sources.document_fields import document_columns
from viewer_personas.sources.event_rows import near
from viewer_personas.sources.file_tables import (
    ROW,
    Layout,
    SourceFile,
    column_names,
    has_column,
    layout_of,
    list_files,
    name_bad_lines,
    readable,
    rows_of,
    twins,
)


@dataclass(frozen=True)
class DocumentFiles:
    """All non-empty files of contents or users, and the fields of the id and the last change."""

    settings: FileDocuments
    files: list[SourceFile]
    layouts: dict[str, Layout | None]
    id_field: str
    updated_at_field: str | None

    def load(self, connection: Connection, table: str) -> list[str]:
        """Replace `raw.contents` or `raw.users` by the documents; returns warnings."""
        with readable(self.files):
            repeated = replace_documents(connection, table, _documents_select(self))
        for file in self.files:
            name_bad_lines(connection, file, f"{table}: {file.name}")
        found = twins({file.name: file for file in self.files}, [file.name for file in self.files])
        if repeated:
            found.append(
                f"{table}: {repeated} documents repeat the id of another and were left out"
            )
        return found


def inspect_documents(
    connection: Connection, settings: FileDocuments, sources_file: Path, key: str
) -> DocumentFiles:
    """List the files of `contents` or `users` and find their fields.

    Changes nothing in the database. Raises `InputError` naming the file and the key.
    """
    files = list_files(settings, key, sources_file)
    layouts = {
        name: layout_of(connection, file, settings.delimiter) for name, file in files.items()
    }
    with_rows = [file for name, file in files.items() if layouts[name] is not None]

    def found(candidates: list[str]) -> str | None:
        for column in candidates:
            for file in with_rows:
                layout = layouts[file.name]
                if layout and has_column(connection, file, layout, column):
                    return column
        return None

    default_ids = ["_id", f"{key.removesuffix('s')}_id"]
    id_field = found([settings.id] if settings.id else default_ids)
    updated_at = found([settings.updated_at or "updated_at"])
    if with_rows:
        if id_field is None:
            wanted = settings.id or " or ".join(default_ids)
            raise _no_field(connection, sources_file, f"{key}.id", wanted, with_rows[0], layouts)
        if settings.updated_at and updated_at is None:
            place = f"{key}.updated_at"
            raise _no_field(
                connection, sources_file, place, settings.updated_at, with_rows[0], layouts
            )
    return DocumentFiles(settings, with_rows, layouts, id_field or "_id", updated_at)


def _no_field(
    connection: Connection,
    sources_file: Path,
    key: str,
    wanted: str,
    file: SourceFile,
    layouts: dict[str, Layout | None],
) -> InputError:
    layout = layouts[file.name]
    there = column_names(connection, file, layout) if layout else []
    return InputError(
        f"{sources_file}: {key}: there is no {wanted} in {file.name}{near(wanted, there)}"
    )


def _documents_select(documents: DocumentFiles) -> str | None:
    """A query for `replace_documents`: file, _id, updated_at, doc, reason. None without rows."""
    columns = document_columns(
        documents.settings, documents.id_field, documents.updated_at_field, ROW
    )
    selects = [
        f"select {literal(file.name)} as file, {columns} "
        f"from {rows_of(layout, [file], [], with_rows=True)}"
        for file in documents.files
        if (layout := documents.layouts[file.name])
    ]
    return " union all ".join(selects) or None
