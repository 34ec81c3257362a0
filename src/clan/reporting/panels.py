"""The images of the viewer: target images with each system's predictions and alignment maps."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from clan.data.classes import ClassSet
from clan.data.datasets import Dataset
from clan.data.sizes import input_size
from clan.data.views import resize_image
from clan.losses.alignment import alignment_map
from clan.prediction.pictures import spread
from clan.prediction.predictor import Predictor
from clan.scoring.inference import evaluating, upsampled_argmax

WIDTH = 1024
"""Greatest width of images in the page, in pixels."""
HEAT_WIDTH = 320
"""Greatest width of alignment maps, which are smooth: logits are an eighth of the image."""
HEAT_LEVELS = 48
BUDGET = 6_300_000
"""Bytes of all images; base64 adds a third, so that a page stays below 10 MB."""
QUALITY = 80

Array = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Layer:
    """One picture of a scene.

    Attributes:
        key: name of the layer, the same in every scene.
        title: its title on the page.
        kind: ``photo``, ``label`` or ``heat``.
        pixels: photo: uint8 (H, W, 3); label: uint8 (H, W) class indices, 255 = ignore; heat:
            float32 (h, w), M in 0..1, coarser than the scene.
    """

    key: str
    title: str
    kind: str
    pixels: NDArray[np.uint8] | NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Scene:
    """One image of the target and its layers, the image first."""

    name: str
    layers: tuple[Layer, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in the page."""
        shape = self.layers[0].pixels.shape
        return shape[0], shape[1]


@dataclass(frozen=True)
class Encoded:
    """A layer as a ``data:`` address."""

    key: str
    title: str
    kind: str
    address: str


def make_scenes(
    dataset: Dataset,
    predictors: dict[str, Predictor],
    count: int,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Scene]:
    """Predict some images of a split, evenly spaced over it.

    Args:
        dataset: labelled or not; without labels there is no ground truth.
        predictors: of each system.
        count: greatest number of images.
        progress: called after each image with the number done.

    Raises:
        DataError: an image or label that cannot be read.
    """
    scenes = []
    for done, index in enumerate(spread(len(dataset), count), start=1):
        image, truth = dataset.read(index)
        layers = [Layer("image", "image", "photo", image)]
        heats = []
        for number, (name, predictor) in enumerate(predictors.items()):
            label, heat = inspect(predictor, image)
            layers.append(Layer(f"p{number}", name, "label", label))
            if heat is not None:
                heats.append(Layer(f"m{number}", f"alignment map, {name}", "heat", heat))
        if truth is not None:
            layers.append(Layer("truth", "ground truth", "label", truth))
        height, width = image.shape[:2]
        size = min(WIDTH, width)
        layers = [_shrunk(layer, (round(height * size / width), size)) for layer in layers]
        scenes.append(Scene(dataset.items[index].name, (*layers, *heats)))
        progress(done)
    return scenes


def inspect(predictor: Predictor, image: Array) -> tuple[Array, NDArray[np.float32] | None]:
    """Return an image's prediction, as `Predictor.predict`, and M(p1, p2), from one forward pass.

    Args:
        predictor: the model.
        image: uint8 (H, W, 3) RGB.

    Returns:
        The predicted classes, uint8 (H, W), and the alignment map, float32 (h, w) in 0..1, at most
        `HEAT_WIDTH` wide; None with one classifier.
    """
    network = predictor.segmenter
    size = input_size(network.evaluation_size, (image.shape[0], image.shape[1]))
    pixels = torch.from_numpy(resize_image(image, size)).permute(2, 0, 1)[None].contiguous()
    with evaluating(network):
        logits = network(pixels.to(predictor.device))
        joint = network.ensemble(logits).float()
        label = upsampled_argmax(joint, (image.shape[0], image.shape[1]))[0].cpu().numpy()
        if len(logits) < 2:
            return label, None
        p1, p2 = (z.float().softmax(dim=1) for z in logits[:2])
        heat = alignment_map(p1, p2)[0, 0].cpu().numpy()
    width = min(HEAT_WIDTH, image.shape[1])
    shape = (width, round(width * image.shape[0] / image.shape[1]))
    small = Image.fromarray(heat).resize(shape, Image.Resampling.BOX)
    return label, np.asarray(small, np.float32)


