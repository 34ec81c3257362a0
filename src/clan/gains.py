"""What adaptation gained and lost: each system beside the baseline, over the seeds that both have.

Seeds differ by points: a system that lacks one is not held against what the baseline did in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clan.scores import Evaluation
from clan.tables import Row

Systems = Mapping[str, Sequence[Evaluation]]


class _Shared(NamedTuple):
    """Runs of systems in the seeds that all of them have; every run where there is no such seed."""

    seeds: tuple[int, ...]
    runs: tuple[list[Evaluation], ...]


def class_means(
    runs: Sequence[Evaluation], classes: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (C,) mean IoU per class, nan where no run has one, and (R,) mIoU per run, percent."""
    iou = np.array([[run.scores.iou[c] for c in classes] for run in runs]) * 100
    valid = np.isfinite(iou)
    mean = np.where(valid.any(0), np.where(valid, iou, 0).sum(0) / valid.sum(0).clip(1), np.nan)
    return mean, np.array([run.scores.mean_iou(classes) for run in runs]) * 100


def with_gains(
    rows: Sequence[Row], systems: Systems, classes: Sequence[str], baseline: str, oracle: str
) -> list[Row]:
    """Return the rows with gain, gap closed and changes; as they are if there is no baseline."""
    if baseline not in systems:
        return list(rows)
    return [_with_gain(row, systems, classes, baseline, oracle) for row in rows]


def _with_gain(
    row: Row, systems: Systems, classes: Sequence[str], baseline: str, oracle: str
) -> Row:
    own, base = _shared(systems, row.name, baseline).runs
    (iou, miou), (base_iou, base_miou) = (class_means(runs, classes) for runs in (own, base))
    # as printed: what rounds to the same tenth has not changed
    row = replace(row, change=np.round(np.round(iou, 1) - np.round(base_iou, 1), 1))
    if row.name == baseline:
        return row
    gain = float(miou.mean() - base_miou.mean())
    if oracle not in systems or row.name == oracle:
        return replace(row, gain=gain)
    three = _shared(systems, row.name, baseline, oracle).runs
    reached, low, high = (float(class_means(runs, classes)[1].mean()) for runs in three)
    closed = 100 * (reached - low) / (high - low) if high > low else None
    return replace(row, gain=gain, gap_closed=closed)


def gain_notes(
    rows: Sequence[Row], systems: Systems, classes: Sequence[str], baseline: str, oracle: str
) -> Iterable[str]:
    """Yield over which seeds gains are, where not over all, and what adaptation made worse."""
    if baseline not in systems:
        return
    adapted = [row for row in rows if row.name not in (baseline, oracle)]
    yield from _partial(adapted, systems, baseline)
    for row in adapted:
        if row.change is None:
            continue
        lost = sorted((d, c) for d, c in zip(row.change.tolist(), classes, strict=True) if d < 0)
        if lost:
            own, base = _shared(systems, row.name, baseline).runs
            listed = ", ".join(f"{c} {delta:+.1f}{_seeds_lost(own, base, c)}" for delta, c in lost)
            yield f"{row.name} is worse than {baseline} on {listed}."


def _partial(adapted: Sequence[Row], systems: Systems, baseline: str) -> Iterable[str]:
    groups: dict[tuple[int, ...], list[str]] = {}
    for row in adapted:
        seeds = _shared(systems, row.name, baseline).seeds
        if seeds and len(seeds) < max(len(row.seeds), len(systems[baseline])):
            groups.setdefault(seeds, []).append(row.name)
    for seeds, names in groups.items():
        word = "seed" if len(seeds) == 1 else "seeds"
        yield (
            f"Gains and losses of {', '.join(names)} are over {word} "
            f"{', '.join(map(str, seeds))}, which {baseline} has too."
        )


def _shared(systems: Systems, *names: str) -> _Shared:
    known = [{run.seed for run in systems[name] if run.seed is not None} for name in names]
    common = sorted(set.intersection(*known))
    if not common:
        return _Shared((), tuple(list(systems[name]) for name in names))
    by_seed = [{run.seed: run for run in systems[name]} for name in names]
    return _Shared(tuple(common), tuple([runs[seed] for seed in common] for runs in by_seed))


def _seeds_lost(own: Sequence[Evaluation], base: Sequence[Evaluation], name: str) -> str:
    """Return in how many shared seeds a class got worse; nothing where there are no two to tell."""
    pairs = [
        (a.scores.iou[name], b.scores.iou[name])
        for a in own
        for b in base
        if a.seed is not None and a.seed == b.seed
    ]
    if len(pairs) < 2:
        return ""
    return f" ({sum(a < b for a, b in pairs)} of {len(pairs)} seeds)"
