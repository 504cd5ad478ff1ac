"""The configuration of the sources: profiles/sources.yml, read and checked before anything runs."""

import difflib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from viewer_personas.errors import InputError
from viewer_personas.mapping import (
    ContentFields,
    EpochUnit,
    EventFields,
    Settings,
    TimeField,
    UserFields,
    Where,
)
from viewer_personas.yaml_text import read_yaml

FileFormat = Literal["parquet", "csv", "json"]
Text = Field(default=None, min_length=1)


class EventConstants(Settings):
    """Our name -> the value that every event of the source has."""

    event_type: str | None = Text
    content_id: str | None = Text
    device: str | None = Text


class ContentConstants(Settings):
    """The same for contents."""

    content_type: str | None = Text


class UserConstants(Settings):
    """The same for users."""

    timezone: str | None = Text
    territory: str | None = Text


class _Mapping(Settings):
    """What every source has: the rows to read, and the texts that mean that there is no value."""

    where: Where = Field(default_factory=dict)
    nulls: list[str] = Field(default_factory=list)

    def version(self) -> dict[str, Any]:
        """The settings that decide how a row is read, for the identity of what was read."""
        names = {"columns", "fields", "constants", "where", "nulls", "id", "updated_at", "keep"}
        return self.model_dump(
            mode="json", include=names, exclude_unset=True, exclude_none=True, by_alias=True
        )


class _EventsMapping(_Mapping):
    """The service's columns for our fields of events, and constants for all events."""

    columns: EventFields = EventFields()
    constants: EventConstants = EventConstants()

    @model_validator(mode="after")
    def _no_name_twice(self) -> Self:
        _check_constants(self.constants, self.columns, "columns")
        return self


class _DocumentsMapping(_Mapping):
    """`keep` are the fields of a document to store beside the mapped ones; None: all of it."""

    id: str | None = Text
    updated_at: str | None = Text
    keep: list[str] | None = None
    fields: ContentFields | UserFields
    constants: ContentConstants | UserConstants

    @model_validator(mode="after")
    def _no_name_twice(self) -> Self:
        _check_constants(self.constants, self.fields, "fields")
        return self


class _ContentsMapping(_DocumentsMapping):
    fields: ContentFields = ContentFields()
    constants: ContentConstants = ContentConstants()


class _UsersMapping(_DocumentsMapping):
    fields: UserFields = UserFields()
    constants: UserConstants = UserConstants()


def _check_constants(constants: Settings, fields: Settings, key: str) -> None:
    for name in constants.given():
        if name in fields.given():
            raise ValueError(f"{name} is in {key} and in constants: remove one of the two")


# --- files --------------------------------------------------------------------------------------


class _FileSource(Settings):
    driver: Literal["files"]
    path: str | list[str]
    format: FileFormat | None = None
    delimiter: str | None = None

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
    def _delimiter_is_for_csv(self) -> Self:
        if self.delimiter is not None and self.format not in (None, "csv"):
            raise ValueError(f"delimiter is for csv, but format is {self.format}: remove one")
        return self

    def paths(self) -> list[str]:
        """The paths and globs, always as a list."""
        return [self.path] if isinstance(self.path, str) else self.path


class FileEvents(_FileSource, _EventsMapping):
    """Events in files. `epoch_unit` is short for the unit of columns.occurred_at."""

    epoch_unit: EpochUnit | None = None

    @property
    def occurred_at(self) -> TimeField:
        """How the time of an event is read."""
        field: TimeField = self.columns.mapped()["occurred_at"]
        return field.model_copy(update={"unit": self.epoch_unit}) if self.epoch_unit else field


class FileContents(_FileSource, _ContentsMapping):
    """Contents in files: one JSON document, or one row, for each."""


class FileUsers(_FileSource, _UsersMapping):
    """Users in files: one JSON document, or one row, for each."""


FileDocuments = FileContents | FileUsers


# --- servers ------------------------------------------------------------------------------------


