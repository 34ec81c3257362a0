"""Scores of checkpoints on unlabelled target images, for choosing one without labels.

Every score is a mean over images; p is the ensemble prediction, C the number of classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from clan.analysis.images import (
    TARGET_DRAW,
    Sample,
    TargetSplit,
    Watch,
    draw,
    draw_target,
    moved,
    open_source,
    open_target,
    shown,
)
from clan.analysis.networks import load_network, network_files
from clan.analysis.results import Result, write_result
from clan.config.tree import Config
from clan.core.errors import ConfigError
from clan.data.datasets import Dataset, open_dataset
from clan.data.views import random_generator
from clan.losses.alignment import alignment_map
from clan.models.segmenter import Segmenter
from clan.runs.folder import RunFolder
from clan.scoring.inference import pick_device
from clan.scoring.score import score
from clan.training.domains import open_domain
from clan.weights.model_files import load_segmenter

TEMPERATURE = 0.05
"""Of SND's similarities (Saito et al. 2021)."""

HIGHER_IS_BETTER = {"entropy": False, "information": True, "snd": True, "agreement": True}
"""The scores, and whether higher is better."""

TITLES = {
    "entropy": "mean entropy",
    "information": "information maximisation",
    "snd": "soft neighbourhood density",
    "agreement": "classifier agreement",
}

SHORT = {
    "entropy": "entropy",
    "information": "inf. max.",
    "snd": "SND",
    "agreement": "agreement",
}
"""The same for narrow tables."""


@dataclass(frozen=True)
class LabelFreeOptions:
    """The images, and the number of pixels of each."""

    images: int = 200
    """Target images, fewer where the split has fewer."""
    on: TargetSplit = "target"
    """The split: the target that was adapted to, or the images that are scored on."""
    snd_pixels: int = 500
    """Pixels of an image whose neighbourhoods SND looks at."""
    seed: int = 0
    """Of the draw of images and pixels."""


def entropy(p: Tensor) -> Tensor:
    """Return the entropy in nats over the last dimension; 0 log 0 = 0."""
    negative: Tensor = torch.special.xlogy(p, p).sum(dim=-1)
    return -negative


