"""Rendering a scene: materials, light, haze, lens and sensor."""

from __future__ import annotations

from math import cos, radians, sin

import cv2
import numpy as np
from numpy.random import Generator, Philox
from numpy.typing import NDArray

from clan.town import plots, street, traffic
from clan.town.camera import OVERSAMPLE, Camera
from clan.town.look import Look
from clan.town.scene import Scene
from clan.town.sensor import add_bonnet, expose
from clan.town.shading import Light, shade_view
from clan.town.shapes import Label
from clan.town.street import Painter
from clan.town.view import cast_shadows, look_at

_BINOMIAL = np.array([0.25, 0.5, 0.25], dtype=np.float32)


def draw_frame(
    look: Look, key: tuple[int, int], size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw one frame: image (H, W, 3) uint8 RGB and label (H, W) uint8 Cityscapes labelIds.

    A pure function of its arguments; `key` holds two 64-bit numbers, such as seed and frame.
    """
    rng = Generator(Philox(key=np.array(key, dtype=np.uint64)))
    painter = Painter(look, rng)
    layout = street.lay_out(painter)
    eye = _eye(painter, layout, size)
    scene = Scene(curvature=float(rng.normal(0, look.bend)), eye=eye)
    street.pave(scene, layout, painter)
    plots.build_up(scene, layout, painter)
    plots.furnish(scene, layout, painter)
    traffic.fill(scene, layout, painter)

    polygons = scene.polygons()
    view = look_at(polygons, eye)
    light = _light(painter)
    shadows = cast_shadows(scene.placed, eye, light.sun, light.shadow, look.contact)
    image = shade_view(view, polygons, eye, light, shadows, painter, scene.curvature)

    paints = polygons.paints
    labels = np.array([Label.SKY, *(paint.label for paint in paints)], dtype=np.uint8)[view.ids]
    if look.bonnet > 0:
        add_bonnet(image, labels, look.bonnet)
    # The filter is centred on the sample that also gives the pixel its label.
    smooth = cv2.sepFilter2D(image, -1, _BINOMIAL, _BINOMIAL)
    last = OVERSAMPLE - 1
    picture = expose(np.ascontiguousarray(smooth[last::OVERSAMPLE, last::OVERSAMPLE]), painter)
    return picture, np.ascontiguousarray(labels[last::OVERSAMPLE, last::OVERSAMPLE])


def _eye(painter: Painter, layout: street.Street, size: tuple[int, int]) -> Camera:
    look = painter.look
    lane = int(painter.rng.integers(layout.lanes))
    return Camera(
        x=(lane + 0.5) * layout.lane + float(painter.rng.normal(0, 0.3)),
        height=painter.uniform(look.height),
        pitch=painter.uniform(look.pitch),
        yaw=float(painter.rng.normal(0, look.yaw)),
        field_of_view=painter.uniform(look.field_of_view),
        size=(size[0] * OVERSAMPLE, size[1] * OVERSAMPLE),
    )


def _light(painter: Painter) -> Light:
    look = painter.look
    azimuth = radians(painter.uniform(look.sun_azimuth))
    elevation = radians(painter.uniform(look.sun_elevation))
    sun = [cos(elevation) * sin(azimuth), sin(elevation), cos(elevation) * cos(azimuth)]
    return Light(
        sun=np.array(sun),
        ambient=painter.uniform(look.ambient),
        shadow=painter.uniform(look.shadow),
        haze=painter.uniform(look.haze),
        sky_top=np.array(painter.pick(look.sky_top), dtype=np.float32),
        sky_low=np.array(painter.pick(look.sky_low), dtype=np.float32),
        clouds=painter.uniform(look.clouds),
    )
