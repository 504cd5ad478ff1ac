"""The path that most tests build by (compiled.py) is what dbt builds: tables, views and the ledger.

One service is delivered step by step to two databases, and each is built by its own path: after a
first load, after nothing, after late events, an emptied day, a day that is gone, a corrected
catalogue, a changed time zone and a viewer who is new, with other vars, and in small batches.
"""

from collections.abc import Callable
from datetime import date, datetime, time
from itertools import zip_longest
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings

from histories import OTHER_VARS, World, corrected, worlds
from reference.definitions import Event, Row, Vars
from service import Service

SMALL_BATCHES = Vars(events_at_once=40, viewer_days_at_once=150)
WITHOUT = {
    "metrics.partition_ledger": "built_at, invocation_id",
    "metrics.user_history": "dbt_scd_id, dbt_updated_at, dbt_valid_from, dbt_valid_to",
    "metrics.user_zones": "seen_at, valid_from, valid_until",
    "metrics.zone_restatements": "seen_at",
}
"""What says when something was seen or built, and by which run."""


@pytest.fixture(scope="module")
def world() -> World:
    """A generated service of a dozen viewers over 95 days."""
    found: list[World] = []

    @settings(
        max_examples=1, deadline=None, derandomize=True, database=None, phases=[Phase.generate]
    )
    @given(worlds(12, (95,)))
    def take(world: World) -> None:
        found.append(world)

    take()
    return found[0]


def relations(service: Service) -> dict[str, list[Row]]:
    """Every table and view of the models, seeds and snapshots, and the ledger."""
    names = [
        row["name"]
        for row in service.rows(
            "select table_schema || '.' || table_name as name from information_schema.tables"
            " where table_catalog = current_database() and table_schema <> 'raw' order by name"
        )
    ]
    queries = [
        f"select * exclude ({WITHOUT[name]}) from {name} order by all"
        if name in WITHOUT
        else f"select * from {name} order by all"
        for name in names
    ]
    return dict(zip(names, service.answers(*queries), strict=True))


def test_compiled_is_what_dbt_builds(world: World, tmp_path: Path) -> None:
    by_dbt, compiled = (Service(tmp_path / name) for name in ("by_dbt", "compiled"))
    by_day: dict[date, dict[str, Event]] = {}
    for key, event in world.events.items():
        by_day.setdefault(event.occurred_at.date(), {})[key] = event
    days = sorted(by_day)
    middle = days[len(days) // 2]

    def first(service: Service) -> None:
        service.write_users(world.users)
        service.write_contents(world.contents)
        for day in days[:-4]:
            service.write_events(str(day), by_day[day])

    def change(service: Service) -> None:
        late = {f"late-{key}": event for key, event in by_day[middle].items()}
        service.write_events(str(middle), {**by_day[middle], **late})
        service.write_events(str(days[5]), {})
        service.remove_events(str(days[0]))
        for day in days[-4:-2]:
            service.write_events(str(day), by_day[day])
        service.write_contents({key: corrected(row) for key, row in world.contents.items()})

    def move(service: Service) -> None:
        moves = min(world.users)
        moved = {**world.users[moves], "timezone": "Asia/Tokyo"}
        new = Event("new", None, "search", datetime.combine(days[-2], time(12)))
        service.write_users({**world.users, moves: moved, "new": {"timezone": "Europe/Berlin"}})
        service.write_events(str(days[-2]), {**by_day[days[-2]], "new": new})
        service.write_events(str(days[-1]), by_day[days[-1]])

    deliveries: list[tuple[Callable[[Service], None], Vars]] = [
        (first, Vars()),
        (lambda service: None, Vars()),
        (change, Vars()),
        (move, SMALL_BATCHES),
        (lambda service: None, OTHER_VARS),
    ]
    for number, (deliver, variables) in enumerate(deliveries):
        for service in (by_dbt, compiled):
            deliver(service)
            service.load()
        theirs = by_dbt.build_by_dbt(variables).partitions_rebuilt
        ours = compiled.build(variables).partitions_rebuilt
        assert theirs == ours, f"delivery {number}"
        assert bool(theirs) == (number != 1)
        by_path = relations(by_dbt), relations(compiled)
        assert by_path[0].keys() == by_path[1].keys()
        for name, rows in by_path[0].items():
            differing = [
                pair
                for pair in zip_longest(rows, by_path[1][name])
                if repr(pair[0]) != repr(pair[1])
            ]
            assert differing[:1] == [], f"{name} after delivery {number}"
