"""Time spent waiting for images: its share, in the run's files, and the warning."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from clan.training import waiting
from clan.training.display import Silent
from clan.training.train import train
from clan.training.waiting import Waiting
from tests.systems import tiny


class Clock:
    """Time that passes only when told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(waiting, "time", SimpleNamespace(perf_counter=lambda: self.now))


def test_only_the_time_until_a_batch_comes_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, watch = Clock(monkeypatch), Waiting(2)

    def batches():
        for batch in "abc":
            clock.now += 1
            yield batch

    found = []
    for batch in watch.watched(batches()):
        clock.now += 3
        found.append(batch)
    assert found == ["a", "b", "c"]
    assert watch.share(12.0) == pytest.approx(0.25)
    assert watch.share(12.0) == 0


def test_much_waiting_is_said_once_and_not_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    watch, said = Waiting(2), []
    for share in (0.9, 0.1, 0.5, 0.6, 0.7, 0.8):
        watch._waited = share
        said.append(watch.warning(watch.share(1.0)))
    assert [bool(text) for text in said] == [False, False, False, True, False, False]
    assert "waited 60 % of the time. Raise data.workers (now 2 per domain" in said[3]


def test_a_training_that_waits_says_so_everywhere(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A share that counts as much, so that reading in the process itself is enough."""
    monkeypatch.setattr(waiting, "MUCH", 1e-9)
    said: list[str] = []

    class Listening(Silent):
        def message(self, text: str) -> None:
            said.append(text)

    config = tiny(street, "tan", "training.log_every=1")
    run = train(config, tmp_path / "run", display=Listening())
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    shares = [line["waiting"] for line in lines if "waiting" in line]
    assert len(shares) > 2
    assert all(0 < share <= 1 for share in shares)
    events = EventAccumulator(str(run.path)).Reload()
    assert len(events.Scalars("waiting")) == len(shares)
    assert sum("reading images holds the training up" in text for text in said) == 1
