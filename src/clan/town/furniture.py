"""Poles, signs, lights, houses, walls and fences."""

from __future__ import annotations

from numpy.random import Generator

from clan.town.look import Rgb
from clan.town.shapes import Grid, Label, Paint, Shape, beam, disc, rect, shade


def lamp(color: Rgb, height: float, arm: float) -> Shape:
    """Return a street lamp whose arm reaches `arm` metres sideways (negative = left)."""
    shape = Shape()
    metal = Paint(Label.POLE, color, "metal", 0, solid=False)
    shape.flat(metal, rect(-0.09, 0.0, 0.09, height))
    shape.flat(metal._replace(color=shade(color, 0.8)), rect(-0.14, 0.0, 0.14, 0.9))
    shape.flat(metal, beam((0.0, height - 0.05), (arm, height + 0.25), 0.12))
    head = Paint(Label.POLE, (226, 224, 210), layer=1, solid=False, glow=True)
    shape.flat(head, beam((arm * 0.75, height + 0.17), (arm * 1.15, height + 0.27), 0.2))
    return shape


def sign(rng: Generator, pole: Rgb) -> Shape:
    """Return a traffic sign on its post: a disc, triangle, square, octagon or town board."""
    shape = Shape()
    height = float(rng.uniform(2.2, 2.9))
    shape.flat(Paint(Label.POLE, pole, "metal", 0, solid=False), rect(-0.045, 0, 0.045, height))

    def plate(color: Rgb, layer: int) -> Paint:
        return Paint(Label.SIGN, color, "plain", layer, solid=False)

    white, red, blue, yellow = (240, 240, 238), (206, 34, 38), (28, 84, 176), (246, 196, 40)
    y, r = height - 0.15, 0.42
    kind = int(rng.integers(5))
    if kind == 0:
        shape.flat(plate(red, 1), disc(0, y, r))
        shape.flat(plate(white, 2), disc(0, y, r * 0.68))
        shape.flat(plate((30, 30, 30), 3), rect(-0.12, y - 0.12, 0.12, y + 0.12))
    elif kind == 1:
        shape.flat(plate(red, 1), [(-r, y - 0.36), (r, y - 0.36), (0, y + 0.42)])
        shape.flat(plate(white, 2), [(-0.24, y - 0.26), (0.24, y - 0.26), (0, y + 0.2)])
    elif kind == 2:
        shape.flat(plate(blue, 1), rect(-0.38, y - 0.38, 0.38, y + 0.38))
        shape.flat(plate(white, 2), beam((0, y - 0.25), (0, y + 0.25), 0.14))
    elif kind == 3:
        shape.flat(plate(red, 1), disc(0, y, r, 8))
        shape.flat(plate(white, 2), rect(-0.28, y - 0.08, 0.28, y + 0.08))
    else:
        shape.flat(plate(yellow, 1), rect(-0.75, y - 0.3, 0.75, y + 0.3))
        shape.flat(plate((40, 40, 40), 2), rect(-0.55, y - 0.06, 0.5, y + 0.08))
    return shape


def traffic_light(rng: Generator, pole: Rgb, arm: float) -> Shape:
    """Return traffic lights on a post; with an arm, a second one hangs over the road."""
    shape = Shape()
    metal = Paint(Label.POLE, pole, "metal", 0, solid=False)
    high = 5.6 if arm else 3.4
    shape.flat(metal, rect(-0.08, 0.0, 0.08, high))
    places = [(0.0, 2.9)]
    if arm:
        shape.flat(metal, beam((0.0, high - 0.1), (arm, high), 0.13))
        places.append((arm * 0.9, high - 0.2))
    lit = int(rng.integers(3))
    housing = Paint(Label.LIGHT, (34, 38, 36), layer=1, solid=False)
    lamps = ((236, 50, 40), (250, 190, 50), (60, 220, 120))
    for x, y in places:
        shape.flat(housing, rect(x - 0.21, y - 0.58, x + 0.21, y + 0.58))
        for i, color in enumerate(lamps):
            on = i == lit
            paint = Paint(Label.LIGHT, color if on else shade(color, 0.28), "plain", 2, False, on)
            shape.flat(paint, disc(x, y + 0.36 - 0.36 * i, 0.15, 10))
    return shape


