"""A method that another package brings: by a decorator, or by an entry point."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Literal

import pytest

import clan
from clan.config.flat import differences, flat
from clan.config.loading import dump_config, load_config
from clan.core.errors import ConfigError
from clan.methods import METHODS, Method, MethodOptions
from clan.methods.source_only import SourceOnly
from clan.methods.tan import TAN
from clan.prediction.evaluate import evaluate
from clan.training.display import Silent
from clan.training.train import train
from tests.outside.methods import Diverse
from tests.systems import SETTINGS, records, same, tensors

SHORT = (*SETTINGS, "training.steps=2", "training.log_every=1", "training.checkpoint_every=1")


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, type[Method]]]:
    """The table of methods, which is what it was after the test."""
    before = dict(METHODS)
    yield METHODS
    METHODS.clear()
    METHODS.update(before)


@pytest.fixture
def configuration(street: Path) -> Path:
    tree = json.loads((street / "tan.yaml").read_text())
    tree |= {"name": "outside", "method": {"name": "diverse", "lambda_diverse": 0.2}}
    path = street / "outside.yaml"
    path.write_text(json.dumps(tree))
    return path


def bring(monkeypatch: pytest.MonkeyPatch, *points: EntryPoint) -> None:
    """Let installed packages seem to have these entry points."""

    monkeypatch.setattr("clan.core.plugins.entry_points", EntryPoints(points).select)


def test_a_registered_method_trains_evaluates_and_resumes(
    table: dict[str, type[Method]], configuration: Path, tmp_path: Path
) -> None:
    assert clan.register_method(Diverse) is Diverse
    assert list(table)[-1] == "diverse"
    config = load_config(configuration, SHORT)
    assert isinstance(config.method, Diverse.Options)
    run = train(config, tmp_path / "whole", display=Silent())
    assert records(run)[-2]["diversity"] > 0
    assert evaluate(run.path, out=tmp_path / "evaluation").scores.images == 3
    # killed after its first step, it goes on
    half = train(config, tmp_path / "half", display=Silent())
    half.model_file.unlink()
    half.newest_checkpoint().unlink()  # type: ignore[union-attr]
    again = train(half.config, half.path, resume=True, display=Silent())
    assert same(tensors(again), tensors(run))


def test_its_options_are_written_and_compared_as_the_others(
    table: dict[str, type[Method]], configuration: Path, tmp_path: Path
) -> None:
    clan.register_method(Diverse)
    config = load_config(configuration, SHORT)
    assert flat(config)["method.lambda_diverse"] == 0.2
    (tmp_path / "copy.yaml").write_text(dump_config(config))
    copy = load_config(tmp_path / "copy.yaml")
    assert copy == config
    other = load_config(configuration, [*SHORT, "method.lambda_diverse=0.3"])
    assert differences(config, other) == [("method.lambda_diverse", 0.2, 0.3)]


def test_its_keys_are_checked(table: dict[str, type[Method]], configuration: Path) -> None:
    clan.register_method(Diverse)
    with pytest.raises(ConfigError, match=r"method\.lambda_diverze: unknown key; did you mean"):
        load_config(configuration, [*SHORT, "method.lambda_diverze=1"])
    with pytest.raises(ConfigError, match=r"method\.lambda_diverse: .*greater than or equal to 0"):
        load_config(configuration, [*SHORT, "method.lambda_diverse=-1"])


@pytest.mark.parametrize("order", ["before", "after"])
def test_it_may_be_registered_before_and_after_the_configuration_is_imported(
    configuration: Path, order: str
) -> None:
    """Each in a Python of its own: the module may be imported only once."""
    lines = [
        "import clan; from tests.outside.methods import Diverse; clan.register_method(Diverse)",
        "import clan.config.tree",
    ]
    read = (
        "from clan.config.loading import load_config;"
        f"print(load_config({str(configuration)!r}, {list(SHORT)!r}).method.lambda_diverse)"
    )
    code = "\n".join([*(lines if order == "before" else reversed(lines)), read])
    root = Path(__file__).resolve().parents[2]
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert found.stdout == "0.2\n", found.stderr


def test_an_unknown_method_names_the_nearest(
    table: dict[str, type[Method]], configuration: Path
) -> None:
    clan.register_method(Diverse)
    with pytest.raises(ConfigError, match=r"unknown method 'divers'; did you mean 'diverse'\?"):
        load_config(configuration, [*SHORT, "method.name=divers"])
    with pytest.raises(ConfigError, match=r"unknown method 'qqq'; valid: adabn, .*diverse"):
        load_config(configuration, [*SHORT, "method.name=qqq"])


def test_an_entry_point_brings_a_method(
    table: dict[str, type[Method]], configuration: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="unknown method 'diverse'"):
        load_config(configuration, SHORT)
    bring(monkeypatch, EntryPoint("diverse", "tests.outside.methods:Diverse", "clan.methods"))
    assert "diverse" not in table
    assert load_config(configuration, SHORT).method.name == "diverse"
    assert table["diverse"] is Diverse


def test_a_broken_entry_point_is_named_and_stops_nobody_else(
    table: dict[str, type[Method]],
    configuration: Path,
    street: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bring(monkeypatch, EntryPoint("diverse", "no_such_package.methods:Diverse", "clan.methods"))
    with pytest.raises(ConfigError, match=r"no_such_package.*cannot be loaded.*No module named"):
        load_config(configuration, SHORT)
    assert load_config(street / "tan.yaml", SHORT).method.name == "tan"
    # what it announces is listed all the same
    with pytest.raises(ConfigError, match="did you mean 'diverse'"):
        load_config(configuration, [*SHORT, "method.name=divers"])


def test_an_entry_point_and_its_method_have_one_name(
    table: dict[str, type[Method]], configuration: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(monkeypatch, EntryPoint("divers", "tests.outside.methods:Diverse", "clan.methods"))
    with pytest.raises(ConfigError, match=r"'divers' of the package .* another name"):
        load_config(configuration, [*SHORT, "method.name=divers"])


def test_help_loads_no_entry_point() -> None:
    code = (
        "import importlib.metadata as m, sys\n"
        "original = m.entry_points\n"
        "def entry_points(**k):\n"
        "    assert not k['group'].startswith('clan.'), 'looked up'\n"
        "    return original(**k)\n"
        "m.entry_points = entry_points\n"
        "from clan import cli\n"
        "sys.argv = ['clan', '--help']\n"
        "cli.main()\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert found.returncode == 0, found.stderr.decode()


class NoOptions(Method):
    """A method without options."""

    step = SourceOnly.step


class NoName(SourceOnly):
    """A method whose options have no name."""

    class Options(MethodOptions):
        """Nameless."""


class Taken(TAN):
    """A method of another's name."""

    class Options(TAN.Options):
        """Options of a second tan."""

        name: Literal["tan"] = "tan"
        """The method."""


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (NoOptions, "NoOptions cannot be registered: it has no Options"),
        (NoName, "NoName cannot be registered: its Options have no name"),
        (Taken, r"Taken .* 'tan' is taken by clan\.methods\.tan\.TAN"),
        (dict, r"dict.* expected a subclass of clan\.Method"),
    ],
)
def test_what_is_missing_is_said(
    table: dict[str, type[Method]], cls: type[Method], message: str
) -> None:
    before = dict(table)
    with pytest.raises(ConfigError, match=message):
        clan.register_method(cls)
    assert table == before


def test_a_class_defined_anew_replaces_itself(table: dict[str, type[Method]]) -> None:
    clan.register_method(Diverse)
    again = type("Diverse", (Diverse,), {"__module__": Diverse.__module__})
    again.__qualname__ = Diverse.__qualname__
    clan.register_method(again)
    assert table["diverse"] is again
