"""What was published, what has changed since and why; and what a change of the rules would do."""

from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given

from histories import (
    CATALOGUE,
    STEPS,
    Delivery,
    by_suite,
    deliveries,
    examples,
    temporary_folder,
    worlds,
)
from histories import World as Histories
from reference.changes import State, membership_changes
from reference.definitions import Event, Row
from service import Service, dates_between
from viewer_personas import build as build_step
from viewer_personas.database.connection import connect
from viewer_personas.errors import CheckFailed
from viewer_personas.export import publications as publications_step
from viewer_personas.export.druid_tables import DruidTable
from viewer_personas.export.files import export_files
from viewer_personas.export.publications import ExportSummary, dates_of, exposures, record

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

PERSONAS = """\
persona,label,priority,definition,expected_risk,strategy,content_policy,send_policy,avoid
devotee,Devotee,10,Watches one genre.,low,,,,
regular,Regular,20,Is here.,low,,,,
casual,Casual,999,No other.,medium,,,,
"""
RULES = """persona,alternative,clause,window_days,metric,operator,threshold
devotee,1,1,28,top_genre_share,>=,0.9
regular,1,1,28,active_days,>=,4
"""
# A Tuesday is published. When the Wednesday comes it is dropped; the Sunday before it stays.
FIRST, LAST_COMMON, PUBLISHED, LATEST = (
    date(2024, 4, 1), date(2024, 5, 12), date(2024, 5, 14), date(2024, 5, 15),
)  # fmt: skip


@pytest.fixture(scope="module")
def manifest() -> "Manifest":
    return build_step.parse(Path("service.duckdb"))


@pytest.fixture(scope="module")
def few_rules(project_copy: Path) -> Iterator[Path]:
    """The project with two rules; put back afterwards."""
    texts = {"personas": PERSONAS, "persona_rules": RULES}
    before = {}
    for name, text in texts.items():
        path = project_copy / "seeds" / f"{name}.csv"
        before[path] = path.read_bytes()
        path.write_text(text)
    yield project_copy
    for path, content in before.items():
        path.write_bytes(content)


def searches(user: str, *days: date) -> dict[str, Event]:
    """One search on each day."""
    return {
        f"{user}-{day}": Event(user, None, "search", datetime.combine(day, time(12)), None)
        for day in days
    }


def days_of_may(*days: int) -> list[date]:
    return [date(2024, 5, day) for day in days]


def first_events() -> dict[str, Event]:
    every_day = dates_between(FIRST, PUBLISHED + timedelta(days=1))
    films = {
        f"dora-{film}": Event("dora", film, "play", datetime(2024, 5, day, 12), 600)
        for film, day in (("film", 4), ("other_film", 5))
    }
    return {
        # nobody is there on each day, so that each day is loaded
        **{
            f"clock-{day}": Event("nobody", None, "impression", datetime.combine(day, time(12)))
            for day in every_day
        },
        **searches("late", *days_of_may(1, 3, 5)),
        **searches("rule", *days_of_may(2, 4, 6)),
        **searches("moves", *days_of_may(7, 8, 9)),
        **films,
    }


def new_day() -> dict[str, Event]:
    """The day after the published one, on which `moves` comes again and `new` first."""
    after = LATEST + timedelta(days=1)
    return {
        "clock-new": Event("nobody", None, "impression", datetime.combine(after, time(12))),
        **searches("moves", LATEST),
        **searches("new", LATEST),
    }


def export(service: Service, manifest: "Manifest") -> ExportSummary:
    return export_files(manifest, service.database, service.folder / "exports")


def changes(service: Service) -> list[tuple[Any, ...]]:
    """as_of_date, user, change, persona, other persona, cause, published date."""
    return [
        tuple(row.values())
        for row in service.rows(
            "select as_of_date, user_id, change, persona, other_persona, cause,"
            " published_as_of_date from personas.membership_changes order by all"
        )
    ]


def publications(service: Service) -> list[Row]:
    return service.rows("select * from raw.publications order by as_of_date, published_at")


def published_personas(service: Service) -> list[Row]:
    return service.rows("select * from raw.published_personas order by all")


@pytest.fixture(scope="module")
def published(
    few_rules: Path, tmp_path_factory: pytest.TempPathFactory, manifest: "Manifest"
) -> Service:
    """A service whose personas were exported, and nothing has changed since."""
    service = Service(tmp_path_factory.mktemp("changes") / "published")
    service.write_contents(CATALOGUE)
    service.write_events("first", first_events())
    service.run()
    export(service, manifest)
    return service


@pytest.fixture
def copied(published: Service, tmp_path: Path) -> Service:
    return published.copy(tmp_path / "copied")


# --- the last published state ---------------------------------------------------------------------


