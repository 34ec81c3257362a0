"""Labels that a stage wrote: which of them are broken, and what to say of one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from lightning.fabric import Fabric
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from clan.core.errors import DataError, RunError
from clan.data.archives.paths import FilePath
from clan.data.datasets import Dataset
from clan.data.workers import Loader
from clan.runs.folder import RunFolder


class _Reasons(TorchDataset[str]):
    """What is wrong with the label of each of some images; empty if it is whole."""

    def __init__(self, dataset: Dataset, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __getitem__(self, place: int) -> str:
        index = self.indices[place]
        label = self.dataset.items[index].label
        try:
            self.dataset.read_label(index)
        except DataError as error:
            # where it is the image that cannot be read, there is nothing to label
            return reason(error, label) if label is not None and self._readable(index) else ""
        return ""

    def _readable(self, index: int) -> bool:
        try:
            self.dataset.read_image(index)
        except DataError:
            return False
        return True


def broken_labels(dataset: Dataset, fabric: Fabric, workers: int) -> tuple[list[int], str]:
    """Read all labels of a data set, each process its share.

    Args:
        dataset: with the labels of a stage, as `clan.training.stages.relabelled` gives it.
        fabric: gives rank and processes; all must call.
        workers: processes that read.

    Returns:
        The indices of labels that are missing, damaged, of another size than their image, or that
        hold a value that is no class; and what is wrong with the first, empty if none is broken.
    """
    own = range(fabric.global_rank, len(dataset), fabric.world_size)
    reasons = list(Loader(_Reasons(dataset, own), range(len(own)), workers))
    flags = torch.zeros(len(dataset), dtype=torch.int64)
    flags[own.start :: fabric.world_size] = torch.tensor([bool(r) for r in reasons]).long()
    flags = cast(Tensor, fabric.all_reduce(flags.to(fabric.device), reduce_op="sum")).cpu()
    broken = flags.nonzero().flatten().tolist()
    return broken, _Reasons(dataset, broken)[0] if broken else ""


def reason(error: DataError, label: FilePath) -> str:
    """Return what an error says of a label's file, without its advice for files of the user's."""
    said = str(error).removeprefix(f"{label}: ")
    return f"{label}: {said.split(';')[0]}"


def explained(error: DataError, folder: Path, run: RunFolder) -> DataError | RunError:
    """Return the error of a stage's label with advice that fits; any other error as it is.

    Args:
        error: of a training batch.
        folder: of the stage.
        run: that is trained.
    """
    said = str(error)
    labels = f"{folder / 'labels'}/"
    if not said.startswith(labels):
        return error
    label = Path(said.split(".png: ")[0] + ".png")
    return RunError(
        f"{reason(error, label)}. The training wrote this label itself. Labels that are missing or "
        f"broken are made anew when it goes on: {run.resume_command}"
    )


def cannot_label(found: str, stage: str, start: Path, why: str, run: RunFolder) -> RunError:
    """Return the error of labels that cannot be made anew.

    Args:
        found: how many labels are broken, and the first.
        stage: its name.
        start: the checkpoint from the stage's beginning.
        why: what is wrong with it.
        run: that is resumed.
    """
    labels = run.stages / stage / "labels"
    return RunError(
        f"{found}. They would be made anew with the network of the stage's beginning, from "
        f"{start}, but {why}. Bring that file, or the labels in {labels}, back from a backup, "
        f"then: {run.resume_command}. Without a backup, begin the training again in another folder"
    )
