"""Drift and the comparison of the methods agree with a second implementation of them."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given

from histories import World, by_suite, examples, temporary_folder, worlds
from reference.compare import drift, exclusivity_benchmark, persona_shifts
from reference.definitions import Row
from service import GRAINS, Service, seed
from viewer_personas.build import PROJECT

VIEWERS = 18
DAYS = 150  # more weekly dates than are compared
READ = (
    "metrics.user_windows",
    "personas.churn_outcomes",
    "personas.persona_dates",
    "personas.persona_matches",
    "personas.persona_choices",
    "personas.drift",
    "personas.persona_shifts",
    "personas.exclusivity_benchmark",
)
MORE_RULES = """
devotee,5,1,84,top_genre_share,>=,0
collector,5,1,28,active_days,>=,2
weekender,5,1,28,active_days,<,2
"""


@pytest.mark.histories
def test_the_models_agree_with_a_second_implementation(project: Path) -> None:
    rules = project / "seeds" / "persona_rules.csv"
    rules.write_text(rules.read_text(encoding="utf-8").rstrip() + MORE_RULES, encoding="utf-8")
    met: Counter[str] = Counter()

    @examples(by_suite(2, 6))
    @given(worlds(VIEWERS, (DAYS,)))
    def models_agree(world: World) -> None:
        with temporary_folder() as folder:
            service = Service(folder / "service")
            service.write_contents(world.contents)
            service.write_users(world.users)
            service.write_events("all", world.events)
            service.run()
            tables = {name: service.rows(f"select * from {name}") for name in READ}
        personas = {row["persona"]: row for row in seed("personas")}
        assert_same(
            "personas.exclusivity_benchmark",
            tables["personas.exclusivity_benchmark"],
            exclusivity_benchmark(tables, personas, number_of_dates=13),
        )
        assert_same(
            "personas.drift", tables["personas.drift"], drift(tables, metrics_of_rules(), weeks=4)
        )
        assert_same(
            "personas.persona_shifts",
            tables["personas.persona_shifts"],
            persona_shifts(tables, past=8),
        )
        for row in tables["personas.persona_shifts"]:
            met["shift with a past"] += row["deviations"] is not None
            met["persona without viewers"] += row["viewers"] == 0
        for row in tables["personas.drift"]:
            assert row["is_beyond_chance"] == (
                row["population_stability_index"] > row["chance_limit"]
            )
            met["beyond chance"] += row["is_beyond_chance"]
            met["within chance"] += not row["is_beyond_chance"]
            met["one bin"] += row["bins"] == 1
        for row in tables["personas.exclusivity_benchmark"]:
            met["flips"] += bool(row["flip_share"])
            met["churn predicted"] += row["predicted_viewers"] > 0
            met["several matches"] += row["several_matches_share"] > 0

    models_agree()
    assert {name for name, number in met.items() if number} == {
        "within chance", "beyond chance", "one bin", "flips", "several matches", "churn predicted",
        "shift with a past", "persona without viewers",
    }  # fmt: skip


def metrics_of_rules() -> list[str]:
    """The metrics that rules may name: those with words in the YAML of user_windows."""
    path = PROJECT / "models" / "metrics" / "windows" / "user_windows.yml"
    [model] = yaml.safe_load(path.read_text(encoding="utf-8"))["models"]
    return [
        column["name"]
        for column in model["columns"]
        if column.get("config", {}).get("meta", {}).get("words")
    ]


def assert_same(name: str, ours: list[Row], theirs: list[Row]) -> None:
    """Rows by the grain: keys equal, numbers up to rounding, the limit as exactly as the table."""
    by_grain: list[dict[Any, Row]] = [
        {tuple(row[column] for column in GRAINS[name]): row for row in rows}
        for rows in (ours, theirs)
    ]
    assert by_grain[0].keys() == by_grain[1].keys()
    for key, expected in by_grain[1].items():
        found = by_grain[0][key]
        for column, value in expected.items():
            precision = 0.03 if column == "chance_limit" else 1e-8
            same = (
                pytest.approx(value, rel=precision, abs=1e-8) if isinstance(value, float) else value
            )
            assert found[column] == same, f"{name} {key}: {column}"
