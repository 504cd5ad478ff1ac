"""profiles/sources.yml: what is wrong is told in one message that names the file and the key."""

from pathlib import Path

import pytest

from viewer_personas.config import (
    Exports,
    FileDocuments,
    FileEvents,
    load_file_exports,
    load_sources,
)
from viewer_personas.errors import InputError


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "sources.yml"
    path.write_text(text, encoding="utf-8")
    return path


def message_of(tmp_path: Path, text: str) -> str:
    path = write(tmp_path, text)
    with pytest.raises(InputError) as raised:
        load_sources(path)
    message = str(raised.value)
    assert message.startswith(f"{path}: ")
    assert raised.value.exit_status == 2
    return message.removeprefix(f"{path}: ")


def test_the_example_of_the_design_is_read(tmp_path: Path) -> None:
    sources = load_sources(
        write(
            tmp_path,
            "events:   {driver: files, path: data/events/*.parquet, columns: {user_id: viewer, "
            "content_id: asset, event_type: action, occurred_at: ts, watch_seconds: seconds}}\n"
            "contents: {driver: files, path: data/contents.jsonl}\n"
            "users:    {driver: files, path: [data/a.jsonl, data/b.jsonl], id: key}\n",
        )
    )
    assert isinstance(sources.events, FileEvents)
    assert sources.events.paths() == ["data/events/*.parquet"]
    assert sources.events.columns.given()["user_id"] == {"path": "viewer"}
    assert sources.contents is not None and sources.contents.id is None
    assert isinstance(sources.users, FileDocuments)
    assert sources.users.paths() == ["data/a.jsonl", "data/b.jsonl"]


EVENTS = "driver: files, path: e.csv"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"events: {{{EVENTS}, colums: {{}}}}",
            "events.colums: unknown key; did you mean columns?",
        ),
        (f"event: {{{EVENTS}}}", "event: unknown key; did you mean events?"),
        ("events: {driver: files, pth: e.csv}", "events.pth: unknown key; did you mean path?"),
        (
            f"events: {{{EVENTS}, columns: {{usr_id: viewer}}}}",
            "events.columns.usr_id: unknown key; did you mean user_id?",
        ),
        (
            f"events: {{{EVENTS}, constants: {{user_id: x}}}}",
            "events.constants.user_id: unknown key; known are event_type, content_id, device",
        ),
        (
            f"events: {{{EVENTS}}}\ncontents: {{{EVENTS}, columns: {{}}}}",
            "contents.columns: unknown key; known are where, nulls, id, updated_at, keep, fields, "
            "constants, driver, path, format, delimiter",
        ),
        (f"events: {{{EVENTS}}}\nfile: x", "file: unknown key; known are events, contents, users"),
        ("events: {driver: files}", "events.path: is missing"),
        ("events: {path: e.csv}", "events.driver: is missing"),
        (f"contents: {{{EVENTS}}}", "events: is missing"),
        (
            "events: {driver: kafka, url: x}",
            "events.driver: 'kafka' is not a known driver; choose files or druid",
        ),
        (
            "events: {driver: files, path: 5}",
            "events.path: must be a path, a glob, or a list of them, not 5",
        ),
        (
            "events: {driver: files, path: []}",
            "events.path: is empty: give a path, a glob, or a list of them",
        ),
        (
            f"events: {{{EVENTS}, constants: {{event_type: yes}}}}",
            "events.constants.event_type: must be text, not True (put it in quotes)",
        ),
        (f"events: {{{EVENTS}, columns: {{user_id: ''}}}}", "events.columns.user_id: is empty"),
        (
            f"events: {{{EVENTS}, columns: viewer}}",
            "events.columns: must be a mapping of keys to values, not 'viewer'",
        ),
        ("events: e.csv", "events: must be a mapping of keys to values, not 'e.csv'"),
        (
            f"events: {{{EVENTS}, format: xml}}",
            "events.format: must be 'parquet', 'csv' or 'json', not 'xml'",
        ),
        (
            f"events: {{{EVENTS}, epoch_unit: min}}",
            "events.epoch_unit: must be 's', 'ms', 'us' or 'ns', not 'min'",
        ),
        (
            f"events: {{{EVENTS}, columns: {{device: d}}, constants: {{device: tv}}}}",
            "events: device is in columns and in constants: remove one of the two",
        ),
        (
            f"events: {{{EVENTS}, delimiter: ';;'}}",
            'events.delimiter: must be one character, and no quote or line end, e.g. ";" or "\\t"',
        ),
        (
            f"events: {{{EVENTS}, format: json, delimiter: ';'}}",
            "events: delimiter is for csv, but format is json: remove one",
        ),
        ("events: [1", "not valid YAML in line 1: expected ',' or ']', but got '<stream end>'"),
        ("a: 1\nb: {\n  c: 1\n  d: 2}", "not valid YAML in line 4"),
        (
            f"events: {{{EVENTS}}}\nevents: {{{EVENTS}}}",
            "not valid YAML in line 1: duplicate key events",
        ),
        (
            "events: &loop {driver: files, path: *loop}",
            "not valid YAML in line 1: an alias names what it is part of",
        ),
        ("a: 1\nevents: &loop [*loop]", "not valid YAML in line 2: an alias names"),
        (
            f"events: {{driver: files, path: {'9' * 5000}}}",
            f"not valid YAML in line 1: {'9' * 20}: there is no such number or date",
        ),
        (
            f"events: {{driver: files, path: 0x{'f' * 5000}}}",
            f"not valid YAML in line 1: 0x{'f' * 18}: a number beyond 64 bits",
        ),
        (
            "events:\n  driver: files\n  path: 2020-99-99",
            "not valid YAML in line 3: 2020-99-99: there is no such number or date",
        ),
        ("[" * 5000, "not valid YAML: nested too deeply"),
        ("events: \x07", "not valid YAML: unacceptable character #x0007"),
        ("", "must be a mapping with the key events (and contents, users)"),
        ("- events", "must be a mapping with the key events (and contents, users)"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, message: str) -> None:
    assert message_of(tmp_path, text).startswith(message)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yml: no such file"):
        load_sources(tmp_path / "none.yml")