def test_export_records_what_was_published(published: Service) -> None:
    rows = published.rows(
        "select as_of_date, user_id, persona from personas.user_personas order by all"
    )
    assert published_personas(published) == rows
    assert {row["as_of_date"] for row in rows} >= {LAST_COMMON, PUBLISHED}
    recorded = publications(published)
    assert [row["as_of_date"] for row in recorded] == sorted({row["as_of_date"] for row in rows})
    for row in recorded:
        assert row["exposure"] == "user_personas_files"
        assert row["row_count"] == sum(item["as_of_date"] == row["as_of_date"] for item in rows)
    versions = "as_of_date, input_version, history_version, activity_version, rules_version"
    assert published.rows(
        f"select {versions} from raw.publications order by all"
    ) == published.rows(f"select {versions} from personas.persona_dates order by all")


def test_nothing_is_changed_against_what_was_just_published(
    copied: Service, manifest: "Manifest"
) -> None:
    copied.build()
    assert changes(copied) == []
    before = publications(copied), published_personas(copied)
    stamp = copied.database.stat().st_mtime_ns
    assert export(copied, manifest).written == 0
    assert (publications(copied), published_personas(copied)) == before
    assert copied.database.stat().st_mtime_ns == stamp, "the database was written to"


@pytest.mark.parametrize("killed_in", ["_record", "_add_publication"])
def test_an_export_that_is_killed_leaves_the_old_state_and_can_be_run_again(
    copied: Service, manifest: "Manifest", killed_in: str
) -> None:
    copied.write_events("new", new_day())
    copied.run()
    moved = changes(copied)
    before = publications(copied), published_personas(copied)
    original: Callable[..., None] = getattr(publications_step, killed_in)
    called = 0

    def killed(*arguments: Any) -> None:
        nonlocal called
        called += 1
        if killed_in == "_add_publication" and called == 1:
            return original(*arguments)  # the second date kills it, when the state is replaced
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publications_step, killed_in, killed)
        if killed_in == "_add_publication":
            patch.setattr(publications_step, "_unrecorded", lambda *items: items[2])  # all dates
        with pytest.raises(KeyboardInterrupt):
            export(copied, manifest)
    assert (publications(copied), published_personas(copied)) == before
    copied.build_only("membership_changes")
    assert changes(copied) == moved != []
    assert export(copied, manifest).written == 0  # the files were there already
    assert max(row["as_of_date"] for row in published_personas(copied)) == LATEST
    assert PUBLISHED not in {row["as_of_date"] for row in published_personas(copied)}
    copied.build_only("membership_changes")
    assert changes(copied) == []


def test_what_a_build_left_unfinished_is_not_published(
    copied: Service, manifest: "Manifest"
) -> None:
    copied.execute("update personas.persona_dates set history_version = 'of another build'")
    before = publications(copied)
    with pytest.raises(CheckFailed, match="The last build did not finish"):
        export(copied, manifest)
    assert publications(copied) == before


def test_a_database_without_the_tables_gets_them(copied: Service, manifest: "Manifest") -> None:
    copied.execute("drop table raw.publications; drop table raw.published_personas")
    copied.build()
    assert changes(copied) == []
    export(copied, manifest)
    assert publications(copied) and published_personas(copied)


def test_what_files_and_druid_have_is_one_last_state(copied: Service, manifest: "Manifest") -> None:
    """Druid gets a late event, and the files do not; then it is taken back."""
    [druid] = [
        exposure
        for exposure in exposures(manifest, "druid", DruidTable)
        if exposure.table == publications_step.PERSONAS_TABLE
    ]

    def publish_to_druid() -> None:
        with connect(copied.database, read_only=True) as connection:
            dates = dates_of(connection, druid)
        record(copied.database, [(druid, dates)])

    publish_to_druid()
    copied.write_events("late", searches("late", *days_of_may(10)))
    copied.run()
    late = changes(copied)
    publish_to_druid()
    copied.build()
    assert late and changes(copied) == []
    (copied.folder / "events" / "late.csv").unlink()
    copied.run()
    assert {row[5] for row in changes(copied)} == {"late_data"}
    assert len(changes(copied)) == len(late)
    assert export(copied, manifest).written == 0  # the files say so already
    copied.build()
    assert changes(copied) == []
    assert published_personas(copied) == copied.rows(
        "select as_of_date, user_id, persona from personas.user_personas order by all"
    )


# --- causes ---------------------------------------------------------------------------------------


def both(
    day: date, user: str, before: str, after: str, cause: str, published_on: date | None = None
) -> list[tuple[Any, ...]]:
    """A viewer entered one persona and left another."""
    on = published_on or day
    return [
        (day, user, "entered", after, before, cause, on),
        (day, user, "left", before, after, cause, on),
    ]


