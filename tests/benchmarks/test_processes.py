"""What two processes exchange: counted by calls, and modelled for many."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("processes")


@pytest.mark.skipif(sys.platform != "linux", reason="forks processes that use torch")
def test_every_gradient_is_exchanged_once(processes: ModuleType) -> None:
    row = processes.measure("town/tan")
    reduced = row["count"]["all_reduce bytes"]
    gradients = 4 * row["parameters"]
    # and the statistics of batch norm, which are small
    assert gradients < reduced < 1.25 * gradients
    assert row["count"]["all_reduce calls"] > 40
    table = processes.exchanged([row])
    assert f"| {reduced / 2**20:.1f} MiB |" in table


def test_a_ring_sends_twice_what_is_reduced(processes: ModuleType) -> None:
    row = {"preset": "a", "count": {"all_reduce bytes": 100 * 2**20}}
    lines = processes.model(row).splitlines()
    assert lines[2] == "| 8 | 16 | 175 MiB | 59 ms | 15 ms | 4 ms |"
    assert lines[4].startswith("| 512 | 1024 | 200 MiB |")
