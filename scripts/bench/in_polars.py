"""The metrics and personas of the latest date in polars, as a data scientist would write them.

The events are scanned and grouped by the streaming engine; what is left fits into memory. Nothing
is stored on the way, there is one date, and a second run does everything again.
`compare_dataframes` measures it beside the dbt project and demands equal results; the definitions
are those of docs/metrics.md.
"""

import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl

from bench.inputs import (
    COMPARISONS,
    KINDS,
    MAX_STRENGTH,
    NO_PERSONA,
    UNBELIEVABLE_WATCH_SECONDS,
    WINDOWS,
    Inputs,
    read_inputs,
    read_seed,
)

DAY = pl.duration(days=1)

Frame = Any  # polars may not be installed, so that its types are not known here
Expression = Any


def run(directory: Path, output: Path) -> None:
    """Write user_windows.parquet and persona_choices.parquet of the service in `directory`."""
    user_windows = compute_windows(read_inputs(directory))
    user_windows.write_parquet(output / "user_windows.parquet")
    choose_personas(user_windows).write_parquet(output / "persona_choices.parquet")


def compute_windows(inputs: Inputs) -> Frame:
    """The metrics of each window and viewer on the latest complete date."""
    variables = inputs.variables
    users = read_users(inputs)
    contents, tags = read_catalogue(inputs)
    events = scan_events(inputs)

    # the days of the source that an activity date can draw on must all be there
    reach = int(inputs.uses_local_time or (users["timezone"] != "UTC").any())
    latest = events.select(pl.col("occurred_at").max()).collect(engine="streaming").item()
    as_of_date = latest.date() - timedelta(days=reach)
    lookback_start = as_of_date - timedelta(days=variables["lookback_days"] - 1)
    hours = (
        to_hours(events, users, variables)
        .filter(pl.col("activity_date").is_between(lookback_start, as_of_date))
        .collect(engine="streaming")
    )
    user_hours = hours.group_by("user_id", "activity_date", "local_hour").agg(
        interactions=pl.len(),
        watch=(pl.col("interaction") == "watch").sum(),
        watch_seconds=known_sum("watch_seconds"),
    )
    content_days = to_content_days(hours, contents, variables)
    del hours
    user_days = to_user_days(content_days, variables)
    content_days = content_days.join(
        user_days.select("user_id", "activity_date", "period"), on=["user_id", "activity_date"]
    )
    periods = find_periods(user_days, content_days, variables, as_of_date)
    series = find_series(content_days, variables)
    regions = find_regions(periods, content_days, tags, variables)

    known = users.filter(pl.col("signed_up_on") <= as_of_date)
    is_running = (pl.col("cancelled_on") > as_of_date).fill_null(True)
    viewers = (
        user_days.group_by("user_id")
        .agg(first_active=pl.col("activity_date").min(), last_active=pl.col("activity_date").max())
        .join(known.with_columns(is_running=is_running), on="user_id", how="full", coalesce=True)
        .filter(pl.col("last_active").is_not_null() | pl.col("is_running"))
        .select(
            "user_id",
            days_since_last_active=days_between("last_active", pl.lit(as_of_date)),
            days_known=days_between(
                pl.coalesce("signed_up_on", "first_active"), pl.lit(as_of_date)
            ),
        )
    )
    windows = []
    for window_days in WINDOWS:
        start = as_of_date - timedelta(days=window_days - 1)
        in_window = pl.col("activity_date") >= start
        window = viewers.lazy()
        for metrics in (
            day_metrics(user_days.lazy(), start, window_days),
            period_metrics(periods.lazy(), start),
            binge_metrics(periods.lazy(), series.lazy(), start),
            region_metrics(regions.lazy(), start),
            *title_metrics(content_days.lazy().filter(in_window), tags.lazy()),
            *rhythms(
                user_hours.lazy().filter(in_window), user_days.lazy().filter(in_window), variables
            ),
        ):
            window = window.join(metrics, on="user_id", how="left")
        windows.append(finish(window, as_of_date, window_days))
    return pl.concat(pl.collect_all(windows))


