"""What is dropped by retention changes no result, and what cannot be built again is never lost."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from histories import CATALOGUE, by_suite, examples, temporary_folder
from reference.definitions import Event, Row, Vars
from service import PARTITIONS, Events, Service, as_yaml, differences
from viewer_personas import prune as prune_step
from viewer_personas.build import build
from viewer_personas.config import load_sources
from viewer_personas.database.connection import connect
from viewer_personas.errors import CheckFailed, InputError
from viewer_personas.prune import PruneSummary, prune
from viewer_personas.sources.load import load

# few evaluation dates and as short a lookback as there can be, and clocks that differ from UTC
VARS = Vars(lookback_days=168, as_of_history_weeks=2)
OTHER_CLOCK = replace(VARS, default_timezone="America/New_York")
FIRST_DAY, DAYS = date(2024, 1, 1), 210
LAST_DAY = FIRST_DAY + timedelta(days=DAYS - 1)
RAW_DAYS = 20
HISTORY_DAYS = 168 + 14 + 7
EVENTS_FROM = LAST_DAY - timedelta(days=RAW_DAYS - 1)
HISTORY_FROM = LAST_DAY - timedelta(days=HISTORY_DAYS - 1)
LATE_DAY = EVENTS_FROM - timedelta(days=60)
LATE = {"late": Event("viewer5", "film", "play", datetime.combine(LATE_DAY, time(18)), 4000)}
ONLY_RAW = {"raw_retention_days": RAW_DAYS}
BOTH = {**ONLY_RAW, "history_retention_days": HISTORY_DAYS}
EXAMPLES = by_suite(4, 20)
# Whether events are there is what pruning changes.
HAS_EVENTS = ["has_events"]

USERS: dict[str, Row] = {"viewer0": {"timezone": "Asia/Kolkata"}, "viewer1": {"timezone": "UTC"}}


def events_of(day: date) -> dict[str, Event]:
    """A few viewings a day, at hours that fall on two dates of some clocks."""
    number = (day - FIRST_DAY).days
    contents = sorted(CATALOGUE)
    return {
        f"{day}-{viewer}-{hour}": Event(
            f"viewer{viewer}",
            contents[(number // 3 + viewer * hour) % len(contents)],
            "play",
            datetime.combine(day, time(hour)),
            300.0 * (viewer + 1),
        )
        for viewer in range(6)
        for hour in (2, 12, 23)
        if (number // 5 + viewer) % (viewer + 2) == 0
    }


def write_day(service: Service, day: date, late: Events | None = None) -> None:
    service.write_events(str(day), {**events_of(day), **(late or {})})


@pytest.fixture(scope="module")
def built_once(tmp_path_factory: pytest.TempPathFactory, project_copy: Path) -> Service:
    """Seven months, loaded and built. Only to be copied."""
    del project_copy
    service = Service(tmp_path_factory.mktemp("retention") / "service")
    service.write_contents(CATALOGUE)
    service.write_users(USERS)
    for number in range(DAYS):
        write_day(service, FIRST_DAY + timedelta(days=number))
    service.run(VARS)
    return service


@pytest.fixture(scope="module")
def pruned_once(built_once: Service, tmp_path_factory: pytest.TempPathFactory) -> Service:
    """The same without the events that are older than twenty days. Only to be copied."""
    service = built_once.copy(tmp_path_factory.mktemp("retention") / "pruned")
    pruned(service, ONLY_RAW)
    return service


def one_day_later(service: Service) -> None:
    """The next day, and with it a late event."""
    write_day(service, LATE_DAY, LATE)
    write_day(service, LAST_DAY + timedelta(days=1))
    assert service.load().slices_loaded == 2
    service.build(VARS)


@pytest.fixture(scope="module")
def later_once(built_once: Service, tmp_path_factory: pytest.TempPathFactory) -> Service:
    """The service a day later, never pruned. Only to be read."""
    service = built_once.copy(tmp_path_factory.mktemp("retention") / "later")
    one_day_later(service)
    return service


@pytest.fixture
def never_pruned(built_once: Service, tmp_path: Path) -> Service:
    return built_once.copy(tmp_path / "never_pruned")


@pytest.fixture
def service(pruned_once: Service, tmp_path: Path) -> Service:
    return pruned_once.copy(tmp_path / "pruned")


def pruned(
    service: Service, retention: dict[str, int], variables: Vars = VARS, *, dry_run: bool = False
) -> PruneSummary:
    given = {**yaml.safe_load(as_yaml(variables) or "{}"), **retention}
    return prune(service.database, variables=yaml.safe_dump(given), dry_run=dry_run)


def restore(service: Service, since: date, until: date | None = None) -> None:
    sources = load_sources(service.folder / "sources.yml")
    load(sources, service.database, since=since, until=until, restore=True)


def raw_state(service: Service) -> dict[str, list[Row]]:
    tables = ("raw.events", "raw.rejected_events", "raw.slices", "raw.publications")
    return {table: service.rows(f"select * from {table} order by all") for table in tables}


def event_days(service: Service) -> tuple[date, date]:
    [row] = service.rows("select min(source_date) as f, max(source_date) as t from raw.events")
    return row["f"], row["t"]


# --- raw events ----------------------------------------------------------------------------------


def test_dropped_events_change_no_table_after_a_further_day_with_a_late_event(
    service: Service, built_once: Service, later_once: Service
) -> None:
    assert event_days(service) == (EVENTS_FROM, LAST_DAY)
    assert differences(service.tables(), built_once.tables()) == {}
    one_day_later(service)
    assert differences(service.tables(), later_once.tables(), without=HAS_EVENTS) == {}

    # the late day came whole, and goes again; the second time there is nothing to do
    assert service.load().slices_loaded == 0
    assert pruned(service, ONLY_RAW).tables["raw.events"].days == 2
    assert pruned(service, ONLY_RAW).tables == {}
    one_day = timedelta(days=1)
    assert event_days(service) == (EVENTS_FROM + one_day, LAST_DAY + one_day)


def test_files_that_are_gone_take_no_day_whose_events_were_dropped(service: Service) -> None:
    before = raw_state(service)
    for number in range(DAYS - RAW_DAYS):
        service.remove_events(str(FIRST_DAY + timedelta(days=number)))
    summary = service.load()
    assert (summary.slices_loaded, summary.slices_removed, summary.warnings) == (0, 0, [])
    assert raw_state(service) == before

    # one late event cannot stand for a whole day
    write_day(service, LAST_DAY, LATE)
    [warning] = service.load().warnings
    assert f"--restore --since {LATE_DAY}" in warning
    versions = {row["source_date"]: row["version"] for row in before["raw.slices"]}
    assert event_days(service) == (EVENTS_FROM, LAST_DAY)
    assert {
        row["source_date"]: row["version"]
        for row in service.rows("select source_date, version from raw.slices")
    } == versions
    again = service.load()
    assert (again.slices_loaded, again.warnings) == (0, [])

    # unless that is what is asked for
    restore(service, FIRST_DAY, LATE_DAY)
    assert service.rows("select min(source_date) as first, count(*) as days from raw.slices") == [
        {"first": LATE_DAY, "days": (LAST_DAY - LATE_DAY).days + 1}
    ]
    with pytest.raises(InputError, match="--since"):
        load(load_sources(service.folder / "sources.yml"), service.database, restore=True)


@pytest.mark.histories
def test_any_order_of_late_events_prunings_and_lost_files_gives_the_slices_of_one_load() -> None:
    """Of a step: on which days late events come, how many first days are pruned after it, and how
    many of these lose their files then."""
    day = st.integers(0, 5)
    steps = st.lists(st.tuples(st.sets(day, max_size=3), day, day), min_size=3, max_size=3)

    @examples(EXAMPLES)
    @given(steps)
    def lives_on_as_if_nothing_was_dropped(steps: list[tuple[set[int], int, int]]) -> None:
        with temporary_folder() as folder:
            service, whole = Service(folder / "pruned"), Service(folder / "whole")
            events = {n: events_of(FIRST_DAY + timedelta(days=n)) for n in range(6)}
            changed, lost = set(events), 0
            for number, (late_days, pruned_days, lost_days) in enumerate(steps):
                for n in changed | {n for n in late_days if n >= lost}:
                    at = datetime.combine(FIRST_DAY + timedelta(days=n), time(4, number))
                    events[n][f"late-{n}-{number}"] = Event("viewer0", "film", "play", at, 60)
                    for each in (service, whole):
                        each.write_events(str(n), events[n])
                changed = set()
                service.load()
                summary = PruneSummary(False, FIRST_DAY + timedelta(days=pruned_days))
                with connect(service.database) as connection:
                    prune_step._apply(connection, summary)
                for n in range(lost, min(pruned_days, lost_days)):
                    service.remove_events(str(n))
                    lost = n + 1
            service.load()
            whole.load()
            query = "select source_date, version, row_count from raw.slices order by all"
            assert service.rows(query) == whole.rows(query)

    lives_on_as_if_nothing_was_dropped()


def test_a_changed_definition_stops_before_it_loses_what_it_cannot_build(
    service: Service, never_pruned: Service
) -> None:
    before = service.tables()
    for variables, full_refresh in ((OTHER_CLOCK, False), (VARS, True)):
        with pytest.raises(CheckFailed, match=f"days from {FIRST_DAY} .*--restore --since"):
            service.build_by_dbt(variables, full_refresh=full_refresh)
        after = service.tables()
        kept = [{name: tables[name] for name in PARTITIONS} for tables in (before, after)]
        assert differences(*kept) == {}
    with pytest.raises(CheckFailed, match="--restore"):
        service.build_by_dbt(OTHER_CLOCK)
    with pytest.raises(InputError, match="not built yet"):
        pruned(service, {"raw_retention_days": 5})

    # the old definition is met as before
    ledger = service.ledger()
    service.build_only("+user_content_days", variables=VARS)
    assert service.ledger() == ledger
    assert differences(service.tables(), before, without=HAS_EVENTS) == {}

    # and the new one as soon as the events are there again
    restore(service, FIRST_DAY)
    query = "select * from metrics.user_content_hours order by all"
    for each in (service, never_pruned):
        each.build_only("+user_content_hours", variables=OTHER_CLOCK)
    assert service.rows(query) == never_pruned.rows(query)


def test_a_late_document_restates_the_days_whose_events_are_there(service: Service) -> None:
    service.write_users({**USERS, "viewer2": {"timezone": "Asia/Tokyo"}})
    service.load()
    before = service.ledger()
    service.build_only("+user_content_hours", variables=VARS)
    rebuilt = {
        day
        for (model, day), run in service.ledger().items()
        if model == "metrics.user_content_hours" and before[model, day] != run
    }
    assert rebuilt and min(rebuilt) >= EVENTS_FROM
    hours = service.rows(
        "select distinct extract(hour from first_at) as utc, local_hour"
        " from metrics.user_content_hours"
        f" where user_id = 'viewer2' and source_date >= '{min(rebuilt)}'"
    )
    assert hours and all((row["utc"] + 9) % 24 == row["local_hour"] for row in hours)


# --- history ------------------------------------------------------------------------------------


def test_given_up_history_changes_nothing_that_is_kept(
    never_pruned: Service, later_once: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = never_pruned
    before = raw_state(service)
    would = pruned(service, BOTH, dry_run=True)
    assert raw_state(service) == before

    # killed half-way
    monkeypatch.setattr(prune_step, "_limit", dies_at_the_call(len(would.tables) + 3))
    with pytest.raises(KeyboardInterrupt):
        pruned(service, BOTH)
    monkeypatch.undo()
    assert raw_state(service) == before

    assert pruned(service, BOTH).tables == would.tables
    assert would.tables["raw.slices"].days == DAYS - HISTORY_DAYS
    assert event_days(service) == (EVENTS_FROM, LAST_DAY)
    assert service.load().slices_loaded == 0
    one_day_later(service)
    assert history_differs(service, later_once, HISTORY_FROM) == {}
    # the next day is the history's, too: the first one goes
    assert pruned(service, BOTH).tables["raw.slices"].days == 1

    # nothing is left of an expired day once its file is gone too
    service.remove_events(str(FIRST_DAY))
    assert service.load().slices_removed == 1


def dies_at_the_call(number: int) -> Callable[[PruneSummary, str], date | None]:
    calls = 0
    limit = prune_step._limit

    def dying(summary: PruneSummary, table: str) -> date | None:
        nonlocal calls
        calls += 1
        if calls == number:
            raise KeyboardInterrupt
        return limit(summary, table)

    return dying


def history_differs(one: Service, other: Service, first_day: date) -> object:
    """What differs but for the days before the first one. Its local date draws on the day before
    it, and is not whole."""

    def later_rows(service: Service) -> dict[str, list[Row]]:
        found = service.tables()
        for name in found:
            for column in ("source_date", "activity_date"):
                found[name] = [
                    row for row in found[name] if column not in row or row[column] > first_day
                ]
        return found

    [kept] = one.rows("select min(source_date) as first_day from metrics.user_content_hours")
    assert kept["first_day"] >= first_day
    return differences(later_rows(one), later_rows(other), without=HAS_EVENTS)


# --- what is refused ----------------------------------------------------------------------------


def test_what_is_not_built_is_not_dropped(never_pruned: Service) -> None:
    write_day(never_pruned, LATE_DAY, LATE)
    never_pruned.load()
    before = raw_state(never_pruned)
    with pytest.raises(InputError, match=f"1 days from {LATE_DAY} .*personas build"):
        pruned(never_pruned, ONLY_RAW)
    assert raw_state(never_pruned) == before


def test_history_that_an_evaluation_date_needs_is_not_dropped(never_pruned: Service) -> None:
    before = raw_state(never_pruned)
    with pytest.raises(InputError, match=r"history_retention_days.*lookback_days"):
        pruned(never_pruned, {"history_retention_days": 170})
    assert raw_state(never_pruned) == before


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ("{history_retention_days: 370}", "history_retention_days.*at least 371"),
        ("{raw_retention_days: -1}", "raw_retention_days"),
        ("{raw_retention_days: some}", "raw_retention_days"),
    ],
)
def test_a_retention_that_makes_no_sense_is_named(
    built_once: Service, variables: str, named: str
) -> None:
    with pytest.raises(InputError, match=named):
        build(built_once.database, variables=variables)
    if "raw" in named:
        with pytest.raises(InputError, match=named):
            prune(built_once.database, variables=variables)


def test_a_day_from_the_future_makes_no_other_day_old(never_pruned: Service) -> None:
    never_pruned.execute(
        "insert into raw.slices (source_date, version, row_count, loaded_at)"
        " values ('2090-01-01', 'x', 1, now() at time zone 'UTC')"
    )
    assert pruned(never_pruned, ONLY_RAW, dry_run=True).events_from == EVENTS_FROM
