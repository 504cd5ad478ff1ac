"""The dbt project: where it is, and a service's own settings on top of it.

In a checkout, the dbt project is the checkout; in a wheel, it is inside the package. A service's
own settings are in a folder of the service:

    sources.yml               where events, contents and users come from
    vars.yml                  thresholds that differ from their defaults
    seeds/event_types.csv     what the service's event types mean
    seeds/content_types.csv   what its content types mean
    seeds/personas.csv        the personas, and their words
    seeds/persona_rules.csv   the rules

`compose` puts the two together into a dbt project in `.personas` of that folder: links to models
and macros, the service's seeds if it has them, and dbt_project.yml with its vars. So an upgrade of
the package changes none of the service's files.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from viewer_personas.errors import InputError
from viewer_personas.seeds import parse_rows, read_file, seed_properties
from viewer_personas.thresholds import refuse_unknown
from viewer_personas.yaml_text import read_yaml

INSIDE = Path(__file__).parent / "dbt"
CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGED = INSIDE if INSIDE.is_dir() else CHECKOUT
"""The dbt project as it is shipped."""

HIDDEN = ".personas"
OWN_SEEDS = ("event_types", "content_types", "personas", "persona_rules")
LINKED = ("macros", "models", "tests", "profiles", "selectors.yml")
SOURCES = """\
# Where events, contents and users come from. Paths are relative to this file; secrets come from
# the environment as ${NAME}. On the left of `columns` are our names, on the right the service's;
# a name that is the same may be left out.
events:
  driver: files
  path: data/events/*.parquet    # .parquet, .csv, .json, .jsonl; text also as .gz
  columns:
    user_id: user_id
    event_type: event_type
    occurred_at: occurred_at     # a timestamp, ISO 8601 text (no zone is UTC), or a number
    content_id: content_id
    watch_seconds: watch_seconds
  # epoch_unit: ms               # s or ms, for a time that is a number
contents:
  driver: files
  path: data/contents.jsonl
  # id: content_id               # default: _id, else content_id
users:
  driver: files
  path: data/users.jsonl
  # id: user_id                  # default: _id, else user_id
"""


def work_folder(project: Path) -> Path | None:
    """Where dbt keeps its state between runs; None in a checkout, where it is target/.

    A checkout that may not be written, and a package, leave it in the current folder or, if that
    may not be written either, in the user's cache.
    """
    if project.parent.name == HIDDEN:
        return project.parent
    if project != INSIDE and os.access(project, os.W_OK):
        return None
    if os.access(Path.cwd(), os.W_OK):
        return Path.cwd() / HIDDEN
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "viewer-personas"


def init(folder: Path, sources: str | None = None) -> tuple[list[Path], list[Path]]:
    """Write the settings missing in the folder; returns what was written and what was kept.

    `sources` is the text of sources.yml, by default a template.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; name a folder for the service's settings.")
    texts = {
        Path("sources.yml"): sources or SOURCES,
        Path("vars.yml"): _vars_text(),
        Path(".gitignore"): f"{HIDDEN}/\nexports/\n*.duckdb\n*.duckdb.wal\n*.duckdb.tmp/\n",
        **{
            Path("seeds") / f"{name}.csv": (PACKAGED / "seeds" / f"{name}.csv").read_text(
                encoding="utf-8"
            )
            for name in OWN_SEEDS
        },
    }
    written, kept = [], []
    for name, text in texts.items():
        path = folder / name
        if path.exists():
            kept.append(path)
            continue
        with _writing(folder):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        written.append(path)
    return written, kept


def new_vars(folder: Path) -> dict[str, Any]:
    """The vars, with their defaults, that vars.yml does not mention, not even in a comment."""
    said = (folder / "vars.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"^(?:#\s?)?(\w+):", said, re.MULTILINE))
    return {name: value for name, value in _shipped()["vars"].items() if name not in named}


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error}") from error


def _shipped() -> dict[str, Any]:
    text = (PACKAGED / "dbt_project.yml").read_text(encoding="utf-8")
    settings: dict[str, Any] = yaml.safe_load(text)
    return settings


def compose(folder: Path) -> Path:
    """The dbt project with the settings of a folder; only what has changed is written.

    Raises `InputError` if the folder has no sources.yml or cannot be written, a var or a seed is
    unknown, or a seed does not have the columns that this version reads.
    """
    with _writing(folder):
        return _compose(folder)


def _compose(folder: Path) -> Path:
    if not (folder / "sources.yml").is_file():
        raise InputError(
            f"{folder}: has no sources.yml, so it is not a service folder."
            f" `personas init {folder}` writes one."
        )
    for path in (folder / "seeds").glob("*.csv"):
        if path.stem not in OWN_SEEDS:
            names = ", ".join(f"{name}.csv" for name in OWN_SEEDS)
            raise InputError(f"{path}: is not a seed of a service; known are {names}.")
    settings = _shipped()
    settings["vars"] |= _own_vars(folder / "vars.yml", settings["vars"])
    project = folder.resolve() / HIDDEN / "project"
    (project / "seeds").mkdir(parents=True, exist_ok=True)
    for name in LINKED:
        _link(project / name, PACKAGED / name)
    columns = seed_properties(PACKAGED)
    for path in sorted((PACKAGED / "seeds").iterdir()):
        own = folder.resolve() / "seeds" / path.name
        is_own = path.stem in OWN_SEEDS and own.exists()
        if is_own:
            wanted = columns[path.stem]["config"]["column_types"]
            parse_rows(read_file(own, str(own)), str(own), list(wanted))
        _link(project / "seeds" / path.name, own if is_own else path)
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    written = project / "dbt_project.yml"
    if not written.exists() or written.read_text(encoding="utf-8") != text:
        written.write_text(text, encoding="utf-8")
    return project


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() and link.readlink() == target:
        return
    if link.is_dir() and not link.is_symlink():
        shutil.rmtree(link)
    link.unlink(missing_ok=True)
    link.symlink_to(target)


def _own_vars(path: Path, known: dict[str, Any]) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        own = read_yaml(path.read_text(encoding="utf-8"), str(path)) or {}
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(own, dict):
        raise InputError(f"{path}: expected lines such as `lookback_days: 200`")
    refuse_unknown(own, known, str(path), PACKAGED)
    return own


def _vars_text() -> str:
    lines = [
        "# Thresholds and mappings that differ from their defaults, which stand here as comments.",
        '# What each means, its unit and range: docs/architecture.md, "What a change rebuilds".',
    ]
    for line in yaml.safe_dump(_shipped()["vars"], sort_keys=False).splitlines():
        lines.append(f"# {line}")
    return "\n".join(lines) + "\n"
