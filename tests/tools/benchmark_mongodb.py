"""Documents a second of the MongoDB driver beside a bare loop over the same collection.

    python tests/tools/benchmark_mongodb.py --documents 100000

The server is the one of the tests, on this machine, so its time counts for both. Each way runs in
a process of its own, several times in turn; the median is shown, and the peak of memory.
"""

import argparse
import json
import multiprocessing
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from bson import Decimal128, ObjectId
from pymongo import MongoClient

sys.path.insert(0, str(Path(__file__).parents[1]))

from servers.servers import start_mongo
from viewer_personas.config import load_sources
from viewer_personas.database.connection import connect
from viewer_personas.database.raw import create_raw_tables
from viewer_personas.database.sql import scalar
from viewer_personas.sources.mongodb import inspect_documents

BATCH_SIZE = 1000
DATABASE, COLLECTION = "shop", "contents"


def bare_loop(url: str, folder: Path) -> int:
    """The least that can be done with every document: look at it."""
    with MongoClient[dict[str, Any]](url) as client:
        cursor = client[DATABASE][COLLECTION].find().sort("_id", 1).batch_size(BATCH_SIZE)
        return sum(1 for document in cursor)


def bare_json(url: str, folder: Path) -> int:
    """The same, and every document as a line of JSON in a file, by the simplest means."""
    with MongoClient[dict[str, Any]](url) as client, (folder / "bare.jsonl").open("w") as file:
        cursor = client[DATABASE][COLLECTION].find().sort("_id", 1).batch_size(BATCH_SIZE)
        return sum(file.write(json.dumps(document, default=str) + "\n") > 0 for document in cursor)


def driver(url: str, folder: Path) -> int:
    """A full load of the collection into a new database."""
    (folder / "personas.duckdb").unlink(missing_ok=True)
    return driver_again(url, folder)


def driver_again(url: str, folder: Path) -> int:
    """A load after which nothing has changed: what is new, and the sweep of all ids."""
    settings = load_sources(folder / "sources.yml").contents
    assert settings is not None
    assert settings.driver == "mongodb"
    documents = inspect_documents(settings, folder / "sources.yml", "contents")
    with connect(folder / "personas.duckdb") as connection:
        create_raw_tables(connection)
        documents.load(connection, "contents")
        return scalar(connection, "select count(*) from raw.contents")


WAYS: dict[str, Callable[[str, Path], int]] = {
    "bare pymongo loop": bare_loop,
    "bare loop to JSON lines": bare_json,
    "driver into DuckDB": driver,
    "driver, nothing changed": driver_again,
}


def measure(way: str, url: str, folder: Path, results: Any) -> None:
    """Run one way, and tell wall and CPU seconds, documents and the peak of memory in MiB."""
    begun, worked = time.perf_counter(), time.process_time()
    number = WAYS[way](url, folder)
    seconds, cpu_seconds = time.perf_counter() - begun, time.process_time() - worked
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    results.put((seconds, cpu_seconds, number, peak))


def fill(url: str, documents: int) -> None:
    """Put entries of a catalogue into the collection, about 900 bytes of BSON each."""
    chance = random.Random(7)
    genres = ["Drama", "Crime", "Comedy", "Family", "Documentary", "Horror"]
    start = datetime(2026, 1, 1)
    with MongoClient[dict[str, Any]](url) as client:
        for first in range(0, documents, 1000):
            client[DATABASE][COLLECTION].insert_many(
                {
                    "_id": ObjectId(),
                    "title": f"Title {number}",
                    "content_type": "episode",
                    "series_id": f"series {number // 10}",
                    "season_number": 1,
                    "episode_number": number % 10,
                    "genres": chance.sample(genres, 2),
                    "tags": ["dark", "slow", "nordic"],
                    "runtime_seconds": chance.randrange(600, 7200),
                    "released_on": start - timedelta(days=chance.randrange(9999)),
                    "price": Decimal128("4.99"),
                    "synopsis": "x" * chance.randrange(200, 600),
                    "availability": [
                        {"territory": territory, "available_from": start}
                        for territory in ("DE", "AT", "CH")
                    ],
                    "updatedAt": start + timedelta(seconds=number),
                }
                for number in range(first, min(documents, first + 1000))
            )


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    found: dict[str, list[tuple[float, float, int, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with start_mongo(folder / "server") as server:
            contents = {
                "driver": "mongodb",
                "uri": server.url,
                "database": DATABASE,
                "collection": COLLECTION,
                "updated_at": "updatedAt",
                "batch_size": BATCH_SIZE,
            }
            events = {"driver": "files", "path": "events.csv"}
            (folder / "sources.yml").write_text(
                yaml.safe_dump({"events": events, "contents": contents})
            )
            fill(server.url, arguments.documents)
            bare_loop(server.url, folder)  # the first read warms the server
            processes = multiprocessing.get_context("spawn")
            for _ in range(arguments.runs):
                for way in WAYS:
                    results = processes.Queue()
                    process = processes.Process(
                        target=measure, args=(way, server.url, folder, results)
                    )
                    process.start()
                    found[way].append(results.get())
                    process.join()
                    assert found[way][-1][2] == arguments.documents
    print(f"{arguments.documents:,} documents, median of {arguments.runs} runs")
    print(f"{'':26}{'docs/s':>10}{'seconds':>9}{'CPU s':>8}{'peak MiB':>10}")
    for way, runs in found.items():
        seconds, cpu_seconds, _, peak = (
            statistics.median(column) for column in zip(*runs, strict=True)
        )
        rate = arguments.documents / seconds
        print(f"{way:26}{rate:>10,.0f}{seconds:>9.2f}{cpu_seconds:>8.2f}{peak:>10.0f}")


if __name__ == "__main__":
    main()
