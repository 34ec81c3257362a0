"""Cluster-centre distance (section 4.4, Figures 4 left and 6) of a class between the domains.

For each class, the distance between the centre of its source pixels and the centre of its target
pixels in feature space, divided by the same distance in the network before training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clan.analysis.centres import Centres, Distance, Pooling, centre_distances
from clan.analysis.images import (
    FeatureKind,
    Labels,
    Sample,
    TargetSplit,
    Watch,
    class_counts,
    draw_domains,
    feature_map,
    moved,
    predicted,
    shown,
)
from clan.analysis.networks import load_network, network_files
from clan.analysis.results import Result, matrix, read_alike, write_result
from clan.core.errors import RunError
from clan.models.segmenter import Segmenter
from clan.runs.folder import RunFolder
from clan.scoring.inference import pick_device


@dataclass(frozen=True)
class CCDOptions:
    """Options of the distance; the paper leaves them open."""

    images: int = 1000
    """Images per domain, fewer where a split has fewer."""
    features: FeatureKind = "encoder"
    """E's output, or the ensemble's logits or softmax."""
    distance: Distance = "euclidean"
    """euclidean, cosine, or spread: euclidean in units of the class's own spread."""
    pooling: Pooling = "pixel"
    """A centre is the mean over all pixels of a class, or over the images' class means."""
    labels: Labels = "truth"
    """Target labels: the truth (for the analysis alone), or each network's own predictions."""
    on: TargetSplit = "target"
    """The target's split: the images of the adaptation, or the validation images."""
    seed: int = 0
    """Of the draw of images; the same for all runs that are compared."""


def analyse_ccd(
    run: RunFolder,
    options: CCDOptions,
    *,
    steps: Sequence[int] | None = None,
    root: str | None = None,
    device: str = "auto",
    watch: Watch = lambda *_: None,
) -> Result:
    """Compute a run's cluster-centre distances at each known step; write ``analysis/ccd.json``.

    Args:
        run: with snapshots (``training.snapshot_every``) for more than the first and last step.
        options: what is measured, on which images.
        steps: keep to these steps; 0, which the others are divided by, is always among them.
        root: in place of the run's ``data.root``, where its data were moved.
        device: ``auto``, ``cpu`` or ``cuda``.
        watch: told of each image.

    Raises:
        ClanError: no network, data that cannot be read, a target without labels, no such device.
    """
    config = moved(run.config, root)
    files = network_files(run, None if steps is None else [0, *steps])
    source, target = draw_domains(config, options.images, options.seed, options.on, options.labels)
    place, workers = pick_device(device), config.data.workers
    rows, seen = [], {}
    for step, file in files.items():
        network = load_network(run, file, source.dataset.classes).to(place)
        told = partial(watch, f"{config.name} seed {config.seed}, step {step}")
        near = class_centres(network, source, options, workers, told)
        far = class_centres(network, target, options, workers, told)
        rows.append(centre_distances(near, far, options.distance))
        seen = {"source": near.images, "target": far.images}
    about: dict[str, Any] = {
        "source": source.describe(),
        "target": target.describe(),
        "options": asdict(options),
        "steps": list(files),
        "rebuilt": files[0] is None,
        "distance": np.stack(rows),
        "images_with_class": seen,
    }
    return write_result(run, "ccd", config, source.dataset.classes, about)


def class_centres(
    network: Segmenter,
    sample: Sample,
    options: CCDOptions,
    workers: int = 0,
    watch: Any = lambda *_: None,
) -> Centres:
    """Return the classes' centres over a sample of one domain.

    Images without a truth are labelled by the network itself.
    """
    C = len(network.classes)
    centres = Centres(C, options.pooling)
    for image, truth in shown(sample, network, workers, watch):
        features = feature_map(network, image, options.features)
        label = predicted(network, image) if truth is None else truth
        grid = features.shape[-2], features.shape[-1]
        # logits cover the image, whatever grid the encoder's own map has
        of_encoder = options.features == "encoder"
        places = network.label_places(label, grid, image) if of_encoder else None
        centres.add(features, class_counts(label, C, grid, places))
    return centres


@dataclass(frozen=True, eq=False)
class CCD:
    """One run's distances, as read back.

    Attributes:
        name: the system.
        seed: of the training.
        classes: names.
        steps: the measured steps, ascending.
        distance: (steps, C) as measured; nan where a class is absent from one domain's sample.
        normalised: (steps, C) divided by the distance at step 0.
        about: data and options.
    """

    name: str
    seed: int
    classes: tuple[str, ...]
    steps: tuple[int, ...]
    distance: NDArray[np.float64]
    about: Any

    @property
    def normalised(self) -> NDArray[np.float64]:
        """(steps, C) distance over that before training; nan where that is 0 or unknown."""
        first = self.distance[self.steps.index(0)]
        return self.distance / np.where(first > 0, first, np.nan)

    @property
    def absent(self) -> tuple[str, ...]:
        """Classes without a centre in one of the domains' samples, at the last step."""
        last = np.isnan(self.distance[-1])
        return tuple(name for name, gone in zip(self.classes, last, strict=True) if gone)


def read_ccd(runs: Sequence[str | Path]) -> list[CCD]:
    """Read the distances of runs that were measured alike.

    Raises:
        RunError: not analysed, damaged, or not alike; says how.
    """
    found = []
    for result in read_alike(runs, "ccd"):
        distance = matrix(result.about["distance"])
        steps = tuple(int(step) for step in result.about["steps"])
        if distance.shape != (len(steps), len(result.classes)) or 0 not in steps:
            raise RunError(
                f"{result.run}: the distances are {distance.shape}, expected one row for each of "
                f"{len(steps)} steps (0 among them) and one column for each class"
            )
        found.append(
            CCD(result.name, result.seed, result.classes.names, steps, distance, result.about)
        )
    return found
