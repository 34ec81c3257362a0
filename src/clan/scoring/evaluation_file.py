"""``evaluation.json``: the scores of one checkpoint, with run, checkpoint and data set."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from clan.core.errors import ClanError, RunError
from clan.core.files import write_whole
from clan.data.sizes import Size, read_size
from clan.scoring.metrics import Scores
from clan.scoring.protocol import Protocol

FILE = "evaluation.json"
ABOUT = ("name", "seed", "step", "checkpoint", "dataset", "split", "size", "ensemble")
"""Keys of the file besides those of `Scores.to_dict`."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The scores of one checkpoint of a run, with run, checkpoint and data set.

    Attributes:
        scores: the confusion matrix and what follows from it.
        name: the system; runs that differ only in the seed have the same name.
        seed: seed of the training, None if unknown (a model file without its run).
        step: number of updates of the scored weights, None if unknown.
        checkpoint: how the checkpoint was chosen: ``last``, ``oracle`` (best on target labels) or
            ``file`` (unknown).
        dataset: name of the data set.
        split: its split.
        size: (H, W) of the network's input or its shorter side, None for each image's own size.
        ensemble: how the classifiers were combined.
        path: the file that it was read from, None if it was not read.
    """

    scores: Scores
    name: str
    seed: int | None
    step: int | None
    checkpoint: str
    dataset: str
    split: str
    size: Size | None
    ensemble: str
    path: Path | None = None

    @property
    def protocol(self) -> Protocol:
        """How images were resized and logits up-sampled; older files contain only the size."""
        return self.scores.protocol or Protocol(size=self.size)


def write_evaluation(path: Path, evaluation: Evaluation) -> None:
    """Write ``evaluation.json`` whole or not at all.

    Raises:
        RunError: it cannot be written.
    """
    about = {name: getattr(evaluation, name) for name in ABOUT}
    content = {**about, **evaluation.scores.to_dict()}
    write_whole(path, (json.dumps(content, allow_nan=False) + "\n").encode())


def read_evaluation(path: str | Path) -> Evaluation:
    """Read ``evaluation.json``, given itself or its run folder.

    Raises:
        RunError: missing, not JSON, or not an evaluation; names the file.
    """
    path = Path(path)
    if path.is_dir():
        path = path / FILE
    if not path.is_file():
        raise RunError(
            f"no evaluation at {path}: the run is unfinished, or it has no data.validation. Score "
            f"it with `clan evaluate {path.parent} --dataset DATASET --out {path}`"
        )
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{path} is not valid JSON ({error}); evaluate the run again") from error
    try:
        return Evaluation(
            scores=Scores.from_dict(data),
            name=str(data["name"]),
            seed=None if data["seed"] is None else int(data["seed"]),
            step=None if data["step"] is None else int(data["step"]),
            checkpoint=str(data["checkpoint"]),
            dataset=str(data["dataset"]),
            split=str(data["split"]),
            size=read_size(data["size"]),
            ensemble=str(data["ensemble"]),
            path=path,
        )
    except KeyError as error:
        raise RunError(f"{path} has no {error}; expected a file of `clan evaluate`") from error
    except (TypeError, ValueError, IndexError, ClanError) as error:
        raise RunError(f"{path} is not an evaluation: {error}") from error
