"""What the two programs of `compare_dataframes` are given: files, names of columns, definitions.

Nothing of the project is imported, so that neither program pays for it.
"""

import csv
import operator
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[2]
WINDOWS = (28, 84)
KINDS = ("watch", "browse", "search", "curate", "feedback", "other")
UNBELIEVABLE_WATCH_SECONDS = 1e9
MAX_STRENGTH = 3.0
NO_PERSONA = "casual"
COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
    "=": operator.eq,
}


@dataclass(frozen=True)
class Inputs:
    """A service in Parquet and JSON lines, as a `sources.yml` beside the files says, and the vars.

    `columns` maps the service's names of the columns of events to ours.
    """

    event_files: list[Path]
    columns: dict[str, str]
    contents: Path
    users: Path
    variables: dict[str, Any]

    @property
    def uses_local_time(self) -> bool:
        """Whether the definitions alone make an activity date draw on more than one UTC day."""
        return bool(
            self.variables["day_starts_at_hour"] or self.variables["default_timezone"] != "UTC"
        )


def read_inputs(directory: Path) -> Inputs:
    """The service in `directory`, and the vars of dbt_project.yml."""
    sources = yaml.safe_load((directory / "sources.yml").read_text(encoding="utf-8"))
    project = yaml.safe_load((PROJECT / "dbt_project.yml").read_text(encoding="utf-8"))
    ours = ("user_id", "content_id", "event_type", "occurred_at", "watch_seconds")
    names = sources["events"].get("columns", {})
    return Inputs(
        event_files=sorted(directory.glob(sources["events"]["path"])),
        columns={names.get(name, name): name for name in ours},
        contents=directory / sources["contents"]["path"],
        users=directory / sources["users"]["path"],
        variables=project["vars"],
    )


def read_seed(name: str) -> list[dict[str, str]]:
    """The rows of a seed of the project."""
    with (PROJECT / "seeds" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
