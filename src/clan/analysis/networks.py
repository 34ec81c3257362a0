"""The networks of a run: before training, at its snapshots, at the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from clan.config.tree import Config
from clan.core.errors import RunError
from clan.data.classes import ClassSet
from clan.models.segmenter import Segmenter
from clan.runs.folder import RunFolder
from clan.weights.model_files import load_segmenter
from clan.weights.start import start_from


def network_files(run: RunFolder, steps: Sequence[int] | None = None) -> dict[int, Path | None]:
    """Return the model file of each step at which the run's network is known, in order.

    Step 0 is the network before training; its file is None where no snapshot was kept, and
    `load_network` then rebuilds it. The last step's is the run's model.

    Args:
        run: the run, finished or not.
        steps: keep these alone.

    Raises:
        RunError: neither a model nor a snapshot, or a step that is not known.
    """
    known: dict[int, Path | None] = {0: None, **run.snapshots()}
    if run.finished:
        known[run.config.training.steps] = run.model_file
    if len(known) == 1:
        raise RunError(
            f"{run.path} holds no network yet: no model.safetensors and no snapshot. Finish it "
            f"(`{run.resume_command}`)"
        )
    if steps is None:
        return dict(sorted(known.items()))
    if missing := [step for step in steps if step not in known]:
        raise RunError(
            f"{run.path} has no network of step {missing[0]}; it has {_listed(known)}. Snapshots "
            "are kept where a training sets training.snapshot_every"
        )
    return {step: known[step] for step in sorted(set(steps))}


def load_network(run: RunFolder, file: Path | None, classes: ClassSet) -> Segmenter:
    """Load a network of `network_files` in evaluation mode; rebuild step 0 where there is no file.

    Raises:
        WeightsError: the file, or the weights that the run started from, cannot be read.
    """
    return load_segmenter(file) if file is not None else initial_network(run.config, classes)


def initial_network(config: Config, classes: ClassSet) -> Segmenter:
    """Rebuild the network that a run started from: its seed, then its initial weights.

    It is the one that the training made, given the same version of torch and the same weights.
    """
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        scored = config.data.evaluation_size, config.data.evaluation_protocol
        segmenter = Segmenter(config.model, classes, *scored)
    start_from(segmenter, config.weights, config.weights_for)
    return segmenter.eval()


def _listed(known: dict[int, Path | None]) -> str:
    return ", ".join(str(step) for step in sorted(known))
