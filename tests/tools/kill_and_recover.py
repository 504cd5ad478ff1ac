"""Kill a step of the pipeline at random points, run again, and compare with an unbroken run.

    .venv/bin/python tests/tools/kill_and_recover.py --times 30 --seed 1

In each round a database that holds an earlier state of a small service is copied, the service's
files move on (a replaced day, an emptied day, late events, a day that is gone, a corrected
catalogue), and load, build and export are each killed with SIGKILL twice, somewhere between their
start and their end, one on what the other left. Then `personas run` must bring every table and
every exported file to where an unbroken run brings them.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb

from viewer_personas.database.connection import connect

STEPS = ("load", "build", "export")
KILLED = ("load", "load", "build", "build", "export", "export")
PERSONAS = Path(sys.executable).parent / "personas"
# What is compared of tables that also say when and by which run they were written.
COMPARED = {
    "raw.slices": "select * exclude (loaded_at, run_id) from raw.slices",
    # A load that is run again looks at the documents again.
    "raw.field_profiles": """
        select distinct on (source, field) * exclude (run_id, loaded_at)
        from raw.field_profiles
        order by source, field, loaded_at desc
    """,
    # After a build that was killed an export publishes what there is: what it was last counts.
    "raw.publications": """
        select distinct on (exposure, as_of_date) * exclude (published_at, run_id)
        from raw.publications
        order by exposure, as_of_date, published_at desc
    """,
    "metrics.partition_ledger": """
        select * exclude (built_at, invocation_id) from metrics.partition_ledger
    """,
    # The state that a test passed on names the runs that built what it reads.
    "metrics.test_ledger": "select test from metrics.test_ledger",
    "metrics.user_history": """
        select * exclude (dbt_scd_id, dbt_updated_at, dbt_valid_from) from metrics.user_history
    """,
    "metrics.user_zones": "select * exclude (seen_at) from metrics.user_zones",
    "metrics.zone_restatements": "select * exclude (seen_at) from metrics.zone_restatements",
}


def main() -> int:
    """Kill `--times` times, in rounds of six; 0 when every round ended in the right result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        wrong = kill_and_recover(Path(scratch), options.times, options.seed)
    print(f"{options.times} times killed, {wrong} rounds with a wrong result")
    return min(wrong, 1)


def kill_and_recover(scratch: Path, times: int, seed: int) -> int:
    """Kill `times` times; the number of rounds with a wrong result."""
    rng = random.Random(seed)
    before, after = scratch / "before", scratch / "after"
    personas("demo", "--directory", before, "--viewers", "60", "--days", "90")
    shutil.copytree(before, after)
    move_on(after)
    durations = {step: timed(step, after) for step in STEPS}
    expected = state(after)
    wrong = 0
    for number in range(-(-times // len(KILLED))):
        place = scratch / f"round{number}"
        shutil.copytree(before, place)
        move_on(place)
        for step in KILLED:
            delay = rng.uniform(0.2, 1.0) * durations[step]
            killed = kill_after(delay, step, place)
            print(f"{step} {'killed' if killed else 'was done'} after {delay:.2f} s", flush=True)
        personas("run", "--sources", place / "sources.yml", "--database", place / "personas.duckdb")
        recovered = state(place)
        different = sorted(
            name for name in expected | recovered if expected.get(name) != recovered.get(name)
        )
        wrong += bool(different)
        print(f"round {number + 1}: {', '.join(different) or 'right'}", flush=True)
        shutil.rmtree(place)
    return wrong


def move_on(directory: Path) -> None:
    """What happens at the source between two runs."""
    events = sorted((directory / "events").glob("*.parquet"))
    connection = duckdb.connect()
    # a replaced day, a day that was emptied, and a late event in the file of another day
    rewrite(connection, events[40], "select * from {} where hash(viewer) % 2 = 0")
    rewrite(connection, events[50], "select * from {} where false")
    rewrite(
        connection,
        events[60],
        "select * from {0} union all by name"
        " select * replace (substr(ts, 1, 4) || '-02-02T10:00:00Z' as ts) from {0} limit 50000",
    )
    connection.close()
    events[-1].unlink()
    contents = directory / "contents.jsonl"
    contents.write_text(contents.read_text().replace('"Drama"', '"Mystery"'))
    # the same files in every copy, for raw.slices says which files it was read from
    for number, file in enumerate(sorted((directory / "events").glob("*.parquet"))):
        os.utime(file, (number, number))


def rewrite(connection: duckdb.DuckDBPyConnection, file: Path, query: str) -> None:
    written = file.with_suffix(".new")
    connection.execute(f"copy ({query.format(repr(str(file)))}) to '{written}' (format parquet)")
    written.replace(file)


def command(step: str, place: Path) -> list[str | Path]:
    sources: list[str | Path] = ["--sources", place / "sources.yml"] if step == "load" else []
    return [step, *sources, "--database", place / "personas.duckdb"]


def personas(*arguments: str | Path) -> None:
    subprocess.run(
        [PERSONAS, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def timed(step: str, place: Path) -> float:
    began = time.monotonic()
    personas(*command(step, place))
    return time.monotonic() - began


def kill_after(seconds: float, step: str, place: Path) -> bool:
    """Start a step and kill it; false where it was done sooner."""
    process = subprocess.Popen(
        [PERSONAS, *command(step, place)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def state(place: Path) -> dict[str, str]:
    """A checksum of every table and of every exported file, and what the manifest says."""
    found = {
        str(file.relative_to(place)): hashlib.md5(file.read_bytes()).hexdigest()
        for file in (place / "exports").rglob("*.parquet")
    }
    manifest = place / "exports" / "manifest.json"
    if manifest.exists():
        listed = json.loads(manifest.read_text())
        del listed["changed_at"]
        found["manifest"] = hashlib.md5(json.dumps(listed).encode()).hexdigest()
    with connect(place / "personas.duckdb", read_only=True) as connection:
        tables = connection.execute(
            "select table_schema || '.' || table_name from information_schema.tables"
            " where table_type = 'BASE TABLE' and table_name not like '%source_files'"
        ).fetchall()
        for (table,) in tables:
            query = COMPARED.get(table, f"from {table}")
            rows = connection.execute(f"from ({query}) order by all").fetchall()
            found[table] = hashlib.md5(repr(rows).encode()).hexdigest()
    return found


if __name__ == "__main__":
    sys.exit(main())