def known_sum(column: str) -> Expression:
    """The sum of a column; null where none of its values is known."""
    return pl.when(pl.col(column).count() > 0).then(pl.col(column).sum())


def ratio(part: Any, whole: Any) -> Expression:
    """A share; null of nothing."""
    return _expression(part) / pl.when(_expression(whole) != 0).then(_expression(whole))


def days_between(start: Any, end: Any) -> Expression:
    """Whole days from one date to the other."""
    return (_expression(end) - _expression(start)).dt.total_days()


def watch_minutes() -> Expression:
    """Minutes; null where something was watched and nobody knows how long."""
    minutes = pl.col("watch_seconds") / 60
    return pl.when(minutes.is_null() & (pl.col("watch") == 0)).then(0.0).otherwise(minutes)


def _expression(value: Any) -> Expression:
    return pl.col(value) if isinstance(value, str) else value


# --- reading -------------------------------------------------------------------------------------


def scan_events(inputs: Inputs) -> Frame:
    """All events under our names, not read yet."""
    events = pl.scan_parquet(inputs.event_files).select(
        pl.col(theirs).alias(ours) for theirs, ours in inputs.columns.items()
    )
    if events.collect_schema()["occurred_at"] == pl.String:
        time = pl.col("occurred_at").str.to_datetime(time_unit="us", time_zone="UTC")
        events = events.with_columns(occurred_at=time.dt.replace_time_zone(None))
    return events.with_columns(
        pl.col("user_id", "content_id").cast(pl.Categorical),
        pl.col("watch_seconds").cast(pl.Float64),
    )


def read_users(inputs: Inputs) -> Frame:
    """Time zone and subscription of each viewer with a document."""
    columns = ("user_id", "timezone", "signed_up_on", "cancelled_on")
    known_zones = [row["time_zone"] for row in read_seed("time_zones")]
    is_known = pl.col("timezone").is_in(known_zones).fill_null(False)
    return pl.read_ndjson(inputs.users, schema=dict.fromkeys(columns, pl.String)).with_columns(
        pl.col("user_id").cast(pl.Categorical),
        pl.when(is_known)
        .then("timezone")
        .otherwise(pl.lit(inputs.variables["default_timezone"]))
        .alias("timezone"),
        pl.col("signed_up_on", "cancelled_on").str.to_date(strict=False),
    )


def read_catalogue(inputs: Inputs) -> tuple[Frame, Frame]:
    """The contents, and one row per title and tag."""
    schema: dict[str, Any] = {
        **dict.fromkeys(("content_id", "content_type", "series_id"), pl.String),
        **dict.fromkeys(("genres", "tags"), pl.List(pl.String)),
    }
    contents = (
        pl.read_ndjson(inputs.contents, schema=schema)
        .with_columns(pl.col("content_type").str.to_lowercase())
        .with_columns(
            series_id=pl.when(
                (pl.col("content_type") == "episode") & (pl.col("series_id") != "")
            ).then("series_id")
        )
        .with_columns(title_id=pl.coalesce("series_id", "content_id"))
    )
    labels = pl.concat(
        contents.select("title_id", tag=field, is_genre=pl.lit(field == "genres")).explode(
            "tag", empty_as_null=True
        )
        for field in ("genres", "tags")
    ).with_columns(pl.col("tag").str.strip_chars().str.to_lowercase())
    tags = (
        labels.filter(pl.col("tag") != "")
        .group_by("title_id", "tag")
        .agg(pl.col("is_genre").any())
        .with_columns(weight=1 / pl.len().over("title_id").sqrt())
    )
    names = pl.col("content_id", "series_id", "title_id").cast(pl.Categorical)
    return (
        contents.drop("genres", "tags").with_columns(names),
        tags.with_columns(pl.col("title_id").cast(pl.Categorical)),
    )


# --- roll-ups ------------------------------------------------------------------------------------


