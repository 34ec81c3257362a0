"""The page on paper and published code says what the presets do, and names tests that exist."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

TESTS = Path(__file__).parents[1]


@pytest.fixture
def program(docs_program: Callable[[str], ModuleType]) -> ModuleType:
    return docs_program("make_paper_vs_code")


def test_it_has_every_row_once(program: ModuleType) -> None:
    numbers = [row.number for row in program.ROWS]
    assert numbers[:34] == [str(number) for number in range(1, 35)]
    assert len(set(numbers)) == len(numbers)


def test_every_row_is_an_option_or_explained_and_tested(program: ModuleType) -> None:
    for row in program.ROWS:
        assert row.keys or row.note.startswith("No option"), row.number
        assert row.tests, row.number
        for test in row.tests:
            file, _, name = test.partition("::")
            tree = ast.parse((TESTS / file).read_text())
            names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
            assert name in names, test


def test_the_values_are_those_of_the_presets(program: ModuleType) -> None:
    """Known ones, written by hand: the page's words on the published code agree with them."""
    assert program.values("method.loss.gamma") == "none; `2`; none"
    assert program.values("method.loss.name") == "`cross_entropy`; `focal`; `cross_entropy`"
    assert program.values("method.lambda_local") == "`40`; `40` (SYNTHIA `10`); `40`"
    assert program.values("optim.segmenter.step_repeats") == "`once`; `published`; `once`"
    assert program.values("optim.discriminator.lr") == "`5e-05`; `0.0001`; `0.0001`"
    assert program.values("method.epsilon") == "`0.4`"
    assert program.values("data.classes").startswith("none (SYNTHIA `cityscapes-16`); `cityscapes`")
