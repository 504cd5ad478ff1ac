"""`personas init`: a draft of sources.yml from a service's files, with each guess marked."""

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from viewer_personas.config import (
    FileContents,
    FileEvents,
    FileUsers,
    Sources,
    load_sources,
)
from viewer_personas.database.connection import connect
from viewer_personas.mapping import (
    BooleanField,
    ContentFields,
    DateField,
    EventFields,
    ListField,
    SecondsField,
    TimeField,
    UserFields,
)
from viewer_personas.sources import guesses
from viewer_personas.sources.check import CheckResult, check, in_one_line, texts_at, values_at
from viewer_personas.sources.event_rows import REQUIRED, Clock
from viewer_personas.sources.file_tables import glob_of
from viewer_personas.sources.sample import Sample, take
from viewer_personas.sources.synonyms import candidates

_KINDS: dict[str, tuple[Any, Any]] = {
    "events": (FileEvents, EventFields),
    "contents": (FileContents, ContentFields),
    "users": (FileUsers, UserFields),
}


def draft(folder: Path, paths: Mapping[str, Sequence[str]], now: datetime | None = None) -> str:
    """The text of a sources.yml in `folder` for the files of events, contents and users.

    Raises `InputError` if there are no such files, or they cannot be read.
    """
    file = folder / "sources.yml"
    clock = Clock(now or datetime.now(UTC).replace(tzinfo=None), 24)
    settings: dict[str, dict[str, Any]] = {}
    samples: dict[str, Sample] = {}
    with TemporaryDirectory() as place, connect(Path(":memory:")) as connection:
        for key, (source, _) in _KINDS.items():
            if not paths.get(key):
                continue
            found = [_whole(path) for path in paths[key]]
            plain = {"driver": "files", "path": found}
            model = source.model_validate(plain)
            samples[key] = take(connection, model, file, key, Path(place), clock)
            settings[key] = {**plain, **mapping(samples[key])}
    checked = _checked(file, settings, now)
    for source in settings.values():
        found = [_relative(path, folder) for path in source["path"]]
        source["path"] = found[0] if len(found) == 1 else found
    return _text(settings, samples, checked)


def _whole(path: str) -> str:
    """A path that does not depend on a folder, which may not be there yet."""
    if "://" in path:
        return path
    whole = Path(path).expanduser().absolute()
    return glob_of(whole, str(whole)) if whole.is_dir() else str(whole)


def _relative(path: str, folder: Path) -> str:
    return Path(os.path.relpath(path, folder.absolute())).as_posix()


def mapping(sample: Sample) -> dict[str, Any]:
    """The keys of a source, guessed from the names and the values in its sample."""
    key = sample.key
    found: dict[str, Any] = {}
    fields: dict[str, Any] = {}
    used: set[str] = set()
    names = sample.names_in_rows()
    if key != "events":
        [identifier] = [*candidates(key, "id", names), *names[:1], "_id"][:1]
        identifier = "_id" if "_id" in names else identifier
        found["id"] = identifier
        used.add(identifier)
    for name, field in _KINDS[key][1]().mapped().items():
        for path in _likely(sample, name, field, [each for each in names if each not in used]):
            used.add(path)
            fields[name] = _settings(sample, name, field, path)
            break
    paths = [_path(value) for value in fields.values()]
    texts = {text for path in paths for text in values_at(sample, path) if isinstance(text, str)}
    if nulls := sorted(texts & set(guesses.NULL_TEXTS)):
        found["nulls"] = nulls
    return {**found, ("columns" if key == "events" else "fields"): fields}


def _likely(sample: Sample, name: str, field: Any, names: list[str]) -> list[str]:
    """The places that may hold a field; the values must not contradict the names."""
    named = [path for path in candidates(sample.key, name, names) if values_at(sample, path)]
    if isinstance(field, TimeField | DateField):
        named = [path for path in named if _is_time(texts_at(sample, path))]
        if not named and name == "occurred_at":
            named = [path for path in names if _is_time(texts_at(sample, path))]
    if name == "timezone" and not named:
        named = [path for path in names if _are_zones(texts_at(sample, path))]
    if isinstance(field, SecondsField):
        named = [path for path in named if _is_duration(texts_at(sample, path))]
    return named


def _is_time(texts: Sequence[str]) -> bool:
    return bool(texts) and (guesses.is_iso_time(texts) or bool(guesses.time_settings(texts)[0]))


