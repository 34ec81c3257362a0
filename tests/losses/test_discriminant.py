"""The linear discriminant: scikit-learn's, a plain restatement, and what has no inverse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import multivariate_normal
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor

from clan.losses import discriminant
from clan.losses.discriminant import Sums, cells, fit, log_posterior, sums

C, D, SIDE = 3, 4, 12


def groups(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return features (1, D, h, w) of three overlapping groups, and labels (1, h, w)."""
    rng = np.random.default_rng(seed)
    label = rng.choice(C, (SIDE, SIDE), p=[0.5, 0.3, 0.2])
    mixing = rng.normal(size=(D, D))
    x = rng.normal(size=(C, D))[label] * 2 + rng.normal(size=(SIDE, SIDE, D)) @ mixing
    return torch.tensor(x.astype(np.float32)).permute(2, 0, 1)[None], torch.tensor(label)[None]


def one_hot(label: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(label, C).permute(0, 3, 1, 2).float()


def rows(maps: Tensor) -> NDArray[np.float64]:
    """Return (N * h * w, channels) of (N, channels, h, w)."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2).double().numpy()


def test_without_shrinkage_it_is_scikit_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discriminant, "SHRINKAGE", 0.0)
    features, label = groups()
    found = log_posterior(fit(sums(features, one_hot(label))), features)
    oracle = LinearDiscriminantAnalysis(solver="lsqr").fit(rows(features), label.flatten().numpy())
    wanted = oracle.predict_log_proba(rows(features))
    assert np.abs(rows(found) - wanted).max() < 1e-3
    assert 0.6 < (found.argmax(1) == label).float().mean() < 1


def test_with_soft_labels_it_is_a_plain_restatement() -> None:
    features, label = groups()
    soft = (3 * one_hot(label) + torch.rand(1, C, SIDE, SIDE)).softmax(dim=1)
    found = log_posterior(fit(sums(features, soft)), features)
    x, q = rows(features), rows(soft)
    share = q.sum(0)
    means = [(q[:, c : c + 1] * x).sum(0) / share[c] for c in range(C)]
    terms = (
        q[i, c] * np.outer(x[i] - means[c], x[i] - means[c])
        for i in range(len(x))
        for c in range(C)
    )
    within = sum(terms) / len(x)
    shrunk = 0.9 * within + 0.1 * np.diag(np.diag(within))
    joint = np.stack(
        [multivariate_normal(means[c], shrunk).logpdf(x) + np.log(share[c]) for c in range(C)], 1
    )
    wanted = joint - np.log(np.exp(joint).sum(1, keepdims=True))
    assert np.abs(rows(found) - wanted).max() < 1e-3


def test_sums_add_over_batches() -> None:
    (a, first), (b, second) = groups(0), groups(1)
    whole = sums(torch.cat([a, b]), torch.cat([one_hot(first), one_hot(second)]))
    parts = [x + y for x, y in zip(sums(a, one_hot(first)), sums(b, one_hot(second)), strict=True)]
    for one, two in zip(whole, parts, strict=True):
        assert torch.allclose(one, two, rtol=1e-5)


def test_a_class_without_pixels_is_never_chosen_and_a_constant_feature_does_no_harm() -> None:
    features, label = groups()
    features[:, 1] = 7.0
    label[label == 2] = 0
    found = log_posterior(fit(sums(features, one_hot(label))), features)
    assert found.isfinite().all()
    assert (found[:, 2] == discriminant.LEAST).all()
    assert found[:, :2].exp().sum(1).allclose(torch.ones(1, SIDE, SIDE))


def test_without_any_pixel_nothing_is_broken() -> None:
    nothing = Sums(*(torch.zeros(s, dtype=torch.float64) for s in ((C,), (C, D), (D, D))))
    weight, bias = fit(nothing)
    assert not weight.any()
    assert not bias.isfinite().any()


def test_maps_of_all_strides_meet_on_one_grid() -> None:
    image = torch.zeros(2, 3, 37, 50)
    maps = [torch.ones(2, 2, 10, 13), 2 * torch.ones(2, 3, 5, 7), 3 * torch.ones(2, 4, 2, 2)]
    found = cells(maps, image)
    assert found.shape == (2, 9, 5, 7)
    assert [float(found[:, c].mean()) for c in (0, 2, 5)] == [1, 2, 3]
