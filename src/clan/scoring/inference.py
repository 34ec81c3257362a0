"""From images to predicted classes: the one path for scoring, prediction and export."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from clan.core.errors import ConfigError, RunError, nearest
from clan.data.datasets import Dataset
from clan.data.items import Item
from clan.data.loading import evaluation_loader
from clan.data.sizes import input_size
from clan.data.views import resize_image
from clan.models.segmenter import Segmenter
from clan.scoring.protocol import Protocol

if TYPE_CHECKING:
    # for its types alone: Lightning takes seconds to import
    from lightning.fabric import Fabric

Consumer = Callable[[Item, Tensor, Tensor | None], None]


def upsampled_argmax(logits: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    """Up-sample logits (N, C, h, w) bilinearly to ``size`` and take the arg max, (N, H, W) uint8.

    The result is that of ``interpolate`` and ``argmax``. Classes are up-sampled one at a time and
    compared with the best so far, so that no C maps of full resolution are held. On a CPU, OpenCV
    up-samples by whole factors, twice as fast; its values differ from torch's by rounding (1e-6),
    so that among millions of pixels a few with two equal classes may differ.
    """
    height, width = logits.shape[-2:]
    whole = size[0] % height == 0 and size[1] % width == 0 and size != (height, width)
    if logits.device.type == "cpu" and whole and not align_corners:
        return torch.stack([_enlarged_argmax(each, size) for each in logits])
    best: Tensor | None = None
    prediction = logits.new_zeros((logits.shape[0], *size), dtype=torch.uint8)
    for index in range(logits.shape[1]):
        layer = logits[:, index : index + 1].float()
        if layer.shape[-2:] != size:
            layer = F.interpolate(layer, size=size, mode="bilinear", align_corners=align_corners)
        layer = layer[:, 0]
        if best is None:
            best = layer.clone()
        else:
            # this index is the largest so far, so a maximum of bytes equals a masked fill, and is
            # ten times faster on a CPU
            prediction = torch.maximum(prediction, (layer > best).to(torch.uint8) * index)
            torch.maximum(best, layer, out=best)
    return prediction


def _enlarged_argmax(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Do as `upsampled_argmax` for the logits (C, h, w) of one image on a CPU; (H, W) uint8."""
    label = np.zeros(size, np.uint8)
    best: NDArray[np.float32] | None = None
    for index, layer in enumerate(logits.float().numpy()):
        large = cv2.resize(layer, size[::-1], interpolation=cv2.INTER_LINEAR)
        if best is None:
            best = large
            continue
        # this class's index is the largest so far
        won = (large > best).view(np.uint8) * np.uint8(index)
        np.maximum(label, won, out=label)
        np.maximum(best, large, out=best)
    return torch.from_numpy(label)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode without gradients; restore each part's mode afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for part, training in modes:
            part.training = training


