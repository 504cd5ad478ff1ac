"""What a list of texts looks like: the settings of the mapping that would read them."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cache
from statistics import median
from typing import Any
from zoneinfo import available_timezones

MOST_TEXTS = 1000
SHORT_RUNTIME_SECONDS = 180
"""A usual runtime under this is in minutes."""
NULL_TEXTS = ("null", "NULL", "Null", "\\N", "NaN", "nan", "None", "undefined", "N/A", "n/a", "-")
_TIMES = ("", " %H:%M:%S", " %H:%M", " %I:%M:%S %p", " %I:%M %p", "T%H:%M:%S")
_NUMBER = re.compile(r"-?\d+([.]\d+)?([eE][+-]?\d+)?")
_ISO_TIME = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?")
_CLOCK = re.compile(r"(\d+:)?\d+:[0-5]\d([.]\d+)?")
_ISO_DURATION = re.compile(r"P(?=[T\d])(\d+D)?(T(?=\d)([\d.]+H)?([\d.]+M)?([\d.]+S)?)?", re.I)
_TRUE = {"on", "granted", "opt-in", "optin", "opted-in", "opted in", "ja", "oui", "si", "accepted"}
_FALSE = {"off", "denied", "opt-out", "optout", "opted-out", "opted out", "nein", "non", "declined"}


def _date_formats() -> list[str]:
    found = []
    for mark in "/.-":
        found += [f"%d{mark}%m{mark}%Y", f"%m{mark}%d{mark}%Y"]
    found += ["%Y/%m/%d", "%Y.%m.%d", "%b %d, %Y", "%B %d, %Y", "%d %b %Y", "%d %B %Y"]
    return [date + time for date in found for time in _TIMES] + ["%Y%m%d", "%Y%m%d%H%M%S"]


_FORMATS = _date_formats()


def is_number(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text.strip()))


def share(texts: Sequence[str], pattern: re.Pattern[str]) -> float:
    """The share of texts that a pattern matches as a whole; 0 for none."""
    found = sum(bool(pattern.fullmatch(text.strip())) for text in texts)
    return found / len(texts) if texts else 0


def is_iso_time(texts: Sequence[str]) -> bool:
    return share(texts, _ISO_TIME) >= 0.9


def time_settings(texts: Sequence[str]) -> tuple[dict[str, Any], str]:
    """What reads these texts as times, and how sure that is; nothing if unknown."""
    texts = [text.strip() for text in texts][:MOST_TEXTS]
    if not texts:
        return {}, ""
    formats = [each for each in _FORMATS if _read_share(texts, each) >= 0.9]
    if formats:
        if len(formats) > 1 and {each[:2] for each in formats[:2]} == {"%d", "%m"}:
            other = formats[1]
            said = f"day or month first cannot be told: no number is above 12; or {other}"
            return {"format": formats[0]}, said
        return {"format": formats[0]}, f"looks like {formats[0]}"
    numbers = [abs(float(text)) for text in texts if is_number(text)]
    if len(numbers) >= 0.9 * len(texts) and (unit := epoch_unit(median(numbers))):
        return {"unit": unit}, f"looks like {unit} since 1970"
    return {}, ""


def epoch_unit(number: float) -> str | None:
    """The unit in which a number since 1970 is a time of this age; None if there is none."""
    limits = (("s", 1e8, 1e11), ("ms", 1e11, 1e14), ("us", 1e14, 1e17), ("ns", 1e17, 1e20))
    return next((unit for unit, low, high in limits if low <= number < high), None)


def _read_share(texts: Sequence[str], form: str) -> float:
    # two digits more or less are another format: strptime takes 1/9 for %d/%m as well
    read = 0
    for position, text in enumerate(texts):
        with suppress(ValueError):
            moment = datetime.strptime(text, form)
            read += 1900 <= moment.year < 2100 and (form[:4] != "%Y%m" or len(text) in (8, 14))
        if position == 20 and not read:
            return 0
    return read / len(texts)


def seconds_settings(texts: Sequence[str]) -> tuple[dict[str, Any], str]:
    """What reads these texts as durations, and why; nothing if unknown."""
    texts = texts[:MOST_TEXTS]
    if share(texts, _CLOCK) >= 0.9:
        return {"unit": "clock"}, "looks like clock times"
    if share(texts, _ISO_DURATION) >= 0.9:
        return {"unit": "iso"}, "looks like ISO 8601 durations"
    return decimal_settings(texts)


def usual_unit(name: str, numbers: Sequence[float]) -> str | None:
    """The unit that the size of the usual duration of a field suggests; None: seconds."""
    middle = median(numbers) if numbers else 0
    if middle > 86_400:
        return "ms"
    return "min" if name == "runtime_seconds" and 0 < middle < SHORT_RUNTIME_SECONDS else None


def decimal_settings(texts: Sequence[str]) -> tuple[dict[str, Any], str]:
    comma = re.compile(r"-?\d+(,\d+)?|\d{1,3}([.]\d{3})+(,\d+)?")
    dot = re.compile(r"\d{1,3}(,\d{3})+([.]\d+)?")
    odd = [text for text in texts if not is_number(text)]
    if odd and share(odd, dot) >= 0.9:
        return {"decimal": "."}, "looks like commas that group thousands"
    if odd and share(odd, comma) >= 0.9:
        return {"decimal": ","}, "looks like a decimal comma"
    return {}, ""


def list_settings(values: Sequence[Any]) -> tuple[dict[str, Any], str]:
    """What reads these values, lists or texts, as lists of texts."""
    items = [item for value in values for item in (value if isinstance(value, list) else [value])]
    objects = [item for item in items if isinstance(item, dict)]
    if objects:
        keys = Counter(key for item in objects for key in item if isinstance(item[key], str))
        for key in ("name", "title", "label", "en", "value"):
            if key in keys:
                return {"name": key}, "looks like objects"
        if keys:
            return {"name": keys.most_common(1)[0][0]}, "looks like objects"
    texts = [value for value in values if isinstance(value, str)]
    marks = Counter(mark for text in texts for mark in ",;|/" if mark in text)
    if marks and not any(text.lstrip().startswith(("[", "{")) for text in texts):
        mark = marks.most_common(1)[0][0]
        return {"split": mark}, "looks like several texts in one"
    return {}, ""


def boolean_values(words: Iterable[str]) -> dict[str, bool | None]:
    """The words for true and false that the product does not know, and what they mean."""
    found: dict[str, bool | None] = {}
    for word in words:
        plain = word.strip().lower()
        if plain in _TRUE or plain in _FALSE:
            found[word.strip()] = plain in _TRUE
    return found


@cache
def _zones() -> dict[str, str]:
    return {name.lower(): name for name in available_timezones()}


@cache
def _cities() -> dict[str, str]:
    return {name.rpartition("/")[2].lower(): name for name in sorted(available_timezones())}


_OF_ABBREVIATION = {"cest": "Europe/Berlin", "bst": "Europe/London", "ist": "Asia/Kolkata"}
_OF_ABBREVIATION |= {"pst": "America/Los_Angeles", "pdt": "America/Los_Angeles"}
_OF_ABBREVIATION |= {"cst": "America/Chicago", "cdt": "America/Chicago", "edt": "America/New_York"}


def is_zone(text: str) -> bool:
    return text in available_timezones()


def likely_zone(text: str) -> str | None:
    """The IANA zone that a text may mean; None if unknown."""
    plain = re.sub(r"\s+", "_", text.strip().lower())
    if plain in _zones():
        return _zones()[plain]
    offset = re.fullmatch(r"(?:utc|gmt)?_?([+-])0?(\d{1,2})(?::?00)?", plain)
    if offset and int(offset[2]) <= 12:
        # the signs of Etc/GMT are reversed
        sign = "-" if offset[1] == "+" else "+"
        return f"Etc/GMT{sign}{offset[2]}" if int(offset[2]) else "UTC"
    return _OF_ABBREVIATION.get(plain) or _cities().get(plain)


_INTERACTIONS = (
    ("search", "search"),
    ("trailer browse preview page hover view_title detail open click scroll navigate", "browse"),
    (
        "play watch heartbeat stream resume progress video pause stop seek ping wiedergabe lecture",
        "watch",
    ),
    ("playlist watchlist mylist bookmark favo list save", "curate"),
    ("like rate rating share review thumb comment", "feedback"),
    ("impression notif email push", "ignore"),
    ("view", "browse"),
)


def likely_interaction(event_type: str) -> str:
    plain = event_type.lower()
    if "playlist" in plain or "watchlist" in plain:
        return "curate"
    return next(
        (kind for words, kind in _INTERACTIONS if any(word in plain for word in words.split())),
        "other",
    )


def likely_kind(content_type: str) -> str:
    plain = content_type.lower()
    for words, kind in (
        ("trailer teaser preview promo", "trailer"),
        ("episode folge episodio", "episode"),
        ("series serie show season staffel", "series"),
        ("live channel event sport", "live"),
        ("movie film feature spielfilm pelicula", "movie"),
    ):
        if any(word in plain for word in words.split()):
            return kind
    return "other"
