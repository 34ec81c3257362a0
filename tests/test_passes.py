"""The table of what an update runs is counted from today's code."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(DOCS)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    import make_passes

    return make_passes


def test_the_page_is_up_to_date(program: ModuleType) -> None:
    content = program.PAGE.read_text()
    assert program.updated(content) == content, "run python docs/make_passes.py"


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
