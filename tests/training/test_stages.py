"""Stages of a training: passes over whole data sets, what they leave, and resuming around them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from PIL import Image

import clan.training.loop
from clan.config.loading import load_config
from clan.core.errors import ConfigError
from clan.data.images import read_label
from clan.data.views import RareCrops, ViewOptions, augment, random_generator
from clan.losses.pseudo_labels import balanced_labels
from clan.methods import METHODS, Method, Progress, Stage
from clan.runs.checkpoint import save_checkpoint
from clan.runs.folder import RunFolder
from clan.training.display import Silent
from clan.training.domains import open_domains
from clan.training.loop import Interrupted
from clan.training.stages import RunDomains, label_path, relabelled
from clan.training.stopping import StopRequest
from clan.training.train import train
from tests.systems import SETTINGS, records, same, tensors, tiny

CBST = METHODS["cbst"]
EACH_STEP = "training.checkpoint_every=1"


pytestmark = pytest.mark.usefixtures("one_thread")


def quiet(street: Path, out: Path, *changes: str, resume: bool = False) -> RunFolder:
    return train(tiny(street, "cbst", *changes), out, resume=resume, display=Silent())


@pytest.fixture(scope="module")
def whole(street: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Two source steps, then rounds of two and three."""
    return quiet(street, tmp_path_factory.mktemp("whole") / "run", EACH_STEP)


def files(run: RunFolder) -> dict[str, bytes]:
    return {
        str(path.relative_to(run.stages)): path.read_bytes()
        for path in run.stages.rglob("*")
        if path.is_file()
    }


def crash(*_: object) -> None:
    raise ZeroDivisionError("a bug")


# --- what a stage leaves ------------------------------------------------------------------------


def test_each_round_keeps_a_label_of_every_target_image(whole: RunFolder, street: Path) -> None:
    names = [f"{number:03}" for number in range(6)]
    expected = {f"round_{r}/labels/{name}.png" for r in (1, 2) for name in names}
    assert set(files(whole)) == expected
    label = read_label(label_path(whole.stages / "round_1", "000"))
    assert label.shape == (32, 64)
    assert set(np.unique(label)) <= {0, 1, 2, 255}
    shares = [
        np.mean([read_label(label_path(whole.stages / f"round_{r}", n)) != 255 for n in names])
        for r in (1, 2)
    ]
    assert 0.15 < shares[0] < shares[1] < 0.5


