"""Generated services: what their viewers did, day by day, dense at the edges of the definitions.

A history is what one viewer did: a list of visits, each some days after the one before. A visit is
one of VISITS, at a local time that may be the first or the last minute of a day. Everything is
small, so that many histories fit into one build.
"""

import os
import tempfile
import zoneinfo
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import cycle
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from reference.definitions import Event, Row, Vars
from service import Events, Service

# --- vars -----------------------------------------------------------------------------------------

# New York's night for everybody, periods with days off, few dates, and a lookback that ends within.
OTHER_VARS = Vars(
    default_timezone="America/New_York",
    day_starts_at_hour=0,
    lookback_days=168,
    as_of_weekday="wednesday",
    as_of_history_weeks=4,
    period_gap_days=2,
    sleepy_min_days=14,
    ghost_min_days=14,
    prime_time_starts_at_hour=19,
    peak_min_days=3,
    genre_prior_titles=0.7,
)

# --- the catalogue ------------------------------------------------------------------------------

CATALOGUE: dict[str, Row] = {
    "film": {"title": "A film", "content_type": "movie", "genres": ["Drama"], "tags": ["dark"]},
    "same_film": {"content_type": "Movie", "genres": ["drama", " Drama "], "tags": ["Dark", ""]},
    "other_film": {"content_type": "movie", "genres": ["comedy", None], "tags": ["warm", "slow"]},
    "film_without_tags": {"content_type": "movie", "genres": [], "tags": None},
    "report": {"content_type": "documentary", "tags": ["drama", "nature"], "released_on": "1984"},
    "of_no_type": {"genres": ["crime"], "runtime_seconds": "5400"},
    "show": {"content_type": "series", "genres": ["crime"], "tags": ["nordic"]},
    **{
        f"show_{number}": {
            "content_type": "episode",
            "series_id": "show",
            "season_number": 1,
            "episode_number": number,
            "genres": ["Crime", "drama"],
            "tags": [f"part {number % 2}"],
        }
        for number in range(1, 7)
    },
    # A series whose own entry is not in the catalogue: only its episodes say what it is about.
    **{
        f"soap_{number}": {"content_type": "Episode", "series_id": "soap", "genres": ["soap"]}
        for number in range(1, 4)
    },
    "pilot": {
        "content_type": "episode",
        "series_id": None,
        "season_number": "none",
        "episode_number": {"number": 1},
        "tags": ["crime"],
    },
    "its_own_series": {"content_type": "episode", "series_id": "its_own_series"},
    "show_to_come": {"content_type": "Series", "genres": ["Comedy", "family"]},
}

# --- the viewers --------------------------------------------------------------------------------

ZONES = (
    None,
    "UTC",
    "Asia/Kolkata",
    "Pacific/Kiritimati",
    "America/New_York",
    "Etc/GMT+12",
    "Europe/Berlin",
    "Nowhere/At_all",
    "america/new_york",
)
# Days from one visit to the next: a gap has one day less.
GAPS = (1, 1, 1, 1, 2, 2, 3, 4, 7, 14, 27, 28, 29, 30)
GAPS_OF_A_GHOST = (7, 6, 5, 4, 8, 9, 10, 11, 12, 13, 14, 15, 4, 5, 6, 7, 3, 28, 29)
GAPS_OF_A_HABIT = (7, 7, 1, 7, 14)
# The edges of days and of dayparts.
LOCAL_TIMES = (
    time(0, 0),
    time(2, 30),
    time(3, 59, 59),
    time(4, 0),
    time(5, 0),
    time(12, 0),
    time(16, 59, 59),
    time(20, 0),
    time(20, 45),
    time(22, 59, 59),
    time(23, 59, 59),
)
# minutes after the start of the visit, content, event type, watch seconds, event count
Step = tuple[float, str | None, str, float | None, int]


def binge(series: str, minutes: tuple[float, ...], seconds: float | None) -> tuple[Step, ...]:
    """Episodes 1, 2, … of a series, each at its minute."""
    return tuple(
        (minute, f"{series}_{number}", "play", seconds, 1)
        for number, minute in enumerate(minutes, 1)
    )


