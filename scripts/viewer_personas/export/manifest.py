"""The manifest of exported files: which dates are current, in which version, in which files."""

import hashlib
import os
from datetime import date, datetime
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

MANIFEST, LATEST = "manifest.json", "latest"
WRITING = ".writing"
"""The ending of a file that is being written: no reader takes it for a whole one."""


class _Listed(BaseModel):
    model_config = ConfigDict(frozen=True)


class ListedFile(_Listed):
    """A file; `path` is relative to the manifest, with slashes."""

    path: str
    bytes: int
    sha256: str

    @classmethod
    def of(cls, directory: Path, file: Path) -> Self:
        """The file as it is now."""
        with file.open("rb") as content:
            sha256 = hashlib.file_digest(content, "sha256").hexdigest()
        path = file.relative_to(directory).as_posix()
        return cls(path=path, bytes=file.stat().st_size, sha256=sha256)


class ListedDate(_Listed):
    """A date of a table: its rows, their version, and the versions of what they are made from."""

    date: date
    rows: int
    table_version: str
    input_version: str | None = None
    history_version: str | None = None
    activity_version: str | None = None
    rules_version: str | None = None
    files: list[ListedFile]


class ListedTable(_Listed):
    """An exposed table and its current dates, in order."""

    exposure: str
    table: str
    partition_by: str
    latest: date | None
    dates: list[ListedDate]


class FilesManifest(_Listed):
    """Everything that is current in an export directory; the tables by their folder.

    `latest` is the latest date that all tables have. `changed_at` is when something last changed,
    so an export that finds everything right leaves the manifest as it is.
    """

    manifest_version: Literal[1] = 1
    changed_at: datetime
    latest: date | None
    tables: dict[str, ListedTable]

    @classmethod
    def of(cls, tables: dict[str, ListedTable], now: datetime) -> Self:
        """The manifest of these tables."""
        common = [{item.date for item in table.dates} for table in tables.values()]
        latest = max(set.intersection(*common), default=None) if common else None
        return cls(changed_at=now, latest=latest, tables=tables)

    @classmethod
    def read(cls, directory: Path) -> Self | None:
        """The manifest of a directory; None if there is none that can be read."""
        try:
            return cls.model_validate_json((directory / MANIFEST).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def date_of(self, folder: str, day: date) -> ListedDate | None:
        """The entry of a date, if it is listed."""
        table = self.tables.get(folder)
        return next((item for item in table.dates if item.date == day), None) if table else None

    def write(self, directory: Path) -> None:
        """Replace the manifest, then `latest`, which holds the latest date as a line of text."""
        directory.mkdir(parents=True, exist_ok=True)
        before = self.read(directory)
        if before is None or before.model_copy(update={"changed_at": self.changed_at}) != self:
            replace(directory / MANIFEST, self.model_dump_json(indent=2) + "\n")
        latest = directory / LATEST
        if self.latest is None:
            latest.unlink(missing_ok=True)
        elif not latest.exists() or latest.read_text(encoding="utf-8") != f"{self.latest}\n":
            replace(latest, f"{self.latest}\n")


def replace(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old text or the new one."""
    temporary = path.with_name(path.name + WRITING)
    temporary.write_text(text, encoding="utf-8")
    settle(temporary, path)


def settle(temporary: Path, path: Path) -> None:
    """Rename a written file once it is on the disk."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
