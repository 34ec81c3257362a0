"""The speed benchmark: what it takes for the published code, how it takes turns, what it writes."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import pytest
import torch
from lightning.fabric import Fabric

from benchmarks.speed import __main__ as program
from benchmarks.speed.builders import batches_of, images_of
from benchmarks.speed.published import Published
from benchmarks.speed.rounds import Case, measure
from benchmarks.speed.table import Line
from clan.config.loading import load_config
from clan.data.classes import CITYSCAPES
from clan.methods import METHODS, Progress
from clan.models.segmenter import Segmenter
from tests.benchmarks.turns import fail, log_word


def test_what_is_timed_as_published_is_the_preset_reference() -> None:
    """One update of either leaves the same networks, as far as float32 tells."""
    config = load_config(
        "gta5-cityscapes/reference/resnet101/clan",
        ["model.width=4", "method.discriminator_width=4"],
    )
    torch.manual_seed(0)
    method = METHODS["clan"](Segmenter(config.model, CITYSCAPES), config.method, config.optim)
    started = {name: p.detach().clone() for name, p in method.named_parameters()}
    plain = copy.deepcopy(method)
    players = Published(plain.segmenter.encoder, plain.segmenter.classifiers, plain.discriminator)
    method.setup(Fabric(accelerator="cpu", devices=1))
    images = images_of((64, 96), 1, torch.device("cpu"))
    method.step(*batches_of(images), Progress(50_000, 100_000))
    players.update(images)
    theirs = dict(plain.named_parameters())
    moved = 0
    for name, found in method.named_parameters():
        change, wanted = found - started[name], theirs[name] - started[name]
        moved += bool(wanted.any())
        assert (change - wanted).norm() <= 2e-3 * wanted.norm(), name
    assert moved > 100


def test_cases_take_turns_in_processes_of_their_own(tmp_path: Path) -> None:
    log = tmp_path / "log"
    cases = [Case(word, log_word, (str(log), word)) for word in "ab"]
    found = measure(cases, rounds=3)
    assert log.read_text() == "ab" + "ababab"
    assert len({result.fact("pid") for result in found.values()} | {os.getpid()}) == 3
    assert all(result.processor >= 0.01 for result in found.values())
    assert all(2**22 < result.peak < 2**32 for result in found.values())


def test_a_case_that_fails_is_named() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)broken failed:.*ValueError: no such thing"):
        measure([Case("broken", fail)], rounds=1)


def test_goals_are_judged() -> None:
    assert Line("x", "1 s", "1 s", 1.2, 1.2).goal == "<= 1.2: met"
    assert Line("x", "1 s", "1 s", 1.3, 1.2).goal == "<= 1.2: not met"


def test_single_rows_are_measured_and_written(tmp_path: Path) -> None:
    page = tmp_path / "speed.md"
    arguments = ["--quick", "--rounds", "1", "--page", str(page)]
    program.main(["--only", "listing", "reading", *arguments])
    text = page.read_text()
    assert "| folders of 500 pairs |" in text
    assert "| a zip of 500 files |" in text
    assert "from a cache in a folder" in text
    assert "Machine: " in text
    assert "## Start" not in text


def test_the_rows_that_load_and_predict_are_measured(tmp_path: Path) -> None:
    page = tmp_path / "speed.md"
    program.main(["--only", "predict", "start", "--quick", "--rounds", "1", "--page", str(page)])
    text = page.read_text()
    for item in ("`clan predict`, by the clock", "`clan predict`, processor"):
        assert f"| {item} | " in text
    for item in ("`clan.load` and the first answer", "`import clan`", "`clan --help`"):
        assert f"| {item} | " in text
