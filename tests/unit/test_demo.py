"""The demo keeps the promises of its docstring, and the recovery report counts right."""

import csv
import hashlib
import json
import math
import random
import re
from collections import Counter, defaultdict
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import duckdb
import pytest
import yaml
from rich.console import Console

from viewer_personas.demo.recovery import PersonaRecovery, Recovery, recovery, render, to_dict
from viewer_personas.demo.service import (
    BEHAVIOURS,
    LAST_DAY,
    LEAVING,
    NEVER_COMING_BACK,
    Phase,
    _life,
    _life_that_ends_in,
    generate,
)
from viewer_personas.errors import InputError

REPOSITORY = Path(__file__).parents[2]
VIEWERS = 300
DAYS = 182
FIRST_DAY = LAST_DAY - timedelta(days=DAYS - 1)

Phases = dict[str, list[tuple[str, date, date]]]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("demo")
    generate(directory, viewers=VIEWERS)
    return directory


@pytest.fixture(scope="module")
def quiet_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without noise every viewer does what its behaviour says, and nothing else."""
    directory = tmp_path_factory.mktemp("quiet_demo")
    generate(directory, viewers=VIEWERS, noise=0.0)
    return directory


def digests(directory: Path) -> dict[str, str]:
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def json_lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def phases(directory: Path) -> Phases:
    lives: Phases = defaultdict(list)
    with (directory / "truth.csv").open(encoding="utf-8", newline="") as truth:
        for row in csv.DictReader(truth):
            starts_on, ends_on = (date.fromisoformat(row[k]) for k in ("starts_on", "ends_on"))
            lives[row["user_id"]].append((row["behaviour"], starts_on, ends_on))
    return lives


def living(directory: Path, behaviour: str) -> dict[str, tuple[date, date]]:
    """Viewers that end in a behaviour, and the days of it."""
    lives = phases(directory)
    return {user: life[-1][1:] for user, life in lives.items() if life[-1][0] == behaviour}


def events(directory: Path) -> duckdb.DuckDBPyConnection:
    """Table events: viewer, action, asset, title, seconds, happened_at, day (the TV day)."""
    connection = duckdb.connect()
    connection.execute("set TimeZone = 'UTC'")
    connection.execute(f"""
        create table events as
        with users as (select user_id, timezone from read_json('{directory}/users.jsonl')),
        contents as (
            select content_id, series_id, genres from read_json('{directory}/contents.jsonl')
        )
        select
            viewer, action, asset, coalesce(series_id, asset) as title, series_id, genres, seconds,
            ts::timestamp as happened_at,
            cast(
                timezone(coalesce(timezone, 'UTC'), ts::timestamptz) - interval 4 hour as date
            ) as day
        from read_parquet('{directory}/events/*.parquet')
        left join users on viewer = users.user_id
        left join contents on asset = content_id
    """)
    return connection


def active_days(directory: Path) -> dict[str, list[date]]:
    days: dict[str, list[date]] = defaultdict(list)
    query = """
        select viewer, day from events where action <> 'impression' group by all order by all
    """
    for viewer, day in events(directory).execute(query).fetchall():
        days[viewer].append(day)
    return days


# --- The files --------------------------------------------------------------------------------


def test_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("first", "second"):
        generate(tmp_path / name, viewers=40)
    assert digests(tmp_path / "first") == digests(tmp_path / "second")


def test_writing_over_an_earlier_demo_leaves_nothing_of_it(tmp_path: Path) -> None:
    generate(tmp_path / "over", viewers=20, days=100)
    generate(tmp_path / "over", viewers=20, days=90)
    generate(tmp_path / "fresh", viewers=20, days=90)
    assert digests(tmp_path / "over") == digests(tmp_path / "fresh")


@pytest.mark.parametrize("change", [{"seed": 8}, {"noise": 2.0}, {"viewers": 41}])
def test_another_seed_noise_or_number_differs(tmp_path: Path, change: dict[str, int]) -> None:
    generate(tmp_path / "one", viewers=40)
    generate(tmp_path / "other", **{"viewers": 40, **change})  # type: ignore[arg-type]
    one, other = digests(tmp_path / "one"), digests(tmp_path / "other")
    assert one["events/2026-04-01.parquet"] != other["events/2026-04-01.parquet"]


def test_one_file_a_day_with_a_few_late_events_of_the_day_before(demo: Path) -> None:
    names = sorted(path.stem for path in (demo / "events").iterdir())
    assert names == [(FIRST_DAY + timedelta(days=day)).isoformat() for day in range(DAYS)]
    late_by_days = duckdb.execute(f"""
        select date_diff('day', ts[:10]::date, parse_filename(filename, true)::date), count(*)
        from read_parquet('{demo}/events/*.parquet', filename = true) group by all order by all
    """).fetchall()
    assert [days for days, _ in late_by_days] == [0, 1]
    assert late_by_days[1][1] < 0.01 * late_by_days[0][1]


def test_sources_maps_the_columns_that_are_there(demo: Path) -> None:
    sources = yaml.safe_load((demo / "sources.yml").read_text(encoding="utf-8"))
    described = duckdb.execute(f"describe from read_parquet('{demo}/events/*.parquet')")
    columns = {row[0] for row in described.fetchall()}
    assert set(sources["events"]["columns"].values()) == columns
    assert (demo / sources["contents"]["path"]).exists()
    assert (demo / sources["users"]["path"]).exists()


def test_catalogue_has_what_the_contract_names(demo: Path) -> None:
    documents = json_lines(demo / "contents.jsonl")
    types = Counter(document["content_type"] for document in documents)
    assert types["movie"] == 150
    episodes = Counter(d["series_id"] for d in documents if d["content_type"] == "episode")
    assert len(episodes) == 40
    assert all(6 <= number <= 30 for number in episodes.values())
    assert any(document["genres"] == [] for document in documents)
    assert len({document["content_id"] for document in documents}) == len(documents)
    windows = [window for document in documents for window in document["availability"]]  # type: ignore[attr-defined]
    assert all(
        window["available_until"] is None or window["available_from"] < window["available_until"]
        for window in windows
    )
    assert any(window["available_until"] is not None for window in windows)


def test_events_are_untidy_as_promised(demo: Path) -> None:
    connection = events(demo)
    actions = {
        row[0] for row in connection.execute("select distinct action from events").fetchall()
    }
    assert actions == {"play", "click", "search", "bookmark", "playlist", "rating", "impression"}
    row = connection.execute(f"""
        select
            count(*) filter (action = 'play' and coalesce(seconds, 0) <= 0),
            count(*) filter (action <> 'play' and seconds is not null),
            count(*) filter (action = 'search' and asset is not null),
            count(*) filter (action <> 'search' and asset is null),
            count(*) filter (asset not in (
                select content_id from read_json('{demo}/contents.jsonl')
            )) / count(*),
            min(happened_at)::date, max(happened_at)::date
        from events
    """).fetchone()
    assert row is not None
    assert row[:4] == (0, 0, 0, 0)
    assert 0 < row[4] < 0.02
    assert row[5:] == (FIRST_DAY, LAST_DAY)


def test_nothing_is_watched_where_it_is_not_available(demo: Path) -> None:
    row = duckdb.execute(f"""
        with windows as (
            select content_id, unnest(availability, recursive := true)
            from read_json('{demo}/contents.jsonl')
        ),
        plays as (
            select asset, territory, min(ts[:10]::date) as first_on, max(ts[:10]::date) as last_on
            from read_parquet('{demo}/events/*.parquet')
            inner join read_json('{demo}/users.jsonl') on viewer = user_id
            where action = 'play' and asset in (select content_id from windows)
            group by all
        )
        select count(*), count(windows.content_id)
        from plays
        left join windows
            on windows.content_id = asset and windows.territory = plays.territory
            -- A local day is not a UTC day, and a night goes on after midnight.
            and first_on >= available_from::date - 1
            and last_on <= coalesce(available_until::date, date '9999-01-01') + 1
    """).fetchone()
    assert row is not None
    assert row[0] == row[1] > 0


def test_refuses_a_directory_that_is_not_a_demo(tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    precious = tmp_path / "events" / "2026-04-01.parquet"
    precious.write_text("not ours")
    with pytest.raises(InputError, match="not an earlier demo"):
        generate(tmp_path, viewers=20)
    assert precious.read_text() == "not ours"


@pytest.mark.parametrize("wrong", [{"viewers": 0}, {"days": 89}, {"noise": -0.1}])
def test_refuses_numbers_out_of_range(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        generate(tmp_path, **wrong)  # type: ignore[arg-type]


# --- The truth --------------------------------------------------------------------------------


def test_every_behaviour_is_planted_in_its_proportion(demo: Path) -> None:
    final = Counter(life[-1][0] for life in phases(demo).values())
    assert final.keys() == BEHAVIOURS.keys()
    assert all(
        abs(final[name] - VIEWERS * weight / 1000) < 1 for name, weight in BEHAVIOURS.items()
    )


def test_truth_covers_every_viewer_from_sign_up_to_the_end_without_overlap(demo: Path) -> None:
    users = {str(user["user_id"]): user for user in json_lines(demo / "users.jsonl")}
    lives = phases(demo)
    assert len(lives) == VIEWERS
    assert set(users) < set(lives)  # a few have no document
    for user_id, life in lives.items():
        for (_, _, ends_on), (_, starts_on, _) in pairwise(life):
            assert starts_on == ends_on + timedelta(days=1)
        assert all(starts_on <= ends_on for _, starts_on, ends_on in life)
        assert life[-1][2] == LAST_DAY
        if user_id in users:
            signed_up_on = date.fromisoformat(str(users[user_id]["signed_up_on"]))
            assert life[0][1] == max(FIRST_DAY, signed_up_on)


def test_lives_change_as_told() -> None:
    """What follows what, how long it lasts at least, and nothing twice in a row."""
    lives = [drawn_life(number)[0] for number in range(3000)]
    for life in lives:
        assert life[0].first == 0 or life[0].behaviour == "newcomer"
        assert life[-1].last == DAYS - 1
        for phase, then in pairwise(life):
            assert then.first == phase.last + 1
            assert phase.behaviour != then.behaviour
            length = then.first - phase.first
            if phase.behaviour == "sleeper":
                assert then.behaviour == "returner"
                assert length >= 30
            if phase.behaviour in ("newcomer", "returner"):
                assert length <= 14
                assert then.behaviour == "sleeper" or length == 14
            if phase.behaviour == "fader":
                assert length <= 63
                assert then.behaviour in ("sleeper", "casual")
            if then.behaviour == "sleeper":
                assert then.first <= DAYS - 30
            if then.behaviour == "fader":
                assert phase.behaviour == "regular"
                assert then.first <= DAYS - 42
            if then.behaviour == "newcomer":
                raise AssertionError("a newcomer was here before")
    assert any(len(life) > 4 for life in lives)


def test_each_behaviour_is_left_as_often_as_told_early_and_late() -> None:
    """Counted in viewer weeks over the part in which leaving is planted, in two halves.

    The lives are those of the demo, drawn until they end as wanted: that must not move the risks.
    """
    left: Counter[tuple[str, bool]] = Counter()
    days: Counter[tuple[str, bool]] = Counter()
    middle = (DAYS - 30) // 2
    chosen = random.Random("behaviours")
    for number in range(6000):
        behaviour = chosen.choices(list(BEHAVIOURS), list(BEHAVIOURS.values()))[0]
        life, _ = _life_that_ends_in(behaviour, random.Random(f"life {number}"), DAYS)
        for phase, then in pairwise([*life, None]):
            assert phase is not None
            for is_late in (False, True):
                first, last = (middle, DAYS - 31) if is_late else (0, middle - 1)
                days[phase.behaviour, is_late] += max(
                    0, min(phase.last, last) - max(phase.first, first) + 1
                )
            # at the end of a decline viewers leave for another reason
            is_over = phase.behaviour == "fader" and phase.last - phase.first >= 55
            if then is not None and then.behaviour == "sleeper" and not is_over:
                left[phase.behaviour, phase.last >= middle] += 1
    for behaviour, told in LEAVING.items():
        for is_late in (False, True):
            expected = -math.log(1 - told) * days[behaviour, is_late] / 7
            found = left[behaviour, is_late]
            # four standard deviations of a count, and a third for the choice of lives
            assert abs(found - expected) < 4 * math.sqrt(expected) + expected / 3, behaviour


def test_seven_of_ten_come_back() -> None:
    """Of those who left early enough for nearly everyone to be back who comes back."""
    drawn = [drawn_life(number) for number in range(3000)]
    back: Counter[bool] = Counter()
    for life, is_gone_for_good in drawn:
        assert not is_gone_for_good or life[-1].behaviour == "sleeper"
        for phase in life:
            if phase.behaviour == "sleeper" and phase.first < 40:
                back[phase.last < DAYS - 1] += 1
    assert back[True] / back.total() == pytest.approx(1 - NEVER_COMING_BACK, abs=0.08)


def drawn_life(number: int) -> tuple[list[Phase], bool]:
    """A life as it is drawn, whatever it ends in."""
    return _life(random.Random(f"any life {number}"), DAYS)


def test_only_who_is_absent_cancelled_and_only_after_leaving(demo: Path) -> None:
    sleepers = living(demo, "sleeper")
    cancelled = [user for user in json_lines(demo / "users.jsonl") if user.get("cancelled_on")]
    assert cancelled
    for user in cancelled:
        left_on, _ = sleepers[str(user["user_id"])]
        assert left_on < date.fromisoformat(str(user["cancelled_on"])) <= LAST_DAY


# --- The behaviours ---------------------------------------------------------------------------


def test_bingers_watch_three_episodes_of_a_series_within_a_day(demo: Path) -> None:
    rows = events(demo).execute("""
        with first_watched as (
            select viewer, series_id, asset, min(happened_at) as happened_at
            from events where action = 'play' and series_id is not null group by all
        ),
        in_24h as (
            select viewer, happened_at::date as day, count(*) over (
                partition by viewer, series_id
                order by happened_at range between current row and interval 24 hour following
            ) as episodes
            from first_watched
        )
        select viewer, day from in_24h where episodes >= 3 group by all
    """)
    binges: dict[str, list[date]] = defaultdict(list)
    for viewer, day in rows.fetchall():
        binges[viewer].append(day)
    for user_id, (starts_on, _) in living(demo, "binger").items():
        days = [day for day in binges[user_id] if day >= starts_on]
        assert days
        if (LAST_DAY - starts_on).days < 54:
            continue  # a binger again since a return: too short for the weeks below
        assert len(days) >= 5
        assert (max(days) - min(days)).days >= 28


def test_sleepers_do_nothing_in_their_last_28_days(demo: Path) -> None:
    days = active_days(demo)
    sleepers = living(demo, "sleeper")
    assert sleepers
    for user_id, (left_on, _) in sleepers.items():
        assert max(days[user_id]) < left_on <= LAST_DAY - timedelta(days=28)


def test_some_tiles_are_shown_to_sleepers(demo: Path) -> None:
    shown = events(demo).execute("""
        select viewer, max(day) from events where action = 'impression' group by all
    """)
    last_shown = dict(shown.fetchall())
    sleepers = living(demo, "sleeper")
    assert any(last_shown.get(user, FIRST_DAY) > left_on for user, (left_on, _) in sleepers.items())


def test_returners_come_back_after_28_days_or_more(demo: Path) -> None:
    days = active_days(demo)
    for user_id, (back_on, _) in living(demo, "returner").items():
        before = [day for day in days[user_id] if day < back_on]
        after = [day for day in days[user_id] if day >= back_on]
        assert (min(after) - max(before)).days > 28
        assert len(after) >= 2
        assert back_on > LAST_DAY - timedelta(days=14)


def test_newcomers_signed_up_in_the_last_two_weeks_and_came(demo: Path) -> None:
    days = active_days(demo)
    newcomers = living(demo, "newcomer")
    assert newcomers
    for user_id, (signed_up_on, _) in newcomers.items():
        assert signed_up_on >= LAST_DAY - timedelta(days=14)
        assert days[user_id][0] == signed_up_on
        assert len(days[user_id]) >= 2


def test_ghosters_come_for_short_visits_with_little_watched(quiet_demo: Path) -> None:
    rows = events(quiet_demo).execute("""
        select viewer, day, coalesce(sum(seconds), 0) / 60
        from events where action <> 'impression' group by all order by all
    """)
    watched: dict[str, dict[date, float]] = defaultdict(dict)
    for viewer, day, minutes in rows.fetchall():
        watched[viewer][day] = minutes
    ghosters = living(quiet_demo, "ghoster")
    assert ghosters
    for user_id, (starts_on, _) in ghosters.items():
        days = [day for day in watched[user_id] if day >= starts_on]
        visits: list[list[date]] = []
        for day in days:
            if visits and (day - visits[-1][-1]).days == 1:
                visits[-1].append(day)
            else:
                visits.append([day])
        assert (days[-1] - days[0]).days >= 28
        assert all(len(visit) <= 2 for visit in visits)
        assert all(sum(watched[user_id][day] for day in visit) < 30 for visit in visits)
        gaps = [(after[0] - before[-1]).days - 1 for before, after in pairwise(visits)]
        assert min(gaps) >= 3


def test_faders_come_ever_less_but_are_not_gone(demo: Path) -> None:
    days = active_days(demo)
    faders = living(demo, "fader")
    early: dict[str, int] = {}
    late: dict[str, int] = {}
    for user_id, (starts_on, _) in faders.items():
        middle = starts_on + (LAST_DAY - starts_on) / 2
        early[user_id] = sum(starts_on <= day < middle for day in days[user_id])
        late[user_id] = sum(day >= middle for day in days[user_id])
        assert max(days[user_id]) > LAST_DAY - timedelta(days=14)
    assert all(0 < late[user_id] < early[user_id] for user_id in faders)
    assert sum(late.values()) < 0.5 * sum(early.values())


def test_devotees_watch_one_genre_and_explorers_many(quiet_demo: Path) -> None:
    rows = events(quiet_demo).execute("""
        select viewer, day, title, genres from events
        where action = 'play' and len(genres) > 0 group by all
    """)
    watched: dict[str, list[tuple[date, str, list[str]]]] = defaultdict(list)
    for viewer, day, title, genres in rows.fetchall():
        watched[viewer].append((day, title, genres))

    def top_share_and_titles(user_id: str, starts_on: date) -> tuple[float, int]:
        titles = {title: genres for day, title, genres in watched[user_id] if day >= starts_on}
        carried = Counter(genre for genres in titles.values() for genre in genres)
        return max(carried.values()) / len(titles), len(titles)

    for user_id, (starts_on, _) in living(quiet_demo, "devotee").items():
        share, _ = top_share_and_titles(user_id, starts_on)
        assert share > 0.9
    for user_id, (starts_on, _) in living(quiet_demo, "explorer").items():
        share, titles = top_share_and_titles(user_id, starts_on)
        assert share < 0.4
        assert titles > 25


def test_window_shoppers_browse_and_collectors_collect(demo: Path) -> None:
    def share(user_id: str, starts_on: date, actions: tuple[str, ...]) -> float:
        row = connection.execute(
            """
            select count(*) filter (list_contains(?, action)) / count(*)
            from events where viewer = ? and day >= ? and action <> 'impression'
            """,
            [list(actions), user_id, starts_on],
        ).fetchone()
        assert row is not None
        return float(row[0])

    connection = events(demo)
    for user_id, (starts_on, _) in living(demo, "window_shopper").items():
        assert share(user_id, starts_on, ("click", "search")) > 0.8
        assert share(user_id, starts_on, ("play",)) < 0.1
    for user_id, (starts_on, _) in living(demo, "collector").items():
        assert share(user_id, starts_on, ("bookmark", "playlist", "rating")) > 0.5


def test_weekenders_come_on_saturdays_and_sundays(quiet_demo: Path) -> None:
    days = active_days(quiet_demo)
    for user_id, (starts_on, _) in living(quiet_demo, "weekender").items():
        assert {day.weekday() for day in days[user_id] if day > starts_on} == {5, 6}


def test_regulars_come_on_most_days_and_casuals_on_a_few_a_month(demo: Path) -> None:
    def share(user_id: str, starts_on: date) -> float:
        known = (LAST_DAY - starts_on).days
        return sum(day > starts_on for day in days[user_id]) / known

    def shares(behaviour: str) -> list[float]:
        """Of those who have lived so for four weeks: a share of a few days says little."""
        return [
            share(user, starts_on)
            for user, (starts_on, _) in living(demo, behaviour).items()
            if (LAST_DAY - starts_on).days >= 28
        ]

    days = active_days(demo)
    regulars, casuals = shares("regular"), shares("casual")
    assert min(regulars) > 0.45
    assert 0.04 < min(casuals) <= max(casuals) < 0.3


# --- The recovery report ----------------------------------------------------------------------


@pytest.fixture
def built() -> duckdb.DuckDBPyConnection:
    """Two as-of dates; on the latest two bingers, a sleeper and a casual viewer are found."""
    connection = duckdb.connect()
    connection.execute("""
        create schema reference; create schema metrics; create schema personas;
        create table reference.personas (persona varchar);
        insert into reference.personas values
            ('binger'), ('sleeper'), ('casual'), ('collector'), ('devotee');
        create table metrics.as_of_dates (as_of_date date, is_latest boolean);
        insert into metrics.as_of_dates values ('2026-04-26', false), ('2026-04-29', true);
        create table personas.user_personas (as_of_date date, user_id varchar, persona varchar);
        insert into personas.user_personas values
            ('2026-04-26', 'binger_found', 'casual'),
            ('2026-04-29', 'binger_found', 'binger'),
            ('2026-04-29', 'regular_taken_for_binger', 'binger'),
            ('2026-04-29', 'binger_until_the_day', 'casual'),
            ('2026-04-29', 'sleeper_found', 'sleeper'),
            ('2026-04-29', 'not_in_the_truth', 'sleeper');
    """)
    return connection


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    path = tmp_path / "truth.csv"
    path.write_text(
        "user_id,behaviour,starts_on,ends_on\n"
        "binger_found,casual,2026-01-01,2026-04-28\n"
        "binger_found,binger,2026-04-29,2026-04-30\n"
        "regular_taken_for_binger,regular,2026-01-01,2026-04-30\n"
        "regular_without_persona,regular,2026-01-01,2026-04-30\n"
        "binger_until_the_day,binger,2026-01-01,2026-04-29\n"
        "binger_until_the_day,casual,2026-04-30,2026-04-30\n"
        "sleeper_found,sleeper,2026-01-01,2026-04-30\n"
        "devotee_without_persona,devotee,2026-01-01,2026-04-30\n"
    )
    return path


def test_recovery_counts_on_the_latest_date(built: duckdb.DuckDBPyConnection, truth: Path) -> None:
    result = recovery(built, truth)
    assert result.as_of_date == date(2026, 4, 29)
    figures = {
        row.persona: (row.planted, row.predicted, row.recovered, row.precision, row.recall, row.f1)
        for row in result.personas
    }
    assert figures == {
        "binger": (2, 2, 1, 0.5, 0.5, 0.5),
        "casual": (0, 1, 0, 0.0, None, 0.0),
        "collector": (0, 0, 0, None, None, None),
        "devotee": (1, 0, 0, None, 0.0, 0.0),
        "sleeper": (1, 2, 1, 0.5, 1.0, pytest.approx(2 / 3)),
    }
    assert result.macro_f1 == pytest.approx((0.5 + 0 + 0 + 2 / 3) / 4)
    assert result.confusion == {
        "binger": {"binger": 1, "casual": 1},
        "devotee": {"(no persona)": 1},
        "regular": {"(no persona)": 1, "binger": 1},
        "sleeper": {"sleeper": 1},
    }
    assert [
        (pair.behaviour, pair.persona, pair.viewers, pair.planted) for pair in result.confusions
    ] == [
        ("binger", "casual", 1, 2),
        ("devotee", "(no persona)", 1, 1),
        ("regular", "(no persona)", 1, 2),
        ("regular", "binger", 1, 2),
    ]
    assert (result.viewers, result.viewers_without_persona, result.viewers_without_truth) == (
        6,
        2,
        1,
    )
    assert [(row.behaviour, row.planted, row.put_into) for row in result.unknown] == [
        ("regular", 2, {"(no persona)": 1, "binger": 1})
    ]


def test_recovery_as_table_and_as_json(built: duckdb.DuckDBPyConnection, truth: Path) -> None:
    result = recovery(built, truth)
    as_json = json.loads(json.dumps(to_dict(result)))
    assert as_json["personas"][2]["precision"] is None
    assert as_json["unknown_behaviours"][0]["put_into"] == {"(no persona)": 1, "binger": 1}
    console = Console(width=80)
    with console.capture() as captured:
        console.print(render(result))
    text = captured.get()
    assert re.search(r"binger\W+2\W+2\W+1\W+0\.50\W+0\.50\W+0\.50", text)
    assert re.search(r"macro F1\W+0\.29", text)
    assert re.search(r"collector.*–", text)
    assert as_json["confusion"]["regular"] == {"(no persona)": 1, "binger": 1}
    # rows are planted behaviours, columns personas by the beginning of their names
    assert re.search(r"planted +bin +cas +col +dev +sle +no ", text)
    assert re.search(r"binger +1 +1 +· +· +· +·", text)
    assert re.search(r"regular +1 +· +· +· +· +1", text)
    assert "binger seen as casual: 1 of 2 (50%)" in text


def test_the_confusions_of_all_personas_fit_into_80_columns() -> None:
    """Thirteen rows and columns, four digits each; no name is cut, no heading stands twice."""
    names = sorted(BEHAVIOURS)
    result = Recovery(
        as_of_date=LAST_DAY,
        viewers=0,
        viewers_without_persona=0,
        viewers_without_truth=0,
        personas=[PersonaRecovery(name, 9999, 9999, 9999) for name in names],
        unknown=[],
        confusion={name: dict.fromkeys(names, 9999) for name in names},
    )
    console = Console(width=80)
    with console.capture() as captured:
        console.print(render(result))
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= 80
    rows = [line for line in lines if line.count("9999") == len(names)]
    assert [line.split()[0] for line in rows] == names
    heading = next(line.split() for line in lines if line.split()[:1] == ["planted"])
    assert heading[1:] == [name[:3] for name in names]


def test_recovery_without_a_mistake_lists_no_confusion(
    built: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    only = tmp_path / "only.csv"
    only.write_text(
        "user_id,behaviour,starts_on,ends_on\nsleeper_found,sleeper,2026-01-01,2026-04-30\n"
    )
    console = Console(width=80)
    with console.capture() as captured:
        console.print(render(recovery(built, only)))
    assert "Largest confusions" not in captured.get()


def test_recovery_without_anyone_has_no_macro_f1(
    built: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    built.execute("delete from personas.user_personas")
    empty = tmp_path / "empty.csv"
    empty.write_text("user_id,behaviour,starts_on,ends_on\n")
    assert recovery(built, empty).macro_f1 is None


def test_recovery_says_what_is_missing(built: duckdb.DuckDBPyConnection, truth: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        recovery(built, truth.with_name("other.csv"))
    with truth.open("a") as lines:
        lines.write("sleeper_found,binger,2026-04-29,2026-04-30\n")
    with pytest.raises(InputError, match="sleeper_found has two behaviours on 2026-04-29"):
        recovery(built, truth)
    truth.write_text("user_id,behaviour,starts_on,ends_on\nsomeone,binger,yesterday,today\n")
    with pytest.raises(InputError, match="row 2 has no dates"):
        recovery(built, truth)
    truth.write_text("user,behaviour\n")
    with pytest.raises(InputError, match="the columns must be"):
        recovery(built, truth)
    with pytest.raises(InputError, match="personas run"):
        recovery(duckdb.connect(), truth)


def test_the_pipeline_never_reads_the_truth() -> None:
    package = REPOSITORY / "scripts" / "viewer_personas"
    paths = [path for path in package.rglob("*.py") if path.parent.name not in ("demo", "cli")]
    for folder in ("models", "macros", "seeds", "profiles"):
        paths += [path for path in (REPOSITORY / folder).rglob("*") if path.is_file()]
    assert len(paths) > 3
    ways = re.compile(r"truth\.csv|read_truth|\bTRUTH\b|\b(recovery|detection)\(")
    assert [path for path in paths if ways.search(path.read_text(encoding="utf-8"))] == []
