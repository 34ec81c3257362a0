"""A scene: shapes placed in the world, flattened to arrays of polygons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import cos, sin

import numpy as np
from numpy.typing import NDArray

from clan.town.camera import Camera, Floats
from clan.town.shapes import Paint, Point, Shape

GROUND_KEY = 1e9
"""Distance of the ground in the drawing order: behind all objects."""
_SHADOW_LENGTH = 3.0


@dataclass(frozen=True)
class Placed:
    """One shape in the world."""

    points: Floats
    sizes: Sequence[int]
    paints: Sequence[Paint]
    distance: float
    """Along the street; farther objects are drawn first."""
    depth: float
    """Half the depth of its shadow along z, metres; negative = no shadow."""
    contact: bool
    """Whether it darkens the ground right below."""


@dataclass(frozen=True)
class Polygons:
    """All polygons of a scene: points (V, 3); per polygon its size, paint and object."""

    points: Floats
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    paints: list[Paint]
    owner: NDArray[np.int64]
    layer: NDArray[np.int64]
    centers: Floats
    """Middle of each object (O, 3)."""
    rank: NDArray[np.int64]
    """Drawing order of each object (O,), far to near."""


@dataclass
class Scene:
    """The placed objects. x = 0 is the middle of the road, z runs along it, y = 0 is the road."""

    curvature: float
    """The street bends by x += curvature * z^2 / 2."""
    eye: Camera
    placed: list[Placed] = field(default_factory=list)

    def sees(self, x: float, z: float, reach: float) -> bool:
        """Return whether an object within `reach` metres of (x, z), or its shadow, can be seen."""
        c, s = self.eye.heading
        dx = x + 0.5 * self.curvature * max(z, 0.0) ** 2 - self.eye.x
        depth, aside = s * dx + c * z, abs(c * dx - s * z)
        reach += _SHADOW_LENGTH
        # Seen from above, the view has the horizontal angle of the image, since the pitch is small.
        return depth > -reach and aside < max(depth, 0.0) * self.eye.slope + 1.5 * reach

    def place(
        self,
        shape: Shape,
        at: Point = (0.0, 0.0, 0.0),
        heading: float = 0.0,
        *,
        distance: float | None = None,
        depth: float = 0.0,
        contact: bool = False,
    ) -> None:
        """Turn a shape by `heading` radians about y and move it to `at`."""
        local = np.array(shape.points, dtype=np.float64)
        c, s = cos(heading), sin(heading)
        world = np.empty_like(local)
        world[:, 0] = c * local[:, 0] + s * local[:, 2] + at[0]
        world[:, 1] = local[:, 1] + at[1]
        world[:, 2] = c * local[:, 2] - s * local[:, 0] + at[2]
        self.placed.append(
            Placed(
                points=self.bent(world),
                sizes=shape.sizes,
                paints=shape.paints,
                distance=at[2] if distance is None else distance,
                depth=depth,
                contact=contact,
            )
        )

    def bent(self, points: Floats) -> Floats:
        """Bend points (V, 3) of the straight street in place; return them."""
        ahead = np.maximum(points[:, 2], 0.0)
        points[:, 0] += 0.5 * self.curvature * ahead * ahead
        return points

    def polygons(self) -> Polygons:
        """Return every polygon of every object."""
        sizes = np.array([n for item in self.placed for n in item.sizes], dtype=np.int64)
        paints = [paint for item in self.placed for paint in item.paints]
        counts = [len(item.sizes) for item in self.placed]
        order = np.argsort([-item.distance for item in self.placed], kind="stable")
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        return Polygons(
            points=np.concatenate([item.points for item in self.placed]),
            starts=np.concatenate([[0], np.cumsum(sizes)[:-1]]),
            sizes=sizes,
            paints=paints,
            owner=np.repeat(np.arange(len(counts)), counts),
            layer=np.array([paint.layer for paint in paints], dtype=np.int64),
            centers=np.array(
                [(item.points.min(0) + item.points.max(0)) / 2 for item in self.placed]
            ),
            rank=rank,
        )
