"""dbt's graph does not hold the text of macros, so their version is written down, and checked."""

import hashlib
import re
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def test_formula_version_is_the_md5_of_the_macros_that_models_use() -> None:
    """A changed formula must rebuild every partition: macros/definitions says how."""
    text = b"".join(
        path.read_bytes()
        for folder in ("engine", "formulas", "rules")
        for path in sorted((PROJECT / "macros" / folder).glob("*.sql"))
    )
    wanted = hashlib.md5(text).hexdigest()
    definitions = (PROJECT / "macros" / "definitions" / "versions.sql").read_text()
    written = re.search(r"macro formula_version\(\) %\}\{\{ return\('(\w*)'\)", definitions)
    assert written is not None
    assert written.group(1) == wanted, (
        f"a macro that models use has changed: write '{wanted}' into formula_version() in"
        " macros/definitions/versions.sql, so that the next build restates every partition"
    )
