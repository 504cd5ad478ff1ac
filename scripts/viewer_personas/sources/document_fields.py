"""The mapped fields of the documents of contents and users, as typed tables beside them."""

import json
from collections.abc import Iterable
from typing import Any

from viewer_personas.config import FileDocuments, MongoDocuments
from viewer_personas.database.raw import FieldProfile
from viewer_personas.database.sql import Connection, literal, pointer, quoted
from viewer_personas.mapping import (
    IdField,
    RightsField,
    TimeField,
)
from viewer_personas.sources.fields import (
    WHAT,
    Value,
    conditions,
    readable,
    there,
    time,
)

FIELD_TABLES = {"contents": "content_fields", "users": "user_fields"}
"""The raw table of documents -> the one of their fields."""

_TYPES = {
    "TextField": "varchar",
    "IdField": "varchar",
    "NumberField": "integer",
    "SecondsField": "double",
    "BooleanField": "boolean",
    "DateField": "date",
    "ListField": "varchar[]",
    "RightsField": "struct(territory varchar, available_from date, available_until date)[]",
}
_EXAMPLE_LENGTH = 60


def write_fields(
    connection: Connection, table: str, settings: FileDocuments | MongoDocuments
) -> list[FieldProfile]:
    """Replace `raw.content_fields` or `raw.user_fields` by the fields of all documents.

    All, because the mapping may have changed. Returns the profiles of the mapped fields.
    """
    mapped = settings.fields.mapped()
    constants = settings.constants.given()
    connection.execute(
        f"create or replace temp table field_texts as {_texts(table, settings, mapped)}"
    )
    typed = {
        name: _typed(name, field, literal(constants[name]) if name in constants else None)
        for name, field in mapped.items()
    }
    columns = ", ".join(f"{value} as {name}" for name, value in typed.items())
    unreadable = ", ".join(
        f"case when {_text(name)} is not null and {name} is null then '{name}' end"
        for name in mapped
        if name not in constants
    )
    connection.execute(
        f"""
        create or replace temp table field_values as
        select *, nullif(concat_ws(', ', {unreadable}), '') as unreadable_fields
        from (select *, {columns} from field_texts)
        """
    )
    lists = {name for name, field in mapped.items() if _type(field).endswith("[]")}
    selected = ", ".join(
        f"coalesce({name}, []) as {name}" if name in lists else name for name in mapped
    )
    connection.execute(f"delete from raw.{FIELD_TABLES[table]}")
    connection.execute(
        f"""
        insert into raw.{FIELD_TABLES[table]} by name
        select _id, {selected}, unreadable_fields, updated_at from field_values
        """
    )
    profiles = [
        _profile(connection, table, name, field)
        for name, field in mapped.items()
        if name not in constants
    ]
    connection.execute("drop table field_texts")
    connection.execute("drop table field_values")
    return profiles


def _type(field: Any) -> str:
    return _TYPES[type(field).__name__]


def _text(name: str) -> str:
    return quoted(f"{name}: text")


def document_value(path: str, document: str = "doc") -> Value:
    """The value at a path of a document; a key with dots wins over a path."""
    text = f"({document} ->> {pointer(path)})"
    kind = f"json_type({document}, {pointer(path)})"
    if "." in path:
        whole = pointer_of_key(path)
        text = f"coalesce({document} ->> {whole}, {text})"
        kind = f"coalesce(json_type({document}, {whole}), {kind})"
    return Value(text, is_json=True, json_type=kind)


class _Reader:
    """Reads many paths of a document at once: to parse it for each takes as long, and memory, as
    often."""

    def __init__(self) -> None:
        self.pointers: dict[str, int] = {}

    def value(self, path: str) -> Value:
        """The value at a path, from the lists `texts` and `kinds`; a key with dots wins."""
        places = [pointer_of_key(path), *([pointer(path)] if "." in path else [])]
        numbers = [self.pointers.setdefault(place, len(self.pointers) + 1) for place in places]
        text = ", ".join(f"texts[{number}]" for number in numbers)
        kind = ", ".join(f"kinds[{number}]" for number in numbers)
        return Value(f"coalesce({text})", is_json=True, json_type=f"coalesce({kind})")

    def source(self, table: str) -> str:
        """The documents, with what is at the paths that were asked for."""
        places = "[" + ", ".join(self.pointers) + "]"
        return (
            f"(select _id, updated_at, json_extract_string(doc, {places}) as texts,"
            f" json_type(doc, {places}) as kinds from raw.{table})"
        )


def _texts(table: str, settings: Any, mapped: dict[str, Any]) -> str:
    """A query of the text of each field, null if nothing stands there, and of its JSON type."""
    nulls = settings.nulls
    reader = _Reader()
    selected = {}
    for name, field in mapped.items():
        values = [reader.value(path) for path in field.paths()]
        kind = values[0].json_type
        if isinstance(field, RightsField) and not field.path:
            text = f"nullif(concat_ws(' ', {', '.join(value.text for value in values)}), '')"
            for (key, part), value in zip(field.parts(), values, strict=True):
                selected[_text(f"{name}.{key}")] = there(part, value.plain, nulls)
        elif isinstance(field, RightsField):
            text = values[0].text
        else:
            text = " || ' ' || ".join(there(field, value.plain, nulls) for value in values)
        selected |= {_text(name): text, quoted(f"{name}: type"): kind}
    where = settings.where
    wanted = conditions(where, {path: reader.value(path).plain for path in where})
    columns = ", ".join(f"{value} as {name}" for name, value in selected.items())
    return f"select _id, updated_at, {columns} from {reader.source(table)} where {wanted}"


