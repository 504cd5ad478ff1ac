"""A small synthetic streaming service with known behaviour of every viewer.

`generate` writes what such a service has: one file of events per day, a catalogue, its viewers, and
a `sources.yml` that maps its field names to ours. It also writes `truth.csv`, the ground truth,
which no part of the pipeline reads: only `recovery` and `detection` do.

The behaviours
--------------
Each is derived from the definition of the persona in words, never from its rules. "A day" is a
viewer's local day; numbers are the ranges that viewers are drawn from, before noise.

========================  ==========================================================================
`binger`                  has evenings of three or more episodes of one series, and stays with that
                          series for weeks: two or three evenings a week, some of them lighter
`ghoster`                 for weeks to months comes only for a visit of a day or two, 3 to 20 days
                          apart, with a few clicks and a few minutes of watching; no clear interest
`sleeper`                 was active, and has been absent for 30 days or more up to the end; now and
                          then a tile is shown to it, which is no activity
`newcomer`                signed up in the last two weeks and has come on most days since
`returner`                was active, was absent for 30 days or more, and is active again since the
                          last two weeks
`fader`                   was active on most days, and comes ever less over the last seven to nine
                          weeks; it still came at least once in the last two weeks
`explorer`                watches many titles, from one genre to the next, also one they leave early
`devotee`                 watches one genre nearly always
`window_shopper`          browses and searches on many days, and hardly watches
`collector`               mostly bookmarks, fills playlists and rates
`weekender`               comes on Saturdays and Sundays, on other days nearly never
`regular`                 comes on most days: watches, browses, a little of the rest
`casual`                  comes on a few days a month, and then does what a regular viewer does
========================  ==========================================================================

Viewers have a taste of two to four genres (a devotee one, an explorer and a ghoster none).

Lives
-----
A life is a sequence of behaviours, each with its own risk, constant over the period:

- Viewers **leave**. Out of a hundred, per week: 0.2 regulars, 0.3 bingers and devotees, 0.4
  explorers, collectors and weekenders, 1.5 casual viewers, 2.5 window shoppers, 3.5 ghosters, 4
  newcomers, 6 faders and 10 returners (`LEAVING`). A viewer who leaves is a sleeper from the next
  day. A fader at the end of the decline, after eight or nine weeks, leaves in two cases out of
  five, and otherwise becomes a casual viewer.
- Seven out of ten who left **come back**: not before 30 days, then 20 out of a hundred per week.
  After two weeks a returner resumes the earlier behaviour; a ghoster becomes a casual viewer. Of
  those who never come back, six in ten cancel, two to four weeks after they left.
- Regular viewers begin to **fade**: four out of a hundred per week.
- Viewers **change** to another behaviour: 0.6 out of a hundred per week (see `BEFORE`).
- One in eight **joins** in the period, is a newcomer for two weeks, and something else after.

Nobody leaves in the last 30 days, and nobody changes or begins to fade in the last 42, because no
definition could detect it yet; this does not affect whether a viewer is active in the 28 days after
any date with 28 days after it. `truth.csv` has one row per behaviour, so each row is what the
viewer did in those days. The distribution of behaviours on the last day is fixed (`BEHAVIOURS`):
for each viewer, lives are drawn until one ends with the required behaviour. The distribution is
near the equilibrium of the risks above, so the selection hardly biases the risks; but more viewers
join late than early.

Noise (proportional to `noise`; 0 gives none): a day in 20 is skipped, a day in 200 without a visit
gets one, a day in 50 is out of character (a binge, a film of any genre, nothing but browsing or
collecting), and a pick in seven is off the viewer's taste (a devotee's: in 20). Never in an
absence, which would end it.

Realistic flaws: a few events arrive late, in the file of the next day; some players report every
five minutes and others once an hour; impressions are logged; searches name no content; a few
contents have no genre; a few events are on contents missing from the catalogue; a few viewers have
no user document; availability of titles changes by territory.

The same arguments give the same bytes (with the same version of DuckDB). Each viewer has a separate
random stream, so changing one behaviour does not change viewers with others.
"""

import csv
import json
import math
import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb

from viewer_personas.database.sql import literal
from viewer_personas.errors import InputError

DATABASE = "personas.duckdb"  # in the directory of the demo, when it is built
LAST_DAY = date(2026, 4, 30)
MIN_DAYS = 90  # an absence of 30 days or a decline of two months, and a time before it

# Behaviour at the end of the period: viewers in a thousand.
BEHAVIOURS = {
    "regular": 190,
    "casual": 220,
    "binger": 80,
    "sleeper": 105,
    "ghoster": 60,
    "devotee": 60,
    "explorer": 55,
    "fader": 30,
    "weekender": 55,
    "newcomer": 35,
    "returner": 25,
    "window_shopper": 45,
    "collector": 40,
}

LEAVING = {  # share of the viewers of a behaviour who leave, a week
    "regular": 0.002,
    "binger": 0.003,
    "devotee": 0.003,
    "explorer": 0.004,
    "collector": 0.004,
    "weekender": 0.004,
    "casual": 0.015,
    "window_shopper": 0.025,
    "ghoster": 0.035,
    "newcomer": 0.04,
    "fader": 0.06,
    "returner": 0.10,
}
FADING = 0.04  # share of the regular viewers who begin to come less, a week
LEAVING_AFTER_DECLINE = 0.4
COMING_BACK = 0.2  # share of those who will come back, a week, from the 30th day on
NEVER_COMING_BACK = 0.3
CANCELLING = 0.6  # of those who never come back
CHANGING = 0.006  # share who take up another behaviour, a week
JOINING = 0.125  # share who join in the period