def to_hours(events: Frame, users: Frame, variables: dict[str, Any]) -> Frame:
    """One row per UTC day, viewer, local hour, content and kind of interaction: an interaction."""
    kinds = {
        row["event_type"]: row["interaction"] if row["counts_as_activity"] == "true" else "ignore"
        for row in read_seed("event_types")
    }
    seconds = pl.col("watch_seconds")
    is_watch = pl.col("interaction") == "watch"
    is_believable = is_watch & (seconds >= 0) & (seconds < UNBELIEVABLE_WATCH_SECONDS)
    utc = pl.col("occurred_at").dt.replace_time_zone("UTC")
    zones = users["timezone"].unique().to_list()
    local_time = pl.coalesce(
        pl.when(pl.col("timezone") == zone).then(
            utc.dt.convert_time_zone(zone).dt.replace_time_zone(None)
        )
        for zone in {*zones, variables["default_timezone"]}
    )
    return (
        events.with_columns(
            interaction=pl.col("event_type").replace_strict(
                kinds, default="other", return_dtype=pl.Enum([*KINDS, "ignore"])
            )
        )
        .filter(pl.col("interaction") != "ignore")
        .join(users.lazy().select("user_id", "timezone"), on="user_id", how="left")
        .with_columns(pl.col("timezone").fill_null(variables["default_timezone"]))
        .group_by(
            "user_id",
            "content_id",
            "interaction",
            source_date=pl.col("occurred_at").dt.date(),
            local_hour_at=local_time.dt.truncate("1h"),
        )
        .agg(
            first_at=pl.col("occurred_at").min(),
            watch_seconds=pl.when(is_believable.any()).then(seconds.filter(is_believable).sum()),
            unreadable=(is_watch & seconds.is_not_null() & ~is_believable).any(),
        )
        .select(
            "user_id",
            "content_id",
            "interaction",
            "first_at",
            "watch_seconds",
            "unreadable",
            activity_date=pl.col("local_hour_at")
            .dt.offset_by(f"-{variables['day_starts_at_hour']}h")
            .dt.date(),
            local_hour=pl.col("local_hour_at").dt.hour(),
        )
    )


def to_content_days(hours: Frame, contents: Frame, variables: dict[str, Any]) -> Frame:
    """One row per viewer, date and content, with what the catalogue says of the content."""
    is_watched = pl.coalesce(
        pl.col("watch_seconds") >= variables["min_watch_seconds"],
        (pl.col("watch") > 0) & ~pl.col("unreadable"),
    )
    return (
        hours.lazy()
        .group_by("user_id", "activity_date", "content_id")
        .agg(
            *((pl.col("interaction") == kind).sum().alias(kind) for kind in KINDS),
            interactions=pl.len(),
            watch_seconds=known_sum("watch_seconds"),
            unreadable=pl.col("unreadable").any(),
            first_at=pl.col("first_at").min(),
        )
        .join(contents.lazy(), on="content_id", how="left")
        .with_columns(
            title_id=pl.coalesce("title_id", "content_id"),
            # what was watched without a content is no content, no title and no series
            is_watched=is_watched & pl.col("content_id").is_not_null(),
        )
        .collect()
    )


def to_user_days(content_days: Frame, variables: dict[str, Any]) -> Frame:
    """One row per viewer and date, in order, with the number of its period of activity."""
    is_new = days_between(pl.col("activity_date").shift().over("user_id"), "activity_date").gt(
        variables["period_gap_days"]
    )
    return (
        content_days.lazy()
        .group_by("user_id", "activity_date")
        .agg(pl.col("interactions", *KINDS).sum(), watch_seconds=known_sum("watch_seconds"))
        .sort("user_id", "activity_date")
        .with_columns(period=is_new.fill_null(True).cum_sum())
        .collect()
    )


# --- periods, series, regions --------------------------------------------------------------------


