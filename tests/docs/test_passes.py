"""The table of what an update runs is counted from today's code."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest


@pytest.fixture
def program(docs_program: Callable[[str], ModuleType]) -> ModuleType:
    return docs_program("make_passes")


def test_counts_follow_mcds_definition(program: ModuleType) -> None:
    """A: the source through G. B: both without a gradient to E. C, four times: the target."""
    ((_, passes),) = program.measured("mcd")
    assert passes == {
        ("E", "source", "forward"): 1 + 1,
        ("E", "source", "backward"): 1,
        ("C", "source", "forward"): 1 + 1,
        ("C", "source", "backward"): 1 + 1,
        ("E", "target", "forward"): 1 + 4,
        ("E", "target", "backward"): 4,
        ("C", "target", "forward"): 1 + 4,
        ("C", "target", "backward"): 1 + 4,
    }
    assert program.expected(passes) == pytest.approx((7 + 2 * 5) / 3)
