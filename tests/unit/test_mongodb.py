"""The MongoDB driver without a server: documents as JSON, keys as bytes, no secrets."""

import base64
import json
import logging
import socket
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import bson
import pytest
from bson import (
    Binary,
    Code,
    DatetimeMS,
    Decimal128,
    Int64,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
)
from bson.dbref import DBRef
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from viewer_personas.config import MongoContents
from viewer_personas.database import raw
from viewer_personas.database.connection import connect
from viewer_personas.database.sql import scalar
from viewer_personas.errors import InputError, Unreachable
from viewer_personas.sources import mongodb

OBJECT_ID = ObjectId("65f000000000000000000001")
NAN = float("nan")


def encoded(document: dict[str, Any]) -> bytes:
    return bson.encode(document, codec_options=mongodb._OPTIONS)


# --- documents as JSON ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (OBJECT_ID, "65f000000000000000000001"),
        (Decimal128("1.50"), "1.50"),
        (Decimal128("1E+3"), "1E+3"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (b"\x00\xff", "AP8="),
        (Binary(b"\x01\x02", 128), "AQI="),
        (Binary(bytes(16), 3), base64.b64encode(bytes(16)).decode()),
        (datetime(2026, 2, 28, 23, 59, 59), "2026-02-28T23:59:59Z"),
        (datetime(2026, 2, 28, 23, 59, 59, 7000), "2026-02-28T23:59:59.007Z"),
        (datetime(1, 1, 1), "0001-01-01T00:00:00Z"),
        (datetime(9999, 12, 31, 23, 59, 59, 999000), "9999-12-31T23:59:59.999Z"),
        (DatetimeMS(253402300800000), "10000-01-01T00:00:00Z"),
        (DatetimeMS(253402300800001), "10000-01-01T00:00:00.001Z"),
        (DatetimeMS(2**63 - 1), "292278994-08-17T07:12:55.807Z"),
        (DatetimeMS(-62135596800001), "0000-12-31T23:59:59.999Z"),
        (Int64(2**63 - 1), 2**63 - 1),
        (7, 7),
        (1.0, 1.0),
        (True, True),
        (None, None),
        ('Straße \u2028 \u0000 " \\ 🎬', 'Straße \u2028 \u0000 " \\ 🎬'),
        ([1, [2, {"a": []}], {}], [1, [2, {"a": []}], {}]),
        ({"a.b": {"$c": 1}, "": 2}, {"a.b": {"$c": 1}, "": 2}),
        (Regex("^a.*", "i"), "^a.*"),
        (Regex(b"^a", 0), "^a"),
        (Code("return 1"), "return 1"),
        (Code("return x", {"x": 1}), "return x"),
        (Timestamp(1767225600, 3), "2026-01-01T00:00:00Z"),
        (DBRef("shows", OBJECT_ID), {"$ref": "shows", "$id": "65f000000000000000000001"}),
        (MinKey(), "MinKey()"),
        (MaxKey(), "MaxKey()"),
    ],
    ids=repr,
)
def test_every_type_of_bson_has_a_json(value: Any, written: Any) -> None:
    [document] = mongodb.readable_documents(encoded({"_id": 1, "value": value}))
    assert document.problem is None
    assert document.not_numbers == 0
    assert json.loads(document.text) == {"_id": 1, "value": written}
    assert not {"\n", "\t", "\r"} & set(document.text)


@pytest.mark.parametrize(
    ("value", "written", "count"),
    [
        (NAN, None, 1),
        (float("inf"), None, 1),
        (Decimal128("-Infinity"), None, 1),
        (Decimal128("NaN"), None, 1),
        (
            [1.5, NAN, {"a": [NAN], "b": Decimal128("2.5")}],
            [1.5, None, {"a": [None], "b": "2.5"}],
            2,
        ),
        ({"a": OBJECT_ID, "b": NAN}, {"a": str(OBJECT_ID), "b": None}, 1),
    ],
    ids=repr,
)
def test_what_is_not_a_number_is_null_and_counted(value: Any, written: Any, count: int) -> None:
    text, not_numbers = mongodb.as_json({"value": value})
    assert json.loads(text) == {"value": written}
    assert not_numbers == count


KEYS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.dictionaries(KEYS, JSON, max_size=4), max_size=4))
def test_what_json_has_stays_as_it_is(documents: list[dict[str, Any]]) -> None:
    documents = [{**document, "_id": n} for n, document in enumerate(documents)]
    batch = b"".join(encoded(document) for document in documents)
    assert [json.loads(d.text) for d in mongodb.readable_documents(batch)] == documents


