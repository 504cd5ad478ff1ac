"""The metrics and personas of the latest date in pandas, as a data scientist would write them.

Nothing is stored on the way, there is one date, and a second run does everything again.
`compare_dataframes` measures it beside the dbt project and demands equal results; the definitions
are those of docs/metrics.md.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyarrow import parquet

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

DAY = pd.Timedelta(days=1)
CATEGORIES = ("user_id", "content_id", "event_type")

Frame = Any  # pandas has no types here


def run(directory: Path, output: Path) -> None:
    """Write user_windows.parquet and persona_choices.parquet of the service in `directory`."""
    inputs = read_inputs(directory)
    as_of_date, user_windows = compute_windows(inputs)
    for name, table in {
        "user_windows": user_windows,
        "persona_choices": choose_personas(user_windows),
    }.items():
        table.insert(0, "as_of_date", as_of_date)
        table.to_parquet(output / f"{name}.parquet", index=False)


def compute_windows(inputs: Inputs) -> tuple[Any, Frame]:
    """The latest complete date, and the metrics of each window and viewer on it."""
    variables = inputs.variables
    users = read_users(inputs)
    contents, tags = read_catalogue(inputs)
    events = read_events(inputs)

    # the days of the source that an activity date can draw on must all be there
    reach = int(inputs.uses_local_time or (users["timezone"] != "UTC").any())
    as_of_date = events["occurred_at"].max().normalize() - reach * DAY
    hours = to_hours(events, users, variables)
    del events
    lookback_start = as_of_date - (variables["lookback_days"] - 1) * DAY
    hours = hours[hours["activity_date"].between(lookback_start, as_of_date)]

    user_hours = hours.groupby(
        ["user_id", "activity_date", "local_hour"], observed=True, as_index=False
    ).agg(interactions=("watch", "size"), watch=("watch", "sum"))
    user_hours["watch_seconds"] = _known_sum(hours, ["user_id", "activity_date", "local_hour"])
    content_days = to_content_days(hours, contents, variables)
    del hours
    user_days = to_user_days(content_days)

    periods = find_periods(user_days, content_days, variables, as_of_date)
    series = find_series(content_days, variables)
    regions = find_regions(periods, content_days, tags, variables, as_of_date)

    known = users[users["signed_up_on"] <= as_of_date]
    running = known[~(known["cancelled_on"] <= as_of_date)]
    activity = user_days.groupby("user_id", observed=True)["activity_date"].agg(["min", "max"])
    viewers = pd.DataFrame(
        {"first_active": activity["min"], "last_active": activity["max"]},
        index=activity.index.astype(object).union(running.index.astype(object)),
    )
    known_since = known["signed_up_on"].reindex(viewers.index).fillna(viewers["first_active"])
    viewers["days_since_last_active"] = (as_of_date - viewers["last_active"]).dt.days
    viewers["days_known"] = (as_of_date - known_since).dt.days

    windows = []
    for window_days in WINDOWS:
        start = as_of_date - (window_days - 1) * DAY
        in_window = content_days[content_days["activity_date"] >= start]
        window = viewers[["days_since_last_active", "days_known"]].join(
            [
                day_metrics(user_days, start, window_days),
                period_metrics(periods, series, start, as_of_date),
                region_metrics(regions, start),
                title_metrics(in_window, tags),
                rhythms(
                    user_hours[user_hours["activity_date"] >= start],
                    user_days[user_days["activity_date"] >= start],
                    variables,
                ),
            ]
        )
        window.insert(0, "window_days", window_days)
        windows.append(finish(window))
    return as_of_date.date(), pd.concat(windows).rename_axis("user_id").reset_index()


# --- reading -------------------------------------------------------------------------------------


def read_events(inputs: Inputs) -> Frame:
    """All events under our names; texts as categories, which are numbers inside."""
    theirs = {ours: name for name, ours in inputs.columns.items()}
    table = parquet.read_table(
        [str(file) for file in inputs.event_files],
        columns=list(theirs.values()),
        read_dictionary=[theirs[ours] for ours in CATEGORIES],
    ).rename_columns(list(theirs))
    # decimals would become Python's, one object each
    place = table.schema.get_field_index("watch_seconds")
    seconds = table["watch_seconds"].cast("float64")
    events = table.set_column(place, "watch_seconds", seconds).to_pandas(self_destruct=True)
    occurred_at = pd.to_datetime(events["occurred_at"], utc=True, format="ISO8601")
    events["occurred_at"] = occurred_at.dt.tz_localize(None)
    return events


def read_users(inputs: Inputs) -> Frame:
    """Time zone and subscription of each viewer with a document, by user_id."""
    users = _read_json_lines(
        inputs.users, ["user_id", "timezone", "signed_up_on", "cancelled_on"]
    ).set_index("user_id")
    known_zones = {row["time_zone"] for row in read_seed("time_zones")}
    is_known = users["timezone"].isin(known_zones)
    users["timezone"] = users["timezone"].where(is_known, inputs.variables["default_timezone"])
    for column in ("signed_up_on", "cancelled_on"):
        users[column] = pd.to_datetime(users[column], errors="coerce")
    return users


def read_catalogue(inputs: Inputs) -> tuple[Frame, Frame]:
    """The contents by content_id, and one row per title and tag."""
    contents = _read_json_lines(
        inputs.contents, ["content_id", "content_type", "series_id", "genres", "tags"]
    )
    contents["content_type"] = contents["content_type"].str.lower()
    is_episode = contents["content_type"] == "episode"
    contents["series_id"] = contents["series_id"].replace("", None).where(is_episode)
    contents["title_id"] = contents["series_id"].fillna(contents["content_id"])

    labels = pd.concat(
        contents[["title_id", field]]
        .explode(field)
        .set_axis(["title_id", "tag"], axis=1)
        .assign(is_genre=field == "genres")
        for field in ("genres", "tags")
    )
    labels["tag"] = labels["tag"].str.strip().str.lower()
    labels = labels[labels["tag"].notna() & (labels["tag"] != "")]
    tags = labels.groupby(["title_id", "tag"], as_index=False)["is_genre"].max()
    tags["weight"] = 1 / np.sqrt(tags.groupby("title_id")["tag"].transform("size"))
    return contents.set_index("content_id")[["content_type", "series_id", "title_id"]], tags


def _read_json_lines(file: Path, columns: list[str]) -> Frame:
    """The columns of a file of documents, each there even where no document has it; nothing is
    taken for a number or a date that only looks like one."""
    documents = pd.read_json(file, lines=True, dtype=False)
    return documents.reindex(columns=columns)


# --- roll-ups ------------------------------------------------------------------------------------


def to_hours(events: Frame, users: Frame, variables: dict[str, Any]) -> Frame:
    """One row per UTC day, viewer, local hour, content and kind of interaction: an interaction."""
    types = pd.DataFrame(read_seed("event_types")).set_index("event_type")
    counts = types["counts_as_activity"].eq("true") & types["interaction"].ne("ignore")
    kinds = types["interaction"].where(counts, "ignore")
    interaction = events["event_type"].map(kinds.to_dict()).astype("category")
    interaction = interaction.cat.set_categories([*KINDS, "ignore"]).fillna("other")
    events = events.drop(columns="event_type").assign(interaction=interaction)
    events = events[interaction != "ignore"]

    zone_of_user = users["timezone"].reindex(events["user_id"].cat.categories)
    zones = pd.Categorical(zone_of_user.fillna(variables["default_timezone"]))
    zone_of_event = zones.codes[events["user_id"].cat.codes]
    local_time = events["occurred_at"].to_numpy().copy()
    for code, zone in enumerate(zones.categories):
        there = zone_of_event == code
        utc = events["occurred_at"][there].dt.tz_localize("UTC")
        local_time[there] = utc.dt.tz_convert(zone).dt.tz_localize(None)
    is_watch = events["interaction"] == "watch"
    is_believable = events["watch_seconds"].between(0, UNBELIEVABLE_WATCH_SECONDS, inclusive="left")
    events = events.assign(
        unreadable=is_watch & events["watch_seconds"].notna() & ~is_believable,
        source_date=events["occurred_at"].dt.floor("D"),
        local_hour_at=pd.Series(local_time, index=events.index).dt.floor("h"),
        watch_seconds=events["watch_seconds"].where(is_watch & is_believable),
    )
    keys = ["source_date", "user_id", "local_hour_at", "content_id", "interaction"]
    groups = events.groupby(keys, observed=True, dropna=False, sort=False)
    hours = groups.agg(first_at=("occurred_at", "min"))
    hours["watch_seconds"] = groups["watch_seconds"].sum(min_count=1)
    hours["unreadable"] = groups["unreadable"].any()
    hours = hours.reset_index()
    day_starts = pd.Timedelta(hours=variables["day_starts_at_hour"])
    hours["activity_date"] = (hours["local_hour_at"] - day_starts).dt.floor("D")
    hours["local_hour"] = hours["local_hour_at"].dt.hour
    for kind in KINDS:
        hours[kind] = hours["interaction"] == kind
    return hours.drop(columns=["source_date", "local_hour_at", "interaction"])


def to_content_days(hours: Frame, contents: Frame, variables: dict[str, Any]) -> Frame:
    """One row per viewer, date and content, with what the catalogue says of the content."""
    groups = hours.groupby(["user_id", "activity_date", "content_id"], observed=True, dropna=False)
    days = groups[list(KINDS)].sum()
    days["interactions"] = groups.size()
    days["watch_seconds"] = groups["watch_seconds"].sum(min_count=1)
    days["first_at"] = groups["first_at"].min()
    days["unreadable"] = groups["unreadable"].any()
    days = days.reset_index()
    seconds = days["watch_seconds"]
    days["is_watched"] = (seconds >= variables["min_watch_seconds"]) | (
        seconds.isna() & (days["watch"] > 0) & ~days["unreadable"]
    )
    # what was watched without a content is no content, no title and no series
    days["is_watched"] &= days["content_id"].notna()
    for column in contents.columns:
        days[column] = days["content_id"].map(contents[column].to_dict())
    days["title_id"] = days["title_id"].astype(object).fillna(days["content_id"].astype(object))
    for column in contents.columns:
        days[column] = days[column].astype("category")
    return days


def to_user_days(content_days: Frame) -> Frame:
    """One row per viewer and date, in order."""
    groups = content_days.groupby(["user_id", "activity_date"], observed=True)
    days = groups[["interactions", *KINDS]].sum()
    days["watch_seconds"] = groups["watch_seconds"].sum(min_count=1)
    return days.reset_index()


def _known_sum(rows: Frame, keys: list[str]) -> Any:
    """The watch seconds of each group in its order; missing where none is known."""
    return rows.groupby(keys, observed=True)["watch_seconds"].sum(min_count=1).to_numpy()


def watch_minutes(seconds: Frame, watch_interactions: Frame) -> Frame:
    """Minutes; missing where something was watched and nobody knows how long."""
    return (seconds / 60).mask(seconds.isna() & (watch_interactions == 0), 0.0)


# --- periods, series, regions --------------------------------------------------------------------


def find_periods(
    user_days: Frame, content_days: Frame, variables: dict[str, Any], as_of_date: Any
) -> Frame:
    """The periods of activity in order, numbered; `user_days` and `content_days` get the number."""
    days_between = user_days.groupby("user_id", observed=True)["activity_date"].diff().dt.days
    is_new = days_between.isna() | (days_between > variables["period_gap_days"])
    user_days["period"] = is_new.cumsum()
    content_days["period"] = user_days.groupby(["user_id", "activity_date"], observed=True)[
        "period"
    ].first().reindex(
        pd.MultiIndex.from_frame(content_days[["user_id", "activity_date"]])
    ).to_numpy()  # fmt: skip

    groups = user_days.groupby("period")
    periods = groups.agg(
        user_id=("user_id", "first"),
        period_start=("activity_date", "min"),
        period_end=("activity_date", "max"),
        active_days=("activity_date", "size"),
        watch=("watch", "sum"),
    )
    minutes = watch_minutes(groups["watch_seconds"].sum(min_count=1), periods["watch"])
    watched = content_days[content_days["is_watched"]]
    titles = watched.groupby("period")["title_id"].nunique().reindex(periods.index, fill_value=0)
    is_short = (minutes < variables["spike_max_watch_minutes"]) | (minutes.isna() & (titles == 0))
    periods["is_spike"] = (periods["active_days"] <= variables["spike_max_days"]) & is_short
    next_start = periods.groupby("user_id", observed=True)["period_start"].shift(-1)
    periods["next_start"] = next_start.fillna(as_of_date + DAY)
    return periods


def find_series(content_days: Frame, variables: dict[str, Any]) -> Frame:
    """The series watched in each period, with the most episodes begun within any 24 hours."""
    watched = content_days[content_days["is_watched"] & content_days["series_id"].notna()]
    keys = ["user_id", "period", "series_id"]
    episodes = watched.groupby([*keys, "content_id"], observed=True)["first_at"].min()
    episodes = episodes.reset_index().sort_values([*keys, "first_at"])
    groups = episodes.groupby(keys, observed=True)["first_at"]
    episodes["most_episodes_in_24h"] = 1
    earlier = 1
    while True:
        in_24h = episodes["first_at"] - groups.shift(earlier) <= DAY
        if not in_24h.any():
            break
        earlier += 1
        episodes.loc[in_24h, "most_episodes_in_24h"] = earlier
    series = episodes.groupby(keys, observed=True, as_index=False)["most_episodes_in_24h"].max()
    series["is_binge"] = series["most_episodes_in_24h"] >= variables["binge_min_episodes"]
    return series


def find_regions(
    periods: Frame, content_days: Frame, tags: Frame, variables: dict[str, Any], as_of_date: Any
) -> Frame:
    """Sleepy and ghost regions: user_id, type, first and last day."""
    gap_days = (periods["next_start"] - periods["period_end"]).dt.days - 1
    is_sleepy = gap_days >= variables["sleepy_min_days"]
    sleepy = pd.DataFrame(
        {
            "user_id": periods["user_id"],
            "region_type": "sleepy",
            "region_start": periods["period_end"] + DAY,
            "region_end": periods["next_start"] - DAY,
        }
    )[is_sleepy]

    before = periods.assign(gap_days=gap_days).groupby("user_id", observed=True)
    goes_on = before["is_spike"].shift(fill_value=False) & before["gap_days"].shift().between(
        variables["ghost_min_gap_days"], variables["sleepy_min_days"], inclusive="left"
    )
    spikes = periods.assign(run=(~(periods["is_spike"] & goes_on)).cumsum())[periods["is_spike"]]
    runs = spikes.groupby("run").agg(
        user_id=("user_id", "first"),
        region_start=("period_start", "min"),
        region_end=("period_end", "max"),
        spikes=("period_start", "size"),
    )
    days = (runs["region_end"] - runs["region_start"]).dt.days + 1
    runs = runs[
        (runs["spikes"] >= variables["ghost_min_spikes"]) & (days >= variables["ghost_min_days"])
    ]
    run_of_period = spikes["run"][spikes["run"].isin(runs.index)]
    touched = content_days[content_days["title_id"].notna()].assign(
        run=lambda rows: rows["period"].map(run_of_period)
    )
    touched = touched.loc[touched["run"].notna(), ["run", "title_id"]].drop_duplicates()
    titles = touched.groupby("run").size().reindex(runs.index, fill_value=0)
    genre_share = top_genres(touched, tags, "run")["top_genre_share"].reindex(runs.index)
    has_interest = (titles >= variables["ghost_min_titles"]) & (
        genre_share > variables["ghost_max_genre_share"]
    )
    ghosts = runs[~has_interest].assign(region_type="ghost").drop(columns="spikes")
    return pd.concat([sleepy, ghosts], ignore_index=True)


# --- titles --------------------------------------------------------------------------------------


def top_genres(titles: Frame, tags: Frame, key: str) -> Frame:
    """The genre of the most titles for each `key`, the first by name among equals, and its share of
    the titles that have a genre."""
    genres = titles.merge(tags[tags["is_genre"]], on="title_id")
    counts = genres.groupby([key, "tag"], observed=True).size().rename("titles").reset_index()
    top = counts.sort_values([key, "titles", "tag"], ascending=[True, False, True])
    top = top.drop_duplicates(key).set_index(key)
    titles_with_genre = genres.groupby(key, observed=True)["title_id"].nunique()
    return pd.DataFrame(
        {"top_genre": top["tag"], "top_genre_share": top["titles"] / titles_with_genre}
    )


def content_diversity(titles: Frame, tags: Frame, key: str) -> Frame:
    """The mean pairwise cosine distance of the tag sets of the titles for each `key`."""
    tagged = titles.merge(tags, on="title_id")
    number = tagged.groupby(key, observed=True)["title_id"].nunique()
    weights = tagged.groupby([key, "tag"], observed=True)["weight"].sum() ** 2
    squares = weights.groupby(level=key, observed=True).sum()
    return (1 - (squares - number) / (number * (number - 1.0))).where(number > 1)


def title_metrics(content_days: Frame, tags: Frame) -> Frame:
    """What was watched in a window, and how much of one series, type and genre it is."""
    with_content = content_days[content_days["content_id"].notna()]
    touched = with_content[(with_content["watch"] > 0) | with_content["watch_seconds"].notna()]
    groups = touched.groupby(["user_id", "title_id", "content_id"], observed=True)
    contents = groups.agg(
        content_type=("content_type", "first"),
        series_id=("series_id", "first"),
        watch=("watch", "sum"),
        is_watched=("is_watched", "max"),
    )
    contents["watch_seconds"] = groups["watch_seconds"].sum(min_count=1)
    is_episode = contents["content_type"] == "episode"
    contents["is_series"] = contents["series_id"].notna()
    contents["episodes"] = contents["is_watched"] & is_episode
    contents["episode_interactions"] = contents["watch"].where(is_episode, 0)
    contents["movie_interactions"] = contents["watch"].where(contents["content_type"] == "movie", 0)

    groups = contents.groupby(level=["user_id", "title_id"], observed=True)
    titles = groups[["is_watched", "episodes", "episode_interactions", "movie_interactions"]].sum()
    titles["watch_seconds"] = groups["watch_seconds"].sum(min_count=1)
    is_series = groups["is_series"].max()
    titles["top_series_seconds"] = titles["watch_seconds"].where(is_series)
    titles["top_series_contents"] = titles["is_watched"].where(is_series)

    watched = titles[titles["is_watched"] > 0].reset_index()[["user_id", "title_id"]]
    groups = titles.groupby(level="user_id", observed=True)
    metrics = groups[["episode_interactions", "movie_interactions"]].sum()
    metrics["watched_contents"] = groups["is_watched"].sum()
    metrics["watched_episodes"] = groups["episodes"].sum()
    metrics["top_series_seconds"] = groups["top_series_seconds"].max()
    metrics["top_series_contents"] = groups["top_series_contents"].max()
    metrics["watched_titles"] = watched.groupby("user_id", observed=True).size()
    metrics["content_diversity"] = content_diversity(watched, tags, "user_id")
    return metrics.join(top_genres(watched, tags, "user_id"))


# --- windows -------------------------------------------------------------------------------------


def day_metrics(user_days: Frame, start: Any, window_days: int) -> Frame:
    """Days and interactions in the window that begins on `start`, and days in the one before."""
    in_window = user_days["activity_date"] >= start
    before = ~in_window & (user_days["activity_date"] >= start - window_days * DAY)
    groups = user_days[in_window].groupby("user_id", observed=True)
    metrics = groups[["interactions", *KINDS]].sum()
    metrics["active_days"] = groups.size()
    metrics["watch_seconds"] = groups["watch_seconds"].sum(min_count=1)
    previous = user_days[before].groupby("user_id", observed=True).size()
    return metrics.join(previous.rename("previous_active_days"), how="outer")


def period_metrics(periods: Frame, series: Frame, start: Any, as_of_date: Any) -> Frame:
    """Periods, gaps, spikes and binges that reach into the window."""
    length = (periods["period_end"] - periods["period_start"].clip(lower=start)).dt.days + 1
    gap = (periods["next_start"] - (periods["period_end"] + DAY).clip(lower=start)).dt.days
    reaches = periods["period_end"] >= start
    described = pd.DataFrame(
        {
            "user_id": periods["user_id"],
            "periods": reaches,
            "spikes": reaches & periods["is_spike"],
            "longest_period_days": length.clip(lower=0),
            "longest_gap_days": gap.clip(lower=0),
        }
    )
    groups = described.groupby("user_id", observed=True)
    metrics = groups[["periods", "spikes"]].sum()
    metrics = metrics.join(groups[["longest_period_days", "longest_gap_days"]].max())

    seen = series[series["period"].isin(periods.index[reaches])]
    most = seen.groupby("user_id", observed=True)["most_episodes_in_24h"].max()
    binged = seen[seen["is_binge"]].groupby("user_id", observed=True)["series_id"].nunique()
    return metrics.join([most, binged.rename("binged_series")])


def region_metrics(regions: Frame, start: Any) -> Frame:
    """The days of regions of each type that lie in the window."""
    days = (regions["region_end"] - regions["region_start"].clip(lower=start)).dt.days + 1
    in_window = regions.assign(days=days.clip(lower=0))
    by_type = in_window.pivot_table(
        index="user_id", columns="region_type", values="days", aggfunc="sum", observed=True
    ).reindex(columns=["sleepy", "ghost"])
    return by_type.rename(columns={"sleepy": "sleepy_days", "ghost": "ghost_days"})


def rhythms(user_hours: Frame, user_days: Frame, variables: dict[str, Any]) -> Frame:
    """When somebody is active: shares of the time, or of the interactions where none is known."""
    night, prime_time = variables["night_starts_at_hour"], variables["prime_time_starts_at_hour"]
    hour = user_hours["local_hour"]
    parts = {
        "weekend": (user_days, user_days["activity_date"].dt.day_of_week >= 5),
        "prime_time": (user_hours, (hour >= prime_time) & (hour < night)),
        "night": (user_hours, (hour >= night) | (hour < variables["morning_starts_at_hour"])),
    }
    amounts = ["watch_seconds", "interactions"]
    totals = user_days.groupby("user_id", observed=True)[amounts].sum()
    metrics = pd.DataFrame(index=totals.index)
    has_time = totals["watch_seconds"] > 0
    for part, (rows, is_in_part) in parts.items():
        of_part = rows[is_in_part].groupby("user_id", observed=True)[amounts].sum()
        shares = of_part.reindex(totals.index, fill_value=0) / totals
        metrics[f"{part}_share"] = shares["watch_seconds"].where(has_time, shares["interactions"])

    watched_hours = user_hours.loc[user_hours["watch"] > 0, ["user_id", "local_hour"]]
    watched_days = user_days.loc[user_days["watch"] > 0, ["user_id"]].assign(
        weekday=user_days["activity_date"].dt.day_of_week + 1
    )
    hours = peaks(watched_hours.set_index("user_id")["local_hour"], circle=24)
    weekdays = peaks(watched_days.set_index("user_id")["weekday"], circle=7)
    days_tell = weekdays["observations"] >= variables["peak_min_days"]
    metrics["peak_weekday"] = weekdays["peak"].where(days_tell)
    metrics["peak_hour"] = hours["peak"].where(days_tell)
    metrics["hour_concentration"] = hours["resultant_length"]
    return metrics


def peaks(values: Frame, circle: int) -> Frame:
    """For each viewer the most frequent value on a circle, the smallest of equals, where it is more
    than chance (Rayleigh's test), and the length of the mean resultant vector."""
    angle = 2 * np.pi * values / circle
    groups = pd.DataFrame({"cos": np.cos(angle), "sin": np.sin(angle)}).groupby(
        level="user_id", observed=True
    )
    means = groups.mean()
    found = pd.DataFrame(
        {
            "observations": groups.size(),
            "resultant_length": np.sqrt(means["cos"] ** 2 + means["sin"] ** 2),
        }
    )
    counts = values.groupby([values.index, values], observed=True).size()
    counts = counts.rename("times").rename_axis(["user_id", "value"]).reset_index()
    counts = counts.sort_values(["user_id", "times", "value"], ascending=[True, False, True])
    most_frequent = counts.drop_duplicates("user_id").set_index("user_id")["value"]
    # rounded, because chance is decided by equality, too
    by_chance = np.sqrt(3 / found["observations"]).round(9)
    found["peak"] = most_frequent.where(found["resultant_length"].round(9) >= by_chance)
    return found


def finish(window: Frame) -> Frame:
    """The columns of metrics.user_windows out of what was counted."""
    nothing_is_zero = [
        *("active_days", "previous_active_days", "interactions", *KINDS),
        *("periods", "longest_period_days", "spikes", "binged_series", "most_episodes_in_24h"),
        *("sleepy_days", "ghost_days", "watched_titles", "watched_contents", "watched_episodes"),
        *("episode_interactions", "movie_interactions"),
        *("top_series_seconds", "top_series_contents"),
    ]
    window[nothing_is_zero] = window[nothing_is_zero].fillna(0)
    window["active_share"] = window["active_days"] / window["window_days"]
    for kind in KINDS[:-1]:
        window[f"{kind}_share"] = window[kind] / window["interactions"]
    minutes = watch_minutes(window["watch_seconds"], window["watch"])
    window["watch_minutes"] = minutes
    window["series_share"] = window["episode_interactions"] / window["watch"]
    window["movie_share"] = window["movie_interactions"] / window["watch"]
    of_time = window["top_series_seconds"] / 60 / minutes
    of_contents = window["top_series_contents"] / window["watched_contents"]
    window["top_series_share"] = of_time.where(minutes > 0, of_contents)
    both = window["active_days"] + window["previous_active_days"]
    window["activity_trend"] = (window["active_days"] - window["previous_active_days"]) / both
    return window.drop(
        columns=[
            *KINDS,
            *("watch_seconds", "watched_contents", "episode_interactions", "movie_interactions"),
            *("top_series_seconds", "top_series_contents"),
        ]
    )


# --- personas ------------------------------------------------------------------------------------


def choose_personas(user_windows: Frame) -> Frame:
    """One persona for each viewer: the first by priority of those that match."""
    windows = {
        window_days: window.set_index("user_id")
        for window_days, window in user_windows.groupby("window_days")
    }
    rules = pd.DataFrame(read_seed("persona_rules"))
    viewers = windows[WINDOWS[0]].index
    strengths = {}
    for persona, alternatives in rules.groupby("persona"):
        of_alternatives = {
            alternative: _alternative_strength(clauses, windows)
            for alternative, clauses in alternatives.groupby("alternative")
        }
        strengths[persona] = pd.DataFrame(of_alternatives).max(axis=1)

    priorities = {row["persona"]: int(row["priority"]) for row in read_seed("personas")}
    by_priority = sorted(strengths, key=lambda persona: (priorities[persona], persona))
    matches = pd.DataFrame(strengths, index=viewers)[by_priority]
    is_match = matches.notna()
    first = is_match.to_numpy().argmax(axis=1)
    has_match = is_match.any(axis=1)
    return pd.DataFrame(
        {
            "persona": matches.columns.to_series().iloc[first].set_axis(viewers),
            "match_count": is_match.sum(axis=1),
            "strength": matches.to_numpy()[np.arange(len(matches)), first],
        },
    ).assign(
        persona=lambda chosen: chosen["persona"].where(has_match, NO_PERSONA)
    ).reset_index()  # fmt: skip


def _alternative_strength(clauses: Frame, windows: dict[int, Frame]) -> Frame:
    """How clearly each viewer meets all clauses, in standard deviations; missing where not all."""
    distances = []
    for clause in clauses.itertuples():
        values = windows[int(clause.window_days)][clause.metric].astype(float)
        threshold = float(clause.threshold)
        is_met = COMPARISONS[clause.operator](values, threshold)
        distance = (values - threshold).abs()
        if values.min() < values.max():
            distance = (distance / values.std(ddof=0)).clip(upper=MAX_STRENGTH)
        else:
            distance = distance.where(distance == 0, MAX_STRENGTH)
        distances.append(distance.where(is_met))
    return pd.concat(distances, axis=1).min(axis=1, skipna=False)