DAY = 24 * 60.0
SECOND = 1 / 60
VISITS: dict[str, tuple[Step, ...]] = {
    "film": ((0, "film", "play", 3600.5, 1),),
    "film_that_is_much_the_same": ((0, "same_film", "watch", 5400, 1),),
    "film_twice": ((0, "other_film", "play", 60.1, 1), (70, "other_film", "resume", 59.9, 1)),
    "one_second_short": ((0, "other_film", "play", 119, 1),),
    "just_long_enough": ((0, "other_film", "play", 120, 1),),
    "no_seconds": ((0, "film", "play", None, 1),),
    "no_seconds_of_one": ((0, "film", "play", None, 1), (5, "show_1", "play", 240, 1)),
    "zero_seconds": ((0, "film_without_tags", "play", 0, 1),),
    "impossible_seconds": ((0, "film", "play", -5, 1), (1, "report", "play", 2e9, 1)),
    "binge_of_three": binge("show", (0, 45, 90), 2400),
    "binge_of_two": binge("show", (0, 45), 2400),
    "three_in_exactly_24_hours": binge("show", (0, 60, DAY), 2400),
    "three_in_a_second_more": binge("show", (0, 60, DAY + SECOND), 2400),
    "binge_without_seconds": binge("soap", (0, 30, 60), None),
    "one_of_each_series": ((0, "show_6", "play", 600, 1), (20, "soap_1", "play", 600, 1)),
    "episode_without_series": ((0, "pilot", "play", 900, 1), (9, "its_own_series", "play", 900, 1)),
    "series_itself": ((0, "soap", "play", 300, 1), (3, "show", "play", 180, 1)),
    "series_and_an_episode": ((0, "show", "play", 300, 1), (5, "show_1", "play", 600, 1)),
    "series_without_episodes": ((0, "show_to_come", "trailer", 45, 1),),
    "content_nobody_knows": ((0, "missing", "play", 700, 1), (9, "film", "play", 700, 1)),
    "no_content": ((0, None, "play", 900, 1), (1, None, "search", None, 1)),
    "half_watched_half_browsed": ((0, "film", "play", 1800, 1), (1, "report", "click", None, 1)),
    "half_film_half_series": ((0, "film", "play", 600, 1), (10, "show_2", "play", 600, 1)),
    "browsed": (
        (0, "film", "click", None, 1),
        (2, "show", "view", None, 3),
        (3, None, "view", 5, 1),
    ),
    "searched": ((0, None, "search", None, 2),),
    "nobody_knows_what_nor_how_long": ((0, None, "play", None, 1),),
    "curated": ((0, "film", "bookmark", None, 1), (1, "report", "playlist", None, 1)),
    "rated": ((0, "film", "rate", None, 1), (1, "film", "like", None, 1)),
    "unknown_type": ((0, "film", "teleport", None, 1), (1, "film", "PLAY", 900, 1)),
    "ignored": ((0, "film", "impression", 500, 4), (1, None, "login", None, 1)),
    "heartbeats": tuple((minute, "report", "heartbeat", 30.25, 2) for minute in range(0, 90, 15)),
    "of_no_type": ((0, "of_no_type", "play", 400, 1), (300, "film_without_tags", "play", 400, 1)),
    "just_under_half_an_hour": ((0, "film", "play", 1799.5, 1),),
    "half_an_hour": ((0, "film", "play", 1799.5, 1), (30, "film", "play", 0.5, 1)),
}
GLANCES = (
    "one_second_short",
    "just_long_enough",
    "browsed",
    "searched",
    "curated",
    "rated",
    "zero_seconds",
    "unknown_type",
    "series_itself",
    "series_without_episodes",
    "nobody_knows_what_nor_how_long",
)
"""Visits that are a spike."""
NEARLY_GLANCES = ("no_content", "of_no_type", "just_under_half_an_hour", "half_an_hour")
"""Visits that are a spike or not, as the thresholds say."""


@dataclass(frozen=True)
class Visit:
    """What happened `gap` days after the visit before, and again on each of `days` days."""

    gap: int
    days: int
    at: time
    what: str


@dataclass(frozen=True)
class History:
    """One viewer: the document if there is one, and the visits."""

    document: Row | None
    visits: tuple[Visit, ...]


