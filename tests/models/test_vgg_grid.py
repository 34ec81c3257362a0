"""Where in the image the cells of VGG16's fc7 lie: padding shifts them, and labels follow."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from clan.losses.shares import cell_shares
from clan.models.encoders.vgg import VGG16
from clan.models.options import ModelOptions
from clan.models.segmenter import Segmenter
from tests.methods.helpers import CLASSES

SIZE = 256


@pytest.fixture(scope="module")
def linear() -> VGG16:
    """VGG16's geometry as a linear filter: equal weights, no bias, means for maxima."""
    encoder = VGG16(4).eval()
    for index, layer in enumerate(encoder.features):
        if isinstance(layer, nn.MaxPool2d):
            encoder.features[index] = nn.AvgPool2d(2, stride=2, ceil_mode=True)
    for layer in encoder.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
            nn.init.zeros_(layer.bias)
    return encoder.double()


@pytest.mark.parametrize("pixel", [70, 100, 108, 109, 124, 125, 140, 141, 180])
def test_an_impulse_is_strongest_in_the_cell_that_it_lies_in(linear: VGG16, pixel: int) -> None:
    image = torch.zeros(1, 3, SIZE, SIZE, dtype=torch.float64)
    image[:, :, pixel, SIZE // 2] = 1
    with torch.no_grad():
        response = linear(image)[-1].sum(dim=(0, 1, 3))
    cells = torch.arange(len(response))
    centre = float((response * cells).sum() / response.sum())
    place = linear.cells_of(SIZE, len(response), SIZE)
    assert abs(centre - int(place[pixel])) <= 0.6
    # tiling the image would put it elsewhere for some pixels
    assert len(response) == 9


def test_tiling_would_be_half_a_cell_off(linear: VGG16) -> None:
    place, tiles = linear.cells_of(512, 17, 512), torch.arange(512) * 17 // 512
    # 32 pixels each, from 3 before the image on; the last one lies mostly outside
    assert place.bincount().tolist() == [29, *[32] * 15, 3]
    assert (place != tiles).sum() > 200


def test_labels_of_another_size_have_the_same_cells(linear: VGG16) -> None:
    small, large = linear.cells_of(128, 9, 256), linear.cells_of(256, 9, 256)
    assert (small - large[::2]).abs().max() <= 1
    assert ((small - large[::2]) != 0).sum() <= 9


def test_shares_are_of_the_cells_pixels() -> None:
    model = ModelOptions(encoder="vgg16", decoder="fcn8s", width=4)
    network = Segmenter(model, CLASSES)
    label = torch.randint(0, 3, (2, 64, 96), dtype=torch.uint8)
    label[:, :40, :50] = 255
    image = torch.zeros(2, 3, 64, 96, dtype=torch.uint8)
    features = network.eval().encode(image)[-1]
    grid = (features.shape[-2], features.shape[-1])
    places = network.label_places(label, grid, image)
    shares = cell_shares(label, 3, grid, places)
    for i in range(grid[0]):
        for j in range(grid[1]):
            cell = label[1][places[0] == i][:, places[1] == j]
            expected = [float((cell == c).float().mean()) if cell.numel() else 0 for c in range(3)]
            assert shares[1, :, i, j].tolist() == pytest.approx(expected)


def test_counts_go_beyond_what_float32_counts() -> None:
    from clan.losses.pseudo_labels import argmax_shares
    from clan.losses.shares import class_shares

    label = torch.zeros(1, 4100, 4100, dtype=torch.uint8)
    label[0, 0, 0] = 1
    assert class_shares(label, 2)[0, 0] == pytest.approx(1, abs=1e-6)
    scores = torch.zeros(1, 2, 4100, 4100, dtype=torch.float16)
    scores[:, 1, 2050:] = 1
    assert argmax_shares(scores).tolist() == pytest.approx([0.5, 0.5], abs=1e-6)
