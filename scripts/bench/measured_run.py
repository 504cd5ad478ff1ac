"""Runs one function in a process of its own, and says what the process used.

    python -m bench.measured_run MODULE:FUNCTION DIRECTORY OUTPUT

The function is called with the two paths; CPU seconds of all threads and the peak of the resident
memory, in MiB, go to OUTPUT/usage.json. Imports only what it must: it is part of what it measures.
"""

import importlib
import json
import sys
import time
from pathlib import Path


def main() -> None:
    """Run what the command line names."""
    function, directory, output = sys.argv[1:]
    module, _, name = function.partition(":")
    getattr(importlib.import_module(module), name)(Path(directory), Path(output))
    usage = {"cpu_seconds": time.process_time(), "peak_memory_mib": _peak_memory()}
    (Path(output) / "usage.json").write_text(json.dumps(usage))


def _peak_memory() -> float | None:
    """As Linux counts it; None elsewhere. `resource` would begin with the size of the parent."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
