"""A pinhole camera."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import cos, radians, sin, tan

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NEAR = 0.4
"""Nothing closer than this (metres) is drawn."""
SUBPIXEL = 4
"""Fractional bits of the vertex coordinates given to OpenCV."""
OVERSAMPLE = 2
"""Factor by which each side of a drawn view exceeds that of the final image."""


@dataclass(frozen=True)
class Camera:
    """Position and direction of the camera; angles in degrees, pitch positive downwards."""

    x: float
    height: float
    pitch: float
    yaw: float
    field_of_view: float
    size: tuple[int, int]
    """(H, W) of the view in pixels."""

    @cached_property
    def position(self) -> Floats:
        """The camera's centre (3,)."""
        return np.array([self.x, self.height, 0.0])

    @cached_property
    def axes(self) -> Floats:
        """Rows: the image's right, down and forward directions in the world (3, 3)."""
        pitch, yaw = radians(self.pitch), radians(self.yaw)
        forward = np.array([sin(yaw) * cos(pitch), -sin(pitch), cos(yaw) * cos(pitch)])
        right = np.array([cos(yaw), 0.0, -sin(yaw)])
        return np.stack([right, np.cross(right, forward), forward])

    @cached_property
    def heading(self) -> tuple[float, float]:
        """Cosine and sine of the yaw."""
        return cos(radians(self.yaw)), sin(radians(self.yaw))

    @cached_property
    def focal(self) -> float:
        """Focal length in pixels."""
        return self.size[1] / 2 / self.slope

    @cached_property
    def slope(self) -> float:
        """Tangent of half the angle of view."""
        return tan(radians(self.field_of_view) / 2)

    def to_pixels(self, points: Floats) -> NDArray[np.int32]:
        """Return fixed-point pixel coordinates (V, 2) of points in camera axes (V, 3)."""
        h, w = self.size
        center = np.array([w / 2 - 0.5, h / 2 - 0.5])
        flat = points[:, :2] / points[:, 2:] * self.focal + center
        return np.asarray(np.round(flat * (1 << SUBPIXEL)), dtype=np.int32)
