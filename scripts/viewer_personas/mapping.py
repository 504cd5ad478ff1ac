"""The mapping of a source: where each of our fields stands in the service's rows or documents.

A field is given by its place, or by its place and how to read it:

    title: names.en
    runtime_seconds: {path: length, unit: min}
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self
from zoneinfo import available_timezones

import duckdb
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

Text = Annotated[str, Field(min_length=1)]
Scalar = str | bool | int | float


class Settings(BaseModel):
    """A part of the sources file: unknown keys and values of another type are errors."""

    # built when first used: most commands read no sources
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, defer_build=True
    )

    def given(self) -> dict[str, Any]:
        """The keys that were set, with their values, in JSON's types."""
        return self.model_dump(mode="json", exclude_unset=True, exclude_none=True)


def _time_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError(f"there is no time zone {name}; an example is Europe/Berlin")
    return name


def _formats(formats: list[str]) -> list[str]:
    for text in formats:
        try:
            duckdb.execute("select try_strptime('', ?)", [text]).fetchall()
        except duckdb.Error:
            raise ValueError(f"{text} is not a format such as %d.%m.%Y %H:%M:%S") from None
    return formats


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Paths = Annotated[list[Text], Field(min_length=1), BeforeValidator(_as_list)]
Formats = Annotated[list[Text], BeforeValidator(_as_list), AfterValidator(_formats)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
EpochUnit = Literal["s", "ms", "us", "ns"]


class Mapped(Settings):
    """Where a field stands: `path` is a column, or a dotted path inside a document.

    `values` replaces texts before they are read: the service's -> ours; null: no value.
    """

    path: Text
    values: dict[str, Scalar | None] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _a_path_alone(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str | list) else value

    def paths(self) -> list[str]:
        """All places that the field is read from."""
        return [self.path]


class TextField(Mapped):
    """A text."""


class IdField(TextField):
    """A key. A whole number is its integer text: 7.0 is 7."""


class NumberField(Mapped):
    """A whole number. `decimal` is the decimal separator; the other one groups thousands."""

    decimal: Literal[".", ","] | None = None


class SecondsField(NumberField):
    """A duration: a number of `unit`, a clock text (1:30:00, 05:30), or an ISO 8601 duration."""

    unit: Literal["s", "ms", "min", "h", "clock", "iso"] = "s"


class BooleanField(Mapped):
    """True or false: true, false, t, f, yes, no, y, n, 1, 0; other words by `values`."""


class _Moment(Mapped):
    """`path` may be a list: the texts are joined by a space. `format` is one for strptime, or a
    list of them; `unit` that of a number since 1970."""

    path: Paths  # type: ignore[assignment]
    unit: EpochUnit | None = None
    format: Formats | None = None
    timezone: TimeZone | None = None

    @model_validator(mode="after")
    def _one_way_to_read(self) -> Self:
        if self.unit and self.format:
            raise ValueError("unit is for numbers and format for texts: remove one of the two")
        return self

    def paths(self) -> list[str]:
        return list(self.path)


class DateField(_Moment):
    """A date: YYYY-MM-DD, perhaps with a time behind it. `timezone` is that of its day."""


class TimeField(_Moment):
    """A time, or a date without one. `timezone` is that of times without an offset."""


class ListField(Mapped):
    """Texts: a list, or one text. `split` separates them within a text; "" takes it whole.
    `name` is the key of the name if they are objects."""

    split: str | None = None
    name: Text | None = None


class RightsField(Settings):
    """Where and when a content may be shown: flat fields, or a list of objects at `path`."""

    path: Text | None = None
    territory: TextField | None = None
    available_from: DateField | None = None
    available_until: DateField | None = None

    @model_validator(mode="before")
    @classmethod
    def _a_path_alone(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("name a path, or territory, available_from, available_until")
        return self

    def paths(self) -> list[str]:
        """All places that the field is read from."""
        if self.path:
            return [self.path]
        return [path for _, part in self.parts() for path in part.paths()]

    def parts(self) -> Iterator[tuple[str, TextField | DateField]]:
        """The parts that are mapped; inside objects, all of them, by default under our names."""
        defaults: list[tuple[str, type[TextField] | type[DateField]]] = [
            ("territory", TextField),
            ("available_from", DateField),
            ("available_until", DateField),
        ]
        for name, kind in defaults:
            part = getattr(self, name)
            if part or self.path:
                yield name, part or kind.model_validate(name)


class Fields(Settings):
    """The fields of a source; a field that is not mapped stands under our own name."""

    def mapped(self) -> dict[str, Any]:
        """All fields, with the defaults."""
        found = {}
        for name, field in type(self).model_fields.items():
            [kind] = [part for part in _parts(field.annotation) if part is not type(None)]
            found[name] = getattr(self, name) or kind.model_validate(name)
        return found


def _parts(annotation: Any) -> tuple[Any, ...]:
    return getattr(annotation, "__args__", (annotation,))


class EventFields(Fields):
    """Our name -> the service's column, or how to read it."""

    event_id: IdField | None = None
    user_id: IdField | None = None
    content_id: IdField | None = None
    event_type: TextField | None = None
    occurred_at: TimeField | None = None
    watch_seconds: SecondsField | None = None
    event_count: NumberField | None = None
    device: TextField | None = None


class ContentFields(Fields):
    """Our name -> the place in a document of the catalogue, or how to read it."""

    title: TextField | None = None
    content_type: TextField | None = None
    series_id: IdField | None = None
    season_number: NumberField | None = None
    episode_number: NumberField | None = None
    genres: ListField | None = None
    tags: ListField | None = None
    runtime_seconds: SecondsField | None = None
    released_on: DateField | None = None
    availability: RightsField | None = None


class UserFields(Fields):
    """Our name -> the place in a document of a viewer, or how to read it."""

    timezone: TextField | None = None
    territory: TextField | None = None
    signed_up_on: DateField | None = None
    cancelled_on: DateField | None = None
    marketing_consent: BooleanField | None = None


class Condition(Settings):
    """What a value must be for its row to be read."""

    only: list[Scalar] | None = None
    never: list[Scalar] | None = Field(default=None, alias="not")
    above: float | int | None = None
    below: float | int | None = None

    @model_validator(mode="before")
    @classmethod
    def _a_value_alone(cls, value: Any) -> Any:
        if isinstance(value, dict):
            wanted = value.get("not")
            if isinstance(wanted, Scalar):
                return {**value, "not": [wanted]}
            return value
        return {"only": value if isinstance(value, list) else [value]}

    @field_validator("only", "never")
    @classmethod
    def _some_values(cls, values: list[Scalar] | None) -> list[Scalar] | None:
        if values is not None and not values:
            raise ValueError("is empty: name a value")
        return values

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("name a value, a list of them, or not, above, below")
        return self


Where = dict[Text, Condition]