# What a viewer may have been before a change: repeated names are likelier.
BEFORE = {
    "regular": ("casual", "binger", "weekender"),
    "casual": ("regular", "regular", "binger", "explorer"),
    "binger": ("casual", "casual", "regular"),
    "ghoster": ("regular", "regular", "casual", "devotee"),
    "devotee": ("casual", "explorer", "regular"),
    "explorer": ("regular", "casual", "devotee"),
    "weekender": ("regular", "casual"),
    "window_shopper": ("regular", "explorer"),
    "collector": ("regular", "explorer"),
}
LASTING = tuple(BEFORE)  # behaviours that are kept until something happens

ZONES = (  # time zone, territory, viewers in a hundred
    ("Europe/London", "GB", 20),
    ("Europe/Berlin", "DE", 18),
    ("Europe/Madrid", "ES", 12),
    ("America/New_York", "US", 16),
    ("America/Los_Angeles", "US", 10),
    ("America/Sao_Paulo", "BR", 8),
    ("Asia/Kolkata", "IN", 7),
    ("Asia/Tokyo", "JP", 5),
    ("Australia/Sydney", "AU", 4),
)
TERRITORIES = ("AU", "BR", "DE", "ES", "GB", "IN", "JP", "US")

MOODS_AND_THEMES = {
    "Action": ("adrenaline", "heist", "revenge", "explosive"),
    "Adventure": ("quest", "journey", "wilderness", "uplifting"),
    "Animation": ("colourful", "talking animals", "whimsical", "coming of age"),
    "Comedy": ("feel-good", "satire", "awkward", "friendship"),
    "Crime": ("detective", "gritty", "gangsters", "courtroom"),
    "Documentary": ("nature", "true story", "investigative", "inspiring"),
    "Drama": ("heartfelt", "family ties", "slow-burning", "moving"),
    "Family": ("wholesome", "holidays", "school", "magic"),
    "Fantasy": ("dragons", "magic", "epic", "prophecy"),
    "Horror": ("haunted house", "chilling", "survival", "supernatural"),
    "Mystery": ("whodunit", "small town", "secrets", "cerebral"),
    "Romance": ("first love", "bittersweet", "second chances", "swoony"),
    "Sci-Fi": ("space", "dystopia", "time travel", "artificial intelligence"),
    "Thriller": ("conspiracy", "suspenseful", "cat and mouse", "dark"),
}
GENRES = tuple(MOODS_AND_THEMES)

FIRST_WORDS = """
    Amber Broken Crimson Distant Electric Fading Golden Hidden Iron Jagged Last Midnight Northern
    Open Paper Quiet Restless Silent Tender Untold Velvet Wandering Winter Yellow
"""
SECOND_WORDS = """
    Archive Bridge Coast Daughters Empire Fields Garden Harbour Island Journey Kingdom Letters
    Mirror Night Orchard Promise Quarter River Summer Tides Union Valley Witness Year
"""

FILMS = 150
SERIES = 40
FILMS_OFF_CATALOGUE = 8

SECONDS_PER_DAY = 86_400
CLOCK = tuple(
    f"{hour:02}:{minute:02}:{second:02}"
    for hour in range(24)
    for minute in range(60)
    for second in range(60)
)
WEEKDAY_FACTOR = (0.9, 0.9, 0.95, 0.95, 1.1, 1.15, 1.1)  # Monday to Sunday
SHARE_OF_LATE_EVENTS = 0.003


@dataclass(frozen=True)
class Habit:
    """What a viewer does on an active day: mean numbers, and how often a day is active."""

    days: tuple[float, float]  # the share of active days is drawn between these, once per viewer
    watched: float  # contents
    episode_share: float  # of the contents watched; each of another series
    clicks: float
    searches: float
    curated: float  # bookmarks and additions to playlists
    ratings: float
    stray: float = 0.15  # share of picks off the viewer's taste
    left_early: float = 0.15  # share of contents left after a few minutes


REGULAR = Habit((0.6, 0.85), 1.2, 0.55, 2.5, 0.4, 0.3, 0.15)
HABITS = {
    "regular": REGULAR,
    "casual": Habit((0.0, 0.0), 1.4, 0.4, 2.5, 0.4, 0.2, 0.1),
    "newcomer": Habit((0.6, 0.85), 1.3, 0.5, 4.0, 0.8, 0.5, 0.2),
    "returner": Habit((0.5, 0.8), 1.2, 0.5, 3.0, 0.5, 0.3, 0.1),
    "fader": REGULAR,
    "weekender": Habit((0.75, 0.95), 1.8, 0.4, 2.5, 0.4, 0.3, 0.15),
    "binger": Habit((0.3, 0.5), 0.3, 0.0, 1.0, 0.2, 0.2, 0.1),
    "explorer": Habit((0.4, 0.65), 1.8, 0.25, 2.5, 0.6, 0.3, 0.3, left_early=0.35),
    "devotee": Habit((0.35, 0.6), 1.3, 0.4, 2.0, 0.4, 0.3, 0.2, stray=0.05),
    "window_shopper": Habit((0.3, 0.6), 0.06, 0.3, 8.0, 1.8, 0.3, 0.05, left_early=0.8),
    "collector": Habit((0.25, 0.5), 0.25, 0.3, 1.2, 0.3, 5.0, 1.5),
    "ghoster": Habit((0.0, 0.0), 0.0, 0.0, 2.0, 0.2, 0.05, 0.0),
}


