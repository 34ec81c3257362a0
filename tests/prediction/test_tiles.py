"""Windows cover a picture, their weights sum to 1, and labels do not depend on them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from clan.core.errors import ConfigError
from clan.data.images import read_label
from clan.models.segmenter import ModelOptions, Segmenter
from clan.prediction.files import predict_files
from clan.prediction.predictor import Predictor
from clan.prediction.tiles import _ramp, check_tile, tiled_labels, windows
from tests.prediction.test_predictor import TRIO, Painter, scene

LENGTHS = (1, 90, 127, 128, 129, 160, 223, 224, 225, 256, 700, 1001)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("tile", [128, 192, 256])
def test_weights_sum_to_one_at_every_pixel(length: int, tile: int) -> None:
    total = torch.zeros(length)
    found = windows(length, tile)
    for window in found:
        assert window.read % 32 == 0
        assert window.start % 32 == 0
        assert window.read <= window.start <= window.fresh <= window.done <= window.stop
        assert window.stop - window.read >= min(length, tile)
        assert window.stop - window.read < tile + 32
        total[window.start : window.stop] += _ramp(window)
    assert torch.allclose(total, torch.ones(length))
    assert found[0].start == 0
    assert found[-1].stop == length
    for before, after in pairwise(found):
        assert (before.done, before.stop) == (after.start, after.fresh)


def by_colour(part: np.ndarray) -> Tensor:
    """Return logits that depend on each pixel alone, as a network of receptive field 1 would."""
    image = torch.from_numpy(part.copy()).permute(2, 0, 1)[None].float()
    return torch.cat([image, 255 - image[:, :2]], dim=1) / 20


@pytest.mark.parametrize("size", [(300, 430), (129, 500), (100, 90)])
def test_a_network_that_sees_single_pixels_has_the_same_labels(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    whole = by_colour(image)[0].argmax(0).numpy()
    done: list[tuple[int, int]] = []
    found = tiled_labels(by_colour, image, 128, lambda *now: done.append(now))
    assert np.array_equal(found, whole)
    total = len(windows(size[0], 128)) * len(windows(size[1], 128))
    assert done == [(number, total) for number in range(1, total + 1)]


def test_a_network_agrees_with_itself_away_from_borders() -> None:
    torch.manual_seed(0)
    options = ModelOptions(
        encoder="resnet18", width=8, output_stride=8, aspp_rates=(1, 2), align_corners=False
    )
    segmenter = Segmenter(options, TRIO, None).eval()
    coarse = np.random.default_rng(0).integers(0, 256, (16, 20, 3), np.uint8)
    image = np.asarray(Image.fromarray(coarse).resize((640, 512), Image.Resampling.BICUBIC))
    model = Predictor(segmenter, "cpu")
    whole = model.predict(image).labels
    tiled = model.predict_tiled(image, 384).labels
    assert len(np.unique(whole)) > 1
    inner = np.s_[64:-64, 64:-64]
    assert (whole == tiled)[inner].mean() > 0.985


def test_files_are_tiled_at_their_own_size(tmp_path: Path) -> None:
    image, label = scene(300, 400)
    Image.fromarray(image).save(tmp_path / "a.png")
    painter = Painter(evaluation_size=(20, 30))
    predict_files(Predictor(painter), [tmp_path / "a.png"], tmp_path / "out", tile=128)
    assert np.array_equal(read_label(tmp_path / "out" / "a_label.png"), label)
    assert max(max(shape[2:]) for shape in painter.seen) < 160
    with pytest.raises(ConfigError, match=r"probabilities .* tile"):
        predict_files(
            Predictor(painter), [tmp_path / "a.png"], tmp_path / "b", tile=128, probabilities="npz"
        )
    for wrong in (64, 130):
        with pytest.raises(ConfigError, match="a multiple of 32 from 128 on"):
            check_tile(wrong)
