"""`personas check`: what a sample of the sources holds, and what looks wrong.

The sample is loaded into a database in memory by the code of a load, so that both always agree.
"""

import csv
import json
import os
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Literal

import yaml

from viewer_personas.config import Sources
from viewer_personas.database import raw
from viewer_personas.database.connection import connect
from viewer_personas.database.raw import FieldProfile
from viewer_personas.database.sql import Connection
from viewer_personas.errors import InputError
from viewer_personas.mapping import (
    BooleanField,
    DateField,
    ListField,
    NumberField,
    RightsField,
    SecondsField,
    TimeField,
)
from viewer_personas.sources import document_files, event_files, guesses
from viewer_personas.sources.document_fields import write_fields
from viewer_personas.sources.event_rows import REQUIRED, Clock
from viewer_personas.sources.file_tables import SourceFile, twins
from viewer_personas.sources.profiles import event_profiles, stops
from viewer_personas.sources.sample import Row, Sample, take
from viewer_personas.sources.synonyms import candidates, folded

KEYS: tuple[Literal["contents", "users", "events"], ...] = ("contents", "users", "events")
_TOO_MANY = 0.01
_TIMES = "events.columns.occurred_at"


@dataclass(frozen=True)
class Finding:
    """What looks wrong: error, as a load would say; warning, it changes results; note.

    `place` is a key of the sources file, or a seed; `write` is what to write there instead.
    """

    level: Literal["error", "warning", "note"]
    place: str
    message: str
    write: str | None = None


@dataclass(frozen=True)
class FieldFound:
    """A field as it was found; shares are from 0 to 1, None if nothing could be read."""

    field: str
    path: str
    filled: float | None
    unreadable: float | None
    examples: list[str]
    kind: str


@dataclass
class SourceFound:
    """A source, what was sampled of it, its fields, and the names in it."""

    source: str
    sampled: str
    fields: list[FieldFound] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


@dataclass
class CheckResult:
    """The sources, and what looks wrong in them."""

    sources: list[SourceFound] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def exit_status(self) -> int:
        """2: a load would fail; 1: results would differ; 0: nothing is wrong."""
        levels = {finding.level for finding in self.findings}
        return 2 if "error" in levels else int("warning" in levels)


def check(
    sources: Sources, seeds: Path, *, now: datetime | None = None, clock_ahead_hours: float = 24
) -> CheckResult:
    """Look at a sample of all sources; writes nothing.

    `seeds` is the folder with event_types.csv. Raises `Unreachable` as a load.
    """
    moment = now or datetime.now(UTC).replace(tzinfo=None)
    clock = Clock(moment + timedelta(hours=clock_ahead_hours), clock_ahead_hours)
    result, samples = CheckResult(), {}
    with TemporaryDirectory() as folder, connect(Path(":memory:")) as connection:
        raw.create_raw_tables(connection)
        for key in ("contents", "users", "events"):
            settings = getattr(sources, key)
            if settings is None:
                continue
            try:
                sample = take(connection, settings, sources.file, key, Path(folder), clock)
            except InputError as error:
                result.findings.append(_error(error, sources, key))
                continue
            samples[key] = sample
            profiles = _land(connection, sources, sample, clock, result)
            result.sources.append(_source_found(sample, profiles))
            stop_share = sources.unreadable.stop_share
            result.findings += _of_sample(sample, profiles, stop_share)
            if key == "events" and _mend_times(sample, profiles):
                # what else is wrong with the events shows only if they have times
                for table in ("events", "rejected_events", "slices", "source_files"):
                    connection.execute(f"delete from raw.{table}")
                profiles = _land(connection, sources, sample, clock, result)
                result.sources[-1] = _source_found(sample, profiles)
                of_times = [finding for finding in result.findings if finding.place == _TIMES]
                result.findings = [
                    finding
                    for finding in result.findings
                    if not finding.place.startswith("events.")
                ]
                result.findings += of_times + list(_of_sample(sample, profiles, stop_share))
        result.findings += _of_types(connection, seeds, samples)
        if "events" in samples:
            result.findings += _of_events(connection, samples["events"], clock)
        if "users" in samples:
            result.findings += _of_zones(connection, samples["users"])
        result.findings += _of_ids(connection, samples)
    order = {"error": 0, "warning": 1, "note": 2}
    result.findings.sort(key=lambda finding: order[finding.level])
    return result


