"""Superpixels: how images are divided and described, and what the small classifiers answer."""

from __future__ import annotations

import numpy as np
import pytest

from clan.losses.superpixels import (
    MOST_PIXELS,
    describe,
    divide,
    fit_classes,
    fit_shares,
    label_superpixels,
    majority,
)


def halves() -> tuple[np.ndarray, np.ndarray]:
    """Return an image (32, 64) black on the left and white on the right, and ids of its halves."""
    image = np.zeros((32, 64, 3), np.uint8)
    image[:, 32:] = 255
    return image, (np.indices((32, 64))[1] >= 32).astype(np.int64)


def test_an_image_is_divided_along_its_edges_and_numbered_without_gaps():
    image, sides = halves()
    ids, small = divide(image, 8)
    assert np.array_equal(small, image)
    assert set(np.unique(ids)) == set(range(ids.max() + 1))
    assert 4 <= ids.max() + 1 <= 16
    for number in range(ids.max() + 1):
        assert len(np.unique(sides[ids == number])) == 1


def test_large_images_are_divided_at_a_lower_resolution():
    image = np.zeros((600, 1000, 3), np.uint8)
    ids, small = divide(image, 10)
    assert ids.shape == small.shape[:2] == (200, 333)
    assert ids.size <= MOST_PIXELS


def test_a_description_is_means_of_features_colour_and_position():
    image, ids = halves()
    features = np.arange(2 * 2 * 4, dtype=np.float32).reshape(2, 2, 4)
    x = describe(ids, image, features)
    assert x.shape == (2, 2 + 5)
    # the left half holds the first two of four columns of the grid
    assert x[0, :2] == pytest.approx(features[:, :, :2].mean((1, 2)))
    assert x[1, :2] == pytest.approx(features[:, :, 2:].mean((1, 2)))
    assert x[0, 2:5] == pytest.approx(0)
    assert x[1, 2:5] == pytest.approx(1)
    assert x[:, 5] == pytest.approx([31 / 64] * 2)
    assert x[:, 6] == pytest.approx([15.5 / 64, 47.5 / 64])


def test_the_majority_is_of_labelled_pixels_if_half_of_them_are():
    _, ids = halves()
    label = np.full((64, 128), 255, np.uint8)
    label[:40, :64] = 1
    label[40:60, :64] = 0
    label[:30, 64:] = 2
    assert majority(ids, label, 3).tolist() == [1, 255]


def test_the_most_certain_superpixels_are_labelled():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 1, (50, 3)), rng.normal(4, 1, (50, 3))]).astype(np.float32)
    y = np.repeat([0, 4], 50).astype(np.uint8)
    classifier = fit_classes(x, y)
    ids = np.arange(4).reshape(2, 2)
    unclear = np.float32([[0, 0, 0], [4, 4, 4], [2, 2, 2], [5, 5, 5]])
    assert label_superpixels(classifier, ids, unclear, 1.0).ravel()[[0, 1, 3]].tolist() == [0, 4, 4]
    half = label_superpixels(classifier, ids, unclear, 0.5)
    p = classifier.predict_proba(unclear).max(1)
    assert set(np.flatnonzero(half.ravel() != 255)) == set(np.argsort(-p)[:2])


def test_an_images_shares_are_the_mean_of_its_neighbours():
    x = np.float32([[0, 0], [1, 0], [10, 10]])
    shares = np.float32([[1, 0], [0, 1], [0.5, 0.5]])
    assert fit_shares(x, shares, 2).predict([[0.4, 0]])[0] == pytest.approx([0.5, 0.5])
    assert fit_shares(x, shares, 1).predict([[9, 9]])[0] == pytest.approx([0.5, 0.5])
    # of fewer images than neighbours all count
    assert fit_shares(x, shares, 9).predict([[9, 9]])[0] == pytest.approx([0.5, 0.5])
