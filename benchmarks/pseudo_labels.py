"""Measure the accuracy of a self-training's pseudo-labels, round by round.

    python benchmarks/pseudo_labels.py runs/town/cbst/seed? [--page docs/notes/pseudo-labels.md]

Compares the pseudo-labels in the stages' folders of runs with the target's ground truth, which is
used for this evaluation only, never for training.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clan.data.classes import IGNORE
from clan.data.datasets import Dataset
from clan.data.images import read_label
from clan.runs.folder import RunFolder
from clan.training.domains import open_domain
from clan.training.stages import label_path

BEGIN, END = "<!-- begin pseudo-labels -->", "<!-- end pseudo-labels -->"
HEADS = ("run", "round", "labelled", "right", "mIoU of labels", "most given beyond its share")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--page", type=Path, help="put the table between the marks of this page")
    options = parser.parse_args(arguments)
    table = "\n".join(lines(options.runs))
    print(table)
    if options.page is not None:
        before, rest = options.page.read_text(encoding="utf-8").split(BEGIN)
        after = rest.split(END)[1]
        text = f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"
        options.page.write_text(text, encoding="utf-8")


def lines(runs: Sequence[Path]) -> Iterator[str]:
    """Yield a Markdown table with a line for each round of each run."""
    yield f"| {' | '.join(HEADS)} |"
    yield "|---|---|" + "---:|" * 3 + "---|"
    for path in runs:
        run = RunFolder.open(path)
        data = run.config.data
        assert data.target is not None, f"{path} has no target"
        target = open_domain(data.target, data, None)
        for stage in sorted(p for p in run.stages.iterdir() if (p / "labels").is_dir()):
            counts, pixels = confusion(stage, target)
            name = "/".join(path.resolve().parts[-3:])
            yield f"| {name} | {stage.name} | {row(counts, pixels, target)} |"


def confusion(stage: Path, target: Dataset) -> tuple[NDArray[np.int64], int]:
    """Return the confusion matrix (truth x pseudo-labels), and the number of all pixels."""
    C, pixels = len(target.classes), 0
    total = np.zeros((C, C), np.int64)
    for index, item in enumerate(target.items):
        truth = target.read_label(index).astype(np.int64)
        given = read_label(label_path(stage, item.name), "index")
        both = (truth != IGNORE) & (given != IGNORE)
        total += np.bincount(truth[both] * C + given[both], minlength=C * C).reshape(C, C)
        pixels += truth.size
    return total, pixels


def row(counts: NDArray[np.int64], pixels: int, target: Dataset) -> str:
    given, truth, right = counts.sum(0), counts.sum(1), np.diag(counts)
    union = given + truth - right
    iou = right[union > 0] / union[union > 0]
    beyond = int((given - truth).argmax())
    cells = (
        f"{100 * given.sum() / pixels:.1f} %",
        f"{100 * right.sum() / given.sum():.1f} %",
        f"{100 * iou.mean():.1f}",
        f"{target.classes.names[beyond]}: {100 * given[beyond] / given.sum():.1f} % of labels, "
        f"{100 * right[beyond] / max(1, given[beyond]):.0f} % of them right",
    )
    return " | ".join(cells)


if __name__ == "__main__":
    main()