@dataclass(frozen=True)
class World:
    """Viewers who came between two dates, and the catalogue."""

    first_day: date
    last_day: date
    histories: tuple[History, ...]
    contents: Mapping[str, Row]
    default_timezone: str

    @property
    def users(self) -> dict[str, Row]:
        """The user documents by user_id."""
        return {
            f"viewer_{number}": history.document
            for number, history in enumerate(self.histories)
            if history.document is not None
        }

    @property
    def events(self) -> dict[str, Event]:
        """All events by event_id: those that lie in the days, and one that nobody counts."""
        start = datetime.combine(self.first_day, time(12))
        events = {"clock": Event("nobody", None, "impression", start)}
        for number, history in enumerate(self.histories):
            for event in self._events_of(f"viewer_{number}", history):
                if self.first_day <= event.occurred_at.date() <= self.last_day:
                    events[f"{event.user_id}-{len(events)}"] = event
        return events

    def _events_of(self, user_id: str, history: History) -> list[Event]:
        timezone = (history.document or {}).get("timezone")
        known = timezone in zoneinfo.available_timezones()
        zone = zoneinfo.ZoneInfo(timezone if timezone and known else self.default_timezone)
        events = []
        day = self.first_day - timedelta(days=1)
        for visit in history.visits:
            day += timedelta(days=visit.gap)
            for _ in range(visit.days):
                start = datetime.combine(day, visit.at, zone).astimezone(UTC).replace(tzinfo=None)
                events += [
                    Event(
                        user_id,
                        content_id,
                        event_type,
                        start + timedelta(minutes=minutes),
                        watch_seconds,
                        event_count,
                    )
                    for minutes, content_id, event_type, watch_seconds, event_count in VISITS[
                        visit.what
                    ]
                ]
                day += timedelta(days=1)
            day -= timedelta(days=1)
        return events


def histories(
    first_day: date, last_day: date, visits: st.SearchStrategy[tuple[Visit, ...]]
) -> st.SearchStrategy[History]:
    """One viewer's history of such visits within the days, or a little beyond."""
    dates = st.sampled_from(
        [
            None,
            first_day - timedelta(days=400),
            first_day + (last_day - first_day) // 3,
            first_day + (last_day - first_day) * 2 // 3,
            last_day + timedelta(days=9),
        ]
    )
    document = st.builds(
        lambda timezone, signed_up_on, cancelled_on: {
            "timezone": timezone,
            "signed_up_on": signed_up_on,
            "cancelled_on": cancelled_on,
        },
        st.sampled_from(ZONES),
        dates,
        dates,
    )
    return st.builds(
        History,
        document=st.one_of(document, document, document, st.none()),
        visits=visits,
    )


def of_anybody() -> st.SearchStrategy[tuple[Visit, ...]]:
    """Visits of all kinds at all times."""
    visit = st.builds(
        Visit,
        gap=st.sampled_from(GAPS),
        days=st.sampled_from((1, 1, 1, 2, 3)),
        at=st.sampled_from(LOCAL_TIMES),
        what=st.sampled_from(sorted(VISITS)),
    )
    return st.lists(visit, min_size=4, max_size=16).map(tuple)


def of_a_ghost() -> st.SearchStrategy[tuple[Visit, ...]]:
    """Visits of somebody who looks in now and then, and perhaps stays once."""
    visit = st.builds(
        Visit,
        gap=st.sampled_from(GAPS_OF_A_GHOST),
        days=st.sampled_from((1, 1, 1, 1, 1, 1, 1, 2, 2, 3)),
        at=st.sampled_from(LOCAL_TIMES),
        what=st.sampled_from((*GLANCES, *GLANCES, *NEARLY_GLANCES)),
    )
    return st.lists(visit, min_size=7, max_size=14).map(tuple)


def of_a_habit() -> st.SearchStrategy[tuple[Visit, ...]]:
    """Visits of somebody who comes on the same weekday or at the same hour, mostly."""

    def at(usual: time) -> st.SearchStrategy[tuple[Visit, ...]]:
        visit = st.builds(
            Visit,
            gap=st.sampled_from(GAPS_OF_A_HABIT),
            days=st.sampled_from((1, 1, 1, 2)),
            at=st.sampled_from((usual, usual, usual, *LOCAL_TIMES)),
            what=st.sampled_from(sorted(VISITS)),
        )
        return st.lists(visit, min_size=8, max_size=16).map(tuple)

    return st.sampled_from(LOCAL_TIMES).flatmap(at)