@dataclass(frozen=True)
class Phase:
    """One behaviour in a viewer's life; days count from the first of the period, both included."""

    behaviour: str
    first: int
    last: int


@dataclass
class Title:
    """A film, or a series with its episodes; days of availability by territory."""

    name: str
    genres: list[str]
    contents: list[tuple[str, int]]  # content_id and runtime in seconds; one for a film
    available: dict[str, tuple[int, int]]

    def is_available(self, territory: str, day: int) -> bool:
        first, last = self.available.get(territory, (1, 0))
        return first <= day <= last


@dataclass
class Catalogue:
    films: list[Title]
    series: list[Title]
    films_by_genre: dict[str, list[Title]]
    series_by_genre: dict[str, list[Title]]
    documents: list[dict[str, object]]
    off_catalogue: list[Title]  # watched by a few, but missing from the catalogue


@dataclass
class Viewer:
    """A viewer and their state from day to day."""

    user_id: str
    random: random.Random
    zone: str
    territory: str
    phases: list[Phase]
    signed_up_on: date
    cancelled_on: date | None
    has_document: bool
    device: str
    report_every: int  # seconds of watching told by one play event
    prime_time: float  # local clock hour at which the evening begins
    taste: list[str] = field(default_factory=list)
    following: list[Title] = field(default_factory=list)
    next_episode: dict[str, int] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    genres_to_explore: list[str] = field(default_factory=list)


def generate(
    directory: Path,
    *,
    viewers: int = 2000,
    days: int = 182,
    seed: int = 7,
    noise: float = 1.0,
    report: Callable[[str], None] | None = None,
) -> None:
    """Write the service into `directory`: events/, contents, users, sources.yml and truth.csv.

    The period is the `days` up to and including 2026-04-30. `noise` multiplies every deviation from
    the behaviours, 0 or more. `report` is called with a line for each step.

    Raises `InputError` if a number is out of range, or where the directory holds something that
    is not an earlier demo.
    """
    if viewers < 1:
        raise InputError(f"viewers is {viewers}: it must be 1 or more.")
    if days < MIN_DAYS:
        raise InputError(f"days is {days}: it must be {MIN_DAYS} or more, to hold an absence.")
    if not 0 <= noise < math.inf:
        raise InputError(f"noise is {noise}: it must be 0 or more.")
    events_directory = directory / "events"
    if directory.exists() and any(directory.iterdir()) and not (directory / "truth.csv").exists():
        raise InputError(
            f"{directory}: not empty, and not an earlier demo. Name a new directory for the demo."
        )
    events_directory.mkdir(parents=True, exist_ok=True)
    for earlier in events_directory.glob("*.parquet"):
        earlier.unlink()

    tell = report if report is not None else _silent
    first_day = LAST_DAY - timedelta(days=days - 1)
    catalogue = _catalogue(random.Random(f"{seed} catalogue"), first_day, days)
    _write_json_lines(directory / "contents.jsonl", catalogue.documents)
    tell(f"{len(catalogue.documents)} contents")

    everyone = _viewers(viewers, seed, first_day, days)
    _write_json_lines(
        directory / "users.jsonl", [_user_document(one) for one in everyone if one.has_document]
    )
    _write_truth(directory / "truth.csv", everyone, first_day)
    tell(f"{len(everyone)} viewers")

    log = _EventLog(first_day, days)
    for viewer in everyone:
        _live(viewer, catalogue, log, noise)
    count = log.write(events_directory)
    (directory / "sources.yml").write_text(SOURCES, encoding="utf-8")
    tell(f"{count} events in {days} files, {first_day} to {LAST_DAY}")


SOURCES = """\
# The demo service calls things by its own names: here they are mapped to ours.
events:
  driver: files
  path: events/*.parquet
  columns:
    user_id: viewer
    content_id: asset
    event_type: action
    occurred_at: ts
    watch_seconds: seconds
    device: device
contents:
  driver: files
  path: contents.jsonl
users:
  driver: files
  path: users.jsonl
"""


# --- The catalogue ----------------------------------------------------------------------------


