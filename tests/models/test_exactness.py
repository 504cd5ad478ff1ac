"""What a run rebuilds after a change: what the change can reach, and no more.

And after it the tables are those of one load of everything, to the last bit of every number. Any
history in any order of arrival is shown in test_any_delivery.py.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from pathlib import Path

import pytest

from histories import CATALOGUE, OTHER_VARS, corrected, temporary_folder
from reference.definitions import Event, Row, Vars
from service import (
    PARTITIONS,
    VERSIONS,
    Events,
    Service,
    dates_between,
    differences,
    load_at_once,
)

SOURCE_MODELS = {name for name, column in PARTITIONS.items() if column == "source_date"}
ACTIVITY_MODELS = {name for name, column in PARTITIONS.items() if column == "activity_date"}
# Who a viewer was before is part of these: they follow from the first evaluation date on.
HISTORY_MODELS = {
    name
    for name, column in PARTITIONS.items()
    if name.startswith("personas.")
    and name != "personas.persona_matches"
    and column == "as_of_date"
}
PERSONA_MODELS = {"personas.persona_matches", *HISTORY_MODELS}
AS_OF_MODELS = {name for name, column in PARTITIONS.items() if column == "as_of_date"}
HORIZON = timedelta(days=28)
OUTCOME_MODELS = {name for name, column in PARTITIONS.items() if column == "outcome_date"}


def test_partitions_are_built_as_many_at_a_time_as_the_vars_say(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBT_LOG_PATH", str(tmp_path / "logs"))
    monkeypatch.setenv("DBT_LOG_LEVEL_FILE", "debug")
    events = {
        f"{hour}-{day}": Event("somebody", None, "search", datetime.combine(day, time(hour)))
        for day in dates_between(date(2024, 1, 1), date(2024, 2, 29))
        for hour in (12, 13)
    }
    service.write_events("all", events)
    service.load()
    service.build_by_dbt(Vars(events_at_once=50, viewer_days_at_once=130))
    dates = len(service.tables()["metrics.as_of_dates"])
    log = (tmp_path / "logs" / "dbt.log").read_text(encoding="utf-8")
    statements = Counter(re.findall(r'insert into "service"\."(\w+"\."\w+)"', log))
    assert statements['metrics"."user_content_hours'] == 3, "25 of 60 days at a time"
    assert statements['metrics"."user_windows'] == -(-dates // 2) > 1, "60 viewer days a date"
    assert statements['metrics"."activity_periods'] == 1, "what dates have in common is done once"
    assert service.rebuilt(service.build_by_dbt(Vars(events_at_once=50))) == {}


def test_a_day_of_many_events_is_counted_in_parts_to_the_same_hours(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBT_LOG_PATH", str(tmp_path / "logs"))
    monkeypatch.setenv("DBT_LOG_LEVEL_FILE", "debug")
    many = date(2024, 3, 31)  # in Berlin the clocks are set
    zones = ("UTC", "Europe/Berlin", "Asia/Kolkata", "Pacific/Chatham")
    service.write_users({zone: {"timezone": zone} for zone in zones})
    times = [
        datetime.combine(day, time(0)) + timedelta(minutes=minutes)
        for day in dates_between(many - timedelta(days=2), many + timedelta(days=2))
        for minutes in range(0, 24 * 60, 7 if day == many else 300)
    ]
    events = {
        f"{zone} {moment}": Event(zone, "film", "play", moment, 90.1)
        for zone in zones
        for moment in times
    }
    service.write_events("all", events)
    service.load()
    query = "select * from metrics.user_content_hours order by all"
    service.build_only_by_dbt("+user_content_hours")
    at_once = service.rows(query)
    service.execute("delete from metrics.user_content_hours")
    service.build_only_by_dbt("+user_content_hours", variables=Vars(events_at_once=100))
    assert repr(service.rows(query)) == repr(at_once)
    assert sum(row["event_count"] for row in at_once) == len(events)

    log = (tmp_path / "logs" / "dbt.log").read_text(encoding="utf-8")
    inserts = re.findall(
        r'insert into "service"."metrics"."user_content_hours".*?SQL status', log, re.S
    )
    parts = [insert.count("events.occurred_at <") for insert in inserts]
    # 824 events on that day make 9 parts, the last of which has no end
    assert parts == [0, 8, 8, 8]


def test_a_partition_that_is_built_again_takes_the_place_of_the_one_before(
    service: Service,
) -> None:
    # In one model alone: rows that stood twice would multiply in all that come after it.
    hours = {f"{hour}": Event("anna", None, "search", noon(FIRST_DAY, hour)) for hour in (9, 10)}
    other_day = {"other": Event("anna", None, "search", noon(FIRST_DAY + timedelta(days=1)))}
    for events in (hours, {**hours, "late": Event("anna", None, "search", noon(FIRST_DAY, 11))}):
        service.write_events("all", {**events, **other_day})
        service.load()
        service.build_only("+user_content_hours")
        [found] = service.rows("select count(*) as rows from metrics.user_content_hours")
        assert found == {"rows": len(events) + len(other_day)}


# --- what a change rebuilds -----------------------------------------------------------------------

FIRST_DAY, LAST_DAY = date(2024, 1, 1), date(2024, 8, 31)
LATEST = date(2024, 8, 30)
SEEN_ONCE = date(2024, 2, 1)  # its lookback ends on 31 July
DORAS_FIRST = date(2024, 5, 2)


def noon(day: date, hour: int = 12) -> datetime:
    return datetime.combine(day, time(hour))


def small_events() -> dict[str, Event]:
    """Eight months in which not much happens: other_film and the shows are touched on one day."""
    events = [
        Event("nobody", None, "impression", noon(FIRST_DAY)),
        Event("nobody", None, "impression", noon(LAST_DAY)),
        Event("anna", "other_film", "play", noon(SEEN_ONCE), 3600),
        Event("anna", "film", "play", noon(date(2024, 4, 3)), 100),
        Event("anna", "film", "play", noon(date(2024, 4, 3), 13), None),
        Event("ben", "show_1", "play", noon(date(2024, 6, 10), 19), 1800),
        Event("ben", "show_2", "play", noon(date(2024, 6, 10), 20), 1800),
        Event("ben", "film", "click", noon(date(2024, 6, 11))),
        # of the series itself there is no entry, and nobody touches an episode of it
        Event("cleo", "soap", "play", noon(date(2024, 7, 2)), 900),
        Event("cleo", "missing", "play", noon(date(2024, 7, 3)), 900),
        *(Event("cleo", "report", "play", noon(date(2024, 8, day)), 700) for day in (5, 6, 7, 24)),
        *(Event("dora", "film", "play", noon(DORAS_FIRST, hour), 700) for hour in (21, 22, 23)),
        Event("dora", "report", "click", noon(date(2024, 5, 9), 23)),
    ]
    return {str(number): event for number, event in enumerate(events)}


SMALL_USERS: dict[str, Row] = {
    "anna": {"timezone": "Asia/Kolkata"},
    "ben": {"timezone": None, "signed_up_on": date(2024, 3, 5), "cancelled_on": date(2024, 7, 9)},
    "cleo": {"timezone": "America/New_York"},
}


@pytest.fixture(scope="session")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> Service:
    """The small service, loaded and built. Only to be copied."""
    service = Service(tmp_path_factory.mktemp("built_once") / "service")
    service.write_contents(CATALOGUE)
    service.write_users(SMALL_USERS)
    by_day: dict[str, dict[str, Event]] = {}
    for event_id, event in small_events().items():
        by_day.setdefault(str(event.occurred_at.date()), {})[event_id] = event
    for name, events in by_day.items():
        service.write_events(name, events)
    service.run()
    return service


@pytest.fixture
def small(built_once: Service, tmp_path: Path) -> Service:
    """The small service, loaded and built, to be changed."""
    return built_once.copy(tmp_path / "small")


@dataclass(frozen=True)
class Partitions:
    """All partitions that the small service has, and those that a date can reach."""

    source_dates: set[date]
    activity_dates: set[date]
    as_of_dates: set[date]

    @classmethod
    def of(cls, service: Service) -> "Partitions":
        tables = service.tables()
        return cls(
            *(
                {row[f"{name[:-1]}"] for row in tables[f"metrics.{name}"]}
                for name in ("source_dates", "activity_dates", "as_of_dates")
            )
        )

    def looking_back_on(self, *activity_dates: date) -> set[date]:
        """The evaluation dates with one of these in their lookback."""
        return {
            as_of_date
            for as_of_date in self.as_of_dates
            for activity_date in activity_dates
            if timedelta(0) <= as_of_date - activity_date < timedelta(days=Vars().lookback_days)
        }

    def from_the_first_of(self, dates: set[date]) -> set[date]:
        """What rests on who a viewer was before follows from the first date on."""
        return {as_of_date for as_of_date in self.as_of_dates if as_of_date >= min(dates)}

    def of_as_of_models(self, dates: set[date], *came_after: date) -> dict[str, set[date]]:
        """What must be rebuilt when the metrics of these evaluation dates have changed, and what
        became of viewers on the dates of `came_after`."""
        return {
            **dict.fromkeys(AS_OF_MODELS, dates),
            **dict.fromkeys(HISTORY_MODELS, self.from_the_first_of(dates)),
            **self.of_outcomes(dates, self.from_the_first_of(dates), *came_after),
        }

    def of_outcomes(
        self, audience: set[date], personas: set[date], *came_after: date
    ) -> dict[str, set[date]]:
        """The outcomes to be rebuilt when the audience or the personas of dates have changed."""
        outcome_dates = {
            as_of_date: as_of_date + HORIZON
            for as_of_date in self.as_of_dates
            if as_of_date + HORIZON <= max(self.as_of_dates)
        }
        outcomes = {
            outcome_date
            for as_of_date, outcome_date in outcome_dates.items()
            if as_of_date in audience or any(as_of_date < day <= outcome_date for day in came_after)
        }
        counts = {outcome_dates[day] for day in outcome_dates.keys() & personas} | outcomes
        of_models = {"personas.churn_outcomes": outcomes, "personas.churn_counts": counts}
        return {name: dates for name, dates in of_models.items() if dates}


def test_the_small_service_is_what_the_tests_below_take_it_for(built_once: Service) -> None:
    partitions = Partitions.of(built_once)
    assert max(partitions.as_of_dates) == LATEST
    assert len(partitions.as_of_dates) == 27
    touched = partitions.looking_back_on(SEEN_ONCE)
    assert (max(touched), len(touched)) == (date(2024, 7, 28), 22)
    for name in PARTITIONS:
        assert built_once.tables()[name], name


def test_a_second_build_rebuilds_nothing(small: Service) -> None:
    before = small.tables()
    assert small.rebuilt(small.run()) == {}
    assert differences(before, small.tables()) == {}


def test_a_file_written_again_with_the_same_events_rebuilds_nothing(small: Service) -> None:
    for path in sorted((small.folder / "events").glob("*.csv")):
        path.unlink()
    small.write_events("all_in_one", small_events())
    assert small.load().slices_changed == 0
    assert small.rebuilt(small.build()) == {}


def test_a_changed_var_rebuilds_what_depends_on_it(small: Service) -> None:
    # one after another, so that each is a change from the one before
    partitions = Partitions.of(small)

    def change(variables: Vars) -> dict[str, set[date]]:
        rebuilt = small.rebuilt(small.build(variables))
        assert_is_full_load(small, small_events(), variables=variables)
        return rebuilt

    before = small.tables()
    periods = Vars(
        binge_min_episodes=2, sleepy_min_days=10, spike_max_watch_minutes=15, genre_prior_titles=3
    )
    assert change(periods) == partitions.of_as_of_models(partitions.as_of_dates)
    after = small.tables()
    assert any(row["is_binge"] for row in after["metrics.period_series"])
    for name in ("activity_periods", "inactivity_regions", "user_genres", "user_windows"):
        assert before[f"metrics.{name}"] != after[f"metrics.{name}"], name

    watching = replace(periods, min_watch_seconds=60)
    assert change(watching) == {
        **dict.fromkeys(ACTIVITY_MODELS, partitions.activity_dates),
        **partitions.of_as_of_models(partitions.as_of_dates),
    }, "all but the hours"

    fewer_dates = replace(watching, as_of_history_weeks=5)
    assert change(fewer_dates).keys() == {*HISTORY_MODELS, "personas.churn_counts"}, "no metric"

    # another start of the day; no horizon is over within the few weeks of these dates
    assert change(OTHER_VARS).keys() == PARTITIONS.keys() - OUTCOME_MODELS


def test_a_changed_seed_rebuilds_what_depends_on_it(small: Service, project: Path) -> None:
    partitions = Partitions.of(small)

    def change(seed: str, old: str, new: str) -> dict[str, set[date]]:
        path = project / "seeds" / f"{seed}.csv"
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1
        path.write_text(text.replace(old, new), encoding="utf-8")
        rebuilt = small.rebuilt(small.build())
        assert_is_full_load(small, small_events())
        return rebuilt

    personas = {
        **dict.fromkeys(PERSONA_MODELS, partitions.as_of_dates),
        **partitions.of_outcomes(set(), partitions.as_of_dates),
    }
    newcomer = "newcomer,1,2,28,active_days,>="
    assert change("persona_rules", f"{newcomer},1", f"{newcomer},2") == personas, "a rule"
    chosen = {name: dates for name, dates in personas.items() if name != "personas.persona_matches"}
    assert change("personas", "binger,Binger,50", "binger,Binger,5") == chosen, "a priority"
    explained = {"personas.user_personas": partitions.as_of_dates}
    words = change("personas", 'Sleeper,10,"Was here, and', 'Dozer,10,"Was there, and')
    assert words == explained, "a label and a definition"
    assert change("personas", "Win back,One strong", "Recover,A strong") == {}, "other words"
    rebuilt = change("event_types", "click,browse,true", "click,curate,true")
    assert rebuilt.keys() == PARTITIONS.keys(), "an event type"


def test_a_corrected_catalogue_entry_restates_the_dates_that_look_back_on_it(
    small: Service,
) -> None:
    contents = dict(CATALOGUE)
    partitions = Partitions.of(small)

    def change(content_id: str, entry: Row | None, touched_on: date) -> None:
        if entry is None:
            del contents[content_id]
        else:
            contents[content_id] = entry
        small.write_contents(contents)
        expected = partitions.of_as_of_models(partitions.looking_back_on(touched_on))
        assert small.rebuilt(small.run()) == expected, content_id
        assert_is_full_load(small, small_events(), contents=contents)

    on_show = date(2024, 6, 10)
    change("other_film", corrected(CATALOGUE["other_film"]), SEEN_ONCE)
    change("missing", corrected({"content_type": "movie"}), date(2024, 7, 3))  # was unknown
    change("show_6", corrected(CATALOGUE["show_6"]), on_show)  # another episode than those seen
    # the series itself, of which the genre of show_6 is one now, too
    change("show", {**CATALOGUE["show"], "genres": ["another"]}, on_show)
    change("soap_1", corrected(CATALOGUE["soap_1"]), date(2024, 7, 2))  # touched without an entry
    change("show_1", None, on_show)  # taken away


def test_documents_of_what_nobody_touched_rebuild_nothing(small: Service) -> None:
    contents = {
        **CATALOGUE,
        "new_film": {"content_type": "movie", "genres": ["brand new"]},
        "film": {**CATALOGUE["film"], "title": "A much better film", "runtime_seconds": 5400},
        "film_without_tags": corrected(CATALOGUE["film_without_tags"]),
    }
    small.write_contents(contents)
    assert small.rebuilt(small.run()) == {}
    assert_is_full_load(small, small_events(), contents=contents)
    users = {
        **SMALL_USERS,
        "new_without_dates": {"timezone": "Asia/Tokyo"},
        "signs_up_after_the_last_date": {"signed_up_on": LATEST + timedelta(days=1)},
        "cancelled_without_having_signed_up": {"cancelled_on": date(2024, 4, 1)},
    }
    small.write_users(users)
    assert small.rebuilt(small.run()) == {}
    assert_is_full_load(small, small_events(), contents=contents, users=users)


def test_a_new_subscription_and_a_cancellation_restate_the_dates_from_then_on(
    small: Service,
) -> None:
    users = {
        **SMALL_USERS,
        "emil": {"signed_up_on": date(2024, 8, 11)},
        "ben": {**SMALL_USERS["ben"], "cancelled_on": date(2024, 8, 18)},
    }
    small.write_users(users)
    partitions = Partitions.of(small)
    rebuilt = small.rebuilt(small.run())
    # ben had cancelled on 9 July, and now only does so on 18 August
    cancellations = (date(2024, 7, 9), date(2024, 8, 18))
    assert rebuilt == partitions.of_as_of_models(
        partitions.from_the_first_of({date(2024, 7, 9)}), *cancellations
    )
    assert_is_full_load(small, small_events(), users=users)


def test_a_late_event_rebuilds_what_it_can_reach_and_no_more(small: Service) -> None:
    events = small_events()
    partitions = Partitions.of(small)

    def arrives(day: date, file: str) -> None:
        late = f"late-{day}"
        of_that_file = {
            event_id: event
            for event_id, event in events.items()
            if str(event.occurred_at.date()) == file
        }
        events[late] = Event("cleo", "show_3", "play", noon(day, 23), 1800)
        small.write_events(file, {**of_that_file, late: events[late]})
        reached = {day + timedelta(days=offset) for offset in (-1, 0, 1)}
        assert small.rebuilt(small.run()) == {
            **{name: {day} for name in SOURCE_MODELS},
            **dict.fromkeys(ACTIVITY_MODELS, reached),
            **partitions.of_as_of_models(partitions.looking_back_on(*reached), *reached),
        }
        assert_is_full_load(small, events)

    arrives(SEEN_ONCE - timedelta(days=1), "in_a_file_of_its_own")
    arrives(LAST_DAY, "late_on_the_last_day")
    arrives(date(2024, 6, 8), "2024-08-31")  # in the file of another day


def test_a_new_day_rebuilds_the_new_dates_only(small: Service) -> None:
    new_day = LAST_DAY + timedelta(days=1)
    events = {**small_events(), "new": Event("ben", "film", "play", noon(new_day), 1800)}
    small.write_events(str(new_day), {"new": events["new"]})
    rebuilt = small.rebuilt(small.run())
    reached = {new_day + timedelta(days=offset) for offset in (-1, 0, 1)}
    # The date that was the latest one is no Sunday and is dropped; the new latest one is built.
    latest = {LAST_DAY}
    assert rebuilt == {
        **{name: {new_day} for name in SOURCE_MODELS},
        **dict.fromkeys(ACTIVITY_MODELS, reached),
        **dict.fromkeys(AS_OF_MODELS, latest),
        **dict.fromkeys(HISTORY_MODELS, latest),
    }
    assert_is_full_load(small, events)


def test_a_day_that_becomes_empty_leaves_no_rows_behind(small: Service) -> None:
    day = date(2024, 6, 10)
    small.write_events(str(day), {})
    events = {
        event_id: event
        for event_id, event in small_events().items()
        if event.occurred_at.date() != day
    }
    small.run()
    assert_is_full_load(small, events)


@pytest.mark.parametrize("how_much", ["a_partition", "the_whole_table"])
def test_rows_deleted_by_hand_come_back(small: Service, how_much: str) -> None:
    before = small.tables()
    deleted = {}
    for name, column in PARTITIONS.items():
        partitions = {row[column] for row in before[name]}
        if how_much == "a_partition":
            partitions = {sorted(partitions)[len(partitions) // 2]}
            small.execute(f"delete from {name} where {column} = '{min(partitions)}'")
        else:
            small.execute(f"delete from {name}")
        deleted[name] = partitions
    rebuilt = small.rebuilt(small.build())
    assert {name: rebuilt[name] & dates for name, dates in deleted.items()} == deleted
    if how_much == "a_partition":
        assert rebuilt == deleted
    assert differences(before, small.tables()) == {}


def test_a_table_dropped_by_hand_comes_back(small: Service) -> None:
    before = small.tables()
    small.execute("drop table metrics.user_days")
    assert small.rebuilt(small.build()).keys() == {"metrics.user_days"}
    assert differences(before, small.tables()) == {}


# --- time zones that become known, or change -----------------------------------------------------


def test_a_document_that_comes_after_the_events_restates_the_viewers_dates(small: Service) -> None:
    users = {**SMALL_USERS, "dora": {"timezone": "Asia/Kolkata"}}
    partitions = Partitions.of(small)
    small.write_users(users)
    rebuilt = small.rebuilt(small.run())
    from_dora_on = {day for day in partitions.source_dates if day >= DORAS_FIRST}
    assert {name: rebuilt[name] for name in SOURCE_MODELS} == dict.fromkeys(
        SOURCE_MODELS, from_dora_on
    )
    assert_is_full_load(small, small_events(), users=users, without=VERSIONS)
    [hour] = small.rows(
        "select distinct activity_date, local_hour from metrics.user_content_hours"
        " where user_id = 'dora' and content_id = 'report'"
    )
    assert hour == {"activity_date": date(2024, 5, 10), "local_hour": 4}

    restated = small.tables()
    assert small.rebuilt(small.run()) == {}
    small.build(full_refresh=True)
    assert differences(restated, small.tables()) == {}


def test_a_zone_that_changes_holds_from_then_on_and_the_past_keeps_its_own(
    service: Service,
) -> None:
    # The run's clock tells when a zone was first seen: 2024 is before it, 2040 after it.
    past = {"past": Event("anna", "film", "play", datetime(2024, 5, 1, 22, 0), 600)}
    future = {"future": Event("anna", "film", "play", datetime(2040, 5, 1, 22, 0), 600)}
    hours = (
        "select source_date, activity_date, local_hour from metrics.user_content_hours"
        " order by source_date"
    )
    in_may = {"source_date": date(2024, 5, 1), "activity_date": date(2024, 5, 1), "local_hour": 18}
    service.write_users({"anna": {"timezone": "America/New_York"}})
    service.write_events("past", past)
    service.write_events("future", future)
    service.run()
    assert service.rows(hours) == [
        in_may,
        {"source_date": date(2040, 5, 1), "activity_date": date(2040, 5, 1), "local_hour": 18},
    ]

    service.write_users({"anna": {"timezone": "Asia/Kolkata"}})
    rebuilt = service.rebuilt(service.run())
    in_kolkata = {
        "source_date": date(2040, 5, 1),
        "activity_date": date(2040, 5, 1),
        "local_hour": 3,
    }
    assert service.rows(hours) == [in_may, in_kolkata]
    assert date(2024, 5, 1) not in rebuilt["metrics.user_content_hours"]

    service.write_users({})
    service.run()
    service.build(full_refresh=True)
    assert service.rows(hours) == [in_may, in_kolkata]


def assert_is_full_load(
    service: Service,
    events: Events,
    *,
    contents: Mapping[str, Row] = CATALOGUE,
    users: Mapping[str, Row] = SMALL_USERS,
    variables: Vars | None = None,
    without: Iterable[str] = (),
) -> None:
    """The tables are those of a new database with all of this in it."""
    with temporary_folder() as folder:
        fresh = load_at_once(folder / "fresh", events, contents, users, variables)
        assert differences(service.tables(), fresh.tables(), without=without) == {}
