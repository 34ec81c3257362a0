"""Class-balanced pseudo-labels against sorted confidences, and their losses in closed form."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from clan.losses.pseudo_labels import (
    BINS,
    RARE,
    REACH,
    align_shares,
    argmax_labels,
    argmax_shares,
    balanced_labels,
    confidence_counts,
    confidence_thresholds,
    soft_cross_entropy,
    soft_labels,
    uniform_divergence,
)


def softmax_maps(seed: int, sharpness: float = 4.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (sharpness * torch.randn(2, 4, 16, 16, generator=generator)).softmax(dim=1)


@given(
    seed=st.integers(0, 2**16),
    portion=st.sampled_from([0.05, 0.2, 0.5, 1.0]),
    sharpness=st.sampled_from([0.5, 4.0, 30.0]),
)
def test_thresholds_are_those_of_sorting_to_within_a_bin(seed, portion, sharpness):
    p = softmax_maps(seed, sharpness)
    counts = confidence_counts(p, 4)
    assert counts.sum() == 2 * 16 * 16
    thresholds = confidence_thresholds(counts, portion)
    best, winner = p.max(dim=1)
    for c in range(4):
        won = np.sort(best[winner == c].numpy())[::-1]
        if len(won) == 0:
            assert thresholds[c] == 1
            continue
        exact = float(won[math.ceil(portion * len(won)) - 1])
        if 1e-6 < exact < 1 - 1e-6:
            odds = math.log(exact / (1 - exact))
            found = math.log(thresholds[c].item() / (1 - thresholds[c].item()))
            assert -1e-2 < odds - found < 2 * REACH / BINS + 1e-2
        assert (won >= thresholds[c].item()).mean() >= portion - 1e-9


def test_counts_of_parts_add_up_to_those_of_the_whole():
    p = softmax_maps(3)
    parts = confidence_counts(p[:1], 4) + confidence_counts(p[1:], 4)
    assert torch.equal(parts, confidence_counts(p, 4))


def test_certain_pixels_still_pass_their_threshold():
    p = torch.zeros(1, 2, 1, 4)
    p[:, 1] = 1
    thresholds = confidence_thresholds(confidence_counts(p, 2), 0.2)
    assert thresholds[0] == 1
    assert thresholds[1] < 1
    assert torch.equal(balanced_labels(p, thresholds), torch.ones(1, 1, 4, dtype=torch.uint8))


def test_a_label_is_the_class_that_is_most_above_its_own_threshold():
    p = torch.tensor([[0.6, 0.4], [0.5, 0.5], [0.9, 0.1]]).T.view(1, 2, 1, 3)
    labels = balanced_labels(p, torch.tensor([0.8, 0.45]))
    # 0.75 and 0.89; 0.63 and 1.11; 1.13 and 0.22
    assert labels.flatten().tolist() == [255, 1, 0]


def test_a_confidence_that_rounding_left_above_one_counts_as_one():
    """A share led back, or a prior between two cells, may be a rounding error above 1."""
    above = torch.nextafter(torch.tensor(1.0), torch.tensor(2.0))
    p = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1).repeat(1, 1, 1, 2)
    p[0, 1, 0, 1] = above
    counts = confidence_counts(p, 2)
    assert counts[1, -1] == counts.sum() == 2


def test_a_winner_keeps_its_pixel_or_nobody_has_it():
    p = torch.tensor([[0.6, 0.4], [0.85, 0.15], [0.4, 0.6]]).T.view(1, 2, 1, 3)
    thresholds = torch.tensor([0.8, 0.35])
    # by the ratio the second class takes the first pixel, 0.4 / 0.35 against 0.6 / 0.8
    assert balanced_labels(p, thresholds).flatten().tolist() == [1, 0, 1]
    assert argmax_labels(p, thresholds).flatten().tolist() == [255, 0, 1]


def test_soft_labels_follow_their_formula_and_harden_as_they_cool():
    p, k = softmax_maps(1, 1.0), torch.tensor([0.9, 0.5, 0.4, 0.7])
    ratio = p / k.view(1, 4, 1, 1)
    power = ratio**4
    torch.testing.assert_close(soft_labels(p, k, 0.25), power / power.sum(1, keepdim=True))
    assert torch.equal(soft_labels(p, k, 0.01).argmax(1), ratio.argmax(1))


def test_soft_cross_entropy_of_hard_labels_is_cross_entropy():
    logits, label = torch.randn(2, 4, 3, 3), torch.randint(0, 4, (2, 3, 3))
    hard = F.one_hot(label, 4).permute(0, 3, 1, 2).float()
    expected = F.cross_entropy(logits, label, reduction="none")
    torch.testing.assert_close(soft_cross_entropy(logits, hard), expected)


def test_mrkld_is_the_divergence_from_uniform_but_for_a_constant():
    logits = torch.randn(1, 4, 3, 3)
    uniform = torch.full((1, 4, 3, 3), 0.25)
    divergence = (uniform * (uniform.log() - logits.log_softmax(1))).sum(1)
    torch.testing.assert_close(uniform_divergence(logits), divergence + math.log(4))


def test_losses_are_float32():
    logits = torch.randn(1, 3, 2, 2).bfloat16()
    assert soft_cross_entropy(logits, logits.softmax(1)).dtype == torch.float32
    assert uniform_divergence(logits).dtype == torch.float32


def test_argmax_shares_are_counts_of_winners():
    p = softmax_maps(5)
    counts = confidence_counts(p, 4).sum(dim=1)
    assert torch.allclose(argmax_shares(p), counts / counts.sum())


def test_kept_shares_multiply_by_the_ratio_and_keep_the_sum():
    q = 0.5 * softmax_maps(6)
    wanted, found = torch.tensor([0.1, 0.3, 0.3, 0.3]), torch.tensor([0.4, 0.3, 0.15, 0.15])
    led = align_shares(q, wanted, found, 1.0)
    assert torch.allclose(led.sum(dim=1), q.sum(dim=1))
    assert torch.allclose(led[:, 2] / led[:, 0], 8 * q[:, 2] / q[:, 0], rtol=1e-4)
    half = align_shares(q, wanted, found, 0.5)
    assert torch.allclose(half[:, 2] / half[:, 0], 8**0.5 * q[:, 2] / q[:, 0], rtol=1e-4)
    assert torch.allclose(align_shares(q, wanted, found, 0.0), q)
    assert torch.allclose(align_shares(q, found, found, 1.0), q)


def test_classes_too_rare_for_a_ratio_are_left():
    q = softmax_maps(7)
    rare = torch.tensor([0.5, 0.5, 0.0, RARE / 2])
    assert torch.allclose(align_shares(q, rare, torch.tensor([0.5, 0.5, 0.0, 0.0]), 1.0), q)