def _mend_times(sample: Sample, profiles: Sequence[FieldProfile]) -> bool:
    """Read most times of the sample as they look, if they cannot be read as mapped."""
    settings: Any = sample.settings
    times = [profile for profile in profiles if profile.field == "occurred_at"]
    if not times or times[0].unreadable <= 0.5 * times[0].filled:
        return False
    mapped = settings.occurred_at
    found, _ = guesses.time_settings(texts_at(sample, mapped.paths()[0]))
    if not found:
        return False
    mended = TimeField.model_validate({"path": mapped.paths(), **found})
    columns = settings.columns.model_copy(update={"occurred_at": mended})
    sample.settings = settings.model_copy(update={"columns": columns, "epoch_unit": None})
    return True


def _error(error: InputError, sources: Sources, key: str) -> Finding:
    message = str(error).removeprefix(f"{sources.file}: ")
    place, colon, rest = message.partition(": ")
    if colon and place.startswith(key):
        return Finding("error", place, rest)
    return Finding("error", key, message)


# --- landing ------------------------------------------------------------------------------------


def _land(
    connection: Connection, sources: Sources, sample: Sample, clock: Clock, result: CheckResult
) -> list[FieldProfile]:
    try:
        return _landed(connection, sources, sample, clock, result.findings)
    except InputError as error:
        text = str(error)
        base = sources.file.absolute().parent
        for path, name in sample.names.items():
            for shown in (path, _relative(path, base)):
                text = text.replace(shown, name)
        finding = _error(InputError(text), sources, sample.key)
        if "epoch_unit: is not set" in text:
            found = _with_unit(sample)
            if found:
                unit, finding = found
                result.findings.append(finding)
                columns = sample.settings.model_copy(update={"epoch_unit": unit})
                sample.settings = columns
                return _land(connection, sources, sample, clock, result)
        result.findings.append(_with_candidates(finding, sample))
        return []


def _relative(path: str, base: Path) -> str:
    return Path(os.path.relpath(path, base)).as_posix()


def _with_unit(sample: Sample) -> tuple[str, Finding] | None:
    mapped: Any = sample.settings
    path = mapped.columns.mapped()["occurred_at"].paths()[0]
    settings, said = guesses.time_settings(texts_at(sample, path))
    if "unit" not in settings:
        return None
    example = texts_at(sample, path)[0]
    message = f"the times in {path} are numbers, such as {example}: {said}"
    write = _line("occurred_at", mapped.columns.mapped()["occurred_at"], settings)
    return settings["unit"], Finding("error", _TIMES, message, write)


def _with_candidates(finding: Finding, sample: Sample) -> Finding:
    name = finding.place.rpartition(".")[2]
    found = candidates(sample.key, name, sample.names_in_rows())
    write = f"{name}: {in_one_line(found[0])}" if found and not finding.write else finding.write
    return Finding(finding.level, finding.place, finding.message, write)


def _landed(
    connection: Connection,
    sources: Sources,
    sample: Sample,
    clock: Clock,
    findings: list[Finding],
) -> list[FieldProfile]:
    settings: Any = sample.settings
    if sample.key == "events":
        update = {"events": settings}
        events = event_files.inspect_events(
            connection, settings, sources.file, clock, lambda text, done, total: None
        )
        run_id = str(uuid.uuid4())
        events.remember(connection)
        for batch in events.batches(connection, events.identities()):
            raw.replace_slices(connection, batch, run_id)
        sampled = sources.model_copy(update=update)
        return event_profiles(connection, sampled, run_id, events.undated_sources())
    documents = document_files.inspect_documents(connection, settings, sources.file, sample.key)
    for warning in documents.load(connection, sample.key):
        findings.append(
            Finding("warning", f"{sample.key}.id", warning.partition(": ")[2], _updated(sample))
        )
    return write_fields(connection, sample.key, settings)


def _updated(sample: Sample) -> str | None:
    settings: Any = sample.settings
    names = ("updated_at", "modified_at", "last_modified", "changed_at", "updatedAt", "modifiedAt")
    found = [name for name in names if name in sample.names_in_rows()]
    return f"updated_at: {found[0]}" if found and not settings.updated_at else None


# --- values -------------------------------------------------------------------------------------


def value_at(row: Row, path: str) -> Any:
    """The value at a column or at a dotted path; None if there is none."""
    if path in row:
        return row[path]
    value: Any = row
    for name in path.split("."):
        if not isinstance(value, dict) or name not in value:
            return None
        value = value[name]
    return value