def heat_top(scenes: Sequence[Scene]) -> float:
    """Return the upper end of the heat maps' scale: the 99th percentile of M, to two digits."""
    heats = [layer.pixels for scene in scenes for layer in scene.layers if layer.kind == "heat"]
    if not heats:
        return 1.0
    top = float(np.quantile(np.concatenate([heat.ravel() for heat in heats]), 0.99))
    return float(f"{max(top, 1e-4):.2g}")


def heat_colors() -> list[tuple[int, int, int]]:
    """Return the colour of each level of M, 0 first."""
    table = colormaps["inferno"](np.linspace(0, 1, HEAT_LEVELS), bytes=True)
    return [(int(r), int(g), int(b)) for r, g, b, _ in table]


def encode_scenes(
    scenes: Sequence[Scene], classes: ClassSet, budget: int = BUDGET
) -> list[tuple[Encoded, ...]]:
    """Return each scene's layers as ``data:`` addresses.

    Photos are WebP. Label maps are lossless WebP with exactly the classes' colours, so that the
    page's script finds the class of a pixel. Images are shrunk until they fit the budget.

    Args:
        scenes: the images.
        classes: gives the colours.
        budget: greatest number of bytes of all images.
    """
    top, factor = heat_top(scenes), 1.0
    while True:
        found = [[_encoded(layer, classes, top, factor) for layer in s.layers] for s in scenes]
        total = sum(len(data) for row in found for data in row)
        if total <= budget or factor < 0.1:
            break
        # bytes grow about with the area; 0.97 as borders grow with the side only
        factor *= min(0.9, 0.97 * (budget / total) ** 0.5)
    return [
        tuple(
            Encoded(layer.key, layer.title, layer.kind, _address(data))
            for layer, data in zip(scene.layers, row, strict=True)
        )
        for scene, row in zip(scenes, found, strict=True)
    ]


def _shrunk(layer: Layer, size: tuple[int, int]) -> Layer:
    """Return a layer resized to (height, width), label maps without interpolation."""
    if layer.pixels.shape[:2] == size:
        return layer
    kind = Image.Resampling.LANCZOS if layer.kind == "photo" else Image.Resampling.NEAREST
    picture = Image.fromarray(layer.pixels).resize(size[::-1], kind)
    return Layer(layer.key, layer.title, layer.kind, np.asarray(picture))


def _encoded(layer: Layer, classes: ClassSet, top: float, factor: float) -> bytes:
    if layer.kind != "heat" and factor < 1:
        height, width = (max(1, round(side * factor)) for side in layer.pixels.shape[:2])
        layer = _shrunk(layer, (height, width))
    if layer.kind == "photo":
        return _webp(layer.pixels, lossless=False)
    if layer.kind == "label":
        return _webp(classes.colorize(np.asarray(layer.pixels, np.uint8)), lossless=True)
    levels = np.rint(np.clip(layer.pixels / top, 0, 1) * (HEAT_LEVELS - 1)).astype(np.uint8)
    return _webp(np.array(heat_colors(), np.uint8)[levels], lossless=True)


def _webp(pixels: NDArray[np.uint8] | NDArray[np.float32], lossless: bool) -> bytes:
    file = io.BytesIO()
    # for lossless images, quality is the effort: the most takes ten times as long for 2 % less
    Image.fromarray(pixels).save(file, "WEBP", lossless=lossless, quality=QUALITY, method=4)
    return file.getvalue()


def _address(data: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(data).decode("ascii")