def test_a_new_day_is_behaviour(copied: Service, manifest: "Manifest") -> None:
    copied.write_events("new", new_day())
    copied.run()
    assert changes(copied) == [
        *both(LATEST, "moves", "casual", "regular", "behaviour", PUBLISHED),
        (LATEST, "new", "entered", "casual", None, "behaviour", PUBLISHED),
    ]
    export(copied, manifest)
    copied.build_only("membership_changes")
    assert changes(copied) == []


def test_late_events_are_late_data(copied: Service) -> None:
    copied.write_events("late", searches("late", *days_of_may(10)))
    copied.run()
    assert changes(copied) == [
        *both(LAST_COMMON, "late", "casual", "regular", "late_data"),
        *both(PUBLISHED, "late", "casual", "regular", "late_data"),
    ]


def test_late_events_and_a_new_day_are_told_apart(copied: Service) -> None:
    copied.write_events("late", searches("late", *days_of_may(10)))
    copied.write_events("new", new_day())
    copied.run()
    assert changes(copied) == [
        *both(LAST_COMMON, "late", "casual", "regular", "late_data"),
        *both(LATEST, "late", "casual", "regular", "late_data", PUBLISHED),
        *both(LATEST, "moves", "casual", "regular", "behaviour", PUBLISHED),
        (LATEST, "new", "entered", "casual", None, "behaviour", PUBLISHED),
    ]


def test_a_changed_rule_is_a_rule_change_and_rebuilds_the_personas_alone(
    copied: Service, few_rules: Path
) -> None:
    rules = few_rules / "seeds" / "persona_rules.csv"
    rules.write_text(RULES.replace("active_days,>=,4", "active_days,>=,3"))
    try:
        copied.load()
        rebuilt = copied.rebuilt(copied.build())
    finally:
        rules.write_text(RULES)
    assert rebuilt and all(model.startswith("personas.") for model in rebuilt)
    assert {(row[1], row[5]) for row in changes(copied)} == {
        ("late", "rule_change"), ("rule", "rule_change"), ("moves", "rule_change"),
    }  # fmt: skip
    assert {row[0] for row in changes(copied)} == {date(2024, 5, 5), LAST_COMMON, PUBLISHED}


def test_a_corrected_catalogue_entry_is_metadata(copied: Service) -> None:
    copied.write_contents(
        {**CATALOGUE, "other_film": {**CATALOGUE["other_film"], "genres": ["Drama"]}}
    )
    copied.run()
    assert changes(copied) == [
        row
        for day in (date(2024, 5, 5), LAST_COMMON, PUBLISHED)
        for row in both(day, "dora", "casual", "devotee", "metadata")
    ]


def test_other_words_of_a_persona_change_nobody(copied: Service, few_rules: Path) -> None:
    personas = few_rules / "seeds" / "personas.csv"
    personas.write_text(PERSONAS.replace("Is here.", "Is here on most days."))
    versions = "select rules_version from personas.persona_dates"
    before = copied.rows(versions)
    try:
        copied.build()
    finally:
        personas.write_text(PERSONAS)
    assert changes(copied) == []
    assert copied.rows(versions) == before


# --- against the reference ------------------------------------------------------------------------


def state(service: Service, documents: object) -> State:
    personas: dict[date, dict[str, str]] = {}
    for row in service.rows("select as_of_date, user_id, persona from personas.user_personas"):
        personas.setdefault(row["as_of_date"], {})[row["user_id"]] = row["persona"]
    slices = service.rows("select source_date, version from raw.slices")
    return State(personas, {row["source_date"]: row["version"] for row in slices}, None, documents)


@pytest.mark.histories
def test_any_delivery_after_an_export_gives_the_changes_of_the_reference(
    manifest: "Manifest",
) -> None:
    shown: set[str] = set()

    @examples(by_suite(2, 12))
    @given(worlds(16, (60, 95)), deliveries())
    def changes_are_those_of_the_reference(world: Histories, delivery: Delivery) -> None:
        with temporary_folder() as folder:
            service = Service(folder / "service")
            service.write_users(world.users)
            steps = delivery.steps(service, world)
            next(steps)
            service.run()
            export(service, manifest)
            before = state(service, delivery.contents(world, 0))
            if not before.personas:
                return
            assert list(steps)[-1] == STEPS - 1
            service.run()
            now = state(service, delivery.contents(world, STEPS - 1))
            names = ["as_of_date", "user_id", "change", "persona", "other_persona", "cause",
                     "published_as_of_date"]  # fmt: skip
            expected = [
                tuple(row[name] for name in names) for row in membership_changes(before, now)
            ]
            assert sorted(changes(service), key=repr) == sorted(expected, key=repr)
            shown.update(row[5] for row in expected)

    changes_are_those_of_the_reference()
    assert "late_data" in shown or "behaviour" in shown
