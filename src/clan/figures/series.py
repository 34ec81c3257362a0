"""Logged numbers over the steps, averaged over seeds and smoothed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Record = Mapping[str, Any]
"""One line of ``metrics.jsonl``."""
Reader = Callable[[Record], float | None]
"""Takes a number from a record; None if the record has none."""


class Series(NamedTuple):
    """A number over the steps, of one run or of several seeds.

    Attributes:
        steps: (P,) updates, ascending.
        mean: (P,) mean over the seeds.
        low: (P,) lowest value of a seed.
        high: (P,) highest value of a seed.
    """

    steps: NDArray[np.float64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def scalar(name: str, factor: float = 1.0) -> Reader:
    """Return a reader of a logged number, times a factor."""

    def read(record: Record) -> float | None:
        value = record.get(name)
        return factor * float(value) if isinstance(value, int | float) else None

    return read


def logged(records: Iterable[Record], read: Reader) -> dict[int, float]:
    """Return step -> number for the records that have it."""
    pairs = ((int(record["step"]), read(record)) for record in records)
    return {step: value for step, value in pairs if value is not None}


def over_seeds(seeds: Sequence[Mapping[int, float]]) -> Series | None:
    """Average seeds (step -> number each) at the steps that all of them have.

    At steps that some seeds lack, the mean would be over fewer seeds and jump.

    Returns:
        None if there is no seed or no common step.
    """
    steps = sorted(set.intersection(*(set(seed) for seed in seeds))) if seeds else []
    if not steps:
        return None
    values = np.array([[seed[step] for step in steps] for seed in seeds])
    return Series(np.array(steps, np.float64), values.mean(0), values.min(0), values.max(0))


def smoothed(series: Series, points: int) -> Series:
    """Average neighbouring points until at most ``points`` are left.

    A point has the step of its last neighbour; ``low`` and ``high`` are the neighbours' extremes.
    """
    count = len(series.steps)
    if count <= points:
        return series
    starts = np.linspace(0, count, points + 1).astype(int)[:-1]
    ends = np.append(starts[1:], count)
    return Series(
        series.steps[ends - 1],
        np.add.reduceat(series.mean, starts) / (ends - starts),
        np.minimum.reduceat(series.low, starts),
        np.maximum.reduceat(series.high, starts),
    )
