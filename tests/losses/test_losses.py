"""The losses against closed forms and plain restatements of their formulas."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from clan.losses.adversarial import adversarial_loss
from clan.losses.alignment import alignment_map, weight_discrepancy
from clan.losses.segmentation import CrossEntropy, Focal, PixelLoss, mean_loss

DISTANCES = ["cosine", "l1", "js"]


def softmax_maps(seed: int, classes: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (4 * torch.randn(2, classes, 3, 4, generator=generator)).softmax(dim=1)


def labelled_mean(loss: PixelLoss, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    count = (label != 255).sum().clamp(min=1).float()
    return mean_loss(loss(logits, label), label, count)


def focal(gamma: float) -> Focal:
    return Focal(Focal.Options(name="focal", gamma=gamma))


CROSS_ENTROPY = CrossEntropy(CrossEntropy.Options())


def test_segmentation_loss_is_cross_entropy_over_labelled_pixels():
    logits = torch.randn(2, 4, 3, 5)
    label = torch.randint(0, 4, (2, 3, 5))
    label[0, 0] = 255
    expected = -torch.log_softmax(logits, 1).permute(0, 2, 3, 1)[label != 255][
        torch.arange(int((label != 255).sum())), label[label != 255]
    ]
    torch.testing.assert_close(labelled_mean(CROSS_ENTROPY, logits, label), expected.mean())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_focal_with_gamma_zero_is_cross_entropy(dtype):
    logits, label = torch.randn(1, 3, 4, 4), torch.randint(0, 3, (1, 4, 4)).to(dtype)
    torch.testing.assert_close(
        labelled_mean(focal(0), logits, label), F.cross_entropy(logits, label.long())
    )


def test_focal_follows_its_formula():
    logits, label = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    p = logits.softmax(1).gather(1, label[:, None])
    expected = -((1 - p) ** 2 * p.log()).mean()
    torch.testing.assert_close(labelled_mean(focal(2), logits, label), expected)


def test_no_labelled_pixel_gives_zero_loss_and_zero_gradient():
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = labelled_mean(CROSS_ENTROPY, logits, torch.full((1, 2, 2), 255))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_weight_discrepancy_is_the_cosine():
    w = [torch.randn(3, 2), torch.randn(4)]
    assert weight_discrepancy(w, w).item() == pytest.approx(1)
    assert weight_discrepancy(w, [-x for x in w]).item() == pytest.approx(-1)
    assert weight_discrepancy([torch.tensor([1.0, 0])], [torch.tensor([1.0, 1])]).item() == (
        pytest.approx(math.sqrt(0.5))
    )


@pytest.mark.parametrize("distance", DISTANCES)
@given(seed=st.integers(0, 2**16))
def test_alignment_map_is_zero_for_equal_predictions_and_within_bounds(distance, seed):
    p1, p2 = softmax_maps(seed), softmax_maps(seed + 1)
    m = alignment_map(p1, p2, distance)
    assert m.shape == (2, 1, 3, 4)
    assert m.min() >= 0
    assert m.max() <= 1
    torch.testing.assert_close(
        alignment_map(p1, p1, distance), torch.zeros(2, 1, 3, 4), atol=2e-6, rtol=0
    )


@pytest.mark.parametrize("distance", DISTANCES)
def test_alignment_map_is_one_where_the_classifiers_are_sure_of_different_classes(distance):
    p1, p2 = torch.zeros(1, 3, 1, 1), torch.zeros(1, 3, 1, 1)
    p1[:, 0], p2[:, 2] = 1, 1
    assert alignment_map(p1, p2, distance).item() == pytest.approx(1)


def test_cosine_map_depends_on_direction_only():
    p = softmax_maps(3)
    torch.testing.assert_close(alignment_map(p, 3 * p), torch.zeros(2, 1, 3, 4), atol=2e-6, rtol=0)


def test_alignment_map_is_float32_for_half_precision():
    p = softmax_maps(1).bfloat16()
    assert alignment_map(p, p).dtype == torch.float32


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_adversarial_loss_is_binary_cross_entropy(label):
    z = 3 * torch.randn(2, 1, 4, 4)
    expected = F.binary_cross_entropy_with_logits(z, torch.full_like(z, label))
    torch.testing.assert_close(adversarial_loss(z, label), expected)


@given(lambda_local=st.floats(0, 100), epsilon=st.floats(0, 2), seed=st.integers(0, 99))
def test_weighted_loss_is_weight_times_binary_cross_entropy(lambda_local, epsilon, seed):
    z = 3 * torch.randn(2, 1, 3, 4, generator=torch.Generator().manual_seed(seed))
    m = alignment_map(softmax_maps(seed), softmax_maps(seed + 7))
    bce = F.binary_cross_entropy_with_logits(z, torch.ones_like(z), reduction="none")
    expected = (epsilon * bce + lambda_local * m * bce).mean()
    weighted = adversarial_loss(z, 1.0, lambda_local * m + epsilon)
    torch.testing.assert_close(weighted, expected, rtol=1e-5, atol=1e-5)


def test_adversarial_loss_does_not_overflow():
    z = torch.tensor([[[[-200.0, 200.0]]]])
    assert adversarial_loss(z, 1.0).item() == pytest.approx(100)