def find_periods(
    user_days: Frame, content_days: Frame, variables: dict[str, Any], as_of_date: Any
) -> Frame:
    """The periods of activity in order."""
    titles = (
        content_days.lazy()
        .filter("is_watched")
        .group_by("period")
        .agg(watched_titles=pl.col("title_id").n_unique())
    )
    is_short = pl.coalesce(
        watch_minutes() < variables["spike_max_watch_minutes"], pl.col("watched_titles").is_null()
    )
    return (
        user_days.lazy()
        .group_by("user_id", "period")
        .agg(
            period_start=pl.col("activity_date").min(),
            period_end=pl.col("activity_date").max(),
            active_days=pl.len(),
            watch=pl.col("watch").sum(),
            watch_seconds=known_sum("watch_seconds"),
        )
        .join(titles, on="period", how="left")
        .sort("period")
        .with_columns(
            is_spike=(pl.col("active_days") <= variables["spike_max_days"]) & is_short,
            next_start=pl.col("period_start")
            .shift(-1)
            .over("user_id")
            .fill_null(as_of_date + timedelta(days=1)),
        )
        .with_columns(gap_days=days_between("period_end", "next_start") - 1)
        .collect()
    )


def find_series(content_days: Frame, variables: dict[str, Any]) -> Frame:
    """The series watched in each period, with the most episodes begun within any 24 hours."""
    most = pl.col("episodes").max()
    return (
        content_days.lazy()
        .filter(pl.col("is_watched") & pl.col("series_id").is_not_null())
        .group_by("period", "series_id", "content_id")
        .agg(pl.col("first_at").min())
        .sort("period", "series_id", "first_at")
        .rolling("first_at", period="24h", closed="both", group_by=["period", "series_id"])
        .agg(episodes=pl.len())
        .group_by("period", "series_id")
        .agg(most_episodes_in_24h=most, is_binge=most >= variables["binge_min_episodes"])
        .collect()
    )


def find_regions(
    periods: Frame, content_days: Frame, tags: Frame, variables: dict[str, Any]
) -> Frame:
    """Sleepy and ghost regions: user_id, type, first and last day."""
    sleepy = periods.filter(pl.col("gap_days") >= variables["sleepy_min_days"]).select(
        "user_id",
        region_type=pl.lit("sleepy"),
        region_start=pl.col("period_end") + DAY,
        region_end=pl.col("next_start") - DAY,
    )
    may_go_on = (
        pl.col("is_spike")
        & (pl.col("gap_days") >= variables["ghost_min_gap_days"])
        & (pl.col("gap_days") < variables["sleepy_min_days"])
    )
    goes_on = may_go_on.shift(fill_value=False).over("user_id")
    spikes = (
        periods.with_columns(run=(~(pl.col("is_spike") & goes_on)).cum_sum())
        .filter("is_spike")
        .select("user_id", "run", "period", "period_start", "period_end")
    )
    runs = (
        spikes.group_by("user_id", "run")
        .agg(
            region_start=pl.col("period_start").min(),
            region_end=pl.col("period_end").max(),
            spikes=pl.len(),
        )
        .filter(
            pl.col("spikes") >= variables["ghost_min_spikes"],
            days_between("region_start", "region_end") + 1 >= variables["ghost_min_days"],
        )
    )
    touched = (
        spikes.join(runs, on="run", how="semi")
        .join(content_days.select("period", "title_id"), on="period")
        .select("run", "title_id")
        .drop_nulls()
        .unique()
    )
    has_interest = (pl.col("titles") >= variables["ghost_min_titles"]) & (
        pl.col("top_genre_share") > variables["ghost_max_genre_share"]
    )
    ghosts = (
        runs.join(touched.group_by("run").agg(titles=pl.len()), on="run", how="left")
        .join(top_genres(touched, tags, "run"), on="run", how="left")
        .filter(~has_interest.fill_null(False))
        .select("user_id", pl.lit("ghost").alias("region_type"), "region_start", "region_end")
    )
    return pl.concat([sleepy, ghosts])


# --- titles --------------------------------------------------------------------------------------


def top_genres(titles: Frame, tags: Frame, key: str) -> Frame:
    """The genre of the most titles for each `key`, the first by name among equals, and its share of
    the titles that have a genre."""
    genres = titles.join(tags.filter("is_genre"), on="title_id")
    with_genre = genres.group_by(key).agg(with_genre=pl.col("title_id").n_unique())
    return (
        genres.group_by(key, "tag")
        .agg(titles=pl.len())
        .sort("titles", "tag", descending=[True, False])
        .group_by(key, maintain_order=True)
        .first()
        .join(with_genre, on=key)
        .select(key, top_genre="tag", top_genre_share=ratio("titles", "with_genre"))
    )


