from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from clan.analysis.label_free import (
    LabelFreeOptions,
    LabelFreeScores,
    entropy,
    soft_neighbourhood_density,
)

C, H, W = 4, 6, 8


def scores_of(*images: tuple[Tensor, list[Tensor]]) -> dict[str, float]:
    scores = LabelFreeScores(C, LabelFreeOptions())
    for p, each in images:
        scores.add(p, each)
    return scores.values()


def one_hot(index: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(index, C).permute(2, 0, 1).float()


def test_entropy_of_known_distributions() -> None:
    p = torch.tensor([[1.0, 0, 0, 0], [0.25] * 4, [0.5, 0.5, 0, 0]])
    assert entropy(p).tolist() == pytest.approx([0, math.log(4), math.log(2)])


def test_uniform_predictions_know_nothing() -> None:
    p = torch.full((C, H, W), 1 / C)
    found = scores_of((p, [p, p]))
    assert found["entropy"] == pytest.approx(1)
    assert found["information"] == pytest.approx(0, abs=1e-6)
    assert found["agreement"] == pytest.approx(1)


def test_certain_and_even_predictions_have_all_information() -> None:
    p = one_hot(torch.arange(H * W).view(H, W) % C)
    found = scores_of((p, [p, p]))
    assert found["entropy"] == pytest.approx(0)
    assert found["information"] == pytest.approx(1)


def test_one_class_everywhere_is_certain_and_without_information() -> None:
    p = one_hot(torch.zeros(H, W, dtype=torch.long))
    found = scores_of((p, [p, p]))
    assert found["entropy"] == pytest.approx(0)
    assert found["information"] == pytest.approx(0, abs=1e-6)


def test_information_is_of_all_images_together() -> None:
    images = [one_hot(torch.full((H, W), index)) for index in range(C)]
    assert scores_of(*((p, [p, p]) for p in images))["information"] == pytest.approx(1)


def test_agreement_is_the_mean_cosine_of_the_classifiers() -> None:
    first = one_hot(torch.zeros(H, W, dtype=torch.long))
    half = torch.zeros(H, W, dtype=torch.long)
    half[:, W // 2 :] = 1
    found = scores_of((first, [first, one_hot(half)]))
    assert found["agreement"] == pytest.approx(0.5)
    assert math.isnan(scores_of((first, [first]))["agreement"])


def test_snd_of_equal_points_is_that_of_a_uniform_neighbourhood() -> None:
    p = torch.tensor([0.7, 0.1, 0.1, 0.1]).expand(11, C)
    assert float(soft_neighbourhood_density(p)) == pytest.approx(math.log(10))


def test_snd_of_two_distant_clusters_counts_the_own_cluster() -> None:
    n = 6
    p = torch.zeros(2 * n, C)
    p[:n, 0] = p[n:, 1] = 1
    # similarity 1 within a cluster and 0 across: exp(20) against 1
    near, far = (n - 1) * math.exp(20), n
    q, r = math.exp(20) / (near + far), 1 / (near + far)
    expected = -((n - 1) * q * math.log(q) + n * r * math.log(r))
    assert float(soft_neighbourhood_density(p)) == pytest.approx(expected, rel=1e-5)
    assert expected == pytest.approx(math.log(n - 1), abs=1e-5)


def test_snd_with_a_high_temperature_tends_to_the_maximum() -> None:
    p = torch.rand(9, C, generator=torch.Generator().manual_seed(0)).softmax(dim=1)
    low, high = (float(soft_neighbourhood_density(p, t)) for t in (0.01, 1e6))
    assert low < high == pytest.approx(math.log(8))


def test_the_same_images_give_the_same_scores() -> None:
    p = torch.rand(C, 40, 50, generator=torch.Generator().manual_seed(1)).softmax(dim=0)
    assert scores_of((p, [p, p])) == scores_of((p, [p, p]))
