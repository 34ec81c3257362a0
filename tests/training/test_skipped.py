"""``data.on_error``: what cannot be read stops a training, or another image takes its place."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric

import clan
from clan.core.errors import DataError, RunError
from clan.data.datasets import Dataset, open_dataset
from clan.data.loading import Batch, training_loader
from clan.data.sampling import ClassDraw
from clan.data.views import ViewOptions
from clan.methods import Method
from clan.runs.folder import RunFolder
from clan.training.display import Silent
from clan.training.domains import open_domains
from clan.training.loop import Trainer
from clan.training.train import train
from tests.systems import Spy, at_step, records, same, tensors, tiny

pytestmark = pytest.mark.usefixtures("one_thread")

SKIP = "data.on_error=skip"


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-20])
    return path


@pytest.fixture
def broken(street: Path, tmp_path: Path) -> Path:
    """The street with a broken label in the source and a broken image in the target."""
    root = tmp_path / "street"
    shutil.copytree(street, root)
    cut(root / "game/labels/train/002.png")
    cut(root / "photos/train/004.png")
    return root


def listed(run: RunFolder) -> list[dict[str, str]]:
    text = (run.path / "skipped.jsonl").read_text()
    return sorted((json.loads(line) for line in text.splitlines()), key=lambda e: e["domain"])


def source(root: Path) -> Dataset:
    return open_dataset(str(root / "game/game.yaml"))


def batches(dataset: Dataset, **options: object) -> list[Batch]:
    given = {"seed": 3, "stream": 0, "batch_size": 4, "start_step": 0, "stop_step": 6}
    loader = training_loader(dataset, ViewOptions(), **given | options)  # type: ignore[arg-type]
    return list(loader)


def alike(a: list[Batch], b: list[Batch]) -> bool:
    return len(a) == len(b) and all(
        x["name"] == y["name"]
        and x.get("skipped") == y.get("skipped")
        and torch.equal(x["image"], y["image"])
        and torch.equal(x["label"], y["label"])
        for x, y in zip(a, b, strict=True)
    )


def test_a_replacement_is_a_function_of_its_place(broken: Path) -> None:
    dataset = source(broken)
    found = batches(dataset, on_error="skip")
    assert alike(batches(dataset, on_error="skip", workers=2), found)
    assert alike(batches(dataset, on_error="skip", start_step=2), found[2:])
    halves = [batches(dataset, on_error="skip", rank=r, world_size=2) for r in (0, 1)]
    for whole, first, second in zip(found, *halves, strict=True):
        assert first["name"] + second["name"] == whole["name"]
    # six steps of four are four epochs of six images: the broken one stands in four slots
    said = [entry for batch in found for entry in batch.get("skipped", [])]
    assert len(said) >= 4
    assert {name for name, _ in said} == {"002"}
    assert all("labels/train/002.png: truncated image" in reason for _, reason in said)
    assert not any("002" in batch["name"] for batch in found)
    # nothing else has changed
    cured = broken.parent / "cured"
    shutil.copytree(broken, cured)
    shutil.copy(cured / "game/labels/train/003.png", cured / "game/labels/train/002.png")
    instead = set()
    for batch, other in zip(found, batches(source(cured)), strict=True):
        for slot, name in enumerate(other["name"]):
            if name == "002":
                instead.add(batch["name"][slot])
            else:
                assert batch["name"][slot] == name
                assert torch.equal(batch["image"][slot], other["image"][slot])
    # drawn anew in each slot
    assert len(instead) > 1
    with pytest.raises(DataError, match=r"002\.png: truncated image"):
        batches(dataset)


def test_an_image_drawn_by_class_is_replaced_by_one_that_shows_the_class(broken: Path) -> None:
    dataset = source(broken)
    holders = tuple(np.array(images) for images in ([1, 2], [2, 3], [2, 5]))
    draw = ClassDraw(np.full(3, 1 / 3), holders)
    other = {0: "001", 1: "003", 2: "005"}
    for step, batch in enumerate(batches(dataset, on_error="skip", by_class=draw)):
        for slot, name in enumerate(batch["name"]):
            shown, _ = draw(3, step, slot, 0)
            assert name == other[shown]
    alone = ClassDraw(np.array([1.0, 0, 0]), (np.array([2]), np.array([]), np.array([])))
    names = {
        n for batch in batches(dataset, on_error="skip", by_class=alone) for n in batch["name"]
    }
    assert names <= {"000", "001", "003", "004", "005"}


def test_a_domain_without_any_image_ends(broken: Path) -> None:
    for path in (broken / "game/train").iterdir():
        cut(path)
    with pytest.raises(DataError, match="truncated image"):
        batches(source(broken), on_error="skip")


# a method without passes, and those whose passes read every image or every label
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("clan", ("data.cache=memory",)),
        ("cbst", ("method.spatial_prior=true",)),
        ("dacs", ("method.loss.class_weights=balanced",)),
        ("clan_st", ()),
    ],
)
def test_a_training_goes_on_without_what_is_broken(
    broken: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    changes: tuple[str, ...],
) -> None:
    """Bit-identical after a crash, each file told once and listed."""
    config = tiny(broken, name, SKIP, "training.checkpoint_every=1", *changes)
    spy = Spy()
    whole = train(config, tmp_path / "whole", display=spy)
    said = [text for text in spy.messages if "is skipped" in text]
    assert len(said) == 2
    assert [entry["domain"] for entry in listed(whole)] == ["source", "target"]
    assert [entry["name"] for entry in listed(whole)] == ["002", "004"]
    assert "game/labels/train/002.png: truncated image" in listed(whole)[0]["reason"]
    assert "photos/train/004.png: truncated image" in listed(whole)[1]["reason"]
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Method, "start_update", Method.start_update)
        at_step(5, lambda: 1 / 0)  # type: ignore[arg-type, return-value]
        with pytest.raises(ZeroDivisionError):
            train(config, out, display=Silent())
    again = Spy()
    run = train(config, out, resume=True, display=again)
    assert same(tensors(run), tensors(whole))
    assert records(run) == records(whole)
    assert listed(run) == listed(whole)
    # told before the crash
    assert not [text for text in again.messages if "is skipped" in text]


def test_a_run_that_stopped_goes_on_with_skip(broken: Path, tmp_path: Path) -> None:
    config = tiny(broken, "clan", "training.checkpoint_every=1", "training.steps=9")
    with pytest.raises(DataError, match=r"00[24]\.png: truncated image"):
        train(config, tmp_path / "run", display=Silent())
    resumed = clan.resume(tmp_path / "run", [SKIP], display=Silent())
    whole = train(tiny(broken, "clan", SKIP, "training.steps=9"), tmp_path / "w", display=Silent())
    assert same(tensors(resumed), tensors(whole))


def test_too_many_end_the_training(broken: Path, tmp_path: Path) -> None:
    cut(broken / "game/train/003.png")
    with pytest.raises(RunError) as info:
        train(tiny(broken, "clan", SKIP), tmp_path / "run", display=Silent())
    said = str(info.value)
    assert "2 of 6 images of the source cannot be read, and data.on_error=skip allows 1" in said
    assert f"{tmp_path / 'run/skipped.jsonl'} lists them" in said
    names = [e["name"] for e in listed(RunFolder(tmp_path / "run")) if e["domain"] == "source"]
    assert sorted(names) == ["002", "003"]
    # nor does it go on with as many
    with pytest.raises(RunError, match=r"2 of 6 images of the source cannot be read"):
        train(tiny(broken, "clan", SKIP), tmp_path / "run", resume=True, display=Silent())


def test_the_list_is_checked_when_a_run_goes_on(broken: Path, tmp_path: Path) -> None:
    config = tiny(broken, "clan", SKIP)
    run = train(config, tmp_path / "run", display=Silent())
    run.model_file.unlink()
    (run.path / "skipped.jsonl").write_text('{"domain": 3}\n')
    with pytest.raises(RunError, match=r"skipped.jsonl, line 1 is no line of skipped images"):
        train(config, run.path, resume=True, display=Silent())


def test_the_first_image_may_be_broken(street: Path, tmp_path: Path) -> None:
    root = tmp_path / "street"
    shutil.copytree(street, root)
    (root / "photos/train/000.png").write_bytes(b"none")
    run = train(tiny(root, "clan", SKIP), tmp_path / "run", display=Silent())
    assert [entry["name"] for entry in listed(run)] == ["000"]


def _train(fabric: Fabric, root: str, out: str) -> None:
    torch.set_num_threads(1)
    config = tiny(Path(root), "tan", SKIP, "method.batch_norm=frozen")
    if fabric.is_global_zero:
        RunFolder.create(out, config)
    fabric.barrier()
    Trainer(fabric, config, RunFolder(out), open_domains(config.data), Silent()).fit()


@pytest.mark.skipif(sys.platform != "linux", reason="forks processes that use torch")
def test_two_processes_list_what_either_met(broken: Path, tmp_path: Path) -> None:
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp_fork")
    fabric.launch(_train, str(broken), str(tmp_path / "two"))
    alone = Fabric(accelerator="cpu", devices=1)
    _train(alone, str(broken), str(tmp_path / "one"))
    two, one = RunFolder(tmp_path / "two"), RunFolder(tmp_path / "one")
    assert listed(two) == listed(one)
    for name, value in tensors(one).items():
        torch.testing.assert_close(tensors(two)[name], value, rtol=1e-4, atol=1e-5, msg=name)
