"""Writes the part of README.md that shows what the demo prints.

Between the two markers of README.md is the beginning of what `make demo` says of the viewers, and
what `personas explain` says of one of them. A demo is made for it in a scratch directory: the same
code gives the same figures.

    python -m pages.readme            # writes the part
    python -m pages.readme --check    # only says whether it is what the demo prints
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from pages.markdown import BEGIN, END, with_demo_part
from viewer_personas.build import PROJECT
from viewer_personas.errors import CheckFailed, InputError, PersonasError

PAGE = Path("README.md")
COMMAND = "make readme"
VIEWER = "v00023"
PERSONAS_SHOWN = 5


def main(arguments: list[str] | None = None) -> int:
    """Write the part, or with `--check` compare it; 0 if it is now up to date, else 1 or 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if arguments not in ([], ["--check"]):
            raise InputError(f"{' '.join(arguments)}: only --check is known")
        if arguments:
            check()
        else:
            path = PROJECT / PAGE
            path.write_text(_with_part(path.read_text(encoding="utf-8"), part()), encoding="utf-8")
    except PersonasError as error:
        return error.say()
    return 0


def check(project: Path = PROJECT) -> None:
    """Raise `CheckFailed` where README.md shows something else than the demo prints."""
    page = (project / PAGE).read_text(encoding="utf-8")
    if page != _with_part(page, part()):
        raise CheckFailed(f"{PAGE} does not show what the demo prints. Run `{COMMAND}`.")


def part() -> str:
    """What stands between the markers, of a demo that is made for it."""
    with tempfile.TemporaryDirectory(prefix="readme-") as directory:
        printed = _personas(directory, "demo", "--directory", "demo")
        explained = _personas(directory, "explain", VIEWER, "--database", "demo/personas.duckdb")
    return (
        f"```\n{shares(printed)}```\n\n"
        f"`personas explain {VIEWER} --database demo/personas.duckdb`:\n\n"
        f"```\n{reasons(explained)}```\n"
    )


def shares(printed: str) -> str:
    """How many viewers have which persona, out of what `personas demo` prints."""
    found = re.search(
        rf"^[\d,]+ events from .*\n(?:  .+\n){{{PERSONAS_SHOWN}}}", printed, re.MULTILINE
    )
    if not found:
        raise CheckFailed("`personas demo` does not print how many viewers have which persona.")
    return f"{found[0]}  …\n"


def reasons(explained: str) -> str:
    """What `personas explain` prints, with the last of the near misses only."""
    paragraphs = explained.rstrip().split("\n\n")
    near = [one for one in paragraphs if one.startswith("Nearly ")]
    if near[:-1]:
        first = paragraphs.index(near[0])
        paragraphs = [one for one in paragraphs if one not in near[:-1]]
        paragraphs.insert(first, "…")
    return "\n\n".join(paragraphs) + "\n"


def _personas(directory: str, *arguments: str) -> str:
    command = [str(Path(sys.executable).with_name("personas")), *arguments]
    run = subprocess.run(
        command, cwd=directory, env={**os.environ, "COLUMNS": "100"}, capture_output=True, text=True
    )
    if run.returncode:
        raise CheckFailed(f"personas {' '.join(arguments)} failed:\n{run.stderr}")
    return "\n".join(line.rstrip() for line in run.stdout.splitlines()) + "\n"


def _with_part(page: str, part: str) -> str:
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise InputError(f"{PAGE}: has no place for the demo, a line {BEGIN} and one {END}.")
    return with_demo_part(page, part)


if __name__ == "__main__":
    raise SystemExit(main())
