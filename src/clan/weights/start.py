"""Initial weights: published encoder weights, or a network trained before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

import torch
from torch import Tensor

from clan.core.errors import WeightsError
from clan.models.encoders.table import encoder_spec
from clan.weights.hf import is_hf, load_hf_weights
from clan.weights.layouts import LAYOUTS, candidates
from clan.weights.mmseg import choose_part
from clan.weights.model_files import (
    LEFT,
    LoadReport,
    load_matching,
    load_segmenter,
    model_file,
    read_about,
    unwrapped,
)
from clan.weights.tensor_files import first_line, read_tensors, unverified

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from clan.data.classes import ClassSet
    from clan.models.encoders.contract import Encoder
    from clan.models.segmenter import ModelOptions, Segmenter

SEED, RUNS = "{seed}", "{runs}"
"""In a path of weights: the run's seed, and the folder RUNS of a run RUNS/SYSTEM/seedN. By them
each seed of a comparison starts from the run of its own seed."""
OF_TRAINING = ("freeze_affine",)
"""Options that decide what is trained, not what a network computes."""


def start_from(segmenter: Segmenter, weights: str | None, weights_for: str) -> LoadReport | None:
    """Load the initial weights; return None if there are none.

    Args:
        segmenter: the network.
        weights: a file, a run folder, ``imagenet``, or None.
        weights_for: ``encoder`` or ``network``.

    Raises:
        WeightsError: as `load_encoder_weights` and `load_network_weights`.
    """
    if weights is None:
        return None
    load = load_network_weights if weights_for == "network" else load_encoder_weights
    return load(segmenter, weights)


def load_models(paths: Sequence[str], classes: ClassSet) -> list[Segmenter]:
    """Load finished networks that a method asks for, frozen, in evaluation mode.

    Args:
        paths: model files or run folders.
        classes: of the training; theirs have to be the same, in the same order.

    Raises:
        WeightsError: no such file, none of ours, or other classes.
    """
    models = []
    for path in paths:
        model = load_segmenter(path)
        if model.classes.names != classes.names:
            raise WeightsError(
                f"{path} has the classes {', '.join(model.classes.names)}, the training has "
                f"{', '.join(classes.names)}: it cannot label for it. Give networks of the same "
                "classes, in the same order"
            )
        models.append(model.requires_grad_(False))
    return models


def placed(weights: str, runs: Path, seed: int) -> str:
    """Return the weights of a run's configuration with ``{runs}`` and ``{seed}`` filled in.

    Args:
        weights: as in the configuration.
        runs: the folder that holds the systems' folders.
        seed: of the run.
    """
    return weights.replace(RUNS, str(runs)).replace(SEED, str(seed))


def load_network_weights(segmenter: Segmenter, source: str | Path) -> LoadReport:
    """Start the whole network, classifiers and all, from a model of ours.

    Args:
        segmenter: the network; it is left as it is if the file does not fit.
        source: a model file of a network of the same architecture and classes, or its run folder.

    Raises:
        WeightsError: no such file, none of ours, without classifiers, of other classes or of
            another architecture, by whatever key: tensors of equal shapes may mean something else.
    """
    path = model_file(Path(source))
    about = read_about(path) if path.is_file() else {"classes": ()}
    if about is None or "classes" not in about:
        found = "is no model file of ours" if about is None else "holds an encoder alone"
        raise WeightsError(
            f"{path} {found}, and weights_for=network starts the classifiers too: give the "
            "model.safetensors of a finished run, or set weights_for=encoder"
        )
    loaded = load_segmenter(path)
    theirs, ours = loaded.classes.names, segmenter.classes.names
    if theirs != ours:
        raise WeightsError(
            f"{path} has the classes {', '.join(theirs)}, the training has {', '.join(ours)}: "
            "its classifiers do not fit. weights_for=encoder takes its encoder alone."
        )
    its, mine = (net.options.model_dump(mode="json") for net in (loaded, segmenter))
    differing = [
        f"model.{key}={its[key]} (the training has {mine[key]})"
        for key in its
        if its[key] != mine[key] and key not in OF_TRAINING
    ]
    if differing:
        raise WeightsError(
            f"{path} is of another network: {', '.join(differing)}. Configure the same one, or "
            "take its encoder alone by weights_for=encoder."
        )
    report = load_matching(segmenter, loaded.state_dict(), str(path))
    return replace(report, note=unverified(path))


def load_encoder_weights(segmenter: Segmenter, source: str | Path) -> LoadReport:
    """Start the encoder from published weights, or from a model of ours.

    Args:
        segmenter: the network; only its encoder changes.
        source: a file (``.pth`` of tensors, or ``.safetensors``) in any layout that
            `clan.weights.convert` reads, or ``imagenet`` for the published weights of this
            encoder, downloaded once and checked, or ``hf:`` and a folder or hub name that
            transformers loads weights from.

    Raises:
        WeightsError: no such file, not a file of tensors, trained on another ``input`` than the
            network's, or less than half of the encoder's tensors found in it.
    """
    return load_encoder(segmenter.encoder, segmenter.options, source)


def load_encoder(encoder: Encoder, options: ModelOptions, source: str | Path) -> LoadReport:
    """Load weights of an encoder, as `load_encoder_weights`.

    Args:
        encoder: is changed.
        options: of its network.
        source: as there.

    Raises:
        WeightsError: as there.
    """
    if is_hf(str(source)):
        report = load_hf_weights(encoder, options.hf, str(source))
        return _half_loaded(report, options)
    imagenet = str(source) == "imagenet"
    path = _download(options.encoder) if imagenet else model_file(Path(source))
    tensors, trained_with = _encoder_tensors(path)
    if trained_with.get("input", options.input) != options.input:
        raise WeightsError(
            f"{path} was trained on {trained_with['input']} input, the network reads "
            f"{options.input} input: set model.input={trained_with['input']}"
        )
    report = _half_loaded(load_matching(encoder, tensors, str(path)), options)
    # what is downloaded is checked by the sum that this package names
    notes = [_other_strides(trained_with, options), "" if imagenet else unverified(path)]
    if "classes" in (read_about(path) or {}):
        notes.append("its classifiers are not taken (weights_for: encoder)")
    return replace(report, note=", ".join(filter(None, notes)))


def _half_loaded(report: LoadReport, options: ModelOptions) -> LoadReport:
    """Return the report; refuse weights that less than half of the encoder was found in."""
    wanted = len(report.loaded) + len(report.missing) + len(report.shape_differs)
    if len(report.loaded) < wanted / 2:
        raise WeightsError(
            f"{report.file} does not fit the encoder {options.encoder} of width {options.width}: "
            f"only {len(report.loaded)} of its {wanted} tensors are in the file. {report}. Give "
            "weights of this encoder in torchvision's key layout, or one that `clan convert` reads."
        )
    return report


def _encoder_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return an encoder's tensors by our names, and the options they were trained with, if told."""
    tensors, _ = choose_part(unwrapped(read_tensors(path)), None, str(path))
    about = read_about(path)
    if about is not None:
        stripped = {
            k.removeprefix("encoder."): t
            for k, t in tensors.items()
            if not k.startswith((LEFT, "classifiers."))
        }
        return stripped, about["model"]
    fitting = candidates(tensors)
    layout = fitting[0] if fitting else LAYOUTS["torchvision"]
    apart = layout.split(tensors)
    named = {(layout.to_ours(k) or k).removeprefix("encoder."): t for k, t in apart.items()}
    return named, dict(layout.options) if fitting else {}


def _other_strides(trained_with: Mapping[str, Any], options: ModelOptions) -> str:
    reads = encoder_spec(options.encoder).reads
    own = {n: getattr(options, n) for n in ("stride_in", "dilate_first", "ceil_mode") if n in reads}
    differing = [
        f"{name}={trained_with[name]} (the network has {value})"
        for name, value in own.items()
        if trained_with.get(name, value) != value
    ]
    return f"note: trained with {', '.join(differing)}" if differing else ""


def _download(encoder: str) -> Path:
    published = encoder_spec(encoder).weights
    if published is None:
        raise WeightsError(
            f"no published ImageNet weights are known for encoder {encoder}: give weights=FILE, or "
            "leave weights out"
        )
    path = Path(torch.hub.get_dir()) / "checkpoints" / published.file
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(
                published.url, str(path), published.sha256, progress=False
            )
        except (URLError, OSError, RuntimeError) as error:
            raise WeightsError(
                f"could not download {published.url} ({first_line(error)}). Offline? Fetch it "
                f"elsewhere and put it at {path}, or name a file with model weights."
            ) from error
    return path
