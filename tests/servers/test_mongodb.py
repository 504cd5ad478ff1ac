"""Contents and users from MongoDB, over the wire: the same rows as from files, whatever happens."""

import base64
import json
import logging
import random
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import bson
import duckdb
import pymongo
import pytest
import yaml
from bson import DatetimeMS, Decimal128, Int64, ObjectId
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo.monitoring import CommandListener, CommandStartedEvent

from servers.faults import self_signed
from servers.servers import MongoServer, start_mongo
from viewer_personas.build import invoke
from viewer_personas.config import load_sources
from viewer_personas.errors import InputError, Unreachable
from viewer_personas.sources import mongodb
from viewer_personas.sources.load import LoadSummary, load

Row = dict[str, Any]
NOW = datetime(2026, 3, 1, 12, 0)
UUIDS = CodecOptions[Row](uuid_representation=UuidRepresentation.STANDARD)

# Each document as the collection has it, and the same as it would be written into a file.
CONTENTS: list[tuple[Row, Row]] = [
    (
        {
            "_id": ObjectId("65f000000000000000000001"),
            "title": "Straße\tnach Süden\n\u2028\u0000 \"1\" 'a' \\ 🎬",
            "genres": ["Drama", None],
            "runtime_seconds": Int64(5400),
            "price": Decimal128("1.50"),
            "released_on": datetime(1984, 9, 16),
            "updatedAt": datetime(2026, 1, 2, 3, 4, 5, 678000),
            "poster": b"\x00\xff",
            "key": UUID("12345678-1234-5678-1234-567812345678"),
            "availability": [
                {"territory": "DE", "available_until": DatetimeMS(253402300800000)},
                {"territory": "FR", "available_from": datetime(2026, 1, 1)},
            ],
        },
        {
            "_id": "65f000000000000000000001",
            "title": "Straße\tnach Süden\n\u2028\u0000 \"1\" 'a' \\ 🎬",
            "genres": ["Drama", None],
            "runtime_seconds": 5400,
            "price": "1.50",
            "released_on": "1984-09-16T00:00:00Z",
            "updatedAt": "2026-01-02T03:04:05.678Z",
            "poster": "AP8=",
            "key": "12345678-1234-5678-1234-567812345678",
            "availability": [
                {"territory": "DE", "available_until": "10000-01-01T00:00:00Z"},
                {"territory": "FR", "available_from": "2026-01-01T00:00:00Z"},
            ],
        },
    ),
    # Equal texts of different ids: the one changed last stays.
    (
        {"_id": 7, "updatedAt": datetime(2026, 1, 1)},
        {"_id": 7, "updatedAt": "2026-01-01T00:00:00Z"},
    ),
    (
        {"_id": "7", "title": "later", "updatedAt": datetime(2026, 1, 2)},
        {"_id": "7", "title": "later", "updatedAt": "2026-01-02T00:00:00Z"},
    ),
    # Drift: a text where a number was, a text as a time.
    (
        {"_id": "drifted", "runtime_seconds": "45 min", "updatedAt": "2026-01-03T01:00:00+01:00"},
        {"_id": "drifted", "runtime_seconds": "45 min", "updatedAt": "2026-01-03T01:00:00+01:00"},
    ),
    (
        {"_id": 1.5, "deep": {"list": [[{"x": 1.25}]]}},
        {"_id": 1.5, "deep": {"list": [[{"x": 1.25}]]}},
    ),
    ({"_id": True, "updatedAt": None}, {"_id": True, "updatedAt": None}),
    ({"_id": {"show": 1, "part": "a"}}, {"_id": {"show": 1, "part": "a"}}),
    ({"_id": datetime(2026, 1, 1), "tags": {}}, {"_id": "2026-01-01T00:00:00Z", "tags": {}}),
    ({"_id": "", "title": "without an id"}, {"_id": "", "title": "without an id"}),
]