def text_of(value: Any) -> str:
    """A value as the product's text of it."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, ensure_ascii=False)


def values_at(sample: Sample, path: str) -> list[Any]:
    """The values that are there."""
    found = (value_at(row, path) for _, row in sample.rows)
    return [value for value in found if value not in (None, "", [], {})]


def texts_at(sample: Sample, path: str) -> list[str]:
    nulls = {*sample.settings.nulls, *guesses.NULL_TEXTS}
    return [text for value in values_at(sample, path) if (text := text_of(value)) not in nulls]


def _mapped(sample: Sample) -> dict[str, Any]:
    settings: Any = sample.settings
    fields = settings.columns if sample.key == "events" else settings.fields
    mapped: dict[str, Any] = fields.mapped()
    if sample.key == "events":
        mapped["occurred_at"] = settings.occurred_at
    return {name: value for name, value in mapped.items() if name not in settings.constants.given()}


def _given(sample: Sample) -> dict[str, Any]:
    settings: Any = sample.settings
    given: dict[str, Any] = (
        settings.columns if sample.key == "events" else settings.fields
    ).given()
    return given


def _place(sample: Sample, name: str) -> str:
    return f"{sample.key}.{'columns' if sample.key == 'events' else 'fields'}.{name}"


def in_one_line(value: Any) -> str:
    """A value in YAML, in one line."""
    text = yaml.safe_dump(
        value, default_flow_style=True, allow_unicode=True, width=10_000, sort_keys=False
    )
    return text.removesuffix("...\n").strip()


def _line(name: str, mapped: Any, extra: dict[str, Any]) -> str:
    """The line of the mapping with settings added."""
    paths = mapped.paths()
    settings = {"path": paths[0] if len(paths) == 1 else paths}
    settings |= {key: value for key, value in mapped.given().items() if key != "path"}
    return f"{name}: {in_one_line({**settings, **extra})}"


def _source_found(sample: Sample, profiles: Sequence[FieldProfile]) -> SourceFound:
    found = SourceFound(sample.key, sample.said, names=sample.names_in_rows())
    of_name = {profile.field: profile for profile in profiles}
    for name, mapped in _mapped(sample).items():
        profile = of_name.get(name)
        path = ", ".join(mapped.paths())
        texts = [text for path in mapped.paths()[:1] for text in texts_at(sample, path)]
        examples = [text[:40] for text, _ in Counter(texts).most_common(3)]
        filled = unreadable = None
        if profile and profile.rows:
            filled = profile.filled / profile.rows
            unreadable = profile.unreadable / profile.filled if profile.filled else 0
        kind = type(mapped).__name__.removesuffix("Field").lower()
        found.fields.append(FieldFound(name, path, filled, unreadable, examples, kind))
    return found


# --- what looks wrong in one source ---------------------------------------------------------------


def _of_sample(
    sample: Sample, profiles: Sequence[FieldProfile], stop_share: float
) -> Iterator[Finding]:
    yield from _of_files(sample.listed, sample.key)
    of_name = {profile.field: profile for profile in profiles}
    used = {path for mapped in _mapped(sample).values() for path in mapped.paths()}
    for name, mapped in _mapped(sample).items():
        if isinstance(mapped, RightsField) and not mapped.path:
            continue
        profile = of_name.get(name)
        yield from _of_missing(sample, name, mapped, profile, used)
        if profile and profile.unreadable > _TOO_MANY * profile.filled:
            yield _of_unreadable(sample, name, mapped, profile, stop_share)
        if profile and isinstance(mapped, SecondsField):
            yield from _of_seconds(sample, name, mapped)
    yield from _of_nulls(sample)


def _of_missing(
    sample: Sample, name: str, mapped: Any, profile: FieldProfile | None, used: set[str]
) -> Iterator[Finding]:
    if profile is None and name in REQUIRED:
        return  # the error says it
    files = sample.keys_of_files()
    place = _place(sample, name)
    for path in mapped.paths():
        without = [file for file, keys in files.items() if path not in keys]
        if len(without) in (0, len(files)) or not sample.formats.isdisjoint({"json"}):
            continue
        near = [key for key in files[without[0]] if folded(key) == folded(path)]
        said = f": there it is {near[0]!r}" if near else ""
        yield Finding(
            "warning" if near else "note",
            place,
            f"{len(without)} of {len(files)} files have no {path}, such as {without[0]}{said}",
            "one name in all files; or two sources files" if near else None,
        )
    if profile and profile.filled:
        return
    keys = [key for key in sample.names_in_rows() if key not in used]
    found = candidates(sample.key, name, keys)
    near = [key for key in keys if folded(key) == folded(mapped.paths()[0])]
    found = [*near, *(each for each in found if each not in near)]
    if name == "title" and not sample.rows:
        return
    what = "row" if sample.key == "events" else "document"
    important = name in _given(sample) or name in ("title", "content_type", "genres")
    if found and values_at(sample, found[0]):
        yield Finding(
            "warning",
            place,
            f"no {what} has {mapped.paths()[0]!r}, but {found[0]!r} looks like it",
            f"{name}: {in_one_line(found[0])}",
        )
    elif important and sample.rows:
        listed = ", ".join(sample.names_in_rows()[:20])
        level: Literal["warning", "note"] = (
            "note" if name in ("content_type", "genres") else "warning"
        )
        yield Finding(
            level, place, f"no {what} has a {name}; there are {listed}", f"{name}: <one of these>"
        )


def _of_unreadable(
    sample: Sample, name: str, mapped: Any, profile: FieldProfile, stop_share: float
) -> Finding:
    values = [value for path in mapped.paths()[:1] for value in values_at(sample, path)]
    texts = [text for path in mapped.paths()[:1] for text in texts_at(sample, path)]
    settings: dict[str, Any] = {}
    said = profile.reason or "cannot be read"
    hint = ""
    if isinstance(mapped, TimeField | DateField):
        settings, hint = guesses.time_settings(texts)
        if not settings and (old := [text for text in texts if _is_before_1990(text)]):
            hint = f"{len(old)} are before 1990, such as {old[0]}: mend them at the source"
    elif isinstance(mapped, SecondsField):
        settings, hint = guesses.seconds_settings(texts)
    elif isinstance(mapped, NumberField):
        settings, hint = guesses.decimal_settings(texts)
    elif isinstance(mapped, ListField):
        settings, hint = guesses.list_settings(values)
    elif isinstance(mapped, BooleanField):
        words = guesses.boolean_values(dict.fromkeys(texts))
        settings, hint = ({"values": words} if words else {}), "other words for true and false"
    examples = ", ".join(repr(example) for example in profile.examples)
    message = (
        f"{profile.unreadable:,} of {profile.filled:,} values cannot be read: {said}, such as"
        f" {examples}" + (f"; {hint}" if hint else "")
    )
    write = _line(name, mapped, settings) if settings else None
    level: Literal["error", "warning"] = "error" if stops(profile, stop_share) else "warning"
    return Finding(level, _place(sample, name), message, write)


def _is_before_1990(text: str) -> bool:
    return bool(re.match(r"(0\d|1[0-8]|19[0-8])\d+-\d\d-\d\d", text))


def _of_seconds(sample: Sample, name: str, mapped: SecondsField) -> Iterator[Finding]:
    if mapped.unit != "s":
        return
    numbers = [float(t) for t in texts_at(sample, mapped.path) if guesses.is_number(t)]
    numbers = [number for number in numbers if number > 0]
    if len(numbers) < 5:
        return
    if unit := guesses.usual_unit(name, numbers):
        looks = {"ms": ", more than a day: looks like ms", "min": " only: looks like minutes"}[unit]
        half = f"half of {len(numbers):,} are above {median(numbers):g} seconds"
        write = _line(name, mapped, {"unit": unit})
        yield Finding("warning", _place(sample, name), half + looks, write)


def _of_nulls(sample: Sample) -> Iterator[Finding]:
    found: Counter[str] = Counter()
    places: dict[str, None] = {}
    users = 0
    for name, mapped in _mapped(sample).items():
        for path in mapped.paths():
            for value in values_at(sample, path):
                if not isinstance(value, str) or value in sample.settings.nulls:
                    continue
                replaced = getattr(mapped, "values", {})
                if value.strip() in guesses.NULL_TEXTS and value.strip() not in replaced:
                    found[value] += 1
                    places[name] = None
                    users += name == "user_id"
    if found:
        texts = ", ".join(f"{text!r} ({number:,})" for text, number in found.most_common(5))
        viewers = f"; {users:,} of them would be a viewer" if users else ""
        nulls = [*sample.settings.nulls, *sorted(found)]
        yield Finding(
            "warning",
            f"{sample.key}.nulls",
            f"texts that mean that there is no value, in {', '.join(places)}: {texts}{viewers}",
            f"nulls: {in_one_line(nulls)}",
        )


def _of_files(files: Sequence[SourceFile], key: str) -> Iterator[Finding]:
    """The same file under two names."""
    pairs = twins({file.name: file for file in files}, [file.name for file in files])
    if pairs:
        shown = "; ".join(pairs[:3])
        message = f"{len(pairs)} files look like others, so rows count twice: {shown}"
        yield Finding("warning", f"{key}.path", message, "a path that matches only one of each")


# --- what looks wrong in what was landed ----------------------------------------------------------


def _of_types(connection: Connection, seeds: Path, samples: dict[str, Sample]) -> Iterator[Finding]:
    looks: tuple[tuple[str, str, str, str, Callable[[str], str]], ...] = (
        ("events", "event_types", "event_type", "raw.events", _event_type_line),
        ("contents", "content_types", "content_type", "raw.content_fields", _content_type_line),
    )
    for key, seed, column, table, line in looks:
        path = seeds / f"{seed}.csv"
        if key not in samples or not path.is_file():
            continue
        with path.open(encoding="utf-8-sig", newline="") as rows:
            known = {row[column].strip().lower() for row in csv.DictReader(rows)}
        found = connection.execute(
            f"select {column}, count(*) as n from {table} where {column} is not null"
            f" group by 1 order by n desc, 1"
        ).fetchall()
        unknown = [(name, n) for name, n in found if name.strip().lower() not in known]
        if unknown:
            texts = ", ".join(f"{name!r} ({n:,})" for name, n in unknown[:10])
            yield Finding(
                "warning",
                f"seeds/{seed}.csv",
                f"{len(unknown)} unknown: {texts}",
                "\n".join(line(name) for name, _ in unknown[:10]),
            )


def _event_type_line(name: str) -> str:
    kind = guesses.likely_interaction(name)
    counts = "false" if kind == "ignore" else "true"
    return f"{_csv(name)},{kind},{counts}"


def _content_type_line(name: str) -> str:
    return f"{_csv(name.strip().lower())},{guesses.likely_kind(name)}"


def _csv(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\r\n') else text


def _of_events(connection: Connection, sample: Sample, clock: Clock) -> Iterator[Finding]:
    settings: Any = sample.settings
    later = _number(connection, "select count(*) from raw.rejected_events where reason = ?", clock)
    if later:
        message = f"{later:,} events are {clock.reason}"
        yield Finding("warning", _TIMES, message, "a timezone, or another unit")
    [(rows, dates)] = connection.execute(
        "select count(*), count(*) filter (where not has_time) from raw.events"
    ).fetchall()
    mapped = settings.occurred_at
    if dates:
        times = [
            key
            for key in sample.names_in_rows()
            if folded(key) in ("time", "hour", "uhrzeit", "eventtime", "heure", "hora", "clock")
            and key not in mapped.paths()
        ]
        write = None
        if times:
            paths = [*mapped.paths(), times[0]]
            write = f"occurred_at: {in_one_line({**mapped.given(), 'path': paths})}"
        message = f"{dates:,} of {rows:,} are dates without times: no hours, no sessions"
        yield Finding("warning", _TIMES, message, write)
    watch = settings.columns.mapped()["watch_seconds"]
    positions = connection.execute(_POSITIONS).fetchall()[0]
    groups, rising = positions
    if groups >= 5 and rising > groups / 2:
        is_known = "watch" in type(settings).model_fields
        write = "watch: {kind: position}" if is_known else None
        message = (
            f"in {rising:,} of {groups:,} viewings they rise and add up to far more than the clock"
            " allows: they look like positions in the content, not seconds watched"
        )
        if not is_known:
            message += "; send the seconds since the last event instead"
        yield Finding("warning", "events.columns.watch_seconds", message, write)
        return
    [(days, most)] = connection.execute(
        "select count(*), max(hours) from (select sum(watch_seconds) / 3600 as hours"
        " from raw.events group by user_id, source_date having hours > 24)"
    ).fetchall()
    if days:
        unit = _line("watch_seconds", watch, {"unit": "ms"}) if most > 2400 else None
        message = f"{days:,} days of viewers have more than 24 hours, up to {most:,.0f}"
        yield Finding("warning", "events.columns.watch_seconds", message, unit)


_POSITIONS = """
    with steps as (
        select user_id, content_id, source_date, occurred_at, watch_seconds,
            watch_seconds > lag(watch_seconds) over (
                partition by user_id, content_id, source_date order by occurred_at, watch_seconds
            ) as is_rising
        from raw.events
        where watch_seconds > 0 and content_id is not null
    ),
    viewings as (
        select count(*) filter (where is_rising) as rising, count(is_rising) as steps,
            sum(watch_seconds) as total, max(watch_seconds) as longest,
            epoch(max(occurred_at) - min(occurred_at)) as span
        from steps
        group by user_id, content_id, source_date
        having count(*) >= 4
    )
    select count(*),
        count(*) filter (where rising >= 0.9 * steps and total > 1.5 * (span + longest / steps))
    from viewings
