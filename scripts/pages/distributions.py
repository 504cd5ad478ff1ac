"""Draws how the metrics are distributed over the viewers of the latest evaluation date.

For each database one picture per group of metrics of `user_windows`, 28 and 84 days in one panel,
and one for each of the other models; a table with the same figures is printed. matplotlib is
needed, in the dependency group `report`: `make distributions` brings it. docs/distributions.md says
what there is to see.

    python -m pages.distributions demo=demo/personas.duckdb
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from rich.console import Console
from rich.table import Column, Table

from viewer_personas.build import PROJECT
from viewer_personas.database.connection import connect
from viewer_personas.errors import InputError, PersonasError

PICTURES = PROJECT / "docs" / "distributions"

KEYS = {"as_of_date", "window_days", "user_id", "period_start", "series_id", "region_start"}
NOT_DRAWN = KEYS | {"period_end", "region_end", "genre", "weekday_dayparts", "input_version"}

# The pictures of user_windows, by a part of the names of their metrics in the order of the table;
# the last one takes all others.
WINDOW_PICTURES = {
    "presence": r"active|periods?|gap|known|sleepy|ghost|spikes|trend",
    "interactions": r"interactions|^watch|(browse|search|curate|feedback)_share",
    "contents": r"series|movie|episodes|genre|diversity",
    "rhythm": "",
}
OTHER_MODELS = ("activity_periods", "period_series")

DAYPARTS = {  # with the hours that they last by the default thresholds
    "morning": 4,
    "daytime": 8,
    "early_evening": 3,
    "prime_time": 3,
    "night": 6,
}
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

SHORT, LONG = "#4477aa", "#cc3311"  # of the short and of the long window
FEW_VALUES = 30  # up to how many whole numbers each has a bar of its own
BINS = 30
PERCENT = FuncFormatter(lambda share, _: f"{100 * share:.3g} %")
COLUMNS = 3


@dataclass(frozen=True)
class Series:
    """The values of one column in one set of rows, nulls apart."""

    label: str
    colour: str
    values: list[Any]
    nulls: int


@dataclass(frozen=True)
class Snapshot:
    """A database at its latest evaluation date."""

    name: str
    connection: duckdb.DuckDBPyConnection
    as_of_date: Any

    def columns(self, model: str) -> dict[str, str]:
        """The metrics of a model with their types, in order."""
        described = self.connection.execute(f"describe metrics.{model}").fetchall()
        return {row[0]: row[1] for row in described if row[0] not in NOT_DRAWN}

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query, in which $1 is the evaluation date."""
        return self.connection.execute(query, [self.as_of_date]).fetchall()

    def series(self, model: str, column: str, where: str, label: str, colour: str) -> Series:
        """The values of a column on the evaluation date, where a condition holds."""
        rows = self.rows(f"select {column} from metrics.{model} where as_of_date = $1 and {where}")
        values = [row[0] for row in rows if row[0] is not None]
        return Series(label, colour, values, len(rows) - len(values))

    def by_window(self, model: str, column: str) -> list[Series]:
        """A column in the short and in the long window."""
        return [
            self.series(model, column, f"window_days = {days}", f"{days} days", colour)
            for days, colour in ((28, SHORT), (84, LONG))
        ]

    def all_rows(self, model: str, column: str) -> list[Series]:
        """A column of a model that has no windows."""
        return [self.series(model, column, "true", "all rows", SHORT)]


def main(arguments: list[str] | None = None) -> int:
    """Draw the pictures of each NAME=DATABASE and print its table; the exit status."""
    parser = argparse.ArgumentParser(description="Draw how the metrics are distributed.")
    parser.add_argument("databases", nargs="+", metavar="NAME=DATABASE")
    parser.add_argument("--directory", type=Path, default=PICTURES)
    given = parser.parse_args(arguments)
    try:
        for text in given.databases:
            name, _, database = text.partition("=")
            if not name or not database:
                raise InputError(f"{text}: write NAME=DATABASE, such as demo=demo/personas.duckdb")
            with connect(Path(database), read_only=True) as connection:
                report(connection, name, given.directory)
    except PersonasError as error:
        return error.say()
    return 0