# --- documents that cannot be read ---------------------------------------------------------------


def broken(document: dict[str, Any]) -> bytes:
    """The document with a byte that is no UTF-8 in place of each paragraph sign."""
    return encoded(document).replace("§".encode(), b"\xff\xfe")


def test_one_unreadable_document_spoils_no_other() -> None:
    batch = (
        encoded({"_id": 1, "title": "before"})
        + broken({"_id": OBJECT_ID, "title": "a\tb§c"})
        + encoded({"_id": 3, "title": "after"})
    )
    before, unreadable, after = mongodb.readable_documents(batch)
    assert [json.loads(d.text)["title"] for d in (before, after)] == ["before", "after"]
    assert unreadable.problem is not None
    assert unreadable.problem.startswith(
        "unreadable document: 'utf-8' codec can't decode byte 0xff"
    )
    assert unreadable.fields is None
    said = json.loads(unreadable.text)
    assert said["_id"] == str(OBJECT_ID)
    assert said["bytes"] == len(broken({"_id": OBJECT_ID, "title": "a\tb§c"}))
    assert b"a\tb\xff\xfec" in base64.b64decode(said["first_bytes"])


def test_an_unreadable_id_is_left_out_of_what_is_said() -> None:
    [unreadable] = mongodb.readable_documents(broken({"_id": "§", "title": "x"}))
    assert unreadable.problem is not None
    assert set(json.loads(unreadable.text)) == {"bytes", "first_bytes"}


def test_a_document_too_deep_for_json_is_unreadable() -> None:
    deep: dict[str, Any] = {}
    for _ in range(400):
        deep = {"a": deep}
    [document] = mongodb.readable_documents(encoded({"_id": 1, "deep": deep}))
    assert document.problem is None  # as deep as a server allows is not too deep


# --- keys ----------------------------------------------------------------------------------------

IDS = [
    *(OBJECT_ID, 1, Int64(1), 1.0, "text", "", True, None, b"bytes", UUID(int=1)),
    *({"a": {"b": 1}}, datetime(2026, 1, 1), Decimal128("1"), MinKey(), MaxKey(), Timestamp(1, 2)),
    *(Code("c"), Code("c", {"a": 1}), Regex("a", "i"), DBRef("a", 1)),
]


@pytest.mark.parametrize("value", IDS, ids=repr)
def test_a_key_holds_an_id_of_any_type_wherever_it_is(value: Any) -> None:
    alone = mongodb._source_key(encoded({"_id": value}))
    # pymongo puts _id in front, so the names change places afterwards
    last = encoded({f"f{n:x}": other for n, other in enumerate(IDS)} | {"zid": value})
    assert mongodb._source_key(last.replace(b"zid\0", b"_id\0")) == alone
    query = mongodb._with_ids([alone, alone])
    assert (
        bson.encode({"_id": {"$in": [value, value]}}, codec_options=mongodb._OPTIONS) == query.raw
    )
    after: Any = mongodb._after({}, alone)
    assert bson.encode({"_id": {"$gt": value}}, codec_options=mongodb._OPTIONS) == after.raw


def test_keys_of_equal_texts_differ() -> None:
    ids = [1, Int64(1), 1.0, "1", Decimal128("1"), str(OBJECT_ID), OBJECT_ID]
    assert len({mongodb._source_key(encoded({"_id": value})) for value in ids}) == len(ids)


# --- settings and messages -----------------------------------------------------------------------

SECRET = "s3cr3t-w0rd"


def collection(**settings: Any) -> mongodb.MongoCollection:
    defaults: dict[str, Any] = {
        "driver": "mongodb",
        "uri": "mongodb://mongo.example.com",
        "database": "films",
        "collection": "contents",
        "timeout_seconds": 0.2,
    }
    given: Any = {
        key: SecretStr(value) if key in ("uri", "password") else value
        for key, value in {**defaults, **settings}.items()
    }
    return mongodb.MongoCollection(MongoContents(**given), Path("sources.yml"), "contents")


@pytest.mark.parametrize(
    ("changed", "is_another"),
    [
        ({"uri": "mongodb://other.example.com"}, True),
        ({"database": "shows"}, True),
        ({"collection": "shows"}, True),
        ({"id": "code"}, True),
        ({"updated_at": "changed"}, True),
        ({"uri": f"mongodb://anna:{SECRET}@mongo.example.com/?appName=x"}, False),
        ({"user": "anna", "password": SECRET}, False),
        ({"batch_size": 7}, False),
        ({"overlap_minutes": 7}, False),
    ],
    ids=str,
)
def test_what_makes_another_source(changed: dict[str, Any], is_another: bool) -> None:
    assert (collection(**changed).identity() != collection().identity()) == is_another