"""


def _number(connection: Connection, query: str, clock: Clock) -> int:
    row = connection.execute(query, [clock.reason]).fetchone()
    return int(row[0]) if row else 0


def _of_zones(connection: Connection, sample: Sample) -> Iterator[Finding]:
    rows = connection.execute(
        "select timezone, count(*) as n from raw.user_fields where timezone is not null"
        " group by 1 order by n desc, 1"
    ).fetchall()
    wrong = [(zone, n) for zone, n in rows if not guesses.is_zone(zone)]
    if not wrong:
        return
    texts = ", ".join(
        f"{zone!r} ({n:,} viewers" + (f", likely {near}" if near else "") + ")"
        for zone, n in wrong[:10]
        for near in [guesses.likely_zone(zone)]
    )
    values = {zone.strip(): near for zone, _ in wrong if (near := guesses.likely_zone(zone))}
    mapped = _mapped(sample).get("timezone")
    write = _line("timezone", mapped, {"values": values}) if values and mapped else None
    message = f"{len(wrong)} are not IANA names, so these viewers are in UTC: {texts}"
    yield Finding("warning", "users.fields.timezone", message, write)


_CHANGES: dict[str, Callable[[str], str]] = {
    "without leading zeros": lambda text: text.lstrip("0") or "0",
    "in one letter case": lambda text: text.strip().lower(),
    "without the prefix": lambda text: re.sub(r"^[A-Za-z]+[-_:/ ]?0*(?=\d)", "", text),
    "without .0": lambda text: re.sub(r"[.]0+$", "", text),
}


def _of_ids(connection: Connection, samples: dict[str, Sample]) -> Iterator[Finding]:
    for key, column in (("contents", "content_id"), ("users", "user_id")):
        if key not in samples or "events" not in samples:
            continue
        sample = samples[key]
        wanted = _texts(connection, f"select distinct {column} from raw.events")
        there = set(_texts(connection, f"select _id from raw.{key}"))
        if len(wanted) < 3 or not there:
            continue
        share = _share(wanted, there)
        if share >= 0.5:
            continue
        message = (
            f"{share:.0%} of {len(wanted):,} events' {column}s are an id of {key}:"
            f" {', '.join(map(repr, sorted(wanted)[:2]))} there,"
            f" {', '.join(map(repr, sorted(there)[:2]))} here"
        )
        better = _better_path(sample, wanted, share)
        if better:
            message += f"; {better[1]:.0%} match {better[0]}"
            yield Finding("warning", f"{key}.id", message, f"id: {in_one_line(better[0])}")
            continue
        for change, how in _CHANGES.items():
            changed = {how(text) for text in there}
            if _share([how(text) for text in wanted], changed) > share + 0.2:
                yield Finding(
                    "warning",
                    f"{key}.id",
                    f"{message}; {change}, "
                    f"{_share([how(text) for text in wanted], changed):.0%} would match",
                    "the same text in both sources",
                )
                break
        else:
            if sample.said.startswith("all") and share < 0.1:
                yield Finding("warning", f"{key}.id", message, "id: <the key the events have>")


def _better_path(sample: Sample, wanted: list[str], share: float) -> tuple[str, float] | None:
    found = [
        (_share(wanted, {re.sub(r"[.]0+$", "", text) for text in texts_at(sample, key)}), key)
        for key in sample.names_in_rows()
    ]
    best, path = max(found, default=(0.0, ""))
    return (path, best) if best > share + 0.2 else None


def _texts(connection: Connection, query: str) -> list[str]:
    return [str(text) for (text,) in connection.execute(query).fetchall() if text is not None]


def _share(wanted: Sequence[str], there: set[str]) -> float:
    return sum(text in there for text in wanted) / len(wanted)