def content_diversity(titles: Frame, tags: Frame, key: str) -> Frame:
    """The mean pairwise cosine distance of the tag sets of the titles for each `key`."""
    tagged = titles.join(tags, on="title_id")
    number = tagged.group_by(key).agg(number=pl.col("title_id").n_unique())
    distance = 1 - (pl.col("squares") - pl.col("number")) / (
        pl.col("number") * (pl.col("number").cast(pl.Float64) - 1)
    )
    return (
        tagged.group_by(key, "tag")
        .agg(pl.col("weight").sum())
        .group_by(key)
        .agg(squares=(pl.col("weight") ** 2).sum())
        .join(number, on=key)
        .filter(pl.col("number") > 1)
        .select(key, content_diversity=distance)
    )


def title_metrics(content_days: Frame, tags: Frame) -> list[Frame]:
    """What was watched in a window, and how much of one series, type and genre it is."""
    is_episode = pl.col("content_type").eq("episode").fill_null(False)
    is_movie = pl.col("content_type").eq("movie").fill_null(False)
    titles = (
        content_days.filter(
            pl.col("content_id").is_not_null(),
            (pl.col("watch") > 0) | pl.col("watch_seconds").is_not_null(),
        )
        .group_by("user_id", "title_id", "content_id", "content_type", "series_id")
        .agg(
            pl.col("watch").sum(),
            pl.col("is_watched").any(),
            watch_seconds=known_sum("watch_seconds"),
        )
        .group_by("user_id", "title_id")
        .agg(
            watch_seconds=known_sum("watch_seconds"),
            is_series=pl.col("series_id").is_not_null().any(),
            watched_contents=pl.col("is_watched").sum(),
            watched_episodes=(pl.col("is_watched") & is_episode).sum(),
            episode_interactions=pl.col("watch").filter(is_episode).sum(),
            movie_interactions=pl.col("watch").filter(is_movie).sum(),
        )
    )
    metrics = titles.group_by("user_id").agg(
        pl.col(
            "watched_contents", "watched_episodes", "episode_interactions", "movie_interactions"
        ).sum(),
        watched_titles=(pl.col("watched_contents") > 0).sum(),
        top_series_seconds=pl.col("watch_seconds").filter("is_series").max(),
        top_series_contents=pl.col("watched_contents").filter("is_series").max(),
    )
    watched = titles.filter(pl.col("watched_contents") > 0).select("user_id", "title_id")
    return [
        metrics,
        content_diversity(watched, tags, "user_id"),
        top_genres(watched, tags, "user_id"),
    ]


# --- windows -------------------------------------------------------------------------------------


def day_metrics(user_days: Frame, start: Any, window_days: int) -> Frame:
    """Days and interactions in the window that begins on `start`, and days in the one before."""
    in_window = pl.col("activity_date") >= start
    seconds = pl.col("watch_seconds").filter(in_window)
    return (
        user_days.filter(pl.col("activity_date") >= start - timedelta(days=window_days))
        .group_by("user_id")
        .agg(
            pl.col("interactions", *KINDS).filter(in_window).sum(),
            active_days=in_window.sum(),
            previous_active_days=(~in_window).sum(),
            watch_seconds=pl.when(seconds.count() > 0).then(seconds.sum()),
        )
    )


def period_metrics(periods: Frame, start: Any) -> Frame:
    """Periods, gaps and spikes that reach into the window."""
    reaches = pl.col("period_end") >= start
    length = days_between(pl.col("period_start").clip(lower_bound=start), "period_end") + 1
    gap = days_between((pl.col("period_end") + DAY).clip(lower_bound=start), "next_start")
    return periods.group_by("user_id").agg(
        periods=reaches.sum(),
        spikes=(reaches & pl.col("is_spike")).sum(),
        longest_period_days=length.clip(lower_bound=0).max(),
        longest_gap_days=gap.clip(lower_bound=0).max(),
    )


