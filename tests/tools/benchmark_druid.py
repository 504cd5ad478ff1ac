"""How quickly events come out of Druid, beside what the server itself can give.

    python tests/tools/benchmark_druid.py --days 10 --rows 500000

In one run, each in a process of its own: the server's own rate (the answer is thrown away as it
comes over the wire), the driver (into DuckDB, versions and all), and pydruid's cursor (thrown away
too). Rates are rows per second of wall time; the server and its client share the machine.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pydruid.db
import requests
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from servers.servers import start_druid
from viewer_personas.config import load_sources
from viewer_personas.sources.druid import inspect_events
from viewer_personas.sources.event_rows import Clock
from viewer_personas.sources.load import load

FIRST_DAY = date(2026, 1, 1)
BEATS = 30
"""Events of a play: its start, then a heartbeat a minute."""
COLUMNS = {
    "ts": "bigint",
    "user_id": "varchar",
    "content_id": "varchar",
    "event_type": "varchar",
    "watch_seconds": "double",
    "device": "varchar",
}


def main() -> None:
    """Start Druid, fill it, measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=10)
    parser.add_argument("--rows", type=int, default=500_000, help="rows of a day")
    parser.add_argument("--pydruid-days", type=int, default=1, help="days that pydruid reads")
    arguments = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        with start_druid(folder / "druid", optimised=True) as druid:
            files = generate(folder, arguments.days, arguments.rows)
            started = time.perf_counter()
            druid.ingest_files("events", files, COLUMNS, time_column="ts")
            seconds = time.perf_counter() - started
            rows = arguments.days * arguments.rows
            print(f"{rows:,} rows ingested in {seconds:.0f} s", file=sys.stderr)
            show(measure_all(druid.url, folder, arguments.days, arguments.rows, arguments))


def generate(folder: Path, days: int, rows: int) -> list[Path]:
    """Two files of JSON lines, so that Druid reads one while it sorts the other."""
    files = []
    for half in range(2):
        file = folder / f"events_{half}.json.gz"
        duckdb.execute(
            f"""
            copy (
                select epoch_ms(timestamp '{FIRST_DAY}' + interval (play % {days}) day)
                        + hash(play) % 82800000 + beat * 60000 as ts,
                    'viewer ' || hash(play, 1) % 50000 as user_id,
                    'content ' || hash(play, 2) % 5000 as content_id,
                    case when beat = 0 then 'start' else 'heartbeat' end as event_type,
                    case when beat > 0 then 60.0 end as watch_seconds,
                    case play % 3 when 0 then 'tv' when 1 then 'phone' else 'web' end as device
                from (
                    select i // {BEATS} as play, i % {BEATS} as beat
                    from range({days * rows}) as numbers (i)
                ) as beats
                where play % 2 = {half}
            ) to '{file}' (format json, compression gzip)
            """
        )
        files.append(file)
    return files


def measure_all(
    url: str, folder: Path, days: int, rows: int, arguments: argparse.Namespace
) -> list[dict[str, float | str]]:
    """Every measurement, twice where it is quick; the better one, for the machine is shared."""

    def run(what: str, number: int, parallel: int, times: int = 2) -> dict[str, float | str]:
        best: dict[str, float | str] = {}
        for n in range(times):
            database = folder / f"{what}_{number}_{parallel}_{n}.duckdb"
            command = [sys.executable, __file__, "--child", what, url, str(number), str(parallel)]
            answer = subprocess.run([*command, str(database)], capture_output=True, check=True)
            found = json.loads(answer.stdout)
            rate = number * rows / found["seconds"]
            if not best or rate > float(best["rate"]):
                best = {"what": what, "days": number, "parallel": parallel, "rate": rate, **found}
        return best

    return [
        run("nowhere", days, 1),
        run("nowhere", days, 2),
        run("driver", days, 1),
        run("driver", days, 2),
        run("rollup", days, 2, 1),
        run("driver", max(1, days // 5), 2, 1),
        run("pydruid", min(days, arguments.pydruid_days), 1, 1),
    ]


def show(found: list[dict[str, float | str]]) -> None:
    """Print the measurements beside the server's own rate at the same parallelism."""
    own = {f["parallel"]: float(f["rate"]) for f in found if f["what"] == "nowhere"}
    table = Table("what", "days", "parallel", "rows/s", "of the server's own", "peak MiB")
    for row in found:
        share = float(row["rate"]) / own[row["parallel"]]
        values = [f"{float(row['rate']):,.0f}", f"{share:.0%}", f"{float(row['peak']):,.0f}"]
        table.add_row(str(row["what"]), str(row["days"]), str(row["parallel"]), *values)
    Console(width=100).print(table)


# --- the measurements, each in a process of its own ---------------------------------------------


def child(what: str, url: str, days: int, parallel: int, database: Path) -> None:
    """Measure one thing; print its seconds and the peak memory of this process in MiB."""
    ways: dict[str, Callable[[], None]] = {
        "nowhere": lambda: nowhere(url, days, parallel, database),
        "driver": lambda: driver(url, days, parallel, database),
        "rollup": lambda: driver(url, days, parallel, database, rollup="PT15M"),
        "pydruid": lambda: by_pydruid(url, days),
    }
    started = time.perf_counter()
    ways[what]()
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak": peak}))


def sources(url: str, parallel: int, folder: Path, **settings: str) -> Path:
    """A sources file for the driver."""
    file = folder / f"sources_{parallel}.yml"
    source = {"driver": "druid", "url": url, "datasource": "events", "parallel_slices": parallel}
    file.write_text(json.dumps({"events": {**source, **settings}}))
    return file


def driver(url: str, days: int, parallel: int, database: Path, **settings: str) -> None:
    """Load the first days into a new database."""
    until = FIRST_DAY + timedelta(days=days - 1)
    load(load_sources(sources(url, parallel, database.parent, **settings)), database, until=until)


def nowhere(url: str, days: int, parallel: int, database: Path) -> None:
    """Send the very queries of the driver and throw the answers away as they come."""
    from viewer_personas.sources import druid as druid_events

    settings = load_sources(sources(url, parallel, database.parent)).events
    assert settings.driver == "druid"
    read = inspect_events(settings, database, Clock(datetime(2100, 1, 1), 0))

    def throw_away(day: date) -> None:
        query = druid_events._rows_query(read, day)
        body = {"query": query, "resultFormat": "objectLines", "context": {"sqlTimeZone": "UTC"}}
        headers = {"Accept-Encoding": "gzip"}
        with requests.post(
            f"{url}/druid/v2/sql", json=body, headers=headers, stream=True
        ) as answer:
            for _ in answer.raw.stream(1 << 20, decode_content=False):
                pass

    with ThreadPoolExecutor(parallel) as pool:
        list(pool.map(throw_away, [FIRST_DAY + timedelta(days=n) for n in range(days)]))


def by_pydruid(url: str, days: int) -> None:
    """Read the first days by pydruid's cursor, and throw them away."""
    end = FIRST_DAY + timedelta(days=days)
    cursor = pydruid.db.connect(host="127.0.0.1", port=int(url.rsplit(":", 1)[1])).cursor()
    cursor.execute(
        "SELECT TIMESTAMP_TO_MILLIS(__time) AS ts, user_id, content_id, event_type, watch_seconds,"
        f" device FROM events WHERE __time < TIMESTAMP '{end} 00:00:00'"
    )
    for _ in cursor:
        pass


if __name__ == "__main__":
    if "--child" in sys.argv:
        position = sys.argv.index("--child")
        what, url, days, parallel, database = sys.argv[position + 1 :]
        child(what, url, int(days), int(parallel), Path(database))
    else:
        main()
