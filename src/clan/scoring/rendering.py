"""Scores as a table in the terminal, with notes on how they were computed."""

from __future__ import annotations

import math

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from clan.scoring.metrics import Scores, subset_names


def score_table(scores: Scores) -> RenderableType:
    """Return a rich table: IoU and share of the truth per class, mIoU per named subset.

    Notes below it name the protocol and the classes without a pixel in the truth.
    """
    if not scores.confusion.any():
        return Text(f"{scores.images} images predicted, not scored: they have no labels")
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("class")
    table.add_column("IoU %", justify="right")
    table.add_column("truth %", justify="right")
    truth = scores.confusion.sum(1)
    share = 100 * truth / max(1, truth.sum())
    for (name, value), part in zip(scores.iou.items(), share.tolist(), strict=True):
        table.add_row(Text(name), _percent(value), f"{part:.2f}")
    summary = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), show_header=False)
    for subset in (scores.classes.name, *scores.classes.subsets):
        size = len(subset_names(scores.classes, subset))
        heading = Text(f"mIoU over {subset} ({size} classes)", style="bold")
        summary.add_row(heading, Text(_percent(scores.miou(subset)), style="bold"))
    summary.add_row("pixel accuracy", _percent(scores.pixel_accuracy))
    summary.add_row("images", str(scores.images))
    notes = [Text(note, style="dim") for note in score_notes(scores)]
    return Group(table, "", summary, *notes)


def score_notes(scores: Scores) -> list[str]:
    """Return notes on the protocol and on classes without IoU, a sentence each."""
    notes = []
    if scores.protocol is not None:
        notes.append(f"Input {scores.protocol.size_text()}, {scores.protocol.text()}.")
    left_out = [name for name, value in scores.iou.items() if math.isnan(value)]
    if left_out:
        notes.append(
            f"Neither in the truth nor predicted, so without IoU and left out of the means: "
            f"{', '.join(left_out)}."
        )
    zero = [name for name in scores.absent if name not in left_out]
    if zero:
        notes.append(f"Predicted but not in the truth, so 0 in the means: {', '.join(zero)}.")
    return notes


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"
