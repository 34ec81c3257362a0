"""Logged numbers averaged over seeds and smoothed, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from clan.figures.series import Series, logged, over_seeds, scalar, smoothed


def test_a_scalar_is_read_where_it_was_logged() -> None:
    records = [{"step": 1, "a": 2.0}, {"step": 2}, {"step": 3, "a": None}, {"step": 4, "a": 3}]
    assert logged(records, scalar("a", 100)) == {1: 200.0, 4: 300.0}
    assert logged(records, scalar("b")) == {}


def test_seeds_are_averaged_at_the_steps_that_all_have() -> None:
    found = over_seeds([{1: 1.0, 2: 2.0, 3: 9.0}, {3: 1.0, 2: 4.0}])
    assert found is not None
    assert found.steps.tolist() == [2, 3]
    assert found.mean.tolist() == [3, 5]
    assert found.low.tolist() == [2, 1]
    assert found.high.tolist() == [4, 9]
    assert over_seeds([]) is None
    assert over_seeds([{1: 1.0}, {2: 1.0}]) is None


@pytest.mark.parametrize("count", [7, 10, 23])
def test_smoothing_averages_neighbours(count: int) -> None:
    steps = np.arange(1.0, count + 1)
    found = smoothed(Series(steps, steps, steps - 1, steps + 1), 5)
    assert len(found.steps) == 5
    assert found.steps[-1] == count
    sizes = np.diff(found.steps, prepend=0)
    assert (found.mean * sizes).sum() == pytest.approx(steps.sum())
    assert found.low[0] == 0
    assert found.high.tolist() == (found.steps + 1).tolist()


def test_few_points_stay_as_they_are() -> None:
    steps = np.arange(5.0)
    series = Series(steps, steps, steps, steps)
    assert smoothed(series, 5) is series
