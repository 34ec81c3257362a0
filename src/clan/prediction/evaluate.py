"""Scoring a finished run or a model file on a labelled split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from clan.config.loading import load_written
from clan.config.tree import Config
from clan.core.errors import ConfigError, DataError
from clan.data.datasets import Dataset, open_dataset
from clan.models.segmenter import Segmenter
from clan.scoring.evaluation_file import Evaluation, write_evaluation
from clan.scoring.inference import pick_device
from clan.scoring.protocol import Protocol, protocol_of
from clan.scoring.score import predict_only, score
from clan.scoring.submission import Submission, label_id_file
from clan.training.domains import open_domain
from clan.weights.model_files import load_segmenter


class Unwritten(DataError):
    """Some predictions for the server could not be written; it names them.

    Attributes:
        evaluation: what was scored none the less.
    """

    def __init__(self, message: str, evaluation: Evaluation) -> None:
        super().__init__(message)
        self.evaluation = evaluation


def evaluate(
    model: str | Path,
    *,
    dataset: str | None = None,
    root: str | Path | None = None,
    split: str | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    protocol: Protocol | None = None,
    submit: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Score a finished run or a model file.

    Args:
        model: a run folder, or a ``model.safetensors``.
        dataset: built-in name or description; None for what the run is validated on.
        root: the data set's folder; for None as the description (or the run) says.
        split: of that; None for ``val``, or for the run's own.
        out: also write the evaluation to this file, fit for `compare`.
        device: ``auto``, ``cpu`` or ``cuda``.
        protocol: how images are shown and logits up-sampled; None: as the training scored it, which
            the model says. Its own ``size`` None stands for the model's, too.
        submit: also write the predictions to this new folder, as the Cityscapes server takes
            them. The split then needs no labels: without them nothing is counted.
        progress: called after each image with (done, total).

    Returns:
        The scores, with run, checkpoint and data set.

    Raises:
        ClanError: no such model, run, data set or device; see `score`.
        Unwritten: predictions for the server that could not be written; all else is done, and its
            ``evaluation`` holds the scores.

    Example:
        found = clan.evaluate("runs/clan", dataset="mydata.yaml", split="test")
        print(found.scores.miou())  # 0..1
    """
    path = Path(model)
    config = _config(path)
    segmenter = _load(path, config).to(pick_device(device))
    data = _open(segmenter, config, model, dataset, root, split)
    protocol = protocol or protocol_of(segmenter)
    if protocol.size is None:
        protocol = protocol.model_copy(update={"size": segmenter.evaluation_size})
    submission = None if submit is None else _submission(Path(submit), data, segmenter)
    workers = config.data.workers if config else 0
    if submission is not None and not data.labelled and out is None:
        scores = predict_only(segmenter, data, protocol, submission, workers, progress)
    else:
        scores = score(
            segmenter,
            data,
            workers=workers,
            protocol=protocol,
            submission=submission,
            progress=progress,
        )
    evaluation = Evaluation(
        scores,
        name=config.name if config else path.stem,
        seed=config.seed if config else None,
        step=config.training.steps if config else None,
        checkpoint="last" if config else "file",
        dataset=data.name,
        split=data.split,
        size=protocol.size,
        ensemble=segmenter.options.ensemble,
    )
    if out is not None:
        write_evaluation(Path(out), evaluation)
    if submission is not None and (error := submission.failures.error(submission.folder)):
        raise Unwritten(str(error), evaluation)
    return evaluation


def scored_protocol(model: str | Path) -> Protocol:
    """Return the protocol that a run, or a model file, is scored by.

    Raises:
        ClanError: no such model, or the run's configuration is malformed.
    """
    return protocol_of(_load(Path(model), _config(Path(model))))


def _load(model: Path, config: Config | None) -> Segmenter:
    """Load a network; files of former versions do not name its protocol, but their run does."""
    segmenter = load_segmenter(model)
    if config is not None:
        segmenter.evaluation_protocol = config.data.evaluation_protocol
    return segmenter


def _config(model: Path) -> Config | None:
    """Return the configuration beside a model, None if there is none."""
    file = (model if model.is_dir() else model.parent) / "config.yaml"
    return load_written(file) if file.is_file() else None


def _open(
    segmenter: Segmenter,
    config: Config | None,
    model: str | Path,
    dataset: str | None,
    root: str | Path | None,
    split: str | None,
) -> Dataset:
    if dataset is not None:
        return open_dataset(dataset, root=root, split=split or "val", classes=segmenter.classes)
    if config is None or config.data.validation is None:
        raise ConfigError(f"{model} names no validation split; name a data set (--dataset)")
    options = config.data.model_copy(update={} if root is None else {"root": str(root)})
    domain = config.data.validation
    if split is not None:
        domain = domain.model_copy(update={"split": split})
    return open_domain(domain, options, segmenter.classes)


def _submission(folder: Path, dataset: Dataset, segmenter: Segmenter) -> Submission:
    for item in dataset.items:
        label_id_file(item.image)  # a name that the server would not know is found at once
    return Submission(folder, segmenter.classes, len(dataset))
