"""The risk of churn: what the reference makes of it, nothing from the future, no skill by chance.

On a small made-up service (`demo.service`), in which every behaviour has its own risk.
"""

import json
import math
import random
from collections import defaultdict
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from reference import churn as reference_churn
from reference.churn import ChurnWorld
from reference.definitions import Row
from service import VERSIONS, Service, differences, known_on
from viewer_personas import build as build_step
from viewer_personas.demo.service import generate

REPOSITORY = Path(__file__).parents[2]
CHURN_TABLES = [
    "personas.persona_dates",
    "personas.churn_outcomes",
    "personas.churn_cells",
    "personas.churn_counts",
    "personas.churn_rates",
    "personas.churn_risk",
    "personas.churn_predictions",
    "personas.churn_backtest",
    "personas.churn_calibration",
    "personas.user_personas",
]
NO_LATER_OUTCOME = (
    (REPOSITORY / "tests" / "singular" / "churn_risk_knows_no_later_outcome.sql")
    .read_text(encoding="utf-8")
    .replace("{{ ref('churn_rates') }}", "personas.churn_rates")
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Service:
    """A demo of few viewers, built. Only to be copied and read."""
    folder = tmp_path_factory.mktemp("churn") / "demo"
    generate(folder, viewers=150, days=130)
    service = Service.__new__(Service)
    service.folder, service.database, service.clock = folder, folder / "service.duckdb", 0
    service.run()
    return service


@pytest.fixture
def copied(built: Service, tmp_path: Path) -> Service:
    return built.copy(tmp_path / "copy")


def world_of(service: Service) -> ChurnWorld:
    """What the reference looks at: tables before the risk of churn."""
    windows: dict[date, dict[str, int | None]] = defaultdict(dict)
    for row in service.rows("from metrics.user_windows where window_days = 28"):
        windows[row["as_of_date"]][row["user_id"]] = row["days_since_last_active"]
    personas: dict[date, dict[str, str]] = defaultdict(dict)
    for row in service.rows("from personas.persona_choices"):
        personas[row["as_of_date"]][row["user_id"]] = row["persona"]
    active_days: dict[str, set[date]] = defaultdict(set)
    for row in service.rows("from metrics.user_days"):
        active_days[row["user_id"]].add(row["activity_date"])
    cancelled = service.rows(
        "from staging.stg_users where cancelled_on is not null and signed_up_on is not null"
    )
    return ChurnWorld(
        windows=windows,
        personas=personas,
        active_days=active_days,
        cancelled={row["user_id"]: row["cancelled_on"] for row in cancelled},
        expected={
            row["persona"]: row["expected_risk"] for row in service.rows("from reference.personas")
        },
        latest=max(windows),
    )


def churn_tables(service: Service) -> dict[str, list[Row]]:
    tables = service.tables()
    return {name: tables[name] for name in CHURN_TABLES}


def disagreements(service: Service) -> list[tuple[object, ...]]:
    """Where risks or outcomes are not what the reference says."""
    world = world_of(service)
    different: list[tuple[object, ...]] = []
    outcomes = {
        (row["as_of_date"], row["user_id"]): (row["is_present"], row["is_churned"])
        for row in service.rows("from personas.churn_outcomes")
    }
    expected = reference_churn.outcomes(world)
    for key in outcomes.keys() | expected.keys():
        if outcomes.get(key) != expected.get(key):
            different.append((key, outcomes.get(key), expected.get(key)))
    risks = {
        (row["as_of_date"], row["user_id"]): row for row in service.rows("from personas.churn_risk")
    }
    theirs = reference_churn.risks(world)
    assert risks.keys() == theirs.keys()
    for key, row in theirs.items():
        path = reference_churn.cell(world, *key)
        ours = risks[key]
        if (ours["persona"], ours["recency_band"], ours["spell_band"], ours["came_from"]) != path:
            different.append((key, "cell", ours, path))
        for column in ("risk", "lower", "upper", "base_rate", "level", "basis"):
            one, other = ours[column], row.get(column)
            is_same = (
                math.isclose(one, other, abs_tol=1e-9)
                if isinstance(one, float) and isinstance(other, float)
                else one == other
            )
            if not is_same:
                different.append((key, column, one, other))
    return different


def test_risks_and_outcomes_are_those_of_the_reference(built: Service) -> None:
    assert disagreements(built) == []
    bases = {row["basis"] for row in built.rows("from personas.churn_risk")}
    assert bases == {"expected", "estimated"}
    levels = {row["level"] for row in built.rows("from personas.churn_risk")}
    assert levels == {"low", "medium", "high"}
    assert built.rows("from personas.churn_outcomes where is_cancelled")


def test_user_personas_tell_the_risk(built: Service) -> None:
    differing = built.rows("""
        select * from personas.user_personas
        full join personas.churn_risk using (as_of_date, user_id)
        where churn_risk is distinct from risk or churn_risk_level is distinct from level
    """)
    assert differing == []


@pytest.mark.parametrize("audience", ["everyone", "present"])
@pytest.mark.parametrize("model", ["churn_risk", "recency_alone", "base_rate"])
def test_figures_are_those_of_the_reference(built: Service, audience: str, model: str) -> None:
    world = world_of(built)
    risks = reference_churn.risks(world)
    column = {"churn_risk": "risk", "recency_alone": "recency_rate"}.get(model, model)
    by_date: dict[date | None, list[tuple[float, bool]]] = defaultdict(list)
    for (day, user_id), (present, churned) in reference_churn.outcomes(world).items():
        row = risks[day, user_id]
        if row["risk"] is not None and (present or audience == "everyone"):
            for key in (day, None):
                by_date[key].append((row[column], churned))
    backtest = {
        row["as_of_date"]: row
        for row in built.rows(
            f"from personas.churn_backtest where model = '{model}' and audience = '{audience}'"
        )
    }
    assert len(by_date) > 5
    assert backtest.keys() == by_date.keys()
    for key, pairs in by_date.items():
        # equal risks are equal, whatever the order of the operations
        predicted = [round(risk, 12) for risk, _ in pairs]
        outcomes = [outcome for _, outcome in pairs]
        found = backtest[key]
        for name, value in reference_churn.figures(predicted, outcomes).items():
            assert found[name] == pytest.approx(value, abs=1e-9), (key, name)
        if found["calibration_slope"] is not None:
            best = reference_churn.score(predicted, outcomes, found)
            assert best == pytest.approx((0, 0), abs=1e-4 * len(pairs))
    assert model == "base_rate" or backtest[None]["calibration_slope"] is not None


def test_without_everything_after_a_date_risks_are_the_same(copied: Service) -> None:
    """And with it again, in steps, everything is as it was."""
    whole = churn_tables(copied)
    dates = [row["as_of_date"] for row in whole["personas.persona_dates"]]
    as_of_date = dates[-5]
    files = sorted((copied.folder / "events").glob("*.parquet"))
    later = [path for path in files if date.fromisoformat(path.stem) > as_of_date + timedelta(1)]
    kept = {path: path.read_bytes() for path in later}
    for path in later:
        path.unlink()
    copied.run()
    cut = churn_tables(copied)
    assert max(row["as_of_date"] for row in cut["personas.persona_dates"]) == as_of_date
    known = any(row["risk"] is not None for row in cut["personas.churn_risk"])
    assert known
    assert differences(up_to(as_of_date, whole), up_to(as_of_date, cut), without=UNLIKE) == {}

    for path, content in kept.items():
        path.write_bytes(content)
    copied.run()
    assert differences(whole, churn_tables(copied)) == {}


# The last file also has a few late events of a day that is cut.
UNLIKE = ["is_latest", "activity_version", *VERSIONS]


def up_to(as_of_date: date, tables: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """What was known on a date: risks up to it, and outcomes up to it."""
    pooled = "personas.churn_calibration"
    return {name: known_on(as_of_date, rows) for name, rows in tables.items() if name != pooled}


def test_no_risk_knows_a_later_outcome(built: Service) -> None:
    assert built.rows(NO_LATER_OUTCOME) == []


@pytest.fixture
def leak() -> Iterator[None]:
    """A project whose risks look at outcomes of dates whose horizon is not over."""
    model = build_step.PROJECT / "models" / "personas" / "churn" / "churn_rates.sql"
    text = model.read_text(encoding="utf-8")
    honest = "on dates_to_build.as_of_date >= churn_counts.outcome_date"
    assert text.count(honest) == 1
    model.write_text(
        text.replace(honest, "on dates_to_build.as_of_date >= churn_counts.as_of_date")
    )
    yield
    model.write_text(text, encoding="utf-8")


def test_a_leak_is_caught(copied: Service, leak: None) -> None:
    copied.build_only("persona_dates+")
    assert copied.rows(NO_LATER_OUTCOME) != []
    assert disagreements(copied) != []


def test_shuffled_outcomes_give_no_skill(copied: Service) -> None:
    """Each date's outcomes are dealt out again among its viewers."""
    rng = random.Random("shuffled")
    rows = copied.rows("from personas.churn_outcomes order by outcome_date, user_id")
    by_date: dict[date, list[Row]] = defaultdict(list)
    for row in rows:
        by_date[row["outcome_date"]].append(row)
    values = []
    for day, viewers in by_date.items():
        dealt = [row["is_churned"] for row in viewers]
        rng.shuffle(dealt)
        values += [
            f"(date '{day}', '{row['user_id']}', {value})"
            for row, value in zip(viewers, dealt, strict=True)
        ]
    copied.execute(
        "update personas.churn_outcomes set is_churned = dealt.is_churned"
        f" from (values {', '.join(values)}) as dealt (outcome_date, user_id, is_churned)"
        " where churn_outcomes.outcome_date = dealt.outcome_date"
        " and churn_outcomes.user_id = dealt.user_id"
    )
    [before] = copied.rows(POOLED)
    for table in ("churn_counts", "churn_rates", "churn_risk"):
        copied.execute(f"delete from personas.{table}")
    copied.build_only("churn_counts+")
    [after] = copied.rows(POOLED)
    assert before["auc"] > 0.75
    assert before["brier_skill"] > 0.1
    assert after["auc"] == pytest.approx(0.5, abs=0.08)
    assert after["brier_skill"] < 0.01
    assert after["viewers"] == before["viewers"]


POOLED = """
    from personas.churn_backtest
    where as_of_date is null and model = 'churn_risk' and audience = 'everyone'
"""


def test_a_cancellation_taken_back_restates_from_its_date_on(copied: Service) -> None:
    """The outcomes that it lies in or before, and the risks from its date on."""
    [one] = copied.rows(
        "select user_id, cancelled_on from staging.stg_users"
        " where cancelled_on is not null order by cancelled_on limit 1"
    )
    path = copied.folder / "users.jsonl"
    documents = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for document in documents:
        if document["user_id"] == one["user_id"]:
            del document["cancelled_on"]
    path.write_text("".join(f"{json.dumps(each)}\n" for each in documents), encoding="utf-8")
    before = copied.tables()
    rebuilt = copied.rebuilt(copied.run())
    for model, column in (("churn_outcomes", "outcome_date"), ("churn_risk", "as_of_date")):
        dates = {row[column] for row in before["personas.persona_dates"] if row[column]}
        later = {day for day in dates if day >= one["cancelled_on"]}
        assert 0 < len(later) < len(dates)
        assert rebuilt[f"personas.{model}"] == later
    assert disagreements(copied) == []
