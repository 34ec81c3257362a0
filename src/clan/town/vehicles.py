"""Cars, trucks and buses: bodies extruded from a side profile, with glass, lamps and wheels."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.random import Generator

from clan.town.look import Rgb
from clan.town.shapes import Label, Paint, Point2, Shape, disc, rect, shade

TYRE: Rgb = (30, 30, 34)
RIM: Rgb = (150, 152, 158)

# Side profiles as (z, y): the lower body from rear to front, then the cabin above it.
_CABINS: dict[str, list[Point2]] = {
    "saloon": [(-1.75, 0.92), (-1.05, 1.42), (0.35, 1.44), (1.05, 0.92)],
    "hatchback": [(-2.0, 0.92), (-1.65, 1.46), (0.3, 1.48), (1.05, 0.92)],
    "estate": [(-2.1, 0.95), (-1.85, 1.6), (0.4, 1.62), (1.15, 0.95)],
    "van": [(-2.15, 1.0), (-2.1, 1.92), (0.75, 1.92), (1.55, 1.05)],
}


def car(rng: Generator, color: Rgb, glass: Rgb) -> Shape:
    """Return a car of a random body style, about 4.3 x 1.8 m, heading along z."""
    shape = Shape()
    style = str(rng.choice(list(_CABINS), p=(0.4, 0.3, 0.2, 0.1)))
    cabin = _CABINS[style]
    waist = cabin[0][1]
    body = Paint(Label.CAR, color, "metal")
    lower = [(-2.15, 0.28), (2.1, 0.28), (2.15, 0.66), (1.95, 0.8), (cabin[-1][0], waist),
             (cabin[0][0], waist), (-2.1, waist - 0.04)]  # fmt: skip
    shape.extrude(body, lower, 0.88, 0.9)
    shape.extrude(body._replace(layer=2), cabin, 0.86, 0.68)
    _glaze(shape, Label.CAR, cabin, glass, 0.86, 0.68)
    _wheels(shape, Label.CAR, (-1.3, 1.35), 0.32, 0.9)
    _lamps(shape, Label.CAR, 2.17, 2.17, (0.58, 0.76), 0.86)
    for end in (-2.17, 2.17):
        plate = Paint(Label.CAR, (232, 232, 226), layer=4)
        shape.flat(plate, [(-0.26, 0.42), (0.26, 0.42), (0.26, 0.54), (-0.26, 0.54)], end)
        bumper = Paint(Label.CAR, shade(color, 0.5), "metal", 3)
        shape.flat(bumper, [(-0.86, 0.28), (0.86, 0.28), (0.86, 0.4), (-0.86, 0.4)], end * 0.999)
    return shape


def truck(rng: Generator, color: Rgb, cargo: Rgb, glass: Rgb) -> Shape:
    """Return a lorry: a cab in front of a box, 7 to 9 m long, heading along z."""
    shape = Shape()
    length = float(rng.uniform(7.0, 9.0))
    front, rear = length / 2, -length / 2
    shape.box(Paint(Label.TRUCK, (54, 54, 58)), (-1.1, 0.5, rear + 0.1), (1.1, 0.95, front - 0.1))
    box = Paint(Label.TRUCK, cargo, "metal", 1)
    shape.box(box, (-1.22, 0.95, rear), (1.22, float(rng.uniform(2.9, 3.6)), front - 2.1))
    doors = Paint(Label.TRUCK, shade(cargo, 0.7), layer=3)
    for x in (-1.16, 0.0, 1.1):
        shape.flat(doors, [(x, 1.05), (x + 0.06, 1.05), (x + 0.06, 2.8), (x, 2.8)], rear - 0.02)
    cab = [(front - 1.9, 0.55), (front, 0.55), (front, 1.5), (front - 0.35, 2.5),
           (front - 1.9, 2.5)]  # fmt: skip
    shape.extrude(Paint(Label.TRUCK, color, "metal", 1), cab, 1.15, 1.08)
    pane = Paint(Label.TRUCK, glass, layer=3)
    shape.add(pane, [(-1.0, 1.6, front), (1.0, 1.6, front), (0.95, 2.35, front - 0.28),
                     (-0.95, 2.35, front - 0.28)])  # fmt: skip
    for s in (-1.0, 1.0):
        shape.side(pane, [(front - 1.3, 1.55), (front - 0.15, 1.55), (front - 0.4, 2.3),
                          (front - 1.3, 2.3)], s * 1.16)  # fmt: skip
    _wheels(shape, Label.TRUCK, (rear + 1.3, rear + 2.3, front - 1.0), 0.48, 1.18)
    _lamps(shape, Label.TRUCK, front + 0.02, -rear + 0.02, (0.72, 0.92), 1.1)
    return shape


def bus(rng: Generator, color: Rgb, glass: Rgb) -> Shape:
    """Return a bus of 10 to 12 m with a band of windows, heading along z."""
    shape = Shape()
    half = float(rng.uniform(5.0, 6.0))
    body = Paint(Label.BUS, color, "metal")
    shape.box(body, (-1.25, 0.32, -half), (1.25, 3.0, half))
    skirt = Paint(Label.BUS, shade(color, 0.6), "metal", 1)
    pane = Paint(Label.BUS, glass, layer=1)
    frame = Paint(Label.BUS, shade(color, 0.75), layer=2)
    for s in (-1.26, 1.26):
        shape.side(skirt, [(-half, 0.32), (half, 0.32), (half, 0.6), (-half, 0.6)], s)
        shape.side(pane, [(-half + 0.3, 1.4), (half - 0.2, 1.4), (half - 0.2, 2.55),
                          (-half + 0.3, 2.55)], s)  # fmt: skip
        for i in range(1, 6):
            z = -half + i * half / 3
            shape.side(frame, [(z, 1.4), (z + 0.12, 1.4), (z + 0.12, 2.55), (z, 2.55)], s * 1.002)
    for end, low in ((half + 0.01, 1.2), (-half - 0.01, 1.6)):
        shape.flat(pane, [(-1.1, low), (1.1, low), (1.1, 2.5), (-1.1, 2.5)], end)
        board = Paint(Label.BUS, (24, 24, 26), layer=2)
        shape.flat(board, [(-0.8, 2.62), (0.8, 2.62), (0.8, 2.88), (-0.8, 2.88)], end * 1.001)
    _wheels(shape, Label.BUS, (-half + 2.6, half - 2.4), 0.5, 1.26)
    _lamps(shape, Label.BUS, half + 0.02, half + 0.02, (0.7, 0.9), 1.15)
    return shape


def _glaze(
    shape: Shape, label: Label, cabin: Sequence[Point2], glass: Rgb, half: float, roof: float
) -> None:
    """Add the panes of a cabin: shrunken profiles on the sides, screens at both ends."""
    pane = Paint(label, glass, layer=3)
    low, top = cabin[0][1], max(y for _, y in cabin)
    middle = sum(z for z, _ in cabin) / len(cabin)

    def width(y: float) -> float:
        return half + (roof - half) * (y - low) / (top - low) + 0.015

    inner = [(middle + (z - middle) * 0.86, low + 0.06 + (y - low) * 0.82) for z, y in cabin]
    for s in (-1.0, 1.0):
        shape.add(pane, [(s * width(y), y, z) for z, y in inner])
        pillar = Paint(label, shade(glass, 0.5), layer=4)
        post = rect(middle - 0.05, inner[0][1], middle + 0.05, inner[1][1])
        shape.add(pillar, [(s * (width(y) + 0.005), y, z) for z, y in post])
    for (za, ya), (zb, yb), out in ((cabin[0], cabin[1], -0.02), (cabin[-1], cabin[-2], 0.02)):
        corners = []
        for s, t in ((-0.88, 0.1), (0.88, 0.1), (0.88, 0.88), (-0.88, 0.88)):
            y = ya + (yb - ya) * t
            corners.append((s * width(y), y, za + (zb - za) * t + out))
        shape.add(pane, corners)


def _wheels(shape: Shape, label: Label, axles: Sequence[float], radius: float, half: float) -> None:
    for z in axles:
        for s in (-1.0, 1.0):
            shape.side(Paint(label, TYRE, layer=4), disc(z, radius, radius, 14), s * (half + 0.02))
            rim = Paint(label, RIM, "metal", 5)
            shape.side(rim, disc(z, radius, radius * 0.55, 10), s * (half + 0.03))
    tread = Paint(label, TYRE, layer=1)
    for s in (-1.0, 1.0):
        inner, outer = s * (half - 0.25), s * half
        corners = [(inner, 0.0), (outer, 0.0), (outer, radius), (inner, radius)]
        shape.flat(tread, corners, axles[0] - radius * 0.7)
        shape.flat(tread, corners, axles[-1] + radius * 0.7)


def _lamps(
    shape: Shape, label: Label, front: float, rear: float, span: tuple[float, float], half: float
) -> None:
    low, high = span
    for z, color in ((front, (255.0, 250.0, 226.0)), (-rear, (206.0, 30.0, 30.0))):
        paint = Paint(label, color, layer=4, glow=True)
        for s in (-1.0, 1.0):
            corners = [(s * half * 0.62, low), (s * half, low), (s * half, high),
                       (s * half * 0.62, high)]  # fmt: skip
            shape.flat(paint, corners, z)
