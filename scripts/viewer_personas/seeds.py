"""The one reader of the seeds: CSV files that people edit, and what seeds.yml declares of them."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from viewer_personas.errors import InputError


@dataclass(frozen=True)
class Row:
    """One row of a seed: its line in the file, and the texts of its columns."""

    line: int
    texts: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.texts[column]


def seed_properties(project: Path) -> dict[str, dict[str, Any]]:
    """What seeds.yml declares for each seed: columns, types, and which must not be empty."""
    text = (project / "seeds" / "seeds.yml").read_text(encoding="utf-8")
    return {seed["name"]: seed for seed in yaml.safe_load(text)["seeds"]}


def check_columns(file: str, columns: Sequence[str], wanted: Iterable[str]) -> None:
    """Raise `InputError` that names each missing or unexpected column of a seed."""
    missing = [name for name in wanted if name not in columns]
    unknown = [name or "without a name" for name in columns if name not in wanted]
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    problems = [
        f"the column{'s' if len(names) > 1 else ''} {', '.join(names)}"
        f" {'are' if len(names) > 1 else 'is'} {problem}"
        for names, problem in ((missing, "missing"), (unknown, "unknown"), (repeated, "repeated"))
        if names
    ]
    if problems:
        raise InputError(
            f"{file}: {'; '.join(problems)}; the first line must name {', '.join(wanted)}."
        )


def read_file(path: Path, name: str) -> str:
    """The text of a seed's file. Raises `InputError` if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{name}: no such file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: cannot be read: {error}") from error


def parse_rows(text: str, name: str, columns: list[str]) -> list[Row]:
    """The rows of a seed's text; messages call it `name`.

    Raises `InputError` if it lacks a column, has an unknown one, or has a row of another length.
    """
    reader = csv.reader(text.splitlines(keepends=True))
    header = [column.strip() for column in next(reader, [])]
    check_columns(name, header, columns)
    rows = []
    for values in reader:
        if not any(value.strip() for value in values):
            continue
        if len(values) != len(header):
            raise InputError(
                f"{name} line {reader.line_num}: {len(values)} values, the first line names"
                f" {len(header)}. Put a text with a comma into quotes."
            )
        rows.append(Row(reader.line_num, dict(zip(header, values, strict=True))))
    return rows