def _catalogue(rng: random.Random, first_day: date, days: int) -> Catalogue:
    names = [
        f"{first} {second}" for first in FIRST_WORDS.split() for second in SECOND_WORDS.split()
    ]
    rng.shuffle(names)
    documents: list[dict[str, object]] = []
    films: list[Title] = []
    off_catalogue: list[Title] = []
    for number in range(FILMS + FILMS_OFF_CATALOGUE):
        genres = _some_genres(rng, number)
        content_id = f"film-{number + 1:04}"
        runtime = rng.randrange(82 * 60, 145 * 60)
        available, availability, released_on = _availability(rng, first_day, days)
        title = Title(names.pop(), genres, [(content_id, runtime)], available)
        if number >= FILMS:
            off_catalogue.append(title)
            continue
        has_genre = number % 30 != 29
        if not has_genre:
            title.genres = []
        films.append(title)
        documents.append(
            {
                "content_id": content_id,
                "title": title.name,
                "content_type": "movie",
                "genres": title.genres,
                "tags": _some_tags(rng, genres) if has_genre else [],
                "runtime_seconds": runtime,
                "released_on": released_on,
                "availability": availability,
            }
        )
    series: list[Title] = []
    for number in range(SERIES):
        genres = _some_genres(rng, number)
        tags = _some_tags(rng, genres)
        series_id = f"series-{number + 1:03}"
        typical_runtime = rng.choice((24, 28, 42, 45, 52)) * 60
        available, availability, released_on = _availability(rng, first_day, days)
        title = Title(names.pop(), genres, [], available)
        episodes = rng.randint(6, 30)
        per_season = rng.choice((6, 8, 10))
        for episode in range(episodes):
            season_number, episode_number = episode // per_season + 1, episode % per_season + 1
            content_id = f"{series_id}-s{season_number}e{episode_number:02}"
            runtime = typical_runtime + rng.randrange(-120, 240)
            title.contents.append((content_id, runtime))
            documents.append(
                {
                    "content_id": content_id,
                    "title": f"{title.name}: {season_number}x{episode_number:02}",
                    "content_type": "episode",
                    "series_id": series_id,
                    "series_title": title.name,
                    "season_number": season_number,
                    "episode_number": episode_number,
                    "genres": genres,
                    "tags": tags,
                    "runtime_seconds": runtime,
                    "released_on": released_on,
                    "availability": availability,
                }
            )
        series.append(title)
    return Catalogue(
        films=films,
        series=series,
        films_by_genre={g: [film for film in films if g in film.genres] for g in GENRES},
        series_by_genre={g: [show for show in series if g in show.genres] for g in GENRES},
        documents=documents,
        off_catalogue=off_catalogue,
    )


def _some_genres(rng: random.Random, number: int) -> list[str]:
    """One to three genres; the first goes round, so that none is without titles."""
    first = GENRES[number % len(GENRES)]
    others = [genre for genre in GENRES if genre != first]
    return [first, *rng.sample(others, rng.choice((0, 0, 1, 1, 2)))]


def _some_tags(rng: random.Random, genres: list[str]) -> list[str]:
    tags = [tag for genre in genres for tag in rng.sample(MOODS_AND_THEMES[genre], 2)]
    return sorted(dict.fromkeys(tags))


