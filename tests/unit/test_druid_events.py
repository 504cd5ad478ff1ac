"""The driver of Druid on segments that no test server has: realtime, coarse and odd ones."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import duckdb
import pytest

from viewer_personas.config import DruidEvents, DruidServer, load_sources
from viewer_personas.druid import Druid, Incomplete, Segment, iso_time
from viewer_personas.errors import Unreachable
from viewer_personas.sources import druid as druid_events
from viewer_personas.sources.load import LoadSummary, load


def segment(start: str, end: str, number: int = 0, **said: Any) -> Segment:
    """A published segment that is there, unless something else is said."""
    return Segment(
        **{
            "segment_id": f"events_{start}_{end}_{number}",
            "start": f"{start}T00:00:00.000Z" if len(start) == 10 else start,
            "end": f"{end}T00:00:00.000Z" if len(end) == 10 else end,
            "version": "1",
            "size": 100,
            "is_published": True,
            "is_available": True,
            "is_realtime": False,
            "is_overshadowed": False,
            "replication_factor": 1,
            **said,
        }
    )


def written(start: str, end: str) -> Segment:
    """A segment that a realtime task is writing."""
    return segment(start, end, is_published=False, is_realtime=True, size=0)


@dataclass
class Source:
    """What the pretended Druid has: segments, the times of its events, and what happens to it."""

    segments: list[Segment]
    times: list[datetime]
    while_read: Callable[[], None] = field(default=lambda: None)
    reads: int = 0


class PretendedDruid(Druid):
    """Answers from `source` as Druid would, by looking for the times in a query."""

    source: Source

    def __init__(self, server: DruidServer, place: str, folder: Path) -> None:
        super().__init__(server, place, folder)

    def columns(self, datasource: str) -> dict[str, str]:
        return {"__time": "TIMESTAMP", "user_id": "VARCHAR", "event_type": "VARCHAR"}

    def segments(
        self, datasource: str, first: datetime | None = None, last: datetime | None = None
    ) -> list[Segment]:
        if first is None or last is None:
            return self.source.segments
        return [
            segment
            for segment in self.source.segments
            if (segment.start < iso_time(last) and segment.end > iso_time(first))
            or segment.start.startswith("-")
        ]

    def rows(self, query: str, context: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        times = self._times(query)
        if "COUNT(*)" in query:
            is_without = "NOT (" in query
            number = len(self.source.times) - len(times) if is_without else len(times)
            return [{"n": number}]
        if not times:
            return [{"first": None, "last": None}]
        return [{"first": milliseconds(min(times)), "last": milliseconds(max(times))}]

    def stream(self, query: str, target: Path) -> tuple[Path, int]:
        self.source.reads += 1
        rows = [
            {"__time": milliseconds(time), "user_id": "ann", "event_type": "play"}
            for time in self._times(query)
        ]
        file = target.with_name(target.name + ".json")
        file.write_text("".join(json.dumps(row) + "\n" for row in rows) + "\n")
        self.source.while_read()
        return file, len(rows)

    def _times(self, query: str) -> list[datetime]:
        parts = query.split("TIMESTAMP '")[1:]
        if not parts:
            return self.source.times
        first, end = (datetime.fromisoformat(part[:19]).replace(tzinfo=UTC) for part in parts)
        return [time for time in self.source.times if first <= time < end]


def milliseconds(time: datetime) -> int:
    return round(time.timestamp() * 1000)


def noon(day: int, month: int = 1, year: int = 2026) -> datetime:
    return datetime(year, month, day, 12, tzinfo=UTC)


class Service:
    """A pretended Druid and a database that is loaded from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "sources.yml").write_text(
            "events: {driver: druid, url: 'http://druid', datasource: events, attempts: 3,"
            " first_wait_seconds: 0}"
        )

    def load(self, source: Source) -> LoadSummary:
        PretendedDruid.source = source
        return load(load_sources(self.folder / "sources.yml"), self.folder / "d.duckdb")

    def slices(self) -> dict[date, tuple[int, bool]]:
        """The rows of every slice, and whether it is open."""
        with duckdb.connect(str(self.folder / "d.duckdb"), read_only=True) as connection:
            found = connection.execute("select source_date, row_count, is_open from raw.slices")
            return {day: (rows, is_open) for day, rows, is_open in found.fetchall()}


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setattr(druid_events, "Druid", PretendedDruid)
    return Service(tmp_path)


def test_a_day_that_is_being_written_is_open_and_read_again_until_it_is_published(
    service: Service,
) -> None:
    source = Source(
        [segment("2026-01-01", "2026-01-02"), written("2026-01-02", "2026-01-03")],
        [noon(1), noon(2)],
    )
    service.load(source)
    assert service.slices() == {date(2026, 1, 1): (1, False), date(2026, 1, 2): (1, True)}
    source.times.append(noon(2) + timedelta(hours=1))
    summary = service.load(source)
    assert (summary.slices_loaded, summary.slices_changed) == (1, 1)
    assert service.slices()[date(2026, 1, 2)] == (2, True)

    source.segments[1] = segment("2026-01-02", "2026-01-03")
    summary = service.load(source)
    assert (summary.slices_loaded, summary.slices_changed) == (1, 0)
    assert service.slices()[date(2026, 1, 2)] == (2, False)
    assert service.load(source).slices_loaded == 0


