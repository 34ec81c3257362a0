"""Alignment maps M and D's output on target images, before and after adaptation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clan.analysis.images import (
    Labels,
    Sample,
    TargetSplit,
    Watch,
    draw_target,
    moved,
    open_target,
    predicted,
    shown,
)
from clan.analysis.networks import load_network, network_files
from clan.analysis.results import Result, write_result
from clan.core.errors import RunError
from clan.data.classes import IGNORE, ClassSet
from clan.losses.alignment import Distance, alignment_map
from clan.models.discriminator import SMALLEST_INPUT, Discriminator
from clan.models.segmenter import Segmenter
from clan.runs.checkpoint import load_checkpoint
from clan.runs.folder import RunFolder
from clan.scoring.inference import pick_device

D_KEYS = "discriminator."


@dataclass(frozen=True)
class MapsOptions:
    """Images, labels and distance of the maps."""

    images: int = 100
    """Target images that the means per class are over."""
    shown: int = 4
    """How many of them are kept as pictures."""
    labels: Labels = "truth"
    """Labels for the means per class: the truth, or the adapted network's predictions."""
    on: TargetSplit = "validation"
    """The target's split: what was adapted to, or what is scored on."""
    distance: Distance = "cosine"
    """Distance of the two classifiers' predictions: cosine (the paper's), l1 or js."""
    seed: int = 0
    """Of the draw of images."""


class ClassMeans:
    """Means of maps over the pixels of each class, over any number of images."""

    def __init__(self, classes: int) -> None:
        self._sum = torch.zeros(classes, dtype=torch.float64)
        self._pixels = torch.zeros(classes, dtype=torch.float64)

    def add(self, values: Tensor, label: Tensor) -> None:
        """Count one map (H, W) by its label (H, W) uint8, 255 = left out."""
        valid = label != IGNORE
        index, C = label[valid].long(), len(self._sum)
        weights = values[valid].double()
        self._sum += torch.bincount(index, weights, minlength=C).cpu()
        self._pixels += torch.bincount(index, minlength=C).cpu()

    @property
    def means(self) -> NDArray[np.float64]:
        """(C,) means; nan for classes without a pixel."""
        return np.asarray((self._sum / self._pixels).numpy(), np.float64)


def analyse_maps(
    run: RunFolder,
    options: MapsOptions,
    *,
    before: RunFolder | None = None,
    device: str = "auto",
    root: str | None = None,
    watch: Watch = lambda *_: None,
) -> Result:
    """Compute M, and D's output, with a run's newest network and with one before adaptation.

    For both networks D is that of the run's newest checkpoint; its output is near 0 for predictions
    like the source's and near 1 for those like the target's. Writes ``analysis/maps.npz``.

    Args:
        run: the adapted run.
        options: images, labels and distance.
        before: the run before adaptation, such as source only's; None for the run's own step 0.
        device: ``auto``, ``cpu`` or ``cuda``.
        root: in place of the run's ``data.root``.
        watch: told of each image.

    Returns:
        Arrays, of the ``shown`` images alone: ``image`` (n, H, W, 3) uint8, ``label`` (n, H, W)
        uint8, ``m_before`` and ``m_after`` (n, H, W) float16 in 0..1 and, with a D, ``d_before``
        and ``d_after`` (n, H, W) float16, the probability that D gives the target. The means per
        class are ``about["means"]``, over all images.

    Raises:
        ClanError: no network or data, one classifier only, or other classes in ``before``.
    """
    config = moved(run.config, root)
    target = open_target(config, options.on, options.labels)
    classes = target.classes
    sample = draw_target(config, target, options.images, options.seed)
    place = pick_device(device)
    pair = {
        "before": _network(before or run, classes, first=before is None).to(place),
        "after": _network(run, classes).to(place),
    }
    for network in pair.values():
        _check(network, classes, run, before)
    d = discriminator(run, len(classes))
    maps = _maps(pair, None if d is None else d.to(place), sample, options)
    told = partial(watch, f"{config.name} seed {config.seed}")
    arrays, means = _collect(maps, pair["after"], sample, options, config.data.workers, told)
    about: dict[str, Any] = {
        "target": sample.describe(),
        "options": asdict(options),
        "step": max(network_files(run)),
        "before": "step 0" if before is None else before.config.name,
        "names": [item.name for item in sample.dataset.items[: options.shown]],
        "means": means,
    }
    return write_result(run, "maps", config, classes, about, arrays)


