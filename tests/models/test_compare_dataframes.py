"""pandas, polars and the models find the same metrics and personas, and differences are noticed."""

import importlib
import json
from pathlib import Path

import duckdb
import pytest
import typer
from typer.testing import CliRunner, Result

from bench import dataframes as compare_dataframes
from bench.dataframes import (
    DATABASE,
    DATAFRAMES,
    PROJECT,
    Measurement,
    differences,
)
from viewer_personas.demo import service as demo

pytestmark = pytest.mark.proof
VARIETY = """
    select
        count(*) filter (watch_minutes is null), count(*) filter (interactions = 0),
        count(*) filter (ghost_days > 0), count(*) filter (sleepy_days between 1 and 27),
        count(*) filter (binged_series > 0), count(*) filter (spikes > 0),
        count(*) filter (peak_hour is not null), count(*) filter (content_diversity is null),
        count(*) filter (days_since_last_active is null)
    from built.metrics.user_windows
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, project_copy: Path) -> Path:
    """A demo, which has planted behaviours, built. Some players of it do not say how long they
    played, some tell nonsense, some viewers live nowhere, one has never come, and
    for one the day of the source ends in the middle of an hour."""
    directory = tmp_path_factory.mktemp("dataframes")
    demo.generate(directory, viewers=150, days=120)
    with duckdb.connect() as connection:
        for file in (directory / "events").glob("*.parquet"):
            connection.execute(
                f"""
                copy (
                    select * replace (
                        case
                            when viewer like '%3' or viewer like '%7' then null
                            when viewer like '%11' then -seconds
                            when viewer like '%21' then 1e9
                            else seconds
                        end as seconds
                    )
                    from '{file}'
                ) to '{file}' (format parquet)
                """
            )
        connection.execute(
            f"""
            copy (
                select
                    unnest(['2026-04-20T23:45:00Z', '2026-04-21T00:15:00Z']) as ts,
                    'half_an_hour_off' as viewer, 'film-0001' as asset, 'play' as action,
                    300::double as seconds, 'web' as device
            ) to '{directory}/events/more.parquet' (format parquet)
            """
        )
    users = directory / "users.jsonl"
    documents = [json.loads(line) for line in users.read_text().splitlines()]
    for document in documents[::20]:
        document["timezone"] = "Nowhere"
    documents.append({"user_id": "half_an_hour_off", "timezone": "Asia/Kolkata"})
    documents.append({"user_id": "never_here", "signed_up_on": "2026-04-01"})
    documents.append({"user_id": "not_yet_here", "signed_up_on": "2026-05-01"})
    users.write_text("".join(f"{json.dumps(document)}\n" for document in documents))
    compare_dataframes.build_compared(directory, directory)
    return directory


@pytest.mark.parametrize("name", DATAFRAMES)
def test_the_results_of_a_varied_service_are_equal(
    service: Path, tmp_path: Path, name: str
) -> None:
    pytest.importorskip(name)
    importlib.import_module(f"bench.in_{name}").run(service, tmp_path)
    assert differences(service / DATABASE, tmp_path) == []


def test_the_service_has_what_could_differ(service: Path) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"attach '{service / DATABASE}' as built (read_only)")
        [variety] = connection.execute(VARIETY).fetchall()
        [(personas,)] = connection.execute(
            "select count(distinct persona) from built.personas.persona_choices"
        ).fetchall()
    assert min(variety) > 0, variety
    assert personas == 13


def test_a_difference_is_named(service: Path, tmp_path: Path) -> None:
    changes = {
        "user_windows": """
            select * exclude (input_version) replace (
                case when user_id = 'v00002' then active_share + 2e-9 else active_share + 1e-10 end
                    as active_share,
                case when user_id = 'v00004' then 'other' else top_genre end as top_genre,
                case when user_id = 'v00005' then null else interactions end as interactions
            )
            from built.metrics.user_windows where user_id <> 'v00001'
            """,
        "persona_choices": """
            select * from built.personas.persona_choices
            union all
            select * from built.personas.persona_choices where user_id = 'v00006'
            """,
    }
    with duckdb.connect() as connection:
        connection.execute(f"attach '{service / DATABASE}' as built (read_only)")
        for name, query in changes.items():
            connection.execute(f"copy ({query}) to '{tmp_path}/{name}.parquet'")
        connection.execute("detach built")
        found = {line.split(": ")[0]: line for line in differences(service / DATABASE, tmp_path)}
    assert set(found) == {
        "user_windows",
        "user_windows.active_share",
        "user_windows.top_genre",
        "user_windows.interactions",
        "persona_choices",
    }
    for column, viewer in {
        "user_windows": "v00001",
        "user_windows.active_share": "v00002",
        "user_windows.top_genre": "v00004",
        "user_windows.interactions": "v00005",
        "persona_choices": "v00006",
    }.items():
        assert viewer in found[column]


def run_command(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(compare_dataframes.main)
    return CliRunner().invoke(app, ["--events", "20000", *arguments])


def test_the_command_measures_and_finds_equal_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in DATAFRAMES:
        pytest.importorskip(name)
    monkeypatch.setenv("DBT_TARGET_PATH", str(tmp_path / "target"))
    runs = {name: compare_dataframes.RUNS[name] for name in (PROJECT, *DATAFRAMES)}
    monkeypatch.setattr(compare_dataframes, "RUNS", runs)
    figures = tmp_path / "figures.json"
    result = run_command("--json", str(figures))
    assert result.exit_code == 0, result.output

    found = json.loads(figures.read_text())
    assert found["differences"] == {"pandas": [], "polars": []}
    assert [item["name"] for item in found["measurements"]] == [PROJECT, *DATAFRAMES]
    for item in found["measurements"]:
        assert item["seconds"] > 0
        assert item["cpu_seconds"] > 0
        assert all(ratio > 0 for ratio in item["ratios"].values())
    assert found["events"] > 10_000


def test_the_command_fails_where_results_differ(
    service: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in DATAFRAMES:
        pytest.importorskip(name)
    monkeypatch.setattr(
        compare_dataframes,
        "measured",
        lambda name, directory, output: Measurement(name, 2.0, 1.0, None),
    )
    monkeypatch.setattr(compare_dataframes, "differences", lambda database, results: ["x differs"])
    result = run_command("--directory", str(service))
    assert result.exit_code == 1
    assert "polars: results differ" in result.output
    assert "x differs" in result.output