def house(
    rng: Generator,
    colors: tuple[Rgb, Rgb, Rgb],
    size: tuple[float, float, float],
    u0: float,
    *,
    far: bool = False,
) -> Shape:
    """Return a flat-roofed town house with windows, a distinct ground floor and a cornice.

    `colors` are facade, roof and glass; `size` is width (along x), height and length (along z).
    The origin is the middle of the floor. `u0` is where the windows start along the street. Far
    houses are plain boxes with windows.
    """
    facade, roof, glass = colors
    wide, high, long = size
    shape = Shape()
    storey = float(rng.uniform(2.9, 3.4))
    du = long / max(2, round(long / float(rng.uniform(2.0, 3.4))))
    grid = Grid(glass, u0, du, float(rng.uniform(0.38, 0.6)), storey + 0.5, storey,
                float(rng.uniform(0.45, 0.66)))  # fmt: skip
    body = Paint(Label.BUILDING, facade, "plaster", grid=grid)
    low, top = (-wide / 2, 0.0, -long / 2), (wide / 2, high, long / 2)
    lid = Paint(Label.BUILDING, shade(roof, 0.8))
    shape.box(body, low, top, lid)
    if far:
        return shape
    shop = Grid(glass, u0, du, 0.74, 0.35, storey, 0.72)
    base = Paint(Label.BUILDING, shade(facade, float(rng.uniform(0.6, 0.85))), "plaster", 1,
                 grid=shop)  # fmt: skip
    edge = Paint(Label.BUILDING, shade(facade, 0.72), layer=2)
    door = Paint(Label.BUILDING, shade(roof, 0.6), layer=2)
    zd = float(rng.uniform(-0.3, 0.3)) * long
    z0, z1 = low[2], top[2]
    for s in (-1.0, 1.0):
        x = s * (wide / 2 + 0.03)
        shape.side(base, rect(z0, 0.0, z1, storey), x)
        shape.side(edge, rect(z0, high - 0.5, z1, high + 0.15), x * 1.005)
        shape.side(edge, rect(z0, storey, z1, storey + 0.18), x * 1.003)
        shape.side(door, rect(zd - 0.55, 0.0, zd + 0.55, 2.15), x * 1.003)
    return shape


def gable(color: Rgb, end: Rgb, size: tuple[float, float, float], base: float) -> Shape:
    """Return a pitched roof with its ridge along z, `base` metres above the ground."""
    wide, high, long = size
    half, over = wide / 2 + 0.3, long / 2 + 0.2
    shape = Shape()
    tiles = Paint(Label.BUILDING, color, "plaster")
    wall = Paint(Label.BUILDING, end, "plaster")
    for s in (-1.0, 1.0):
        shape.add(tiles, [(s * half, base, -over), (s * half, base, over),
                          (0.0, base + high, over), (0.0, base + high, -over)])  # fmt: skip
        shape.flat(wall, [(-half, base), (half, base), (0.0, base + high)], s * (over - 0.05))
    return shape


def wall(color: Rgb, height: float, long: float, joints: bool) -> Shape:
    """Return a free-standing wall along z with a coping."""
    shape = Shape()
    bricks = Grid(color, 0.0, 0.9, 0.93, 0.0, 0.32, 0.86, joint=True) if joints else None
    body = Paint(Label.WALL, color, "plaster", grid=bricks)
    coping = Paint(Label.WALL, shade(color, 1.12), "plaster", 1)
    shape.box(body, (-0.15, 0.0, -long / 2), (0.15, height, long / 2))
    shape.box(coping, (-0.2, height, -long / 2), (0.2, height + 0.14, long / 2))
    return shape


def fence(color: Rgb, back: Rgb, height: float, long: float) -> Shape:
    """Return a fence of pickets along z; `back` is the colour between them."""
    shape = Shape()
    pickets = Grid(color, 0.0, 0.42, 0.55, 0.0, 50.0, 2.0)
    panel = Paint(Label.FENCE, back, layer=0, solid=False, grid=pickets)
    rail = Paint(Label.FENCE, shade(color, 0.85), layer=1, solid=False)
    half = long / 2
    shape.side(panel, rect(-half, 0.05, half, height), 0.0)
    for y in (0.25, height - 0.2):
        shape.side(rail, rect(-half, y, half, y + 0.12), 0.0)
    posts = max(2, round(long / 2.5))
    for i in range(posts + 1):
        z = -half + long * i / posts
        shape.side(rail, rect(z - 0.07, 0.0, z + 0.07, height + 0.1), 0.0)
    return shape


def hedge(color: Rgb, height: float, long: float) -> Shape:
    """Return a clipped hedge along z."""
    shape = Shape()
    leaf = Paint(Label.VEGETATION, color, "leaf")
    shape.box(leaf, (-0.4, 0.0, -long / 2), (0.4, height, long / 2))
    return shape