def test_what_is_trained_on_is_what_was_written(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = ["data.target_view.flip=0", "data.target_view.crop=[16,16]", "data.workers=2"]
    seen, out = [], tmp_path / "run"
    original = CBST.step

    def step(self: Method, source, target, progress):  # type: ignore[no-untyped-def]
        seen.append((progress.step, target))
        return original(self, source, target, progress)

    monkeypatch.setattr(CBST, "step", step)
    run = quiet(street, out, *view)
    assert ["label" in target for _, target in seen] == [False] * 2 + [True] * 5
    for number, target in seen[2:]:
        folder = run.stages / ("round_1" if number < 4 else "round_2")
        for image, label, name in zip(
            target["image"], target["label"], target["name"], strict=True
        ):
            stored = read_label(label_path(folder, name))
            photo = np.asarray(Image.open(street / f"photos/train/{name}.png"))
            # where the crop is found in the photograph, the label is that of the same place
            top, left = find(photo, image.permute(1, 2, 0).numpy())
            assert np.array_equal(stored[top : top + 16, left : left + 16], label.numpy())


def find(photo: np.ndarray, crop: np.ndarray) -> tuple[int, int]:
    height, width = crop.shape[:2]
    for top in range(photo.shape[0] - height + 1):
        for left in range(photo.shape[1] - width + 1):
            if np.array_equal(photo[top : top + height, left : left + width], crop):
                return top, left
    raise AssertionError("the crop is not of this photograph")


def test_labels_are_those_of_the_network_at_the_rounds_start(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: Method, progress: Progress) -> None:
        crash()

    monkeypatch.setattr(Method, "start_update", stop)
    changes = ("method.source_steps=0", "data.evaluation_size=[16,32]")
    with pytest.raises(ZeroDivisionError):
        quiet(street, tmp_path / "run", *changes)
    run = RunFolder(tmp_path / "run")
    trainer = clan.training.loop.Trainer(
        Fabric(accelerator="cpu", devices=1),
        tiny(street, "cbst", *changes),
        run,
        open_domains(tiny(street, "cbst").data),
        Silent(),
    )
    assert (trainer.step, trainer.entered) == (0, 1)
    method = trainer.method
    method.segmenter.eval()
    domains = stage_domains(street, run.stages / "round_1", (16, 32))
    with torch.no_grad():
        for batch in domains.target():
            label = balanced_labels(method.confidence(batch["image"]), method.thresholds)
            stored = read_label(label_path(run.stages / "round_1", batch["name"][0]))
            # written at the photograph's size
            assert np.array_equal(stored[::2, ::2], label[0].numpy())
            assert stored.shape == (32, 64)


def stage_domains(street: Path, folder: Path, size: tuple[int, int] | None = None) -> RunDomains:
    domains = open_domains(tiny(street, "cbst").data)
    return RunDomains(domains, folder, size=size, fabric=Fabric(accelerator="cpu", devices=1))


def test_domains_are_whole_and_the_target_has_no_labels(street: Path, tmp_path: Path) -> None:
    domains = stage_domains(street, tmp_path, (16, 32))
    source, target = list(domains.source()), list(domains.target())
    assert [b["name"] for b in target] == [[f"{n:03}"] for n in range(6)]
    assert domains.target_images == 6
    assert all(b["image"].shape == (1, 3, 16, 32) for b in source + target)
    assert all(b["label"].shape == (1, 32, 64) for b in source)
    assert not any("label" in b for b in target)


def test_relabelled_images_have_the_written_labels(street: Path, tmp_path: Path) -> None:
    domains = stage_domains(street, tmp_path)
    label = torch.randint(0, 3, (32, 64), dtype=torch.uint8)
    label[0] = 255
    domains.write_label("002", label)
    target = open_domains(tiny(street, "cbst").data).target
    assert target is not None
    assert not target.labelled
    data = relabelled(target, tmp_path)
    assert data.labelled
    assert np.array_equal(data.read_label(2), label.numpy())
    with Image.open(label_path(tmp_path, "002")) as picture:
        # to be looked at
        assert picture.mode == "P"


def test_too_few_steps_are_said_when_the_configuration_is_read(street: Path) -> None:
    with pytest.raises(ConfigError, match=r"training.steps 3 leaves 1 for 2 rounds"):
        load_config(street / "cbst.yaml", [*SETTINGS, "training.steps=3"])


@pytest.mark.parametrize("name", METHODS)
def test_stages_add_up(name: str, street: Path) -> None:
    stages = tiny(street, name).method.stages(7)
    assert sum(stage.steps for stage in stages) == 7
    assert len({stage.name for stage in stages}) == len(stages)
    assert all(stage.steps > 0 for stage in stages)


# --- resuming -----------------------------------------------------------------------------------


# in the midst of each stage, and at its first step; with and without a newer checkpoint
@pytest.mark.parametrize(("step", "every"), [(1, 100), (2, 100), (3, 100), (4, 1), (6, 1)])
def test_a_crash_in_any_stage_changes_nothing(
    whole: RunFolder,
    street: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
    every: int,
) -> None:
    original, began = Method.start_update, []

    def start(self: Method, progress: Progress) -> None:
        if progress.step == step:
            crash()
        original(self, progress)

    begin = CBST.begin_stage

    def begin_stage(self: Method, stage: Stage, domains: RunDomains) -> None:
        began.append(stage.name)
        begin(self, stage, domains)

    monkeypatch.setattr(CBST, "begin_stage", begin_stage)
    changes = f"training.checkpoint_every={every}"
    with monkeypatch.context() as patch:
        patch.setattr(Method, "start_update", start)
        with pytest.raises(ZeroDivisionError):
            quiet(street, tmp_path / "run", changes)
    run = quiet(street, tmp_path / "run", changes, resume=True)
    assert same(tensors(run), tensors(whole))
    assert records(run) == records(whole)
    assert files(run) == files(whole)
    # a pass is made once: its result is saved before the steps that follow
    assert began == ["round_1", "round_2"]


@pytest.mark.parametrize("labels", [0, 3])
def test_a_crash_in_a_pass_repeats_it(
    whole: RunFolder,
    street: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    labels: int,
) -> None:
    original, written = RunDomains.write_label, []

    def write(self: RunDomains, name: str, label: torch.Tensor) -> None:
        if len(written) == 6 + labels:
            crash()
        written.append(name)
        original(self, name, label)

    with monkeypatch.context() as patch:
        patch.setattr(RunDomains, "write_label", write)
        with pytest.raises(ZeroDivisionError):
            quiet(street, tmp_path / "run", "training.checkpoint_every=100")
    assert RunFolder(tmp_path / "run").newest_checkpoint().name == "step_00000004.pt"  # type: ignore[union-attr]
    run = quiet(street, tmp_path / "run", "training.checkpoint_every=100", resume=True)
    assert same(tensors(run), tensors(whole))
    assert records(run) == records(whole)
    assert files(run) == files(whole)


def test_a_crash_between_a_pass_and_its_checkpoint_repeats_it(
    whole: RunFolder, street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(path: Path, content: dict[str, object], *rest: Any) -> list[str]:
        if content["entered"] == 3:
            crash()
        return save_checkpoint(path, content, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(clan.training.loop, "save_checkpoint", save)
        with pytest.raises(ZeroDivisionError):
            quiet(street, tmp_path / "run", EACH_STEP)
    run = quiet(street, tmp_path / "run", EACH_STEP, resume=True)
    assert same(tensors(run), tensors(whole))
    assert files(run) == files(whole)


def test_ctrl_c_in_a_pass_stops_it(
    whole: RunFolder, street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = CBST.confidence

    def confidence(self: Method, image: torch.Tensor) -> torch.Tensor:
        requests[-1].asked = True
        return original(self, image)

    requests: list[StopRequest] = []
    enter = StopRequest.__enter__

    def remember(self: StopRequest) -> StopRequest:
        requests.append(self)
        return enter(self)

    with monkeypatch.context() as patch:
        patch.setattr(CBST, "confidence", confidence)
        patch.setattr(StopRequest, "__enter__", remember)
        with pytest.raises(Interrupted, match="stopped after step 2 of 7; the checkpoint is writ"):
            quiet(street, tmp_path / "run")
    run = quiet(street, tmp_path / "run", resume=True)
    assert same(tensors(run), tensors(whole))
    assert files(run) == files(whole)


# --- rare classes -------------------------------------------------------------------------------


def test_crops_are_drawn_towards_rare_classes() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    label = np.zeros((40, 60), np.uint8)
    label[3, 50] = 2
    label[30:34, 5:9] = 1
    view, rare = ViewOptions(crop=(9, 9), flip=0), RareCrops((1, 2), 1.0)
    seen = set()
    for step in range(40):
        _, cut = augment(image, label, view, random_generator(0, step, 0, 0), rare=rare)
        assert cut is not None
        assert cut.shape == (9, 9)
        seen |= set(np.unique(cut)) - {0}
        assert (cut != 0).any()
        # in the middle, where the image's border does not forbid it
        assert cut[4, 4] == 1 or cut[3, 4] == 2
    assert seen == {1, 2}


@pytest.mark.parametrize(
    ("rare", "labelled"),
    [(RareCrops((1,), 0.0), True), (RareCrops((3,), 1.0), True), (RareCrops((1,), 1.0), False)],
)
def test_without_chance_class_or_label_a_crop_is_as_ever(rare: RareCrops, labelled: bool) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (20, 30, 3)).astype(np.uint8)
    label = rng.integers(0, 3, (20, 30)).astype(np.uint8) if labelled else None
    view = ViewOptions(crop=(8, 8), jitter=0.3)
    for step in range(5):
        plain = augment(image, label, view, random_generator(0, step, 0, 0))
        other = augment(image, label, view, random_generator(0, step, 0, 0), rare=rare)
        assert np.array_equal(plain[0], other[0])
        assert plain[1] is None or np.array_equal(plain[1], other[1])
