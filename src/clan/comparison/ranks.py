"""Which differences between systems are significant: tests on their ranks over seeds.

After Demsar, Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 7 (2006), with
seeds as blocks. In each seed the systems are ranked, 1 for the best; tied systems share the mean of
their ranks. Three tests use the mean ranks:

- Friedman's: are all systems equal?
- a z-test of each system against a control system, with Holm's correction for several tests;
- Nemenyi's: any two systems differ if their mean ranks are further apart than the critical
  difference.

With few seeds the p values are approximations (Demsar asks for more than 10 blocks and more than 5
systems): a p near the significance level decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LEVEL = 0.05
"""Significance level."""


@dataclass(frozen=True, eq=False)
class RankTest:
    """The results of the rank tests.

    Attributes:
        names: the systems, in the order given.
        seeds: those in which all systems were scored.
        mean_ranks: one per system, 1 for the best.
        chi_square: Friedman's statistic, corrected for ties.
        p: of Friedman's test.
        control: the system that the others are tested against.
        adjusted: p of each system against the control, with Holm's correction; None for the control
            itself.
        critical: Nemenyi's critical difference of mean ranks at `LEVEL`.
        least: the smallest p that is possible against the control with so many seeds and systems.
    """

    names: tuple[str, ...]
    seeds: tuple[int, ...]
    mean_ranks: tuple[float, ...]
    chi_square: float
    p: float
    control: str
    adjusted: tuple[float | None, ...]
    critical: float
    least: float

    @property
    def significant(self) -> list[str]:
        """The systems that differ significantly from the control, in their order."""
        pairs = zip(self.names, self.adjusted, strict=True)
        return [name for name, p in pairs if p is not None and p < LEVEL]

    def better(self, name: str) -> bool:
        """Tell whether a system's mean rank is better than the control's."""
        rank = dict(zip(self.names, self.mean_ranks, strict=True))
        return rank[name] < rank[self.control]


def compare_ranks(
    names: Sequence[str], seeds: Sequence[int], scores: NDArray[np.float64], control: str
) -> RankTest | None:
    """Test for differences between systems.

    Args:
        names: the systems.
        seeds: the seeds.
        scores: (seeds, systems), higher is better.
        control: the system that the others are tested against.

    Returns:
        None if nothing can be tested: fewer than two seeds or systems, or no system ``control``.
    """
    blocks, systems = scores.shape
    if blocks < 2 or systems < 2 or control not in names:
        return None
    mean = mean_ranks(scores)
    own = list(names).index(control)
    others = [i for i in range(systems) if i != own]
    p = [control_p(mean[i] - mean[own], systems, blocks) for i in others]
    adjusted: list[float | None] = [None] * systems
    for i, value in zip(others, holm(p), strict=True):
        adjusted[i] = value
    chi_square, friedman_p = friedman(scores)
    return RankTest(
        names=tuple(names),
        seeds=tuple(seeds),
        mean_ranks=tuple(mean.tolist()),
        chi_square=chi_square,
        p=friedman_p,
        control=control,
        adjusted=tuple(adjusted),
        critical=critical_difference(systems, blocks),
        least=min(1.0, (systems - 1) * control_p(systems - 1, systems, blocks)),
    )


def mean_ranks(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (K,) mean ranks of K systems over B blocks (B, K): 1 for the highest score."""
    ranks: NDArray[np.float64] = stats.rankdata(-scores, axis=1)
    mean: NDArray[np.float64] = ranks.mean(axis=0)
    return mean


def friedman(scores: NDArray[np.float64]) -> tuple[float, float]:
    """Return Friedman's chi square, corrected for ties, and its p for K systems in B blocks (B, K).

    With K = 2 it is the sign test; if all systems are tied, it is (0, 1).
    """
    blocks, systems = scores.shape
    ranks = stats.rankdata(-scores, axis=1)
    # variance of the ranks: ties make it smaller, which corrects the statistic
    spread = float(((ranks - (systems + 1) / 2) ** 2).sum()) / (blocks * (systems - 1))
    if spread == 0:
        return 0.0, 1.0
    between = float(((ranks.mean(axis=0) - (systems + 1) / 2) ** 2).sum())
    chi_square = blocks * between / spread
    return chi_square, float(stats.chi2.sf(chi_square, systems - 1))


def control_p(difference: float, systems: int, blocks: int) -> float:
    """Return the two-sided p of a difference of two mean ranks, without correction."""
    z = abs(difference) / math.sqrt(systems * (systems + 1) / (6 * blocks))
    return float(2 * stats.norm.sf(z))


def holm(p: Sequence[float]) -> list[float]:
    """Return p values corrected for the number of tests (Holm 1979), in the same order."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted, largest = [0.0] * len(p), 0.0
    for place, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - place) * p[i]))
        adjusted[i] = largest
    return adjusted


def critical_difference(systems: int, blocks: int, level: float = LEVEL) -> float:
    """Return the smallest significant difference of two mean ranks (Nemenyi 1963)."""
    q = float(stats.studentized_range.ppf(1 - level, systems, np.inf)) / math.sqrt(2)
    return q * math.sqrt(systems * (systems + 1) / (6 * blocks))


def groups(ranks: Sequence[float], critical: float) -> list[tuple[float, float]]:
    """Return (first, last) mean rank of each maximal group without significant differences."""
    ordered = sorted(ranks)
    found: list[tuple[float, float]] = []
    for first in ordered:
        last = max(rank for rank in ordered if rank - first <= critical)
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return found
