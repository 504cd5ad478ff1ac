"""A sample of the sources, as files in a folder: what `personas check` looks at.

All drivers end in files, so that the sample is read by the same code as a load of files.
"""

import gzip
import json
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from viewer_personas.config import (
    DruidEvents,
    FileContents,
    FileDocuments,
    FileEvents,
    FileUsers,
    MongoDocuments,
)
from viewer_personas.database.sql import Connection, literal, quoted
from viewer_personas.errors import InputError
from viewer_personas.mapping import TimeField
from viewer_personas.sources.event_rows import Clock
from viewer_personas.sources.file_tables import (
    ROW,
    SourceFile,
    layout_of,
    list_files,
    readable,
    rows_of,
)

MOST_FILES = 20
MOST_ROWS = 20_000
_SERVER_ROWS = 5_000

Row = dict[str, Any]
AnySource = FileEvents | DruidEvents | FileDocuments | MongoDocuments


@dataclass
class Sample:
    """The sample of one source.

    `settings` read the sampled files; `rows` are what the files hold, with the name of their file;
    `listed` are all files of the source; `said` is what was sampled, in words.
    """

    key: str
    settings: FileEvents | FileDocuments
    said: str
    rows: list[tuple[str, Row]] = field(default_factory=list)
    listed: list[SourceFile] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    formats: set[str] = field(default_factory=set)

    def keys_of_files(self) -> dict[str, dict[str, None]]:
        """The names in each file, in order."""
        found: dict[str, dict[str, None]] = {}
        for name, row in self.rows:
            found.setdefault(name, {}).update(dict.fromkeys(_keys(row)))
        return found

    def names_in_rows(self) -> list[str]:
        """All names, with paths into objects."""
        return list(dict.fromkeys(key for keys in self.keys_of_files().values() for key in keys))


def _keys(row: Row, before: str = "", depth: int = 0) -> list[str]:
    found = []
    for name, value in row.items():
        found.append(before + name)
        if isinstance(value, dict) and depth < 2:
            found += _keys(value, f"{before}{name}.", depth + 1)
    return found


def take(
    connection: Connection,
    settings: AnySource,
    sources_file: Path,
    key: str,
    folder: Path,
    clock: Clock,
) -> Sample:
    """Write the sample of a source below `folder`. Raises as a load for what is not there."""
    target = folder / key
    target.mkdir()
    if settings.driver == "files":
        return _of_files(connection, settings, sources_file, key, target)
    path = target / f"{key}.jsonl"
    if settings.driver == "druid":
        said = _from_druid(settings, sources_file, clock, path)
        mapping = settings.model_dump(
            include={"where", "nulls", "constants"}, exclude_unset=True, by_alias=True
        )
        columns = settings.columns.mapped() | {"occurred_at": TimeField(path=["__time"])}
        given = {name: columns[name].given() for name in [*settings.columns.given(), "occurred_at"]}
        plain: FileEvents | FileDocuments = FileEvents.model_validate(
            {"driver": "files", "path": str(path), "columns": given, "epoch_unit": "ms", **mapping}
        )
    else:
        said = _from_mongodb(settings, sources_file, key, path)
        kind = FileContents if key == "contents" else FileUsers
        names = {"where", "nulls", "constants", "id", "updated_at", "keep", "fields"}
        mapping = settings.model_dump(include=names, exclude_unset=True, by_alias=True)
        plain = kind.model_validate({"driver": "files", "path": str(path), **mapping})
    found = _of_files(connection, plain, sources_file, key, target, copy=False)
    found.said, found.listed = said, []
    return found


def _of_files(
    connection: Connection,
    settings: FileEvents | FileDocuments,
    sources_file: Path,
    key: str,
    target: Path,
    *,
    copy: bool = True,
) -> Sample:
    files = list(list_files(settings, key, sources_file).values())
    step = max(1, -(-len(files) // MOST_FILES))
    # spread over all, and always the newest
    chosen = [*files[: len(files) - 1 : step], files[-1]][-MOST_FILES:]
    each = MOST_ROWS // len(chosen)
    sample = Sample(key, settings, "", listed=files)
    is_whole, paths = len(chosen) == len(files), []
    for number, file in enumerate(chosen):
        layout = layout_of(connection, file, settings.delimiter)
        if copy:
            path = target / f"{number:02d} {Path(file.path).name}"
            is_whole &= _copy(connection, file, path, each, layout is not None)
            paths.append(str(path))
        else:
            paths.append(file.path)
        sample.names[paths[-1]] = file.name
        sample.formats.add(file.format)
        if layout:
            copied = SourceFile(paths[-1], file.name, file.format, file.size_bytes, 0)
            rows = rows_of(layout, [copied], [], with_rows=True)
            with readable([copied]):
                texts = connection.execute(f"select {ROW} from {rows} limit {each}").fetchall()
            found = [json.loads(text) for (text,) in texts]
            sample.rows += [(file.name, row) for row in found if isinstance(row, dict)]
    what = "all" if is_whole else "the first"
    sample.said = f"{what} {len(sample.rows):,} rows of {len(chosen)} of {len(files)} files"
    sample.settings = settings.model_copy(update={"path": paths})
    return sample


def _copy(
    connection: Connection, file: SourceFile, target: Path, rows: int, has_rows: bool
) -> bool:
    """Copy the first rows; whether those are all. The sample of a text is not compressed again."""
    if file.format == "parquet":
        source = literal("".join(f"[{c}]" if c in "*?[" else c for c in file.path))
        with readable([file]):
            connection.execute(
                f"copy (select * from read_parquet({source}, binary_as_string = true,"
                f" hive_partitioning = false) limit {rows}) to {literal(target)} (format parquet)"
            )
            found = connection.execute(f"select count(*) from read_parquet({source})").fetchone()
        return bool(found and found[0] <= rows)
    is_packed = file.path.lower().endswith(".gz")
    packed = gzip.open if is_packed else open
    try:
        with packed(file.path, "rb") as lines, packed(target, "wb") as out:
            out.writelines(islice(lines, rows + 1))
            return not next(iter(lines), b"")
    except (OSError, EOFError) as error:
        raise InputError(f"{file.name}: cannot be read: {error}") from error


def _from_druid(settings: DruidEvents, sources_file: Path, clock: Clock, path: Path) -> str:
    from viewer_personas.sources import druid

    days = druid.inspect_events(settings, sources_file, clock)
    covered = sorted(days.days)[-7:]
    rows: list[Row] = []
    if covered:
        first = f"TIMESTAMP '{covered[0]} 00:00:00'"
        rows = days.druid.rows(
            f'SELECT TIMESTAMP_TO_MILLIS("__time") AS "__ms", * FROM {quoted(settings.datasource)}'
            f' WHERE "__time" >= {first} LIMIT {_SERVER_ROWS}'
        )
    with path.open("w", encoding="utf-8") as lines:
        for row in rows:
            moment = row.pop("__ms")
            lines.write(json.dumps({**row, "__time": moment}, ensure_ascii=False) + "\n")
    days_said = f"{covered[0]} to {covered[-1]}" if covered else "no day"
    return f"{len(rows):,} rows of the last days ({days_said})"


def _from_mongodb(settings: MongoDocuments, sources_file: Path, key: str, path: Path) -> str:
    from viewer_personas.sources import mongodb

    texts = mongodb.sample(settings, sources_file, key, _SERVER_ROWS)
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return f"{len(texts):,} documents of the collection"
