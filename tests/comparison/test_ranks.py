"""Rank tests against Demsar's worked example, scipy, and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from clan.comparison.ranks import (
    compare_ranks,
    control_p,
    critical_difference,
    friedman,
    groups,
    holm,
    mean_ranks,
)

# Demsar, JMLR 7 (2006), section 3.2.2: C4.5, with m, with cf, with both, on 14 data sets
PUBLISHED = (3.143, 2.000, 2.893, 1.964)


def test_the_worked_example() -> None:
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.01)
    # against C4.5, as in his step-down procedures
    p = [control_p(PUBLISHED[i] - PUBLISHED[0], 4, 14) for i in (3, 1, 2)]
    assert p == pytest.approx([0.016, 0.019, 0.607], abs=1.5e-3)
    assert holm(p) == pytest.approx([3 * p[0], 3 * p[0], p[2]])


def test_ranks_by_hand() -> None:
    scores = np.array([[0.9, 0.8, 0.7, 0.8], [0.1, 0.2, 0.3, 0.4]])
    assert mean_ranks(scores).tolist() == [2.5, 2.75, 3.0, 1.75]
    # without ties it is 12 N / (K (K + 1)) times the squared deviations of the mean ranks
    scores = np.array([[3.0, 2.0, 1.0], [3.0, 1.0, 2.0], [2.0, 3.0, 1.0]])
    ranks = np.array([4 / 3, 2, 8 / 3])
    assert mean_ranks(scores) == pytest.approx(ranks)
    assert friedman(scores)[0] == pytest.approx(12 * 3 / 12 * float(((ranks - 2) ** 2).sum()))


def test_the_published_quantiles() -> None:
    """His Table 5 (a), q at 5 %."""
    for systems, q in ((2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (7, 2.949), (10, 3.164)):
        scale = math.sqrt(systems * (systems + 1) / 6)
        assert critical_difference(systems, 1) == pytest.approx(q * scale, abs=1e-3 * scale)


@given(st.integers(2, 8), st.integers(3, 7), st.integers(0, 999))
def test_friedman_is_scipys(blocks: int, systems: int, seed: int) -> None:
    scores = np.random.default_rng(seed).integers(0, 6, (blocks, systems)).astype(float)
    if (scores == scores[:, :1]).all():
        assert friedman(scores) == (0.0, 1.0)
        return
    expected = stats.friedmanchisquare(*scores.T)
    assert friedman(scores) == pytest.approx((expected.statistic, expected.pvalue), nan_ok=True)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_by_its_definition(p: list[float]) -> None:
    adjusted, order = holm(p), sorted(p)
    for value, found in zip(p, adjusted, strict=True):
        steps = [(len(p) - i) * q for i, q in enumerate(order) if q <= value]
        assert found == pytest.approx(min(1.0, max(steps)))


def test_a_clear_case_is_told_apart_and_names_its_control() -> None:
    scores = np.arange(1.0, 6.0)[None] + 10 * np.arange(6.0)[:, None]
    test = compare_ranks("abcde", range(6), scores, control="a")
    assert test is not None
    assert test.mean_ranks == (5, 4, 3, 2, 1)
    # perfect agreement: chi square is blocks * (systems - 1)
    assert test.chi_square == pytest.approx(6 * 4)
    assert test.adjusted[0] is None
    assert test.significant == ["d", "e"]
    assert test.better("e")
    assert test.adjusted[4] == pytest.approx(test.least)
    assert test.least == pytest.approx(4 * control_p(4, 5, 6))
    down = compare_ranks("abcde", range(6), scores, control="e")
    assert down is not None
    assert down.significant == ["a", "b"]
    assert not down.better("a")


def test_what_cannot_be_tested() -> None:
    assert compare_ranks("ab", [0], np.ones((1, 2)), "a") is None
    assert compare_ranks("a", [0, 1], np.ones((2, 1)), "a") is None
    assert compare_ranks("ab", [0, 1], np.ones((2, 2)), "c") is None
    tied = compare_ranks("ab", [0, 1], np.ones((2, 2)), "a")
    assert tied is not None
    assert (tied.p, tied.adjusted[1]) == (1.0, pytest.approx(1.0))


def test_groups_are_the_largest_ones() -> None:
    assert groups([1, 2, 3, 4], 1.5) == [(1, 2), (2, 3), (3, 4)]
    assert groups([1, 2, 3, 4], 2) == [(1, 3), (2, 4)]
    assert groups([1, 2, 3, 4], 9) == [(1, 4)]
    assert groups([4.0, 1.0], 1.0) == []