class _Server(Settings):
    """A server and how to log in to it. `timeout_seconds` is the longest silence of one request."""

    user: str | None = Text
    password: SecretStr | None = None
    ca_file: str | None = Text
    timeout_seconds: float = Field(default=300, gt=0)

    @model_validator(mode="after")
    def _user_and_password_are_together(self) -> Self:
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password belong together: give both or neither")
        return self


class DruidServer(_Server):
    """A Druid: `url` is that of its router (or of a broker with the management proxy enabled).

    `query_timeout_seconds` is the longest that Druid may work on a query for many rows. A failing
    request is sent up to `attempts` times; the wait is `first_wait_seconds`, doubles after each
    attempt, and is at most 30 seconds.
    """

    url: str
    query_timeout_seconds: float = Field(default=3600, gt=0)
    attempts: int = Field(default=8, ge=1)
    first_wait_seconds: float = Field(default=1, ge=0)

    @field_validator("url")
    @classmethod
    def _url_is_one(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # the port is no number; Python's message repeats it
            is_url = False
        if not is_url:
            raise ValueError("must be like https://druid.example.com:8888")
        if parts.username or parts.password:
            raise ValueError("must not hold user and password: they have keys of their own")
        if parts.query or parts.fragment:
            raise ValueError("must end with its path: remove what follows ? or #")
        return url.rstrip("/")


class DruidColumns(EventFields):
    """The same for Druid, where the time of an event is always its __time."""

    @field_validator("occurred_at")
    @classmethod
    def _time_of_druid(cls, field: TimeField | None) -> TimeField | None:
        if field and field.given() != {"path": ["__time"]}:
            raise ValueError("is always __time in Druid: remove it")
        return field


class DruidEvents(DruidServer, _EventsMapping):
    """Events in a Druid datasource.

    With `rollup`, Druid groups the events of a quarter of an hour; `parallel_slices` days are read
    at once.
    """

    driver: Literal["druid"]
    datasource: str = Field(min_length=1)
    rollup: Literal["PT15M"] | None = None
    parallel_slices: int = Field(default=2, ge=1, le=16)
    columns: DruidColumns = DruidColumns()

    @model_validator(mode="after")
    def _columns_suit_the_rollup(self) -> Self:
        for name in ("event_id", "device"):
            if self.rollup and getattr(self.columns, name):
                raise ValueError(
                    f"rollup: groups of events have no {name}: remove columns.{name} or rollup"
                )
        return self


class _MongoSource(_Server):
    """A MongoDB collection.

    `updated_at` names the field of the last change; with it, loads are incremental: they ask for
    what changed since the last one, less `overlap_minutes`.
    """

    driver: Literal["mongodb"]
    uri: SecretStr
    database: str = Field(min_length=1)
    collection: str = Field(min_length=1)
    overlap_minutes: float = Field(default=60, ge=0)
    batch_size: int = Field(default=1000, ge=1)
    timeout_seconds: float = Field(default=30, gt=0)
    attempts: int = Field(default=5, ge=1)
    first_wait_seconds: float = Field(default=1, ge=0)

    @field_validator("uri")
    @classmethod
    def _uri_is_one(cls, uri: SecretStr) -> SecretStr:
        if not uri.get_secret_value().startswith(("mongodb://", "mongodb+srv://")):
            raise ValueError("must be like mongodb://mongo.example.com:27017")
        return uri


class MongoContents(_MongoSource, _ContentsMapping):
    """Contents in a MongoDB collection."""

    id: str = Field(default="_id", min_length=1)


class MongoUsers(_MongoSource, _UsersMapping):
    """Users in a MongoDB collection."""

    id: str = Field(default="_id", min_length=1)


MongoDocuments = MongoContents | MongoUsers


class Unreadable(Settings):
    """When unreadable values matter. The load warns if more than `warn_share` of the values of a
    field cannot be read; it stops, and changes nothing, if a field cannot be read in more than
    `stop_share` of the rows or documents, or so many rows cannot be events."""

    warn_share: float = Field(default=0.01, ge=0, le=1)
    stop_share: float = Field(default=0.5, ge=0, le=1)


class Shrinking(Settings):
    """A source that has less than `smallest_share` of the documents, events or days that were
    loaded from it stops the load, unless told otherwise."""

    smallest_share: float = Field(default=0.5, ge=0, le=1)


class _ExportTarget(Settings):
    """What all targets share.

    A date that would keep less than `smallest_share` of its current rows is not replaced, nor does
    a table lose more of its dates.
    """

    smallest_share: float = Field(default=0.5, ge=0, le=1)


class FilesExport(_ExportTarget):
    """Export to files, which needs no settings."""


class DruidExport(DruidServer, _ExportTarget):
    """Where results are published, and how the rows get there.

    `through` is how Druid reads the rows: `http`, from a temporary server of the exporter on
    `listen`, which Druid reaches as `address`; `storage`, from below `storage_uri`, where the
    exporter writes them first; `inline`, in tasks of at most `inline_bytes` each.
    """

    through: Literal["http", "storage", "inline"] = "http"
    listen: str = "127.0.0.1:0"
    address: str | None = Text
    storage_uri: str | None = Text
    inline_bytes: int = Field(default=4_000_000, ge=1000)
    max_tasks: int = Field(default=2, ge=2)
    task_timeout_seconds: float = Field(default=3600, gt=0)

    @model_validator(mode="after")
    def _storage_is_named(self) -> Self:
        if (self.through == "storage") != (self.storage_uri is not None):
            raise ValueError("through: storage and storage_uri belong together")
        return self


class ExportGuard(Settings):
    """How far the latest date may move from the last export before the export stops.

    `largest_setback_days` is how far the latest date may go back, `largest_leap_days` how far it
    may run ahead of the time since the last export; both in days. From `warn_deviations` standard
    deviations on, a change of a persona's share or of the number of viewers is more than chance and
    its own past explain, and warns. The export stops if, besides, the share changed by more than
    `largest_shift` (of all viewers), or the number by more than `largest_viewer_change` (of the
    larger number).
    """

    largest_setback_days: int = Field(default=7, ge=0)
    largest_leap_days: int = Field(default=28, ge=7)
    warn_deviations: float = Field(default=4, ge=1)
    largest_shift: float = Field(default=0.1, ge=0, le=1)
    largest_viewer_change: float = Field(default=0.5, ge=0, le=1)


class Exports(Settings):
    """The targets of `personas export --to`, and what stops an export to any of them."""

    files: FilesExport = FilesExport()
    druid: DruidExport | None = None
    guard: ExportGuard = ExportGuard()


class _ExportsAlone(Settings):
    """The part of a sources file that exports to files need; named as in `Sources`."""

    export: Exports


EventsSource = Annotated[FileEvents | DruidEvents, Field(discriminator="driver")]
ContentsSource = Annotated[FileContents | MongoContents, Field(discriminator="driver")]
UsersSource = Annotated[FileUsers | MongoUsers, Field(discriminator="driver")]


class Sources(Settings):
    """A checked sources file. Paths in it are relative to the folder of `file`."""

    file: Path
    events: EventsSource
    contents: ContentsSource | None = None
    users: UsersSource | None = None
    unreadable: Unreadable = Unreadable()
    shrinking: Shrinking = Shrinking()
    export: Exports = Exports()


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
        # its cause stays unsaid: it shows what the environment holds
        raise InputError(f"{path}: {_message(error.errors())}") from None


def load_file_exports(path: Path) -> Exports:
    """The settings for exports to files; the defaults if there is no sources file.

    Sources and Druid are not read, so their secrets need not be in the environment. Raises
    `InputError` as `load_sources`.
    """
    if not path.exists():
        return Exports()
    export = _read_yaml(path).get("export", {})
    if isinstance(export, dict):
        export = {name: settings for name, settings in export.items() if name != "druid"}
    try:
        return _ExportsAlone(export=_with_environment(export, path, "export")).export
    except ValidationError as error:
        raise InputError(f"{path}: {_message(error.errors())}") from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file. Create it, or use --sources.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    settings = read_yaml(text, str(path))
    if not isinstance(settings, dict):
        raise InputError(f"{path}: must be a mapping with the key events (and contents, users)")
    if "file" in settings:
        known = ", ".join(_known_keys(()))
        raise InputError(f"{path}: file: unknown key; known are {known}")
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

    replaced = re.sub(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", variable, value)
    return value if replaced == value else _FromEnvironment(replaced, value)


class _FromEnvironment(str):
    """A text with values from the environment, which a message shows as the file has it."""

    written: str

    def __new__(cls, text: str, written: str) -> Self:
        made = super().__new__(cls, text)
        made.written = written
        return made

    def __repr__(self) -> str:
        return repr(self.written)


_SOURCES = ("events", "contents", "users")
_SECRETS = ("password", "uri")


def _message(errors: list[ErrorDetails]) -> str:
    """The one error to show: a misspelt key explains a missing one, a driver explains both."""

    def rank(error: ErrorDetails) -> int:
        if error["type"].startswith("union_tag"):
            return 0
        return 1 if error["type"] == "extra_forbidden" else 2

    error = min(errors, key=rank)
    place = tuple(error["loc"])
    # Pydantic adds to the place the alternative of a union: the driver, "str" or "list[str]".
    # A field may be given by its path alone.
    if place[-1] == "path" and {"columns", "fields"} & set(place):
        place = place[:-1]
    key = ".".join(
        str(part)
        for position, part in enumerate(place)
        if part not in ("str", "list[str]") and not (position == 1 and place[0] in _SOURCES)
    )
    if error["type"].startswith("union_tag"):
        key += ".driver"
    return f"{key}: {_explanation(error, place)}" if key else _explanation(error, place)


def _explanation(error: ErrorDetails, place: tuple[int | str, ...]) -> str:
    given = _shown(error["input"], place)
    match error["type"]:
        case "union_tag_invalid":
            known = error["ctx"]["expected_tags"].replace("'", "").replace(", ", " or ")
            return f"{error['input']['driver']!r} is not a known driver; choose {known}"
        case "union_tag_not_found":
            return "is missing"
        case "extra_forbidden":
            known_keys = _known_keys(place[:-1])
            near = difflib.get_close_matches(str(place[-1]), known_keys, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known_keys)}"
            return f"unknown key; {hint}"
        case "missing":
            return "is missing"
        case "value_error":
            return _as_written(str(error["ctx"]["error"]), error["input"])
        case "string_type" | "list_type" if "path" in place:
            return f"must be a path, a glob, or a list of them, not {given}"
        case "string_type":
            return f"must be text, not {given} (put it in quotes)"
        case "string_too_short":
            return "is empty"
        case "literal_error":
            return f"must be {error['ctx']['expected']}, not {given}"
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"must be a mapping of keys to values, not {given}"
        case _:
            return error["msg"]


def _as_written(message: str, value: Any) -> str:
    """A message about a value, in which texts from the environment are as the file has them."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            message = _as_written(message, part)
    elif isinstance(value, _FromEnvironment):
        message = message.replace(str(value), value.written)
    return message


def _shown(value: Any, place: tuple[int | str, ...]) -> str:
    """A wrong value in a message, if it cannot hold a secret."""
    if place[-1] in _SECRETS:
        return "what is there"
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return repr(value)


def _known_keys(place: tuple[int | str, ...]) -> list[str]:
    """The keys of the mapping at a place, which names keys and, of a source, the driver."""
    models: list[type[BaseModel]] = [Sources]
    for part in place:
        if len(models) > 1:
            models = [model for model in models if part in get_args(_annotation(model, "driver"))]
        else:
            models = list(_models_in(_annotation(models[0], str(part))))
    [model] = models
    return [name for name in model.model_fields if name != "file"]


def _annotation(model: type[BaseModel], name: str) -> Any:
    return model.model_fields[name].annotation


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)
