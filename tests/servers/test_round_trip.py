"""The whole way on real servers: what comes out of them, and what arrives in Druid in the end."""

import json
from pathlib import Path
from typing import Any

import duckdb
from typer.testing import CliRunner

from servers.servers import DruidServer, MongoServer
from service import Service, differences
from tools import demo_servers
from viewer_personas.build import build
from viewer_personas.cli.app import app
from viewer_personas.config import load_sources
from viewer_personas.demo import service as demo
from viewer_personas.sources.load import load

# fewer evaluation dates than by default, for these are enough to see a difference
VARIABLES = "{as_of_history_weeks: 1}"


def test_tables_out_of_servers_are_those_out_of_files_and_arrive_in_druid(
    druid: DruidServer, mongo: MongoServer, datasource: str, tmp_path: Path
) -> None:
    folder = tmp_path / "demo"
    demo.generate(folder, viewers=80, days=90)
    demo_servers.put_in(druid, mongo, folder, datasource)
    for name in ("contents", "users"):
        lines = [json.dumps(document) for document in demo_servers.documents(folder, name)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")

    from_files = Service(tmp_path / "files")
    load(load_sources(folder / "sources.yml"), from_files.database)
    build(from_files.database, variables=VARIABLES, tests=False)

    from_servers = Service(tmp_path / "servers")
    sources = demo_servers.sources(druid, mongo, folder, datasource)
    options = ["--sources", str(sources), "--database", str(from_servers.database)]
    command("load", *options)
    # without the data tests, which say nothing more here
    build(from_servers.database, variables=VARIABLES, tests=False)
    command("export", *options, "--to", "druid")

    assert events(from_servers.database) == events(from_files.database)
    assert not differences(from_servers.tables(), from_files.tables())

    personas = from_files.rows(
        "select persona, count(*) as viewers, round(avg(churn_risk), 3) as mean_churn_risk"
        " from personas.user_personas"
        " where as_of_date = (select max(as_of_date) from personas.user_personas)"
        " group by persona order by viewers desc, persona"
    )
    assert druid.sql(demo_servers.QUERY) == personas
    druid.drop("user_personas")


def command(*arguments: str) -> None:
    """Run the command."""
    ran = CliRunner().invoke(app, [*arguments, "--json"], color=False)
    assert ran.exit_code == 0, ran.output


def events(database: Path) -> list[tuple[Any, ...]]:
    """All events, and what is known of the slices."""
    with duckdb.connect(str(database), read_only=True) as connection:
        slices = connection.execute(
            "select source_date, version, row_count, rejected_count from raw.slices order by 1"
        ).fetchall()
        return slices + connection.execute("select * from raw.events order by all").fetchall()
