"""The first table of docs/methods.md stands beside what was measured and printed."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def program(docs_program: Callable[[str], ModuleType]) -> ModuleType:
    return docs_program("make_overview")


def test_a_published_score_comes_with_the_source_only_of_its_own_network(
    program: ModuleType,
) -> None:
    """Table 1 has three source-only lines for VGG16, one above each group of rows."""
    assert program._published("cbst", "gta5", "V") == "36.1 (24.3)"
    assert program._published("mcd", "gta5", "V") == "28.8 (24.9)"
    assert program._published("clan", "gta5", "R") == "43.2 (36.6)"
    assert program._published("clan_st", "gta5", "R") == "-"


def test_costs_are_relative_to_the_same_networks_source_only(program: ModuleType) -> None:
    def row(system: str, seconds: float, gib: float, **of: str) -> dict[str, Any]:
        preset = f"gta5-cityscapes/paper/vgg16/{system}"
        cost = {"preset": preset, "processor_seconds": seconds, "gib": gib}
        alike = {"overrides": [], "precision": "32-true", "device": "cpu", "machine": "x"}
        return {**cost, **alike, **of}

    elsewhere = [row("clan", 1, 1, device="a GPU"), row("clan", 1, 1, machine="y")]
    costs = [*elsewhere, row("source_only", 2, 4), row("clan", 5, 6)]
    folder = "gta5-cityscapes/paper"
    assert program._relative("clan", f"{folder}/vgg16", costs) == "2.5, 1.5"
    assert program._relative("clan", f"{folder}/resnet101", costs) == "-"
    assert program._relative("tan", f"{folder}/vgg16", costs) == "-"


def test_recipes_are_measured_on_their_own_networks(program: ModuleType) -> None:
    alike = {"overrides": [], "precision": "32-true", "device": "cpu", "machine": "x"}
    costs = [
        {"preset": f"gta5-cityscapes/transformer/mitb5/{name}", **alike, **numbers}
        for name, numbers in (
            ("source_only", {"processor_seconds": 2, "gib": 4}),
            ("daformer", {"processor_seconds": 5, "gib": 6}),
        )
    ]
    lines = program.recipes(costs).splitlines()
    assert "| `daformer` | 2.5, 1.5 | - | 68.3 | 60.9 | MiT-B5" in program.recipes(costs)
    assert next(line for line in lines if "`mic`" in line).startswith("| `mic` | - | - | 75.9 |")


def test_a_line_that_only_names_its_method_keeps_what_it_says(program: ModuleType) -> None:
    page = f"{program.BEGIN}\n| [`clan`](clan.py) | a weight | 9 |\n{program.END}"
    page += f"\n{program.RECIPES_BEGIN}\n{program.RECIPES_END}"
    line = next(x for x in program.updated(page).splitlines() if x.startswith("| [`clan`]"))
    assert line.startswith("| [`clan`](clan.py) | a weight | 2.")
