"""Materials, light and haze: the colour of each pixel of a view.

Images here are three planes of N pixels, (3, N) float32 in grey levels: numpy works on whole planes
several times faster than on interleaved triples.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from clan.town.camera import NEAR, OVERSAMPLE, Camera, Floats
from clan.town.scene import Polygons
from clan.town.shapes import MATERIALS
from clan.town.street import Painter
from clan.town.textures import noise_tile, sample
from clan.town.view import View

Image32 = NDArray[np.float32]
Pixels = NDArray[np.int64]

_SCALES = {"asphalt": 40.0, "paving": 30.0, "grass": 24.0, "plaster": 22.0, "leaf": 26.0,
           "metal": 10.0, "cloth": 60.0}  # fmt: skip
"""Pixels of noise tile per metre."""
_KINDS = {name: i for i, name in enumerate(MATERIALS)}
_FLAT = frozenset({"asphalt", "paving", "grass"})
"""Materials that lie on the ground."""
_FAR = 900.0
"""Largest depth, metres; farther points get this depth."""


@dataclass(frozen=True)
class Light:
    """The light of one frame."""

    sun: Floats
    """Unit vector towards the sun (3,)."""
    ambient: float
    shadow: float
    haze: float
    """Distance, metres."""
    sky_top: Image32
    sky_low: Image32
    clouds: float


class Surface:
    """The visible polygon and the world position of each of a view's N pixels."""

    def __init__(self, view: View, polygons: Polygons, eye: Camera, curvature: float) -> None:
        self.paints = polygons.paints
        # (N,): 0 = sky, else 1 + number of the polygon; intp is the fastest index type of numpy
        self.ids: NDArray[np.intp] = view.ids.ravel().astype(np.intp)
        self.depth = _depth(view, self.ids, eye)
        self.normals = np.abs(view.normals)
        self._curvature = np.float32(curvature)
        self._position = eye.position.astype(np.float32)
        self._axes = eye.axes.astype(np.float32)
        self._scale = np.float32(1 / eye.focal)
        self._size = view.ids.shape

    def directions(self, pixels: Pixels) -> Image32:
        """Return the ray directions of pixels in the world, (3, M), with forward component 1."""
        h, w = self._size
        u = ((pixels % w).astype(np.float32) + np.float32(0.5 - w / 2)) * self._scale
        v = ((pixels // w).astype(np.float32) + np.float32(0.5 - h / 2)) * self._scale
        right, down, ahead = self._axes
        return np.stack([right[k] * u + down[k] * v + ahead[k] for k in range(3)])

    def footprint(self, pixels: Pixels) -> Image32:
        """Return the width in metres that a pixel of the final image covers, (M,)."""
        return self.depth[pixels] * (OVERSAMPLE * self._scale)

    def coordinates(self, pixels: Pixels, flat: bool) -> tuple[Image32, Image32]:
        """Return (u, v) in metres: x and z on the ground, along and up on upright surfaces."""
        x, y, z = self.directions(pixels) * self.depth[pixels] + self._position[:, None]
        ahead = np.maximum(z, 0)
        x -= np.float32(0.5) * self._curvature * ahead * ahead
        if flat:
            return x, z
        normals = self.normals[self.ids[pixels] - 1]
        return np.where(normals[:, 0] > normals[:, 2], z, x), y


def _depth(view: View, ids: NDArray[np.intp], eye: Camera) -> Image32:
    h, w = view.ids.shape
    u = ((np.arange(w) + 0.5 - w / 2) / eye.focal).astype(np.float32)[None, :]
    v = ((np.arange(h) + 0.5 - h / 2) / eye.focal).astype(np.float32)[:, None]
    nearness = np.zeros((3, len(view.nearness) + 1), dtype=np.float32)
    nearness[:, 1:] = view.nearness.T
    inverse = nearness[0][ids].reshape(h, w) * u
    inverse += nearness[1][ids].reshape(h, w) * v
    inverse += nearness[2][ids].reshape(h, w)
    np.clip(inverse, 1 / _FAR, 1 / NEAR, out=inverse)
    return np.asarray(1 / inverse.ravel(), dtype=np.float32)


def shade_view(
    view: View,
    polygons: Polygons,
    eye: Camera,
    light: Light,
    shadows: Image32,
    painter: Painter,
    curvature: float,
) -> Image32:
    """Return the colours of a view (H, W, 3), about 0..255, before lens and sensor.

    `shadows` (H, W) is the darkness of the ground, `curvature` the bend of the street.
    """
    surface = Surface(view, polygons, eye, curvature)
    ids, paints = surface.ids, polygons.paints
    colors = np.zeros((3, len(paints) + 1), dtype=np.float32)
    colors[:, 1:] = np.array([paint.color for paint in paints]).T
    rgb = np.stack([plane[ids] for plane in colors])
    _lay_grids(rgb, surface, painter)

    lit = light.ambient + 1.5 * (1 - light.ambient) * np.maximum(view.normals @ light.sun, 0.0)
    lit[[paint.glow for paint in paints]] = 1.0
    brightness = np.concatenate([[1.0], lit]).astype(np.float32)[ids]
    dark = np.flatnonzero((shadows.ravel() > 0) & (ids <= int((polygons.owner == 0).sum())))
    brightness[dark] *= 1 - shadows.ravel()[dark]
    clear = np.exp(surface.depth * np.float32(-1 / light.haze))
    brightness *= clear
    _texture(brightness.reshape(view.ids.shape), surface, painter)
    veil = 1 - clear
    for plane, low in zip(rgb, light.sky_low, strict=True):
        plane *= brightness
        plane += low * veil
    _paint_sky(rgb, np.flatnonzero(ids == 0), surface, light, painter)
    merged: Image32 = cv2.merge([plane.reshape(view.ids.shape) for plane in rgb])
    return merged


def _lay_grids(rgb: Image32, surface: Surface, painter: Painter) -> None:
    """Paint windows, bricks, slabs and pickets; fade out patterns finer than pixels."""
    table = np.zeros((10, len(surface.paints) + 1), dtype=np.float32)
    level = np.zeros(len(surface.paints) + 1, dtype=bool)
    for i, paint in enumerate(surface.paints, 1):
        grid = paint.grid
        if grid is not None and (painter.look.joints > 0 or not grid.joint):
            table[:, i] = (grid.u0, grid.du, grid.fu, grid.v0, grid.dv, grid.fv,
                           grid.joint, *grid.color)  # fmt: skip
            level[i] = paint.material in _FLAT
    for flat in (False, True):
        pixels = np.flatnonzero(((table[1] > 0) & (level == flat))[surface.ids])
        if len(pixels):
            _lay_grid(rgb, surface, painter, table, pixels, flat)


def _lay_grid(
    rgb: Image32,
    surface: Surface,
    painter: Painter,
    table: Image32,
    pixels: Pixels,
    flat: bool,
) -> None:
    look, ids = painter.look, surface.ids[pixels]
    u, v = surface.coordinates(pixels, flat)
    u0, du, fu, v0, dv, fv, joint = (row[ids] for row in table[:7])
    u, v = (u - u0) / du, (v - v0) / dv
    column, row = np.floor(u), np.floor(v)
    inside = (np.abs(u - column - 0.5) < fu / 2) & (np.abs(v - row - 0.5) < fv / 2)
    sharp = np.clip(np.minimum(du, dv) / surface.footprint(pixels) / 3 - np.float32(0.5), 0, 1)
    cover = np.minimum(fu, 1) * np.minimum(fv, 1)
    stone = joint > 0
    # Below v0 is the ground floor of a house, which has no such windows.
    alpha = np.where((v > 0) | stone, cover + (inside - cover) * sharp, 0)
    tone = np.ones_like(u)
    if look.window_variation > 0:
        number = ids.astype(np.float32)
        which = sample(noise_tile(0.0), column * 7 + number * 13, row * 11 + number * 3)
        spread = np.where(stone, np.float32(0.06), np.float32(0.45)) * np.float32(
            look.window_variation
        )
        tone += spread * np.clip(which, np.float32(-1.2), np.float32(2.2))
    # The space between stones is darker mortar, between windows the facade.
    rest = np.where(stone, 1 - np.float32(0.55 * look.joints) * sharp, 1)
    for plane, color in zip(rgb, table[7:], strict=True):
        base = plane[pixels] * rest
        plane[pixels] = base + (color[ids] * tone - base) * alpha


def _texture(brightness: Image32, surface: Surface, painter: Painter) -> None:
    """Multiply brightness (H, W) by the texture of each material, as the look sets it.

    The texture has the resolution of the final image: one value for each of its pixels.
    """
    if not painter.look.texture:
        return
    h, w = brightness.shape
    n = OVERSAMPLE
    samples = np.arange(h * w).reshape(h, w)[n - 1 :: n, n - 1 :: n].ravel()
    kinds = [0, *(_KINDS[paint.material] for paint in surface.paints)]
    shown = np.array(kinds, dtype=np.uint8)[surface.ids[samples]]
    grain = np.ones(len(samples), dtype=np.float32)
    for name, contrast in painter.look.texture.items():
        chosen = np.flatnonzero(shown == _KINDS[name])
        pixels = samples[chosen]
        offset = painter.rng.uniform(0, 512, 2).astype(np.float32)
        u, v = surface.coordinates(pixels, name in _FLAT)
        scale = np.float32(_SCALES[name])
        fine = sample(noise_tile(0.6), u * scale + offset[0], v * scale + offset[1])
        broad = sample(noise_tile(1.3), u * (scale / 8) + offset[1], v * (scale / 8) + offset[0])
        fade = 1 / (1 + surface.footprint(pixels) * (scale / 6))
        both = fine * fade + np.float32(0.6) * broad
        grain[chosen] = np.maximum(1 + np.float32(contrast) * both, np.float32(0.2))
    brightness *= grain.reshape(h // n, w // n).repeat(n, axis=0).repeat(n, axis=1)


def _paint_sky(
    rgb: Image32, pixels: Pixels, surface: Surface, light: Light, painter: Painter
) -> None:
    """Paint a gradient, and clouds on a plane high above."""
    offset = painter.rng.uniform(0, 512, 2).astype(np.float32)
    x, y, z = surface.directions(pixels)
    rise = np.maximum(y, 0) / np.sqrt(x * x + y * y + z * z)
    blend = np.clip(rise * np.float32(2.2), 0, 1) ** np.float32(0.7)
    ceiling = 120 / (rise + np.float32(0.12))
    u, v = x * ceiling + offset[0], z * ceiling * np.float32(0.6) + rise * 300 + offset[1]
    density = sample(noise_tile(1.7), u, v)
    soft = np.float32(0.08 + 1.5 * painter.look.cloud_softness)
    cover = np.float32(light.clouds) * np.clip((density - np.float32(0.4)) / soft + 0.5, 0, 1)
    white = 250 - 14 * np.clip(density, 0, 2)
    for plane, low, top in zip(rgb, light.sky_low, light.sky_top, strict=True):
        sky = low + (top - low) * blend
        plane[pixels] = sky + (white - sky) * cover
