"""Polygon models of objects in a street: people, two-wheelers, trees and their parts.

A shape has its own coordinates: x to the right, y up from the ground, z along its heading.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from itertools import pairwise
from math import cos, pi, sin
from typing import NamedTuple

from numpy.random import Generator

from clan.town.look import Rgb

Point = tuple[float, float, float]
Point2 = tuple[float, float]


class Label(IntEnum):
    """Cityscapes labelIds, which GTA5 uses too."""

    EGO = 1
    ROAD = 7
    SIDEWALK = 8
    BUILDING = 11
    WALL = 12
    FENCE = 13
    POLE = 17
    LIGHT = 19
    SIGN = 20
    VEGETATION = 21
    TERRAIN = 22
    SKY = 23
    PERSON = 24
    RIDER = 25
    CAR = 26
    TRUCK = 27
    BUS = 28
    MOTORCYCLE = 32
    BICYCLE = 33


MATERIALS = ("plain", "asphalt", "paving", "grass", "plaster", "leaf", "metal", "cloth")


class Grid(NamedTuple):
    """A repeated rectangle of another colour on a surface: windows, bricks, pickets, slabs.

    Cells of `du` x `dv` metres start at (u0, v0); the rectangle fills `fu` x `fv` of each cell.
    On upright surfaces u runs along the surface and v upwards; on the ground they are x and z.
    """

    color: Rgb
    u0: float
    du: float
    fu: float
    v0: float
    dv: float
    fv: float
    joint: bool = False
    """Cells are stones and the rest is mortar; the look's `joints` sets its visibility."""


class Paint(NamedTuple):
    """Label, colour and material of one polygon."""

    label: Label
    color: Rgb
    material: str = "plain"
    layer: int = 0
    """Polygons of one shape are drawn layer by layer, far to near within a layer."""
    solid: bool = True
    """Visible from outside only; False = a sheet, visible from both sides."""
    glow: bool = False
    """Not shaded by the sun."""
    grid: Grid | None = None


@dataclass
class Shape:
    """Polygons as one flat list of points, with the number of points and the paint of each."""

    points: list[Point] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    paints: list[Paint] = field(default_factory=list)

    def add(self, paint: Paint, corners: Sequence[Point]) -> None:
        """Add one flat polygon of three corners or more."""
        self.points.extend(corners)
        self.sizes.append(len(corners))
        self.paints.append(paint)

    def flat(self, paint: Paint, corners: Sequence[Point2], z: float = 0.0) -> None:
        """Add one polygon in the plane z = const."""
        self.add(paint, [(x, y, z) for x, y in corners])

    def side(self, paint: Paint, corners: Sequence[Point2], x: float) -> None:
        """Add one polygon in the plane x = const; corners are (z, y)."""
        self.add(paint, [(x, y, z) for z, y in corners])

    def box(self, paint: Paint, low: Point, high: Point, top: Paint | None = None) -> None:
        """Add the four sides and the lid of a box."""
        (x0, y0, z0), (x1, y1, z1) = low, high
        self.add(paint, [(x0, y0, z0), (x1, y0, z0), (x1, y1, z0), (x0, y1, z0)])
        self.add(paint, [(x0, y0, z1), (x1, y0, z1), (x1, y1, z1), (x0, y1, z1)])
        self.add(paint, [(x0, y0, z0), (x0, y0, z1), (x0, y1, z1), (x0, y1, z0)])
        self.add(paint, [(x1, y0, z0), (x1, y0, z1), (x1, y1, z1), (x1, y1, z0)])
        self.add(top or paint, [(x0, y1, z0), (x1, y1, z0), (x1, y1, z1), (x0, y1, z1)])

    def extrude(self, paint: Paint, profile: Sequence[Point2], half: float, roof: float) -> None:
        """Add a body with side profile (z, y); its half width is `half` below and `roof` on top."""
        top = max(y for _, y in profile)
        low = min(y for _, y in profile)

        def width(y: float) -> float:
            return half + (roof - half) * (y - low) / (top - low)

        ring = [*profile, profile[0]]
        for (za, ya), (zb, yb) in pairwise(ring):
            a, b = width(ya), width(yb)
            self.add(paint, [(-a, ya, za), (a, ya, za), (b, yb, zb), (-b, yb, zb)])
        for s in (-1.0, 1.0):
            self.add(paint, [(s * width(y), y, z) for z, y in profile])


