"""Rooms on floors: a module imports only from its own room or from lower floors, in no circle."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

SCRIPTS = Path(__file__).parents[2] / "scripts"

# From the lowest floor up. A package is one room; so is a module beside them.
FLOORS = (
    {"errors"},
    {"config", "database", "project", "summary"},
    {"checks", "druid"},
    {"build", "sources"},
    {"export", "prune", "rules"},
    {"demo"},
    {"cli"},
    {"bench", "pages"},
)


def modules() -> dict[str, Path]:
    """The modules by name; a package goes by the name of its folder."""
    return {
        ".".join(path.relative_to(SCRIPTS).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(SCRIPTS.rglob("*.py"))
    }


def imports(names: dict[str, Path]) -> dict[str, set[str]]:
    """The modules of this project that each one imports, at its top or anywhere inside."""
    return {
        name: {found for wanted in imported(path) if (found := module_of(wanted, names))} - {name}
        for name, path in names.items()
    }


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write the whole name of what is imported"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_of(wanted: str, names: dict[str, Path]) -> str | None:
    """The module that an imported name is, or is in."""
    while wanted and wanted not in names:
        wanted = wanted.rpartition(".")[0]
    return wanted or None


def room(module: str) -> str:
    package, *inside = module.split(".")
    return inside[0] if package == "viewer_personas" and inside else package


def floor_of() -> dict[str, int]:
    return {name: number for number, rooms in enumerate(FLOORS) for name in rooms}


def test_every_room_has_a_floor() -> None:
    rooms = {room(module) for module in modules()} - {"viewer_personas"}
    assert rooms == floor_of().keys()


def test_no_module_imports_from_a_higher_floor_or_from_the_room_next_door() -> None:
    floors = floor_of()
    wrong = [
        f"{module} imports {other}"
        for module, others in imports(modules()).items()
        for other in sorted(others)
        if room(module) != room(other) and floors[room(other)] >= floors[room(module)]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_modules_import_each_other_in_a_circle() -> None:
    """graphlib's CycleError names the modules of the circle."""
    TopologicalSorter(imports(modules())).prepare()


def test_imports_are_seen_wherever_they_are(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        "import viewer_personas.build\n"
        "from viewer_personas import errors\n"
        "def f():\n    from viewer_personas.rules.words import value_text\n"
    )
    names = modules()
    assert {module_of(wanted, names) for wanted in imported(path)} == {
        "viewer_personas.build",
        "viewer_personas.errors",
        "viewer_personas.rules.words",
    }
