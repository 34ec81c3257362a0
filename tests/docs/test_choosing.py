"""The page of advice says what the records say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def program(docs_program: Callable[[str], ModuleType]) -> ModuleType:
    return docs_program("make_choosing")


def record(
    system: str, seed: int, *iou: float, method: str = "", pace: float = 1
) -> dict[str, Any]:
    return {
        "system": system,
        "seed": seed,
        "config": {"method.name": method or system},
        "evaluation": {
            "classes": {"name": "two"},
            "miou": {"two": sum(iou) / 2, "one": 0.9},
            "iou": dict(zip(("a", "b"), iou, strict=True)),
        },
        # the last line is of an evaluation
        "log": {"step": [10, 20, 20], "seconds": [20 * pace, 10 * pace, None]},
    }


RECORDS = [
    *(record("source_only", seed, 0.2, 0.4) for seed in (0, 1)),
    record("clan", 0, 0.4, 0.4, pace=2),
    record("clan", 1, 0.2, 0.5, pace=2),
    # a seed that the baseline has not
    record("clan", 2, 0.0, 0.0),
    record("mic", 0, 0.1, 0.4),
    record("no_mix", 0, 0.9, 0.9, method="clan_st"),
    record("oracle", 0, 0.6, 0.4, method="source_only"),
    record("oracle", 1, 0.4, 0.4, method="source_only"),
]


@pytest.fixture
def table(program: ModuleType, tmp_path: Path) -> list[Any]:
    path = tmp_path / "records.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in RECORDS))
    found: list[Any] = program.rows(program.read(path))
    return found


def test_gains_are_of_shared_seeds(table: list[Any]) -> None:
    assert [row.name for row in table] == ["clan", "mic"]
    clan, mic = table
    assert (clan.seeds, clan.better, clan.always) == (2, 2, True)
    assert clan.gain == pytest.approx(7.5)
    assert clan.closed == pytest.approx(0.5)
    assert clan.time == pytest.approx(2)
    assert (mic.better, mic.always) == (0, False)
    assert (mic.lost[0], mic.lost[1]) == ("a", pytest.approx(-10))


def test_what_the_page_says(program: ModuleType, table: list[Any]) -> None:
    text = program.body({"first": table, "second": table[1:]})
    assert "Better in every seed: `clan`; of these `clan` costs least." in text
    assert "Better in no seed: `mic`." in text
    assert "| `clan` | **+7.5** | - |" in text
    assert "No method is better than `source_only` in every seed of every benchmark." in text
    assert "every seed of every benchmark: `clan`" in program.body({"first": table})