def test_hosts_may_change_places() -> None:
    one, other = collection(uri="mongodb://a,b:1"), collection(uri="mongodb://b:1,a/db")
    assert one.identity() == other.identity()


@pytest.mark.parametrize(
    ("uri", "key"),
    [
        (f"mongodb://anna:{SECRET}/@mongo.example.com", "contents.uri: "),
        (f"mongodb://anna:{SECRET}?@mongo.example.com", "contents.uri: "),
        (f"mongodb://anna:{SECRET}:x@mongo.example.com", "contents.uri: "),
        (f"mongodb://anna:{SECRET}@@mongo.example.com", "contents.uri: "),
        (f"mongodb://anna:{SECRET}%@mongo.example.com", "contents.uri: "),
        (f"mongodb://anna:{SECRET}@mongo.example.com:port", "contents"),
        (
            f"mongodb://anna:{SECRET}@mongo.example.com/?authMechanism=none",
            "contents: the settings",
        ),
        (f"mongodb://anna:{SECRET}@/", "contents"),
        (f"mongodb+srv://anna:{SECRET}@one,two", "contents"),
        (f"mongodb://:{SECRET}@mongo.example.com", "contents"),
    ],
)
def test_no_message_about_a_wrong_uri_shows_the_password(
    uri: str, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(InputError) as raised:
        collection(uri=uri).check()
    assert str(raised.value).startswith(f"sources.yml: {key}")
    assert "\n" not in str(raised.value)
    assert SECRET not in "".join(traceback.format_exception(raised.value))
    assert SECRET not in caplog.text


@pytest.mark.parametrize("place", ["keys", "uri"])
def test_no_message_about_a_server_that_is_not_there_shows_the_password(
    place: str, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        caplog.set_level(logging.DEBUG)
        keys = {"uri": f"mongodb://{address}", "user": "anna", "password": SECRET}
        if place == "uri":
            keys = {"uri": f"mongodb://anna:{SECRET}@{address}/?replicaSet=films"}
        source = collection(**keys)
        with pytest.raises(Unreachable) as raised:
            source.check()
    assert str(raised.value) == (
        f"contents: no server answers at {address} within 0.2 s: {address}: [Errno 111] Connection"
        " refused. Check the uri and the network, then load again."
    )
    assert caplog.records
    for text in ("".join(traceback.format_exception(raised.value)), caplog.text, repr(source)):
        assert SECRET not in text


def test_texts_of_a_server_are_shown_in_short_and_without_secrets() -> None:
    source = collection(uri=f"mongodb://anna:{SECRET}%2F@mongo.example.com")
    error = Exception(f"bad\n  {SECRET}/ and {SECRET}%2F, full error: {{}}")
    assert source._shown(error) == "bad … and …"
    assert len(source._shown(Exception("x" * 9999))) < 400


def test_a_ca_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"contents\.ca_file: there is no file .*/missing\.pem"):
        collection(ca_file="missing.pem").check()


def test_a_ca_file_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(InputError, match=r"sources\.yml: contents: the settings make no"):
        collection(ca_file=str(tmp_path / "ca.pem")).check()


# --- the raw layer -------------------------------------------------------------------------------


def test_whatever_replaces_the_documents_forgets_the_read() -> None:
    read = raw.DocumentRead("a source", datetime(2026, 1, 1), None)
    document = (
        "'k' as source_key, 'f' as file, '1' as _id, null::timestamp as updated_at, '{}' as doc"
    )
    with connect(Path(":memory:")) as connection:
        raw.create_raw_tables(connection)
        for select in (None, f"select *, null as reason from (select {document})"):
            connection.execute(f"create temp table documents as select {document}, null as reason")
            connection.execute("create temp table replaced_keys (source_key varchar)")
            assert raw.merge_documents(connection, "contents", read, is_full=True) == 0
            assert raw.last_document_read(connection, "contents") == read
            raw.replace_documents(connection, "users", None)
            assert raw.last_document_read(connection, "contents") == read
            raw.replace_documents(connection, "contents", select)
            assert raw.last_document_read(connection, "contents") is None
            assert scalar(connection, "select count(*) from raw.document_keys") == 0


def test_the_clock_is_in_utc() -> None:
    before = datetime.now(UTC).replace(tzinfo=None)
    assert before <= mongodb._now() <= datetime.now(UTC).replace(tzinfo=None)