def _are_zones(texts: Sequence[str]) -> bool:
    zones = [text for text in texts if "/" in text and guesses.likely_zone(text)]
    return bool(texts) and len(zones) >= 0.9 * len(texts)


def _is_duration(texts: Sequence[str]) -> bool:
    numbers = [text for text in texts if guesses.is_number(text)]
    return len(numbers) >= 0.9 * len(texts) or bool(guesses.seconds_settings(texts)[0])


def _settings(sample: Sample, name: str, field: Any, path: str) -> str | dict[str, Any]:
    texts, extra = texts_at(sample, path), {}
    if isinstance(field, TimeField | DateField):
        extra = {} if guesses.is_iso_time(texts) else guesses.time_settings(texts)[0]
    elif isinstance(field, SecondsField):
        extra = guesses.seconds_settings(texts)[0] or _unit(name, path, texts)
    elif isinstance(field, ListField):
        extra = guesses.list_settings(values_at(sample, path))[0]
    elif isinstance(field, BooleanField):
        words = guesses.boolean_values(dict.fromkeys(texts))
        extra = {"values": words} if words else {}
    elif name == "timezone":
        wrong = [text for text in dict.fromkeys(texts) if not guesses.is_zone(text)]
        values = {text.strip(): zone for text in wrong if (zone := guesses.likely_zone(text))}
        extra = {"values": values} if values else {}
    return {"path": path, **extra} if extra else path


def _unit(name: str, path: str, texts: Sequence[str]) -> dict[str, Any]:
    if path.lower().endswith(("_ms", "millis", "milliseconds")):
        return {"unit": "ms"}
    unit = guesses.usual_unit(name, [float(text) for text in texts if guesses.is_number(text)])
    return {"unit": unit} if unit else {}


def _checked(file: Path, settings: dict[str, Any], now: datetime | None) -> CheckResult:
    nothing = file.parent / "seeds that are not there yet"
    return check(Sources.model_validate({"file": file, **settings}), nothing, now=now)


def _text(
    settings: dict[str, dict[str, Any]], samples: dict[str, Sample], checked: CheckResult
) -> str:
    lines = [
        "# Drafted from the files: check each guess. Paths are relative to this file. On the left",
        "# are our names, on the right yours. `personas check` shows what looks wrong.",
    ]
    reads = {
        (source.source, found.field): found for source in checked.sources for found in source.fields
    }
    for key, source in settings.items():
        lines.append(f"{key}:")
        part = "columns" if key == "events" else "fields"
        rows = len(samples[key].rows)
        for name, value in source.items():
            if name != part:
                guess = "    # guess" if name in ("id", "nulls") else ""
                lines.append(f"  {name}: {in_one_line(value)}{guess}")
        lines.append(f"  {part}:" if source[part] else f"  {part}: {{}}")
        used = {source.get("id"), *(_path(value) for value in source[part].values())}
        left = [each for each in samples[key].names_in_rows() if each not in used]
        for name in _KINDS[key][1].model_fields:
            if name in source[part]:
                found = reads.get((key, name))
                said = f"{rows:,} rows"
                if found and found.filled is not None:
                    read = found.filled * (1 - (found.unreadable or 0))
                    said = f"{read:.0%} of {rows:,} rows read"
                texts = texts_at(samples[key], _path(source[part][name]))
                example = f"; e.g. {_shown(texts[0])}" if texts else ""
                lines.append(
                    f"    {name}: {in_one_line(source[part][name])}    # guess: {said}{example}"
                )
            elif (name in REQUIRED and key == "events") or name == "title":
                there = _shown(", ".join(left[:12]), 200) or "no other names"
                lines.append(f"    # {name}:    # not found; there are {there}")
    return "\n".join(lines) + "\n"


def _path(value: str | dict[str, Any]) -> str:
    return value if isinstance(value, str) else str(value["path"])


def _shown(text: str, length: int = 40) -> str:
    """A text that stays within its comment."""
    return "".join(letter if letter.isprintable() else " " for letter in text)[:length]


def add_types(folder: Path, written: Sequence[Path]) -> list[str]:
    """Add the guessed lines of unknown types to the seeds that were just written; returns them."""
    added = []
    found = check(load_sources(folder / "sources.yml"), folder / "seeds")
    for finding in found.findings:
        path = folder / finding.place
        if finding.place.startswith("seeds/") and finding.write and path in written:
            text = path.read_text(encoding="utf-8")
            path.write_text(text.rstrip("\n") + f"\n{finding.write}\n", encoding="utf-8")
            added += [f"{path}: {line}" for line in finding.write.split("\n")]
    return added
