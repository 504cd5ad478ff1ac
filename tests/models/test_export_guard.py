"""A persona that jumps stops the export once, from the events to the exit status."""

from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING

import pytest

from reference.definitions import Event
from service import Service
from viewer_personas import build as build_step
from viewer_personas.export.files import export_files
from viewer_personas.export.guard import Implausible
from viewer_personas.export.publications import ExportSummary

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

VIEWERS = 60
FIRST_MONDAY = date(2024, 1, 1)
JUMP_ON = FIRST_MONDAY + timedelta(weeks=24)
"""On this Monday as many viewers come for the first time as there were before."""


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> "Manifest":
    return build_step.parse(tmp_path_factory.mktemp("parsed") / "service.duckdb")


def events_until(last: date) -> dict[str, Event]:
    """Everybody searches every Monday, the new viewers too once they are there."""
    found = {}
    for day in range((last - FIRST_MONDAY).days + 1):
        moment = datetime.combine(FIRST_MONDAY + timedelta(days=day), time(12))
        # nobody is there on each day, so that each day is loaded
        found[f"clock-{day}"] = Event("nobody", None, "impression", moment)
        if moment.weekday() == 0:
            for viewer in range(VIEWERS if moment.date() < JUMP_ON else 2 * VIEWERS):
                found[f"{viewer}-{day}"] = Event(f"v{viewer}", None, "search", moment)
    return found


def test_a_persona_that_jumps_stops_the_export_once(service: Service, manifest: "Manifest") -> None:
    def export(latest: date, *, accept: bool = False) -> ExportSummary:
        # the latest complete date is the one before the last day
        service.write_events("all", events_until(latest + timedelta(days=1)))
        service.run()
        [row] = service.rows("select max(as_of_date) as latest from personas.user_personas")
        assert row["latest"] == latest
        return export_files(manifest, service.database, service.folder / "exports", accept=accept)

    assert export(JUMP_ON - timedelta(days=1)).warnings == []
    with pytest.raises(Implausible, match=r"share of ghoster moves by -50.*--accept-changes"):
        export(JUMP_ON)
    stopped = (service.folder / "exports" / "latest").read_text()
    assert stopped == f"{JUMP_ON - timedelta(days=1)}\n"
    assert any("ghoster" in warning for warning in export(JUMP_ON, accept=True).warnings)
    # on the next day the date before is still the Sunday before the jump
    assert any("ghoster" in warning for warning in export(JUMP_ON + timedelta(days=1)).warnings)
    assert export(JUMP_ON + timedelta(days=8)).warnings == []