@st.composite
def catalogues(draw: st.DrawFn) -> dict[str, Row]:
    """The catalogue, with entries that are not there or say something else."""
    contents = dict(CATALOGUE)
    for content_id in draw(st.lists(st.sampled_from(sorted(CATALOGUE)), max_size=3)):
        contents.pop(content_id, None)
    for content_id in draw(st.lists(st.sampled_from(sorted(contents)), max_size=2)):
        contents[content_id] = corrected(contents[content_id])
    return contents


def corrected(document: Row) -> Row:
    """A catalogue entry after a correction."""
    return {**document, "genres": ["western", "drama"]}


def worlds(
    viewers: int, days: tuple[int, ...], variables: Vars | None = None
) -> st.SearchStrategy[World]:
    """A number of viewers over one of some numbers of days, in a spring or an autumn."""

    kinds = (of_anybody(), of_a_ghost(), of_a_habit(), of_anybody(), of_a_ghost())

    def of(first_day: date, length: int) -> st.SearchStrategy[World]:
        last_day = first_day + timedelta(days=length - 1)
        return st.builds(
            World,
            first_day=st.just(first_day),
            last_day=st.just(last_day),
            histories=st.tuples(
                *(
                    histories(first_day, last_day, visits)
                    for _, visits in zip(range(viewers), cycle(kinds), strict=False)
                )
            ),
            contents=catalogues(),
            default_timezone=st.just((variables or Vars()).default_timezone),
        )

    # The clocks of New York change on 10 March and on 3 November 2024.
    first_days = st.sampled_from([date(2024, 2, 12), date(2024, 9, 18), date(2024, 1, 31)])
    return st.tuples(first_days, st.sampled_from(days)).flatmap(lambda drawn: of(*drawn))


# --- the ways in which the events arrive ----------------------------------------------------------

Folder = dict[str, dict[str, Event]]
"""The content of the event files by name."""

STEPS = 3


@dataclass(frozen=True)
class Disturbance:
    """Something that goes wrong with a file before, at or after a step of the delivery.

    late: an event is missing before the step. elsewhere: it is missing, and comes in another file.
    wrong: the file holds other things before the step. twice: from the step on a copy is there,
    too. emptied: without rows at the step, and full again after it. gone: without rows from the
    step on, for good. merged: from the step on its rows are in another day's file. entry: a
    catalogue entry says something else before the step; entry_missing: it is not there.
    """

    kind: str
    step: int
    position: int


KINDS = ("late", "elsewhere", "wrong", "twice", "emptied", "gone", "merged", "entry", "missing")


