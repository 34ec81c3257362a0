"""The layout of a street and its ground, the same for both domains."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.random import Generator

from clan.town.look import Look, Palette, Range, Rgb
from clan.town.scene import GROUND_KEY, Scene
from clan.town.shapes import Grid, Label, Paint, Shape, shade

KERB = 0.15
"""Height of the sidewalk above the road, metres."""
BEHIND, END = -3.0, 120.0
"""Start and end of the street, metres ahead of the camera."""
_SLICES = (BEHIND, 2.0, 4.0, 6.5, 10.0, 15.0, 22.0, 30.0, 40.0, 55.0, 75.0, END)


@dataclass(frozen=True)
class Street:
    """The measures of one street; sides are -1 (left) and +1 (right)."""

    lanes: int
    """Lanes per direction."""
    lane: float
    parking: dict[int, float]
    """Width of the parking strip of each side, 0 = none."""
    verge: float
    walk: float
    crossing: float | None
    """Distance of the crossing street's middle, or None."""
    crossing_half: float = 4.0

    def kerb(self, side: int) -> float:
        """Return the distance of a side's kerb from the middle of the road."""
        return self.lanes * self.lane + self.parking[side]

    def walkway(self, side: int) -> Range:
        """Return the inner and outer edge of a side's sidewalk."""
        inner = self.kerb(side) + self.verge
        return inner, inner + self.walk

    def open_spans(self, low: float, high: float, margin: float) -> list[Range]:
        """Return the parts of low..high not taken by the crossing street."""
        if self.crossing is None:
            return [(low, high)]
        gap = (self.crossing - self.crossing_half - margin,
               self.crossing + self.crossing_half + margin)  # fmt: skip
        return [(a, b) for a, b in ((low, gap[0]), (gap[1], high)) if b - a > 0.5]

    def free(self, z: float, margin: float) -> bool:
        """Return whether a place is off the crossing street by at least `margin` metres."""
        return self.crossing is None or abs(z - self.crossing) > self.crossing_half + margin


def _grey(level: float) -> float:
    return min(max(level, 4.0), 255.0)


class Painter:
    """Draws random colours and sizes for one frame from its look and generator."""

    def __init__(self, look: Look, rng: Generator) -> None:
        self.look = look
        self.rng = rng

    def pick(self, palette: Palette) -> Rgb:
        """Return a colour of the palette, varied by the look's jitter."""
        r, g, b = palette[int(self.rng.integers(len(palette)))]
        tone, dr, dg, db = self.rng.standard_normal(4).tolist()
        tone *= self.look.colour_jitter
        return (_grey(r + tone + 2 * dr), _grey(g + tone + 2 * dg), _grey(b + tone + 2 * db))

    def uniform(self, span: Range) -> float:
        """Return a number from a range."""
        return float(self.rng.uniform(*span))

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return bool(self.rng.random() < probability)

    def count(self, mean: float) -> int:
        """Return a number from the Poisson distribution with this mean."""
        return int(self.rng.poisson(mean))


def lay_out(painter: Painter) -> Street:
    """Draw the measures of a street."""
    look, rng = painter.look, painter.rng
    lanes = 1 + int(rng.random() >= look.lanes[0] / sum(look.lanes))
    crossing = painter.uniform((16.0, 55.0)) if painter.chance(look.crossing) else None
    return Street(
        lanes=lanes,
        lane=painter.uniform((3.0, 3.6)),
        parking={side: 2.2 if painter.chance(0.6) else 0.0 for side in (-1, 1)},
        verge=painter.uniform((1.0, 2.2)) if painter.chance(look.verge) else 0.0,
        walk=painter.uniform((2.2, 4.0)),
        crossing=crossing,
        crossing_half=painter.uniform((3.2, 5.0)),
    )


def strip(shape: Shape, paint: Paint, x: Range, y: float, z: Range) -> None:
    """Add a level strip along the street, in slices so that it can bend."""
    for a, b in _slices(z):
        shape.add(paint, [(x[0], y, a), (x[1], y, a), (x[1], y, b), (x[0], y, b)])


