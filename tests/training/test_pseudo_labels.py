"""Labels that a stage wrote and that are lost before the run goes on."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from PIL import Image

from clan.core.errors import RunError
from clan.methods import Method
from clan.runs.folder import RunFolder
from clan.training.display import Silent
from clan.training.domains import open_domains
from clan.training.loop import Trainer
from clan.training.pseudo_labels import broken_labels
from clan.training.stages import label_path, relabelled
from clan.training.train import train
from tests.conftest import write_values
from tests.systems import Spy, at_step, records, same, tensors, tiny

pytestmark = pytest.mark.usefixtures("one_thread")

# so that the checkpoint of the stage's beginning would be long gone
KEEP = ("training.checkpoint_every=1", "training.keep_checkpoints=1")
STAGES = {"cbst": "round_2", "cda": "curriculum"}
CHANGES = {"cbst": ("method.spatial_prior=true",), "cda": ()}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, "no such file"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-20]), "truncated image"),
    "empty": (lambda path: path.write_bytes(b""), "the file is empty"),
    "a flipped bit": (flip, "checksum"),
    "another size": (
        lambda path: write_values(path, np.zeros((16, 64), np.uint8)),
        "16x64 \\(height x width\\), but its image",
    ),
    "no class": (
        lambda path: write_values(path, np.full((32, 64), 7, np.uint8)),
        "label values outside the map: 7 \\(2,?048 pixels\\)",
    ),
    "no PNG": (lambda path: Image.new("L", (64, 32)).save(path, "JPEG"), "must be a PNG"),
}


@pytest.fixture(scope="module", params=STAGES)
def trained(
    request: pytest.FixtureRequest, street: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, RunFolder]:
    """A method that writes labels, and its training from beginning to end."""
    name = request.param
    if name == "cda":
        pytest.importorskip("skimage", reason="scikit-image is not installed")
    config = tiny(street, name, *KEEP, *CHANGES[name])
    return name, train(config, tmp_path_factory.mktemp(name) / "run", display=Silent())


def stopped(street: Path, name: str, out: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """Return a run that a bug ended in step 6, within its last stage."""
    with monkeypatch.context() as patch:
        patch.setattr(Method, "start_update", Method.start_update)
        at_step(6, lambda: 1 / 0)  # type: ignore[arg-type, return-value]
        with pytest.raises(ZeroDivisionError):
            train(tiny(street, name, *KEEP, *CHANGES[name]), out, display=Silent())
    return RunFolder(out)


def files(run: RunFolder) -> dict[str, bytes]:
    found = (path for path in run.stages.rglob("*") if path.is_file())
    return {str(path.relative_to(run.stages)): path.read_bytes() for path in found}


@pytest.mark.parametrize("damage", DAMAGE)
def test_lost_labels_are_made_anew(
    trained: tuple[str, RunFolder],
    street: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: str,
) -> None:
    name, whole = trained
    run = stopped(street, name, tmp_path / "run", monkeypatch)
    harm, said = DAMAGE[damage]
    labels = run.stages / STAGES[name]
    for image in ("001", "004"):
        harm(label_path(labels, image))
    untouched = label_path(labels, "000").stat().st_mtime_ns
    spy = Spy()
    train(run.config, run.path, resume=True, display=spy)
    assert same(tensors(run), tensors(whole))
    assert records(run) == records(whole)
    assert files(run) == files(whole)
    assert label_path(labels, "000").stat().st_mtime_ns == untouched
    (told,) = [text for text in spy.messages if "making them anew" in text]
    assert f"2 of 6 pseudo-labels of stage {STAGES[name]} cannot be used" in told
    assert re.search(rf"\({label_path(labels, '001')}: .*{said}", told), told
    assert "extract it again" not in told
    assert "labels: map" not in told


def test_the_checkpoint_of_the_stages_beginning_stays_as_long_as_the_stage(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stopped(street, "cbst", tmp_path / "run", monkeypatch)
    kept = sorted(path.name for path in run.checkpoints.iterdir())
    # round 1 began after step 2, round 2 after step 4
    assert kept == ["step_00000004.pt", "step_00000006.pt"]


def test_whole_labels_are_left_alone(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stopped(street, "cbst", tmp_path / "run", monkeypatch)
    spy = Spy()
    train(run.config, run.path, resume=True, display=spy)
    assert not [text for text in spy.messages if "preparing" in text or "making" in text]


@pytest.mark.parametrize("harm", [Path.unlink, flip])
def test_labels_that_cannot_be_made_anew_say_how_to_go_on(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Path], object]
) -> None:
    run = stopped(street, "cbst", tmp_path / "run", monkeypatch)
    label, start = label_path(run.stages / "round_2", "003"), run.checkpoints / "step_00000004.pt"
    kept, content = label.read_bytes(), start.read_bytes()
    label.unlink()
    harm(start)
    with pytest.raises(RunError) as info:
        train(run.config, run.path, resume=True, display=Silent())
    said = str(info.value)
    assert f"1 of 6 pseudo-labels of stage round_2 cannot be used ({label}: no such file)" in said
    assert f"from {start}, but " in said
    assert f"labels in {label.parent}, back from a backup, then: {run.resume_command}" in said
    # either way that it names is one
    start.write_bytes(content) if harm is flip else label.write_bytes(kept)
    train(run.config, run.path, resume=True, display=Silent())
    assert run.finished


def test_a_label_lost_during_the_training_is_made_anew_when_it_goes_on(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    config = tiny(street, "cbst", *KEEP)

    def lose() -> None:
        for path in (out / "stages/round_2/labels").iterdir():
            path.write_bytes(path.read_bytes()[:-20])

    with monkeypatch.context() as patch:
        patch.setattr(Method, "start_update", Method.start_update)
        at_step(4, lose)
        with pytest.raises(RunError) as info:
            train(config, out, display=Silent())
    said = str(info.value)
    assert "round_2/labels/" in said
    assert "truncated image" in said
    assert "extract it again" not in said
    assert f"made anew when it goes on: clan resume {out}" in said
    run = train(config, out, resume=True, display=Silent())
    whole = train(config, tmp_path / "whole", display=Silent())
    assert same(tensors(run), tensors(whole))


def test_an_image_that_is_lost_is_no_lost_label(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its label may be whole: what is said is about the image."""
    run = stopped(street, "cbst", tmp_path / "run", monkeypatch)
    domains = open_domains(run.config.data)
    assert domains.target is not None

    labelled = relabelled(domains.target, run.stages / "round_2")
    fabric = Fabric(accelerator="cpu", devices=1)
    assert broken_labels(labelled, fabric, 0) == ([], "")
    item = labelled.items[2]
    assert item.label is not None
    item.label.unlink()
    assert broken_labels(labelled, fabric, 0) == ([2], f"{item.label}: no such file")
    assert broken_labels(labelled, fabric, 2)[0] == [2]
    lost = item.image.rename(item.image.with_suffix(".gone"))
    try:
        assert broken_labels(labelled, fabric, 0) == ([], "")
    finally:
        lost.rename(item.image)


def _go_on(fabric: Fabric, street: str, out: str) -> None:
    torch.set_num_threads(1)
    run = RunFolder(out)
    Trainer(fabric, run.config, run, open_domains(run.config.data), Silent()).fit()


@pytest.mark.skipif(sys.platform != "linux", reason="forks processes that use torch")
def test_two_processes_make_them_anew_together(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stopped(street, "cbst", tmp_path / "run", monkeypatch)
    before = files(run)
    # of the second process's share
    label_path(run.stages / "round_2", "003").unlink()
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp_fork")
    fabric.launch(_go_on, str(street), str(run.path))
    assert run.finished
    assert files(run) == before