def binge_metrics(periods: Frame, series: Frame, start: Any) -> Frame:
    """What was binged in the periods that reach into the window."""
    return (
        periods.filter(pl.col("period_end") >= start)
        .select("user_id", "period")
        .join(series, on="period")
        .group_by("user_id")
        .agg(
            pl.col("most_episodes_in_24h").max(),
            binged_series=pl.col("series_id").filter("is_binge").n_unique(),
        )
    )


def region_metrics(regions: Frame, start: Any) -> Frame:
    """The days of regions of each type that lie in the window."""
    days = days_between(pl.col("region_start").clip(lower_bound=start), "region_end") + 1
    in_window = days.clip(lower_bound=0)
    return regions.group_by("user_id").agg(
        in_window.filter(pl.col("region_type") == region_type).sum().alias(f"{region_type}_days")
        for region_type in ("sleepy", "ghost")
    )


def rhythms(user_hours: Frame, user_days: Frame, variables: dict[str, Any]) -> list[Frame]:
    """When somebody is active: shares of the time, or of the interactions where none is known."""
    hour, night = pl.col("local_hour"), variables["night_starts_at_hour"]

    def amount(is_in_part: Expression) -> Expression:
        has_time = pl.col("watch_seconds").sum() > 0
        shares = [
            pl.col(column).filter(is_in_part).sum() / pl.col(column).sum()
            for column in ("watch_seconds", "interactions")
        ]
        return pl.when(has_time).then(shares[0]).otherwise(shares[1])

    is_prime_time = (hour >= variables["prime_time_starts_at_hour"]) & (hour < night)
    is_night = (hour >= night) | (hour < variables["morning_starts_at_hour"])
    of_hours = user_hours.group_by("user_id").agg(
        prime_time_share=amount(is_prime_time), night_share=amount(is_night)
    )
    of_days = user_days.group_by("user_id").agg(
        weekend_share=amount(pl.col("activity_date").dt.weekday() >= 6)
    )
    watched = pl.col("watch") > 0
    hours = peaks(user_hours.filter(watched).select("user_id", value=hour), 24)
    weekdays = peaks(
        user_days.filter(watched).select("user_id", value=pl.col("activity_date").dt.weekday()), 7
    )
    days_tell = pl.col("observations") >= variables["peak_min_days"]
    peak = weekdays.join(
        hours.select("user_id", "resultant_length", peak_hour="peak"), on="user_id", how="left"
    ).select(
        "user_id",
        peak_weekday=pl.when(days_tell).then("peak"),
        peak_hour=pl.when(days_tell).then("peak_hour"),
        hour_concentration="resultant_length_right",
    )
    return [of_hours, of_days, peak]


def peaks(values: Frame, circle: int) -> Frame:
    """For each viewer the most frequent value on a circle, the smallest of equals, where it is more
    than chance (Rayleigh's test), and the length of the mean resultant vector."""
    angle = 2 * math.pi * pl.col("value") / circle
    most_frequent = (
        values.group_by("user_id", "value")
        .agg(times=pl.len())
        .sort("times", "value", descending=[True, False])
        .group_by("user_id", maintain_order=True)
        .agg(peak=pl.col("value").first())
    )
    length = (angle.cos().mean() ** 2 + angle.sin().mean() ** 2).sqrt()
    # rounded, because chance is decided by equality, too
    by_chance = (3 / pl.col("observations")).sqrt().round(9)
    is_more_than_chance = pl.col("resultant_length").round(9) >= by_chance
    return (
        values.group_by("user_id")
        .agg(observations=pl.len(), resultant_length=length)
        .join(most_frequent, on="user_id")
        .with_columns(peak=pl.when(is_more_than_chance).then("peak"))
    )


