"""Writes target/static_index.html: lineage, descriptions and types of all tables in one page.

The types are those of an empty database, which is built for the page: no source is read.

    python -m pages.lineage
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from viewer_personas.build import PROJECT, invoke, parse
from viewer_personas.database.connection import connect
from viewer_personas.database.raw import create_raw_tables
from viewer_personas.errors import CheckFailed, PersonasError


def main() -> int:
    """Write the page into target/; 0 when it is there, else the exit status of the error."""
    try:
        write(PROJECT / "target")
    except PersonasError as error:
        return error.say()
    print(f"Wrote {PROJECT / 'target' / 'static_index.html'}")
    return 0


def write(folder: Path) -> None:
    """Write the page, and the manifest and catalog that it is made of, into a folder."""
    with TemporaryDirectory() as directory:
        database = Path(directory) / "personas.duckdb"
        with connect(database) as connection:
            create_raw_tables(connection)
        for arguments in (
            ["build", "--exclude-resource-type", "test", "unit_test"],
            ["docs", "generate", "--static"],
        ):
            result = invoke(
                [*arguments, "--target-path", str(folder)],
                database,
                lambda *_: None,
                manifest=parse(database),
            )
            if not result.success:
                raise CheckFailed(
                    f"dbt {arguments[0]} failed on an empty database: {result.result}"
                )


if __name__ == "__main__":
    raise SystemExit(main())