def pave(scene: Scene, street: Street, painter: Painter) -> None:
    """Place the ground: grass, road, sidewalks, kerbs, markings."""
    look, rng = painter.look, painter.rng
    ground = Shape()
    grass = Paint(Label.TERRAIN, painter.pick(look.terrain), "grass", 0, solid=False)
    asphalt = Paint(Label.ROAD, painter.pick(look.road), "asphalt", 2, solid=False)
    stone = painter.pick(look.sidewalk)
    slab = float(rng.choice([0.5, 0.8, 1.2]))
    slabs = Grid(stone, 0.0, slab, 0.94, 0.0, slab, 0.94, joint=True)
    paving = Paint(Label.SIDEWALK, stone, "paving", 3, solid=False, grid=slabs)
    edge = Paint(Label.SIDEWALK, shade(stone, 0.82), "paving", 4, solid=False)
    ground.add(grass, [(-900, 0, BEHIND), (900, 0, BEHIND), (900, 0, 1200), (-900, 0, 1200)])
    strip(ground, asphalt, (-street.kerb(-1), street.kerb(1)), 0.0, (BEHIND, END))
    for side in (-1, 1):
        kerb, (inner, outer) = street.kerb(side), street.walkway(side)
        for span in street.open_spans(BEHIND, END, 0.0):
            strip(ground, grass._replace(layer=1), _ordered(side, kerb, 90.0), KERB - 0.02, span)
            strip(ground, paving, _ordered(side, inner, outer), KERB, span)
            strip(ground, edge, _ordered(side, kerb, kerb + 0.3), KERB, span)
            for a, b in _slices(span):
                x = side * kerb
                ground.add(edge, [(x, 0, a), (x, 0, b), (x, KERB, b), (x, KERB, a)])
    if street.crossing is not None:
        _pave_crossing(ground, street, asphalt, paving, edge)
    _mark(ground, street, painter)
    for _ in range(painter.count(look.repairs)):
        patch = asphalt._replace(color=shade(asphalt.color, painter.uniform((0.7, 1.12))), layer=5)
        x, z = painter.uniform((-street.kerb(-1), street.kerb(1) - 2.0)), painter.uniform((3, 30))
        strip(ground, patch, (x, x + painter.uniform((0.6, 1.8))), 0.0,
              (z, z + painter.uniform((1.0, 7.0))))  # fmt: skip
    scene.place(ground, distance=GROUND_KEY, depth=-1.0)


def _ordered(side: int, near: float, far: float) -> Range:
    return (near, far) if side > 0 else (-far, -near)


def _slices(span: Range) -> list[Range]:
    edges = [span[0], *(s for s in _SLICES if span[0] < s < span[1]), span[1]]
    return list(pairwise(edges))


def _pave_crossing(
    ground: Shape, street: Street, asphalt: Paint, paving: Paint, edge: Paint
) -> None:
    assert street.crossing is not None
    low, high = street.crossing - street.crossing_half, street.crossing + street.crossing_half
    strip(ground, asphalt, (-90.0, 90.0), 0.0, (low, high))
    for side in (-1, 1):
        for a, b in ((low - 3.0, low), (high, high + 3.0)):
            strip(ground, paving, _ordered(side, street.kerb(side), 90.0), KERB, (a, b))
        x0, x1 = _ordered(side, street.kerb(side), 90.0)
        # Of the kerbs along the crossing street, the camera sees only the far one.
        ground.add(edge, [(x0, 0, high), (x1, 0, high), (x1, KERB, high), (x0, KERB, high)])


def _mark(ground: Shape, street: Street, painter: Painter) -> None:
    """Add lane markings, stop line and zebra crossing; all of them are road."""
    color = painter.pick(painter.look.marking)
    white = Paint(Label.ROAD, color, "asphalt", 6, solid=False)
    dashes = [float(z) for z in np.arange(painter.uniform((-2.0, 4.0)), 80.0, 7.0)]
    solid_middle = painter.chance(0.4)
    for lane in range(1 - street.lanes, street.lanes):
        x = lane * street.lane
        if lane == 0 and solid_middle:
            for span in street.open_spans(BEHIND, 100.0, 5.0):
                strip(ground, white, (x - 0.08, x + 0.08), 0.0, span)
        else:
            for z in dashes:
                if street.free(z, 4.0):
                    strip(ground, white, (x - 0.08, x + 0.08), 0.0, (z, z + 3.0))
    for side in (-1, 1):
        x = side * street.lanes * street.lane
        for span in street.open_spans(BEHIND, 100.0, 5.0):
            strip(ground, white, (x - 0.07, x + 0.07), 0.0, span)
    if street.crossing is not None:
        z = street.crossing - street.crossing_half - 3.6
        for x in np.arange(-street.kerb(-1) + 0.4, street.kerb(1) - 0.4, 1.0).tolist():
            strip(ground, white, (x, x + 0.5), 0.0, (z, z + 3.0))
        strip(ground, white, (0.2, street.lanes * street.lane), 0.0, (z - 1.4, z - 1.0))
