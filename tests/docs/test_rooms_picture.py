"""The picture of the rooms says what the code does."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.test_rooms import ROOMS, ROOT


@pytest.fixture
def program(docs_program: Callable[[str], ModuleType]) -> ModuleType:
    return docs_program("make_rooms")


def test_imports_are_counted_by_pairs_of_rooms(program: ModuleType, tmp_path: Path) -> None:
    root = tmp_path / "clan"
    files = {
        "__init__.py": "from clan.core import one\n",
        "core/__init__.py": "",
        "core/one.py": "",
        "core/two.py": "import clan.core.one\n",
        "data/__init__.py": "",
        "data/a.py": "def f():\n    from clan.core import one, two\n",
        "data/b.py": "import clan.core.one\nimport clan.core.one as again\nimport json\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    # neither the package's own file, nor imports within a room, nor the same one twice
    assert program.arrows(root) == {("data", "core"): 3}
    assert len(program.files(root, "core")) == 2


def test_every_room_is_there_with_its_purpose_and_files(program: ModuleType) -> None:
    picture = program.PAGE.read_text()
    assert re.findall(r'class="room">(\w+)<', picture) == list(ROOMS)
    for name in ROOMS:
        first_words = " ".join(program.purpose(ROOT, name).split()[:4])
        assert len(first_words) > 10
        assert f">{first_words}" in picture, name
    sizes = [int(n) for n in re.findall(r">(\d+) files?<", picture)]
    modules = [p for p in ROOT.rglob("*.py") if p.name != "__init__.py"]
    assert sum(sizes) == len(modules)


def test_nothing_stands_left_of_the_diagonal(program: ModuleType) -> None:
    marks = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', program.PAGE.read_text())
    assert len(marks) == len(program.arrows(ROOT))
    for x, y in marks:
        column = (float(x) - program.MATRIX) / program.CELL
        row = (float(y) - program.HEAD) / program.ROW
        assert column > row
