"""What the command line does, Python does: named, described, quick to import, and silent."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import clan
from clan.cli import app
from tests.systems import SETTINGS, Fork

FUNCTIONS = [name for name in clan.__all__ if name[0].islower()]
COMMANDS = {
    "demo": "",  # make_town, train, compare and report in turn
    "presets": "preset_names",
    "health": "",  # prints verdicts of `clan.runs.health`
    "figure": "",  # `clan.figures`
}
"""Public functions of commands that are called otherwise; empty for those without one."""


def test_every_public_name_is_there() -> None:
    for name in clan.__all__:
        assert getattr(clan, name) is not None, name
    assert set(clan._HOMES) | {"ClanError"} == set(clan.__all__)
    assert clan.__version__


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        clan.trian  # noqa: B018


def fresh(code: str) -> str:
    """Return what a new Python prints."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("module", ["clan", "clan.cli"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    code = (
        f"import sys, {module}; clan = sys.modules['clan']\n"
        "print(set(clan.__all__) <= set(dir(clan)), hasattr(clan, '__path__'))\n"
        "print(*(m for m in ('torch', 'numpy', 'pydantic', 'yaml', 'lightning') "
        "if m in sys.modules))"
    )
    assert fresh(code) == "True True\n\n"


def test_the_help_loads_no_torch() -> None:
    code = (
        "import sys; sys.argv = ['clan', '--help']\n"
        "from clan.cli import main\n"
        "try: main()\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    assert fresh(code).endswith("False\n")


def test_every_command_has_a_public_function() -> None:
    commands = {(command.name or command.callback.__name__) for command in app.registered_commands}
    for command in commands:
        name = COMMANDS.get(command, command)
        assert not name or name in clan.__all__, command
    assert {"check", "make_town", "resume"} <= set(clan.__all__)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_says_what_it_takes_and_returns(name: str) -> None:
    function = getattr(clan, name)
    text = inspect.getdoc(function)
    assert text
    parameters = inspect.signature(function).parameters
    for parameter in parameters:
        assert f"\n    {parameter}: " in text, parameter
    if parameters:
        assert "\nRaises:\n" in text
    if parameters and inspect.signature(function).return_annotation != "None":
        assert "\nReturns:\n" in text
    # docs/extending.md shows how each table is added to
    assert "\nExample:\n" in text or name.startswith("register_")
    # what is not told apart by its place is told by its name
    assert len([p for p in parameters.values() if p.kind is not p.KEYWORD_ONLY]) <= 3, name


@pytest.mark.usefixtures("one_thread")
def test_public_functions_print_nothing(
    street: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file, quick = street / "source_only.yaml", [*SETTINGS, "training.steps=2"]
    assert clan.check(file, workers=1).ok
    run = clan.train(clan.load_config(file, quick), tmp_path / "run")
    assert clan.resume(run.path).finished
    assert 0 <= clan.evaluate(run.path, out=str(tmp_path / "scores.json")).scores.miou() <= 1
    (label, *_) = clan.predict(run.path, street / "photos/val", tmp_path / "predicted")
    with Image.open(label) as picture:
        assert picture.size == (64, 32)
    assert clan.compare([run.path]).rows[0].name == "source_only"
    page = clan.report([run.path], str(tmp_path / "report.html"), images=1)
    assert "source_only" in page.read_text()
    assert clan.preset_names()
    assert clan.make_town(str(tmp_path / "town"), source=1, target=1, val=1, size=(32, 64)).is_dir()
    grid = {key: [value] for key, value in (setting.split("=") for setting in quick)}
    grid = {**grid, "model.aspp_rates": [[1, 2]], "seed": [0, 1]}
    study = clan.sweep(file, grid, str(tmp_path / "study"), start=Fork)
    assert [line.status for line in study.table().records] == ["finished"] * 2
    table = clan.bench(
        street,
        systems=["source_only"],
        seeds=[0],
        overrides=quick,
        out=tmp_path / "bench",
        start=Fork,
    )
    assert list(table.scored) == ["source_only"]
    assert capfd.readouterr() == ("", "")
