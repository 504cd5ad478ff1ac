"""Lint the SQL against a scratch database: dbt's templater opens, and locks, the target's file.

python tests/tools/lint_sql.py             # all of it
python tests/tools/lint_sql.py FILE …      # some files
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from viewer_personas.build import PROJECT, invoke
from viewer_personas.database.connection import connect
from viewer_personas.database.raw import create_raw_tables


def main() -> int:
    """Build the models on an empty raw layer, then run sqlfluff; its exit status."""
    files = sys.argv[1:] or ["models", "tests"]
    with tempfile.TemporaryDirectory() as scratch:
        database = Path(scratch) / "lint.duckdb"
        os.environ["DBT_TARGET_PATH"] = str(Path(scratch) / "target")
        os.environ["DBT_LOG_PATH"] = str(Path(scratch) / "logs")
        with connect(database) as connection:
            create_raw_tables(connection)
        invoke(["build", "--exclude-resource-type", "unit_test", "test"], database, lambda *_: None)
        return subprocess.run(
            [sys.executable, "-m", "sqlfluff", "lint", *files, "--disable-progress-bar"],
            cwd=PROJECT,
            env={
                **os.environ,
                "PERSONAS_DATABASE": str(database),
                "DBT_PROFILES_DIR": str(PROJECT / "profiles"),
            },
            check=False,
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
