"""Gains of each system over the baseline, over the seeds that both have.

Scores of one system differ by points between seeds, so a gain compares equal seeds only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clan.comparison.table import Row
from clan.scoring.evaluation_file import Evaluation

Systems = Mapping[str, Sequence[Evaluation]]


class _Shared(NamedTuple):
    """Runs of some systems in the seeds that they share; all their runs if they share none."""

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
    """Return the rows with gain, gap closed and changes; unchanged if there is no baseline."""
    if baseline not in systems:
        return list(rows)
    return [_with_gain(row, systems, classes, baseline, oracle) for row in rows]


def _with_gain(
    row: Row, systems: Systems, classes: Sequence[str], baseline: str, oracle: str
) -> Row:
    pair = _shared(systems, row.name, baseline)
    (iou, miou), (base_iou, base_miou) = (class_means(runs, classes) for runs in pair.runs)
    row = replace(
        row,
        # of values rounded to a tenth, as tables print them: equal as printed is no change
        change=np.round(np.round(iou, 1) - np.round(base_iou, 1), 1),
        shared_seeds=len(pair.seeds),
        worse_seeds=_worse_seeds(pair, classes) if pair.seeds else None,
    )
    if row.name == baseline:
        return row
    gain = float(miou.mean() - base_miou.mean())
    if oracle not in systems or row.name == oracle:
        return replace(row, gain=gain)
    three = _shared(systems, row.name, baseline, oracle)
    if pair.seeds and not three.seeds:
        # the oracle has none of the seeds that the gain is over, so the gap is not known for them
        return replace(row, gain=gain)
    reached, low, high = (float(class_means(runs, classes)[1].mean()) for runs in three.runs)
    closed = 100 * (reached - low) / (high - low) if high > low else None
    return replace(row, gain=gain, gap_closed=closed)


def gain_notes(rows: Sequence[Row], systems: Systems, baseline: str, oracle: str) -> Iterable[str]:
    """Yield over which seeds gains and gaps are computed, where not over all of them."""
    if baseline not in systems:
        return
    adapted = [row for row in rows if row.name not in (baseline, oracle)]
    yield from _gain_seeds([row.name for row in rows if row.name != baseline], systems, baseline)
    if oracle in systems:
        yield from _gap_notes(adapted, systems, baseline, oracle)


def _gain_seeds(names: Sequence[str], systems: Systems, baseline: str) -> Iterable[str]:
    """Yield which gains are over some seeds only, and which compare means over different seeds."""
    partial: dict[tuple[int, ...], list[str]] = {}
    for name in names:
        seeds = _shared(systems, name, baseline).seeds
        if not seeds and _known(systems[name]) and _known(systems[baseline]):
            yield f"{name} shares no seed with {baseline}: its gain is between their means."
        elif seeds and len(seeds) < max(len(systems[name]), len(systems[baseline])):
            partial.setdefault(seeds, []).append(name)
    for seeds, group in partial.items():
        yield (
            f"Gains and losses of {', '.join(group)} are over {_seed_text(seeds)}, "
            f"which {baseline} has too."
        )


def _gap_notes(
    adapted: Sequence[Row], systems: Systems, baseline: str, oracle: str
) -> Iterable[str]:
    """Yield which gaps are over other seeds than the gains, and why others are left out."""
    partial: dict[tuple[int, ...], list[str]] = {}
    apart, flat = list[str](), list[str]()
    for row in adapted:
        pair = _shared(systems, row.name, baseline).seeds
        three = _shared(systems, row.name, baseline, oracle).seeds
        if pair and not three:
            apart.append(row.name)
        elif row.gap_closed is None:
            flat.append(row.name)
        elif three != pair:
            partial.setdefault(three, []).append(row.name)
    for seeds, group in partial.items():
        yield f"Gap closed of {', '.join(group)} is over {_seed_text(seeds)}, which {oracle} has."
    if apart:
        yield f"{oracle} has no seed of {', '.join(apart)}: gap closed is left out."
    if flat:
        yield f"{oracle} is not above {baseline}: no gap to close for {', '.join(flat)}."


def _known(runs: Sequence[Evaluation]) -> set[int]:
    return {run.seed for run in runs if run.seed is not None}


def _seed_text(seeds: Sequence[int]) -> str:
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"


def _shared(systems: Systems, *names: str) -> _Shared:
    common = sorted(set.intersection(*(_known(systems[name]) for name in names)))
    if not common:
        return _Shared((), tuple(list(systems[name]) for name in names))
    by_seed = [{run.seed: run for run in systems[name]} for name in names]
    return _Shared(tuple(common), tuple([runs[seed] for seed in common] for runs in by_seed))


def _worse_seeds(pair: _Shared, classes: Sequence[str]) -> NDArray[np.int64]:
    """Return (C,) in how many shared seeds the first system's IoU is below the second's."""
    worse = [
        [a.scores.iou[name] < b.scores.iou[name] for name in classes]
        for a, b in zip(*pair.runs, strict=True)
    ]
    counts: NDArray[np.int64] = np.array(worse, np.int64).sum(axis=0)
    return counts
