"""A run whose evaluation size is a short side: portraits and landscapes keep their shapes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import clan
from clan.comparison.compare import compare
from clan.core.errors import ConfigError
from clan.data.images import read_image
from clan.models.segmenter import Segmenter
from clan.reporting.panels import inspect
from clan.runs.folder import RunFolder
from clan.scoring.evaluation_file import read_evaluation
from clan.scoring.protocol import Protocol
from clan.training.dry_run import dry_run
from clan.training.train import train
from clan.weights.model_files import read_about
from tests.systems import tiny, write_street


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run on photographs of which every second one is a portrait."""
    street = write_street(tmp_path_factory.mktemp("street"))
    for kind in ("train", "labels/train", "val", "labels/val"):
        for number, path in enumerate(sorted((street / "photos" / kind).glob("*.png"))):
            if number % 2:
                Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path)
    sizes = ["data.evaluation_size=24", "data.batch_size=1", "data.target_view.size=40"]
    return train(tiny(street, "cbst", *sizes), street / "run")


def test_the_model_knows_the_short_side(run: RunFolder, tmp_path: Path) -> None:
    about = read_about(run.model_file)
    assert about is not None
    assert about["evaluation_size"] == 24
    shutil.copy(run.model_file, tmp_path / "model.safetensors")
    assert clan.load(tmp_path / "model.safetensors").segmenter.evaluation_size == 24


def test_pseudo_labels_have_the_shapes_of_their_images(run: RunFolder) -> None:
    stages = list((run.path / "stages").glob("*/labels/*.png"))
    assert {Image.open(path).size for path in stages} == {(64, 32), (32, 64)}


def test_prediction_and_scoring_see_the_same(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []
    forward = Segmenter.forward

    def spy(self: Segmenter, image: torch.Tensor, *rest: object) -> tuple[torch.Tensor, ...]:
        seen.append(tuple(image.shape[2:]))
        return forward(self, image, *rest)

    monkeypatch.setattr(Segmenter, "forward", spy)
    predictor = clan.load(run.path)
    portrait = read_image(_photo(run, "train/001.png"))
    label = predictor.predict(portrait)
    assert label.shape == portrait.shape[:2] == (64, 32)
    assert seen == [(48, 24)]
    shown, _ = inspect(predictor, portrait)
    assert np.array_equal(shown, label)
    seen.clear()
    found = clan.evaluate(run.path)
    assert set(seen) == {(48, 24), (24, 48)}
    assert np.array_equal(found.scores.confusion, read_evaluation(run.path).scores.confusion)
    twice = clan.evaluate(run.path, protocol=Protocol(scales=(0.5, 1.0), flip=True))
    assert twice.scores.images == 3
    assert twice.protocol.size == 24


def test_a_fixed_size_stretches_portraits(run: RunFolder) -> None:
    kept = clan.evaluate(run.path).scores.confusion
    fixed = clan.evaluate(run.path, protocol=Protocol(size=(24, 48))).scores.confusion
    assert not np.array_equal(kept, fixed)


def test_scores_say_the_short_side_and_others_are_refused(run: RunFolder, tmp_path: Path) -> None:
    assert read_evaluation(run.path).size == 24
    assert "input short side 24" in compare([run.path]).title
    clan.evaluate(run.path, protocol=Protocol(size=(24, 48)), out=tmp_path / "evaluation.json")
    with pytest.raises(Exception, match=r"short side 24.*24x48"):
        compare([run.path, tmp_path / "evaluation.json"])


def test_a_dry_run_needs_a_crop(run: RunFolder) -> None:
    config = run.config
    with pytest.raises(ConfigError, match="neither a crop nor a size"):
        dry_run(config)
    view = config.data.target_view.model_copy(update={"crop": (32, 32)})
    data = config.data.model_copy(update={"source_view": view, "target_view": view})
    result = dry_run(config.model_copy(update={"data": data}))
    assert result.shapes["target"] == (1, 32, 32)


def _photo(run: RunFolder, name: str) -> Path:
    target = run.config.data.target
    assert target is not None
    return Path(target.dataset).parent / name