def pick_device(device: str) -> torch.device:
    """Return the device; ``auto`` is a GPU if there is one.

    Raises:
        ConfigError: another name than ``auto``, ``cpu`` and ``cuda``, or no GPU for ``cuda``.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"unknown device {device!r}{nearest(device, ('auto', 'cpu', 'cuda'))}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "device 'cuda' was asked for, but torch finds no GPU; use 'auto' or 'cpu'"
        )
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def joint_logits(
    network: Segmenter, image: Tensor, protocol: Protocol, device: torch.device
) -> Tensor:
    """Return the ensemble's logits for one image, before the up-sampling to full resolution.

    Args:
        network: in evaluation mode, on ``device``.
        image: (1, 3, H, W) uint8 RGB in host memory, as stored or already at the protocol's size.
        protocol: input size, scales and flip. With several views, their probabilities are averaged
            at the input size of scale 1, and the result is the logarithm of the average.
        device: the network's device.

    Returns:
        (1, C, h, w) float32 on ``device``.
    """
    height, width = input_size(protocol.size, (image.shape[-2], image.shape[-1]))
    views = []
    for scale in protocol.scales:
        size = max(1, round(height * scale)), max(1, round(width * scale))
        seen = _resized(image, size).to(device, non_blocking=True)
        views.append(_logits(network, seen, protocol.direct))
        if protocol.flip:
            views.append(_logits(network, seen.flip(-1), protocol.direct).flip(-1))
    if len(views) == 1:
        return views[0]
    joint: Tensor | None = None
    for logits in views:
        if logits.shape[-2:] != (height, width):
            logits = F.interpolate(
                logits,
                size=(height, width),
                mode="bilinear",
                align_corners=protocol.align_corners,
            )
        log_p = logits.log_softmax(dim=1)
        joint = log_p if joint is None else torch.logaddexp(joint, log_p)
    assert joint is not None
    return joint - math.log(len(views))


def predict_split(
    network: Segmenter,
    dataset: Dataset,
    protocol: Protocol,
    consume: Consumer,
    *,
    fabric: Fabric | None = None,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Predict every image of a split, one at a time, so that memory does not grow with the split.

    Args:
        network: on its device; its training modes are restored afterwards.
        dataset: the split, labelled or not.
        protocol: how images are resized and logits up-sampled.
        consume: called with the item, its prediction (1, H, W) uint8 on the device, and its label
            (1, H, W) uint8 or None. The prediction has the label's size, or the image's if there
            is no label.
        fabric: divides the images among its processes.
        workers: processes that read images.
        progress: called after each image with (done, total) of this process.

    Returns:
        The number of images over all processes.

    Raises:
        RunError: logits that are not finite.
    """
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    rank, processes = (fabric.global_rank, fabric.world_size) if fabric else (0, 1)
    # images may be shrunk while they are read, unless the stored size is needed: for other scales,
    # or as the size of a prediction without a label
    early = dataset.labelled and protocol.scales == (1.0,)
    loader = evaluation_loader(
        dataset,
        size=protocol.size if early else None,
        rank=rank,
        world_size=processes,
        workers=workers,
    )
    # number of images, number of images whose logits are not finite
    tally = torch.zeros(2, dtype=torch.int64, device=device)
    # in float32 whatever the training's precision: half of it changes a few pixels in a hundred
    with evaluating(network), torch.autocast(device.type, enabled=False):
        for done, batch in enumerate(loader, start=1):
            image, label = batch["image"], batch.get("label")
            logits = joint_logits(network, image, protocol, device)
            tally[0] += 1
            tally[1] += ~logits.isfinite().all()
            full = image.shape if label is None else label.shape
            size = int(full[-2]), int(full[-1])
            prediction = upsampled_argmax(logits, size, protocol.align_corners)
            truth = None if label is None else label.to(device, non_blocking=True)
            consume(dataset.items[rank + (done - 1) * processes], prediction, truth)
            if progress is not None:
                progress(done, len(loader))
    if fabric is not None and processes > 1:
        fabric.all_reduce(tally, reduce_op="sum")
    images, broken = tally.tolist()
    if broken:
        raise RunError(_diverged(images, broken, dataset))
    return int(images)


def _diverged(images: int, broken: int, dataset: Dataset) -> str:
    return (
        f"on {broken} of {images} images of {dataset.name} ({dataset.split}) the network's logits "
        "are NaN or infinite: the training diverged. Lower the learning rate or the loss weights, "
        "or train in full precision."
    )


def _logits(network: Segmenter, image: Tensor, direct: bool) -> Tensor:
    if not direct:
        return network.ensemble(network(image)).float()
    features = network.encode(image)
    return network.ensemble(network.classify_coarsely(features, image.shape[-2:])).float()


def _resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    if image.shape[-2:] == size:
        return image
    pixels = np.ascontiguousarray(image[0].permute(1, 2, 0).cpu().numpy())
    return torch.from_numpy(resize_image(pixels, size)).permute(2, 0, 1)[None].contiguous()