def test_a_folder_or_binary_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_sources(tmp_path)
    (tmp_path / "binary.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"binary\.yml: cannot be read"):
        load_sources(tmp_path / "binary.yml")


def test_variables_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENTS_FOLDER", "/data")
    text = "events: {driver: files, path: ['${EVENTS_FOLDER}/x/*.csv', b.csv]}"
    events = load_sources(write(tmp_path, text)).events
    assert isinstance(events, FileEvents)
    assert events.paths() == ["/data/x/*.csv", "b.csv"]


def test_an_unset_variable_is_named_with_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    text = f"events: {{{EVENTS}, columns: {{user_id: '${{NOT_SET}}'}}}}"
    message = "events.columns.user_id: the environment variable NOT_SET is not set"
    assert message_of(tmp_path, text) == message
    text = "events: {driver: files, path: [a.csv, '${NOT_SET}']}"
    message = "events.path.1: the environment variable NOT_SET is not set"
    assert message_of(tmp_path, text) == message


# --- settings of exports to files -----------------------------------------------------------------


def test_exports_to_files_need_no_sources_file_and_no_secret_of_a_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_file_exports(tmp_path / "none.yml") == Exports()
    monkeypatch.delenv("NOT_SET", raising=False)
    assert load_file_exports(write(tmp_path, "events: ${NOT_SET}")) == Exports()
    text = """
events: {driver: druid, url: "${NOT_SET}"}
export:
  files: {smallest_share: 0.25}
  druid: {url: "${NOT_SET}"}
  guard: {largest_shift: 0.2}
"""
    exports = load_file_exports(write(tmp_path, text))
    assert (exports.files.smallest_share, exports.druid) == (0.25, None)
    assert (exports.guard.largest_shift, exports.guard.largest_setback_days) == (0.2, 7)


@pytest.mark.parametrize(
    ("export", "message"),
    [
        ("{files: {smallest_shar: 0.2}}", "export.files.smallest_shar: unknown key; did you mean"),
        ("{files: {smallest_share: 2}}", "export.files.smallest_share: Input should be less than"),
        ("{guard: {largest_leap_days: 6}}", "export.guard.largest_leap_days: Input should be gr"),
        ("{guard: {warn_deviations: 0}}", "export.guard.warn_deviations: Input should be greater"),
        ("{guards: {}}", "export.guards: unknown key; did you mean guard?"),
        ("[files]", "export: must be a mapping of keys to values, not a list"),
    ],
)
def test_a_wrong_setting_of_exports_is_named_whoever_reads_it(
    tmp_path: Path, export: str, message: str
) -> None:
    text = f"events: {{{EVENTS}}}\nexport: {export}"
    assert message_of(tmp_path, text).startswith(message)
    with pytest.raises(InputError) as caught:
        load_file_exports(tmp_path / "sources.yml")
    assert str(caught.value).endswith(message_of(tmp_path, text))


MONGO = "driver: mongodb, uri: '${SECRET}', database: d, collection: c"
DRUID = "driver: druid, url: 'https://d.example.com', datasource: e"


@pytest.mark.parametrize(
    "secret", ["hunter2", "mongodb://ann:hunter2@mongo", "https://d/?t=hunter2"]
)
@pytest.mark.parametrize(
    "text",
    [
        "'${SECRET}'",
        "['${SECRET}']",
        f"events: {{{EVENTS}}}\ncontents: '${{SECRET}}'",
        f"events: {{{EVENTS}}}\ncontents: [{{{MONGO}}}]",
        f"events: {{{EVENTS}}}\ncontents: {{{EVENTS}, path: {{a: '${{SECRET}}'}}}}",
        f"events: {{{EVENTS}}}\ncontents: {{{EVENTS}, format: '${{SECRET}}'}}",
        f"events: {{{EVENTS}}}\ncontents: {{{EVENTS}, delimiter: '${{SECRET}}'}}",
        f"events: {{{EVENTS}}}\ncontents: {{{MONGO}, id: ['${{SECRET}}']}}",
        f"events: {{{EVENTS}}}\ncontents: {{{MONGO}, attempts: '${{SECRET}}'}}",
        f"events: {{{EVENTS}}}\ncontents: {{{MONGO}, timeout_seconds: ['${{SECRET}}']}}",
        f"events: {{{EVENTS}}}\ncontents: {{{MONGO}, pass: '${{SECRET}}'}}",
        f"events: {{{EVENTS}}}\ncontents: {{driver: '${{SECRET}}'}}",
        f"events: {{{EVENTS}, columns: {{occurred_at: {{path: a, timezone: '${{SECRET}}'}}}}}}",
        f"events: {{{EVENTS}, columns: {{occurred_at: {{path: a, format: '%Q${{SECRET}}'}}}}}}",
        f"events: {{{DRUID}, user: u, password: ['${{SECRET}}']}}",
        f"events: {{{DRUID}, user: {{name: u, password: '${{SECRET}}'}}}}",
        f"events: {{{DRUID}, password: '${{SECRET}}'}}",
        f"events: {{{DRUID}, rollup: '${{SECRET}}'}}",
        f"events: {{{DRUID}, parallel_slices: '${{SECRET}}'}}",
        f"events: {{{EVENTS}}}\nexport: '${{SECRET}}'",
        f"events: {{{EVENTS}}}\nexport: {{druid: '${{SECRET}}'}}",
        f"events: {{{EVENTS}}}\nexport: {{druid: {{url: ['${{SECRET}}']}}}}",
        f"events: {{{EVENTS}}}\nexport: {{druid: {{url: 'https://d?token=${{SECRET}}'}}}}",
        f"events: {{{EVENTS}}}\nexport: {{druid: {{url: 'https://d#${{SECRET}}'}}}}",
        f"events: {{{EVENTS}}}\nexport: {{druid: {{url: 'https://u:${{SECRET}}@d'}}}}",
        f"events: {{{EVENTS}}}\nexport: {{druid: {{url: 'https://d', through: '${{SECRET}}'}}}}",
    ],
)
def test_no_message_shows_what_the_environment_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, secret: str
) -> None:
    monkeypatch.setenv("SECRET", secret)
    path = write(tmp_path, text)
    with pytest.raises(InputError) as raised:
        load_sources(path)
    shown: BaseException | None = raised.value
    while shown:  # nor do the errors behind it, in a log
        assert "hunter2" not in f"{shown!s} {shown!r}"
        shown = shown.__cause__


def test_a_mapping_or_a_list_is_not_repeated_in_a_message(tmp_path: Path) -> None:
    text = f"events: {{{EVENTS}}}\ncontents: [{{driver: mongodb, password: hunter2}}]"
    message = "contents: must be a mapping of keys to values, not a list"
    assert message_of(tmp_path, text) == message
    text = "events: {driver: files, path: {password: hunter2}}"
    message = "events.path: must be a path, a glob, or a list of them, not a mapping"
    assert message_of(tmp_path, text) == message


@pytest.mark.parametrize("number", [".nan", ".inf", "-.inf", "1e999"])
def test_a_number_is_finite(tmp_path: Path, number: str) -> None:
    text = f"events: {{{DRUID}, timeout_seconds: {number}}}"
    assert message_of(tmp_path, text).startswith("events.timeout_seconds: ")
