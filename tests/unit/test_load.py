"""Loading from files: raw is a pure function of the files, and nothing is lost unseen."""

import gzip
import json
import os
import shutil
import tempfile
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from opened import opened
from viewer_personas.config import load_sources
from viewer_personas.database import raw
from viewer_personas.errors import InputError, Unreachable
from viewer_personas.sources import event_files
from viewer_personas.sources.load import LoadSummary, load

Row = dict[str, Any]
COLUMNS = {
    "user_id": "viewer",
    "content_id": "asset",
    "event_type": "action",
    "occurred_at": "ts",
    "watch_seconds": "seconds",
}


class Service:
    """A folder with the files of a service, its sources file and a database."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "personas.duckdb"
        self.clock = 0
        self.configure()

    def configure(self, **events: Any) -> None:
        """Write the sources file; contents and users are given apart from the keys of events."""
        sections = {key: events.pop(key) for key in ("contents", "users") if key in events}
        defaults = {"driver": "files", "path": "events*", "columns": COLUMNS}
        # a test of few rows may have unreadable ones only
        documents = {
            "events": {**defaults, **events},
            "unreadable": {"warn_share": 1, "stop_share": 1},
            **sections,
        }
        (self.folder / "sources.yml").write_text(yaml.safe_dump(documents), encoding="utf-8")

    def write(self, name: str, rows: list[Row] | bytes) -> None:
        """Write a file in the format of its ending; each one is newer than all before."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(rows, bytes):
            path.write_bytes(rows)
        elif ".parquet" in name:
            write_parquet(path, rows)
        else:
            text = as_csv(rows) if ".csv" in name else as_json_lines(rows)
            path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
        self.clock += 1
        os.utime(path, ns=(self.clock * 1000, self.clock * 1000))

    def load(self, **options: Any) -> LoadSummary:
        options = {"now": datetime(2100, 1, 1, 12), **options}
        return load(load_sources(self.folder / "sources.yml"), self.database, **options)

    def query(self, query: str) -> list[tuple[Any, ...]]:
        with opened(self.database) as connection:
            return connection.execute(query).fetchall()

    def state(self) -> list[list[tuple[Any, ...]]]:
        """All that must not depend on the way the files came: no run, no time of loading."""
        return [
            self.query(
                "select * exclude (has_time, unreadable_seconds) from raw.events order by all"
            ),
            self.query(
                "select source_date, version, row_count, rejected_count, duplicate_count "
                "from raw.slices order by all"
            ),
            self.query(
                "select source, source_date, reason, row::varchar "
                "from raw.rejected_events order by all"
            ),
        ]

    def everything(self) -> list[list[tuple[Any, ...]]]:
        tables = ("events", "contents", "users", "slices", "rejected_events", "source_files")
        return [self.query(f"select * from raw.{table} order by all") for table in tables]

    def fails(self, **options: Any) -> str:
        with pytest.raises(InputError) as raised:
            self.load(**options)
        return str(raised.value)


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


def as_csv(rows: list[Row]) -> bytes:
    names = list(rows[0]) if rows else list(COLUMNS.values())
    lines = [names]
    lines += [["" if row[name] is None else str(row[name]) for name in names] for row in rows]
    quoted = [["".join(('"', value.replace('"', '""'), '"')) for value in line] for line in lines]
    return "".join(",".join(line) + "\n" for line in quoted).encode()