@dataclass(frozen=True)
class Delivery:
    """How the events of a world come to the service's files, and when they are built.

    There are STEPS steps, with a load at each; `builds_after` names those but the last with a
    build. At the last step all is delivered and right.
    """

    order: str
    disturbances: tuple[Disturbance, ...]
    builds_after: frozenset[int]

    def folder(self, world: World, step: int) -> Folder:
        """The event files at a step: one for each day with events, and what went wrong."""
        events = world.events
        clock = events.pop("clock")
        days = sorted({event.occurred_at.date() for event in events.values()})
        files: Folder = {str(day): {} for day in days}
        for event_id, event in events.items():
            files[str(event.occurred_at.date())][event_id] = event
        delivered_at = {
            name: self._delivered_at(position, len(files)) for position, name in enumerate(files)
        }
        names = list(files)
        for disturbance in self.disturbances:
            if names:
                _disturb(files, names, delivered_at, disturbance, step)
        delivered = {name: rows for name, rows in files.items() if delivered_at[name] <= step}
        return {"clock": {"clock": clock}, **delivered}

    def contents(self, world: World, step: int) -> dict[str, Row]:
        """The catalogue at a step."""
        contents = dict(world.contents)
        for disturbance in self.disturbances:
            if disturbance.kind in ("entry", "missing") and step < disturbance.step and contents:
                content_id = sorted(contents)[disturbance.position % len(contents)]
                if disturbance.kind == "entry":
                    contents[content_id] = corrected(contents[content_id])
                else:
                    del contents[content_id]
        return contents

    def steps(self, service: Service, world: World) -> Iterator[int]:
        """Change the service's files step by step; what is done with them is up to the caller."""
        before: Folder = {}
        for step in range(STEPS):
            folder = self.folder(world, step)
            for name in before.keys() - folder.keys():
                service.remove_events(name)
            for name, events in folder.items():
                if before.get(name) != events:
                    service.write_events(name, events)
            service.write_contents(self.contents(world, step))
            before = folder
            yield step

    def _delivered_at(self, position: int, files: int) -> int:
        if self.order == "forward":
            return position * STEPS // files
        if self.order == "backward":
            return STEPS - 1 - position * STEPS // files
        return (position * 7 + position // 5) % STEPS


def _disturb(
    files: Folder,
    names: list[str],
    delivered_at: dict[str, int],
    disturbance: Disturbance,
    step: int,
) -> None:
    name = names[disturbance.position % len(names)]
    rows = files[name]
    event_ids = sorted(rows)
    one = event_ids[disturbance.position % len(event_ids)] if event_ids else None
    match disturbance.kind:
        case "late" if one and step < disturbance.step:
            del rows[one]
        case "elsewhere" if one:
            event = rows.pop(one)
            if step >= disturbance.step:
                home = names[(disturbance.position + 3) % len(names)]
                files[home][one] = event
                delivered_at[home] = min(delivered_at[home], disturbance.step)
        case "wrong" if step < disturbance.step:
            for event_id in event_ids[::2]:
                rows[event_id] = replace(rows[event_id], watch_seconds=1e4, content_id="report")
            for event_id in event_ids[1::2]:
                rows[event_id] = replace(rows[event_id], user_id="intruder")
            if one:
                rows["only_there_at_first"] = replace(rows[one], event_type="play")
        case "twice" if step >= disturbance.step:
            files[f"again_{name}"] = dict(rows)
            delivered_at[f"again_{name}"] = max(disturbance.step, delivered_at[name])
        case "emptied" if step == disturbance.step:
            rows.clear()
        case "gone" if step >= disturbance.step:
            rows.clear()
        case "merged" if step >= disturbance.step:
            home = names[(disturbance.position + 1) % len(names)]
            if home != name:
                files[home].update(rows)
                rows.clear()
                delivered_at[home] = min(delivered_at[home], max(disturbance.step, 0))
        case _:
            pass


def deliveries() -> st.SearchStrategy[Delivery]:
    """A way to deliver any world."""
    disturbance = st.builds(
        Disturbance,
        kind=st.sampled_from(KINDS),
        step=st.integers(1, STEPS - 1),
        position=st.integers(0, 200),
    )
    return st.builds(
        Delivery,
        order=st.sampled_from(["forward", "backward", "mixed"]),
        disturbances=st.lists(disturbance, min_size=2, max_size=10).map(tuple),
        builds_after=st.sampled_from([frozenset({0}), frozenset({1}), frozenset({0, 1})]),
    )


def everything(folder: Folder) -> Events:
    """All events of the files, each once."""
    return {event_id: event for rows in folder.values() for event_id, event in rows.items()}


# --- examples -----------------------------------------------------------------------------------


IS_PROOF = os.environ.get("PERSONAS_SUITE") == "proof"


def by_suite(test: int, proof: int) -> int:
    """How many examples there are: some in `make test`, more in `make proof`."""
    return proof if IS_PROOF else test


def examples(number: int) -> settings:
    """So many examples, which cost several builds each: the same in CI every time.

    They are not shrunk, because that takes hundreds of builds: PERSONAS_SHRINK=1 asks for it.
    """
    phases = [Phase.explicit, Phase.reuse, Phase.generate]
    return settings(
        max_examples=number,
        deadline=None,
        derandomize="CI" in os.environ,
        print_blob=True,
        phases=list(Phase) if "PERSONAS_SHRINK" in os.environ else phases,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example],
    )


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder of one example, gone at its end."""
    with tempfile.TemporaryDirectory(prefix="personas-") as folder:
        yield Path(folder)