class Shop:
    """A service whose contents are in a collection, and a database to load them into."""

    def __init__(self, folder: Path, server: MongoServer, name: str) -> None:
        self.folder = folder
        self.server = server
        self.name = name
        self.database = folder / "personas.duckdb"
        self.client: pymongo.MongoClient[Row] = pymongo.MongoClient(server.url)
        self.contents = self.client[name].get_collection("contents", codec_options=UUIDS)
        events = "user_id,event_type,occurred_at\nanna,watch,2026-01-01T00:00:00\n"
        (folder / "events.csv").write_text(events)
        self.configure()

    def configure(self, **settings: Any) -> None:
        """Write the sources file; a setting that is None is left out."""
        self.write_sources(contents=self.source("contents", **settings))

    def source(self, default: str, **settings: Any) -> Row:
        defaults = {
            "driver": "mongodb",
            "uri": self.server.url,
            "database": self.name,
            "collection": default,
            "updated_at": "updatedAt",
            "batch_size": 4,
            "attempts": 3,
            "first_wait_seconds": 0,
        }
        given = {**defaults, **settings}
        return {key: value for key, value in given.items() if value is not None}

    def write_sources(self, **sources: Row) -> None:
        sources = {"events": {"driver": "files", "path": "events.csv"}, **sources}
        (self.folder / "sources.yml").write_text(yaml.safe_dump(sources))

    def load(self, database: Path | None = None) -> LoadSummary:
        summary = load(load_sources(self.folder / "sources.yml"), database or self.database)
        # these documents have no titles and genres
        summary.warnings = [text for text in summary.warnings if "; map it in" not in text]
        return summary

    def state(self, database: Path | None = None) -> Row:
        """The documents in the database, and those that were rejected."""
        queries = {
            "contents": "select _id, updated_at, doc from raw.contents order by all",
            "users": "select _id, updated_at, doc from raw.users order by all",
            "rejected": "select source, reason, row from raw.rejected_events order by all",
        }
        with duckdb.connect(str(database or self.database), read_only=True) as connection:
            return {
                name: [
                    (*row[:2], json.dumps(json.loads(row[2]), sort_keys=True))
                    for row in connection.execute(query).fetchall()
                ]
                for name, query in queries.items()
            }

    def fresh_state(self) -> Row:
        """What a load into a new database gives."""
        database = self.folder / "fresh.duckdb"
        database.unlink(missing_ok=True)
        self.load(database)
        return self.state(database)

    def ids(self) -> list[str]:
        return [row[0] for row in self.state()["contents"]]

    def left_behind(self) -> list[str]:
        """Files of a load that should be gone."""
        return sorted(path.name for path in self.folder.iterdir() if ".tmp" in path.name)

    @contextmanager
    def failing(self, mode: Any, *commands: str, **how: Any) -> Iterator[None]:
        """The server answers these commands with a fault."""
        data = {"failCommands": list(commands), **how}
        point = {"configureFailPoint": "failCommand", "data": data}
        self.client.admin.command({**point, "mode": mode})
        try:
            yield
        finally:
            self.client.admin.command({**point, "mode": "off"})


@pytest.fixture
def shop(tmp_path: Path, mongo: MongoServer, mongo_database: str) -> Iterator[Shop]:
    shop = Shop(tmp_path, mongo, mongo_database)
    yield shop
    shop.client.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[datetime]]:
    """What time the loader believes it is: the last of the list."""
    times = [NOW]
    monkeypatch.setattr(mongodb, "_now", lambda: times[-1])
    yield times


# --- the same as from files ---------------------------------------------------------------------


