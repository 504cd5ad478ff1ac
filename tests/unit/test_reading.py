"""How mapped values are read: what a field can hold; the rest is unreadable, not absent."""

from datetime import date, datetime
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from viewer_personas.mapping import (
    BooleanField,
    DateField,
    IdField,
    ListField,
    Mapped,
    NumberField,
    SecondsField,
    TextField,
    TimeField,
)
from viewer_personas.sources.fields import Value, is_date, readable, there

CONNECTION = duckdb.connect()
CONNECTION.execute("set TimeZone = 'UTC'")


def read(field: Mapped, text: str | None, *, is_json: bool = False) -> Any:
    """What a field makes of a text; "unreadable" if it is there, but cannot be read."""
    value = Value('"text"', is_json=is_json)
    query = f"""
        select "text", {readable(field, '"text"', value)}
        from (select {there(field, Value("given", is_json=is_json).plain)} as "text"
            from (select $1::varchar as given))
    """
    [(found, value_of_it)] = CONNECTION.execute(query, [text]).fetchall()
    return "unreadable" if found is not None and value_of_it is None else value_of_it


@pytest.mark.parametrize(
    ("text", "settings_of_it", "seconds"),
    [
        ("60", {}, 60),
        (" 60.5 ", {}, 60.5),
        ("", {}, None),
        (None, {}, None),
        ("0", {}, 0),
        ("-1", {}, "unreadable"),
        ("nan", {}, "unreadable"),
        ("inf", {}, "unreadable"),
        ("999999999", {}, 999_999_999),
        ("1000000000", {}, "unreadable"),
        ("1,5", {}, "unreadable"),
        ("1,5", {"decimal": ","}, 1.5),
        ("1.800,5", {"decimal": ","}, 1800.5),
        ("1,800", {"decimal": "."}, 1800),
        ("1800000", {"unit": "ms"}, 1800),
        ("1.5", {"unit": "min"}, 90),
        ("2", {"unit": "h"}, 7200),
        ("00:00:05", {}, "unreadable"),
        ("00:00:05", {"unit": "clock"}, 5),
        ("1:30:00", {"unit": "clock"}, 5400),
        ("05:30", {"unit": "clock"}, 330),
        ("5:61", {"unit": "clock"}, "unreadable"),
        ("330", {"unit": "clock"}, "unreadable"),
        ("PT30M", {}, "unreadable"),
        ("PT30M", {"unit": "iso"}, 1800),
        ("pt1h2m3.5s", {"unit": "iso"}, 3723.5),
        ("P1DT1S", {"unit": "iso"}, 86_401),
        ("PT", {"unit": "iso"}, "unreadable"),
        ("P", {"unit": "iso"}, "unreadable"),
        ("-1", {"values": {"-1": None}}, None),
        ("full", {"values": {"full": 5400}}, 5400),
    ],
)
def test_seconds(text: str | None, settings_of_it: dict[str, Any], seconds: object) -> None:
    assert read(SecondsField(path="x", **settings_of_it), text) == seconds


@given(seconds=st.integers(0, 999_999))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_a_duration_is_the_same_in_every_notation(seconds: int) -> None:
    minutes, rest = divmod(seconds, 60)
    clock = f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
    notations = {
        "s": str(seconds),
        "ms": str(seconds * 1000),
        "clock": clock,
        "iso": f"PT{minutes}M{rest}S",
    }
    for unit, text in notations.items():
        field = SecondsField.model_validate({"path": "x", "unit": unit})
        assert read(field, text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "settings_of_it", "day"),
    [
        ("2025-09-01", {}, date(2025, 9, 1)),
        ("2025-09-01T23:30:00Z", {}, date(2025, 9, 1)),
        ("01/09/2025", {}, "unreadable"),
        ("01/09/2025", {"format": "%d/%m/%Y"}, date(2025, 9, 1)),
        ("20250901", {}, "unreadable"),
        ("20250901", {"format": "%Y%m%d"}, date(2025, 9, 1)),
        ("Sep 1, 2025", {"format": "%b %d, %Y"}, date(2025, 9, 1)),
        ("1756684800", {}, "unreadable"),
        ("1756684800", {"unit": "s"}, date(2025, 9, 1)),
        ("1756684800000", {"unit": "ms"}, date(2025, 9, 1)),
        ("1756677600", {"unit": "s", "timezone": "Europe/Berlin"}, date(2025, 9, 1)),
        ("2025-08-31T22:30:00Z", {"timezone": "Europe/Berlin"}, date(2025, 9, 1)),
        ("2025-08-31", {"timezone": "Europe/Berlin"}, date(2025, 8, 31)),
        ("1.9.25", {"format": ["%Y-%m-%d", "%d.%m.%y"]}, date(2025, 9, 1)),
        ("never", {}, "unreadable"),
        ("never", {"values": {"never": None}}, None),
        ("2023-02-29", {}, "unreadable"),
    ],
)
def test_dates(text: str, settings_of_it: dict[str, Any], day: object) -> None:
    assert read(DateField(path=["x"], **settings_of_it), text) == day


