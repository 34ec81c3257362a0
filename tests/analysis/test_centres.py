from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from clan.analysis.centres import Centres, Pooling, centre_distances
from clan.analysis.images import class_counts, resized_label

F, GRID = 6, (8, 10)


def cloud(seed: int, shift: float = 0.0, sigma: float = 1.0, images: int = 40) -> list[Tensor]:
    """Return images whose features are Gaussian about ``shift`` in the first dimension."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.zeros(F, 1, 1)
    means[0] = shift
    return [means + sigma * torch.randn(F, *GRID, generator=generator) for _ in range(images)]


def centres_of(images: list[Tensor], label: Tensor, pooling: Pooling = "pixel") -> Centres:
    centres = Centres(3, pooling)
    for features in images:
        centres.add(features, class_counts(label, 3, GRID))
    return centres


def two_classes() -> Tensor:
    """Return a label whose upper half is class 0 and whose lower half is class 1; 2 is absent."""
    label = torch.zeros(GRID, dtype=torch.uint8)
    label[GRID[0] // 2 :] = 1
    return label


def test_two_gaussian_clouds_are_as_far_apart_as_they_were_shifted() -> None:
    label, sigma, shift = two_classes(), 0.5, 3.0
    a, b = (centres_of(cloud(seed, s, sigma), label) for seed, s in ((1, 0.0), (2, shift)))
    distance = centre_distances(a, b, "euclidean")
    # the means of 1600 points have a standard error of 0.5 / 40 in each of 6 dimensions
    assert distance[:2] == pytest.approx([shift, shift], abs=0.1)
    assert math.isnan(distance[2])
    in_spreads = centre_distances(a, b, "spread")
    assert in_spreads[:2] == pytest.approx([shift / (sigma * math.sqrt(F))] * 2, rel=0.05)


def test_cosine_sees_the_angle_alone() -> None:
    label = torch.zeros(GRID, dtype=torch.uint8)
    right, up = torch.zeros(F, *GRID), torch.zeros(F, *GRID)
    right[0], up[1] = 1.0, 5.0
    a, b, c = (centres_of([x], label) for x in (right, up, 7 * right))
    assert centre_distances(a, b, "cosine")[0] == pytest.approx(1)
    assert centre_distances(a, c, "cosine")[0] == pytest.approx(0)
    assert centre_distances(a, c, "euclidean")[0] == pytest.approx(6)


@pytest.mark.parametrize("kind", ["euclidean", "cosine", "spread"])
def test_equal_domains_are_at_distance_zero(kind: str) -> None:
    a, b = (centres_of(cloud(3), two_classes()) for _ in range(2))
    assert centre_distances(a, b, kind)[:2].tolist() == [0, 0]  # type: ignore[arg-type]


def test_streaming_equals_the_batch() -> None:
    images, label = cloud(4, 2.0), two_classes()
    centres = centres_of(images, label)
    stacked = torch.stack(images).double()
    for index in (0, 1):
        pixels = stacked[:, :, label == index].transpose(0, 1).flatten(1)
        mean = pixels.mean(dim=1)
        assert centres.means[index] == pytest.approx(mean.numpy())
        away = ((pixels - mean[:, None]) ** 2).sum(dim=0).mean().sqrt()
        assert centres.spread[index] == pytest.approx(float(away))
    assert centres.images.tolist() == [40, 40, 0]
    assert np.isnan(centres.means[2]).all()


def test_pooling_weighs_pixels_or_images() -> None:
    full = torch.zeros(GRID, dtype=torch.uint8)
    single = torch.full(GRID, 255, dtype=torch.uint8)
    single[0, 0] = 0
    for pooling, expected in (("pixel", 80 / 81), ("image", 0.5)):
        centres = Centres(1, pooling)  # type: ignore[arg-type]
        for value, label in ((1.0, full), (0.0, single)):
            centres.add(torch.full((F, *GRID), value), class_counts(label, 1, GRID))
        assert centres.means[0] == pytest.approx([expected] * F)


def test_no_image_means_no_centre() -> None:
    assert np.isnan(centre_distances(Centres(2), Centres(2), "euclidean")).all()


def test_counts_are_those_of_the_pixels_in_each_cell() -> None:
    label = torch.tensor([[0, 1, 1, 1], [0, 0, 255, 255]], dtype=torch.uint8)
    assert class_counts(label, 2, (1, 2)).tolist() == [[[3, 0]], [[1, 2]]]
    # a finer grid than the pixels: every pixel is in one cell still
    assert class_counts(label, 2, (5, 7)).sum() == 6
    generator = torch.Generator().manual_seed(0)
    random = torch.randint(0, 3, (9, 14), generator=generator, dtype=torch.uint8)
    counts = class_counts(random, 3, (4, 5))
    assert counts.sum(dim=(1, 2)).tolist() == [int((random == c).sum()) for c in range(3)]


def test_a_label_is_resized_by_the_pixel_at_the_centre() -> None:
    label = torch.arange(16, dtype=torch.uint8).view(4, 4)
    assert resized_label(label, (4, 4)) is label
    assert resized_label(label, (2, 2)).tolist() == [[5, 7], [13, 15]]
    assert (
        resized_label(torch.tensor([[255]], dtype=torch.uint8), (2, 2)).tolist() == [[255] * 2] * 2
    )