def test_tables_are_those_of_a_load_of_files(shop: Shop) -> None:
    users = [{"_id": f"user {n}", "timezone": "Europe/Berlin", "n": n} for n in range(10)]
    shop.contents.insert_many([document for document, _ in CONTENTS])
    shop.client[shop.name].users.insert_many(users)
    shop.write_sources(
        contents=shop.source("contents"), users=shop.source("users", updated_at=None)
    )
    from_mongo = shop.load()
    files = {"contents": [row for _, row in CONTENTS], "users": users}
    for name, rows in files.items():
        (shop.folder / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    shop.write_sources(
        contents={"driver": "files", "path": "contents.jsonl", "updated_at": "updatedAt"},
        users={"driver": "files", "path": "users.jsonl"},
    )
    other = shop.folder / "files.duckdb"
    from_files = shop.load(other)

    expected = shop.state(other)
    for row in expected["rejected"]:
        assert row[0] == "contents: contents.jsonl"
    expected["rejected"] = [
        (f"contents: {shop.name}.contents", *row[1:]) for row in expected["rejected"]
    ]
    assert shop.state() == expected
    assert from_mongo.contents == from_files.contents == 6
    assert from_mongo.rejected == from_files.rejected == 2
    assert from_mongo.warnings == from_files.warnings
    assert staging(shop.database) == staging(other)
    with duckdb.connect(str(shop.database), read_only=True) as connection:
        query = "select content_id, unreadable_fields from staging.stg_contents"
        unreadable = {
            name: fields for name, fields in connection.execute(query).fetchall() if fields
        }
    assert unreadable == {"drifted": "runtime_seconds", "2026-01-01T00:00:00Z": "tags"}


def staging(database: Path) -> list[list[tuple[Any, ...]]]:
    """Everything that the models make directly of documents."""
    views = ["stg_contents", "stg_users"]
    for command in (["seed", "--select", "content_types"], ["run", "--select", *views]):
        invoke(command, database, lambda *_: None)
    with duckdb.connect(str(database), read_only=True) as connection:
        return [
            connection.execute(f"select * from staging.{view} order by all").fetchall()
            for view in views
        ]


def test_what_is_not_a_number_becomes_null_and_is_counted(shop: Shop) -> None:
    odd = [float("nan"), float("inf"), {"x": Decimal128("NaN")}, 1.5, Decimal128("2.50")]
    shop.contents.insert_many([{"_id": 1, "values": odd}, {"_id": 2, "value": float("-inf")}])
    assert shop.load().warnings == [
        "contents: 4 values in 2 documents are not a number or infinite, and were stored as null"
    ]
    assert [json.loads(doc) for _, _, doc in shop.state()["contents"]] == [
        {"_id": 1, "values": [None, None, {"x": None}, 1.5, "2.50"]},
        {"_id": 2, "value": None},
    ]


DISTANT = DatetimeMS(253402300800000)


@pytest.fixture
def no_distant_dates(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server stores nothing that cannot be decoded, so the decoder is made to know less."""
    options = mongodb._OPTIONS.with_options(datetime_conversion=DatetimeConversion.DATETIME)
    monkeypatch.setattr(mongodb, "_OPTIONS", options)


def test_an_unreadable_document_is_rejected_and_the_others_are_loaded(
    shop: Shop, no_distant_dates: None
) -> None:
    shop.contents.insert_many([{"_id": n, "key": DISTANT if n == 3 else n} for n in range(9)])
    assert shop.load().rejected == 1
    assert shop.ids() == ["0", "1", "2", "4", "5", "6", "7", "8"]
    [(source, reason, row)] = shop.state()["rejected"]
    assert source == f"contents: {shop.name}.contents"
    assert reason.startswith("unreadable document: ")
    said = json.loads(row)
    assert said["_id"] == 3
    assert base64.b64decode(said["first_bytes"])[4:] in bson.encode({"_id": 3, "key": DISTANT})
    # mended without a new updatedAt: rejected documents are always read again
    shop.contents.update_one({"_id": 3}, {"$set": {"key": "mended"}})
    assert shop.load().rejected == 0
    assert len(shop.ids()) == 9


def test_a_document_of_megabytes(shop: Shop) -> None:
    shop.contents.insert_many(
        [{"_id": 1, "text": "\u0001" * 3_000_000}, {"_id": 2, "text": "short"}]
    )
    shop.load()
    assert json.loads(shop.state()["contents"][0][2])["text"] == "\u0001" * 3_000_000


def test_an_empty_collection_is_loaded_and_said(shop: Shop) -> None:
    shop.contents.insert_one({"_id": 1})
    shop.load()
    shop.contents.delete_many({})
    assert shop.load().warnings == [
        f"contents: {shop.name}.contents is empty: 1 documents were removed"
    ]
    assert shop.ids() == []


# --- incremental ----------------------------------------------------------------------------------


def test_only_what_changed_is_read_again(shop: Shop, clock: list[datetime]) -> None:
    day = timedelta(days=1)
    shop.contents.insert_many(
        [{"_id": n, "title": "old", "updatedAt": NOW - 9 * day} for n in range(9)]
        + [{"_id": "recent", "title": "old", "updatedAt": NOW - day}]
    )
    shop.load()
    clock.append(NOW + day)
    # in silence: seen only where it was to be read anyway
    shop.contents.update_many({"_id": {"$in": [0, "recent"]}}, {"$set": {"title": "in silence"}})
    shop.contents.update_one({"_id": 1}, {"$set": {"title": "new", "updatedAt": NOW}})
    shop.contents.insert_one({"_id": "added", "title": "new", "updatedAt": NOW - 99 * day})
    shop.contents.insert_one({"_id": "without a time", "title": "new"})
    shop.contents.delete_one({"_id": 8})
    summary = shop.load()
    titles = {row[0]: json.loads(row[2])["title"] for row in shop.state()["contents"]}
    assert titles == {
        **{str(n): "old" for n in range(8)},
        "1": "new",
        "recent": "in silence",
        "added": "new",
        "without a time": "new",
    }
    assert summary.contents == 11
    clock.append(NOW + 2 * day)
    shop.contents.update_one({"_id": "without a time"}, {"$set": {"title": "newer"}})
    shop.load()
    assert {row[0]: json.loads(row[2])["title"] for row in shop.state()["contents"]} == {
        **titles,
        "without a time": "newer",
    }


@pytest.mark.parametrize(
    ("late", "is_seen"),
    [pytest.param(59, True, id="within_the_overlap"), pytest.param(61, False, id="before_it")],
)
def test_a_clock_that_is_behind_is_allowed_for(
    shop: Shop, clock: list[datetime], late: int, is_seen: bool
) -> None:
    shop.configure(overlap_minutes=60)
    shop.contents.insert_many(
        [{"_id": 1, "n": 0, "updatedAt": NOW - timedelta(days=9)}, {"_id": 2, "updatedAt": NOW}]
    )
    shop.load()
    changed_at = NOW - timedelta(minutes=late)
    shop.contents.update_one({"_id": 1}, {"$set": {"n": 1, "updatedAt": changed_at}})
    shop.load()
    assert json.loads(shop.state()["contents"][0][2])["n"] == int(is_seen)


def test_a_date_in_the_future_does_not_blind(shop: Shop, clock: list[datetime]) -> None:
    shop.contents.insert_many(
        [
            {"_id": 1, "n": 0, "updatedAt": NOW - timedelta(days=9)},
            {"_id": 2, "n": 0, "updatedAt": NOW + timedelta(days=9999)},
            {"_id": 3, "n": 0, "updatedAt": DatetimeMS(253402300800000)},
        ]
    )
    shop.load()
    for n in (1, 2):
        clock.append(NOW + timedelta(days=n))
        shop.contents.update_one({"_id": 1}, {"$set": {"n": n, "updatedAt": clock[-1]}})
        shop.load()
        assert json.loads(shop.state()["contents"][0][2])["n"] == n
        assert shop.state() == shop.fresh_state()


def test_a_dotted_path_to_the_time(shop: Shop, clock: list[datetime]) -> None:
    shop.configure(updated_at="meta.changed")
    old, new = NOW - timedelta(days=9), NOW + timedelta(hours=1)
    shop.contents.insert_many(
        [{"_id": n, "n": 0, "meta": {"changed": old + timedelta(days=n)}} for n in range(3)]
    )
    shop.load()
    shop.contents.update_one({"_id": 0}, {"$set": {"n": 1}})
    shop.contents.update_one({"_id": 1}, {"$set": {"n": 1, "meta.changed": new}})
    shop.load()
    rows = [(row[1], json.loads(row[2])["n"]) for row in shop.state()["contents"]]
    assert rows == [(old, 0), (new, 1), (old + timedelta(days=2), 0)]


def test_of_equal_ids_the_right_one_stays_however_they_come_and_go(
    shop: Shop, clock: list[datetime], no_distant_dates: None
) -> None:
    """Random changes, each with its time: after every load, the same as a load from nothing."""
    shop.configure(id="name")
    chance = random.Random(7)
    for step in range(15):
        clock.append(NOW + timedelta(hours=2 * step))
        for _ in range(chance.randrange(6)):
            key = chance.choice([1, 2, "1", "2", ObjectId(b"aaaaaaaaaaaa"), 1.5])
            document: Row = {"name": chance.choice(["a", "b", "c", "", None]), "step": step}
            if chance.random() < 0.2:
                document["until"] = DISTANT
            if chance.random() < 0.8:
                document["updatedAt"] = clock[-1]
            if chance.random() < 0.3:
                shop.contents.delete_one({"_id": key})
            else:
                shop.contents.replace_one({"_id": key}, document, upsert=True)
        if "contents" not in shop.client[shop.name].list_collection_names():
            continue
        summary = shop.load()
        state = shop.state()
        assert state == shop.fresh_state(), step
        readable = shop.contents.count_documents({}) - len(state["rejected"])
        repeated = readable - len(state["contents"])
        assert summary.warnings == (
            [f"contents: {repeated} documents repeat the id of another and were left out"]
            if repeated
            else []
        )


def test_another_source_is_read_in_full(shop: Shop, clock: list[datetime]) -> None:
    old = NOW - timedelta(days=9)
    shop.contents.insert_one({"_id": 1, "code": "a", "n": 0, "updatedAt": old})
    shop.contents.insert_one({"_id": 2, "code": "b", "updatedAt": NOW})
    shop.load()
    shop.contents.update_one({"_id": 1}, {"$set": {"n": 1}})
    (shop.folder / "contents.jsonl").write_text('{"_id": "1", "n": "from a file"}')

    def number() -> Any:
        shop.load()
        return json.loads(shop.state()["contents"][0][2])["n"]

    assert number() == 0  # changed in silence
    shop.write_sources(contents={"driver": "files", "path": "contents.jsonl"})
    assert number() == "from a file"
    shop.configure()
    assert number() == 1
    shop.contents.update_one({"_id": 1}, {"$set": {"n": 2}})
    assert number() == 1
    shop.configure(id="code")
    assert number() == 2
    shop.contents.update_one({"_id": 1}, {"$set": {"n": 3}})
    shop.write_sources()
    shop.load()
    shop.configure(id="code")
    assert number() == 3
    shop.contents.update_one({"_id": 1}, {"$set": {"n": 4}})
    shop.configure(id="code", batch_size=1, overlap_minutes=0, attempts=1)
    assert number() == 3


# --- what changes during a load -------------------------------------------------------------------


def test_what_comes_and_goes_during_a_load_is_as_the_sweep_saw_it(
    shop: Shop, clock: list[datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.contents.insert_many([{"_id": n, "updatedAt": NOW} for n in range(9)])
    sweep = mongodb._Read._sweep

    def sweep_meanwhile(read: mongodb._Read, path: Path) -> None:
        shop.contents.delete_one({"_id": 0})
        shop.contents.insert_many([{"_id": -1}, {"_id": -2}, {"_id": "text"}])
        sweep(read, path)
        shop.contents.delete_one({"_id": -2})
        shop.contents.insert_one({"_id": -3})

    with monkeypatch.context() as patch:
        patch.setattr(mongodb._Read, "_sweep", sweep_meanwhile)
        shop.load()
    assert shop.ids() == ["-1", "1", "2", "3", "4", "5", "6", "7", "8", "text"]
    shop.load()
    assert shop.state() == shop.fresh_state()


def test_a_view_that_repeats_ids_is_refused(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.contents.insert_many([{"_id": n} for n in range(3)])
    find = mongodb._Read._find

    def find_twice(read: mongodb._Read, query: Any, **options: Any) -> Iterator[bytes]:
        yield from find(read, query, **options)
        yield from find(read, query, **options)

    monkeypatch.setattr(mongodb._Read, "_find", find_twice)
    with pytest.raises(InputError, match="gives 3 documents with the _id of another"):
        shop.load()


# --- faults ---------------------------------------------------------------------------------------

MIXED_IDS: list[Any] = [
    *range(8),
    *(f"text {n}" for n in range(8)),
    *({"n": n} for n in range(3)),
    *(ObjectId(bytes([n]) * 12) for n in range(8)),
    True,
    datetime(2026, 1, 1),
]
# an id that is an object is refused
READ = [n for n, key in enumerate(MIXED_IDS) if not isinstance(key, dict)]


@pytest.mark.parametrize(
    ("mode", "command", "how"),
    [
        pytest.param({"times": 1}, "getMore", {"errorCode": 43}, id="cursor_killed"),
        pytest.param({"skip": 2}, "getMore", {"errorCode": 43}, id="every_cursor_but_two_killed"),
        pytest.param("alwaysOn", "getMore", {"errorCode": 43}, id="every_cursor_killed"),
        pytest.param({"times": 2}, "getMore", {"closeConnection": True}, id="getmore_closed"),
        pytest.param("alwaysOn", "getMore", {"closeConnection": True}, id="every_getmore_closed"),
        pytest.param({"times": 2}, "find", {"errorCode": 91}, id="find_refused"),
        pytest.param({"times": 4}, "find", {"closeConnection": True}, id="find_closed"),
        pytest.param({"times": 2}, "getMore", {"errorCode": 11600}, id="server_shuts_down"),
    ],
)
def test_a_fault_changes_nothing_about_the_result(
    shop: Shop, mode: Any, command: str, how: Row
) -> None:
    """With ids of many types, of which a resumed cursor sees only one."""
    shop.contents.insert_many([{"_id": _id, "n": n} for n, _id in enumerate(MIXED_IDS)])
    with shop.failing(mode, command, **how):
        summary = shop.load()
    assert (summary.contents, summary.warnings) == (len(READ), [])
    assert sorted(json.loads(row[2])["n"] for row in shop.state()["contents"]) == READ
    assert summary.rejected_reasons == {"unreadable id": len(MIXED_IDS) - len(READ)}
    assert shop.state() == shop.fresh_state()
    assert shop.left_behind() == []


def test_an_answer_that_does_not_come_is_asked_for_again(shop: Shop) -> None:
    shop.configure(timeout_seconds=0.3)
    shop.contents.insert_many([{"_id": n} for n in range(10)])
    with shop.failing({"times": 1}, "getMore", blockConnection=True, blockTimeMS=2000):
        assert shop.load().contents == 10


def test_a_sweep_that_is_cut_short_begins_anew(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mongodb, "_IDS_PER_BATCH", 1)
    shop.configure(batch_size=3)
    shop.contents.insert_many([{"_id": _id} for _id in MIXED_IDS])
    sweep = mongodb._Read._sweep

    def sweep_in_trouble(read: mongodb._Read, path: Path) -> None:
        with shop.failing({"times": 2}, "getMore", errorCode=43):
            sweep(read, path)

    monkeypatch.setattr(mongodb._Read, "_sweep", sweep_in_trouble)
    assert shop.load().contents == len(READ)


@pytest.mark.parametrize(
    "how", [{"errorCode": 91}, {"closeConnection": True}, {"errorCode": 2}], ids=str
)
def test_a_find_that_never_works_leaves_the_database_as_it_was(shop: Shop, how: Row) -> None:
    shop.contents.insert_many([{"_id": n} for n in range(10)])
    shop.load()
    before = shop.state()
    shop.contents.update_many({}, {"$set": {"n": 1}})
    with shop.failing("alwaysOn", "find", **how), pytest.raises(Unreachable) as raised:
        shop.load()
    assert raised.value.exit_status == 3
    message = str(raised.value)
    assert message.startswith(
        f"contents: reading {shop.name}.contents from 127.0.0.1:{shop.server.port} failed: "
    )
    assert message.endswith("Nothing of it was loaded; load again.")
    assert "\n" not in message
    assert shop.state() == before
    assert shop.left_behind() == []
    assert shop.load().contents == 10
    assert shop.state() != before


def test_a_read_that_breaks_off_half_way_leaves_the_database_as_it_was(shop: Shop) -> None:
    shop.contents.insert_many([{"_id": n} for n in range(10)])
    shop.load()
    before = shop.state()
    shop.contents.update_many({}, {"$set": {"n": 1}})
    # The first find and its batch work, the next three attempts do not.
    with (
        shop.failing({"skip": 1}, "find", "getMore", closeConnection=True),
        pytest.raises(Unreachable),
    ):
        shop.load()
    assert shop.state() == before
    assert shop.left_behind() == []


def test_a_server_that_is_gone(java: None, tmp_path: Path) -> None:
    with start_mongo(tmp_path / "server") as server:
        shop = Shop(tmp_path, server, "films")
        shop.configure(timeout_seconds=0.5)
        shop.contents.insert_one({"_id": 1})
        shop.load()
        before = shop.state()
        shop.client.close()
    command = "from viewer_personas.cli.app import main; main()"
    options = ["--sources", str(tmp_path / "sources.yml"), "--database", str(shop.database)]
    ran = subprocess.run(
        [sys.executable, "-c", command, "load", *options], capture_output=True, text=True
    )
    assert ran.returncode == 3
    [line] = [line for line in ran.stderr.splitlines() if line.startswith("Error:")]
    assert f"no server answers at 127.0.0.1:{server.port} within 0.5 s" in line
    assert "Traceback" not in ran.stderr
    assert shop.state() == before


# --- settings that are wrong, and secrets ---------------------------------------------------------


def test_a_collection_that_is_not_there_is_named_with_the_nearest(shop: Shop) -> None:
    shop.contents.insert_one({"_id": 1})
    shop.configure(collection="contnets")
    with pytest.raises(InputError) as raised:
        shop.load()
    assert str(raised.value) == (
        f"{shop.folder}/sources.yml: contents.collection: there is no collection contnets in the"
        f" database {shop.name} on 127.0.0.1:{shop.server.port}; did you mean contents?"
    )
    assert raised.value.exit_status == 2
    assert not shop.database.exists()
    shop.configure(database=f"{shop.name}x")
    with pytest.raises(InputError, match=rf"contents\.database: .* did you mean {shop.name}\b"):
        shop.load()


@pytest.fixture(scope="module")
def guarded(java: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoServer]:
    """A server that answers only its user."""
    with start_mongo(tmp_path_factory.mktemp("guarded"), auth=True) as server:
        yield server


@pytest.mark.parametrize("place", ["keys", "uri"])
def test_the_password_counts_and_is_shown_nowhere(
    place: str, guarded: MongoServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shop = Shop(tmp_path, guarded, "films")
    user, right = str(guarded.user), str(guarded.password)
    address = guarded.url.removeprefix("mongodb://")

    def configure(password: str) -> None:
        if place == "keys":
            shop.configure(user=user, password=password)
        else:
            shop.configure(uri=f"mongodb://{user}:{password}@{address}")

    caplog.set_level(logging.DEBUG)
    wrong = "wr0ng-s3cret"
    configure(wrong)
    with pytest.raises(InputError) as raised:
        shop.load()
    assert str(raised.value) == (
        f"{tmp_path}/sources.yml: contents: 127.0.0.1:{guarded.port} refuses the user or the"
        " password. Check user, password and the authSource of the uri."
    )
    assert wrong not in "".join(traceback.format_exception(raised.value))

    configure(right)
    credentials: Any = {"username": user, "password": right}
    with pymongo.MongoClient[Row](guarded.url, **credentials) as client:
        client.films.contents.drop()
        client.films.contents.insert_many([{"_id": n} for n in range(9)])
    caplog.clear()
    assert shop.load().contents == 9
    assert caplog.records
    assert right not in caplog.text
    assert right.encode() not in shop.database.read_bytes()

    shop.configure()
    with pytest.raises(InputError, match="Set user and password"):
        shop.load()
    shop.client.close()


class Forward(socketserver.BaseRequestHandler):
    """Takes the TLS off a connection and passes everything on."""

    target: tuple[str, int]
    context: ssl.SSLContext

    def handle(self) -> None:
        """Serve one connection; one that never becomes TLS is dropped."""
        with (
            suppress(OSError),
            socket.create_connection(self.target) as server,
            self.context.wrap_socket(self.request, server_side=True) as client,
        ):
            back = threading.Thread(target=self.copy, args=(server, client))
            back.start()
            self.copy(client, server)
            back.join()

    @staticmethod
    def copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while received := source.recv(65536):
                target.sendall(received)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


class ForwardServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False


def test_tls_with_a_certificate_of_our_own(shop: Shop) -> None:
    certificate = self_signed(shop.folder)
    (shop.folder / "other").mkdir()
    self_signed(shop.folder / "other")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.file, certificate.key)
    shop.contents.insert_many([{"_id": n} for n in range(9)])
    target = ("127.0.0.1", shop.server.port)
    handler = type("Handler", (Forward,), {"target": target, "context": context})
    with ForwardServer(("127.0.0.1", 0), handler) as proxy:
        threading.Thread(target=proxy.serve_forever).start()
        try:
            settings = {"uri": f"mongodb://127.0.0.1:{proxy.server_address[1]}"}
            shop.configure(**settings, ca_file="certificate.pem")
            assert shop.load().contents == 9
            shop.configure(**settings, ca_file="other/certificate.pem", timeout_seconds=0.5)
            with pytest.raises(Unreachable, match=r"no server answers .*certificate verify failed"):
                shop.load()
        finally:
            proxy.shutdown()


# --- snapshots ------------------------------------------------------------------------------------


class Finds(CommandListener):
    """The read concern of each find."""

    def __init__(self) -> None:
        self.levels: list[str | None] = []

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name == "find":
            self.levels.append(event.command.get("readConcern", {}).get("level"))

    def succeeded(self, event: object) -> None:
        """Nothing."""

    def failed(self, event: object) -> None:
        """Nothing."""


@pytest.fixture
def finds(monkeypatch: pytest.MonkeyPatch) -> Finds:
    finds = Finds()
    client = pymongo.MongoClient

    def listening(uri: str, **options: Any) -> Any:
        return client(uri, **options, event_listeners=[finds])

    monkeypatch.setattr(mongodb, "MongoClient", listening)
    return finds


@pytest.fixture
def replicated(
    tmp_path: Path, mongo_replica_set: MongoServer, mongo_database: str
) -> Iterator[Shop]:
    shop = Shop(tmp_path, mongo_replica_set, mongo_database)
    yield shop
    shop.client.close()


def test_a_replica_set_is_read_in_one_snapshot(replicated: Shop, finds: Finds) -> None:
    replicated.contents.insert_many([{"_id": n} for n in range(10)])
    assert replicated.load().contents == 10
    assert finds.levels == ["snapshot", "snapshot"]


@pytest.mark.parametrize(
    ("code", "warnings"),
    [
        (
            239,
            ["contents: the server does not keep snapshots as long as the read takes, so "],
        ),
        (
            246,
            ["contents: the server does not keep snapshots as long as the read takes, so "],
        ),
        (123, []),
        (72, []),
    ],
)
def test_without_a_snapshot_a_load_begins_again(
    replicated: Shop, finds: Finds, code: int, warnings: list[str]
) -> None:
    replicated.contents.insert_many([{"_id": n} for n in range(10)])
    with replicated.failing({"times": 1}, "getMore", errorCode=code):
        summary = replicated.load()
    assert summary.contents == 10
    assert finds.levels == ["snapshot", None, None]
    assert [text[:75] for text in summary.warnings] == [text[:75] for text in warnings]


def test_a_standalone_is_not_asked_for_a_snapshot(shop: Shop, finds: Finds) -> None:
    shop.contents.insert_many([{"_id": n} for n in range(10)])
    assert shop.load().contents == 10
    assert finds.levels == [None, None]
