"""The configuration of the sources: profiles/sources.yml, read and checked before anything runs."""

import difflib
import os
import re
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from viewer_personas.errors import InputError

FileFormat = Literal["parquet", "csv", "json"]
Text = Field(default=None, min_length=1)


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    def given(self) -> dict[str, str]:
        """The keys that were set, with their values."""
        return self.model_dump(exclude_none=True)


class EventColumns(_Settings):
    """Our name -> the service's name of the column or JSON field."""

    event_id: str | None = Text
    user_id: str | None = Text
    content_id: str | None = Text
    event_type: str | None = Text
    occurred_at: str | None = Text
    watch_seconds: str | None = Text
    event_count: str | None = Text
    device: str | None = Text


class EventConstants(_Settings):
    """Our name -> the value that every event of the source has."""

    event_type: str | None = Text
    content_id: str | None = Text
    device: str | None = Text


class _FileSource(_Settings):
    driver: str
    path: str | list[str]
    format: FileFormat | None = None
    delimiter: str | None = None

    @field_validator("driver")
    @classmethod
    def _driver_is_known(cls, driver: str) -> str:
        if driver != "files":
            raise ValueError(f"{driver!r} is no known driver: only files so far")
        return driver

    @field_validator("path")
    @classmethod
    def _path_is_given(cls, path: str | list[str]) -> str | list[str]:
        if not path or not all(path):
            raise ValueError("is empty: give a path, a glob, or a list of them")
        return path

    @field_validator("delimiter")
    @classmethod
    def _delimiter_is_one_character(cls, delimiter: str | None) -> str | None:
        if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
            raise ValueError('must be one character, and no quote or line end, e.g. ";" or "\\t"')
        return delimiter

    @model_validator(mode="after")
    def _delimiter_is_for_csv(self) -> "_FileSource":
        if self.delimiter is not None and self.format not in (None, "csv"):
            raise ValueError(f"delimiter is for csv, but format is {self.format}: remove one")
        return self

    def paths(self) -> list[str]:
        """The paths and globs, always as a list."""
        return [self.path] if isinstance(self.path, str) else self.path


class EventsSource(_FileSource):
    """Where the events come from, and what the service calls their columns."""

    columns: EventColumns = EventColumns()
    constants: EventConstants = EventConstants()
    epoch_unit: Literal["s", "ms"] | None = None

    @model_validator(mode="after")
    def _no_name_twice(self) -> "EventsSource":
        for name in self.columns.given():
            if name in self.constants.given():
                raise ValueError(f"{name} is in columns and in constants: remove one of the two")
        return self


class DocumentsSource(_FileSource):
    """Where contents or users come from: one JSON document, or one row, for each."""

    id: str | None = Text
    updated_at: str | None = Text


class Sources(_Settings):
    """A checked sources file. Paths in it are relative to the folder of `file`."""

    file: Path
    events: EventsSource
    contents: DocumentsSource | None = None
    users: DocumentsSource | None = None


def load_sources(path: Path) -> Sources:
    """Read and check the sources file.

    Every `${NAME}` in a text is replaced from the environment. Raises `InputError` with one message
    that names the file and the key: no such file, no YAML, an unknown or missing key, a wrong type,
    an unset variable.
    """
    settings = _with_environment(_read_yaml(path), path, "")
    try:
        return Sources(file=path, **settings)
    except ValidationError as error:
        raise InputError(f"{path}: {_message(error.errors())}") from error


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML without its silent rule that the last of two equal keys wins."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for position, key in enumerate(keys):
            if key in keys[:position]:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key} is there twice", problem_mark=node.start_mark
                )
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        settings = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeyLoader)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file. Write it, or name another by --sources.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f" in line {mark.line + 1}" if mark else ""
        raise InputError(f"{path}: not valid YAML{line}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(settings, dict):
        raise InputError(f"{path}: must be a mapping with the key events (and contents, users)")
    if "file" in settings:
        raise InputError(f"{path}: file: unknown key; known are events, contents, users")
    return {str(key): value for key, value in settings.items()}


def _with_environment(value: Any, path: Path, key: str) -> Any:
    if isinstance(value, dict):
        return {
            name: _with_environment(item, path, f"{key}.{name}" if key else str(name))
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [_with_environment(item, path, f"{key}.{n}") for n, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def variable(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise InputError(f"{path}: {key}: the environment variable {name} is not set")
        return os.environ[name]

    return re.sub(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", variable, value)


def _message(errors: list[ErrorDetails]) -> str:
    """The one error to show: a misspelt key explains the missing one, a driver explains both."""

    def rank(error: ErrorDetails) -> int:
        if error["loc"][-1:] == ("driver",):
            return 0
        return 1 if error["type"] == "extra_forbidden" else 2

    error = min(errors, key=rank)
    # Pydantic adds the alternative of a union ("str", "list[str]") to the place: no key of ours.
    places = [part for part in error["loc"] if part not in ("str", "list[str]")]
    key = ".".join(str(part) for part in places)
    return f"{key}: {_explanation(error, places)}" if key else _explanation(error, places)


def _explanation(error: ErrorDetails, places: list[int | str]) -> str:
    match error["type"]:
        case "extra_forbidden":
            known = _known_keys(places[:-1])
            near = difflib.get_close_matches(str(places[-1]), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            return f"unknown key; {hint}"
        case "missing":
            return "is missing"
        case "value_error":
            return str(error["ctx"]["error"])
        case "string_type" | "list_type" if places[-1] == "path":
            return f"must be a path, a glob, or a list of them, not {error['input']!r}"
        case "string_type":
            return f"must be text, not {error['input']!r} (put it in quotes)"
        case "string_too_short":
            return "is empty"
        case "literal_error":
            return f"must be {error['ctx']['expected']}, not {error['input']!r}"
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"must be a mapping of keys to values, not {error['input']!r}"
        case _:
            return error["msg"]


def _known_keys(places: list[int | str]) -> list[str]:
    model: type[BaseModel] = Sources
    children: dict[int | str, type[BaseModel]] = {
        "events": EventsSource,
        "contents": DocumentsSource,
        "users": DocumentsSource,
        "columns": EventColumns,
        "constants": EventConstants,
    }
    for place in places:
        model = children.get(place, model)
    return [name for name in model.model_fields if name != "file"]