def as_json_lines(rows: list[Row]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def write_parquet(path: Path, rows: list[Row]) -> None:
    text = path.with_name("rows.tmp")
    text.write_bytes(as_json_lines(rows))
    types = {"seconds": "DOUBLE", "n": "BIGINT"}
    names = list(rows[0]) if rows else list(COLUMNS.values())
    escaped = {name: name.replace("'", "''") for name in names}
    columns = ", ".join(f"'{escaped[name]}': '{types.get(name, 'VARCHAR')}'" for name in names)
    with duckdb.connect() as connection:
        target = str(path).replace("'", "''")
        source = str(text).replace("'", "''")
        connection.execute(
            f"copy (select * from read_json('{source}', columns = {{{columns}}}, "
            f"format = 'newline_delimited', hive_partitioning = false)) "
            f"to '{target}' (format parquet)"
        )
    text.unlink()


def event(
    at: str | float | None = "2025-01-01T10:00:00Z", user: str | None = "ann", **more: Any
) -> Row:
    row = {"viewer": user, "asset": "film", "action": "watch", "ts": at, "seconds": 60.5}
    return {**row, **more}


def parquet_of(service: Service, name: str, select: str) -> None:
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(f"copy ({select}) to '{service.folder / name}' (format parquet)")


ENDINGS = [
    "parquet", "csv", "csv.gz", "json", "json.gz", "jsonl", "jsonl.gz", "ndjson", "ndjson.gz",
]  # fmt: skip


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_format_gives_the_same_rows(service: Service, ending: str) -> None:
    service.write(
        f"events.{ending}",
        [
            event(),
            event("2025-01-03T00:00:00+02:00", "bob", asset=None, seconds=None),
            event(user=None),
            event("soon"),
        ],
    )
    summary = service.load()
    at = datetime(2025, 1, 1, 10)
    late = datetime(2025, 1, 2, 22)
    assert service.query(
        "select * exclude (has_time, unreadable_seconds) from raw.events order by all"
    ) == [
        (None, "ann", "film", "watch", at, 60.5, 1, None, at.date()),
        (None, "bob", None, "watch", late, None, 1, None, late.date()),
    ]
    query = (
        "select source, source_date, reason, row ->> 'viewer' from raw.rejected_events order by all"
    )
    assert service.query(query) == [
        (f"events.{ending}", at.date(), "no user", None),
        (f"events.{ending}", None, "unreadable time: soon", "ann"),
    ]
    assert (summary.events, summary.rejected, summary.slices_total) == (2, 2, 2)
    assert (summary.slices_loaded, summary.slices_changed) == (2, 2)


def test_formats_have_the_same_version(service: Service) -> None:
    versions = set()
    for ending in ENDINGS:
        service.write(f"events.{ending}", [event(), event(user="bob", asset=None)])
        service.load()
        versions.update(service.query("select version from raw.slices"))
        (service.folder / f"events.{ending}").unlink()
    assert len(versions) == 1


def test_a_format_that_is_set_beats_the_ending(service: Service) -> None:
    service.write("events.log", as_json_lines([event()]))
    assert "events.format: cannot tell the format of events.log" in service.fails()
    service.configure(format="json")
    assert service.load().events == 1


def test_globs_lists_and_odd_names(service: Service) -> None:
    names = ["a/1.csv", "a/b/2.parquet", "it's [1]*.jsonl", "it's 1x.jsonl"]
    for name in names:
        service.write(name, [event(user=name)])
    service.configure(path=["a/**/*", "it's [1]*.jsonl"])
    assert service.load().events == 3
    assert service.query("select user_id from raw.events order by all") == [
        ("a/1.csv",), ("a/b/2.parquet",), ("it's [1]*.jsonl",)
    ]  # fmt: skip


def test_hive_folders_and_odd_columns_do_not_disturb(service: Service) -> None:
    rows = [{"we\"i'rd": "ann", "filename": "f", "action": "watch", "ts": "2025-01-01", "x": None}]
    columns = {
        "user_id": "we\"i'rd",
        "event_type": "action",
        "occurred_at": "ts",
        "device": "filename",
    }
    for ending in ("csv", "parquet", "jsonl"):
        service.write(f"ts=1999-01-01/events.{ending}", [*rows, {**rows[0], "we\"i'rd": ""}])
    service.configure(path="ts=*/*", columns=columns)
    assert service.load().rejected == 3
    query = "select distinct user_id, device, source_date from raw.events"
    assert service.query(query) == [("ann", "f", date(2025, 1, 1))]


def test_csv_with_delimiter_bom_line_ends_and_quoted_lines(service: Service) -> None:
    service.write("events_1.csv", b"\xef\xbb\xbfviewer;action;ts\r\nann;watch;2025-01-01\r\n")
    service.write("events_2.csv", b'ts;"viewer";action\n2025-01-01;"a\nb";watch\n\n')
    service.configure(columns={"user_id": "viewer", "event_type": "action", "occurred_at": "ts"})
    assert service.load().events == 2
    service.configure(
        columns={"user_id": "viewer", "event_type": "action", "occurred_at": "ts"}, delimiter=";"
    )
    assert service.load().slices_changed == 0
    assert service.query("select user_id from raw.events order by all") == [("a\nb",), ("ann",)]


def test_a_csv_of_one_column(service: Service) -> None:
    service.write("events.csv", b"ts\n2025-01-01\n")
    service.write("users.csv", b"user_id\nann\nbob\n")
    service.configure(
        columns={"user_id": "ts", "occurred_at": "ts"},
        constants={"event_type": "watch"},
        users={"driver": "files", "path": "users.csv"},
    )
    summary = service.load()
    assert (summary.events, summary.users) == (1, 2)


def test_constants_and_columns_of_our_own_name(service: Service) -> None:
    rows = [
        {"user_id": "ann", "occurred_at": "2025-01-01", "event_count": "3", "event_id": "e1"},
        {"user_id": "bob", "occurred_at": "2025-01-01", "event_count": "many", "event_id": ""},
    ]
    service.write("events.csv", rows)
    service.configure(columns={}, constants={"event_type": "it's", "device": "tv"})
    service.load()
    query = (
        "select event_id, user_id, event_type, event_count, device from raw.events order by user_id"
    )
    assert service.query(query) == [
        ("e1", "ann", "it's", 3, "tv")
    ]  # fmt: skip
    assert service.query("select reason from raw.rejected_events") == [
        ("event_count is not between 1 and 1000000000: many",)
    ]


def test_files_may_differ_in_order_types_and_optional_columns(service: Service) -> None:
    parquet_of(
        service, "events_1.parquet",
        "select 7 as viewer, 'film' as asset, 'watch' as action, timestamp '2025-01-01' as ts",
    )  # fmt: skip
    parquet_of(
        service, "events_2.parquet",
        "select '2025-01-02' as ts, 5.5 as seconds, 'watch' as action, 1.5 as viewer, 'tv' device",
    )  # fmt: skip
    service.load()
    query = """
        select user_id, content_id, watch_seconds, device, source_date
        from raw.events
        order by all
    """
    assert service.query(query) == [
        ("1.5", None, 5.5, "tv", date(2025, 1, 2)),
        ("7", "film", None, None, date(2025, 1, 1)),
    ]


# --- time ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2025-03-01T10:00:00", "2025-03-01 10:00:00"),
        ("2025-03-01 10:00:00.123456", "2025-03-01 10:00:00.123456"),
        ("2025-03-01T10:00:00Z", "2025-03-01 10:00:00"),
        ("2025-03-01T01:00:00+02:00", "2025-02-28 23:00:00"),
        ("2025-03-01T10:00:00-0530", "2025-03-01 15:30:00"),
        ("20250301T100000Z", "2025-03-01 10:00:00"),
        ("2025-03-01T10:00:00,5Z", "2025-03-01 10:00:00.5"),
        ("2025-03-01", "2025-03-01 00:00:00"),
        ("1990-01-01", "1990-01-01 00:00:00"),
        ("1989-12-31T23:59:59Z", None),
        ("2100-01-01", "2100-01-01 00:00:00"),
        ("2100-01-02", None),
        ("9999-12-31", None),
        ("infinity", None),
        ("2025-02-30", None),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_iso_text(service: Service, ending: str, text: str | None, utc: str | None) -> None:
    service.write(f"events.{ending}", [event(text)])
    summary = service.load()
    times = service.query("select occurred_at::varchar from raw.events")
    assert times == ([(utc,)] if utc else [])
    if utc is None:
        reason = f"unreadable time: {text}" if text else "no time"
        assert service.query("select reason from raw.rejected_events") == [(reason,)]
        assert "events." + ending in summary.warnings[0]


@pytest.mark.parametrize(
    ("unit", "value", "utc"),
    [
        ("s", 1735689600, "2025-01-01 00:00:00"),
        ("s", 1735689600.25, "2025-01-01 00:00:00.25"),
        ("ms", 1735689600123, "2025-01-01 00:00:00.123"),
        ("ms", 1735689600000.5, "2025-01-01 00:00:00.0005"),
        ("s", 1e300, None),
        ("ms", -5, None),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_epochs(service: Service, ending: str, unit: str, value: float, utc: str | None) -> None:
    service.configure(epoch_unit=unit)
    if ending == "parquet":
        select = (
            f"select 'ann' as viewer, 'f' as asset, 'watch' as action, {value} as ts, 1 as seconds"
        )
        parquet_of(service, "events.parquet", select)
    else:
        service.write(f"events.{ending}", [event(value)])
    service.load()
    times = service.query("select occurred_at::varchar from raw.events")
    assert times == ([(utc,)] if utc else [])


@pytest.mark.parametrize(
    "value",
    [
        "timestamp '2025-01-01 10:00:00'",
        "timestamptz '2025-01-01 12:00:00+02'",
        "timestamp_ns '2025-01-01 10:00:00'",
        "timestamp_s '2025-01-01 10:00:00'",
    ],
)
def test_time_columns_of_parquet(service: Service, value: str) -> None:
    row = f"'ann' as viewer, 'f' as asset, 'watch' as action, {value} as ts, 1 as seconds"
    parquet_of(service, "events.parquet", f"select {row}")
    service.load()
    assert service.query("select occurred_at from raw.events") == [(datetime(2025, 1, 1, 10),)]
    service.configure(epoch_unit="s")
    assert "events.epoch_unit: the times in events.parquet are not numbers" in service.fails()


@pytest.mark.parametrize("kind", ["bigint", "integer", "double", "decimal(18,3)", "ubigint"])
def test_a_numeric_time_needs_a_unit(service: Service, kind: str) -> None:
    row = (
        f"'ann' as viewer, 'f' as asset, 'watch' as action, 1735689600::{kind} as ts, 1 as seconds"
    )
    parquet_of(service, "events.parquet", f"select {row}")
    message = (
        "events.epoch_unit: is not set, but the times in events.parquet (column ts) are numbers"
    )
    assert message in service.fails()


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_times_that_are_all_digits_need_a_unit(service: Service, ending: str) -> None:
    service.write(f"events.{ending}", [event(1735689600), event(None), event("1735689600.5")])
    assert "events.epoch_unit: is not set" in service.fails()
    assert not service.database.exists()
    service.write(f"events.{ending}", [event(1735689600), event()])
    assert service.load().rejected == 1


def test_seconds_that_are_no_duration_are_unreadable_and_not_absent(service: Service) -> None:
    values = ["12", "1e400", "nan", "a lot", "", "-1"]
    service.write("events.csv", [event(user=value or "-", seconds=value) for value in values])
    service.load()
    query = "select watch_seconds, unreadable_seconds from raw.events order by all"
    assert service.query(query) == [
        (12.0, None), (None, "-1"), (None, "1e400"), (None, "a lot"), (None, "nan"), (None, None)
    ]  # fmt: skip
    query = "select rows, filled, unreadable, examples from raw.field_profiles"
    assert service.query(f"{query} where field = 'watch_seconds'") == [
        (6, 5, 4, ["-1", "1e400", "a lot"])
    ]


# --- wrong configuration and broken files -------------------------------------------------------


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("ours", list(COLUMNS))
def test_a_column_that_is_not_there_is_named(service: Service, ending: str, ours: str) -> None:
    service.write(f"events.{ending}", [event()])
    service.configure(columns={**COLUMNS, ours: COLUMNS[ours] + "x"})
    message = service.fails()
    assert f"sources.yml: events.columns.{ours}: there is no column {COLUMNS[ours]}x" in message
    assert f"in events.{ending}; did you mean {COLUMNS[ours]}?" in message
    assert not service.database.exists()


@pytest.mark.parametrize("ours", ["user_id", "event_type", "occurred_at"])
def test_a_required_column_must_be_mapped_or_there(service: Service, ours: str) -> None:
    service.write("events.csv", [event()])
    service.configure(columns={name: COLUMNS[name] for name in COLUMNS if name != ours})
    assert f"events.columns.{ours}: there is no column {ours} in events.csv" in service.fails()


def test_a_required_column_must_be_in_every_file(service: Service) -> None:
    service.write("events_1.csv", [event()])
    service.load()
    service.write("events_2.csv", [{"viewer": "ann", "ts": "2025-01-01"}])
    before = service.everything()
    message = "events.columns.event_type: there is no column action in events_2.csv"
    assert message in service.fails()
    assert service.everything() == before


def test_a_json_field_counts_if_any_row_has_it(service: Service) -> None:
    rows = [event() for _ in range(3)]
    for row in rows[:2]:
        del row["seconds"]
    service.write("events.jsonl", rows)
    assert service.load().events == 3


def test_no_file_is_named_with_its_key(service: Service) -> None:
    assert "sources.yml: events.path: no file matches events*" in service.fails()
    service.write("events.csv", [event()])
    service.configure(users={"driver": "files", "path": "users.jsonl"})
    assert "sources.yml: users.path: no file matches users.jsonl" in service.fails()
    assert not service.database.exists()


BROKEN = [
    ("events_2.jsonl.gz", gzip.compress(as_json_lines([event()] * 900), mtime=0)[:60], "ended"),
    ("events_2.csv", as_csv([event()]) + b"1,2,3\n", "Line: 3"),
    ("events_2.csv", as_csv([event()]) + b"1,2,3,4,5,6\n", "Line: 3"),
    ("events_2.csv", as_csv([event()]) + b'a,b,c,"2025-01-01\n', "Line: 3"),
    ("events_2.csv.gz", gzip.compress(as_csv([event()] * 900), mtime=0)[:60], ""),
    ("events_2.csv.gz", as_csv([event()]), ""),
    ("events_2.parquet", b"no parquet", "Parquet"),
    ("events_2.csv", b"viewer,asset,viewer\n1,2,3\n", "names the column viewer twice"),
]


@pytest.mark.parametrize(("name", "content", "hint"), BROKEN)
def test_a_broken_file_is_named_and_changes_nothing(
    service: Service, name: str, content: bytes, hint: str
) -> None:
    service.write("events_2.csv", [event(user="zoe")])
    service.write("users.jsonl", [{"_id": "ann"}])
    service.configure(users={"driver": "files", "path": "users.jsonl"})
    service.load()
    before = service.everything()
    (service.folder / "events_2.csv").unlink()
    service.write("events_1.jsonl", [event(), event("2025-01-09")])
    service.write("users.jsonl", [{"_id": "bob"}])
    service.write(name, content)
    message = service.fails()
    assert message.startswith(f"{name}: ")
    assert hint in message
    assert service.everything() == before


def test_a_failure_inside_a_slice_leaves_the_old_slice(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.write("events.csv", [event()])
    service.load()
    before = service.everything()[:4]
    service.write("events.csv", [event(user="bob"), event(user=None)])

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(raw, "_write_slices", killed)
        with pytest.raises(KeyboardInterrupt):
            service.load()
    assert service.everything()[:4] == before
    assert service.load().slices_changed == 1
    assert service.query("select user_id from raw.events") == [("bob",)]


def test_a_file_that_changes_while_it_is_read_is_not_taken(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.write("events.csv", [event()])
    remember = event_files.EventFiles.remember

    def remember_and_change(*arguments: Any) -> None:
        remember(*arguments)
        service.write("events.csv", [event(), event()])

    monkeypatch.setattr(event_files.EventFiles, "remember", remember_and_change)
    with pytest.raises(Unreachable, match=r"events.csv: changed while it was read. Load again."):
        service.load()
    assert service.query("select count(*) from duckdb_tables()") == [(0,)]


# --- slices -------------------------------------------------------------------------------------


def test_a_day_between_is_a_slice_without_rows(service: Service) -> None:
    service.write("events.csv", [event("2025-01-01"), event("2025-01-04")])
    service.load()
    assert service.query("select source_date, row_count from raw.slices order by all") == [
        (date(2025, 1, 1), 1), (date(2025, 1, 2), 0), (date(2025, 1, 3), 0), (date(2025, 1, 4), 1)
    ]  # fmt: skip
    query = "select count(distinct version), count(version) from raw.slices where row_count = 0"
    assert service.query(query) == [(1, 2)]


def test_loading_again_reads_nothing(service: Service) -> None:
    service.write("events.csv", [event(), event(None), event(user=None)])
    service.load()
    before = service.everything()
    summary = service.load()
    assert (summary.slices_loaded, summary.slices_changed, summary.events) == (0, 0, 1)
    assert service.everything() == before


def test_the_same_rows_in_other_files_change_no_version(service: Service) -> None:
    rows = [event(user=f"user {n}", seconds=n / 7) for n in range(50)]
    service.write("events_1.csv", rows)
    service.load()
    before = service.state()
    (service.folder / "events_1.csv").unlink()
    service.write("events_2.csv", rows[20:])
    service.write("events_3.jsonl", list(reversed(rows[:20])))
    summary = service.load()
    assert (summary.slices_loaded, summary.slices_changed) == (1, 0)
    assert service.state() == before


@pytest.mark.parametrize(
    "change",
    [
        {"viewer": "bob"}, {"asset": "other"}, {"asset": None}, {"action": "browse"},
        {"ts": "2025-01-01T10:00:00.000001Z"}, {"seconds": 60.50001}, {"seconds": None},
        {"event_count": "2"}, {"device": "tv"}, {"event_id": "e"},
    ],
)  # fmt: skip
def test_every_column_counts_in_the_version(service: Service, change: Row) -> None:
    row = event(event_count="1", device=None, event_id=None)
    service.write("events.jsonl", [row, row])
    service.load()
    service.write("events.jsonl", [row, {**row, **change}])
    assert service.load().slices_changed == 1
    versions = service.query("select version from raw.slices")
    service.write("events.jsonl", [row])
    service.load()
    assert service.query("select version from raw.slices") != versions


def test_a_text_that_moves_to_the_next_column_changes_the_version(service: Service) -> None:
    service.write("events.jsonl", [event(user="ab", asset="c")])
    service.load()
    service.write("events.jsonl", [event(user="a", asset="bc")])
    assert service.load().slices_changed == 1


def test_only_the_days_of_a_changed_file_are_read_again(service: Service) -> None:
    for day in (1, 2, 3):
        service.write(f"events_{day}.csv", [event(f"2025-01-0{day}")])
    service.load()
    service.write("events_2.csv", [event("2025-01-02", user="late")])
    summary = service.load()
    assert (summary.slices_loaded, summary.slices_changed) == (1, 1)


def test_a_vanished_file_takes_its_rows_along(service: Service) -> None:
    service.write("events_1.csv", [event("2025-01-01"), event("2025-01-02")])
    service.write("events_2.csv", [event("2025-01-02"), event("2025-01-03", None), event("x")])
    service.load()
    (service.folder / "events_2.csv").unlink()
    summary = service.load()
    assert summary.warnings == [
        "1 days are no longer covered by the source and were removed: 2025-01-03 to 2025-01-03"
    ]
    assert (summary.slices_removed, summary.slices_total, summary.rejected) == (1, 2, 0)
    assert summary.events == 2
    query = "select file, source_date from raw.source_files order by all"
    assert service.query(query) == [
        ("events_1.csv", date(2025, 1, 1)),
        ("events_1.csv", date(2025, 1, 2)),
    ]


def test_a_day_that_lost_all_its_events_is_named(service: Service) -> None:
    for day in (1, 2, 3):
        service.write(f"events_{day}.csv", [event(f"2025-01-0{day}")])
    service.load()
    (service.folder / "events_2.csv").unlink()
    summary = service.load()
    assert summary.warnings == ["1 days had events and now have none: 2025-01-02 to 2025-01-02"]
    assert (summary.events, summary.slices_total) == (2, 3)
    assert service.load().warnings == []


@pytest.mark.parametrize("name", ["events_1.csv", "events_1.jsonl", "events_1.csv.gz"])
@pytest.mark.parametrize("emptied", [b"", as_csv([])])
def test_an_emptied_file_is_legal(service: Service, name: str, emptied: bytes) -> None:
    if "json" in name:
        emptied = b""
    service.write(name, [event()])
    service.load()
    service.write(name, gzip.compress(emptied) if name.endswith("gz") and emptied else emptied)
    summary = service.load()
    assert (summary.events, summary.slices_total, summary.slices_removed) == (0, 0, 1)


def test_a_parquet_file_without_rows_is_legal(service: Service) -> None:
    service.write("events_1.parquet", [event()])
    parquet_of(service, "events_2.parquet", "select 1 as nothing where false")
    assert service.load().events == 1


def test_a_file_of_the_same_size_but_another_time_is_read_again(service: Service) -> None:
    service.write("events.csv", [event("2025-01-01")])
    service.load()
    service.write("events.csv", [event("2025-01-02")])
    service.load()
    assert service.query("select source_date from raw.events") == [(date(2025, 1, 2),)]


def test_a_slice_that_is_replaced_replaces_its_rejected_rows(service: Service) -> None:
    service.write("events_1.csv", [event(user=None), event(None)])
    service.load()
    service.write("events_2.csv", [event(), event(user=None), event("2025-01-02", None)])
    assert service.load().rejected == 4
    query = "select rejected_count from raw.slices order by source_date"
    assert service.query(query) == [(2,), (1,)]


def test_a_changed_mapping_reads_everything_again(service: Service) -> None:
    service.write("events.csv", [event(other="zoe")])
    service.load()
    service.configure(columns={**COLUMNS, "user_id": "other"})
    assert service.load().slices_changed == 1
    assert service.query("select user_id from raw.events") == [("zoe",)]


def test_since_and_until_leave_other_days_as_they_are(service: Service) -> None:
    days = [f"2025-01-0{day}" for day in (1, 2, 3, 4, 5)]
    service.write("events.csv", [event(day) for day in days])
    service.load()
    other = "where source_date not between date '2025-01-02' and date '2025-01-03' order by all"
    tables = ("events", "slices", "rejected_events")
    before = [service.query(f"select * from raw.{table} {other}") for table in tables]
    service.write("events.csv", [event(day, user) for day in days[1:4] for user in ("bob", None)])
    summary = service.load(since=date(2025, 1, 2), until=date(2025, 1, 3))
    assert (summary.slices_loaded, summary.slices_removed, summary.slices_total) == (2, 0, 5)
    assert [service.query(f"select * from raw.{table} {other}") for table in tables] == before
    assert service.query("select user_id from raw.events where source_date = '2025-01-03'") == [
        ("bob",)
    ]
    # What was left out then is made good by the next load without limits.
    assert service.load().slices_removed == 2
    left = service.state()
    service.database.unlink()
    service.load()
    assert service.state() == left


def test_since_after_until_is_refused(service: Service) -> None:
    service.write("events.csv", [event()])
    message = service.fails(since=date(2025, 1, 2), until=date(2025, 1, 1))
    assert message == "--since 2025-01-02 is after --until 2025-01-01: swap them"


def test_a_repeated_event_is_loaded_once_whatever_the_order(service: Service) -> None:
    service.configure(columns={**COLUMNS, "event_id": "id"})
    rows = [
        event(id="e1", user="bob"),
        event(id="e1", user="ann", seconds=None),
        event(id="e1", user="ann", seconds=5),
        event(id="e1", at="2025-01-02"),
        event(id=None),
        event(id=None),
        event(id=""),
        event(id="e2"),
    ]
    results = []
    for first, second in ((rows, []), (rows[::-1], []), (rows[:2], rows[2:]), (rows[2:], rows[:2])):
        service.database.unlink(missing_ok=True)
        service.write("events_1.jsonl", first)
        service.write("events_2.jsonl", second)
        summary = service.load()
        assert (summary.duplicates, summary.events) == (1, 7)
        results.append(service.state())
    assert all(result == results[0] for result in results)
    query = "select user_id, watch_seconds from raw.events where event_id = 'e1' order by all"
    # bob's is another event, though its id is the same
    assert service.query(query) == [("ann", 5.0), ("ann", 60.5), ("bob", 60.5)]
    query = "select row_count, duplicate_count from raw.slices order by source_date"
    assert service.query(query) == [(6, 1), (1, 0)]


POOL = [
    [event("2025-01-01", id="a"), event("2025-01-02", id="b"), event("x", id="c")],
    [event("2025-01-02", id="b", seconds=1), event("2025-01-04", user=None, id="d")],
    [event("2025-01-04", id="b", asset=None)],
    [event("2025-01-01", id="e"), event("2025-01-01", id="e"), event("2025-01-06", id="f")],
    [event("2025-01-03T23:59:59-05:00", id=None), event("9999-01-01", id="g")],
    [],
]
STEP = st.lists(
    st.tuples(
        st.sampled_from(["events_1.csv", "events_2.jsonl", "events_3.csv.gz", "events_4.jsonl"]),
        st.one_of(st.none(), st.integers(0, len(POOL) - 1)),
    ),
    min_size=1,
    max_size=3,
)
LIMIT = st.one_of(st.none(), st.integers(1, 6))


@given(steps=st.lists(st.tuples(STEP, LIMIT), min_size=1, max_size=4))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_any_order_of_arrivals_gives_the_same_as_one_full_load(
    steps: list[tuple[list[tuple[str, int | None]], int | None]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder))
        service.configure(columns={**COLUMNS, "event_id": "id"})
        service.write("events_0.csv", [event("2025-01-03", id="z")])
        for changes, limit in steps:
            for name, content in changes:
                if content is None:
                    (service.folder / name).unlink(missing_ok=True)
                else:
                    service.write(name, POOL[content])
            service.load(since=date(2025, 1, limit) if limit else None)
        service.load()
        after_all = service.state()
        service.database.unlink()
        service.load()
        assert after_all == service.state()


# --- contents and users -------------------------------------------------------------------------


def with_documents(service: Service, **documents: Any) -> None:
    service.write("events.csv", [event()])
    service.configure(**{key: {"driver": "files", **value} for key, value in documents.items()})


def test_documents_are_kept_untouched(service: Service) -> None:
    document = (
        b'{"content_id": 7, "tags": ["a", "b"],  "x": 1.50, '
        b'"updated_at": "2025-01-02T03:00:00+01:00"}'
    )
    service.write("contents.jsonl", document + b"\n")
    service.write("users.csv.gz", [{"_id": "ann", "territory": None, "born": "x"}])
    with_documents(service, contents={"path": "contents*"}, users={"path": "users*"})
    summary = service.load()
    assert service.query("select _id, updated_at, doc::varchar from raw.contents") == [
        ("7", datetime(2025, 1, 2, 2), document.decode())
    ]
    assert service.query("select _id, updated_at, doc::varchar from raw.users") == [
        ("ann", None, '{"_id":"ann","territory":null,"born":"x"}')
    ]
    assert (summary.contents, summary.users) == (1, 1)


def test_documents_without_id_are_rejected_and_repeated_ones_counted(service: Service) -> None:
    rows: list[Row] = [
        {"key": "a", "at": "2025-01-01", "v": 9},
        {"key": "a", "at": "2025-01-02", "v": 1},
        {"key": "a", "at": "2025-01-02", "v": 2},
        {"key": "a", "at": None, "v": 99},
        {"key": None, "at": None, "v": 3},
        {"key": "", "at": None, "v": 4},
    ]
    with_documents(service, users={"path": "users*", "id": "key", "updated_at": "at"})
    for ordered in (rows, rows[::-1]):
        service.write("users.jsonl", ordered)
        summary = service.load()
        assert service.query("select _id, doc ->> 'v' from raw.users") == [("a", "2")]
        assert (summary.users, summary.rejected) == (1, 2)
        assert summary.warnings == ["users: 3 documents repeat the id of another and were left out"]
    query = "select distinct source, source_date, reason from raw.rejected_events"
    assert service.query(query) == [("users: users.jsonl", None, "no id")]


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_a_field_of_documents_that_is_not_there_is_named(service: Service, ending: str) -> None:
    service.write(f"contents.{ending}", [{"key": "a"}])
    with_documents(service, contents={"path": "contents*"})
    message = service.fails()
    assert f"contents.id: there is no _id or content_id in contents.{ending}" in message
    with_documents(service, contents={"path": "contents*", "id": "keys"})
    assert "contents.id: there is no keys in" in service.fails()
    with_documents(service, contents={"path": "contents*", "id": "key", "updated_at": "at"})
    assert "contents.updated_at: there is no at in" in service.fails()
    assert not service.database.exists()


def test_documents_configured_no_more_are_emptied_with_a_warning(service: Service) -> None:
    service.write("users.jsonl", [{"_id": "ann"}])
    with_documents(service, users={"path": "users*"})
    service.load()
    with_documents(service)
    summary = service.load()
    assert summary.users == 0
    assert summary.warnings == ["users are no longer configured: 1 documents were removed"]
    assert service.load().warnings == []


def test_tables_are_there_where_nothing_is_configured(service: Service) -> None:
    service.write("events.csv", [event()])
    service.load()
    assert service.everything()[1:3] == [[], []]


def test_progress_ends_at_the_total(service: Service) -> None:
    service.write("events.csv", [event("2025-01-01"), event("2025-01-03")])
    calls: list[tuple[str, int, int]] = []
    service.load(report=lambda text, done, total: calls.append((text, done, total)))
    assert calls[-1] == ("Loading days of events", 3, 3)


def test_the_database_moves_with_its_files(service: Service, tmp_path: Path) -> None:
    service.write("events.csv", [event()])
    service.load()
    moved = tmp_path / "moved"
    shutil.copytree(service.folder, moved, ignore=shutil.ignore_patterns("moved"))
    assert Service(moved).load().slices_loaded == 0