def soft_neighbourhood_density(p: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Return SND (Saito et al. 2021), in nats: high where points have many near neighbours.

    Each row of the cosine similarities of the predictions, without the point itself, becomes a
    distribution through a softmax with the temperature; SND is their mean entropy. n equal
    predictions give log(n - 1), the maximum.

    Args:
        p: softmax outputs (n, C), n at least 2.
        temperature: the paper's is 0.05.
    """
    f = F.normalize(p.float(), dim=1)
    similarity = f @ f.T / temperature
    similarity.fill_diagonal_(-math.inf)
    return entropy(similarity.softmax(dim=1)).mean()


class LabelFreeScores:
    """The scores over any number of images; memory does not depend on how many.

    Args:
        classes: C.
        options: pixels of SND, seed.
        stream: of the images' random numbers.
    """

    def __init__(self, classes: int, options: LabelFreeOptions, stream: int = 0) -> None:
        self.options, self.stream = options, stream
        self.images = 0
        self._entropy = self._snd = self._agreement = 0.0
        self._twofold = True
        self._marginal = torch.zeros(classes, dtype=torch.float64)

    def add(self, p: Tensor, each: Sequence[Tensor]) -> None:
        """Count one image.

        Args:
            p: ensemble prediction, softmax (C, H, W).
            each: softmax of each classifier, likewise; agreement needs two.
        """
        flat = p.float().flatten(1).T
        self._entropy += float(entropy(flat).mean())
        self._marginal += flat.double().mean(dim=0).cpu()
        rng = random_generator(self.options.seed, self.images, 1, self.stream)
        count = min(self.options.snd_pixels, len(flat))
        pixels = torch.from_numpy(rng.permutation(len(flat))[:count])
        self._snd += float(soft_neighbourhood_density(flat[pixels.to(flat.device)]))
        if len(each) == 2:
            self._agreement += float(1 - alignment_map(each[0][None], each[1][None]).mean())
        else:
            self._twofold = False
        self.images += 1

    def values(self) -> dict[str, float]:
        """Return each score of `HIGHER_IS_BETTER`; nan for agreement with one classifier.

        entropy: of p, over log C, from 0 (certain) to 1; information: mutual information of pixel
        and class, the entropy of the mean p less the mean entropy of p, over log C, from 0 to 1;
        snd: in nats; agreement: the mean cosine of p1 and p2, 1 - M, from 0 to 1.
        """
        C = len(self._marginal)
        own = self._entropy / self.images
        joint = float(entropy(self._marginal / self.images))
        return {
            "entropy": own / math.log(C),
            "information": (joint - own) / math.log(C),
            "snd": self._snd / self.images,
            "agreement": self._agreement / self.images if self._twofold else math.nan,
        }


def score_unlabelled(
    network: Segmenter,
    sample: Sample,
    options: LabelFreeOptions,
    workers: int = 0,
    watch: Any = lambda *_: None,
) -> dict[str, float]:
    """Return the label-free scores of a network on a sample of target images."""
    scores = LabelFreeScores(len(network.classes), options, sample.stream)
    for image, _ in shown(sample, network, workers, watch):
        logits = network(image)
        p = network.ensemble(logits).softmax(dim=1)[0]
        scores.add(p, [z.softmax(dim=1)[0] for z in logits])
    return scores.values()


def label_free(
    run: RunFolder,
    options: LabelFreeOptions,
    *,
    snapshots: bool = False,
    device: str = "auto",
    root: str | None = None,
    watch: Watch = lambda *_: None,
) -> Result:
    """Score a run's newest network, or each of its snapshots; write ``analysis/label_free.json``.

    If the run has labelled validation images, each step's true mIoU is stored beside the scores, so
    that `clan compare` can show how well the scores rank checkpoints. It enters no score, and is
    read from the run's metrics if they have it.

    Args:
        run: the run.
        options: which images.
        snapshots: every step that is known but 0, which has learnt nothing; else the newest.
        device: ``auto``, ``cpu`` or ``cuda``.
        root: in place of the run's ``data.root``.
        watch: told of each image.

    Raises:
        ClanError: no network, no target, data that cannot be read.
    """
    config = moved(run.config, root)
    if snapshots and not run.snapshots():
        raise ConfigError(
            f"{run.path} has no snapshots: a training keeps them with training.snapshot_every=N. "
            "Leave --snapshots out to score its last network"
        )
    files = network_files(run)
    steps = [step for step in files if step > 0] if snapshots else [max(files)]
    target = open_target(config, options.on, None)
    sample = draw_target(config, target, options.images, options.seed)
    place, workers = pick_device(device), config.data.workers
    validation, known = _validation(config), true_mious(run)
    found: list[dict[str, float]] = []
    for step in steps:
        network = load_network(run, files[step], target.classes).to(place)
        told = partial(watch, f"{config.name} seed {config.seed}, step {step}")
        found.append(score_unlabelled(network, sample, options, workers, told))
        if step not in known and validation is not None:
            told = partial(watch, f"{config.name} seed {config.seed}, step {step}: mIoU")
            size = config.data.evaluation_size
            known[step] = score(
                network, validation, size=size, workers=workers, progress=told
            ).miou()
    about = {
        "target": sample.describe(),
        "options": asdict(options),
        "steps": steps,
        "scores": {name: [each[name] for each in found] for name in HIGHER_IS_BETTER},
        "miou": [known.get(step) for step in steps],
        "miou_on": None if validation is None else f"{validation.name} {validation.split}",
    }
    return write_result(run, "label-free", config, target.classes, about)


def score_images(
    model: str | Path,
    dataset: str,
    *,
    root: str | Path | None = None,
    split: str = "val",
    options: LabelFreeOptions | None = None,
    device: str = "auto",
    watch: Watch = lambda *_: None,
) -> dict[str, Any]:
    """Score a model on a data set's images, labelled or not; nothing is written.

    Args:
        model: a finished run or a model file.
        dataset: built-in name, description or folder of images.
        root: the data set's folder.
        split: of the data set.
        options: which images.
        device: ``auto``, ``cpu`` or ``cuda``.
        watch: told of each image.

    Returns:
        What `label_free` writes, without a true mIoU.

    Raises:
        ClanError: no model, data that cannot be read.
    """
    options = options or LabelFreeOptions()
    network = load_segmenter(model).to(pick_device(device))
    data = open_dataset(dataset, root=root, split=split, classes=network.classes, labels=False)
    sample = draw(data, network.evaluation_size, options.images, options.seed, TARGET_DRAW)
    values = score_unlabelled(network, sample, options, watch=partial(watch, str(model)))
    return {
        "target": sample.describe(),
        "steps": [None],
        "scores": {name: [value] for name, value in values.items()},
        "miou": [None],
        "miou_on": None,
    }


def true_mious(run: RunFolder) -> dict[int, float]:
    """Return the mIoU, 0..1, of the steps at which the training scored its validation split."""
    records: list[Mapping[str, Any]] = list(run.read_metrics())
    return {r["step"]: r["miou"] for r in records if r.get("miou") is not None}


def _validation(config: Config) -> Dataset | None:
    if config.data.validation is None:
        return None
    return open_domain(config.data.validation, config.data, open_source(config).classes)
