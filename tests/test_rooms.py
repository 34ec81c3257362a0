"""The rooms of the package, and that imports between them run downward only."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import clan

ROOT = Path(clan.__file__).parent
ROOMS = (
    "cli",
    "demo",
    "town",
    "studies",
    "reporting",
    "figures",
    "analysis",
    "comparison",
    "prediction",
    "training",
    "runs",
    "scoring",
    "config",
    "methods",
    "optim",
    "losses",
    "weights",
    "models",
    "data",
    "core",
)
"""From the top floor down: a room imports from those behind it in this list."""
PUBLIC = "__init__"
"""The package's own file, which names what is public and imports it on first use."""


def imports(path: Path) -> Iterator[tuple[str, ...]]:
    """Yield every module of the package that a file imports, at any depth, types included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            module = tuple(node.module.split("."))
            for alias in node.names:
                # `from clan.models import segmenter` imports a module, `from clan import x` a room
                yield (*module, alias.name)


def target(module: tuple[str, ...], root: Path) -> Path | None:
    """Return the file of an imported module or name, None for another package."""
    if module[0] != "clan":
        return None
    path = root.joinpath(*module[1:])
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file
    # the last part is a name within a module
    return target(module[:-1], root) if len(module) > 1 else root / "__init__.py"


def room(file: Path, root: Path) -> str:
    return file.relative_to(root).parts[0].removesuffix(".py")


def edges(root: Path) -> dict[Path, set[Path]]:
    """Return which files of the package each file imports."""
    found: dict[Path, set[Path]] = {}
    for file in sorted(root.rglob("*.py")):
        targets = {target(module, root) for module in imports(file)}
        found[file] = {t for t in targets if t is not None and t != file}
    return found


def upward(graph: Mapping[Path, set[Path]], root: Path) -> list[str]:
    """Name both files of every import that does not run down."""
    floors = {name: floor for floor, name in enumerate(ROOMS)}
    wrong = []
    for file, targets in graph.items():
        if room(file, root) == PUBLIC:
            continue
        for other in sorted(targets):
            here, there = room(file, root), room(other, root)
            if here != there and (there == PUBLIC or floors[here] > floors[there]):
                wrong.append(f"{file.relative_to(root)} -> {other.relative_to(root)}")
            if there == "town" and here not in ("town", "cli", "demo"):
                wrong.append(f"{file.relative_to(root)} -> {other.relative_to(root)} (town)")
    return wrong


def circle(graph: Mapping[Path, set[Path]]) -> list[Path]:
    """Return files that import each other in a circle, an empty list if none do."""
    done: set[Path] = set()

    def walk(file: Path, trail: list[Path]) -> list[Path]:
        if file in trail:
            return [*trail[trail.index(file) :], file]
        if file in done:
            return []
        for other in sorted(graph[file]):
            if other.name != "__init__.py" and (found := walk(other, [*trail, file])):
                return found
        done.add(file)
        return []

    for file in graph:
        if file.name != "__init__.py" and (found := walk(file, [])):
            return found
    return []


def test_every_file_stands_in_a_room() -> None:
    loose = {path.name for path in ROOT.glob("*.py")}
    assert loose == {"__init__.py", "demo.py"}
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert folders == set(ROOMS) - {"demo"}


def test_imports_run_downward() -> None:
    assert upward(edges(ROOT), ROOT) == []


def test_no_files_import_each_other_in_a_circle() -> None:
    assert [str(file.relative_to(ROOT)) for file in circle(edges(ROOT))] == []


def test_each_room_says_what_it_is_for() -> None:
    for name in ROOMS:
        if name != "demo":
            text = ast.get_docstring(ast.parse((ROOT / name / "__init__.py").read_text()))
            assert text, name


def test_an_arrow_up_and_a_circle_are_found(tmp_path: Path) -> None:
    root = tmp_path / "clan"
    files = {
        "__init__.py": "",
        "core/__init__.py": "",
        "core/low.py": "def f():\n    from clan.runs.high import x\n",
        "runs/__init__.py": "",
        "runs/high.py": "import clan.core.low\nx = 1\n",
        "runs/town_user.py": "from clan.town import make\n",
        "town/__init__.py": "make = 1\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    graph = edges(root)
    wrong = upward(graph, root)
    assert "core/low.py -> runs/high.py" in wrong
    assert any("town_user.py" in line for line in wrong)
    assert {file.name for file in circle(graph)} == {"low.py", "high.py"}
