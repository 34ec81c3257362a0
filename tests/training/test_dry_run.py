"""A dry run builds the real thing, without data, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from rich.console import Console

from clan import cli
from clan.config.loading import load_config
from clan.core.errors import ConfigError, RunError
from clan.methods import METHODS, Method, Progress
from clan.methods.clan import CLAN
from clan.training.dry_run import Cost, dry_run, print_dry_run

REFERENCE = "gta5-cityscapes/reference/resnet101/clan"
SMALL = (
    "model.width=4",
    "method.discriminator_width=4",
    "training.accelerator=cpu",
    "data.source_view.size=[36,64]",
    "data.target_view.size=[32,64]",
)


TOWN = ("model.width=4", "data.source_view.crop=[32,64]", "training.accelerator=cpu")


def test_it_builds_what_the_configuration_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_config(REFERENCE, SMALL)
    result = dry_run(config)
    encoder = [
        (g.name, g.tensors, g.step_repeats) for g in result.groups if g.player == "segmenter"
    ]
    assert encoder == [
        ("encoder", 1, 1),
        ("encoder", 99, 3),
        ("encoder", 4, 4),
        ("classifiers", 16, 1),
    ]
    assert [g.rate for g in result.groups] == [2.5e-4, 2.5e-4, 2.5e-4, 2.5e-3, 1e-4]
    # the largest of the three sizes of an image
    assert result.shapes == {"source": (1, 39, 70), "target": (1, 35, 70)}
    learning, total = result.parameters["segmenter"]
    assert learning < total
    assert learning == sum(g.parameters for g in result.groups if g.player == "segmenter")
    assert result.hours == pytest.approx(result.seconds * 100_000 / 3600)
    assert result.peak_bytes > 2**20
    assert list(tmp_path.iterdir()) == []


def test_three_updates_are_done(monkeypatch):
    seen = []
    original = Method.start_update

    def watch(self: Method, progress: Progress) -> None:
        seen.append(progress)
        original(self, progress)

    monkeypatch.setattr(Method, "start_update", watch)
    dry_run(load_config("gta5-cityscapes/reference/resnet101/tan", SMALL))
    assert [(p.step, p.steps) for p in seen] == [(0, 250_000), (1, 250_000), (2, 250_000)]


@pytest.mark.parametrize(
    ("system", "stages"),
    [
        ("cbst", {"source": 0, "round_1": 200}),
        ("cda", {"source": 0, "curriculum": 200}),
        ("clan_st", {"clan": 0, "round_1": 100}),
    ],
)
def test_each_kind_of_stage_is_prepared_and_tried(system, stages, monkeypatch):
    """Updates of a round that learns from the target are what such a training costs most."""
    seen = []
    method = METHODS[system]
    original = method.step

    def watch(self, source, target, progress):
        scalars = original(self, source, target, progress)
        seen.append((progress.step, "label" in target, scalars))
        return scalars

    monkeypatch.setattr(method, "step", watch)
    whole = ["data.target_view.size=[32,64]", "data.target_view.crop=null"]
    whole += ["data.evaluation_size=[32,64]"]
    result = dry_run(load_config(f"town/{system}", [*TOWN, *whole]), updates=2)
    starts = [start + index for start in stages.values() for index in range(2)]
    assert [step for step, _, _ in seen] == starts
    own_labels = system in ("cbst", "cda")
    assert [labelled for _, labelled, _ in seen] == [False, False, own_labels, own_labels]
    assert all(value.isfinite() for _, _, scalars in seen for value in scalars.values())
    assert list(result.stages) == list(stages)
    assert result.seconds in result.stages.values()
    first, later = result.stages.values()
    steps = stages["round_1"] if system == "clan_st" else 200
    assert result.hours == pytest.approx((steps * first + (400 - steps) * later) / 3600)


def test_the_dearest_stage_is_told_by_the_processors_own_time(monkeypatch):
    """On a CPU that others use too: the first stage had to wait, the second had more to do."""
    costs = {"source": Cost(9.0, 1.0), "round_1": Cost(3.0, 2.0)}
    monkeypatch.setattr("clan.training.dry_run._try_stages", lambda *_: (costs, 1.0))
    result = dry_run(load_config("town/cbst", [*TOWN, "data.target_view.crop=[32,64]"]))
    assert (result.seconds, result.processor_seconds) == (3.0, 2.0)


def test_one_update_alone_counts():
    result = dry_run(load_config("town/source_only", TOWN), updates=1)
    assert result.seconds > 0
    assert result.stages == {"training": result.seconds}


def test_it_prints_what_matters(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["clan", "train", "town/source_only", "--dry-run", *TOWN])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    printed = capsys.readouterr().out
    for word in ("parameters: segmenter", "encoder", "0.002", "peak memory", "hours", "19 classes"):
        assert word in printed
    assert list(tmp_path.iterdir()) == []


def test_classes_come_from_the_description_alone():
    config = load_config("synthia-cityscapes/paper/resnet101/source_only", SMALL[:1])
    view = config.data.source_view.model_copy(update={"crop": (32, 64)})
    data = config.data.model_copy(update={"source_view": view})
    training = config.training.model_copy(update={"accelerator": "cpu"})
    result = dry_run(config.model_copy(update={"data": data, "training": training}))
    assert result.classes == 16
    assert list(result.shapes) == ["source"]


def test_what_only_data_can_tell_is_asked_for():
    with pytest.raises(ConfigError, match=r"data\.source_view has neither a crop nor a size"):
        dry_run(load_config("town/clan", ["data.source_view.crop=null"]))
    with pytest.raises(ConfigError, match="is a folder, which does not tell its classes"):
        dry_run(load_config("town/clan", ["data.source=photos"]))


def test_too_little_memory_says_what_is_smaller(monkeypatch):
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(CLAN, "step", full)
    with pytest.raises(RunError, match=r"not enough memory .*optim\.accumulate"):
        dry_run(load_config("town/clan", ["training.accelerator=cpu"]))


def test_the_printed_table_fits_a_terminal(tmp_path: Path):
    config = load_config(REFERENCE, SMALL)
    with (tmp_path / "out").open("w") as file:
        console = Console(width=80, file=file)
        print_dry_run(dry_run(config), config, console)
    lines = [line.split() for line in (tmp_path / "out").read_text().splitlines()]
    assert ["discriminator", "adam", "discriminator", "10", "12,541", "0.0001", "1"] in lines
