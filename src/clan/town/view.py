"""Rasterising a scene: which polygon each pixel shows, and where shadows fall."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from clan.town.camera import NEAR, SUBPIXEL, Camera, Floats
from clan.town.scene import Placed, Polygons

_SHADOWED = 45.0
"""Objects farther down the street (metres) cast no visible shadow."""


@dataclass(frozen=True)
class View:
    """What the camera sees."""

    ids: NDArray[np.int32]
    """(H, W): 0 = sky, else 1 + the polygon's number."""
    nearness: Floats
    """(P, 3): the dot product of nearness[p] and a ray is 1 / depth along the ray."""
    normals: Floats
    """(P, 3): unit normals in the world, on the visible side."""


def clip_near(points: Floats) -> Floats:
    """Clip a polygon (V, 3), in camera axes, to beyond the near plane; may return no points."""
    kept = []
    corners = points.tolist()
    x0, y0, z0 = corners[-1]
    for x, y, z in corners:
        if (z >= NEAR) != (z0 >= NEAR):
            t = (NEAR - z0) / (z - z0)
            kept.append((x0 + t * (x - x0), y0 + t * (y - y0), NEAR))
        if z >= NEAR:
            kept.append((x, y, z))
        x0, y0, z0 = x, y, z
    return np.array(kept).reshape(-1, 3)


def look_at(polygons: Polygons, camera: Camera) -> View:
    """Draw the polygons far to near (painter's order)."""
    axes, position = camera.axes, camera.position
    points = (polygons.points - position) @ axes.T
    starts, sizes = polygons.starts, polygons.sizes
    first = polygons.points[starts]
    middles = np.add.reduceat(polygons.points, starts) / sizes[:, None]
    normals = np.cross(polygons.points[starts + 1] - first, polygons.points[starts + 2] - first)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)

    solid = np.array([paint.solid for paint in polygons.paints])
    outward = np.einsum("pk,pk->p", normals, middles - polygons.centers[polygons.owner])
    facing = np.einsum("pk,pk->p", normals, first - position)
    # Normals of solids point away from the solid's middle, those of sheets to the camera.
    normals[np.where(solid, outward < 0, facing > 0)] *= -1
    facing = np.einsum("pk,pk->p", normals, first - position)

    nearness = normals @ axes.T / np.where(np.abs(facing) < 1e-6, 1e-6, facing)[:, None]
    visible = (facing < 0) & (np.maximum.reduceat(points[:, 2], starts) > NEAR)
    crosses = np.minimum.reduceat(points[:, 2], starts) < NEAR
    safe = points.copy()
    safe[:, 2] = np.maximum(safe[:, 2], NEAR)
    pixels = camera.to_pixels(safe)
    visible &= crosses | _on_screen(pixels, starts, camera.size)

    distance = np.linalg.norm(middles - position, axis=1)
    order = np.lexsort((-distance, polygons.layer, polygons.rank[polygons.owner]))
    ids = np.zeros(camera.size, dtype=np.int32)
    for i in order[visible[order]].tolist():
        a, b = int(starts[i]), int(starts[i] + sizes[i])
        outline = pixels[a:b]
        if crosses[i]:
            clipped = clip_near(points[a:b])
            if len(clipped) < 3:
                continue
            outline = camera.to_pixels(clipped)
        cv2.fillPoly(ids, [outline], i + 1, cv2.LINE_8, SUBPIXEL)
    return View(ids, nearness, normals)


def _on_screen(
    pixels: NDArray[np.int32], starts: NDArray[np.int64], size: tuple[int, int]
) -> NDArray[np.bool_]:
    low = np.minimum.reduceat(pixels, starts) >> SUBPIXEL
    high = np.maximum.reduceat(pixels, starts) >> SUBPIXEL
    h, w = size
    inside: NDArray[np.bool_] = (
        (high[:, 0] >= 0) & (low[:, 0] < w) & (high[:, 1] >= 0) & (low[:, 1] < h)
    )
    return inside


def cast_shadows(
    placed: list[Placed], camera: Camera, sun: Floats, darkness: float, contact: float
) -> NDArray[np.float32]:
    """Return the darkness (H, W) of the ground in 0..1, as if objects did not hide it.

    `sun` is the unit vector towards the light. A shadow is the convex hull of an object's points
    projected along the light onto the ground.
    """
    mask = np.zeros(camera.size, dtype=np.uint8)
    axes, position = camera.axes, camera.position
    for item in placed:
        if darkness > 0 and item.depth >= 0 and item.distance < _SHADOWED:
            flat = item.points - sun * (item.points[:, 1:2] / sun[1])
            if item.depth > 0:
                reach = np.array([0.0, 0.0, item.depth])
                flat = np.concatenate([flat, flat + reach, flat - reach])
            _fill_hull(mask, flat, camera, axes, position, round(255 * darkness))
    for item in placed:
        if contact > 0 and item.contact:
            # Slightly wider than the object, since the ground beside it is darker too.
            middle = item.points.mean(0)
            flat = middle + 1.06 * (item.points - middle)
            _fill_hull(mask, flat, camera, axes, position, round(255 * max(contact, darkness)))
    soft = cv2.blur(mask, (3, 3))
    return np.asarray(soft, dtype=np.float32) / np.float32(255)


def _fill_hull(
    mask: NDArray[np.uint8],
    flat: Floats,
    camera: Camera,
    axes: Floats,
    position: Floats,
    value: int,
) -> None:
    hull = cv2.convexHull(np.ascontiguousarray(flat[:, ::2], dtype=np.float32))[:, 0]
    if len(hull) < 3:
        return
    ground = np.stack([hull[:, 0], np.zeros(len(hull)), hull[:, 1]], axis=1)
    seen = (ground - position) @ axes.T
    clipped = clip_near(seen) if seen[:, 2].min() < NEAR else seen
    if len(clipped) >= 3:
        cv2.fillPoly(mask, [camera.to_pixels(clipped)], value, cv2.LINE_8, SUBPIXEL)
