"""Compare label-free estimates of the target's class shares with the true shares.

    python benchmarks/street/label_shift.py runs/street/start/seed? --page docs/notes/label-shift.md

For each class: its share of the source and of the target, their true ratio, and the ratio by each
estimator of `clan.analysis.label_shift`, as medians over the runs. The target's labels are used
only for its true shares and ratios.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from clan.analysis.images import draw_domains, shown
from clan.analysis.label_shift import ratios_by_confusion, ratios_by_em
from clan.config.tree import Config
from clan.core.files import write_whole
from clan.data.classes import IGNORE
from clan.models.segmenter import Segmenter
from clan.runs.folder import RunFolder
from clan.weights.model_files import load_segmenter

BEGIN, END = "<!-- begin label-shift -->", "<!-- end label-shift -->"
EVERY = 8
"""Step between the pixels that are used, in rows and columns."""
RIDGE = 1e-3
HEADS = ("class", "source %", "target %", "true", "confusion", "confusion, ridge", "EM")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=Path, nargs="+", help="trained on the source")
    parser.add_argument("--images", type=int, default=100, help="of each domain")
    parser.add_argument("--page", type=Path, help="put the table between the marks of this page")
    options = parser.parse_args(arguments)
    rows = [estimates(RunFolder(path), options.images) for path in options.runs]
    text = table(rows, RunFolder(options.runs[0]))
    print(text)
    if options.page is not None:
        before, rest = options.page.read_text(encoding="utf-8").split(BEGIN)
        page = f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.split(END)[1]}"
        write_whole(options.page, page.encode())


def estimates(run: RunFolder, images: int) -> np.ndarray:
    """Return (6, C): both domains' shares, the true ratios, and three estimates of them."""
    network, config = load_segmenter(run.model_file).eval(), run.config
    (p_source, y_source), (p_target, y_target) = look(network, config, images)
    classes = len(network.classes)
    joint = np.stack([p_source[y_source == c].sum(axis=0) for c in range(classes)], axis=1)
    joint /= len(y_source)
    source = np.bincount(y_source, minlength=classes) / len(y_source)
    target = np.bincount(y_target, minlength=classes) / len(y_target)
    mean = p_target.mean(axis=0)
    return np.stack(
        [
            *(source, target, target / source),
            ratios_by_confusion(joint, mean),
            ratios_by_confusion(joint, mean, RIDGE),
            ratios_by_em(p_target, source),
        ]
    )


@torch.inference_mode()
def look(network: Segmenter, config: Config, images: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return predictions (N, C) float64 and labels (N,) of labelled pixels, source then target."""
    seen = []
    for sample in draw_domains(config, images, 0, "target", "truth"):
        parts = []
        for image, label in shown(sample, network, 0, lambda done, of: None):
            assert label is not None
            p = network.ensemble(network(image)).softmax(dim=1)[0, :, ::EVERY, ::EVERY]
            y = label[::EVERY, ::EVERY]
            known = y != IGNORE
            parts.append((p[:, known].T.double().numpy(), y[known].numpy()))
        p, y = zip(*parts, strict=True)
        seen.append((np.concatenate(p), np.concatenate(y).astype(int)))
    return seen


def table(rows: Sequence[np.ndarray], run: RunFolder) -> str:
    """Return the table of medians over runs, and below it the error of each estimate."""
    values = np.median(rows, axis=0)
    names = load_segmenter(run.model_file).classes.names
    lines = ["| " + " | ".join(HEADS) + " |", "|---|" + "---:|" * (len(HEADS) - 1)]
    for name, column in zip(names, values.T, strict=True):
        source, target, *ratios = column
        cells = [f"{100 * source:.1f}", f"{100 * target:.1f}", *(f"{r:.2f}" for r in ratios)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    known = values[2] > 0
    off = [np.abs(np.log(np.maximum(v[known], 0.01) / values[2][known])) for v in values[3:]]
    none = np.abs(np.log(values[2][known]))
    said = ", ".join(
        f"{head} x{np.exp(np.median(each)):.2f}"
        for head, each in zip((*HEADS[4:], "no correction"), (*off, none), strict=True)
    )
    return "\n".join([*lines, "", f"Off by a factor of, median over the classes: {said}."])


if __name__ == "__main__":
    main()
