"""t-SNE of pixel features (Figure 3 e to g): do the domains' classes share their clusters?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clan.analysis.images import (
    FeatureKind,
    Labels,
    Sample,
    TargetSplit,
    Watch,
    draw_domains,
    feature_map,
    moved,
    predicted,
    resized_label,
    shown,
)
from clan.analysis.networks import load_network, network_files
from clan.analysis.results import Result, write_result
from clan.core.errors import ConfigError, DataError
from clan.data.classes import ClassSet
from clan.data.views import random_generator
from clan.models.segmenter import Segmenter
from clan.runs.folder import RunFolder
from clan.scoring.inference import pick_device

PREFERRED = ("building", "traffic sign", "sign", "pole", "vegetation", "tree")
"""The classes of the paper's figure, under the names of the Cityscapes and of CamVid."""

COMPONENTS = 50
"""Dimensions that PCA leaves, the usual number (van der Maaten and Hinton 2008: 30)."""


@dataclass(frozen=True)
class TSNEOptions:
    """What is embedded, and how."""

    classes: tuple[str, ...] = ()
    """Names; none: building, traffic sign, pole and vegetation, or else the first four."""
    points: int = 250
    """Pixels per class and domain; fewer, in both domains, where one has fewer."""
    images: int = 200
    """Images per domain that the pixels are drawn from."""
    features: FeatureKind = "encoder"
    """E's output, or the ensemble's logits or softmax."""
    labels: Labels = "truth"
    """Target labels: the truth (for the analysis alone), or the network's own predictions."""
    on: TargetSplit = "target"
    """The target's split: what was adapted to, or what is scored on."""
    perplexity: float = 30.0
    """Approximate number of neighbours of a point."""
    seed: int = 0
    """Of images, pixels and embedding; the same for all runs that are compared."""


def analyse_tsne(
    run: RunFolder,
    options: TSNEOptions,
    *,
    step: int | None = None,
    device: str = "auto",
    root: str | None = None,
    watch: Watch = lambda *_: None,
) -> Result:
    """Embed a run's pixel features in the plane; write ``analysis/tsne.npz``.

    Args:
        run: the run.
        options: what is embedded.
        step: the network after so many updates; None for the newest.
        device: ``auto``, ``cpu`` or ``cuda``.
        root: in place of the run's ``data.root``.
        watch: told of each image.

    Returns:
        Arrays ``xy`` (n, 2) float32, ``label`` (n,) index into ``about["shown"]``, ``domain``
        (n,) 0 source and 1 target; classes that one of the domains lacks stand in
        ``about["absent"]``.

    Raises:
        ClanError: no network or data, unknown classes, too few pixels for the perplexity.
    """
    config = moved(run.config, root)
    files = network_files(run, None if step is None else [step])
    step = max(files)
    samples = draw_domains(config, options.images, options.seed, options.on, options.labels)
    classes = samples[0].dataset.classes
    chosen = chosen_classes(classes, options.classes)
    network = load_network(run, files[step], classes).to(pick_device(device))
    indices = [classes.index(name) for name in chosen]
    told = partial(watch, f"{config.name} seed {config.seed}")
    drawn = [
        draw_pixels(network, sample, indices, options, config.data.workers, told)
        for sample in samples
    ]
    features, label, domain_of = balanced(drawn[0], drawn[1])
    present = [name for place, name in enumerate(chosen) if (label == place).any()]
    if len(features) <= 3 * options.perplexity:
        raise DataError(
            f"t-SNE with perplexity {options.perplexity:g} needs more than "
            f"{3 * options.perplexity:g} pixels, found {len(features)} of {', '.join(chosen)} in "
            "both domains; take more images or another class, or lower the perplexity"
        )
    xy = embed(features, options.perplexity, options.seed)
    about: dict[str, Any] = {
        "source": samples[0].describe(),
        "target": samples[1].describe(),
        "options": {**asdict(options), "classes": list(chosen)},
        "step": step,
        "shown": list(chosen),
        "absent": [name for name in chosen if name not in present],
    }
    arrays: dict[str, NDArray[Any]]
    arrays = {"xy": xy, "label": label.astype(np.uint8), "domain": domain_of.astype(np.uint8)}
    return write_result(run, "tsne", config, classes, about, arrays)


