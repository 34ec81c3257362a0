"""The page on adding a method shows real code, and what it adds works when it is followed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clan.methods import METHODS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text()
BLOCK = re.compile(r"^<!-- (from|added|new|change): (\S+) -->\n```\w+\n(.*?)^```", re.M | re.S)
BLOCKS = BLOCK.findall(PAGE)

FOLLOW = """
import sys
from pathlib import Path

import pytest
from clan.config.tree import load_config
from clan.training.display import Silent
from clan.training.train import train
from tests.systems import tiny, write_street

assert load_config("town/class_share").method.name == "class_share"
street = write_street(Path("street"))
train(tiny(street, "class_share", "training.steps=2"), "run", display=Silent())
files = [f"tests/methods/{name}.py" for name in ("test_class_share", "test_methods")]
sys.exit(pytest.main(["-q", "-k", "class_share or shares", *files]))
"""
"""What the page says, in one process: starting one takes longer than all of it."""


def test_the_code_shown_is_the_code_there_is() -> None:
    shown = [(path, code) for kind, path, code in BLOCKS if kind == "from"]
    assert len(shown) == 7
    for path, code in shown:
        assert code in (ROOT / path).read_text(), f"docs/extending.md shows an older {path}"
    (added,) = ((path, diff) for kind, path, diff in BLOCKS if kind == "added")
    text = (ROOT / added[0]).read_text()
    for hunk in added[1].split("@@\n"):
        # the lines as they are now, one after the other
        assert "".join(f"{line[1:]}\n" for line in hunk.splitlines()) in text, hunk


def changed(text: str, diff: str) -> str:
    """Return the text with a diff's new lines, each after the line that stands before it."""
    lines, place = text.splitlines(), 0
    for line in diff.splitlines():
        if line.startswith("+"):
            place += 1
            lines.insert(place, line[1:])
        elif line != "@@":
            place = lines.index(line[1:])
    return "\n".join(lines) + "\n"


def test_a_diff_adds_lines_where_it_says() -> None:
    assert changed("a\nb\nc\n", " a\n+x\n+y\n@@\n c\n+z\n") == "a\nx\ny\nb\nc\nz\n"


@pytest.fixture
def followed(tmp_path: Path) -> Path:
    """A copy of the package in which the page was followed."""
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("tests", "tests/methods"):
        (copy / folder).mkdir()
        for path in (ROOT / folder).glob("*.py"):
            shutil.copy(path, copy / folder)
    for kind, path, code in BLOCKS:
        if kind == "new":
            assert not (copy / path).exists()
            (copy / path).write_text(code)
        elif kind == "change":
            (copy / path).write_text(changed((copy / path).read_text(), code))
    return copy


def test_the_method_of_the_page_trains_and_passes_its_tests(followed: Path) -> None:
    places = os.pathsep.join((str(followed / "src"), str(followed)))
    environment = {**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", FOLLOW],
        cwd=followed,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b7 passed", done.stdout), done.stdout
    run = followed / "run"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {"loss_seg", "loss_share"} < set(lines[0])
    assert (run / "model.safetensors").is_file()


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_its_section_and_rows(name: str) -> None:
    page = (ROOT / "docs" / "methods.md").read_text()
    assert re.search(rf"^##+ {name}$", page, re.M)
    assert re.search(rf"^\| \[`{name}`\]\(../src/clan/methods/{name}.py\) \| \S", page, re.M)
    readme = (ROOT / "src" / "clan" / "config" / "presets" / "README.md").read_text()
    for system in (name, f"town/{name}"):
        assert re.search(rf"^\| `{system}` \|", readme, re.M), system
