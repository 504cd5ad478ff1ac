"""Demos that comparisons run on: loaded and built without the command's checks and exports."""

from pathlib import Path

from viewer_personas.build import build
from viewer_personas.config import load_sources
from viewer_personas.demo.service import DATABASE
from viewer_personas.sources.load import load


def load_and_build(directory: Path) -> Path:
    """Load and build the demo service in a directory, without the data tests; its database."""
    database = directory / DATABASE
    load(load_sources(directory / "sources.yml"), database)
    build(database, tests=False)
    return database
