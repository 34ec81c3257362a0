"""The street benchmark: its systems, and the long version in calls that end by themselves."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from clan.config.flat import flat
from clan.studies.bench.task import open_task

STREET = Path(__file__).resolve().parents[2] / "benchmarks" / "street"


@pytest.fixture
def headline(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(STREET)
    return importlib.import_module("headline")


def test_systems_differ_by_their_method_alone() -> None:
    systems = {s.name: flat(s.config) for s in open_task(str(STREET)).systems()}
    assert {"start", "source_only", "adabn", "tan", "clan", "mic", "oracle"} <= set(systems)
    base = systems["source_only"]
    for name in set(systems) - {"start", "oracle", "fda"}:
        differing = {k for k, v in systems[name].items() if base.get(k) != v}
        others = {k for k in differing if not k.startswith(("method.", "name", "description"))}
        assert not others, name
    for name, config in systems.items():
        assert config["data.source_view.strong"] == 1.0
        assert config["model.decoder"] == "fusion"
        starts = config["weights"] == "{runs}/start/seed{seed}"
        assert starts == (name != "start")


def test_a_call_ends_in_time_and_says_that_more_is_left(
    headline: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    waits = "import signal, sys\nsignal.signal(15, lambda *_: (print('saved'), sys.exit(130)))\n"
    code = waits + "print('ready', flush=True)\nsignal.pause()"
    monkeypatch.setattr(headline, "GRACE", 0)
    monkeypatch.setattr(headline, "command_line", lambda _: [sys.executable, "-c", code])
    assert headline.main(["--minutes", "0.05"]) == 75
    said = capfd.readouterr().out
    assert "saved" in said
    assert "the same command goes on" in said
    monkeypatch.setattr(headline, "command_line", lambda _: [sys.executable, "-c", "pass"])
    assert headline.main(["--minutes", "1"]) == 0


def test_its_command_is_one_that_bench_reads(headline: ModuleType, tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    class Process(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, command: list[str], **_: Any) -> None:
            seen["command"] = command
            super().__init__([sys.executable, "-c", "pass"])

    headline.subprocess, kept = type("S", (), {"Popen": Process}), subprocess
    try:
        headline.main(["--out", str(tmp_path), "data.root=elsewhere"])
    finally:
        headline.subprocess = kept
    task, overrides = seen["command"][4], [c for c in seen["command"] if "=" in c]
    systems = {s.name: s.config for s in open_task(task).systems(overrides=overrides)}
    assert systems["tan"].training.steps == systems["start"].training.steps == 20000
    assert systems["tan"].data.batch_size == 8


def test_estimated_ratios_stand_beside_the_true_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(STREET)
    shift = importlib.import_module("label_shift")
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 1000)
    p = np.eye(2)[y] * 0.8 + 0.1
    t = np.array([0] * 900 + [1] * 100)
    q = np.eye(2)[t] * 0.8 + 0.1
    monkeypatch.setattr(shift, "look", lambda *_: [(p, y), (q, t)])

    class Net:
        classes = (0, 1)

        def eval(self) -> Net:
            return self

    monkeypatch.setattr(shift, "load_segmenter", lambda _: Net())
    run = type("Run", (), {"model_file": None, "config": None})()
    source, target, true, free, _, em = shift.estimates(run, 1)
    assert source.sum() == pytest.approx(1)
    assert target.tolist() == [0.9, 0.1]
    np.testing.assert_allclose(free, true, rtol=1e-6)
    assert abs(em[0] - true[0]) < 0.5
