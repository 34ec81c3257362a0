"""Estimates of label shift where the shift is known: two Gaussians, and their posteriors."""

from __future__ import annotations

import numpy as np
import pytest

from clan.analysis.label_shift import ratios_by_confusion, ratios_by_em

MEANS = np.array([-1.0, 0.5, 2.5])
SOURCE = np.array([0.6, 0.3, 0.1])
TARGET = np.array([0.2, 0.3, 0.5])


def draw(shares: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = rng.choice(3, count, p=shares)
    return rng.normal(MEANS[label], 1.0), label


def posterior(x: np.ndarray) -> np.ndarray:
    """p(c | x) of the source: what a perfect classifier trained there says."""
    likelihood = np.exp(-0.5 * (x[:, None] - MEANS) ** 2) * SOURCE
    return likelihood / likelihood.sum(axis=1, keepdims=True)


def joint_of(p: np.ndarray, label: np.ndarray) -> np.ndarray:
    return np.stack([p[label == c].sum(axis=0) for c in range(3)], axis=1) / len(label)


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray]:
    x, label = draw(SOURCE, 200_000, 0)
    return joint_of(posterior(x), label), posterior(draw(TARGET, 200_000, 1)[0])


def test_both_estimates_find_a_known_shift(drawn) -> None:
    joint, p = drawn
    true = TARGET / SOURCE
    np.testing.assert_allclose(joint.sum(axis=0), SOURCE, atol=5e-3)
    np.testing.assert_allclose(ratios_by_confusion(joint, p.mean(axis=0)), true, rtol=0.05)
    np.testing.assert_allclose(ratios_by_em(p, SOURCE), true, rtol=0.05)
    # the plain mean of the predictions does not find it
    assert np.abs(p.mean(axis=0) / SOURCE - true).max() > 0.5


def test_exact_where_the_confusion_is_exact() -> None:
    confusion = np.array([[0.7, 0.2, 0.0], [0.3, 0.6, 0.1], [0.0, 0.2, 0.9]])
    joint = confusion * SOURCE
    np.testing.assert_allclose(ratios_by_confusion(joint, confusion @ TARGET), TARGET / SOURCE)


def test_no_shift_is_found_where_there_is_none(drawn) -> None:
    joint, _ = drawn
    p = posterior(draw(SOURCE, 200_000, 2)[0])
    np.testing.assert_allclose(ratios_by_confusion(joint, p.mean(axis=0)), 1, atol=0.05)
    np.testing.assert_allclose(ratios_by_em(p, SOURCE), 1, atol=0.05)


def test_a_ridge_pulls_towards_no_shift(drawn) -> None:
    joint, p = drawn
    target = p.mean(axis=0)
    free, held, fixed = (ratios_by_confusion(joint, target, r) for r in (0.0, 0.05, 1e6))
    assert np.abs(held - 1).sum() < np.abs(free - 1).sum()
    np.testing.assert_allclose(fixed, 1, atol=1e-4)


def test_ratios_are_never_negative_and_unknown_classes_stay_at_one() -> None:
    joint = np.array([[0.5, 0.3], [0.1, 0.1]])
    assert (ratios_by_confusion(joint, np.array([0.0, 1.0])) >= 0).all()
    p = np.array([[0.5, 0.5, 0.0], [0.9, 0.1, 0.0]])
    assert ratios_by_em(p, np.array([0.5, 0.5, 0.0]))[2] == 1
    with pytest.raises(ValueError, match="3 classes"):
        ratios_by_confusion(joint, np.ones(3))
