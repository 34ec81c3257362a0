"""Objects along a street: plots with houses, gardens and parks, and furniture at the kerb."""

from __future__ import annotations

import numpy as np

from clan.town import furniture
from clan.town.look import Range
from clan.town.scene import Scene
from clan.town.shapes import bush, shade, tree
from clan.town.street import BEHIND, END, KERB, Painter, Street

_PLAIN = 50.0
"""Farther away, trees and houses are simpler."""


def build_up(scene: Scene, street: Street, painter: Painter) -> None:
    """Place the plots on both sides, and houses or woods at the end of the street."""
    look, rng = painter.look, painter.rng
    kinds, weights = list(look.lots), np.array(list(look.lots.values()))
    for side in (-1, 1):
        line = street.walkway(side)[1]
        for low, high in street.open_spans(BEHIND - 5.0, END - 20.0, 3.2):
            z = low
            while z < high - 4.0:
                length = min(painter.uniform((8.0, 20.0)), high - z)
                kind = str(rng.choice(kinds, p=weights / weights.sum()))
                _PLOTS[kind](scene, painter, side, line, (z, z + length))
                z += length
    for x in np.arange(-150.0, 150.0, 16.0).tolist():
        size = (painter.uniform((14, 18)), painter.uniform((6, 24)), 8.0)
        if painter.chance(0.6):
            _house(scene, painter, (x, 0.0, END + 25.0), size, END + 30.0)
        else:
            wood = bush(rng, painter.pick(look.leaf), 26.0, painter.uniform((6, 13)), 0.6)
            scene.place(wood, (x, 0.0, END + 10.0), depth=-1.0)


def _house(
    scene: Scene,
    painter: Painter,
    at: tuple[float, float, float],
    size: tuple[float, float, float],
    distance: float,
    pitched: bool = False,
) -> None:
    if not scene.sees(at[0], at[2], max(size[0], size[2]) * 0.7):
        return
    look = painter.look
    facade, roof, glass = (painter.pick(p) for p in (look.facade, look.roof, look.glass))
    start = at[2] - size[2] / 2
    body = furniture.house(painter.rng, (facade, roof, glass), size, start, far=at[2] > _PLAIN)
    scene.place(body, at, distance=distance, depth=0.0 if at[2] < 70 else -1.0)
    if pitched:
        wide, high, long = size
        ridge = painter.uniform((2.5, 4.0))
        top = furniture.gable(roof, facade, (wide, ridge, long), high)
        scene.place(top, at, distance=distance - 0.01, depth=-1.0)


def _town_house(scene: Scene, painter: Painter, side: int, line: float, span: Range) -> None:
    low, high = painter.look.storeys
    height = 3.1 * int(painter.rng.integers(low, high + 1)) + 1.0
    depth = painter.uniform((10.0, 14.0))
    x = side * (line + painter.uniform((0.0, 0.6)) + depth / 2)
    at = (x, 0.0, sum(span) / 2)
    pitched = painter.chance(0.45)
    _house(scene, painter, at, (depth, height, span[1] - span[0]), span[1], pitched)


def _villa(scene: Scene, painter: Painter, side: int, line: float, span: Range) -> None:
    long = max(4.0, (span[1] - span[0]) * 0.6)
    depth = painter.uniform((7.0, 9.0))
    x = side * (line + painter.uniform((3.0, 6.0)) + depth / 2)
    height = painter.uniform((3.4, 6.4))
    _house(scene, painter, (x, 0.0, sum(span) / 2), (depth, height, long), span[1], pitched=True)
    for _ in range(painter.count(1.0)):
        _tree(scene, painter, side * (line + painter.uniform((1.0, 3.0))), painter.uniform(span),
              span[1] - 0.1)  # fmt: skip
    _border(scene, painter, side, line, span, 1.2)


