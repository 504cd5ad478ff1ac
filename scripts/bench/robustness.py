"""How well planted behaviour is found on other audiences, and with the noise doubled.

The thresholds of the rules follow from the definitions, and were looked at on the demo of seed 7
only. This builds the demo of other seeds and of more noise, each in a temporary directory, and
gives macro F1, F1 per persona and the share of changes found in time as mean and range over the
seeds: what is printed is Markdown, and goes between two markers into docs/recovery.md.

    python -m bench.robustness                       # 5 seeds × noise 1 and 2
    python -m bench.robustness --viewers 500 --seeds 7 8 --noise 1 --print-only
"""

import argparse
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from bench.demos import load_and_build
from viewer_personas.build import PROJECT
from viewer_personas.database.connection import connect
from viewer_personas.demo import service as demo
from viewer_personas.demo.detection import (
    HEADINGS,
    Detection,
    casual_wait,
    cells,
    days_to_wait,
    detection,
)
from viewer_personas.demo.recovery import TRUTH, Recovery, recovery
from viewer_personas.errors import InputError, PersonasError
from viewer_personas.rules.catalogue import CASUAL, metrics
from viewer_personas.rules.check import read_rules

PAGE = Path("docs/recovery.md")
BEGIN = "<!-- robustness: begin -->"
END = "<!-- robustness: end -->"
SEEDS = (7, 8, 9, 10, 11)
NOISES = (1.0, 2.0)
VIEWERS = 2000
DAYS = 120


@dataclass(frozen=True)
class Run:
    """One demo: what was recovered on its latest date, and how soon its changes were seen."""

    seed: int
    noise: float
    recovery: Recovery
    detection: Detection


def main(arguments: list[str] | None = None) -> int:
    """Build, print, and write into the page; 0, or the exit status of what went wrong."""
    parser = argparse.ArgumentParser(prog="robustness", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--viewers", type=int, default=VIEWERS)
    parser.add_argument("--days", type=int, default=DAYS)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, metavar="SEED")
    parser.add_argument("--noise", type=float, nargs="+", default=NOISES, metavar="NOISE")
    parser.add_argument("--print-only", action="store_true", help=f"leave {PAGE} as it is")
    options = parser.parse_args(arguments)
    try:
        runs = [
            _told_run(options.viewers, options.days, seed, noise)
            for noise in options.noise
            for seed in options.seeds
        ]
        text = report(runs, options.viewers, options.days)
        print(text, end="")
        if not options.print_only:
            write(text)
    except PersonasError as error:
        return error.say()
    return 0


def run(directory: Path, viewers: int, days: int, seed: int, noise: float) -> Run:
    """Generate, load and build one demo in a directory, without the data tests, and compare it."""
    demo.generate(directory, viewers=viewers, days=days, seed=seed, noise=noise)
    with connect(load_and_build(directory), read_only=True) as connection:
        return Run(
            seed,
            noise,
            recovery(connection, directory / TRUTH),
            detection(connection, directory / TRUTH),
        )


def report(runs: list[Run], viewers: int, days: int) -> str:
    """The tables as Markdown: by noise, F1 over the seeds, then changes and confusions over all."""
    noises = list(dict.fromkeys(one.noise for one in runs))
    seeds = ", ".join(str(seed) for seed in dict.fromkeys(one.seed for one in runs))
    by_noise = [[one for one in runs if one.noise == noise] for noise in noises]
    lines = [
        f"{viewers:,} viewers, {days} days, seeds {seeds}; mean over the seeds, lowest to highest.",
        "",
        "| F1 | " + " | ".join(f"noise {noise:g}" for noise in noises) + " |",
        "|---|" + "---:|" * len(noises),
        "| **macro F1** | "
        + " | ".join(_range([one.recovery.macro_f1 for one in some]) for some in by_noise)
        + " |",
    ]
    lines += [
        f"| {persona} | "
        + " | ".join(_range([_f1(one, persona) for one in some]) for some in by_noise)
        + " |"
        for persona in [row.persona for row in runs[0].recovery.personas]
    ]
    for noise, some in zip(noises, by_noise, strict=True):
        lines += ["", *_confusions(noise, some)]
    for noise, some in zip(noises, by_noise, strict=True):
        lines += ["", *_changes(noise, some)]
    return "\n".join([*lines, "", *_waits()]) + "\n"