def discriminator(run: RunFolder, classes: int) -> Discriminator | None:
    """Return the D of a run's newest checkpoint, in evaluation mode; None if it has none.

    Raises:
        WeightsError: the checkpoint cannot be read.
    """
    newest = run.newest_checkpoint()
    if newest is None:
        return None
    state = load_checkpoint(newest)["method"]
    mine = {k.removeprefix(D_KEYS): v for k, v in state.items() if k.startswith(D_KEYS)}
    if not mine:
        return None
    width = mine["convs.0.weight"].shape[0]
    found = Discriminator(classes, width)
    found.load_state_dict(mine)
    return found.eval()


def _network(run: RunFolder, classes: ClassSet, first: bool = False) -> Segmenter:
    files = network_files(run)
    return load_network(run, files[0 if first else max(files)], classes)


def _check(network: Segmenter, classes: ClassSet, run: RunFolder, before: RunFolder | None) -> None:
    where = run.path if before is None else f"{run.path} and {before.path}"
    if len(network.classifiers) < 2:
        raise RunError(
            f"{where}: the alignment map compares two classifiers, this network has one "
            "(model.classifiers=2)"
        )
    if network.classes.names != classes.names:
        raise RunError(
            f"{where}: the target has the classes {', '.join(classes.names)}, a network "
            f"{', '.join(network.classes.names)}; compare runs of one class set"
        )


def _maps(
    pair: dict[str, Segmenter], d: Discriminator | None, sample: Sample, options: MapsOptions
) -> Any:
    """Return a function from an image (1, 3, H, W) to its maps (H, W) by name."""

    def maps(image: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for when, network in pair.items():
            logits = network(image)
            p1, p2 = (z.softmax(dim=1) for z in logits)
            found[f"m_{when}"] = alignment_map(p1, p2, options.distance)[0, 0]
            if d is not None and min(image.shape[-2:]) >= SMALLEST_INPUT:
                p = network.ensemble(logits).softmax(dim=1)
                found[f"d_{when}"] = d(p).sigmoid()[0, 0]
        return found

    return maps


def _collect(
    maps: Any, after: Segmenter, sample: Sample, options: MapsOptions, workers: int, watch: Any
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[np.float64]]]:
    """Run over the images; return the arrays of those shown, and the means per class of all."""
    means: dict[str, ClassMeans] = {}
    kept: dict[str, list[NDArray[Any]]] = {}
    for number, (image, truth) in enumerate(shown(sample, after, workers, watch)):
        label = predicted(after, image) if truth is None else truth
        found = maps(image)
        for name, values in found.items():
            means.setdefault(name, ClassMeans(len(after.classes))).add(values, label)
        if number < options.shown:
            pictures = {name: v.cpu().numpy().astype(np.float16) for name, v in found.items()}
            pictures["image"] = image[0].permute(1, 2, 0).cpu().numpy()
            pictures["label"] = label.cpu().numpy()
            for name, picture in pictures.items():
                kept.setdefault(name, []).append(picture)
    _same_size(kept.get("image", []), sample)
    return (
        {name: np.stack(pictures) for name, pictures in kept.items()},
        {name: each.means for name, each in means.items()},
    )


def _same_size(pictures: Sequence[NDArray[Any]], sample: Sample) -> None:
    sizes = sorted({picture.shape[:2] for picture in pictures})
    if len(sizes) > 1:
        raise RunError(
            f"the images of {sample.dataset.name} differ in size ({sizes[0]}, {sizes[1]}) and the "
            "run has no data.evaluation_size; show one image (--shown 1)"
        )