def report(connection: duckdb.DuckDBPyConnection, name: str, directory: Path) -> None:
    """Write the pictures of a built database as `<name>-<what>.png`, and print its table."""
    as_of_date = connection.execute("select max(as_of_date) from metrics.as_of_dates").fetchall()
    if as_of_date[0][0] is None:
        raise InputError(f"{name}: has no evaluation date, so there is nothing to draw")
    snapshot = Snapshot(name, connection, as_of_date[0][0])
    directory.mkdir(parents=True, exist_ok=True)
    left = list(snapshot.columns("user_windows"))
    for picture, names in WINDOW_PICTURES.items():
        metrics = [metric for metric in left if re.search(names, metric)]
        left = [metric for metric in left if metric not in metrics]
        panels = [
            _metric_panel(metric, snapshot.by_window("user_windows", metric)) for metric in metrics
        ]
        _save(snapshot, directory, f"user_windows-{picture}", panels)
    for model in OTHER_MODELS:
        if not snapshot.rows(f"select 1 from metrics.{model} where as_of_date = $1 limit 1"):
            continue
        panels = [
            _metric_panel(metric, snapshot.all_rows(model, metric))
            for metric in snapshot.columns(model)
        ]
        _save(snapshot, directory, model, panels)
    _save(snapshot, directory, "inactivity_regions", _region_panels(snapshot))
    _save(snapshot, directory, "user_rhythms", _rhythm_panels(snapshot))
    _save(snapshot, directory, "user_genres", _genre_panels(snapshot))
    _save(snapshot, directory, "user_rfm", _rfm_panels(snapshot))
    Console(width=140).print(summary(snapshot))