def finish(window: Frame, as_of_date: Any, window_days: int) -> Frame:
    """The columns of metrics.user_windows out of what was counted."""
    shown = ["interactions", "active_days", "previous_active_days"]
    shown += ["periods", "spikes", "longest_period_days", "binged_series", "most_episodes_in_24h"]
    shown += ["sleepy_days", "ghost_days", "watched_titles", "watched_episodes"]
    counted = ["watched_contents", "episode_interactions", "movie_interactions"]
    counted += ["top_series_seconds", "top_series_contents"]
    active, before = pl.col("active_days"), pl.col("previous_active_days")
    minutes = pl.col("watch_minutes")
    return (
        window.with_columns(pl.col(*shown, *counted, *KINDS).fill_null(0))
        .with_columns(watch_minutes=watch_minutes())
        .select(
            "user_id",
            *shown,
            *("days_since_last_active", "days_known", "longest_gap_days"),
            *("watch_minutes", "content_diversity", "top_genre", "top_genre_share"),
            *("weekend_share", "prime_time_share", "night_share"),
            *("peak_weekday", "peak_hour", "hour_concentration"),
            *(ratio(kind, "interactions").alias(f"{kind}_share") for kind in KINDS[:-1]),
            as_of_date=pl.lit(as_of_date),
            window_days=pl.lit(window_days),
            active_share=active / window_days,
            series_share=ratio("episode_interactions", "watch"),
            movie_share=ratio("movie_interactions", "watch"),
            top_series_share=pl.when(minutes > 0)
            .then(pl.col("top_series_seconds") / 60 / minutes)
            .otherwise(ratio("top_series_contents", "watched_contents")),
            activity_trend=ratio(active.cast(pl.Int64) - before, active + before),
        )
        .with_columns(pl.col("user_id").cast(pl.String))
    )


# --- personas ------------------------------------------------------------------------------------


def choose_personas(user_windows: Frame) -> Frame:
    """One persona for each viewer: the first by priority of those that match."""
    metrics = pl.all().exclude("user_id", "as_of_date", "window_days")
    viewers = user_windows.filter(window_days=WINDOWS[0]).select("as_of_date", "user_id")
    for window_days in WINDOWS:
        window = user_windows.filter(window_days=window_days)
        viewers = viewers.join(
            window.select("user_id", metrics.name.suffix(f" {window_days}")), on="user_id"
        )
    rules: dict[str, dict[str, list[Expression]]] = {}
    for clause in read_seed("persona_rules"):
        of_persona = rules.setdefault(clause["persona"], {})
        of_persona.setdefault(clause["alternative"], []).append(_strength_of_clause(clause))
    strengths = viewers.with_columns(
        # max_horizontal of columns without any value gives one row instead of all (polars 1.44)
        pl.concat_list(
            pl.when(pl.all_horizontal(clause.is_not_null() for clause in clauses)).then(
                pl.min_horizontal(clauses)
            )
            for clauses in alternatives.values()
        )
        .list.max()
        .alias(persona)
        for persona, alternatives in rules.items()
    )
    priorities = {row["persona"]: int(row["priority"]) for row in read_seed("personas")}
    by_priority = sorted(rules, key=lambda persona: (priorities[persona], persona))
    return strengths.select(
        "as_of_date",
        "user_id",
        persona=pl.coalesce(
            *(
                pl.when(pl.col(persona).is_not_null()).then(pl.lit(persona))
                for persona in by_priority
            ),
            pl.lit(NO_PERSONA),
        ),
        match_count=pl.sum_horizontal(pl.col(*by_priority).is_not_null()),
        strength=pl.coalesce(by_priority),
    )


def _strength_of_clause(clause: dict[str, str]) -> Expression:
    """How clearly each viewer meets a clause, in standard deviations; null where not."""
    value = pl.col(f"{clause['metric']} {clause['window_days']}").cast(pl.Float64)
    threshold = float(clause["threshold"])
    distance = (value - threshold).abs()
    strength = (
        pl.when(value.min() < value.max())
        .then((distance / value.std(ddof=0)).clip(upper_bound=MAX_STRENGTH))
        .when(distance == 0)
        .then(0.0)
        .otherwise(MAX_STRENGTH)
    )
    return pl.when(COMPARISONS[clause["operator"]](value, threshold)).then(strength)
