"""Encoders, decoders, losses and sinks of other packages are found by entry points."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from clan.config.loading import load_config
from clan.core.errors import ConfigError
from clan.core.plugins import Plugins
from clan.losses.segmentation import LOSSES
from clan.models.decoders.table import DECODERS
from clan.models.encoders.table import ENCODERS
from clan.runs.folder import RunFolder
from clan.runs.sinks import table as sinks
from clan.training.display import Silent
from clan.training.train import train
from tests.systems import SETTINGS, records

POINTS = (
    EntryPoint("pyramid", "tests.models.outside:ENCODER", "clan.encoders"),
    EntryPoint("sum", "tests.models.outside:DECODER", "clan.decoders"),
    EntryPoint("smoothed", "tests.outside.parts:Smoothed", "clan.losses"),
    EntryPoint("lines", "tests.outside.parts:Lines", "clan.sinks"),
)
SHORT = (*SETTINGS, "training.steps=2", "training.log_every=1")
# everything that the four entry points provide, in one training
CHANGES = (
    *("model.encoder=pyramid", "model.decoder=sum", "model.aspp_rates=[6,12,18,24]"),
    "method.loss.name=smoothed",
    *("method.loss.smoothing=0.3", "training.sinks=[lines]"),
)
NAMES = {
    "encoder": ("clan.encoders", "model.encoder=broken"),
    "decoder": ("clan.decoders", "model.decoder=broken"),
    "loss": ("clan.losses", "method.loss.name=broken"),
    "sink": ("clan.sinks", "training.sinks=[broken]"),
}


@pytest.fixture(autouse=True)
def tables() -> Iterator[None]:
    """The tables are as before after each test."""
    kept: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (each, dict(each)) for each in (ENCODERS, DECODERS, LOSSES, sinks._REGISTERED)
    ]
    yield
    for table, before in kept:
        table.clear()
        table.update(before)


def install(monkeypatch: pytest.MonkeyPatch, *points: EntryPoint) -> None:
    """Let installed packages seem to have these entry points."""
    monkeypatch.setattr("clan.core.plugins.entry_points", EntryPoints(points).select)


def begin(street: Path, out: Path, *changes: str) -> RunFolder:
    """Read a configuration and train; sinks are checked when the training begins."""
    config = load_config(street / "source_only.yaml", [*SHORT, *changes])
    return train(config, out, display=Silent())


def test_all_four_train_by_their_names_alone(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="unknown encoder 'pyramid'"):
        begin(street, tmp_path / "run", *CHANGES)
    install(monkeypatch, *POINTS)
    run = begin(street, tmp_path / "run", *CHANGES)
    assert "loss_seg" in (run.path / "names.txt").read_text()
    plain = begin(street, tmp_path / "plain", *CHANGES, "method.loss.smoothing=0.0")
    first, other = records(run)[0], records(plain)[0]
    assert first["loss_seg"] != other["loss_seg"], "the loss's own option is read"


@pytest.mark.parametrize("kind", NAMES)
def test_a_broken_package_is_named_where_it_is_used_and_nowhere_else(
    kind: str, street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group, change = NAMES[kind]
    install(monkeypatch, EntryPoint("broken", "no_such_package.parts:THING", group))
    message = rf"{kind} 'broken' of the package no_such_package.*No module named"
    with pytest.raises(ConfigError, match=message):
        begin(street, tmp_path / "run", change)
    assert not (tmp_path / "run").exists()
    assert begin(street, tmp_path / "other").finished


@pytest.mark.parametrize("kind", NAMES)
def test_names_of_entry_points_are_listed_without_an_import(
    kind: str, street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group, change = NAMES[kind]
    install(monkeypatch, EntryPoint("brokenly", "no_such_package.parts:THING", group))
    with pytest.raises(ConfigError, match="did you mean 'brokenly'"):
        begin(street, tmp_path / "run", change)


def test_an_object_that_is_none_of_its_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, EntryPoint("mine", "tests.outside.parts:Lines", "clan.things"))
    table: dict[str, object] = {}

    def register(name: str, thing: object) -> None:
        raise ConfigError(f"{thing!r} is no thing")

    with pytest.raises(ConfigError, match=r"thing 'mine' of the package .*Lines.* is no thing"):
        Plugins("clan.things", "thing", table, register).load("mine")
    with pytest.raises(ConfigError, match="registers another name"):
        Plugins("clan.things", "thing", table, lambda name, thing: None).load("mine")


def test_two_packages_with_one_name_are_both_named(monkeypatch: pytest.MonkeyPatch) -> None:
    install(
        monkeypatch,
        EntryPoint("mine", "first.parts:A", "clan.things"),
        EntryPoint("mine", "second.parts:B", "clan.things"),
    )
    plugins = Plugins("clan.things", "thing", {}, lambda name, thing: None)
    assert plugins.names() == ["mine"]
    with pytest.raises(ConfigError, match=r"'mine' is provided by first\.parts and second\.parts"):
        plugins.load("mine")


def test_a_name_of_the_table_is_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def entry_points(**_: str) -> EntryPoints:
        raise AssertionError("looked up")

    monkeypatch.setattr("clan.core.plugins.entry_points", entry_points)
    Plugins("clan.things", "thing", {"mine": 1}, lambda name, thing: None).load("mine")
