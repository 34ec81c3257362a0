"""What is refused before a run's folder is made, and what stops a training before an update."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

import clan
from clan.core.errors import ConfigError, DataError, RunError
from clan.methods import Method, Progress
from clan.runs.checkpoint import load_checkpoint
from clan.runs.folder import RunFolder
from clan.training.display import Silent
from clan.training.train import train
from tests.systems import tiny

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        (["data.target_view.crop=[16, 64]"], "data.target_view makes some of 16"),
        (
            ["data.source_view.size=[40, 64]", "data.source_view.scale=[0.5, 2]"],
            "data.source_view makes some of 20",
        ),
        (["data.source_view.size=31"], "data.source_view makes some of 31"),
    ],
)
def test_views_too_small_for_the_discriminator(
    street: Path, changes: list[str], found: str
) -> None:
    with pytest.raises(ConfigError, match=rf"method clan .* needs 32x32 pixels, and {found}"):
        tiny(street, "clan", *changes)
    # only a discriminator of predictions asks for so much
    tiny(street, "source_only", *changes)


def test_images_too_small_for_the_discriminator_leave_no_folder(
    street: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    Image.new("RGB", (64, 24)).save(small / "a.png")
    config = tiny(street, "tan", f"data.target={small}")
    with pytest.raises(DataError, match=r"a\.png: method tan needs images of at least 32x32"):
        train(config, tmp_path / "run", display=Silent())
    assert not (tmp_path / "run").exists()


def test_a_resume_is_refused_alike(street: Path, tmp_path: Path) -> None:
    run = train(tiny(street, "tan", "training.steps=1"), tmp_path / "run", display=Silent())
    run.model_file.unlink()
    with pytest.raises(ConfigError, match=r"needs 32x32 pixels"):
        clan.resume(run.path, ["data.target_view.crop=[16, 64]"])


def test_a_broken_loss_stops_before_the_update(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, loss, at = Method.start_update, Method.segmentation_loss, [0]

    def begin(self: Method, progress: Progress) -> None:
        at[0] = progress.step
        start(self, progress)

    def broken(self: Method, *given: object) -> object:
        found = loss(self, *given)  # type: ignore[arg-type]
        return found * float("nan") if at[0] == 4 else found

    monkeypatch.setattr(Method, "start_update", begin)
    monkeypatch.setattr(Method, "segmentation_loss", broken)
    out = tmp_path / "run"
    with pytest.raises(RunError) as info:
        train(tiny(street, "clan", "training.log_every=100"), out, display=Silent())
    said = str(info.value)
    assert "the gradient of the segmenter is NaN or infinite (of its terms, loss_seg nan" in said
    assert "in step 5, before its update, on the images source 0" in said
    assert "; target 0" in said
    last = RunFolder(out).checkpoints / "step_00000004.pt"
    assert str(last) in said
    assert load_checkpoint(last)["step"] == 4
    # the cause gone, the run goes on from there
    monkeypatch.undo()
    resumed = clan.resume(out, display=Silent())
    assert json.loads(resumed.evaluation_file.read_text())["step"] == 7


@pytest.mark.parametrize("method", ["source_only", "daformer"])
@pytest.mark.parametrize("side", [1, 8])
def test_a_single_value_for_batch_norm_leaves_no_folder(
    street: Path, tmp_path: Path, method: str, side: int
) -> None:
    changes = [f"data.{domain}_view.crop=[{side}, {side}]" for domain in ("source", "target")]
    config = tiny(street, method, *changes, "data.batch_size=1", "method.batch_norm=source")
    with pytest.raises(ConfigError, match=rf"makes images of {side}x{side}.*one value per channel"):
        train(config, tmp_path / "run", display=Silent())
    assert not (tmp_path / "run" / "config.yaml").exists()


@pytest.mark.parametrize(
    "change",
    ["method.batch_norm=frozen", "data.batch_size=2", "data.source_view.crop=[8, 64]"],
)
def test_what_the_refusal_of_single_values_proposes_trains(
    street: Path, tmp_path: Path, change: str
) -> None:
    base = ["data.source_view.crop=[8, 8]", "data.batch_size=1", "method.batch_norm=source"]
    config = tiny(street, "source_only", *base, "training.steps=1", change)
    assert train(config, tmp_path / "run", display=Silent()).model_file.is_file()