def chosen_classes(classes: ClassSet, asked: Sequence[str]) -> tuple[str, ...]:
    """Return the classes to embed: those asked for, the paper's, or the first four.

    Raises:
        DataError: an unknown class.
        ConfigError: a class twice.
    """
    if asked:
        for name in asked:
            classes.index(name)
        if len(set(asked)) < len(asked):
            raise ConfigError(f"a class is named twice: {', '.join(asked)}")
        return tuple(asked)
    usual = tuple(name for name in PREFERRED if name in classes.names)
    return usual if len(usual) > 1 else classes.names[:4]


def draw_pixels(
    network: Segmenter,
    sample: Sample,
    classes: Sequence[int],
    options: TSNEOptions,
    workers: int = 0,
    watch: Any = lambda *_: None,
) -> list[NDArray[np.float32]]:
    """Draw up to ``options.points`` features of each class, uniformly over all its pixels.

    Each cell of the feature map, labelled by the pixel at its centre, gets a random key; a class
    keeps its lowest. The keys depend on seed, domain and image alone, so that networks of one
    resolution show the same pixels, and no more than the kept ones are held.

    Returns:
        (n, F) float32 per class, in the order of their keys.
    """
    kept: list[tuple[NDArray[np.float64], NDArray[np.float32]]] = [
        (np.empty(0), np.empty((0, 0), np.float32)) for _ in classes
    ]
    for number, (image, truth) in enumerate(shown(sample, network, workers, watch)):
        features = feature_map(network, image, options.features)
        label = predicted(network, image) if truth is None else truth
        grid = features.shape[-2], features.shape[-1]
        cells = resized_label(label, grid).flatten().cpu()
        keys = random_generator(options.seed, number, 0, sample.stream).random(len(cells))
        flat = features.flatten(1).T
        for place, index in enumerate(classes):
            mine = (cells == index).nonzero().flatten()
            old_keys, old = kept[place]
            new_keys = np.concatenate([old_keys, keys[mine.numpy()]])
            order = np.argsort(new_keys, kind="stable")[: options.points]
            taken = flat[mine.to(flat.device)].cpu().numpy()
            pool = np.concatenate([old, taken]) if len(old) else taken
            kept[place] = new_keys[order], pool[order]
    return [features for _, features in kept]


def balanced(
    source: Sequence[NDArray[np.float32]], target: Sequence[NDArray[np.float32]]
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Join features of each class, as many of one domain as of the other.

    Returns:
        Features (n, F), the class's place (n,), the domain (n,): 0 source, 1 target.
    """
    parts, label, domain = [], [], []
    for place, (s, t) in enumerate(zip(source, target, strict=True)):
        count = min(len(s), len(t))
        for which, features in enumerate((s[:count], t[:count])):
            if count:
                parts.append(features)
            label += [place] * count
            domain += [which] * count
    width = max((part.shape[1] for part in parts), default=0)
    joined = np.concatenate(parts) if parts else np.empty((0, width), np.float32)
    return joined, np.array(label, np.int64), np.array(domain, np.int64)


def embed(features: NDArray[np.float32], perplexity: float, seed: int) -> NDArray[np.float32]:
    """Return (n, 2) float32: PCA to `COMPONENTS` dimensions, then t-SNE from the PCA's plane.

    The same features and seed give the same picture.
    """
    # imported here: it takes seconds, and no other command needs it
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    components = min(COMPONENTS, *features.shape)
    reduced = PCA(components, svd_solver="full").fit_transform(features.astype(np.float64))
    tsne = TSNE(
        perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed, n_jobs=1
    )
    return np.asarray(tsne.fit_transform(reduced), np.float32)
