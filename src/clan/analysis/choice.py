"""The checkpoint that each label-free score chooses, and how well it ranks checkpoints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clan.analysis.label_free import HIGHER_IS_BETTER, SHORT
from clan.analysis.results import COMMANDS, Result, matrix, read_alike, result_file

TOGETHER = "all together"
LEAST_STEPS = 3
"""Least number of checkpoints for a rank correlation."""


@dataclass(frozen=True)
class Choice:
    """What one score chooses among the checkpoints of a system, the mean over its seeds.

    Attributes:
        steps: the chosen checkpoint's updates, one for each seed.
        miou: the true mIoU of the chosen checkpoints, in percent.
        correlation: Spearman's rank correlation of score and true mIoU, -1 to 1; nan where one of
            them is the same everywhere.
    """

    steps: tuple[int, ...]
    miou: float
    correlation: float


@dataclass(frozen=True)
class Choices:
    """The choices among one system's checkpoints, or among all systems' together.

    Attributes:
        name: the system.
        seeds: how many.
        checkpoints: how many a run has.
        last: mIoU of the last checkpoint in percent, the mean over seeds; for all systems
            together, of the best system's.
        oracle: of the best checkpoint by target labels, which adaptation does not have.
        scores: by the names of `clan.analysis.label_free.HIGHER_IS_BETTER`; without those that the
            networks do not have.
    """

    name: str
    seeds: int
    checkpoints: int
    last: float
    oracle: float
    scores: dict[str, Choice]


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Return Spearman's rank correlation, equal values sharing their mean rank.

    nan where one side is constant or there are fewer than `LEAST_STEPS` pairs.
    """
    if len(x) < LEAST_STEPS:
        return math.nan
    a, b = (_ranks(np.asarray(side, np.float64)) for side in (x, y))
    a, b = a - a.mean(), b - b.mean()
    norm = math.sqrt(float((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm else math.nan


def checkpoint_choices(runs: Sequence[str | Path]) -> tuple[list[Choices], list[str]]:
    """Return the choices for each system with label-free scores, and notes.

    Args:
        runs: run folders; those without scores of `LEAST_STEPS` checkpoints are named in the notes.

    Returns:
        Choices by system and, for more than one, for all together; sentences for the reader. Both
        are empty where no run has scores.

    Raises:
        RunError: scores over different images or options, or a damaged file.
    """
    folders = [run if (run := Path(each)).is_dir() else run.parent for each in runs]
    scored = [run for run in folders if result_file(run, "label-free").is_file()]
    if not scored:
        return [], []
    results = read_alike(scored, "label-free")
    usable = [r for r in results if _usable(r)]
    without = sorted({str(run) for run in folders} - {str(r.run) for r in usable})
    notes = []
    if without:
        notes.append(
            f"Without label-free scores of {LEAST_STEPS} checkpoints and their true mIoU: "
            f"{', '.join(without)} (`{COMMANDS['label-free']} RUN`)."
        )
    systems: dict[str, list[Result]] = {}
    for result in usable:
        systems.setdefault(result.name, []).append(result)
    found = [_choices(name, seeds) for name, seeds in systems.items()]
    if len(found) > 1:
        found.append(_together(usable, found))
    if found:
        target = usable[0].about["target"]
        notes.insert(
            0,
            f"Scores over {target['images']} images of {target['dataset']} {target['split']}, "
            f"without their labels. For each: the true mIoU (on {usable[0].about['miou_on']}, in "
            "percent, the mean over seeds) of the checkpoint that it chooses among a run's n, then "
            "the rank correlation of score and true mIoU over them. For comparison the mIoU of the "
            "last checkpoint, and of the best one by target labels (oracle).",
        )
    return found, notes


def write_choices(choices: Sequence[Choices], notes: Sequence[str], console: Console) -> None:
    """Print the choices as a table."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    heads, rows = choice_cells(choices)
    for head in heads:
        table.add_column(Text(head), justify="left" if head == "system" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    if rows:
        console.print(Text("Choosing a checkpoint without target labels", style="italic"))
        console.print()
        console.print(table)
        console.print()
    for note in notes:
        console.print(Text(note, style="dim"))


def choices_markdown(choices: Sequence[Choices], notes: Sequence[str]) -> str:
    """Return the choices as a GitHub table with its notes."""
    heads, rows = choice_cells(choices)
    table = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows] if rows else []
    lines = ["| " + " | ".join(cell.replace("_", "\\_") for cell in row) + " |" for row in table]
    if rows:
        lines = ["Choosing a checkpoint without target labels", "", *lines]
    return "\n".join([*lines, *(f"\n{note}" for note in notes)]) + "\n"


def choice_cells(choices: Sequence[Choices]) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows of the table: mIoU in percent, then the rank correlation."""
    heads = ["system", "n", "last", "oracle", *(SHORT[kind] for kind in HIGHER_IS_BETTER)]
    rows = [
        [
            each.name,
            str(each.checkpoints),
            f"{each.last:.1f}",
            f"{each.oracle:.1f}",
            *(_cell(each.scores.get(name)) for name in HIGHER_IS_BETTER),
        ]
        for each in choices
    ]
    return heads, rows


def _cell(choice: Choice | None) -> str:
    if choice is None:
        return "-"
    shown = "-" if math.isnan(choice.correlation) else f"{choice.correlation:+.2f}"
    return f"{choice.miou:.1f} {shown}"


def _usable(result: Result) -> bool:
    miou = result.about["miou"]
    return len(miou) >= LEAST_STEPS and all(value is not None for value in miou)


def _choices(name: str, seeds: Sequence[Result]) -> Choices:
    mious = [100 * matrix(r.about["miou"]) for r in seeds]
    scores = {}
    for kind in HIGHER_IS_BETTER:
        signed = [_signed(r, kind) for r in seeds]
        if any(np.isnan(values).any() for values in signed):
            continue
        places = [int(values.argmax()) for values in signed]
        correlations = [
            rank_correlation(s.tolist(), m.tolist()) for s, m in zip(signed, mious, strict=True)
        ]
        scores[kind] = Choice(
            steps=tuple(int(r.about["steps"][p]) for r, p in zip(seeds, places, strict=True)),
            miou=float(np.mean([m[p] for m, p in zip(mious, places, strict=True)])),
            correlation=_mean(correlations),
        )
    return Choices(
        name=name,
        seeds=len(seeds),
        checkpoints=max(len(m) for m in mious),
        last=float(np.mean([m[-1] for m in mious])),
        oracle=float(np.mean([m.max() for m in mious])),
        scores=scores,
    )


def _together(results: Sequence[Result], systems: Sequence[Choices]) -> Choices:
    """Choose among all checkpoints of all systems and seeds at once."""
    miou = np.concatenate([100 * matrix(r.about["miou"]) for r in results])
    steps = [int(step) for r in results for step in r.about["steps"]]
    scores = {}
    for kind in HIGHER_IS_BETTER:
        signed = np.concatenate([_signed(r, kind) for r in results])
        if np.isnan(signed).any():
            continue
        place = int(signed.argmax())
        correlation = rank_correlation(signed.tolist(), miou.tolist())
        scores[kind] = Choice((steps[place],), float(miou[place]), correlation)
    return Choices(
        name=TOGETHER,
        seeds=len({r.seed for r in results}),
        checkpoints=len(miou),
        last=max(each.last for each in systems),
        oracle=float(miou.max()),
        scores=scores,
    )


def _signed(result: Result, kind: str) -> NDArray[np.float64]:
    """Return a score at each step, higher = better."""
    sign = 1 if HIGHER_IS_BETTER[kind] else -1
    return sign * matrix(result.about["scores"][kind])


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ranks from 0, equal values sharing the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = counts.cumsum()
    return np.asarray((ends - (counts + 1) / 2)[place], np.float64)
