"""What `personas check` finds in a sample of the sources, and what it leaves alone."""

import gzip
import json
from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest
import yaml
from typer.testing import CliRunner

from viewer_personas.cli.app import app
from viewer_personas.config import load_sources
from viewer_personas.errors import InputError
from viewer_personas.project import CHECKOUT
from viewer_personas.sources import druid, guesses, mongodb
from viewer_personas.sources.check import CheckResult, Finding, check
from viewer_personas.sources.load import load
from viewer_personas.sources.synonyms import candidates

Row = dict[str, Any]
NOW = datetime(2025, 10, 1)
FIRST = datetime(2025, 9, 1, 8)


class Service:
    """Clean rows of a small service, to be spoilt one by one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: list[Row] = [
            {
                "user_id": f"v{n % 20}",
                "content_id": f"c{n % 30}",
                "event_type": ("play", "search", "click")[n % 3],
                "occurred_at": f"{FIRST + timedelta(hours=n):%Y-%m-%dT%H:%M:%SZ}",
                "watch_seconds": 60 + n % 7,
            }
            for n in range(400)
        ]
        self.contents: list[Row] = [
            {"content_id": f"c{n}", "title": f"Film {n}", "genres": ["Drama"],
             "content_type": "movie",
             "runtime_seconds": 5400 + n, "released_on": "2020-01-31"}
            for n in range(30)
        ]  # fmt: skip
        self.users: list[Row] = [
            {"user_id": f"v{n}", "timezone": "Europe/Berlin", "marketing_consent": True}
            for n in range(20)
        ]
        self.settings: dict[str, dict[str, Any]] = {"events": {}, "contents": {}, "users": {}}
        self.ending = "jsonl"

    def spoil(self, source: str, change: Callable[[int, Row], Row]) -> None:
        rows = getattr(self, source)
        rows[:] = [change(n, dict(row)) for n, row in enumerate(rows)]

    def write(self) -> Path:
        settings = {}
        for source in ("events", "contents", "users"):
            path = self.folder / f"{source}.{self.ending}"
            lines = "".join(json.dumps(row) + "\n" for row in getattr(self, source))
            jsonl = self.folder / f"{source}.jsonl"
            jsonl.write_text(lines)
            if self.ending != "jsonl":
                duckdb.execute(f"copy (from read_json('{jsonl}')) to '{path}'")
                jsonl.unlink()
            given = {"driver": "files", "path": path.name}
            settings[source] = {**given, **self.settings[source]}
        file = self.folder / "sources.yml"
        file.write_text(yaml.safe_dump(settings))
        return file

    def check(self) -> CheckResult:
        return check(load_sources(self.write()), CHECKOUT / "seeds", now=NOW)

    def finding(self, place: str) -> Finding:
        found = [each for each in self.check().findings if each.place == place]
        assert found, f"nothing at {place}"
        return found[0]


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


def renamed(ours: str, theirs: str) -> Callable[[int, Row], Row]:
    return lambda n, row: {theirs if key == ours else key: value for key, value in row.items()}


def with_values(name: str, value: Callable[[int], Any]) -> Callable[[int, Row], Row]:
    return lambda n, row: {**row, name: value(n)}


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_clean_sources_have_no_findings(service: Service, ending: str) -> None:
    service.ending = ending
    found = service.check()
    assert found.findings == []
    assert found.exit_status == 0
    filled = {field.field: field.filled for source in found.sources for field in source.fields}
    assert filled["occurred_at"] == filled["title"] == filled["timezone"] == 1


def test_an_example_of_real_data_has_no_findings() -> None:
    sources = load_sources(CHECKOUT / "examples" / "movietweetings" / "sources.yml")
    found = check(sources, CHECKOUT / "seeds")
    assert found.findings == []
    assert found.sources[-1].sampled.startswith("the first 20,000 rows")


@pytest.mark.parametrize(("unreadable", "level"), [(1, "warning"), (15, "warning"), (16, "error")])
def test_the_check_stops_where_a_load_does(
    service: Service, tmp_path: Path, unreadable: int, level: str
) -> None:
    """By the share of all documents, however few have the field."""
    service.spoil("contents", with_values("released_on", lambda n: "x" * (n < unreadable)))
    assert service.finding("contents.fields.released_on").level == level
    sources = load_sources(tmp_path / "sources.yml")
    with nullcontext() if level == "warning" else pytest.raises(InputError, match="released_on"):
        load(sources, tmp_path / "service.duckdb", now=NOW)


def moment(n: int) -> datetime:
    return FIRST + timedelta(hours=n)


@pytest.mark.parametrize(
    ("value", "setting"),
    [
        (lambda n: f"{moment(n):%d/%m/%Y %H:%M:%S}", {"format": "%d/%m/%Y %H:%M:%S"}),
        (lambda n: f"{moment(n):%m/%d/%Y %H:%M}", {"format": "%m/%d/%Y %H:%M"}),
        (lambda n: f"{moment(n):%d.%m.%Y %H:%M:%S}", {"format": "%d.%m.%Y %H:%M:%S"}),
        (lambda n: f"{moment(n):%b %d, %Y %H:%M}", {"format": "%b %d, %Y %H:%M"}),
        (lambda n: int((moment(n) - datetime(1970, 1, 1)).total_seconds()), {"unit": "s"}),
        (lambda n: int((moment(n) - datetime(1970, 1, 1)).total_seconds()) * 1000, {"unit": "ms"}),
        (lambda n: int((moment(n) - datetime(1970, 1, 1)).total_seconds()) * 10**6, {"unit": "us"}),
    ],
)  # fmt: skip
def test_times_that_a_load_refuses_get_the_setting_that_reads_them(
    service: Service, value: Callable[[int], Any], setting: Row
) -> None:
    service.spoil("events", with_values("occurred_at", value))
    found = service.finding("events.columns.occurred_at")
    assert found.level == "error"
    [(_, written)] = yaml.safe_load(found.write or "").items()
    assert written.items() >= setting.items()
    with pytest.raises(InputError):
        load(load_sources(service.write()), service.folder / "personas.duckdb", now=NOW)
    service.settings["events"] = {"columns": {"occurred_at": written}}
    assert service.check().exit_status == 0


def test_day_or_month_first_is_ambiguous_without_a_number_above_12() -> None:
    assert "cannot be told" in guesses.time_settings(["01/09/2025", "02/10/2025"])[1]
    assert guesses.time_settings(["01/09/2025", "13/10/2025"])[0] == {"format": "%d/%m/%Y"}
    assert guesses.time_settings(["20250901", "20250930"])[0] == {"format": "%Y%m%d"}


CASES = [
    ("events", with_values("watch_seconds", lambda n: f"00:{n % 50:02d}:05"),
     "events.columns.watch_seconds", "unit: clock"),
    ("events", with_values("watch_seconds", lambda n: "PT5M"),
     "events.columns.watch_seconds", "unit: iso"),
    ("events", with_values("watch_seconds", lambda n: f"{n},5"),
     "events.columns.watch_seconds", "decimal: ','"),
    ("events", with_values("watch_seconds", lambda n: 300_000 + n),
     "events.columns.watch_seconds", "unit: ms"),
    ("events", with_values("event_type", lambda n: "media_play_start"),
     "seeds/event_types.csv", "media_play_start,watch,true"),
    ("events", with_values("device", lambda n: "undefined"), "events.nulls", "[undefined]"),
    ("events", lambda n, row: {**row, "user_id": "NULL"} if n % 9 == 0 else row,
     "events.nulls", "'NULL'"),
    ("contents", renamed("title", "name"), "contents.fields.title", "title: name"),
    ("contents", renamed("title", "Title"), "contents.fields.title", "title: Title"),
    ("contents", renamed("title", "title "), "contents.fields.title", "title: 'title '"),
    ("contents", with_values("runtime_seconds", lambda n: 90 + n),
     "contents.fields.runtime_seconds", "unit: min"),
    ("contents", with_values("genres", lambda n: "Drama|Comedy"),
     "contents.fields.genres", "split: '|'"),
    ("contents", with_values("genres", lambda n: [{"id": 1, "label": "Drama"}]),
     "contents.fields.genres", "name: label"),
    ("contents", with_values("released_on", lambda n: "31.01.2020"),
     "contents.fields.released_on", "format: '%d.%m.%Y'"),
    ("users", with_values("timezone", lambda n: "GMT+2"),
     "users.fields.timezone", "GMT+2: Etc/GMT-2"),
    ("users", with_values("timezone", lambda n: "europe/berlin"),
     "users.fields.timezone", "europe/berlin: Europe/Berlin"),
    ("users", with_values("marketing_consent", lambda n: ("granted", "off")[n % 2]),
     "users.fields.marketing_consent", "granted: true"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "change", "place", "write"), CASES)
def test_what_looks_wrong_is_found_with_what_to_write(
    service: Service, source: str, change: Callable[[int, Row], Row], place: str, write: str
) -> None:
    service.spoil(source, change)
    found = service.finding(place)
    assert write in (found.write or "")


def test_positions_are_no_seconds_watched(service: Service) -> None:
    service.spoil(
        "events",
        lambda n, row: {
            **row,
            "user_id": f"v{n // 20}",
            "content_id": f"c{n // 20}",
            "occurred_at": f"{FIRST + timedelta(days=n // 20, minutes=n % 20):%Y-%m-%dT%H:%M:%SZ}",
            "watch_seconds": 60 * (n % 20 + 1),
        },
    )
    assert "positions" in service.finding("events.columns.watch_seconds").message


def test_dates_without_times_name_the_column_with_the_time(service: Service) -> None:
    service.spoil("events", with_values("occurred_at", lambda n: f"{moment(n):%Y-%m-%d}"))
    service.spoil("events", with_values("time", lambda n: f"{moment(n):%H:%M:%S}"))
    found = service.finding("events.columns.occurred_at")
    assert "400 of 400" in found.message
    assert found.write == "occurred_at: {path: [occurred_at, time]}"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_values("content_id", lambda n: f"00c{n}"), "leading zeros, 100%"),
        (with_values("content_id", lambda n: f"C{n}"), "letter case, 100%"),
        (with_values("content_id", lambda n: f"movie_{n}"), "prefix, 100%"),
    ],
)
def test_ids_that_differ_between_sources(
    service: Service, change: Callable[[int, Row], Row], said: str
) -> None:
    service.spoil("contents", change)
    assert said in service.finding("contents.id").message


def test_the_key_that_the_events_have_is_named(service: Service) -> None:
    service.spoil("contents", renamed("content_id", "asset"))
    service.spoil("contents", with_values("_id", lambda n: f"x{n}"))
    assert service.finding("contents.id").write == "id: asset"


def test_several_documents_of_one_viewer(service: Service) -> None:
    service.users += [dict(service.users[0])]
    assert "repeat the id" in service.finding("users.id").message


def test_events_in_the_future(service: Service) -> None:
    service.spoil(
        "events", lambda n, row: {**row, "occurred_at": "2031-01-01T10:00:00Z"} if n < 3 else row
    )
    assert "3 events are later" in service.finding("events.columns.occurred_at").message


def test_the_same_file_under_two_names(service: Service) -> None:
    service.settings["events"] = {"path": "events*"}
    text = service.write().parent.joinpath("events.jsonl").read_bytes()
    (service.folder / "events.jsonl.gz").write_bytes(gzip.compress(text))
    (service.folder / "events (1).jsonl").write_bytes(text)
    (service.folder / "events-link.jsonl").symlink_to(service.folder / "events.jsonl")
    # the link is not read
    assert "3 files look like others" in service.finding("events.path").message


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("data", "data is a folder: write data/*.parquet"),
        ("~/events.csv", "write /"),
        ("s3://bucket/events", "copy it to a folder first"),
    ],
)
def test_paths_that_name_no_files(service: Service, path: str, said: str) -> None:
    (service.folder / "data").mkdir()
    (service.folder / "data" / "a.parquet").touch()
    service.settings["events"] = {"path": path}
    found = service.finding("events.path")
    assert found.level == "error"
    assert said in found.message
    with pytest.raises(InputError, match=r"events\.path"):
        load(load_sources(service.write()), service.folder / "personas.duckdb", now=NOW)


def test_a_missing_column_is_what_a_load_says(service: Service) -> None:
    service.spoil("events", renamed("user_id", "Viewer ID"))
    found = service.finding("events.columns.user_id")
    assert (found.level, found.write) == ("error", "user_id: Viewer ID")
    assert "in events.jsonl" in found.message


def test_names_in_other_languages() -> None:
    assert candidates("events", "occurred_at", ["Aktion", "Zeitpunkt"]) == ["Zeitpunkt"]
    assert candidates("contents", "title", ["meta.Titel"]) == ["meta.Titel"]


def test_the_command_and_its_exit_statuses(service: Service) -> None:
    def run(*more: str) -> tuple[int, str]:
        file = service.write()
        result = CliRunner().invoke(app, ["check", "--sources", str(file), *more])
        return result.exit_code, result.stdout

    assert run()[0] == 0
    service.spoil("contents", renamed("title", "name"))
    service.spoil("users", with_values("timezone", lambda n: "[red]\x1b[31mnowhere"))
    status, text = run()
    assert status == 1
    assert "title: name" in text
    assert "\x1b" not in text
    assert "[red]" in text
    assert json.loads(run("--json")[1])["exit_status"] == 1
    service.spoil("events", renamed("occurred_at", "ts"))
    assert run()[0] == 2
    assert not list(service.folder.glob("*.duckdb"))


def test_servers_are_sampled_and_read_like_files(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of Druid and the documents of MongoDB; their clients are tested elsewhere."""
    service.write()
    milliseconds = [
        int((moment(n) - datetime(1970, 1, 1)).total_seconds()) * 1000
        for n in range(len(service.events))
    ]
    rows = [
        {
            "__ms": time,
            "__time": "2025-09-01T08:00:00.000Z",
            "viewer": row["user_id"],
            "event_type": row["event_type"],
            "seconds": 5_000_000,
        }
        for row, time in zip(service.events, milliseconds, strict=True)
    ]
    days = SimpleNamespace(
        days={FIRST.date(): None}, druid=SimpleNamespace(rows=lambda query: list(rows))
    )
    monkeypatch.setattr(druid, "inspect_events", lambda settings, file, clock: days)
    documents = [json.dumps({"_id": f"c{n}", "name": f"Film {n}"}) for n in range(30)]
    monkeypatch.setattr(mongodb, "sample", lambda settings, file, key, limit: documents)
    settings = {
        "events": {
            "driver": "druid",
            "url": "http://druid.example.com:8888",
            "datasource": "events",
            "columns": {"user_id": "viewer", "watch_seconds": "seconds"},
            "where": {"viewer": {"not": "v1"}},
        },
        "contents": {
            "driver": "mongodb",
            "uri": "mongodb://mongo.example.com",
            "database": "shop",
            "collection": "films",
            "fields": {"genres": {"path": "genre", "split": ","}},
        },
    }
    file = service.folder / "sources.yml"
    file.write_text(yaml.safe_dump(settings))
    found = check(load_sources(file), CHECKOUT / "seeds", now=NOW)
    written = {finding.place: finding.write for finding in found.findings}
    assert written["contents.fields.title"] == "title: name"
    assert written["events.columns.watch_seconds"] == "watch_seconds: {path: seconds, unit: ms}"
    assert [source.sampled for source in found.sources] == [
        "30 documents of the collection",
        "400 rows of the last days (2025-09-01 to 2025-09-01)",
    ]
    assert found.exit_status == 1


def test_a_column_that_only_some_files_have_under_our_name(service: Service) -> None:
    service.ending = "csv"
    service.settings["events"] = {"path": ["events.csv", "more.csv"]}
    (service.folder / "more.csv").write_text(
        "user_id,event_type,occurred_at,Content ID\nv1,play,2025-09-02T10:00:00Z,c1\n"
    )
    found = service.finding("events.columns.content_id")
    assert "1 of 2 files have no content_id, such as more.csv: there it is 'Content ID'" in (
        found.message
    )


def test_times_before_1990_are_no_format(service: Service) -> None:
    service.spoil(
        "events", lambda n, row: {**row, "occurred_at": "1970-01-01T00:00:00Z"} if n < 40 else row
    )
    found = service.finding("events.columns.occurred_at")
    assert "40 are before 1990" in found.message
    assert (found.level, found.write) == ("warning", None)