def summary(snapshot: Snapshot) -> Table:
    """The numbers behind the pictures: a row for each metric, and window where there are two."""
    table = Table(
        Column("metric", no_wrap=True),
        *("rows", "null", "min", "25 %", "50 %", "75 %", "max", "at min", "at max"),
        title=f"{snapshot.name} on {snapshot.as_of_date}",
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for model in (
        "user_windows",
        *OTHER_MODELS,
        "inactivity_regions",
        "user_rhythms",
        "user_genres",
        "user_rfm",
    ):
        windows = (28, 84) if model in ("user_windows", "user_genres") else (None,)
        for metric, data_type in snapshot.columns(model).items():
            if data_type in ("BIGINT", "INTEGER", "DOUBLE"):
                for days in windows:
                    table.add_row(*_summary_row(snapshot, model, metric, days))
        table.add_section()
    return table


def _summary_row(snapshot: Snapshot, model: str, metric: str, days: int | None) -> list[str]:
    where = "true" if days is None else f"window_days = {days}"
    found = snapshot.rows(
        f"""
        select
            count(*), count(*) - count(value), min(value), quantile_cont(value, 0.25),
            quantile_cont(value, 0.5), quantile_cont(value, 0.75), max(value),
            count(case when value = lowest then 1 end) / nullif(count(value), 0),
            count(case when value = highest then 1 end) / nullif(count(value), 0)
        from (
            select {metric} as value, min({metric}) over () as lowest, max({metric}) over ()
                as highest
            from metrics.{model}
            where as_of_date = $1 and {where}
        )
        """
    )[0]
    name = f"{model}.{metric}" + (f" {days}" if days else "")
    shares = ["" if share is None else f"{share:.0%}" for share in found[7:]]
    return [name, f"{found[0]:,}", f"{found[1]:,}", *map(_number, found[2:7]), *shares]


def _number(value: Any) -> str:
    return "" if value is None else f"{value:,.3f}".rstrip("0").rstrip(".")


# --- panels: functions that draw into the axes that they are given ------------------------------

Panel = Callable[[Axes], None]
Bar = tuple[float, float, str]  # where, how high, of which colour


def _metric_panel(title: str, series: Sequence[Series]) -> Panel:
    """A histogram, or bars where the values are names, booleans or few whole numbers."""

    def draw(axes: Axes) -> None:
        values = [value for one in series for value in one.values]
        axes.set_title(title, fontsize=10, fontweight="bold", loc="left")
        filled = [one for one in series if one.values]
        nulls = [f"{one.nulls / max(1, one.nulls + len(one.values)):.0%}" for one in series]
        if any(one.nulls for one in series):
            axes.set_title("null " + ", ".join(nulls), fontsize=8, loc="right", color="#666666")
        if not values:
            _say(axes, "no values")
        elif isinstance(values[0], str | bool):
            _draw_names(axes, filled)
        elif min(values) == max(values):
            _say(axes, f"always {_number(values[0])}")
        else:
            are_whole = all(isinstance(value, int) for value in values)
            if are_whole and max(values) - min(values) < FEW_VALUES:
                _draw_whole_numbers(axes, filled)
            else:
                _draw_histogram(axes, filled, are_whole)

    return draw


def _draw_names(axes: Axes, series: Sequence[Series]) -> None:
    counts = [Counter(str(value).lower() for value in one.values) for one in series]
    names = [name for name, _ in counts[-1].most_common(8)][::-1]
    height = 0.8 / len(series)
    for place, (one, count) in enumerate(zip(series, counts, strict=True)):
        shares = [count[name] / len(one.values) for name in names]
        at = [row + 0.4 - (place + 0.5) * height for row in range(len(names))]
        axes.barh(at, shares, height, color=one.colour, label=one.label)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.xaxis.set_major_formatter(PERCENT)


def _draw_whole_numbers(axes: Axes, series: Sequence[Series]) -> None:
    lowest = min(value for one in series for value in one.values)
    highest = max(value for one in series for value in one.values)
    width = 0.85 / len(series)
    bars: list[Bar] = []
    for place, one in enumerate(series):
        count = Counter(one.values)
        heights = [count[at] / len(one.values) for at in range(lowest, highest + 1)]
        at = [value - 0.425 + (place + 0.5) * width for value in range(lowest, highest + 1)]
        axes.bar(at, heights, width, color=one.colour, label=one.label)
        bars += [(*bar, one.colour) for bar in zip(at, heights, strict=True)]
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    _finish(axes, bars)


def _edges(values: Sequence[float], are_whole: bool) -> list[float]:
    """Equal bins of whole numbers, of shares (k / 28 in the middle of one), else of the range.

    The last hundredth of a long tail is left out.
    """
    lowest, highest = values[0], values[-1]
    end = values[int(0.99 * (len(values) - 1))]
    end = end if highest - lowest > 1.3 * (end - lowest) and end > lowest else highest
    if are_whole:
        width = -(-(end - lowest + 1) // BINS)
        count = int(-(-(end - lowest + 1) // width))
        return [lowest - 0.5 + place * width for place in range(count + 1)]
    if lowest >= 0 and 0.5 < end <= 1:
        return [(place - 0.5) / 28 for place in range(int(28 * lowest), 30)]
    return [lowest + place * (end - lowest) / BINS for place in range(BINS + 1)]


def _draw_histogram(axes: Axes, series: Sequence[Series], are_whole: bool) -> None:
    """All series in the same bins, the first as bars and the second as a line."""
    values = sorted(float(value) for one in series for value in one.values)
    edges = _edges(values, are_whole)
    width = edges[1] - edges[0]
    bars: list[Bar] = []
    for place, one in enumerate(series):
        heights = [0.0] * (len(edges) - 1)
        for value in one.values:
            bin_of_value = int((value - edges[0]) / width)
            if bin_of_value < len(heights) or value <= edges[-1]:
                heights[min(bin_of_value, len(heights) - 1)] += 1 / len(one.values)
        if place == 0:
            axes.bar(edges[:-1], heights, width, align="edge", color=one.colour, label=one.label)
        else:
            axes.stairs(heights, edges, color=one.colour, linewidth=1.4, label=one.label, zorder=3)
        middles = [edge + width / 2 for edge in edges[:-1]]
        bars += [(*bar, one.colour) for bar in zip(middles, heights, strict=True)]
    if edges[-1] < values[-1]:
        most = values[-1]
        axes.set_xlabel(f"1 % is above; the most is {_number(round(most, 1))}", fontsize=8)
    _finish(axes, bars)


def _finish(axes: Axes, bars: Sequence[Bar]) -> None:
    """Let few high bars not flatten all others: cut them off, and write how high they are."""
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(PERCENT)
    heights = sorted((height for _, height, _ in bars), reverse=True)
    cuts = [
        count
        for count in range(1, min(5, len(heights)))
        if heights[count - 1] > 0.12 and 0 < 4 * heights[count] < heights[count - 1]
    ]
    if not cuts:
        return
    lowest_cut, rest = heights[cuts[-1] - 1], heights[cuts[-1]]
    axes.set_ylim(0, 1.5 * rest)
    left, right = axes.get_xlim()
    for place, (at, height, colour) in enumerate(bar for bar in bars if bar[1] >= lowest_cut):
        is_left = at < (left + right) / 2
        axes.annotate(
            f"{height:.0%}",
            (at, (1.4 - 0.14 * place) * rest),
            xytext=(8 if is_left else -8, 0),
            textcoords="offset points",
            fontsize=8,
            fontweight="bold",
            color=colour,
            ha="left" if is_left else "right",
            va="center",
            zorder=4,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.9, "pad": 0.8},
        )


def _say(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])


def _heat_map_panel(
    title: str,
    cells: dict[tuple[int, int], float],
    columns: Sequence[str],
    rows: Sequence[str],
    weights: Sequence[float] | None = None,
) -> Panel:
    """Shares of all in the cells (row, column); the colour is the share / the column's weight."""

    def draw(axes: Axes) -> None:
        axes.set_title(title, fontsize=10, fontweight="bold", loc="left")
        total = sum(cells.values())
        if not total:
            _say(axes, "no values")
            return
        shares = [
            [cells.get((row, column), 0.0) / total for column in range(len(columns))]
            for row in range(len(rows))
        ]
        weighted = [
            [share / (weights[column] if weights else 1) for column, share in enumerate(line)]
            for line in shares
        ]
        axes.imshow(weighted, cmap="Blues", aspect="auto", vmin=0)
        highest = max(max(line) for line in weighted)
        for row, line in enumerate(shares):
            for column, share in enumerate(line):
                colour = "white" if weighted[row][column] > 0.6 * highest else "black"
                axes.text(
                    *(column, row, f"{100 * share:.1f}"),
                    ha="center",
                    va="center",
                    fontsize=8,
                    color=colour,
                )
        axes.set_xticks(range(len(columns)), columns, fontsize=8)
        axes.set_yticks(range(len(rows)), rows, fontsize=8)

    return draw


def _region_panels(snapshot: Snapshot) -> list[Panel]:
    by_type = {
        metric: [
            snapshot.series("inactivity_regions", metric, f"region_type = '{kind}'", kind, colour)
            for kind, colour in (("sleepy", SHORT), ("ghost", LONG))
        ]
        for metric in snapshot.columns("inactivity_regions")
        if metric != "region_type"
    }
    kinds = snapshot.all_rows("inactivity_regions", "region_type")
    of_ghosts = (
        "active_days",
        "spikes",
        "interactions",
        "watch_minutes",
        "top_genre",
        "top_genre_share",
    )
    return [
        _metric_panel("region_type", kinds),
        _metric_panel("days", by_type["days"]),
        _metric_panel("is_open", by_type["is_open"]),
        *(
            _metric_panel(f"{metric} of ghosts", by_type[metric][1:])
            for metric in of_ghosts
            if by_type["days"][1].values
        ),
    ]


def _rhythm_panels(snapshot: Snapshot) -> list[Panel]:
    dayparts = list(DAYPARTS)
    found = snapshot.rows(
        """
        select cell.weekday, cell.daypart, sum(cell.amount / amount)
        from (
            select amount, unnest(weekday_dayparts) as cell
            from metrics.user_rhythms where as_of_date = $1 and window_days = 84
        )
        group by all
        """
    )
    cells = {(weekday - 1, dayparts.index(name)): share for weekday, name, share in found}
    thirds = [
        snapshot.series(
            "user_rhythms", f"{third}_third_of_month_share", "window_days = 84", third, colour
        )
        for third, colour in (("first", SHORT), ("last", LONG))
    ]
    shown = (
        "weeks_active_streak",
        "measure",
        "watched_hours",
        "watched_days",
        "weekday_concentration",
        "amount",
    )
    return [
        _heat_map_panel(
            "% of a mean viewer's amount",
            cells,
            [name.replace("_", "\n") for name in dayparts],
            WEEKDAYS,
            list(DAYPARTS.values()),
        ),
        _metric_panel("…_third_of_month_share", thirds),
        *(
            _metric_panel(metric, snapshot.by_window("user_rhythms", metric)[1:])
            for metric in shown
        ),
    ]


def _genre_panels(snapshot: Snapshot) -> list[Panel]:
    def audience(axes: Axes) -> None:
        axes.set_title("audience_share, 84 days", fontsize=10, fontweight="bold", loc="left")
        genres = snapshot.rows(
            "select genre, max(audience_share) from metrics.user_genres"
            " where as_of_date = $1 and window_days = 84 group by genre order by 2, 1"
        )[-14:]
        axes.barh([row[0] for row in genres], [row[1] for row in genres], color=SHORT)
        axes.tick_params(axis="y", labelsize=7)
        axes.xaxis.set_major_formatter(PERCENT)

    def by_titles(axes: Axes) -> None:
        axes.set_title(
            "lift by watched_titles, 84 days", fontsize=10, fontweight="bold", loc="left"
        )
        found = snapshot.rows(
            """
            select least(watched_titles, 8), quantile_cont(lift, 0.05), quantile_cont(lift, 0.5),
                quantile_cont(lift, 0.95)
            from metrics.user_genres where as_of_date = $1 and window_days = 84
            group by 1 order by 1
            """
        )
        at = [row[0] for row in found]
        axes.fill_between(at, [row[1] for row in found], [row[3] for row in found], alpha=0.25)
        axes.plot(at, [row[2] for row in found], color=SHORT)
        axes.axhline(1, color="#666666", linewidth=0.8)
        axes.set_xlabel("titles of the genre (8 = 8 and more); median, 5 % to 95 %", fontsize=8)

    return [
        _metric_panel("lift", snapshot.by_window("user_genres", "lift")),
        _metric_panel("title_share", snapshot.by_window("user_genres", "title_share")),
        _metric_panel("watched_titles", snapshot.by_window("user_genres", "watched_titles")),
        by_titles,
        audience,
        _metric_panel("watch_minutes", snapshot.by_window("user_genres", "watch_minutes")),
    ]


def _rfm_panels(snapshot: Snapshot) -> list[Panel]:
    scores = [str(score) for score in range(1, 6)]

    def pairs(other: str) -> dict[tuple[int, int], float]:
        found = snapshot.rows(
            f"select {other}, recency_score, count(*) from metrics.user_rfm where as_of_date = $1"
            f" and {other} is not null and recency_score is not null group by all"
        )
        return {(row[0] - 1, row[1] - 1): float(row[2]) for row in found}

    metrics = ("recency_score", "frequency_score", "watch_score")
    return [
        *(_metric_panel(metric, snapshot.all_rows("user_rfm", metric)) for metric in metrics),
        _heat_map_panel("frequency (down) by recency, %", pairs("frequency_score"), scores, scores),
        _heat_map_panel("watch (down) by recency, %", pairs("watch_score"), scores, scores),
    ]


def _save(snapshot: Snapshot, directory: Path, what: str, panels: Sequence[Panel]) -> None:
    """Write the panels in rows of three, as `<name>-<what>.png`."""
    rows = -(-len(panels) // COLUMNS)
    figure = Figure(figsize=(11, 2.5 * rows + 0.5), dpi=90, layout="constrained")
    figure.suptitle(f"{snapshot.name}, {what} on {snapshot.as_of_date}", fontsize=11)
    legend: dict[str, Any] = {}
    for place, panel in enumerate(panels):
        axes = figure.add_subplot(rows, COLUMNS, place + 1)
        axes.tick_params(labelsize=8)
        panel(axes)
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            legend.setdefault(str(label), handle)
            if label in ("first", "last"):
                axes.legend(fontsize=8)
    shown = {
        label: legend[label]
        for label in ("28 days", "84 days", "sleepy", "ghost")
        if label in legend
    }
    if shown:
        figure.legend(list(shown.values()), list(shown), loc="upper right", ncols=2, fontsize=9)
    figure.savefig(directory / f"{snapshot.name}-{what}.png", metadata={"Software": None})


if __name__ == "__main__":
    sys.exit(main())
