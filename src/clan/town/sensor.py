"""Lens and sensor effects: from scene light to image pixels."""

from __future__ import annotations

from math import exp, log

import cv2
import numpy as np
from numpy.typing import NDArray

from clan.town.shapes import Label
from clan.town.street import Painter

Image32 = NDArray[np.float32]


def add_bonnet(image: Image32, labels: NDArray[np.uint8], part: float) -> None:
    """Cover the lower edge with the bonnet of the ego vehicle."""
    h, w = labels.shape
    x = (np.arange(w, dtype=np.float32) + 0.5) / w * 2 - 1
    edge = h * (1 - part * (1 - 0.45 * x**2))
    rows = np.arange(h, dtype=np.float32)[:, None] + 0.5
    first = int(h * (1 - part)) - 1
    covered = rows[first:] > edge[None, :]
    gloss = 34.0 + 46.0 * np.exp(-(((rows[first:] - edge[None, :]) / (0.3 * part * h)) ** 2))
    image[first:][covered] = gloss[covered][:, None]
    labels[first:][covered] = Label.EGO


def expose(image: Image32, painter: Painter) -> NDArray[np.uint8]:
    """Apply lens and sensor: vignette, blur, exposure, colour cast, contrast, noise."""
    look, rng = painter.look, painter.rng
    h, w = image.shape[:2]
    blur = painter.uniform(look.blur) * (w / 256) ** 0.5
    if blur > 0.05:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), blur))
    x = np.linspace(-1, 1, w, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, h, dtype=np.float32)[:, None] * np.float32(h / w)
    darkness = painter.uniform(look.vignette)
    gain = exp(painter.uniform((log(look.exposure[0]), log(look.exposure[1]))))
    warmth = look.warmth / 2
    gains = np.exp(rng.normal((warmth, 0.0, -warmth), (look.cast, 0.0, look.cast)))
    # One 3x3 matrix applies gains, saturation and contrast: `saturation` scales the distance of
    # colours from grey, `contrast` the distance of greys from middle grey.
    contrast, saturation = painter.uniform(look.contrast), painter.uniform(look.saturation)
    matrix = contrast * (saturation * np.eye(3) + (1 - saturation) / 3)
    matrix = matrix @ np.diag(gain * gains / gains.mean())
    image = np.asarray(cv2.transform(image, matrix.astype(np.float32)))
    image *= (1 - np.float32(darkness) * (x * x + y * y))[..., None]
    image += np.float32(118 * (1 - contrast))
    # Highlights are compressed smoothly instead of clipped, as in film and sensors.
    bright = image > 220
    image[bright] = 220 + 35 * np.tanh((image[bright] - 220) / 50)
    sigma = painter.uniform(look.noise)
    if sigma > 0:
        grain = rng.standard_normal(image.shape, dtype=np.float32)
        image += grain * np.float32(sigma) * np.sqrt(np.maximum(image, 8) / 118)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