def write(text: str, project: Path = PROJECT) -> None:
    """Put the tables between the markers of the page. Raises `InputError` where they are not."""
    path = project / PAGE
    page = path.read_text(encoding="utf-8") if path.exists() else ""
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise InputError(f"{PAGE}: has no place for the tables, a line {BEGIN} and one {END}.")
    replaced = re.sub(
        f"{BEGIN}\n.*{END}", lambda _: f"{BEGIN}\n{text}{END}", page, count=1, flags=re.S
    )
    path.write_text(replaced, encoding="utf-8")


def _told_run(viewers: int, days: int, seed: int, noise: float) -> Run:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="robustness-") as directory:
        one = run(Path(directory) / "demo", viewers, days, seed, noise)
    print(
        f"seed {seed}, noise {noise:g}: macro F1 {one.recovery.macro_f1:.3f}, {_share(one)} of"
        f" the changes found in time ({time.monotonic() - started:.0f} s)",
        file=sys.stderr,
        flush=True,
    )
    return one


def _f1(one: Run, persona: str) -> float | None:
    return next((row.f1 for row in one.recovery.personas if row.persona == persona), None)


def _share(one: Run) -> str:
    share = one.detection.overall.share
    return "–" if share is None else f"{share:.0%}"


def _range(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    return f"{fmean(known):.3f} ({min(known):.3f} to {max(known):.3f})"


def _confusions(noise: float, runs: list[Run]) -> list[str]:
    """The largest confusions over all seeds."""
    viewers: dict[tuple[str, str], int] = {}
    planted: dict[str, int] = {}
    for one in runs:
        for behaviour, row in one.recovery.confusion.items():
            planted[behaviour] = planted.get(behaviour, 0) + sum(row.values())
            for persona, number in row.items():
                if persona != behaviour:
                    pair = behaviour, persona
                    viewers[pair] = viewers.get(pair, 0) + number
    largest = sorted(viewers.items(), key=lambda item: (-item[1], item[0]))[:8]
    return [
        f"Largest confusions, noise {noise:g}, all seeds:",
        "",
        "| planted | seen as | viewers | of the planted |",
        "|---|---|---:|---:|",
        *(
            f"| {behaviour} | {persona} | {number:,} | {100 * number / planted[behaviour]:.0f} % |"
            for (behaviour, persona), number in largest
        ),
    ]


def _changes(noise: float, runs: list[Run]) -> list[str]:
    """How soon changes are seen, all seeds together."""
    changes = [change for one in runs for change in one.detection.changes]
    summed = Detection.of(changes)
    return [
        f"Changes, noise {noise:g}, all seeds:",
        "",
        "| persona | " + " | ".join(HEADINGS) + " |",
        "|---|" + "---:|" * len(HEADINGS),
        *(
            "| " + " | ".join(cells(row)).replace("%", " %") + " |"
            for row in [*summed.personas, summed.overall]
        ),
    ]


def _waits() -> list[str]:
    """Why a change cannot be seen sooner, persona by persona, from the rules as they are."""
    rules = read_rules()
    waits = {persona: [wait] for persona, wait in days_to_wait(rules, metrics()).items()}
    casual = {casual_wait(persona, rules) for persona in rules}
    waits[CASUAL] = sorted(casual, key=lambda wait: wait.days)
    return [
        "Days to wait, from the first day of the new behaviour (day 1):",
        "",
        "| persona | days | what takes them |",
        "|---|---:|---|",
        *(
            f"| {persona} | {wait.days} | {wait.reason} |"
            for persona in sorted(waits)
            for wait in waits[persona]
        ),
    ]


if __name__ == "__main__":
    sys.exit(main())
