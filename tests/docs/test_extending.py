"""The page on adding a method shows real code, and what it adds works when it is followed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from clan.methods import METHODS
from tests.systems import SETTINGS, write_street

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text()
BLOCK = re.compile(
    r"^<!-- (from|added|new|change|outside): (\S+) -->\n```\w+\n(.*?)^```", re.M | re.S
)
BLOCKS = BLOCK.findall(PAGE)

FOLLOW = """
import sys
from pathlib import Path

import pytest
from clan.config.loading import load_config
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


def clan(folder: Path, *arguments: str) -> None:
    """Run the command line in a folder from which packages are imported too."""
    places = os.pathsep.join((str(folder), str(ROOT / "src")))
    environment = {**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "clan.cli", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_another_package_adds_an_encoder_a_method_and_a_sink_to_the_command_line(
    tmp_path: Path,
) -> None:
    files = {path: code for kind, path, code in BLOCKS if kind == "outside"}
    assert set(files) == {"pyproject.toml", "extras.py"}
    for path, code in files.items():
        (tmp_path / path).write_text(code)
    # as an installation writes them
    points = tomllib.loads(files["pyproject.toml"])["project"]["entry-points"]
    assert set(points) == {"clan.encoders", "clan.methods", "clan.sinks"}
    about = tmp_path / "extras-0.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: extras\nVersion: 0.1\n")
    lines = [
        f"[{group}]\n{name} = {value}\n"
        for group, found in points.items()
        for name, value in found.items()
    ]
    (about / "entry_points.txt").write_text("".join(lines))
    street = write_street(tmp_path / "street")
    # the page's changes, and those that make it small
    (command,) = re.findall(r"^clan train (town/source_only .+?) --out", PAGE, re.M | re.S)
    changes = [c for c in command.replace("\\\n", "").split()[1:] if not c.startswith("data.root")]
    assert {"model.encoder=patches", "method.name=even", "training.sinks=[lines]"} < set(changes)
    small = [*SETTINGS, "training.log_every=1", *changes, "training.steps=2"]
    clan(tmp_path, "train", str(street / "source_only.yaml"), *small, "--out", "run")
    clan(tmp_path, "predict", "run", str(street / "photos" / "val"), "--out", "predictions")
    assert len(list((tmp_path / "predictions").glob("*_label.png"))) == 3
    written = [line.split()[:2] for line in (tmp_path / "run/lines.txt").read_text().splitlines()]
    assert ["1", "entropy"] in written
    assert ["2", "loss_seg"] in written


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_its_section_and_rows(name: str) -> None:
    page = (ROOT / "docs" / "methods.md").read_text()
    assert re.search(rf"^##+ {name}$", page, re.M)
    assert re.search(rf"^\| \[`{name}`\]\(../src/clan/methods/{name}.py\) \| \S", page, re.M)
    readme = (ROOT / "src" / "clan" / "config" / "presets" / "README.md").read_text()
    for system in (name, f"town/{name}"):
        assert re.search(rf"^\| `{system}` \|", readme, re.M), system
