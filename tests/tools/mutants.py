"""Break the code on purpose, one place at a time, and see whether `make test` notices.

    .venv/bin/python tests/tools/mutants.py             # all of them, an hour or two
    .venv/bin/python tests/tools/mutants.py --only rfm  # those whose name has "rfm"

A mutant is a place in a model, a macro or the Python package, and what it says instead. For each,
the checkout is cloned, changed there, and the tests run that `make test` has: first the files that
should notice, then all others. A mutant that no test notices survives, and the exit status is 1.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UNITS = "tests/models/test_dbt_units.py"


@dataclass(frozen=True)
class Mutant:
    """What is changed where, and the test files that are run first."""

    name: str
    file: str
    old: str
    new: str
    first: tuple[str, ...] = (UNITS,)


MODELS = "models/metrics"
PACKAGE = "scripts/viewer_personas"
MUTANTS = [
    # models
    Mutant("watched_at_threshold", f"{MODELS}/rollups/user_content_days.sql",
           ">= {{ var('min_watch_seconds') }}", "> {{ var('min_watch_seconds') }}"),
    Mutant("period_one_day_late", f"{MODELS}/activity/activity_periods.sql",
           ">= as_of_dates.lookback_start", "> as_of_dates.lookback_start"),
    Mutant("mixed_types", f"{MODELS}/activity/activity_periods.sql",
           "2 * period_sums.watch_interactions >", "2 * period_sums.watch_interactions >="),
    Mutant("sleepy_boundary", f"{MODELS}/activity/inactivity_regions.sql",
           "where gap_days >= {{ var('sleepy_min_days') }}",
           "where gap_days > {{ var('sleepy_min_days') }}"),
    Mutant("rfm_ties", f"{MODELS}/windows/user_rfm.sql",
           "- 2 + count(*)", "- 1 + count(*)"),
    Mutant("genre_prior", f"{MODELS}/windows/user_genres.sql",
           "(with_titles.watched_titles + {{ prior }})", "(with_titles.watched_titles)"),
    Mutant("catalogue_not_in_version", f"{MODELS}/calendar/as_of_dates.sql",
           "coalesce(content_versions.entries, '-')", "'-'",
           ("tests/models/test_exactness.py",)),
    Mutant("evidence_of_unmet", "models/personas/matching/persona_matches.sql",
           "having count(case when is_met then 1 end) >= count(*) - 1",
           "having count(case when is_met then 1 end) >= count(*)"),
    Mutant("calibration_bins", "models/personas/churn/churn_calibration.sql",
           "viewers / 2.0", "viewers / 3.0"),
    Mutant("spell_left_censored", "models/personas/movement/persona_spells.sql",
           "with_neighbours.spell_start = bounds.first_date",
           "with_neighbours.spell_start <> bounds.first_date"),
    # macros
    Mutant("ledger_ignores_versions", "macros/partitions/lists.sql",
           "wanted.input_version = ledger.input_version", "true",
           ("tests/models/test_compiled.py",)),
    Mutant("ledger_ignores_rows", "macros/partitions/lists.sql",
           "ledger.row_count = coalesce(present.row_count, 0)", "true",
           ("tests/models/test_compiled.py", "tests/models/test_exactness.py")),
    Mutant("wilson_without_square", "macros/formulas/intervals.sql",
           "/ ({{ trials }} + {{ square }})", "/ ({{ trials }} + 1)"),
    Mutant("spike_boundary", "macros/formulas/windows.sql",
           "{{ active_days }} <= {{ var('spike_max_days') }}",
           "{{ active_days }} < {{ var('spike_max_days') }}"),
    Mutant("day_starts", "macros/formulas/time.sql",
           "- interval '{{ var(\"day_starts_at_hour\") }}' hour", "- interval '0' hour"),
    Mutant("weekday_from_sunday", "macros/engine/time.sql",
           "cast(isodow({{ date }}) as integer)", "cast(dayofweek({{ date }}) as integer)"),
    Mutant("sum_of_doubles", "macros/formulas/sums.sql",
           "cast(sum(cast({{ expression }} as {{ decimal }})) as double)",
           "sum(cast({{ expression }} as double))",
           (UNITS, "tests/models/test_any_delivery.py")),
    Mutant("diversity_of_one", "macros/formulas/titles.sql",
           "(sum(first_tags) * (sum(first_tags) - 1.0))", "(sum(first_tags) * sum(first_tags))"),
    Mutant("range_is_open", "macros/checks/column_rules.sql",
           "name ~ ' > ' ~ largest,", "name ~ ' > 1 + ' ~ largest,",
           ("tests/models/test_columns_hold.py",)),
    Mutant("threshold_not_checked", "macros/definitions/check.sql",
           "value <= definition.maximum", "value <= definition.maximum + 1",
           ("tests/models/test_project.py",)),
    # Python
    Mutant("milliseconds_as_seconds", f"{PACKAGE}/sources/event_rows.py",
           'number if epoch_unit == "s" else', 'number if epoch_unit else',
           ("tests/unit/test_load.py",)),
    Mutant("decimal_comma", f"{PACKAGE}/sources/event_rows.py",
           "[.,]?", "[.]?", ("tests/unit/test_load.py",)),
    Mutant("rows_not_counted", f"{PACKAGE}/export/files.py",
           "if written != rows:", "if written > rows:",
           ("tests/unit/test_export_druid.py", "tests/models/test_command.py")),
    Mutant("withdrawn_date_stays", f"{PACKAGE}/export/files.py",
           "if day not in listed]", "if day in ()]", ("tests/unit/test_export_files.py",)),
    Mutant("version_not_read", f"{PACKAGE}/export/files.py",
           "_version_of(connection, target) == version", "_version_of(connection, target)",
           ("tests/models/test_changes.py", "tests/models/test_command.py")),
    Mutant("exit_status", f"{PACKAGE}/errors.py",
           "exit_status = 3", "exit_status = 2",
           ("tests/unit", "tests/models/test_command.py")),
    Mutant("empty_load", f"{PACKAGE}/build.py",
           "if not _is_loaded(connection):", "if False:",
           ("tests/models/test_project.py",)),
    Mutant("unknown_variable", f"{PACKAGE}/build.py",
           "if name not in known:", "if not known:",
           ("tests/models/test_project.py",)),
    Mutant("retention_one_day_more", f"{PACKAGE}/prune.py",
           "last - timedelta(days=retention[RAW] - 1)", "last - timedelta(days=retention[RAW])",
           ("tests/models/test_retention.py",)),
    Mutant("words_of_a_share", f"{PACKAGE}/rules/words.py",
           "100 * ", "10 * ", (UNITS, "tests/unit")),
    Mutant("repeated_ids", f"{PACKAGE}/database/raw.py",
           "duplicates = _remove_duplicates(connection, days)", "duplicates: dict[date, int] = {}",
           ("tests/unit/test_load.py",)),
]  # fmt: skip


def main() -> int:
    """Run every mutant; 1 where one survives or its place is no longer there."""
    parser = argparse.ArgumentParser(description="Break the code on purpose.")
    parser.add_argument("--only", default="", help="a part of the names of the mutants to run")
    chosen = [mutant for mutant in MUTANTS if parser.parse_args().only in mutant.name]
    survivors = []
    for mutant in chosen:
        start = time.monotonic()
        noticed = first_failure(mutant)
        print(
            f"{mutant.name:28} {time.monotonic() - start:5.0f} s  {noticed or 'SURVIVES'}",
            flush=True,
        )
        if not noticed:
            survivors.append(mutant.name)
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} are noticed")
    return bool(survivors)


def first_failure(mutant: Mutant) -> str | None:
    """The first test that notices, or None."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        clone = Path(folder) / "project"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        path = clone / mutant.file
        text = path.read_text(encoding="utf-8")
        if mutant.old not in text:
            sys.exit(f"{mutant.name}: {mutant.file} no longer has {mutant.old!r}")
        path.write_text(text.replace(mutant.old, mutant.new, 1), encoding="utf-8")
        for tests in (mutant.first, ("tests",)):
            result = subprocess.run(
                [sys.executable, "-m", "pytest", "-q", "-x", "-n", "2", "--dist", "loadfile",
                 "-m", "not proof", *tests],
                cwd=clone, check=False, capture_output=True, text=True,
                env={**os.environ, "PYTHONPATH": str(clone / "scripts")},
            )  # fmt: skip
            failed = [
                line for line in result.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))
            ]
            if failed:
                return failed[0][:100]
            if result.returncode:
                return f"pytest exits with {result.returncode}"
    return None


if __name__ == "__main__":
    sys.exit(main())