def _availability(
    rng: random.Random, first_day: date, days: int
) -> tuple[dict[str, tuple[int, int]], list[dict[str, object]], str]:
    """When a title is available in each territory: mostly always, some for a time, some never."""
    come_on = -rng.randrange(100, 1500)
    if rng.random() < 0.12:
        come_on = rng.randrange(0, days + 30)  # a few are only announced
    gone_after: int | None = None
    if rng.random() < 0.15:
        gone_after = max(come_on + 45, rng.randrange(days // 2, days + 60))
    missing = rng.sample(TERRITORIES, rng.randint(1, 3)) if rng.random() < 0.15 else []
    windows: dict[str, tuple[int, int]] = {}
    documents: list[dict[str, object]] = []
    for territory in TERRITORIES:
        if territory in missing:
            continue
        windows[territory] = (come_on, 10**6 if gone_after is None else gone_after)
        until = None if gone_after is None else _day_text(first_day, gone_after)
        documents.append(
            {
                "territory": territory,
                "available_from": _day_text(first_day, come_on),
                "available_until": until,
            }
        )
    return windows, documents, _day_text(first_day, come_on - rng.choice((0, 0, 120, 400, 2500)))


# --- The viewers ------------------------------------------------------------------------------


def _viewers(count: int, seed: int, first_day: date, days: int) -> list[Viewer]:
    rng = random.Random(f"{seed} viewers")
    behaviours = _apportion(count)
    rng.shuffle(behaviours)
    return [
        _viewer(f"v{number + 1:05}", behaviour, random.Random(f"{seed} {number}"), first_day, days)
        for number, behaviour in enumerate(behaviours)
    ]


def _apportion(count: int) -> list[str]:
    """Behaviours in their proportions, by largest remainder, so that none is missing."""
    exact = {name: count * weight / 1000 for name, weight in BEHAVIOURS.items()}
    numbers = {name: int(share) for name, share in exact.items()}
    by_remainder = sorted(exact, key=lambda name: numbers[name] - exact[name])
    for name in by_remainder[: count - sum(numbers.values())]:
        numbers[name] += 1
    return [name for name, number in numbers.items() for _ in range(number)]


def _viewer(user_id: str, behaviour: str, rng: random.Random, first_day: date, days: int) -> Viewer:
    zone, territory, _ = rng.choices(ZONES, [weight for *_, weight in ZONES])[0]
    signed_up_on = first_day - timedelta(days=rng.randrange(30, 2000))
    phases, is_gone_for_good = _life_that_ends_in(behaviour, rng, days)
    if phases[0].behaviour == "newcomer":
        signed_up_on = first_day + timedelta(days=phases[0].first)
    cancelled_on = None
    if is_gone_for_good and rng.random() < CANCELLING:
        cancelled_on = first_day + timedelta(days=phases[-1].first + rng.randint(14, 28))
    return Viewer(
        user_id=user_id,
        random=rng,
        zone=zone,
        territory=territory,
        phases=phases,
        signed_up_on=signed_up_on,
        cancelled_on=cancelled_on,
        has_document=behaviour not in ("regular", "casual") or rng.random() >= 0.05,
        device=rng.choice(("tv", "tv", "phone", "web")),
        report_every=300 if rng.random() < 0.1 else 3600,
        prime_time=rng.gauss(19.5, 0.8),
    )


def _life_that_ends_in(behaviour: str, rng: random.Random, days: int) -> tuple[list[Phase], bool]:
    """A life with this behaviour on the last day, long enough for the definition to hold; and
    whether the viewer left and never comes back."""
    if behaviour == "newcomer":
        return [Phase(behaviour, days - rng.randint(4, 14), days - 1)], False
    length = {"sleeper": (30, days), "fader": (49, 63), "returner": (4, 13)}.get(
        behaviour, (28, days)
    )
    while True:
        phases, is_gone_for_good = _life(rng, days)
        last = phases[-1]
        # a former returner has had this behaviour for longer than the phase
        is_back = len(phases) > 1 and phases[-2].behaviour == "returner"
        if last.behaviour == behaviour and (is_back or length[0] <= days - last.first <= length[1]):
            return phases, is_gone_for_good


def _life(rng: random.Random, days: int) -> tuple[list[Phase], bool]:
    """Behaviours without a gap from the first day, or from joining, up to the last day."""
    phases: list[Phase] = []
    lasting = _a_lasting_behaviour(rng)
    behaviour, first = lasting, 0
    if rng.random() < JOINING:
        behaviour, first = "newcomer", rng.randrange(5, days - 45)
    while True:
        if behaviour == "sleeper":
            if rng.random() < NEVER_COMING_BACK:
                phases.append(Phase(behaviour, first, days - 1))
                return phases, True
            turn, then = first + 29 + _days_until(rng, COMING_BACK), "returner"
            lasting = "casual" if lasting == "ghoster" else lasting
        else:
            if behaviour in LASTING:
                lasting = behaviour
            turn, then = _next_turn(rng, behaviour, first, lasting, days)
        if turn >= days:
            phases.append(Phase(behaviour, first, days - 1))
            return phases, False
        phases.append(Phase(behaviour, first, turn - 1))
        behaviour, first = then, turn


def _next_turn(
    rng: random.Random, behaviour: str, first: int, lasting: str, days: int
) -> tuple[int, str]:
    """The day on which a behaviour gives way, and what to; the end of the period if it does not.

    `lasting` is the last behaviour that was not temporary.
    """
    never = (days, behaviour)
    leaving = (first + _days_until(rng, LEAVING[behaviour]), "sleeper")
    if leaving[0] > days - 30:
        leaving = never
    if behaviour in ("newcomer", "returner"):
        return min(leaving, (first + 14, lasting))
    if behaviour == "fader":
        over = first + rng.randint(56, 63)
        leaves = rng.random() < LEAVING_AFTER_DECLINE and over <= days - 30
        return min(leaving, (over, "sleeper" if leaves else "casual"))
    others = [name for name in LASTING if behaviour in BEFORE[name]]
    weights = [BEHAVIOURS[n] * BEFORE[n].count(behaviour) / len(BEFORE[n]) for n in others]
    turns = [leaving]
    if others:
        changing = first + _days_until(rng, CHANGING)
        turns.append((changing, rng.choices(others, weights)[0]))
    if behaviour == "regular":
        turns.append((first + _days_until(rng, FADING), "fader"))
    return min(turn if turn[1] == "sleeper" or turn[0] <= days - 42 else never for turn in turns)


def _days_until(rng: random.Random, per_week: float) -> int:
    """Days, 1 or more, until an event that happens to this share of viewers per week."""
    return 1 + int(7 * rng.expovariate(-math.log(1 - per_week)))


def _a_lasting_behaviour(rng: random.Random) -> str:
    # many regular viewers fade and many ghosters leave, who come back as casual viewers: there are
    # more and fewer of them to begin with
    more = {"regular": 1.4, "ghoster": 1.5, "casual": 0.8}
    weights = [BEHAVIOURS[name] * more.get(name, 1) for name in LASTING]
    return rng.choices(LASTING, weights)[0]


def _user_document(viewer: Viewer) -> dict[str, object]:
    document: dict[str, object] = {
        "user_id": viewer.user_id,
        "timezone": viewer.zone,
        "territory": viewer.territory,
        "signed_up_on": viewer.signed_up_on.isoformat(),
        "marketing_consent": int(viewer.user_id[1:]) % 4 != 0,
    }
    if viewer.cancelled_on is not None:
        document["cancelled_on"] = viewer.cancelled_on.isoformat()
    return document


# --- A life, day by day -----------------------------------------------------------------------


def _live(viewer: Viewer, catalogue: Catalogue, log: "_EventLog", noise: float) -> None:
    rng = viewer.random
    offsets = log.offsets(viewer.zone)
    for phase in viewer.phases:
        if phase.behaviour == "sleeper":
            _show_tiles(viewer, catalogue, log, offsets, phase)
            continue
        _settle(viewer, catalogue, phase)
        habit = HABITS[phase.behaviour]
        for day in _active_days(rng, phase, log.weekdays, noise):
            evening = _Evening(viewer, catalogue, log, day, offsets[day], noise)
            out_of_character = rng.random() < 0.02 * noise
            if out_of_character and phase.behaviour != "ghoster":
                _odd_day(evening)
            elif phase.behaviour == "ghoster":
                _ghost_day(evening, habit)
            elif phase.behaviour == "binger":
                _binger_day(evening, habit)
            else:
                _day(evening, habit, phase.behaviour)


def _settle(viewer: Viewer, catalogue: Catalogue, phase: Phase) -> None:
    """The taste and the series with which a viewer goes into a behaviour."""
    rng = viewer.random
    behaviour = phase.behaviour
    if behaviour in ("explorer", "ghoster"):
        viewer.taste = []
    elif behaviour == "devotee":
        viewer.taste = [rng.choice(GENRES)]
    elif len(viewer.taste) < 2:
        viewer.taste = rng.sample(GENRES, rng.choice((2, 3, 3, 4)))
    viewer.following = []
    for _ in range(1 if behaviour == "binger" else rng.choice((2, 3))):
        _follow_another(viewer, catalogue, phase.first)


def _active_days(
    rng: random.Random, phase: Phase, weekdays: list[int], noise: float
) -> Iterator[int]:
    """The days of a visit: those of the behaviour, then skipped and added ones."""
    behaviour = phase.behaviour
    low, high = HABITS[behaviour].days
    share = rng.uniform(low, high)
    planned: set[int] = set()
    kept: set[int] = set()  # days without which the behaviour would not be what it is
    everyday = range(phase.first, phase.last + 1)
    if behaviour in ("casual", "ghoster"):
        gaps = (3, 20) if behaviour == "ghoster" else (3, 13)
        day = phase.first + rng.randint(0, 5)
        while day <= phase.last:
            visit = rng.choice((1, 1, 2))
            planned.update(range(day, min(day + visit, phase.last + 1)))
            day += visit + rng.randint(*gaps)
    elif behaviour == "weekender":
        planned = {d for d in everyday if weekdays[d] >= 5 and rng.random() < share}
    elif behaviour == "fader":
        for day in everyday:
            left = math.exp(-2.5 * (day - phase.first) / 60)
            if rng.random() < 0.9 * left * WEEKDAY_FACTOR[weekdays[day]]:
                planned.add(day)
        if phase.last == len(weekdays) - 1:
            kept = {phase.last - rng.randrange(2, 13)}
    else:
        planned = {d for d in everyday if rng.random() < share * WEEKDAY_FACTOR[weekdays[d]]}
        if behaviour in ("newcomer", "returner"):
            kept = {phase.first, phase.first + 1 + rng.randrange(2)}
    for day in everyday:
        if day in kept:
            yield day
        elif day in planned:
            if rng.random() >= 0.05 * noise:
                yield day
        elif rng.random() < 0.005 * noise:
            yield day


@dataclass
class _Evening:
    """A day of one viewer: the clock advances with each action."""

    viewer: Viewer
    catalogue: Catalogue
    log: "_EventLog"
    day: int
    offset: int  # seconds by which the viewer's clock is ahead of UTC
    noise: float
    clock: int = 0  # seconds since local midnight of the day

    def __post_init__(self) -> None:
        rng = self.viewer.random
        hour = self.viewer.prime_time + rng.gauss(0, 0.7)
        if self.log.weekdays[self.day] >= 5 and rng.random() < 0.4:
            hour -= rng.uniform(2, 7)  # weekend afternoons
        elif rng.random() < 0.08:
            hour = rng.uniform(7, 14)
        self.clock = int(min(max(hour, 6.0), 22.5) * 3600)

    def do(self, action: str, content_id: str, seconds: str = "") -> None:
        self.log.add(
            self.day * SECONDS_PER_DAY + self.clock - self.offset,
            f"{self.viewer.user_id},{content_id},{action},{seconds},{self.viewer.device}",
            self.viewer.random,
        )
        self.clock += 20 + int(self.viewer.random.random() * 100)

    def watch(self, content: tuple[str, int], share: float) -> bool:
        """Play events over `share` of the runtime, each with the seconds until the next one.

        False if it is too late: nobody stays up until the next TV day is near.
        """
        content_id, runtime = content
        left = int(runtime * share)
        if self.clock + left > 27.5 * 3600:
            return False
        while left > 0:
            seconds = min(left, self.viewer.report_every)
            start = self.clock
            self.do("play", content_id, str(seconds))
            self.clock = start + seconds
            left -= seconds
        self.clock += 60
        return True

    def count(self, mean: float) -> int:
        rng = self.viewer.random
        return int(mean * (0.5 + rng.random()) + rng.random())

    def watch_share(self, left_early: float) -> float:
        rng = self.viewer.random
        if rng.random() < left_early:
            return rng.uniform(0.05, 0.4)
        return rng.uniform(0.88, 1.0)

    def a_genre(self, stray: float) -> str:
        viewer = self.viewer
        if not viewer.taste or viewer.random.random() < stray * self.noise:
            return viewer.random.choice(GENRES)
        return viewer.random.choice(viewer.taste)

    def a_film(self, genre: str, *, unseen: bool = False) -> Title | None:
        viewer = self.viewer
        if viewer.random.random() < 0.01:
            return viewer.random.choice(self.catalogue.off_catalogue)
        films = self.catalogue.films_by_genre[genre]
        for _ in range(6):
            film = viewer.random.choice(films)
            if unseen and film.name in viewer.seen:
                continue
            if film.is_available(viewer.territory, self.day):
                return film
        return None

    def a_content_id(self, stray: float) -> str:
        """Something to click on, to bookmark or to rate: a film, sometimes an episode."""
        genre = self.a_genre(stray)
        shows = self.catalogue.series_by_genre[genre]
        rng = self.viewer.random
        if shows and rng.random() < 0.3:
            return rng.choice(rng.choice(shows).contents)[0]
        film = self.a_film(genre)
        return film.contents[0][0] if film else rng.choice(self.catalogue.films).contents[0][0]

    def watch_film(self, habit: Habit, *, genre: str | None = None, unseen: bool = False) -> None:
        film = self.a_film(genre or self.a_genre(habit.stray), unseen=unseen)
        if film is None:
            return
        self.viewer.seen.add(film.name)
        self.watch(film.contents[0], self.watch_share(habit.left_early))

    def next_episode(self, show: Title) -> None:
        """The next episode of a series that is followed; after the last, another series."""
        viewer = self.viewer
        number = viewer.next_episode.get(show.name, 0)
        if not self.watch(show.contents[number], viewer.random.uniform(0.9, 1.0)):
            return
        viewer.next_episode[show.name] = number + 1
        if number + 1 == len(show.contents):
            viewer.next_episode[show.name] = 0
            viewer.following.remove(show)
            _follow_another(viewer, self.catalogue, self.day)

    def browse(self, habit: Habit) -> None:
        rng = self.viewer.random
        if rng.random() < 0.3:
            for _ in range(rng.choice((1, 2, 3))):
                self.do("impression", self.a_content_id(1.0))
        for _ in range(self.count(habit.searches)):
            self.do("search", "")
        for _ in range(self.count(habit.clicks)):
            self.do("click", self.a_content_id(habit.stray))

    def collect(self, habit: Habit) -> None:
        rng = self.viewer.random
        for _ in range(self.count(habit.curated)):
            self.do(
                rng.choice(("bookmark", "bookmark", "playlist")), self.a_content_id(habit.stray)
            )
        for _ in range(self.count(habit.ratings)):
            self.do("rating", self.a_content_id(habit.stray))


def _follow_another(viewer: Viewer, catalogue: Catalogue, day: int) -> None:
    """Begin another series of the viewer's taste, a long one rather than a short one."""
    rng = viewer.random
    genres = [genre for genre in viewer.taste if catalogue.series_by_genre[genre]]
    shows = catalogue.series_by_genre[rng.choice(genres)] if genres else catalogue.series
    shows = [
        show
        for show in shows
        if show not in viewer.following and show.is_available(viewer.territory, day)
    ]
    if shows:
        lengths = [len(show.contents) for show in shows]
        viewer.following.append(rng.choices(shows, lengths)[0])


def _day(evening: _Evening, habit: Habit, behaviour: str) -> None:
    """Look around, watch (each episode of another series), then keep or rate something."""
    viewer = evening.viewer
    rng = viewer.random
    evening.browse(habit)
    followed = [
        show for show in viewer.following if show.is_available(viewer.territory, evening.day)
    ]
    rng.shuffle(followed)
    for _ in range(evening.count(habit.watched)):
        if behaviour == "explorer":
            _explore(evening, habit)
        elif followed and rng.random() < habit.episode_share:
            evening.next_episode(followed.pop())
        else:
            evening.watch_film(habit)
    evening.collect(habit)


def _explore(evening: _Evening, habit: Habit) -> None:
    """An unseen title of the next genre in rotation."""
    viewer = evening.viewer
    rng = viewer.random
    if not viewer.genres_to_explore:
        viewer.genres_to_explore = rng.sample(GENRES, len(GENRES))
    genre = viewer.genres_to_explore.pop()
    shows = evening.catalogue.series_by_genre[genre]
    if shows and rng.random() < habit.episode_share:
        show = rng.choice(shows)
        if show.name not in viewer.seen and show.is_available(viewer.territory, evening.day):
            viewer.seen.add(show.name)
            evening.watch(show.contents[0], evening.watch_share(habit.left_early))
            return
    evening.watch_film(habit, genre=genre, unseen=True)


def _binger_day(evening: _Evening, habit: Habit) -> None:
    """Mostly an evening of several episodes of the series that is followed, at times a lighter one.

    The evening goes on with the next series when the followed one ends.
    """
    viewer = evening.viewer
    evening.browse(habit)
    viewer.following = [
        show for show in viewer.following if show.is_available(viewer.territory, evening.day)
    ]
    if not viewer.following:
        _follow_another(viewer, evening.catalogue, evening.day)
    for _ in range(viewer.random.choice((1, 2, 3, 3, 4, 4, 5))):
        if viewer.following:
            evening.next_episode(viewer.following[0])
    for _ in range(evening.count(habit.watched)):
        evening.watch_film(habit)
    evening.collect(habit)


def _ghost_day(evening: _Evening, habit: Habit) -> None:
    """A few clicks on anything, and sometimes a few minutes of something."""
    rng = evening.viewer.random
    evening.browse(habit)
    if rng.random() < 0.5:
        film = evening.a_film(rng.choice(GENRES))
        if film is not None:
            content = film.contents[0]
            evening.watch(content, rng.randrange(60, 720) / content[1])
    evening.collect(habit)


def _odd_day(evening: _Evening) -> None:
    """A day out of character."""
    viewer = evening.viewer
    rng = viewer.random
    kind = rng.choice(("binge", "any film", "only browsing", "collecting"))
    if kind == "binge":
        shows = [
            show
            for show in evening.catalogue.series
            if show.is_available(viewer.territory, evening.day)
        ]
        show = rng.choice(shows)
        for content in show.contents[: rng.randint(3, 4)]:
            evening.watch(content, 0.95)
    elif kind == "any film":
        evening.watch_film(REGULAR, genre=rng.choice(GENRES))
    elif kind == "only browsing":
        evening.browse(HABITS["window_shopper"])
    else:
        evening.collect(HABITS["collector"])


def _show_tiles(
    viewer: Viewer, catalogue: Catalogue, log: "_EventLog", offsets: list[int], phase: Phase
) -> None:
    """Impressions on the home screen of a TV set: logged by the service, not by the viewer."""
    rng = viewer.random
    if viewer.device != "tv" or rng.random() >= 0.5:
        return
    for day in range(phase.first, phase.last + 1):
        if rng.random() < 0.1:
            evening = _Evening(viewer, catalogue, log, day, offsets[day], 0.0)
            evening.do("impression", rng.choice(catalogue.films).contents[0][0])


# --- Writing ----------------------------------------------------------------------------------


class _EventLog:
    """The lines of events, by the day of the file that they are written to."""

    def __init__(self, first_day: date, days: int) -> None:
        self.first_day = first_day
        self.days = days
        self.dates = [_day_text(first_day, day) for day in range(days)]
        self.weekdays = [(first_day + timedelta(days=day)).weekday() for day in range(days)]
        self.files: list[list[str]] = [[] for _ in range(days)]
        self._offsets: dict[str, list[int]] = {}

    def offsets(self, zone: str) -> list[int]:
        """Seconds ahead of UTC at noon of each local day; summer time begins in the period."""
        if zone not in self._offsets:
            noons = [
                datetime.combine(self.first_day + timedelta(days=day), time(12), ZoneInfo(zone))
                for day in range(self.days)
            ]
            naive = [noon.replace(tzinfo=UTC) for noon in noons]
            self._offsets[zone] = [
                int((local - noon).total_seconds())
                for local, noon in zip(naive, noons, strict=True)
            ]
        return self._offsets[zone]

    def add(self, second: int, values: str, rng: random.Random) -> None:
        """Add an event at `second` of the period (UTC); one outside the period is left out."""
        day, clock = divmod(second, SECONDS_PER_DAY)
        if 0 <= day < self.days:
            is_late = rng.random() < SHARE_OF_LATE_EVENTS and day + 1 < self.days
            line = f"{self.dates[day]}T{CLOCK[clock]}Z,{values}\n"
            self.files[day + is_late].append(line)

    def write(self, directory: Path) -> int:
        """Write one Parquet file per day, sorted by time; returns the number of events."""
        with tempfile.TemporaryDirectory() as scratch, duckdb.connect() as connection:
            connection.execute("set threads = 1")
            lines_path = Path(scratch) / "events.csv"
            for day, lines in zip(self.dates, self.files, strict=True):
                lines.sort()
                with lines_path.open("w", encoding="utf-8", newline="\n") as lines_file:
                    lines_file.writelines(lines)
                connection.execute(
                    f"""
                    copy (
                        select ts, viewer, asset, action, seconds, device
                        from read_csv(
                            {literal(lines_path)},
                            header = false,
                            auto_detect = false,
                            columns = {{
                                'ts': 'varchar', 'viewer': 'varchar', 'asset': 'varchar',
                                'action': 'varchar', 'seconds': 'integer', 'device': 'varchar'
                            }}
                        )
                    ) to {literal(directory / f"{day}.parquet")} (format parquet, compression zstd)
                    """
                )
        return sum(len(lines) for lines in self.files)


def _day_text(first_day: date, day: int) -> str:
    return (first_day + timedelta(days=day)).isoformat()


def _write_json_lines(path: Path, documents: list[dict[str, object]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as lines_file:
        for document in documents:
            lines_file.write(json.dumps(document, sort_keys=True, ensure_ascii=False) + "\n")


def _write_truth(path: Path, viewers: list[Viewer], first_day: date) -> None:
    with path.open("w", encoding="utf-8", newline="") as truth_file:
        rows = csv.writer(truth_file, lineterminator="\n")
        rows.writerow(["user_id", "behaviour", "starts_on", "ends_on"])
        for viewer in viewers:
            for phase in viewer.phases:
                starts_on, ends_on = (_day_text(first_day, d) for d in (phase.first, phase.last))
                rows.writerow([viewer.user_id, phase.behaviour, starts_on, ends_on])


def _silent(_: str) -> None:
    """Tell nobody."""