@lru_cache(maxsize=256)
def _circle(corners: int) -> tuple[Point2, ...]:
    turn = 2 * pi / corners
    return tuple((cos(i * turn), sin(i * turn)) for i in range(corners))


def disc(x: float, y: float, radius: float, corners: int = 12) -> list[Point2]:
    """Return a regular polygon around (x, y)."""
    return [(x + radius * c, y + radius * s) for c, s in _circle(corners)]


def rect(x0: float, y0: float, x1: float, y1: float) -> list[Point2]:
    """Return the corners of an upright rectangle."""
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def beam(a: Point2, b: Point2, wide: float) -> list[Point2]:
    """Return a straight bar from a to b."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    scale = wide / 2 / max((dx * dx + dy * dy) ** 0.5, 1e-6)
    nx, ny = -dy * scale, dx * scale
    return [(a[0] + nx, a[1] + ny), (b[0] + nx, b[1] + ny),
            (b[0] - nx, b[1] - ny), (a[0] - nx, a[1] - ny)]  # fmt: skip


def shade(color: Rgb, factor: float) -> Rgb:
    """Return a lighter (> 1) or darker (< 1) colour."""
    return (color[0] * factor, color[1] * factor, color[2] * factor)


def person(rng: Generator, clothes: Sequence[Rgb], height: float) -> Shape:
    """Return a walking person as a flat figure: legs, torso, arms, head, hair."""
    shape = Shape()
    coat, trousers, skin, hair = _dress(rng, clothes)
    h = height
    stride = float(rng.uniform(0.02, 0.16)) * h

    def paint(color: Rgb, layer: int, material: str = "cloth") -> Paint:
        return Paint(Label.PERSON, color, material, layer, solid=False)

    for i, side in enumerate((-1.0, 1.0)):
        foot = side * stride
        leg = beam((side * 0.045 * h, 0.5 * h), (foot, 0.02 * h), 0.085 * h)
        shape.flat(paint(shade(trousers, 0.85 + 0.15 * i), 1), leg)
        shape.flat(paint((40, 36, 34), 1), rect(foot - 0.05 * h, 0, foot + 0.05 * h, 0.04 * h))
        hand = (side * 0.14 * h - foot * 0.4, 0.46 * h)
        arm = beam((side * 0.12 * h, 0.79 * h), hand, 0.06 * h)
        shape.flat(paint(shade(coat, 0.86), 1 + 2 * i), arm)
    torso = [(-0.11, 0.46), (0.11, 0.46), (0.135, 0.8), (0.06, 0.84), (-0.06, 0.84), (-0.135, 0.8)]
    shape.flat(paint(coat, 2), [(x * h, y * h) for x, y in torso])
    shape.flat(paint(hair, 3, "plain"), disc(0, 0.94 * h, 0.066 * h))
    shape.flat(paint(skin, 4, "plain"), disc(0.01 * h, 0.92 * h, 0.056 * h))
    return shape


def _dress(rng: Generator, clothes: Sequence[Rgb]) -> tuple[Rgb, Rgb, Rgb, Rgb]:
    skins = ((226, 186, 158), (196, 148, 116), (138, 96, 72))
    hairs = ((44, 34, 30), (96, 66, 40), (170, 140, 90))
    coat, trousers = (clothes[int(i)] for i in rng.integers(0, len(clothes), 2))
    return coat, shade(trousers, 0.75), skins[int(rng.integers(3))], hairs[int(rng.integers(3))]


def _wheel(shape: Shape, paint: Paint, z: float, radius: float, band: float) -> None:
    """Add a ring in the plane x = 0 as one polygon: the outer circle, then the inner one."""
    outer = disc(z, radius, radius, 16)
    inner = disc(z, radius, radius - band, 16)
    shape.side(paint, [*outer, outer[0], inner[0], *reversed(inner)], 0.0)


def bicycle(color: Rgb) -> Shape:
    """Return a bicycle: two ring wheels, a frame, handlebar and saddle."""
    shape = Shape()
    tyre = Paint(Label.BICYCLE, (34, 34, 38), solid=False)
    frame = Paint(Label.BICYCLE, color, "metal", 1, solid=False)
    for z in (-0.52, 0.52):
        _wheel(shape, tyre, z, 0.34, 0.085)
        shape.side(tyre, beam((z - 0.3, 0.34), (z + 0.3, 0.34), 0.03), 0.0)
        shape.side(tyre, beam((z, 0.04), (z, 0.64), 0.03), 0.0)
    joints = {"rear": (-0.52, 0.34), "crank": (-0.06, 0.3), "seat": (-0.2, 0.86),
              "head": (0.34, 0.84), "front": (0.52, 0.34)}  # fmt: skip
    for a, b in (("rear", "crank"), ("rear", "seat"), ("seat", "crank"), ("crank", "head"),
                 ("seat", "head"), ("head", "front")):  # fmt: skip
        shape.side(frame, beam(joints[a], joints[b], 0.085), 0.0)
    shape.side(tyre, beam((-0.34, 0.95), (-0.08, 0.95), 0.07), 0.0)
    shape.side(frame, beam((0.34, 0.84), (0.3, 1.08), 0.06), 0.0)
    # The handlebar and these two stay visible if the bicycle is seen from behind.
    shape.flat(tyre, beam((-0.28, 1.05), (0.28, 1.05), 0.06), 0.3)
    shape.flat(tyre, rect(-0.04, 0.0, 0.04, 0.68), -0.52)
    shape.flat(frame, rect(-0.04, 0.3, 0.04, 0.95), -0.2)
    return shape


def motorcycle(color: Rgb) -> Shape:
    """Return a motorcycle: wheels, engine, tank, seat, fork, handlebar, lamp."""
    shape = Shape()
    black = Paint(Label.MOTORCYCLE, (36, 36, 40), solid=False)
    metal = Paint(Label.MOTORCYCLE, (120, 122, 128), "metal", 1, solid=False)
    body = Paint(Label.MOTORCYCLE, color, "metal", 2, solid=False)
    for z in (-0.68, 0.72):
        _wheel(shape, black, z, 0.33, 0.15)
        shape.flat(black, rect(-0.08, 0.0, 0.08, 0.66), z)
    shape.side(metal, [(-0.4, 0.3), (0.35, 0.3), (0.4, 0.62), (-0.4, 0.62)], 0.0)
    shape.side(metal, beam((0.4, 0.95), (0.72, 0.33), 0.09), 0.0)
    shape.side(body, [(-0.1, 0.6), (0.5, 0.62), (0.42, 0.96), (0.1, 1.0), (-0.1, 0.8)], 0.0)
    shape.side(body, [(-0.98, 0.82), (-0.6, 0.6), (-0.1, 0.66), (-0.1, 0.82), (-0.6, 0.86)], 0.0)
    shape.side(black, beam((-0.75, 0.88), (-0.05, 0.84), 0.1), 0.0)
    shape.flat(body, [(-0.2, 0.45), (0.2, 0.45), (0.16, 0.95), (-0.16, 0.95)], -0.3)
    shape.flat(black, beam((-0.38, 1.04), (0.38, 1.04), 0.07), 0.38)
    tail = Paint(Label.MOTORCYCLE, (200, 40, 40), layer=3, solid=False, glow=True)
    shape.flat(tail, rect(-0.09, 0.72, 0.09, 0.84), -0.9)
    return shape


def rider(rng: Generator, clothes: Sequence[Rgb], *, helmet: bool) -> Shape:
    """Return the rider of a two-wheeler, with polygons for the side and the back view."""
    shape = Shape()
    coat, trousers, skin, hair = _dress(rng, clothes)
    if helmet:
        hair = clothes[int(rng.integers(len(clothes)))]

    def paint(color: Rgb, layer: int, material: str = "cloth") -> Paint:
        return Paint(Label.RIDER, color, material, layer, solid=False)

    shape.side(paint(trousers, 1), beam((-0.18, 0.98), (0.14, 0.66), 0.16), 0.0)
    shape.side(paint(trousers, 1), beam((0.14, 0.66), (0.0, 0.25), 0.13), 0.0)
    shape.side(paint(coat, 2), beam((-0.2, 0.92), (0.04, 1.48), 0.28), 0.0)
    shape.side(paint(shade(coat, 0.85), 3), beam((0.02, 1.4), (0.34, 1.06), 0.1), 0.0)
    for s in (-1.0, 1.0):
        shape.flat(paint(trousers, 1), beam((s * 0.1, 0.95), (s * 0.15, 0.3), 0.13), -0.1)
        shape.flat(paint(shade(coat, 0.85), 1), beam((s * 0.2, 1.42), (s * 0.28, 1.0), 0.1), 0.05)
    back = [(-0.17, 0.92), (0.17, 0.92), (0.22, 1.44), (-0.22, 1.44)]
    shape.flat(paint(coat, 2), back, -0.1)
    for flat in (shape.flat, shape.side):
        lean = 0.0 if flat == shape.flat else 0.1
        flat(paint(hair, 3, "plain"), disc(lean, 1.64, 0.135), 0.0)
        flat(paint(skin, 4, "plain"), disc(lean + 0.02, 1.58, 0.09), 0.0)
    return shape


def tree(rng: Generator, leaf: Rgb, height: float, leafiness: float, *, far: bool = False) -> Shape:
    """Return a tree: a trunk and a crown of overlapping ragged blobs, lit from above."""
    shape = Shape()
    bark = Paint(Label.VEGETATION, (92, 74, 60), "plaster", 0, solid=False)
    trunk = 0.035 * height
    shape.flat(bark, [(-trunk, 0), (trunk, 0), (trunk * 0.7, 0.5 * height),
                      (-trunk * 0.7, 0.5 * height)])  # fmt: skip
    blobs = 3 if far else int(rng.integers(5, 8))
    spread = 0.2 * height
    offsets = rng.normal(0, 1, (blobs, 3)).tolist()
    for i, (dx, dy, dt) in enumerate(offsets):
        tone = 0.78 + 0.4 * (i / blobs) + 0.04 * dt
        paint = Paint(Label.VEGETATION, shade(leaf, tone), "leaf", i + 1, solid=False)
        center = (0.55 * spread * dx, 0.66 * height + 0.44 * spread * dy + 0.05 * i)
        radius = spread * (0.65 + 0.35 * abs(dt) / (1 + abs(dt)))
        shape.flat(paint, _ragged(rng, center, radius, leafiness), -0.02 * i)
    return shape


def bush(rng: Generator, leaf: Rgb, wide: float, height: float, leafiness: float) -> Shape:
    """Return a low bush, `wide` metres across."""
    shape = Shape()
    for i in range(3):
        paint = Paint(Label.VEGETATION, shade(leaf, 0.8 + 0.14 * i), "leaf", i, solid=False)
        center = (float(rng.uniform(-0.3, 0.3)) * wide, height * 0.45)
        shape.flat(paint, _ragged(rng, center, wide * 0.4, leafiness, height * 0.55), -0.02 * i)
    return shape


def _ragged(
    rng: Generator, center: Point2, radius: float, leafiness: float, high: float | None = None
) -> list[Point2]:
    corners = 10 + int(12 * leafiness)
    circle = disc(0.0, 0.0, 1.0, corners)
    bumps = rng.uniform(1 - 0.2 * leafiness, 1 + 0.2 * leafiness, corners).tolist()
    tall = high or radius
    return [
        (center[0] + radius * bump * x, center[1] + tall * bump * y)
        for bump, (x, y) in zip(bumps, circle, strict=True)
    ]
