"""The page of promises shows what was measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


@pytest.fixture
def program(docs_program: Callable[[str], ModuleType]) -> ModuleType:
    return docs_program("make_reliability")


def test_the_page_is_up_to_date(program: ModuleType) -> None:
    page = PAGE.read_text()
    assert program.updated(page) == page


def test_runs_add_up(program: ModuleType) -> None:
    run = {"family": "teacher", "method": "mic", "date": "2026-01-01", "runs": 3}
    first = {**run, "hits": {"SIGKILL, a write": 5, "SIGKILL, processor time": 4, "SIGHUP": 1}}
    second = {**run, "hits": {"SIGKILL, a write": 1, "SIGTERM": 1, "pre-emption": 1}}
    other = {**first, "family": "curriculum", "method": "cda"}
    lines = program._kills([first, second, other]).splitlines()
    assert "| teacher | `mic` | 4 | 6 | 2 | 1 | 6 |" in lines
    assert "| all |  | 8 | 11 | 3 | 1 | 9 |" in lines


def test_notices_that_were_not_met_are_told(program: ModuleType) -> None:
    run = {"family": "teacher", "method": "mic", "date": "2026-01-01", "runs": 3}
    late = "pre-emption, killed after 10 s"
    hits = {"pre-emption": 4, late: 1, f"{late}, machine busy": 2}
    said = program._kills([{**run, "hits": hits}])
    assert "| teacher | `mic` | 0 | 0 | 0 | 7 | 3 |" in said
    assert "4 of 7 notices were met; 2 ended before the training had two seconds" in said


def test_faults_are_shown(program: ModuleType) -> None:
    run = {"date": "2026-01-01", "minutes": 2, "counts": {"pictures": {"read": 1, "fault": 2}}}
    assert "| pictures | 2 | 0 | 4 |" in program._fuzz([run, run])
