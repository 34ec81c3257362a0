"""Superpixels, and the two models of curriculum adaptation that are fitted to the source.

Functions of arrays; a network's features are given to them as arrays too.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from clan.data.classes import IGNORE
from clan.data.views import resize_image, resize_label

MOST_PIXELS = 256 * 512
"""Larger images are shrunk to at most this size, as SLIC would take seconds for each."""

Floats = NDArray[np.float32]


def divide(image: NDArray[np.uint8], count: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Divide an image into about ``count`` superpixels (SLIC, Achanta et al. 2012).

    Args:
        image: (H, W, 3) uint8 RGB.
        count: superpixels asked for.

    Returns:
        The superpixel (h, w) of each pixel, 0, 1, 2, ... without gaps, and the image (h, w, 3) of
        the same size: shrunk if it has more than ``MOST_PIXELS``.

    It needs scikit-image, of the extra ``clan[cda]``.
    """
    from skimage.segmentation import slic

    factor = math.ceil(math.sqrt(image.shape[0] * image.shape[1] / MOST_PIXELS))
    small = resize_image(image, (image.shape[0] // factor, image.shape[1] // factor))
    ids = slic(small, n_segments=count, compactness=10, start_label=0, channel_axis=-1)
    _, numbered = np.unique(ids, return_inverse=True)
    return numbered.reshape(small.shape[:2]).astype(np.int64), small


def describe(
    ids: NDArray[np.int64],
    image: NDArray[np.uint8],
    features: Floats,
    places: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
) -> Floats:
    """Describe each superpixel by its mean features, mean colour and mean position.

    Args:
        ids: (h, w) from `divide`.
        image: (h, w, 3) uint8 of the same size.
        features: (F, a, b) of the whole image, coarser than it.
        places: the row (h,) and the column (w,) of the features in which the pixels lie; None: the
            features' cells tile the image.

    Returns:
        (S, F + 5) float32.
    """
    count, (height, width) = int(ids.max()) + 1, ids.shape
    rows, columns = np.indices(ids.shape)
    flat, pixels = ids.ravel(), np.bincount(ids.ravel(), minlength=count)
    # how many pixels of a superpixel lie in each cell of the features' grid
    a, b = features.shape[1:]
    if places is None:
        places = np.arange(height) * a // height, np.arange(width) * b // width
    cell = (places[0][:, None] * b + places[1]).astype(np.int64)
    shares = np.bincount(flat * (a * b) + cell.ravel(), minlength=count * a * b)
    deep = shares.reshape(count, a * b) @ features.reshape(len(features), -1).T
    planes = [*(image[..., c] / 255 for c in range(3)), rows / height, columns / width]
    plain = np.stack([np.bincount(flat, plane.ravel(), count) for plane in planes], axis=1)
    return (np.concatenate([deep, plain], axis=1) / pixels[:, None]).astype(np.float32)


def majority(ids: NDArray[np.int64], label: NDArray[np.uint8], classes: int) -> NDArray[np.uint8]:
    """Return each superpixel's most frequent class, (S,) uint8.

    255 for superpixels with less than half of their pixels labelled.

    Args:
        ids: (h, w) from `divide`.
        label: (H, W) uint8 class indices, 255 = ignore, of any size.
        classes: how many there are.
    """
    count = int(ids.max()) + 1
    small = resize_label(label, (ids.shape[0], ids.shape[1])).astype(np.int64)
    pair = ids * (classes + 1) + np.minimum(small, classes)
    counts = np.bincount(pair.ravel(), minlength=count * (classes + 1)).reshape(count, classes + 1)
    known = 2 * counts[:, :classes].sum(axis=1) >= counts.sum(axis=1)
    return np.where(known, counts[:, :classes].argmax(axis=1), IGNORE).astype(np.uint8)


def fit_classes(x: Floats, y: NDArray[np.uint8]) -> Pipeline:
    """Fit a logistic regression of superpixels' classes; y has at least two of them, no 255."""
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)).fit(x, y)


def fit_shares(x: Floats, shares: Floats, neighbours: int) -> Pipeline:
    """Fit the mean class shares (n, C) of the nearest images by their descriptions (n, F)."""
    nearest = KNeighborsRegressor(n_neighbors=min(neighbours, len(x)))
    return make_pipeline(StandardScaler(), nearest).fit(x, shares)


def label_superpixels(
    classifier: Pipeline, ids: NDArray[np.int64], x: Floats, portion: float
) -> NDArray[np.uint8]:
    """Label an image's most confident superpixels.

    Args:
        classifier: from `fit_classes`.
        ids: (h, w) from `divide`.
        x: (S, F + 5) from `describe`.
        portion: share of the superpixels that is labelled.

    Returns:
        (h, w) uint8 class indices, 255 elsewhere.
    """
    p = classifier.predict_proba(x)
    best = p.max(axis=1)
    # among equal confidences, the first
    chosen = np.argsort(-best, kind="stable")[: math.ceil(portion * len(best))]
    label = np.full(len(best), IGNORE, np.uint8)
    label[chosen] = classifier.classes_[p.argmax(axis=1)[chosen]]
    return np.asarray(label[ids], np.uint8)
