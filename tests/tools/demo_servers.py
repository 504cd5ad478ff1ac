"""The demo as a round trip: out of a real Druid and a MongoDB server, and into Druid again.

    python tests/tools/demo_servers.py --viewers 500 --days 120

Starts both servers, puts in the events and the metadata of the demo service, runs `personas run`,
and asks Druid for the result. Nothing is left running, and nothing is kept.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pymongo
import yaml
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from servers.builds import missing_tools
from servers.servers import DruidServer, MongoServer, start_druid, start_mongo
from viewer_personas.build import PROJECT
from viewer_personas.demo import service as demo

EVENTS = {
    "ts": "varchar",
    "viewer": "varchar",
    "asset": "varchar",
    "action": "varchar",
    "seconds": "bigint",
    "device": "varchar",
}
QUERY = """\
SELECT persona, COUNT(*) AS viewers, ROUND(AVG(churn_risk), 3) AS mean_churn_risk
FROM user_personas
WHERE __time = (SELECT MAX(__time) FROM user_personas)
GROUP BY persona
ORDER BY viewers DESC, persona"""


def put_in(druid: DruidServer, mongo: MongoServer, folder: Path, datasource: str) -> None:
    """Put the service that `demo.generate` wrote into the servers.

    Events go into a datasource, contents and users into collections of a database of that name.
    """
    file = folder / "events.json.gz"
    with duckdb.connect() as connection:
        connection.execute(
            f"copy (select * from '{folder}/events/*.parquet') to '{file}'"
            " (format json, compression gzip)"
        )
    druid.ingest_files(datasource, [file], EVENTS, time_column="ts")
    with pymongo.MongoClient[dict[str, Any]](mongo.url) as client:
        for name in ("contents", "users"):
            client[datasource][name].insert_many(documents(folder, name))


def documents(folder: Path, name: str) -> list[dict[str, Any]]:
    """The contents or users of the demo, by the id that MongoDB has for them."""
    lines = (folder / f"{name}.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return [{"_id": document[f"{name.removesuffix('s')}_id"], **document} for document in found]


def sources(druid: DruidServer, mongo: MongoServer, folder: Path, datasource: str) -> Path:
    """Write a sources file for the servers, with the mapping of the demo's own one."""
    events = yaml.safe_load((folder / "sources.yml").read_text())["events"]
    columns = {ours: name for ours, name in events["columns"].items() if ours != "occurred_at"}
    collection = {"driver": "mongodb", "uri": mongo.url, "database": datasource}
    file = folder / "servers.yml"
    file.write_text(
        yaml.safe_dump(
            {
                "events": {
                    "driver": "druid",
                    "url": druid.url,
                    "datasource": datasource,
                    "columns": columns,
                },
                "contents": {**collection, "collection": "contents"},
                "users": {**collection, "collection": "users"},
                "export": {"druid": {"url": druid.url}},
            },
            sort_keys=False,
        )
    )
    return file


def main() -> int:
    """Start, put in, run, ask, stop; the exit status of `personas run`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--viewers", type=int, default=500)
    parser.add_argument("--days", type=int, default=120)
    arguments = parser.parse_args()
    console = Console(highlight=False)
    if missing := missing_tools():
        console.print(f"{', '.join(missing)} not found: real servers need a JDK 17 and Maven")
        return 2
    with TemporaryDirectory() as name:
        folder = Path(name) / "demo"
        console.print("Starting Druid and a MongoDB server; the first time, Maven fetches them …")
        with start_druid(Path(name) / "druid") as druid, start_mongo(Path(name) / "mongo") as mongo:
            console.print(f"Druid: {druid.url}   MongoDB: {mongo.url}")
            demo.generate(folder, viewers=arguments.viewers, days=arguments.days)
            put_in(druid, mongo, folder, "demo_events")
            file = sources(druid, mongo, folder, "demo_events")
            console.print(f"\n{file.name}:\n{file.read_text()}")
            database = folder / "demo.duckdb"
            console.print(f"personas run --sources {file.name} --to druid\n")
            personas = Path(sys.executable).with_name("personas")
            options = ["--sources", str(file), "--database", str(database), "--to", "druid"]
            done = subprocess.run([personas, "run", *options], cwd=PROJECT, check=False)
            if done.returncode == 0:
                console.print(f"\nIn Druid:\n\n{QUERY}\n", soft_wrap=True)
                console.print(as_table(druid.sql(QUERY)))
    console.print("Both servers are stopped.")
    return done.returncode


def as_table(rows: list[dict[str, Any]]) -> Table:
    """The rows of an answer."""
    table = Table(*(rows[0] if rows else []))
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    return table


if __name__ == "__main__":
    sys.exit(main())
