"""A prediction is its labels, and gives what stands behind them."""

from __future__ import annotations

import io
import math
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from clan.core.errors import ConfigError, DataError
from clan.losses.alignment import alignment_map
from clan.models.segmenter import ModelOptions, Segmenter
from clan.prediction.prediction import BAND, upsampled_rows
from clan.prediction.predictor import Predictor
from tests.prediction.test_predictor import TRIO, Painter, scene

SMALL = {"encoder": "resnet18", "width": 4, "output_stride": 32, "aspp_rates": (1,)}


def predictor(**options: object) -> Predictor:
    torch.manual_seed(0)
    return Predictor(Segmenter(ModelOptions(**{**SMALL, **options}), TRIO, (32, 48)).eval(), "cpu")


def noise(height: int = 40, width: int = 56) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_lists_arrays_tensors_and_floats_give_the_same() -> None:
    model, pixels = predictor(), noise()
    expected = model.predict(pixels)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    floats = pixels.astype(np.float32) / 255
    for one in (tensor, floats, floats.astype(np.float64), tensor.float() / 255):
        assert np.array_equal(model.predict(one), expected)
    mirrored = pixels[:, ::-1]
    both = [expected, model.predict(mirrored)]
    for several in (
        [pixels, mirrored],
        (Image.fromarray(pixels), mirrored),
        np.stack([pixels, mirrored]),
        torch.stack([tensor, tensor.flip(-1)]),
        torch.stack([tensor, tensor.flip(-1)]) / 255,
    ):
        found = model.predict(several)
        assert isinstance(found, list)
        assert [f.tolist() for f in found] == [b.tolist() for b in both]
        assert np.allclose(found[0].probabilities, expected.probabilities)
    assert model.predict([]) == []
    with pytest.raises(DataError, match=r"floats are taken in 0\.\.1"):
        model.predict(floats * 255)


def test_a_prediction_is_an_array_and_its_parts_are_plain() -> None:
    found = predictor().predict(noise())
    assert found.dtype == np.uint8
    assert found.shape == (40, 56)
    for plain in (found == 1, found[:5], found + 1, found.labels, found.max(0)):
        assert type(plain) is np.ndarray
    counts = np.zeros_like(found)
    counts += found
    assert np.array_equal(counts, found)
    assert Image.fromarray(found).size == (56, 40)
    assert np.array_equal(pickle.loads(pickle.dumps(found)), found)


def test_probabilities_entropy_and_confidence_are_one_distribution() -> None:
    found = predictor().predict(noise(BAND + 9, 30))
    p = found.probabilities
    assert p.shape == (3, BAND + 9, 30)
    entropy = -(p * np.log(p)).sum(0) / math.log(3)
    assert np.allclose(found.uncertainty, entropy, atol=1e-5)
    assert np.allclose(found.confidence, p.max(0), atol=1e-5)
    assert np.array_equal(found.labels, p.argmax(0))
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found.shares["road"] == (found.labels == 1).mean()


@pytest.mark.parametrize("size", [(7, 9), (40, 33), (20, 9)])
@pytest.mark.parametrize("align", [False, True])
def test_bands_of_rows_are_those_of_the_whole(size: tuple[int, int], align: bool) -> None:
    logits = torch.randn(1, 3, 20, 9)
    whole = F.interpolate(logits, size=size, mode="bilinear", align_corners=align)
    for top, rows in ((0, 3), (3, 4)):
        band = upsampled_rows(logits, size, top, rows, align)
        assert torch.allclose(band, whole[:, :, top : top + rows], atol=1e-5)


def test_the_disagreement_is_the_alignment_map() -> None:
    model, pixels = predictor(), noise(32, 48)
    with torch.inference_mode():
        first, second = model.segmenter(torch.from_numpy(pixels).permute(2, 0, 1)[None])
        expected = alignment_map(first.softmax(1), second.softmax(1))[0, 0].numpy()
    assert expected.max() > 0
    assert np.allclose(model.predict(pixels).disagreement, expected, atol=1e-6)
    with pytest.raises(ConfigError, match="this network has one"):
        predictor(classifiers=1).predict(pixels).disagreement  # noqa: B018


def test_an_overlay_shows_itself_in_a_notebook() -> None:
    image, label = scene(60, 90)
    found = Predictor(Painter()).predict(image)
    picture = found.overlay(key=False)
    assert np.array_equal(picture[0, 80], np.rint(image[0, 80] / 2 + np.array([0, 0, 142]) / 2))
    assert found.overlay().shape[0] > 60
    with Image.open(io.BytesIO(found._repr_png_())) as shown:
        assert np.array_equal(np.asarray(shown), found.overlay())
    assert np.array_equal(found.labels, label)


def test_flip_and_scales_average_probabilities() -> None:
    plain, pixels = predictor(), noise(32, 48)
    both = Predictor(plain.segmenter, "cpu", flip=True)
    p = plain.probabilities(pixels)
    mirrored = plain.probabilities(pixels[:, ::-1])[..., ::-1]
    assert np.allclose(both.probabilities(pixels), (p + mirrored) / 2, atol=1e-5)
    scaled = Predictor(plain.segmenter, "cpu", scales=(1.0, 0.5))
    assert np.abs(scaled.probabilities(pixels) - p).max() > 1e-3
    with pytest.raises(ConfigError, match="listed twice"):
        Predictor(plain.segmenter, "cpu", scales=(1.0, 1.0))
