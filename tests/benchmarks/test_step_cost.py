"""The benchmark of a step's cost: what it keeps, and the table it writes."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
ROW = {
    "preset": "a/b",
    "overrides": [],
    "precision": "32-true",
    "device": "cpu (2 threads)",
    "machine": "Machine: x.",
    "images": {"source": [1, 512, 1024], "target": [1, 512, 1024]},
    "seconds": 60.25,
    "processor_seconds": 118.5,
    "gib": 9.96,
    "hours": 1673.6,
}


@pytest.fixture
def step_cost(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("step_cost")


def test_measuring_writes_rows_and_a_page(step_cost: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{step_cost.BEGIN}\nold\n{step_cost.END}\nafter\n")
    arguments = ["town/clan", "--out", str(tmp_path / "cost.json"), "--page", str(page)]
    for change in ("model.width=4", "data.source_view.crop=[32,64]", "training.accelerator=cpu"):
        arguments += ["--set", change]
    step_cost.main(arguments)
    (row,) = json.loads((tmp_path / "cost.json").read_text())
    assert row["images"]["source"][1:] == [32, 64]
    assert row["seconds"] > 0
    assert row["processor_seconds"] > 0
    assert 0.1 < row["gib"] < 10
    text = page.read_text()
    assert text.startswith(f"before\n{step_cost.BEGIN}\n\nMachine: ")
    assert "| `town/clan`, `model.width=4`" in text
    assert text.endswith(f"{step_cost.END}\nafter\n")
    assert "old" not in text


def test_newer_measurements_replace_older_ones(step_cost: ModuleType) -> None:
    half = {**ROW, "precision": "bf16-mixed"}
    rows = step_cost.merged([ROW, half], {**ROW, "seconds": 50.0})
    assert [(r["precision"], r["seconds"]) for r in rows] == [
        ("32-true", 50.0),
        ("bf16-mixed", 60.25),
    ]
    gpu = {**ROW, "device": "GPU", "machine": "Machine: y."}
    table = step_cost.markdown(step_cost.merged(rows, gpu))
    assert table.index("Machine: x.") < table.index("| bf16-mixed |") < table.index("Machine: y.")
    assert "| 1 of 512x1024 + 1 of 512x1024 | 32-true | 50.00 | 118.50 | 10.0 | - | 1674 |" in table


def test_costs_are_told_in_those_of_source_only(step_cost: ModuleType) -> None:
    """On a CPU by its own time; where others had it meanwhile, the clock is left out."""
    base = {
        **ROW,
        "preset": "a/source_only",
        "gib": 5.0,
        "seconds": 50.25,
        "processor_seconds": 50.0,
    }
    waited = {**base, "preset": "a/mcd", "seconds": 900.0, "processor_seconds": 285.0, "gib": 6.0}
    elsewhere = {**ROW, "preset": "c/tan"}
    gpu = {"device": "GPU", "processor_seconds": 9.0}
    rows = [
        base,
        waited,
        elsewhere,
        {**base, **gpu, "seconds": 1.0},
        {**ROW, **gpu, "seconds": 2.0},
    ]
    lines = step_cost.markdown(rows).splitlines()
    ends = [line.partition("32-true | ")[2] for line in lines if "32-true" in line]
    assert ends == [
        "50.25 | 50.00 | 5.0 | 1.0, 1.0 | 1674 |",
        "- | 285.00 | 6.0 | 5.7, 1.2 | - |",
        "60.25 | 118.50 | 10.0 | - | 1674 |",
        "1.00 | 9.00 | 5.0 | 1.0, 1.0 | 1674 |",
        "2.00 | 9.00 | 10.0 | 2.0, 2.0 | 1674 |",
    ]


def test_what_cannot_be_measured_or_written_is_said(step_cost: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"town/clam, 32-true: failed: .*did you mean"):
        step_cost.main(["town/clam", "--out", str(tmp_path / "cost.json")])
    (tmp_path / "page.md").write_text("no marks")
    with pytest.raises(SystemExit, match="has no <!-- begin step cost -->"):
        step_cost.put(tmp_path / "page.md", "table")