@pytest.mark.parametrize(
    ("text", "settings_of_it", "moment", "only_date"),
    [
        ("2025-11-01T10:00:00Z", {}, datetime(2025, 11, 1, 10), False),
        ("2025-11-01 10:00:00", {}, datetime(2025, 11, 1, 10), False),
        ("2025-11-01T10:00:00+02:00", {}, datetime(2025, 11, 1, 8), False),
        ("2025-11-01T10:00:00+14:00", {}, datetime(2025, 10, 31, 20), False),
        ("2025-11-01T10:00:00+25:00", {}, "unreadable", False),
        ("2025-11-01T10:00:00.5+99:00", {}, "unreadable", False),
        ("2025-11-01T10:00:00-15:30", {}, "unreadable", False),
        ("2025-11-01", {}, datetime(2025, 11, 1), True),
        ("2025-11-01", {"timezone": "Asia/Tokyo"}, datetime(2025, 11, 1), True),
        ("2025-11-01 10:00", {"timezone": "Europe/Berlin"}, datetime(2025, 11, 1, 9), False),
        ("2025-07-01 10:00", {"timezone": "Europe/Berlin"}, datetime(2025, 7, 1, 8), False),
        ("2025-07-01T10:00:00Z", {"timezone": "Europe/Berlin"}, datetime(2025, 7, 1, 10), False),
        ("1/9/2015", {}, "unreadable", False),
        ("1/9/2015", {"format": "%d/%m/%Y"}, datetime(2015, 9, 1), True),
        ("1/9/2015 7:30", {"format": "%d/%m/%Y %H:%M"}, datetime(2015, 9, 1, 7, 30), False),
        ("19970101", {"format": "%Y%m%d"}, datetime(1997, 1, 1), True),
        ("1756684800", {"unit": "s"}, datetime(2025, 9, 1), False),
        ("1756684800000000", {"unit": "us"}, datetime(2025, 9, 1), False),
        ("1756684800000000000", {"unit": "ns"}, datetime(2025, 9, 1), False),
        ("1756684800000", {"unit": "s"}, "unreadable", False),
    ],
)
def test_times(text: str, settings_of_it: dict[str, Any], moment: object, only_date: bool) -> None:
    field = TimeField(path=["x"], **settings_of_it)
    assert read(field, text) == moment
    if moment != "unreadable":
        query = f"select {is_date(field, 'given', 'VARCHAR')} from (select $1::varchar as given)"
        assert CONNECTION.execute(query, [text]).fetchall() == [(only_date,)]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("7", "7"),
        ("7.0", "7"),
        ("7.00", "7"),
        ("-7.0", "-7"),
        ("7.5", "7.5"),
        ("7.0.1", "7.0.1"),
        ("v1.0", "v1.0"),
        ('{"$oid": "65f0"}', "65f0"),
        ('{"$numberLong": "12"}', "12"),
        ('{"$numberDouble": "7.0"}', "7"),
        ('{"id": 7}', "unreadable"),
        ("[7]", "unreadable"),
        ("{7c9e6679-7425-40de-944b}", "{7c9e6679-7425-40de-944b}"),
    ],
)
def test_keys(text: str, key: str) -> None:
    assert read(IdField(path="x"), text, is_json=True) == key


@pytest.mark.parametrize(
    ("text", "settings_of_it", "names"),
    [
        ('["Drama", "Comedy"]', {}, ["Drama", "Comedy"]),
        ("Drama", {}, ["Drama"]),
        ("7", {}, ["7"]),
        ("Drama, Comedy", {}, "unreadable"),
        ("Drama|Comedy", {}, "unreadable"),
        ("Drama/Romance", {}, "unreadable"),
        ("Drama, Comedy", {"split": ","}, ["Drama", "Comedy"]),
        ("Drama||Comedy|", {"split": "|"}, ["Drama", "Comedy"]),
        ("Drama/Romance", {"split": ""}, ["Drama/Romance"]),
        ('[{"id": 18, "name": "Drama"}]', {}, "unreadable"),
        ('[{"id": 18, "name": "Drama"}]', {"name": "name"}, ["Drama"]),
        ('[{"id": 18}]', {"name": "name"}, "unreadable"),
        ('{"id": 18, "name": "Drama"}', {"name": "name"}, ["Drama"]),
        ('[{"name": {"en": "Drama"}}]', {"name": "name.en"}, ["Drama"]),
        ('["[REC]"]', {}, ["[REC]"]),
        ("[REC]", {}, ["[REC]"]),
        ('[["Drama"]]', {}, "unreadable"),
        ("true", {}, "unreadable"),
        ("[true]", {}, "unreadable"),
        ("[]", {}, []),
        ("[null]", {}, []),
        ('["DRA", "X"]', {"values": {"DRA": "Drama", "X": None}}, ["Drama"]),
    ],
)
def test_lists(text: str, settings_of_it: dict[str, Any], names: object) -> None:
    assert read(ListField(path="x", **settings_of_it), text) == names


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        (BooleanField(path="x"), "true", True),
        (BooleanField(path="x"), " Yes ", True),
        (BooleanField(path="x"), "0", False),
        (BooleanField(path="x"), "granted", "unreadable"),
        (BooleanField(path="x", values={"granted": True, "opt-out": False}), "granted", True),
        (BooleanField(path="x", values={"granted": True, "opt-out": False}), "opt-out", False),
        (NumberField(path="x"), "2", 2),
        (NumberField(path="x"), "2.0", 2),
        (NumberField(path="x"), "2.5", "unreadable"),
        (NumberField(path="x"), "two", "unreadable"),
        (NumberField(path="x", decimal=","), "1.200", 1200),
        (NumberField(path="x"), "9223372036854775807", "unreadable"),
        (TextField(path="x"), '{"de": "Heimat"}', "unreadable"),
        (TextField(path="x", values={"P": "play"}), " P ", "play"),
        (TextField(path="x", values={"P": "play"}), "Q", "Q"),
    ],
)
def test_others(field: Mapped, text: str, value: object) -> None:
    assert read(field, text, is_json=True) == value
