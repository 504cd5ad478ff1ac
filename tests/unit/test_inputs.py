"""Inputs of a service that nobody knows: each is read as it is meant, or somebody is told."""

import gzip
import json
import os
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from opened import opened
from viewer_personas.config import load_sources
from viewer_personas.errors import InputError, Unreachable
from viewer_personas.sources.load import LoadSummary, load

NOW = datetime(2025, 3, 1, 12)
HEADER = "user_id,content_id,event_type,occurred_at,watch_seconds"


class Service:
    """A folder with a service's files; `load` loads them at NOW, or another time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "service.duckdb"
        self.configure()

    def configure(self, events: Any = None, **sections: Any) -> None:
        settings = {"events": {"driver": "files", "path": "events*", **(events or {})}, **sections}
        (self.folder / "sources.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")

    def write(self, name: str, text: str | bytes) -> None:
        data = text.encode() if isinstance(text, str) else text
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)

    def events(self, *rows: str, header: str = HEADER, name: str = "events.csv") -> None:
        self.write(name, "\n".join([header, *rows]) + "\n")

    def documents(self, name: str, *documents: Any) -> None:
        self.write(name, "".join(json.dumps(document) + "\n" for document in documents))

    def load(self, now: datetime = NOW, **options: Any) -> LoadSummary:
        return load(load_sources(self.folder / "sources.yml"), self.database, now=now, **options)

    def query(self, query: str) -> list[tuple[Any, ...]]:
        with opened(self.database) as connection:
            return connection.execute(query).fetchall()

    def everything(self) -> dict[str, list[tuple[Any, ...]]]:
        """All rows of all raw tables."""
        tables = self.query("select table_name from duckdb_tables() where schema_name = 'raw'")
        return {name: self.query(f"from raw.{name} order by all") for (name,) in tables}


def write_parquet(path: Path, query: str) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"copy ({query}) to '{path}'")


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


# --- 1: clocks that are ahead -------------------------------------------------------------------


@pytest.mark.parametrize("driver_format", ["csv", "jsonl"])
@pytest.mark.parametrize("ahead", ["2025-03-02T12:00:01Z", "2025-03-04T00:00:00Z", "2099-12-31"])
def test_an_event_beyond_the_clock_of_the_load_is_rejected_and_makes_no_day(
    service: Service, ahead: str, driver_format: str
) -> None:
    times = ["2025-02-28T10:00:00Z", "2025-03-02T11:59:59Z", ahead]
    rows = [
        dict(zip(HEADER.split(","), ["ann", "c", "play", at, "60"], strict=True)) for at in times
    ]
    if driver_format == "csv":
        service.events(*(",".join(row.values()) for row in rows))
    else:
        service.documents("events.jsonl", *rows)
    summary = service.load()
    assert (summary.events, summary.rejected) == (2, 1)
    reason = "later than the load by more than 24 hours (max_clock_ahead_hours)"
    assert summary.rejected_reasons == {reason: 1}
    [(latest,)] = service.query("select max(source_date) from raw.slices")
    assert latest == date(2025, 3, 2)
    # nothing changes until its time has come
    service.load()
    assert service.query("select count(*) from raw.rejected_events") == [(1,)]
    summary = service.load(now=datetime(2099, 12, 31))
    assert (summary.events, summary.rejected) == (3, 0)
    assert service.query("select max(source_date) from raw.slices") == [
        (date.fromisoformat(ahead[:10]),)
    ]


def test_how_far_a_clock_may_be_ahead_is_a_setting(service: Service) -> None:
    service.events("ann,c,play,2025-03-01T15:00:00Z,60", "ann,c,play,2025-02-28T15:00:00Z,60")
    assert service.load(clock_ahead_hours=2).events == 1
    assert service.load(clock_ahead_hours=3).events == 2


def test_a_file_that_goes_takes_its_future_with_it(service: Service) -> None:
    service.events("ann,c,play,2025-02-28T10:00:00Z,60", "ann,c,play,2025-02-27T10:00:00Z,60")
    service.events("ann,c,play,2030-01-01T10:00:00Z,60", "ann,c,play,2025-02-28T10:00:00Z,60",
                   name="events_2.csv")  # fmt: skip
    assert service.load().rejected == 1
    (service.folder / "events_2.csv").unlink()
    assert service.load().rejected == 0


# --- 2: keys that are no keys -------------------------------------------------------------------


@pytest.mark.parametrize("ids", [["1", "2", "3"] * 3, ["null"] * 9, ["0"] * 9])
def test_only_copies_are_left_out_and_ids_that_are_no_keys_are_said(
    service: Service, ids: list[str]
) -> None:
    rows = [
        f"{event_id},viewer_{n // 3},c,play,2025-02-2{n % 3 + 1}T10:00:0{n}Z,60"
        for n, event_id in enumerate(ids)
    ]
    service.events(*rows, rows[0], header=f"event_id,{HEADER}")
    summary = service.load()
    assert (summary.events, summary.duplicates) == (9, 1)
    assert len(set(ids)) == 3 or any("event ids such as" in text for text in summary.warnings)


# --- 3, 15, 20: the text of a key ---------------------------------------------------------------


def test_a_whole_number_is_its_integer_text_in_every_format(service: Service) -> None:
    time = "timestamp '2025-02-01 10:00:00' as occurred_at, 'play' as event_type"
    for number, expression in enumerate(
        ["7", "7.0::double", "7::decimal(18, 2)", "'7'", "7::float", "7::hugeint", "encode('7')"]
    ):
        write_parquet(
            service.folder / f"events_{number}.parquet",
            f"select {expression} as user_id, {expression} as content_id, {time}",
        )
    service.events("7.0,7.0,play,2025-02-01,1", "7,7,play,2025-02-01,1")
    service.documents(
        "events.jsonl",
        *(
            {"user_id": key, "content_id": key, "event_type": "play", "occurred_at": "2025-02-01"}
            for key in (7, 7.0, "7", {"$numberInt": "7"}, {"$numberDouble": "7.0"})
        ),
    )
    service.documents("contents.jsonl", {"_id": 7.0, "series_id": 8.0}, {"_id": {"$oid": "65"}})
    service.configure(contents={"driver": "files", "path": "contents.jsonl"})
    assert service.load().events == 14
    assert service.query("select distinct user_id, content_id from raw.events") == [("7", "7")]
    fields = "select _id, series_id from raw.content_fields order by 1"
    assert service.query(fields) == [("65", None), ("7", "8")]


def test_a_key_that_is_an_object_is_refused(service: Service) -> None:
    event = {"event_type": "play", "occurred_at": "2025-02-01"}
    service.documents("events.jsonl", {**event, "user_id": {"id": 7}},
                      *({**event, "user_id": "ann", "content_id": [n]} for n in range(2)),
                      *({**event, "user_id": "ann"} for _ in range(5)))  # fmt: skip
    summary = service.load()
    assert summary.rejected_reasons == {"unreadable content_id": 2, "unreadable user_id": 1}
    assert summary.events == 5


def test_texts_of_old_parquet_writers_are_utf_8(service: Service) -> None:
    write_parquet(
        service.folder / "events.parquet",
        "select encode('René') as user_id, 'play' as event_type, date '2025-02-01' as occurred_at",
    )
    service.load()
    assert service.query("select user_id from raw.events") == [("René",)]


# --- 4: sources that shrink ---------------------------------------------------------------------


def shrinking(service: Service) -> None:
    service.events(*(f"ann,c,play,2025-02-{day:02}T10:00:00Z,60" for day in range(1, 21)))
    service.documents("contents.jsonl", *({"_id": n, "title": "t"} for n in range(500)))
    service.documents("users.jsonl", *({"_id": n} for n in range(100)))
    service.configure(
        contents={"driver": "files", "path": "contents.jsonl"},
        users={"driver": "files", "path": "users.jsonl"},
    )
    service.load()


@pytest.mark.parametrize(
    ("name", "text", "lost"),
    [
        ("contents.jsonl", "", "0 contents, and 500 before"),
        ("contents.jsonl", '{"_id": 1}\n', "1 contents, and 500 before"),
        ("users.jsonl", '{"_id": 1}\n', "1 users, and 100 before"),
        ("events.csv", f"{HEADER}\nann,c,play,2025-02-20T10:00:00Z,60\n",
         "1 days with events, and 20 before"),
        ("events.csv", f"{HEADER}\n", "0 days with events, and 20 before"),
    ],
)  # fmt: skip
def test_a_source_that_shrinks_stops_the_load_unless_told_otherwise(
    service: Service, name: str, text: str, lost: str
) -> None:
    shrinking(service)
    before = service.everything()
    service.write(name, text)
    with pytest.raises(Unreachable, match=lost) as raised:
        service.load()
    assert "--accept-shrunken" in str(raised.value) and raised.value.exit_status == 3
    assert service.everything() == before
    service.load(accept_shrunken=True)
    assert service.everything() != before


def test_a_source_may_lose_half(service: Service) -> None:
    shrinking(service)
    service.documents("contents.jsonl", *({"_id": n, "title": "t"} for n in range(250)))
    assert service.load().contents == 250


# --- 7 to 9 at the load -------------------------------------------------------------------------


def test_a_date_without_a_time_has_none_and_two_columns_make_a_time(service: Service) -> None:
    header = "user_id,event_type,day,clock"
    service.events("ann,play,1/9/2015,7:30", "bob,play,2/9/2015,23:59", header=header)
    both = {"path": ["day", "clock"], "format": "%d/%m/%Y %H:%M", "timezone": "Europe/Berlin"}
    service.configure({"columns": {"occurred_at": both}})
    service.load()
    query = "select user_id, occurred_at, has_time, source_date from raw.events order by 1"
    assert service.query(query) == [
        ("ann", datetime(2015, 9, 1, 5, 30), True, date(2015, 9, 1)),
        ("bob", datetime(2015, 9, 2, 21, 59), True, date(2015, 9, 2)),
    ]
    day = {"path": "day", "format": "%d/%m/%Y", "timezone": "Europe/Berlin"}
    service.configure({"columns": {"occurred_at": day}})
    service.load()
    assert service.query(query) == [
        ("ann", datetime(2015, 9, 1), False, date(2015, 9, 1)),
        ("bob", datetime(2015, 9, 2), False, date(2015, 9, 2)),
    ]


# --- 10: near names -----------------------------------------------------------------------------


@pytest.mark.parametrize("there", ["Content_ID", "content_id ", "contentId", "CONTENT-ID"])
def test_a_column_under_a_near_name_is_said(service: Service, there: str) -> None:
    service.events("ann,film,play,2025-02-01,1", header=HEADER.replace("content_id", there))
    [warning] = service.load().warnings
    assert f"events.csv: there is no column content_id for content_id, but '{there}'" in warning
    service.configure({"columns": {"content_id": there}})
    assert service.load().warnings == []
    assert service.query("select content_id from raw.events") == [("film",)]


# --- 12 to 14: broken and unusual files ---------------------------------------------------------

GOOD = '{"user_id": "ann", "event_type": "play", "occurred_at": "2025-02-01T10:00:00Z"}'


@pytest.mark.parametrize("bad", ['{"user_id": "ann", "eve', '{"user_id": "\\ud83d"}', "}"])
def test_a_line_that_is_no_json_is_rejected_with_its_number(service: Service, bad: str) -> None:
    service.write("events.jsonl", "\n".join([GOOD, bad, GOOD, "", GOOD]) + "\n")
    summary = service.load()
    assert (summary.events, summary.rejected_reasons) == (3, {"no JSON": 1})
    query = "select source, reason, row ->> '$' from raw.rejected_events"
    assert service.query(query) == [("events.jsonl", "no JSON: line 2", bad)]


def test_a_document_that_is_no_json_is_rejected_with_its_number(service: Service) -> None:
    service.write("events.jsonl", GOOD)
    service.write("contents.jsonl", '{"_id": 1, "title": "t"}\n{"_id": 2, "ti\n{"_id": 3}\n')
    service.configure(contents={"driver": "files", "path": "contents.jsonl"})
    assert service.load().contents == 2
    query = "select source, reason, row ->> '$' from raw.rejected_events"
    assert service.query(query) == [
        ("contents: contents.jsonl", "no JSON: line 2", '{"_id": 2, "ti')
    ]


def test_a_file_of_broken_lines_stops_the_load(service: Service) -> None:
    service.write("events.jsonl", "\n".join([GOOD, "x", "y"]))
    with pytest.raises(InputError, match="2 of 3 rows read cannot be events"):
        service.load()


@pytest.mark.parametrize("name", ["events.json", "events.json.gz"])
@pytest.mark.parametrize(
    "text",
    [
        f"[{GOOD},\n {GOOD}]",
        json.dumps([json.loads(GOOD)] * 2, indent=2),
        "\n".join([json.dumps(json.loads(GOOD), indent=2)] * 2),
        f"\ufeff{GOOD}\n{GOOD}\n",
        f"{GOOD}\r\n{GOOD}\r\n",
        f"\n\n{GOOD}\n\n{GOOD}",
    ],
)
def test_json_is_read_however_it_stands_in_the_file(service: Service, text: str, name: str) -> None:
    service.write(name, text)
    service.write("contents.json", text.replace("user_id", "_id"))
    service.configure(contents={"driver": "files", "path": "contents.json"})
    summary = service.load()
    assert (summary.events, summary.rejected, summary.contents) == (2, 0, 1)


def test_mixed_line_ends_are_named(service: Service) -> None:
    line = "ann,c,play,2025-02-01,1"
    service.write("events.csv", f"{HEADER}\n{line}\n{line}\r\n{line}\n")
    try:
        assert service.load().events == 3
    except InputError as error:
        assert "events.csv: cannot be read: line 3 ends with CRLF" in str(error)


# --- 16: files that are there twice -------------------------------------------------------------


def test_a_link_to_a_file_that_is_there_too_is_left_out(service: Service) -> None:
    service.events("ann,c,play,2025-02-01,1")
    os.symlink(service.folder / "events.csv", service.folder / "events_2.csv")
    assert service.load().events == 1


@pytest.mark.parametrize("name", ["events_2.csv", "events (1).csv", "events.csv.gz"])
def test_a_file_that_is_there_twice_is_said(service: Service, name: str) -> None:
    service.events("ann,c,play,2025-02-01,1")
    service.events("ann,c,play,2025-02-01,1", name=name)
    summary = service.load()
    assert summary.events == 2
    assert any("events.csv" in text and "remove one" in text for text in summary.warnings)


# --- 17: units of times -------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("unit", [None, "s", "ms", "us", "ns"])
@pytest.mark.parametrize("really", ["s", "ms", "us", "ns"])
def test_the_unit_of_times_is_said_when_it_is_another(
    service: Service, unit: str | None, really: str, ending: str
) -> None:
    moment = 1_738_404_000 * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[really]
    if ending == "parquet":
        write_parquet(
            service.folder / "events.parquet",
            f"select 'ann' as user_id, 'play' as event_type, {moment}::bigint as occurred_at",
        )
    elif ending == "csv":
        service.events(f"ann,c,play,{moment},1")
    else:
        service.documents(
            "events.jsonl", {"user_id": "ann", "event_type": "play", "occurred_at": moment}
        )
    service.configure({"epoch_unit": unit} if unit else {})
    if unit == really:
        service.load()
        query = "select occurred_at from raw.events"
        assert service.query(query) == [(datetime(2025, 2, 1, 10),)]
        return
    with pytest.raises(InputError) as raised:
        service.load()
    # a text of so many digits may be a date to the engine, or a time far away
    assert "epoch_unit" in str(raised.value) or "unreadable" in str(raised.value)
    assert f"looks like {really}" in str(raised.value) or unit


# --- 19: counts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("count", ["0", "-5", "9223372036854775807", "many", "1.5"])
def test_a_count_that_cannot_be_is_rejected(service: Service, count: str) -> None:
    rows = [f"ann,c,play,2025-02-01,1,{n}" for n in ("", "1", "3", count)]
    service.events(*rows, header=f"{HEADER},event_count")
    summary = service.load()
    assert summary.rejected == 1
    assert service.query("select event_count from raw.events order by 1") == [(1,), (1,), (3,)]
    [(reason,)] = service.query("select reason from raw.rejected_events")
    assert reason == f"event_count is not between 1 and 1000000000: {count}"


# --- 21, 23, 24, 6: catalogues ------------------------------------------------------------------


def test_a_catalogue_whose_fields_are_not_mapped_is_said(service: Service) -> None:
    service.write("events.jsonl", GOOD)
    service.documents(
        "contents.jsonl", *({"asset_no": n, "name": "x", "kind": "film"} for n in range(9))
    )
    service.configure(contents={"driver": "files", "path": "contents.jsonl", "id": "asset_no"})
    warnings = service.load().warnings
    assert [text for text in warnings if "title" in text] == [
        "contents: none of 9 documents has a title at title; known are asset_no, kind, name; map it"
        " in contents.fields"
    ]


def test_flat_rights_and_lists_of_them(service: Service) -> None:
    service.write("events.jsonl", GOOD)
    service.documents("contents.jsonl", {"_id": 1, "title": "t", "rights_from": "2025-01-01",
                                         "rights_to": "01.02.2025", "land": "DE"},
                      {"_id": 2, "title": "t"})  # fmt: skip
    fields = {
        "availability": {
            "available_from": "rights_from",
            "available_until": {"path": "rights_to", "format": "%d.%m.%Y"},
            "territory": "land",
        }
    }
    service.configure(contents={"driver": "files", "path": "contents.jsonl", "fields": fields})
    service.load()
    query = "select _id, availability from raw.content_fields order by 1"
    entry = {
        "territory": "DE",
        "available_from": date(2025, 1, 1),
        "available_until": date(2025, 2, 1),
    }
    assert service.query(query) == [("1", [entry]), ("2", [])]
    service.documents(
        "contents.jsonl",
        {"_id": 1, "title": "t", "offers": [{"in": "DE", "start": "2025-01-01"}, {"in": "AT"}]},
        {"_id": 2, "title": "t", "offers": [{"in": "DE", "start": "soon"}]},
    )
    fields = {"availability": {"path": "offers", "territory": "in", "available_from": "start"}}
    service.configure(contents={"driver": "files", "path": "contents.jsonl", "fields": fields})
    service.load()
    query = "select _id, availability[2].territory, unreadable_fields from raw.content_fields"
    assert service.query(f"{query} order by 1") == [("1", "AT", None), ("2", None, "availability")]


def test_runtimes_in_minutes_are_said(service: Service) -> None:
    service.write("events.jsonl", GOOD)
    service.documents(
        "contents.jsonl", *({"_id": n, "title": "t", "length": 90} for n in range(20))
    )
    contents = {"driver": "files", "path": "contents.jsonl"}
    service.configure(contents={**contents, "fields": {"runtime_seconds": "length"}})
    assert any("unit: min" in text for text in service.load().warnings)
    in_minutes = {"runtime_seconds": {"path": "length", "unit": "min"}}
    service.configure(contents={**contents, "fields": in_minutes})
    assert not any("unit: min" in text for text in service.load().warnings)
    assert service.query("select distinct runtime_seconds from raw.content_fields") == [(5400.0,)]


# --- 25: rows to leave out ----------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_rows_are_left_out_by_a_condition(service: Service, ending: str) -> None:
    names = ["user_id", "event_type", "occurred_at", "minutes", "test"]
    rows = [
        ("ann", "play", "2025-02-01", "0", "no"),
        ("bob", "play", "2025-02-01", "3", "no"),
        ("cleo", "play", "2025-02-01", "3", "yes"),
        ("dora", "play", "2025-02-01", "", "no"),
        ("emil", "play", "2025-02-01", "5", ""),
    ]
    if ending == "csv":
        service.events(*(",".join(row) for row in rows), header=",".join(names))
    else:
        service.documents("events.jsonl", *(dict(zip(names, row, strict=True)) for row in rows))
    where = {"minutes": {"above": 0}, "test": {"not": "yes"}}
    service.configure(
        {"where": where, "columns": {"watch_seconds": {"path": "minutes", "unit": "min"}}}
    )
    summary = service.load()
    assert (summary.events, summary.rejected) == (2, 0)
    assert service.query("select user_id, watch_seconds from raw.events order by 1") == [
        ("bob", 180), ("emil", 300)
    ]  # fmt: skip


# --- unreadable is not absent -------------------------------------------------------------------


def test_the_profile_of_a_load_says_what_was_found(service: Service) -> None:
    times = [f"2025-02-{day:02}" for day in range(1, 11)]
    service.events(*(f"ann,,play,{day},{n if n else '1;5'}" for n, day in enumerate(times)))
    cleo = {"_id": "cleo", "signed_up_on": "2025-01-01", "mail": "c@example.com"}
    ann = {"_id": "ann", "signed_up_on": "01/09/2025"}
    service.documents("users.jsonl", ann, {"_id": "bob"}, cleo)
    users = {"driver": "files", "path": "users.jsonl", "keep": []}
    service.configure(users=users)
    summary = service.load()
    query = "select rows, filled, unreadable, examples from raw.field_profiles where field = '{}'"
    assert service.query(query.format("watch_seconds")) == [(10, 10, 1, ["1;5"])]
    assert service.query(query.format("content_id")) == [(10, 0, 0, [])]
    assert service.query(query.format("signed_up_on")) == [(3, 2, 1, ["01/09/2025"])]
    assert any("watch_seconds" in text and "'1;5'" in text for text in summary.warnings)
    # of a viewer's document only what is mapped is kept
    assert service.query("select doc::varchar from raw.users where _id = 'cleo'") == [
        ('{"_id":"cleo","signed_up_on":"2025-01-01"}',)
    ]
    query = "select unreadable_fields from raw.user_fields where _id = 'ann'"
    assert service.query(query) == [("signed_up_on",)]


def test_too_much_that_is_unreadable_stops_the_load_and_changes_nothing(service: Service) -> None:
    service.events(*(f"ann,c,play,2025-02-{day:02},60" for day in range(1, 11)))
    service.load()
    before = service.everything()
    service.events(*(f"ann,c,play,2025-02-{day:02},0:01:00" for day in range(1, 11)))
    with pytest.raises(InputError, match=r"watch_seconds.*10 of 10 values.*'0:01:00'"):
        service.load()
    assert service.everything() == before
    clock = {"columns": {"watch_seconds": {"path": "watch_seconds", "unit": "clock"}}}
    service.configure(clock)
    service.load()
    assert service.query("select distinct watch_seconds from raw.events") == [(60.0,)]


def test_rows_that_nobody_can_read_stop_the_load(service: Service) -> None:
    service.events(*(f"ann,c,play,{n}. day,60" for n in range(10)))
    with pytest.raises(InputError, match=r"occurred_at.*10 of 10 values"):
        service.load()
    assert not service.database.exists() or service.everything() == {}


def test_a_failed_load_leaves_everything_as_it_was(service: Service) -> None:
    for day in range(1, 4):
        service.events(f"ann,c,play,2025-02-0{day},60", name=f"events_{day}.csv")
    service.documents("contents.jsonl", {"_id": 1, "title": "t"})
    service.configure(contents={"driver": "files", "path": "contents.jsonl"})
    service.load()
    before = service.everything()
    write_parquet(
        service.folder / "events_1.parquet",
        "select 'ann' as user_id, 'play' as event_type, to_timestamp(range) as occurred_at"
        " from range(1738404000, 1738414000)",
    )
    data = bytearray((service.folder / "events_1.parquet").read_bytes())
    for place in range(40, len(data) // 2):
        data[place] ^= 0x55
    (service.folder / "events_1.parquet").write_bytes(bytes(data))
    (service.folder / "events_1.csv").unlink()
    service.documents("contents.jsonl", {"_id": 2, "title": "other"})
    with pytest.raises(InputError, match=r"events_1.parquet: cannot be read"):
        service.load()
    assert service.everything() == before


def test_loads_of_unchanged_files_read_nothing_at_the_edge_of_the_clock(service: Service) -> None:
    """The day on which the clock of the load ends is read again until it is over."""
    service.events("ann,c,play,2025-02-28T10:00:00Z,60", "ann,c,play,2025-03-02T10:00:00Z,60")
    assert service.load().slices_loaded == 3
    assert service.load(now=NOW + timedelta(hours=1)).slices_loaded == 1
    assert service.load(now=NOW + timedelta(days=1)).slices_loaded == 1
    assert service.load(now=NOW + timedelta(days=1, hours=1)).slices_loaded == 0
