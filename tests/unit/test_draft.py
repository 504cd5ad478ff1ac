"""`personas init --events …`: the draft of a sources file reads what it was drafted from."""

import csv
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from viewer_personas.cli.app import app
from viewer_personas.config import load_sources
from viewer_personas.sources.load import load

DIALECTS: list[dict[str, Any]] = [
    {"delimiter": ";", "user": "Nutzer", "content": "Inhalt", "type": "Aktion", "time": "Zeitpunkt",
     "seconds": "Dauer", "clock": "%d.%m.%Y %H:%M:%S", "watched": "00:05:00"},
    {"delimiter": ",", "user": "viewer_id", "content": "asset", "type": "action", "time": "ts",
     "seconds": "watchTime", "clock": "%Y-%m-%dT%H:%M:%SZ", "watched": "300"},
    {"delimiter": "|", "user": "id_utilisateur", "content": "contenu", "type": "evenement",
     "time": "horodatage", "seconds": "duree", "clock": "%d/%m/%Y %H:%M", "watched": "PT5M"},
]  # fmt: skip


def write(folder: Path, dialect: dict[str, Any]) -> None:
    with (folder / "events.csv").open("w", newline="") as file:
        rows = csv.writer(file, delimiter=dialect["delimiter"])
        rows.writerow([dialect[key] for key in ("user", "content", "type", "time", "seconds")])
        for n in range(100):
            moment = datetime(2025, 9, 1, 8) + timedelta(hours=7 * n)
            kind = ("play", "media_start_playback")[n % 2]
            shown = moment.strftime(dialect["clock"])
            rows.writerow([f"v{n % 9}", f"c{n % 12}", kind, shown, dialect["watched"]])
    contents = [
        {
            "asset_no": f"c{n}",
            "kind": "movie",
            "name": f"Film {n}",
            "genre": "Drama, Comedy",
            "length": 90 + n,
        }
        for n in range(12)
    ]
    text = "".join(json.dumps(row) + "\n" for row in contents)
    (folder / "contents.jsonl").write_text(text)
    users = "id,zone,newsletter\n" + "".join(f"v{n},europe/berlin,opt-in\n" for n in range(9))
    (folder / "users.csv").write_text(users)


def init(folder: Path) -> Any:
    options = ["--events", "events.csv", "--contents", "contents.jsonl", "--users", "users.csv"]
    paths = [option if option[0] == "-" else str(folder / option) for option in options]
    return CliRunner().invoke(app, ["init", str(folder / "my service"), *paths])


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_draft_reads_what_it_was_drafted_from(tmp_path: Path, dialect: dict[str, Any]) -> None:
    write(tmp_path, dialect)
    result = init(tmp_path)
    assert result.exit_code == 0, result.output
    file = tmp_path / "my service" / "sources.yml"
    assert "# guess: 100% of 100 rows read; e.g. " in file.read_text()
    assert yaml.safe_load(file.read_text())["events"]["path"] == "../events.csv"
    loaded = load(load_sources(file), tmp_path / "personas.duckdb")
    assert (loaded.events, loaded.rejected, loaded.warnings) == (100, 0, [])
    read = {(field.source, field.field): field for field in loaded.fields}
    for source, name in (
        *(("events", "content_id"), ("events", "watch_seconds"), ("contents", "title")),
        *(("contents", "genres"), ("contents", "runtime_seconds")),
        *(("users", "timezone"), ("users", "marketing_consent")),
    ):
        field = read[source, name]
        assert (field.filled, field.unreadable) == (field.rows, 0), name
    assert "Nothing looks wrong" in result.output


def test_unknown_types_are_added_to_the_new_seed(tmp_path: Path) -> None:
    write(tmp_path, DIALECTS[1])
    assert "media_start_playback,watch,true" in init(tmp_path).output
    rows = list(csv.DictReader((tmp_path / "my service/seeds/event_types.csv").open()))
    assert rows[-1]["event_type"] == "media_start_playback"


def test_existing_files_stay(tmp_path: Path) -> None:
    write(tmp_path, DIALECTS[1])
    init(tmp_path)
    file = tmp_path / "my service" / "sources.yml"
    file.write_text(file.read_text().replace("# guess", "# mine"))
    before = {path: path.read_bytes() for path in file.parent.rglob("*.*") if path.is_file()}
    init(tmp_path)
    assert before == {path: path.read_bytes() for path in before}


def test_what_is_not_found_is_a_comment_with_candidates(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("foo,bar\n1,2025-01-01T10:00:00Z\n")
    options = ["init", str(tmp_path / "s"), "--events", str(tmp_path / "events.csv")]
    CliRunner().invoke(app, options)
    text = (tmp_path / "s" / "sources.yml").read_text()
    assert "occurred_at: bar    # guess" in text
    assert "# user_id:    # not found; there are foo" in text


def test_texts_that_mean_null_are_drafted(tmp_path: Path) -> None:
    write(tmp_path, DIALECTS[1])
    text = (tmp_path / "events.csv").read_text().replace(",c3,", ",NULL,")
    (tmp_path / "events.csv").write_text(text)
    init(tmp_path)
    sources = load_sources(tmp_path / "my service" / "sources.yml")
    assert sources.events.nulls == ["NULL"]
