"""How commands end: interrupted, out of disk or memory, or with nobody reading any more."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest
from typer.testing import CliRunner

from viewer_personas import build as build_step
from viewer_personas.cli.app import app
from viewer_personas.cli.ending import status_of
from viewer_personas.database.connection import check_name, connect
from viewer_personas.errors import CheckFailed, InputError, PersonasError, Unreachable

ENDLESS = "select sum(sin(i)) from range(1000000000000) numbers(i)"
RUNS = "print('running', flush=True)"
OPENED = f"""
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from viewer_personas.database.connection import connect
with connect(Path(':memory:')) as connection:
    query = lambda: connection.execute({ENDLESS!r})
"""
# What the signal meets: DuckDB turns it into a RuntimeError, others take it for an error of theirs,
# or nobody hears it: DuckDB sometimes does not, and a thread never does.
MEETS = {
    "python": f"import time; {RUNS}; time.sleep(600)",
    "a_query": f"{OPENED}    {RUNS}; query()",
    "a_query_after_it_was_lost": f"""{OPENED}
    import time
    try:
        {RUNS}; time.sleep(600)
    except KeyboardInterrupt:
        query()
""",
    "a_query_of_a_thread": f"""{OPENED}
    with ThreadPoolExecutor(1) as threads:
        {RUNS}; threads.submit(query).result()
""",
    "a_query_of_a_thread_that_nobody_waits_for": f"""{OPENED}
    import time
    from threading import Thread
    Thread(target=query).start()
    {RUNS}; time.sleep(600)
""",
    "a_thread_that_nobody_waits_for": f"""
import time
from threading import Thread
Thread(target=time.sleep, args=(600,)).start()
{RUNS}; time.sleep(600)
""",
    "a_step_that_makes_another_error_of_it": f"""
import time
from viewer_personas.errors import InputError
try:
    {RUNS}; time.sleep(600)
except KeyboardInterrupt as error:
    raise InputError('') from error
""",
}


def ended_by(number: int, body: str) -> subprocess.CompletedProcess[str]:
    program = f"""
from viewer_personas.cli.ending import run
def command():
    exec({body!r}, {{}})
