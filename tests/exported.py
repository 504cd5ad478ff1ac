"""A database with the tables that are exported, a few rows in each, and exposures of them.

What `personas build` would leave, written by hand: tests of exporting need no build.
"""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from viewer_personas.database.connection import connect
from viewer_personas.database.raw import create_raw_tables

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

TABLES = """
create schema personas;
create schema metrics;
create table metrics.partition_ledger (
    model varchar, partition_date date, input_version varchar, row_count bigint
);
create table personas.persona_dates (
    as_of_date date, input_version varchar, history_version varchar, activity_version varchar,
    rules_version varchar
);
create table personas.user_personas (
    as_of_date date, user_id varchar, persona varchar, match_count bigint, all_matches varchar[],
    strength double, previous_persona varchar, persona_since date, explanation varchar,
    churn_risk double, churn_risk_level varchar, input_version varchar
);
create table personas.persona_transitions (
    as_of_date date, scope varchar, from_persona varchar, to_persona varchar, step_days integer,
    transitions bigint, from_viewers bigint, rate double, input_version varchar
);
create table personas.churn_risk (
    as_of_date date, user_id varchar, risk double, level varchar, persona varchar,
    input_version varchar
);
"""
MODELS = ("user_personas", "persona_transitions", "churn_risk")
GROUPS = {
    "user_personas": (["persona", "user_id"], ["persona"]),
    "persona_transitions": (["scope", "from_persona"], ["scope", "from_persona"]),
    "churn_risk": (["level", "user_id"], ["persona", "level"]),
}


def create_database(database: Path) -> None:
    """Write a database without any date."""
    with connect(database) as connection:
        create_raw_tables(connection)
        connection.execute(TABLES)


def set_date(database: Path, day: date, viewers: Mapping[str, str], version: str) -> None:
    """Make the personas of a date (viewer -> persona) those of a new version, in all tables.

    Every viewer differs in what is null, empty or hard to write.
    """
    with connect(database) as connection:
        for model in MODELS:
            connection.execute(f"delete from personas.{model} where as_of_date = $1", [day])
        connection.execute("delete from metrics.partition_ledger where partition_date = $1", [day])
        connection.execute("delete from personas.persona_dates where as_of_date = $1", [day])
        for number, (user, persona) in enumerate(sorted(viewers.items())):
            connection.execute(
                """
                insert into personas.user_personas values (
                    $day, $user, $persona, $number % 3,
                    ['regular', 'binger', $persona][: $number % 4],
                    case when $number % 2 = 0 then $number / 7 end,
                    case $number % 3 when 0 then null when 1 then '' else 'it''s "é" \\' end,
                    $day - 7, 'why' || chr(10) || $number, null, 'low', $version
                )
                """,
                {
                    "day": day,
                    "user": user,
                    "persona": persona,
                    "number": number,
                    "version": version,
                },
            )
        connection.execute(
            """
            insert into personas.persona_transitions
            select as_of_date, 'date', persona, 'casual', 7, count(*), count(*), 1, input_version
            from personas.user_personas where as_of_date = $1 group by all
            """,
            [day],
        )
        connection.execute(
            """
            insert into personas.churn_risk
            select as_of_date, user_id, 0.125, 'medium', persona, input_version
            from personas.user_personas where as_of_date = $1
            """,
            [day],
        )
        for model in (*MODELS, "persona_choices"):
            connection.execute(
                "insert into metrics.partition_ledger values ($1, $2, $3, $4)",
                [f"personas.{model}", day, version, len(viewers)],
            )
        connection.execute(
            "insert into personas.persona_dates values ($1, $2, $2, $2, $2)", [day, version]
        )


def rows(database: Path, query: str) -> list[tuple[Any, ...]]:
    """What a query of the database gives."""
    with connect(database, read_only=True) as connection:
        return connection.execute(query).fetchall()


def druid_meta(model: str, datasource: str) -> dict[str, Any]:
    """The settings of an exposure of a model in a datasource."""
    cluster_by, reconcile_by = GROUPS[model]
    return {
        "to": "druid",
        "datasource": datasource,
        "partition_by": "as_of_date",
        "cluster_by": cluster_by,
        "reconcile_by": reconcile_by,
    }


def manifest_of(exposures: Mapping[str, tuple[str, dict[str, Any]]]) -> "Manifest":
    """A manifest with these exposures only: name -> model and settings."""
    return cast(
        "Manifest",
        SimpleNamespace(
            exposures={
                name: SimpleNamespace(
                    name=name,
                    config=SimpleNamespace(meta={"export": meta}),
                    depends_on=SimpleNamespace(nodes=[model]),
                )
                for name, (model, meta) in exposures.items()
            },
            nodes={
                model: SimpleNamespace(schema="personas", name=model)
                for model, _ in exposures.values()
            },
        ),
    )
