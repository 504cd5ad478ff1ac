"""Fetches the jars of a server and compiles our own main, once a machine.

A build ends in a folder of the cache, outside the checkout, that is named for what it was built
from: `lib` with the jars of the pom, and `classes/NAME` for each folder `src/NAME`.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
ATTEMPTS = 3  # a repository of artifacts is not always there, and a second try mostly helps


class BuildError(Exception):
    """A server could not be built; the message ends with what the tool said last."""


def build_druid() -> Path:
    """The folder with the jars and classes of Druid; the first time, it is built."""
    return build(HERE / "druid")


def build_mongo() -> Path:
    """The folder with the jars and classes of the MongoDB server; the first time, it is built."""
    return build(HERE / "mongo")


def java_tool(name: str) -> str | None:
    """The path of `java` or `javac`, of JAVA_HOME if it is set; None if there is none."""
    home = os.environ.get("JAVA_HOME")
    return shutil.which(name, path=f"{home}/bin" if home else None)


def missing_tools() -> list[str]:
    """Those of the tools for building and running that are not on this machine."""
    missing = [name for name in ("java", "javac") if java_tool(name) is None]
    return missing if shutil.which("mvn") else [*missing, "mvn"]


def cache_folder() -> Path:
    """Where builds are kept: VIEWER_PERSONAS_CACHE, else viewer-personas in the user's cache."""
    if chosen := os.environ.get("VIEWER_PERSONAS_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "viewer-personas"


def build(source: Path) -> Path:
    """Build `source` (a pom.xml and src/*/*.java) unless the cache has it; the folder of the build.

    Two processes may ask at once: one builds, the other waits for it. A build that was killed
    leaves nothing under the final name.
    """
    inputs = [source / "pom.xml", *sorted(source.glob("src/*/*.java"))]
    digest = hashlib.sha256()
    for path in inputs:
        content = path.read_bytes()
        digest.update(f"{path.relative_to(source)} {len(content)}\n".encode() + content)
    built = cache_folder() / f"{source.name}-{digest.hexdigest()[:16]}"
    if built.is_dir():
        return built
    if missing := missing_tools():
        raise BuildError(f"{', '.join(missing)} not found: a JDK 17 and Maven are needed.")
    built.parent.mkdir(parents=True, exist_ok=True)
    with locked(built.parent / f"{source.name}.lock"):
        if built.is_dir():
            return built
        for leftover in built.parent.glob(f"{source.name}-*.partial"):
            shutil.rmtree(leftover)
        partial = Path(tempfile.mkdtemp(".partial", f"{source.name}-", built.parent))
        shutil.copy(source / "pom.xml", partial)
        fetch_jars(partial)
        for folder in sorted((source / "src").iterdir()):
            compile_java(folder, partial)
        partial.rename(built)
    return built


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file. The system frees it when the process ends, however it ends."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def fetch_jars(folder: Path) -> None:
    """Let Maven copy the jars of the pom to folder/lib."""
    for attempt in range(1, ATTEMPTS + 1):
        shutil.rmtree(folder / "lib", ignore_errors=True)
        try:
            return run("mvn", "--batch-mode", "--no-transfer-progress", "package", cwd=folder)
        except BuildError:
            if attempt == ATTEMPTS:
                raise
    return None


def compile_java(sources: Path, folder: Path) -> None:
    """Compile the sources against folder/lib into folder/classes, under their folder's name."""
    javac = java_tool("javac")
    assert javac is not None
    classes = folder / "classes" / sources.name
    files = sorted(sources.glob("*.java"))
    run(javac, "-d", classes, "-cp", f"{folder / 'lib'}/*", *files, cwd=folder)


def run(*command: str | Path, cwd: Path) -> None:
    """Run a tool; BuildError with the end of its output if it fails."""
    done = subprocess.run(
        command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace",
    )  # fmt: skip
    if done.returncode:
        end = "\n".join(done.stdout.splitlines()[-30:])
        raise BuildError(f"{Path(command[0]).name} failed with {done.returncode}:\n{end}")