def _park(scene: Scene, painter: Painter, side: int, line: float, span: Range) -> None:
    if painter.chance(0.5):
        at = (side * (line + 32.0), 0.0, sum(span) / 2)
        size = (10.0, painter.uniform((8, 20)), span[1] - span[0])
        _house(scene, painter, at, size, span[1] + 0.02)
    trees = 2 + painter.count(2.0)
    places = sorted((painter.uniform((2.0, 18.0)) for _ in range(trees)), reverse=True)
    for i, back in enumerate(places):
        x, z = side * (line + back), painter.uniform(span)
        _tree(scene, painter, x, z, span[1] - 0.01 * (i + 1))
    for i in range(painter.count(1.5)):
        shrub = bush(painter.rng, painter.pick(painter.look.leaf), painter.uniform((1.5, 3.0)),
                     painter.uniform((0.8, 1.8)), painter.look.leafiness)  # fmt: skip
        at = (side * (line + painter.uniform((0.8, 3.0))), KERB, painter.uniform(span))
        scene.place(shrub, at, distance=span[1] - 0.2 - 0.01 * i, depth=0.5)
    if painter.chance(0.4):
        _border(scene, painter, side, line, span, 1.1)


def _yard(scene: Scene, painter: Painter, side: int, line: float, span: Range) -> None:
    if painter.chance(0.6):
        at = (side * (line + 16.0), 0.0, sum(span) / 2)
        size = (12.0, painter.uniform((5, 14)), (span[1] - span[0]) * 0.8)
        _house(scene, painter, at, size, span[1])
    for i in range(painter.count(1.5)):
        x, z = side * (line + painter.uniform((2.0, 8.0))), painter.uniform(span)
        _tree(scene, painter, x, z, span[1] - 0.05 - 0.01 * i)
    _border(scene, painter, side, line, span, painter.uniform((1.8, 2.8)))


_PLOTS = {"house": _town_house, "villa": _villa, "park": _park, "yard": _yard}


def _tree(scene: Scene, painter: Painter, x: float, z: float, distance: float) -> None:
    if not scene.sees(x, z, 2.5):
        return
    look = painter.look
    height = painter.uniform((4.5, 9.0))
    shape = tree(painter.rng, painter.pick(look.leaf), height, look.leafiness, far=z > _PLAIN)
    scene.place(shape, (x, KERB, z), distance=distance, depth=0.15 * height)


def _border(
    scene: Scene, painter: Painter, side: int, line: float, span: Range, height: float
) -> None:
    """Place a wall, fence or hedge between a plot and the sidewalk."""
    look = painter.look
    long = span[1] - span[0]
    kind = painter.rng.random()
    if kind < 0.42:
        shape = furniture.wall(painter.pick(look.wall), height, long, look.joints > 0)
    elif kind < 0.82:
        color = painter.pick(look.fence)
        shape = furniture.fence(color, shade(painter.pick(look.leaf), 0.6), height, long)
    else:
        shape = furniture.hedge(painter.pick(look.leaf), height, long)
    at = (side * (line + 0.25), KERB, sum(span) / 2)
    scene.place(shape, at, distance=span[1] - 0.5, depth=0.0)


def furnish(scene: Scene, street: Street, painter: Painter) -> None:
    """Place trees, lamps, signs and lights along the kerbs."""
    look = painter.look
    metal = painter.pick(look.pole)
    for side in (-1, 1):
        x = side * (street.kerb(side) + 0.55)
        for z in _places(painter, 9.0, street, look.trees):
            _tree(scene, painter, x + side * 0.3, z, z)
        reach = -side * painter.uniform((1.0, 2.2))
        for z in _places(painter, 22.0, street, look.lamps):
            post = furniture.lamp(metal, painter.uniform((5.0, 7.5)), reach)
            scene.place(post, (x, KERB, z), depth=0.05)
        for _ in range(painter.count(look.signs / 2)):
            z = 5.0 + 40.0 * painter.rng.random()
            if street.free(z, 1.0):
                scene.place(furniture.sign(painter.rng, metal), (x, KERB, z), depth=0.05)
        lights = [painter.uniform((10, 40)) for _ in range(painter.count(look.lights / 2))]
        if street.crossing is not None:
            corner = street.crossing_half + 1.0
            lights += [street.crossing - corner, street.crossing + corner]
        for z in lights:
            arm = -side * painter.uniform((2.0, 4.0)) if painter.chance(0.4) else 0.0
            shape = furniture.traffic_light(painter.rng, metal, arm)
            scene.place(shape, (x - side * 0.2, KERB, z), depth=0.1)


def _places(painter: Painter, spacing: float, street: Street, share: float) -> list[float]:
    start = painter.uniform((2.0, 2.0 + spacing))
    spots = np.arange(start, 75.0, spacing).tolist()
    return [z for z in spots if painter.chance(share) and street.free(z, 2.0)]
