"""A streaming service of any size for benchmarks, generated inside DuckDB: the same rows in every
run of one version of it, skewed as real ones are."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb

FIRST_DAY = date(2026, 1, 1)
CONTENTS = 12_000
MOVIES = 2_000  # of the contents; the others are episodes, twenty to a series
VISIT_DAYS = 1.53  # the mean of 1 + floor(3 * power(random, 2))
VIEWINGS_PER_DAY = 2.5
MEAN_PLAY_SECONDS = 1_400
LATE_SHARE = 0.01  # of the viewings
ROWS_PER_FILE = 8_000_000
SECONDS_PER_DAY = 86_400

SOURCES = """\
events:
  driver: files
  path: events/*.parquet
  columns: {user_id: viewer, content_id: asset, event_type: action, occurred_at: ts,
            watch_seconds: seconds}
contents: {driver: files, path: contents.jsonl}
users: {driver: files, path: users.jsonl}
"""

EVENTS_PER_VIEWER = 240  # over 91 days

# A uniform number in [0, 1) for a row and a purpose.
_RANDOM = "(hash({row} * 1000003 + {purpose}) % 1000000007) / 1000000007.0"


@dataclass(frozen=True)
class Service:
    """What is generated: about `events` events of up to `viewers` viewers on `days` days.

    A play reports every `heartbeat_seconds`. With `one_day`, everything but a thousandth happens
    on the last day but one: local days around the clock need their neighbours to be complete.
    """

    events: int
    viewers: int
    days: int = 91
    heartbeat_seconds: int = 60
    one_day: bool = False

    @property
    def events_per_viewing(self) -> float:
        """A click, and the heartbeats of a play."""
        return 1 + MEAN_PLAY_SECONDS / self.heartbeat_seconds

    @property
    def last_day(self) -> date:
        """The last day, which is the one that `later` has."""
        return FIRST_DAY + timedelta(days=self.days)


def viewers_of(events: int) -> int:
    """How many viewers go with so many events, where nothing else is said."""
    return max(50, events // EVENTS_PER_VIEWER)


def generate(directory: Path, service: Service) -> None:
    """Write sources.yml, contents.jsonl, users.jsonl and events/ into `directory`, and into later/
    the files of one more day.

    Few viewers are very active, few contents are watched by many. A viewer comes for one to three
    days in a row, with one to four viewings on each; in three visits of five all of them are
    episodes of one series. A viewing is a click, and a heartbeat a minute for up to 46 minutes; one
    viewing in a hundred is reported in the files of the next day.
    """
    for folder in ("events", "later"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    (directory / "sources.yml").write_text(SOURCES)
    connection = duckdb.connect()
    connection.execute("set TimeZone = 'UTC'")
    connection.execute("set preserve_insertion_order = false")
    _write_contents(connection, directory)
    _write_users(connection, directory, service)
    _create_viewings(connection, service)
    for day in range(service.days + 1):
        folder = "later" if day == service.days else "events"
        for name, first_second, last_second in _files_of(connection, service, day):
            _write_events(
                connection, service, directory / folder / name, day, first_second, last_second
            )
    connection.close()


def _write_contents(connection: duckdb.DuckDBPyConnection, directory: Path) -> None:
    title = f"if(number < {MOVIES}, number, number // 20)"
    connection.execute(
        f"""
        copy (
            select
                'c' || number as content_id,
                case when number < {MOVIES} then 'movie' else 'episode' end as content_type,
                case when number >= {MOVIES} then 's' || (number // 20) end as series_id,
                1 as season_number,
                number % 20 as episode_number,
                list_distinct([
                    ['drama', 'comedy', 'crime', 'action', 'family', 'documentary', 'horror',
                        'romance'][1 + (hash({title} * 3 + place) % 8)::integer]
                    for place in range(2)
                ]) as genres,
                ['mood ' || hash({title} * 7 + place) % 60 for place in range(4)] as tags
            from range({CONTENTS}) as numbers (number)
        ) to '{directory}/contents.jsonl' (format json)
        """
    )


def _write_users(connection: duckdb.DuckDBPyConnection, directory: Path, service: Service) -> None:
    connection.execute(
        f"""
        copy (
            select
                'viewer-' || lpad(number::varchar, 9, '0') as user_id,
                ['UTC', 'Europe/Berlin', 'America/New_York', 'Asia/Tokyo'][1 + number::integer % 4]
                    as timezone,
                date '2025-06-01' + (number % 200)::integer as signed_up_on
            from range({service.viewers}) as numbers (number)
        ) to '{directory}/users.jsonl' (format json)
        """
    )


def _create_viewings(connection: duckdb.DuckDBPyConnection, service: Service) -> None:
    def random(purpose: int, row: str = "visit") -> str:
        return _RANDOM.format(row=row, purpose=purpose)

    days = service.days + 1  # and the one of later/
    # a visit that reaches over the last day is cut
    kept = 1 - (VISIT_DAYS - 1) / 2 / days if not service.one_day else 1
    of_one_day = f"if({random(3)} < 0.999, {service.days - 2}, floor({days} * {random(11)}))"
    first_day = of_one_day if service.one_day else f"floor({days} * {random(3)})"
    visit_days = "1" if service.one_day else f"1 + floor(3 * power({random(4)}, 2))"
    mean_days = 1 if service.one_day else VISIT_DAYS * kept
    visits = int(
        service.events
        * (1 if service.one_day else days / service.days)
        / (mean_days * VIEWINGS_PER_DAY * service.events_per_viewing)
    )
    longest = 2 * MEAN_PLAY_SECONDS // service.heartbeat_seconds - 1
    connection.execute(
        f"""
        create table viewings as
        with visits as (
            select
                visit,
                floor({service.viewers} * power({random(1)}, 1.5))::bigint as viewer,
                floor({CONTENTS} * power({random(2)}, 2.5))::integer as content,
                ({first_day})::integer as first_day,
                ({visit_days})::integer as days,
                {random(5)} < 0.6 as is_series
            from range({visits}) as numbers (visit)
        ),
        days as (
            select *, unnest(range(days)) as later, 1 + floor(4 * {random(6)})::integer as viewings
            from visits
        ),
        viewings as (
            select *, unnest(range(viewings)) as place, visit * 100 + later * 10 + place as viewing
            from days
        )
        select
            viewer,
            (first_day + later)::integer as day,
            case
                -- the next episodes of the series, which has twenty
                when is_series and content >= {MOVIES}
                    then content - content % 20 + (content + later * 4 + place) % 20
                else floor({CONTENTS} * power({random(7, "viewing")}, 2.5))
            end::integer as content,
            -- evenings are fuller than mornings
            floor({SECONDS_PER_DAY} * sqrt({random(8, "viewing")}))::integer as second_of_day,
            1 + floor({longest} * {random(9, "viewing")})::integer as heartbeats,
            {random(10, "viewing")} < {LATE_SHARE} as is_late
        from viewings
        where first_day + later < {days}
        order by day
        """
    )


def _files_of(
    connection: duckdb.DuckDBPyConnection, service: Service, day: int
) -> Iterator[tuple[str, int, int]]:
    """The files of a day, none much longer than ROWS_PER_FILE, each with its seconds of the day."""
    row = connection.execute("select count(*) from viewings where day = ?", [day]).fetchone()
    rows = (row[0] if row else 0) * service.events_per_viewing
    number = max(1, round(rows / ROWS_PER_FILE))
    edges = [
        # evenings are fuller than mornings, so that files of equal length end later and later
        round(SECONDS_PER_DAY * (part / number) ** 0.5)
        for part in range(number + 1)
    ]
    for part in range(number):
        yield f"{day:04}_{part:03}.parquet", edges[part], edges[part + 1]


def _write_events(
    connection: duckdb.DuckDBPyConnection,
    service: Service,
    file: Path,
    day: int,
    first_second: int,
    end_second: int,
) -> None:
    """In the order of time, as a log is: the reports of a viewing lie far apart."""
    interval = service.heartbeat_seconds
    in_file = f"second between {first_second} and {end_second - 1}"
    connection.execute(
        f"""
        copy (
            select
                'viewer-' || lpad(viewer::varchar, 9, '0') as viewer,
                'c' || content as asset,
                if(heartbeat = 0, 'click', 'play') as action,
                if(heartbeat = 0, null, {interval}.0) as seconds,
                timestamp '{FIRST_DAY}' + to_days(day) + to_seconds(second) as ts
            from (
                select
                    *,
                    least(second_of_day + {interval} * heartbeat, {SECONDS_PER_DAY - 1}) as second
                from (
                    select *, unnest(range(heartbeats + 1)) as heartbeat
                    from viewings
                    where
                        (day = {day} and not is_late or day = {day - 1} and is_late)
                        and second_of_day < {end_second}
                        and (
                            second_of_day + {interval} * heartbeats >= {first_second}
                            or {end_second} = {SECONDS_PER_DAY}
                        )
                )
            )
            where {in_file}
            order by ts
        ) to '{file}' (format parquet)
        """
    )