run(command)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout and process.stdout.readline() == "running\n"
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("meets", MEETS)
def test_a_signal_ends_a_command_with_one_message(number: int, status: int, meets: str) -> None:
    ended = ended_by(number, MEETS[meets])
    assert ended.returncode == status
    assert "Interrupted. What was finished is kept. Run it again.\n" in ended.stderr
    if "nobody_waits" not in meets:  # a thread has its own message of the error in it
        assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (CheckFailed("a check"), 1, "Error: a check"),
        (InputError("an input"), 2, "Error: an input"),
        (Unreachable("a server"), 3, "Error: a server"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a.parquet"), 3, "a.parquet: No space"),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES), "x"), 3, "x: Permission denied"),
        (duckdb.IOException("IO Error: Could not write file\nmore"), 3, "Could not write file."),
        (duckdb.OutOfMemoryException("Out of Memory Error"), 3, "PERSONAS_MEMORY_LIMIT"),
    ],
)
def test_what_a_user_can_act_on_is_one_message(
    error: Exception, status: int, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise error

    assert status_of(command) == status
    shown = " ".join(capfd.readouterr().err.split())
    assert message in shown
    assert "more" not in shown


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        status_of(lambda: 1 // 0)


def test_handlers_of_signals_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert status_of(lambda: None) == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_reader_that_has_seen_enough_is_no_failure() -> None:
    program = """
import sys
from viewer_personas.cli import text
from viewer_personas.cli.ending import status_of
def command():
    for in_json in (False, True):
        text.print_results(in_json, {"rows": ["x" * 100] * 10000}, ["y" * 100] * 10000)
sys.exit(status_of(command))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stderr
    try:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=300) == 0
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()


def test_a_file_name_that_is_no_utf8_is_one_message(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = os.fsencode(tmp_path)
    with open(folder + b"/x\xe9.csv", "w") as file:
        file.write("user_id,event_type,occurred_at\nann,play,2026-01-01T10:00:00Z\n")
    (tmp_path / "sources.yml").write_text("events: {driver: files, path: '*.csv'}\n")
    arguments = ["load", "--sources", str(tmp_path / "sources.yml")]
    arguments += ["--database", str(tmp_path / "personas.duckdb")]
    assert status_of(lambda: app(arguments, standalone_mode=False)) == 2
    shown = capfd.readouterr().err
    assert "x�.csv: the name is no UTF-8" in shown
    assert not (tmp_path / "personas.duckdb").exists()


@pytest.mark.parametrize(
    ("umask", "file", "folder"), [("", 0o600, 0o700), ("027", 0o640, 0o750), ("rw", None, None)]
)
def test_what_is_written_is_for_the_own_account_unless_a_umask_says_more(
    tmp_path: Path, umask: str, file: int | None, folder: int | None
) -> None:
    (tmp_path / "events.csv").write_text(
        "user_id,event_type,occurred_at\nann,play,2026-01-01T10:00:00Z\n"
    )
    (tmp_path / "sources.yml").write_text("events: {driver: files, path: events.csv}\n")
    made = tmp_path / "made"
    ended = subprocess.run(
        [
            *(sys.executable, "-c", "from viewer_personas.cli.app import main; main()"),
            *("load", "--to", "parquet", "--sources", str(tmp_path / "sources.yml")),
            *("--database", str(made / "personas.duckdb")),
        ],
        env={**os.environ, "PERSONAS_UMASK": umask},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == (0 if file else 2), ended.stderr
    if file:
        paths = [made, *made.rglob("*")]
        modes = {(path.is_dir(), path.stat().st_mode & 0o777) for path in paths}
        assert modes == {(True, folder), (False, file)}
    else:
        assert "PERSONAS_UMASK: not a umask; write it like 027" in ended.stderr
        assert not made.exists()


@pytest.mark.parametrize("kib", [50, 300, 2000])
def test_a_disk_that_is_full_names_the_database_and_the_next_load_goes_on(
    tmp_path: Path, kib: int
) -> None:
    events = [
        f"user{i * 7919 % 50000},play,2026-01-{i % 28 + 1:02}T10:00:00Z" for i in range(100000)
    ]
    text = "\n".join(["user_id,event_type,occurred_at", *events])
    (tmp_path / "events.csv").write_text(text + "\n")
    (tmp_path / "sources.yml").write_text("events: {driver: files, path: events.csv}\n")
    database = tmp_path / "personas.duckdb"
    arguments = ["load", "--sources", str(tmp_path / "sources.yml"), "--database", str(database)]

    def load(before: str) -> subprocess.CompletedProcess[str]:
        program = f"from viewer_personas.cli.app import main; {before}; main()"
        command = [sys.executable, "-c", program, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    limit = f"(resource.RLIMIT_FSIZE, ({kib * 1024}, {kib * 1024}))"
    full = load(f"import resource; resource.setrlimit(*{limit})")
    if full.returncode:  # the largest limit may suffice
        assert full.returncode == 3, full.stderr
        assert str(database) in full.stderr and "events.csv" not in full.stderr.splitlines()[-1]
    else:
        assert kib == 2000
    assert load("pass").returncode == 0


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("Runtime Error\n  Out of Memory Error: could not allocate", Unreachable),
        ("Runtime Error\n  IO Error: Could not write file: No space left on device", Unreachable),
        ("Runtime Error\n  Binder Error: no such column", CheckFailed),
    ],
)
def test_a_model_that_the_machine_stopped_can_be_built_again(
    message: str, error: type[PersonasError]
) -> None:
    node = SimpleNamespace(status="error", message=message, node=SimpleNamespace(name="drift"))
    result: Any = SimpleNamespace(success=False, result=SimpleNamespace(results=[node]))
    with pytest.raises(error, match="drift: Runtime Error"):
        build_step._collect([result], build_step.BuildSummary("run"), Path("personas.duckdb"))


# --- the database ---------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["abc", "1GB'; select 1; --", "4", "-1GB", "4GB 4GB", "GB"])
def test_a_memory_limit_that_is_no_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setenv("PERSONAS_MEMORY_LIMIT", limit)
    with (
        pytest.raises(InputError, match="PERSONAS_MEMORY_LIMIT: not a size"),
        connect(tmp_path / "new.duckdb"),
    ):
        pass
    assert not (tmp_path / "new.duckdb").exists()


@pytest.mark.parametrize("limit", ["", "1GB", "1.5 GiB", "900MB", "20%"])
def test_a_memory_limit_is_a_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setenv("PERSONAS_MEMORY_LIMIT", limit)
    with connect(tmp_path / "new.duckdb") as connection:
        assert connection.execute("select 1").fetchall() == [(1,)]


@pytest.mark.parametrize(
    "content",
    [b"SQLite format 3\0" + b"\0" * 4080, b"text", b"PAR1" * 100, b"\0" * 20000],
    ids=["sqlite", "text", "parquet", "zeros"],
)
def test_a_file_that_is_no_database_of_ours_is_one_message(tmp_path: Path, content: bytes) -> None:
    database = tmp_path / "other.duckdb"
    database.write_bytes(content)
    with pytest.raises(InputError) as caught, connect(database):
        pass
    assert str(caught.value).startswith(f"{database}: cannot be opened as a DuckDB file")
    assert len(str(caught.value).splitlines()) == 1
    assert "extension" not in str(caught.value).lower()
    assert database.read_bytes() == content


def test_a_truncated_database_is_one_message(tmp_path: Path) -> None:
    database = tmp_path / "ours.duckdb"
    with connect(database) as connection:
        connection.execute("create table numbers as select range as i from range(1000000)")
    whole = database.read_bytes()
    for length in (1000, 5000, 9000, 13000, len(whole) // 2):
        database.write_bytes(whole[:length])
        with pytest.raises(PersonasError) as caught, connect(database):
            pass
        assert str(caught.value).startswith(f"{database}: "), length


@pytest.mark.parametrize(
    "name",
    [
        *("it's.duckdb", 'a"b.duckdb', "x;y.duckdb", "a#b.duckdb", ":memory:", "raw.duckdb"),
        *("RAW.db", "temp.duckdb", "system.duckdb", "main", "staging.x.duckdb", "..."),
    ],
)
def test_a_name_with_which_a_build_would_fail_is_refused_at_load(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "events.csv").write_text("user_id,event_type,occurred_at\n")
    (tmp_path / "sources.yml").write_text("events: {driver: files, path: events.csv}\n")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["load", "--sources", "sources.yml", "--database", name])
    assert isinstance(result.exception, InputError)
    assert str(result.exception).startswith(f"{name}: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.csv", "sources.yml"]


@pytest.mark.parametrize("name", ["personas.duckdb", "a b.db", "ünï.x.duckdb", "-1", ".hidden"])
def test_other_names_are_taken(name: str) -> None:
    check_name(Path("it's; a folder") / name)


@pytest.mark.parametrize("place", [0.0001, 0.01, 0.3, 0.5, 0.9])
def test_a_flipped_byte_is_one_message_or_no_harm(
    tmp_path: Path, place: float, capfd: pytest.CaptureFixture[str]
) -> None:
    database = tmp_path / "ours.duckdb"
    with connect(database) as connection:
        connection.execute("create table numbers as select range as i from range(1000000)")
    content = bytearray(database.read_bytes())
    content[int(place * len(content))] ^= 0xFF
    database.write_bytes(content)
    found = []

    def command() -> None:
        with connect(database, read_only=True) as connection:
            found.append(connection.execute("select sum(i) from numbers").fetchone())

    status = status_of(command)
    said = capfd.readouterr().err.splitlines()
    if status == 0:  # a byte that holds nothing
        assert found == [(499999500000,)]
    else:
        assert status in (2, 3)
        assert len(said) == 1 and said[0].startswith("Error: ")
