"""Road users: parked and driving vehicles, two-wheelers, people."""

from __future__ import annotations

from math import pi

from clan.town import vehicles
from clan.town.scene import Scene
from clan.town.shapes import Shape, bicycle, motorcycle, person, rider
from clan.town.street import KERB, Painter, Street

_LENGTHS = {"car": 5.5, "truck": 10.0, "bus": 13.0, "motorcycle": 4.0}


def fill(scene: Scene, street: Street, painter: Painter) -> None:
    """Place all road users."""
    _park(scene, street, painter)
    _drive(scene, street, painter)
    _cross(scene, street, painter)
    _leave_two_wheelers(scene, street, painter)
    _cycle(scene, street, painter)
    _walk(scene, street, painter)


def _place(scene: Scene, painter: Painter, kind: str, x: float, z: float, heading: float) -> None:
    if scene.sees(x, z, _LENGTHS[kind] / 2):
        scene.place(_vehicle(painter, kind), (x, 0.0, z), heading, contact=True)


def _vehicle(painter: Painter, kind: str) -> Shape:
    look, rng = painter.look, painter.rng
    glass = painter.pick(look.glass)
    glass = (glass[0] * 0.55, glass[1] * 0.55, glass[2] * 0.6)
    if kind == "truck":
        return vehicles.truck(rng, painter.pick(look.truck), painter.pick(look.truck), glass)
    if kind == "bus":
        return vehicles.bus(rng, painter.pick(look.bus), glass)
    return vehicles.car(rng, painter.pick(look.car), glass)


def _park(scene: Scene, street: Street, painter: Painter) -> None:
    for side in (-1, 1):
        if street.parking[side] == 0.0:
            continue
        x = side * (street.kerb(side) - 1.05)
        z = painter.uniform((3.0, 8.0))
        while z < 80.0:
            if street.free(z, 6.0) and painter.chance(painter.look.parked):
                kind = "truck" if painter.chance(0.03) and street.free(z, 8.0) else "car"
                heading = 0.0 if side > 0 else pi
                z += (_LENGTHS[kind] - _LENGTHS["car"]) / 2
                _place(scene, painter, kind, x, z, heading)
                z += (_LENGTHS[kind] - _LENGTHS["car"]) / 2
            z += _LENGTHS["car"]


def _drive(scene: Scene, street: Street, painter: Painter) -> None:
    """Place vehicles in the lanes; one that would overlap another is left out."""
    look = painter.look
    taken: list[tuple[int, float, float]] = []
    numbers = {"bus": look.buses, "truck": look.trucks, "car": look.driving,
               "motorcycle": look.motorcycles * 0.5}  # fmt: skip
    for kind, mean in numbers.items():
        half = _LENGTHS[kind] / 2
        for _ in range(painter.count(mean)):
            lane = int(painter.rng.integers(2 * street.lanes)) - street.lanes
            z = painter.uniform((7.0, 14.0)) + half + 50.0 * float(painter.rng.random()) ** 1.5
            if any(on == lane and abs(z - at) < half + reach for on, at, reach in taken):
                continue
            taken.append((lane, z, half))
            x = (lane + 0.5) * street.lane + float(painter.rng.normal(0, 0.15))
            heading = (0.0 if lane >= 0 else pi) + float(painter.rng.normal(0, 0.04))
            if kind == "motorcycle":
                _ridden(scene, painter, (x, 0.0, z), heading, motor=True)
            else:
                _place(scene, painter, kind, x, z, heading)


def _cross(scene: Scene, street: Street, painter: Painter) -> None:
    """Place vehicles in the crossing street, seen from the side."""
    if street.crossing is None:
        return
    for side in (-1, 1):
        z = street.crossing - side * 0.45 * street.crossing_half
        x = painter.uniform((-22.0, -6.0))
        for _ in range(painter.count(1.2)):
            kind = str(painter.rng.choice(["car", "truck", "bus"], p=(0.7, 0.15, 0.15)))
            x += _LENGTHS[kind] / 2
            _place(scene, painter, kind, x, z, side * pi / 2)
            x += _LENGTHS[kind] / 2 + painter.uniform((1.0, 14.0))
        if painter.chance(0.3):
            at = (painter.uniform((-9.0, 9.0)), 0.0, z - 1.5)
            _ridden(scene, painter, at, side * pi / 2, motor=painter.chance(0.4))


def _ridden(
    scene: Scene, painter: Painter, at: tuple[float, float, float], heading: float, *, motor: bool
) -> None:
    look = painter.look
    machine = (motorcycle if motor else bicycle)(painter.pick(look.cycle))
    scene.place(machine, at, heading, depth=0.1)
    helmet = motor or painter.chance(0.5)
    shape = rider(painter.rng, [painter.pick(look.clothes) for _ in range(4)], helmet=helmet)
    scene.place(shape, at, heading, distance=at[2] - 0.01, depth=0.1)


def _cycle(scene: Scene, street: Street, painter: Painter) -> None:
    for _ in range(painter.count(painter.look.riders)):
        side = 1 if painter.chance(0.5) else -1
        z = 5.0 + 25.0 * float(painter.rng.random()) ** 1.5
        x = side * (street.lanes * street.lane - 0.5)
        heading = (0.0 if side > 0 else pi) + float(painter.rng.normal(0, 0.35))
        _ridden(scene, painter, (x, 0.0, z), heading, motor=False)


def _leave_two_wheelers(scene: Scene, street: Street, painter: Painter) -> None:
    """Park bicycles and motorcycles on the sidewalks."""
    look = painter.look
    for build, mean in ((bicycle, look.bicycles), (motorcycle, look.motorcycles)):
        for _ in range(painter.count(mean)):
            side = 1 if painter.chance(0.6) else -1
            inner, outer = street.walkway(side)
            x = side * (inner + 0.6 if painter.chance(0.5) else outer - 0.5)
            z = 5.0 + 18.0 * float(painter.rng.random()) ** 1.4
            if street.free(z, 1.0):
                heading = pi / 2 + float(painter.rng.normal(0, 0.4))
                scene.place(build(painter.pick(look.cycle)), (x, KERB, z), heading, depth=0.1)


def _walk(scene: Scene, street: Street, painter: Painter) -> None:
    look = painter.look
    for _ in range(painter.count(look.people)):
        z = 4.5 + 40.0 * float(painter.rng.random()) ** 1.6
        side = 1 if painter.chance(0.55) else -1
        inner, outer = street.walkway(side)
        x, y = side * painter.uniform((inner + 0.3, outer - 0.3)), KERB
        if not street.free(z, 0.0) or (z > 9.0 and painter.chance(0.08)):
            x, y = painter.uniform((-street.kerb(-1), street.kerb(1))), 0.0
        if not scene.sees(x, z, 1.0):
            continue
        group = 1 + int(painter.chance(0.3))
        for i in range(group):
            clothes = [painter.pick(look.clothes) for _ in range(4)]
            height = painter.uniform((1.55, 1.9)) * (0.7 if painter.chance(0.1) else 1.0)
            shape = person(painter.rng, clothes, height)
            at = (x + 0.55 * i, y, z + 0.2 * i)
            scene.place(shape, at, float(painter.rng.normal(0, 0.4)), depth=0.12)
