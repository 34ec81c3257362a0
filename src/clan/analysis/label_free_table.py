"""Label-free scores as a table on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from clan.analysis.label_free import HIGHER_IS_BETTER, SHORT


def scores_table(about: Mapping[str, Any]) -> RenderableType:
    """Return a line per checkpoint: the scores and, where known, the true mIoU in percent."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    known = any(value is not None for value in about["miou"])
    heads = ["step", *(f"{SHORT[k]} {'↑' if up else '↓'}" for k, up in HIGHER_IS_BETTER.items())]
    for head in [*heads, *(["true mIoU %"] if known else [])]:
        table.add_column(Text(head), justify="right")
    for row, step in enumerate(about["steps"]):
        cells = ["-" if step is None else str(step)]
        cells += [_shown(about["scores"][kind][row], "{:.4f}") for kind in HIGHER_IS_BETTER]
        if known:
            miou = about["miou"][row]
            cells.append(_shown(None if miou is None else 100 * miou, "{:.1f}"))
        table.add_row(*map(Text, cells))
    target = about["target"]
    notes = [
        f"Over {target['images']} images of {target['dataset']} {target['split']}, without labels. "
        "↑ higher is better, ↓ lower is better."
    ]
    if known:
        notes.append(f"True mIoU on {about['miou_on']}, for comparison: it enters no score.")
    return Group(table, "", *(Text(note, style="dim") for note in notes))


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None or value != value else form.format(value)