def _typed(name: str, field: Any, constant: str | None) -> str:
    if constant:
        return f"{constant}::varchar"
    if isinstance(field, RightsField):
        return _rights(name, field)
    value = Value(_text(name), is_json=True, json_type=quoted(f"{name}: type"))
    return f"try_cast({readable(field, _text(name), value)} as {_type(field)})"


def _rights(name: str, field: RightsField) -> str:
    """A list of where and when; null if a part of it cannot be read."""

    def struct(texts: dict[str, str]) -> tuple[str, str]:
        values = {
            key: readable(part, texts[key], Value(texts[key])) if key in texts else "null"
            for key, part in field.parts()
        }
        packed = ", ".join(
            f"{key} := {values.get(key, 'null')}::{'varchar' if key == 'territory' else 'date'}"
            for key in ("territory", "available_from", "available_until")
        )
        is_bad = " or ".join(
            f"({texts[key]} is not null and {values[key]} is null)" for key in values
        )
        return f"struct_pack({packed})", is_bad

    if not field.path:
        packed, is_bad = struct({key: _text(f"{name}.{key}") for key, _ in field.parts()})
        return f"case when {_text(name)} is not null and not ({is_bad}) then [{packed}] end"
    inside = {
        key: there(part, Value(f"(item ->> {pointer(part.paths()[0])})", is_json=True).plain)
        for key, part in field.parts()
    }
    packed, is_bad = struct(inside)
    is_list = f"{quoted(f'{name}: type')} = 'ARRAY'"
    items = f"json_extract(case when {is_list} then {_text(name)}::json end, '$[*]')"
    items = f"list_filter({items}, lambda item: json_type(item) <> 'NULL')"
    bad = f"list_filter({items}, lambda item: json_type(item) <> 'OBJECT' or {is_bad})"
    return (
        f"case when {is_list} and len({bad}) = 0 "
        f"then list_transform({items}, lambda item: {packed}) end"
    )


def _profile(connection: Connection, table: str, name: str, field: Any) -> FieldProfile:
    is_unreadable = f"{_text(name)} is not null and {name} is null"
    row = connection.execute(
        f"""
        select count(*), count({_text(name)}), count(*) filter (where {is_unreadable}),
            (select list(text) from (
                select left({_text(name)}, {_EXAMPLE_LENGTH}) as text
                from field_values
                where {is_unreadable}
                group by text
                order by count(*) desc, text
                limit 3
            ))
        from field_values
        """
    ).fetchall()[0]
    rows, filled, unreadable, examples = row
    reason = WHAT[type(field).__name__] if unreadable else None
    return FieldProfile(
        table, name, ", ".join(field.paths()), rows, filled, unreadable, examples or [], reason
    )


def document_columns(
    settings: FileDocuments | MongoDocuments, id_path: str, updated_at: str | None, document: str
) -> str:
    """SQL of _id (null: rejected, for `reason`), updated_at, doc and reason from a column with a
    document."""
    value = document_value(id_path, document)
    key = IdField(path=id_path)
    text = there(key, value.plain, settings.nulls)
    identifier = readable(key, text, value)
    changed = "null::timestamp"
    if updated_at:
        moment = document_value(updated_at, document)
        field = TimeField(path=[updated_at])
        changed = time(field, there(field, moment.plain, settings.nulls))
    return f"""
        {identifier} as _id,
        {changed} as updated_at,
        {_kept(settings, document, [id_path, *([updated_at] if updated_at else [])])} as doc,
        case
            when {text} is null then 'no id'
            when {identifier} is null then 'unreadable id: ' || {text}
        end as reason
    """


def _kept(settings: FileDocuments | MongoDocuments, document: str, others: Iterable[str]) -> str:
    """SQL for the part of a document that is stored: all of it, or `keep` and what is read."""
    if settings.keep is None:
        return document
    mapped = [path for field in settings.fields.mapped().values() for path in field.paths()]
    read = [name for path in [*others, *mapped, *settings.where] for name in _keys(path)]
    parts = ", ".join(
        f"case when json_exists({document}, {pointer_of_key(name)}) then "
        f"{literal(json.dumps(name, ensure_ascii=False) + ':')}"
        f" || json_extract({document}, {pointer_of_key(name)})::varchar end"
        for name in dict.fromkeys([*read, *settings.keep])
    )
    return f"('{{' || concat_ws(',', {parts}) || '}}')::json"


def _keys(path: str) -> list[str]:
    """The keys of a document that a path may begin with: it may be a key with dots."""
    return list(dict.fromkeys([path, path.partition(".")[0]]))


def pointer_of_key(name: str) -> str:
    """The JSON pointer to a key of a document, which may have dots."""
    return literal("/" + name.replace("~", "~0").replace("/", "~1"))
