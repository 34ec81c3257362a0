"""The comparison as cards and table cells for a template."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clan.comparison.table import ABSENT, Comparison, Row
from clan.data.classes import ClassSet

MINUS = "\N{MINUS SIGN}"
"""As wide as a plus sign, so that signs align in a column."""


@dataclass(frozen=True)
class Change:
    """A gain or a loss, as a sign, a word and a colour (`kind`)."""

    kind: str
    sign: str
    text: str
    word: str


def change(value: float | None) -> Change | None:
    """Return the display of a change in points; None if there is no value."""
    if value is None or math.isnan(value):
        return None
    text = f"{value:+.1f}"
    if text in ("+0.0", "-0.0"):
        return Change("same", "=", "0.0", "the same")
    text = text.replace("-", MINUS)
    return Change("gain", "▲", text, "better") if value > 0 else Change("loss", "▼", text, "worse")


def score_table(
    comparison: Comparison, classes: ClassSet, slots: Mapping[str, int]
) -> dict[str, Any]:
    """Return the template's values for a comparison.

    Args:
        comparison: of all scored runs.
        classes: gives the colours.
        slots: colour of each system.
    """
    rows = comparison.rows
    baseline = next((row for row in rows if row.name == comparison.baseline), None)
    return {
        "title": comparison.title,
        "baseline": comparison.baseline,
        "cards": [_card(row, comparison, slots) for row in rows],
        "losses": losses_table(comparison, classes),
        "notes": comparison.notes,
        "heads": [row.name for row in rows],
        "lines": _lines(comparison, baseline, classes, slots),
    }


def losses_table(comparison: Comparison, classes: ClassSet) -> dict[str, Any] | None:
    """Return the template's values for negative transfer; None without a baseline or other systems.

    Systems are lines and classes columns.
    """
    transfer = comparison.negative_transfer
    if transfer is None:
        return None
    return {
        "baseline": transfer.baseline,
        "caption": transfer.caption,
        "heads": [{"name": n, "color": color_text(classes, n)} for n in transfer.classes],
        "lines": [
            {
                "name": system,
                "cells": [
                    {
                        "text": transfer.text(system, name).replace("-", MINUS),
                        "strength": strength(-transfer.points(system, name)),
                    }
                    for name in transfer.classes
                ],
            }
            for system in transfer.systems
        ],
    }


def strength(points: float) -> float:
    """Return the strength of a change's tint, -1..1; full from 20 points on."""
    return 0.0 if math.isnan(points) else round(max(-1.0, min(1.0, points / 20)), 2)


def _card(row: Row, comparison: Comparison, slots: Mapping[str, int]) -> dict[str, Any]:
    seeds = ", ".join(str(s) for s in row.seeds if s is not None) or "unknown"
    roles = {comparison.baseline: "baseline", comparison.oracle: "trained on target labels"}
    return {
        "name": row.name,
        "slot": slots[row.name],
        "miou": ABSENT if math.isnan(row.miou) else f"{row.miou:.1f}",
        "spread": None if row.std is None else f"{row.std:.1f}",
        "gain": change(row.gain),
        "role": roles.get(row.name, "no baseline to compare with"),
        "closed": None if row.gap_closed is None else f"{row.gap_closed:.0f} %",
        "seeds": f"{'seed' if len(row.seeds) == 1 else f'{len(row.seeds)} seeds:'} {seeds}",
        "checkpoint": row.checkpoint,
    }


def _lines(
    comparison: Comparison, baseline: Row | None, classes: ClassSet, slots: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Return mIoU and one line per class, each with a cell per system."""
    rows = comparison.rows
    texts = {heading: (cells, best) for heading, cells, best in comparison.lines()}
    headings = ("mIoU", *comparison.classes)
    lines = []
    for number, heading in enumerate(headings):
        cells, best = texts[heading]
        values = [row.miou if number == 0 else float(row.iou[number - 1]) for row in rows]
        gained = [row.gain if number == 0 else _change(row, number - 1) for row in rows]
        lines.append(
            {
                "name": heading,
                "summary": number == 0,
                "color": None if number == 0 else color_text(classes, heading),
                "cells": [
                    {
                        "text": cells[i],
                        "best": i in best,
                        "slot": slots[row.name],
                        "part": 0 if math.isnan(values[i]) else round(values[i] / 100, 3),
                        "change": None if row is baseline else change(gained[i]),
                    }
                    for i, row in enumerate(rows)
                ],
            }
        )
    return lines


def _change(row: Row, index: int) -> float | None:
    return None if row.change is None else float(row.change[index])


def color_text(classes: ClassSet, name: str) -> str:
    """Return a class's colour in CSS."""
    red, green, blue = classes.colors[classes.index(name)]
    return f"rgb({red}, {green}, {blue})"