def test_an_open_day_may_grow_while_it_is_read_and_a_closed_one_may_not(service: Service) -> None:
    source = Source([written("2026-01-01", "2026-01-02")], [noon(1)])
    source.while_read = lambda: source.times.append(noon(1))
    service.load(source)
    assert service.slices() == {date(2026, 1, 1): (1, True)}

    source.segments = [segment("2026-01-01", "2026-01-02")]
    with pytest.raises(Unreachable, match=r"2026-01-01: 4 rows came, but Druid counts 4, then 5"):
        service.load(source)
    assert source.reads == 1 + 3
    assert service.slices() == {date(2026, 1, 1): (1, True)}


def test_a_day_whose_segments_change_while_it_is_read_is_read_again(service: Service) -> None:
    source = Source([segment("2026-01-01", "2026-01-02")], [noon(1)])

    def hand_over() -> None:
        source.segments = [segment("2026-01-01", "2026-01-02", 1)]

    source.while_read = hand_over
    service.load(source)
    assert source.reads == 2
    assert service.load(source).slices_loaded == 0, "the identity is that of the second read"


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-01-01", "2026-02-01"),
        ("-146136543-09-08T08:23:32.096Z", "146140482-04-24T15:36:27.903Z"),
        ("2025-12-29", "2026-01-05"),
    ],
    ids=["a month", "all times", "a week"],
)
def test_coarse_segments_reach_from_the_first_to_the_last_event(
    service: Service, start: str, end: str
) -> None:
    source = Source([segment(start, end)], [noon(2), noon(4)])
    service.load(source)
    expected = {date(2026, 1, 2): 1, date(2026, 1, 3): 0, date(2026, 1, 4): 1}
    assert service.slices() == {day: (rows, False) for day, rows in expected.items()}


def test_segments_within_an_hour_belong_to_their_day(service: Service) -> None:
    source = Source(
        [
            segment("2026-01-01T23:00:00.000Z", "2026-01-02T00:00:00.000Z"),
            segment("2026-01-02T00:00:00.000Z", "2026-01-02T01:00:00.000Z"),
        ],
        [datetime(2026, 1, 1, 23, 59, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)],
    )
    service.load(source)
    source.segments.append(segment("2026-01-02T00:00:00.000Z", "2026-01-02T01:00:00.000Z", 1))
    assert service.load(source).slices_loaded == 1


def test_segments_in_transit_are_waited_for(service: Service) -> None:
    unknown = segment("2026-01-01", "2026-01-02", is_published=False)
    with pytest.raises(Unreachable, match="the segments of events are being changed"):
        service.load(Source([unknown], [noon(1)]))


def test_replaced_segments_that_are_still_served_say_nothing(service: Service) -> None:
    day = segment("2026-01-01", "2026-01-02")
    service.load(Source([day], [noon(1)]))
    replaced = replace(day, segment_id="older", is_overshadowed=True)
    assert service.load(Source([day, replaced], [noon(1)])).slices_loaded == 0


def test_events_of_absurd_times_stretch_nothing_and_are_said(service: Service) -> None:
    source = Source(
        [segment("1970-01-01", "2026-01-02"), segment("2026-01-01", "2026-01-02")],
        [datetime(1970, 1, 1, tzinfo=UTC), noon(1), noon(1, year=2999)],
    )
    summary = service.load(source)
    assert list(service.slices()) == [date(2026, 1, 1)]
    assert summary.warnings == [
        "2 events of events are before 1990-01-01 or later than the load by more than 24 hours"
        " (max_clock_ahead_hours); they are not loaded"
    ]


def test_days_that_are_dropped_at_the_source_go_with_a_warning(service: Service) -> None:
    days = [segment(f"2026-01-0{n}", f"2026-01-0{n + 1}") for n in (1, 2, 3)]
    service.load(Source(days, [noon(1), noon(2), noon(3)]))
    summary = service.load(Source(days[1:], [noon(2), noon(3)]))
    assert summary.slices_removed == 1
    assert "2026-01-01 to 2026-01-01" in summary.warnings[0]


def test_missing_segments_at_the_edge_do_not_remove_what_was_loaded(service: Service) -> None:
    days = [segment(f"2026-01-0{n}", f"2026-01-0{n + 1}") for n in (1, 2, 3)]
    service.load(Source(days, [noon(1), noon(2), noon(3)]))
    days[2] = replace(days[2], is_available=False)
    summary = service.load(Source(days, [noon(1), noon(2)]))
    assert (summary.slices_removed, summary.slices_loaded) == (0, 0)
    assert len(service.slices()) == 3


class Damaged(BaseHTTPRequestHandler):
    """Answers with what is no gzip, and says that it is."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(b"no gzip")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def test_an_answer_that_was_damaged_is_worth_another_attempt(tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), Damaged) as server:
        Thread(target=server.handle_request, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        druid = Druid(DruidServer(url=url), "events", tmp_path)
        with pytest.raises(Incomplete, match="is damaged"):
            druid.stream("SELECT 1", tmp_path / "rows")


def test_settings_are_read_as_they_are_meant(tmp_path: Path) -> None:
    (tmp_path / "s.yml").write_text("events: {driver: druid, url: 'https://d/', datasource: e}")
    settings = load_sources(tmp_path / "s.yml").events
    assert isinstance(settings, DruidEvents)
    assert settings.url == "https://d"
