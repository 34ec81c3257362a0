"""Random numbers of a training: other ones for each domain, step and slot."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clan.methods import Method, Progress
from clan.training.display import Silent
from clan.training.train import train
from tests.systems import tiny

pytestmark = pytest.mark.usefixtures("one_thread")


class Seen:
    """What the steps of a training are given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[tuple[list[str], list[str]]] = []
        self.keys: list[int] = []
        self.torch: list[float] = []
        original = Method.start_update

        def start(method: Method, progress: Progress) -> None:
            self.keys.append(progress.key)
            # what a network draws itself, such as dropout
            with torch.random.fork_rng():
                self.torch.append(float(torch.rand(())))
            original(method, progress)

        monkeypatch.setattr(Method, "start_update", start)


@pytest.fixture
def seen(street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Seen:
    from clan.methods.tan import TAN

    found, step = Seen(monkeypatch), TAN.step

    def watched(self: TAN, source: dict, target: dict, progress: Progress) -> object:
        found.names.append((list(source["name"]), list(target["name"])))
        return step(self, source, target, progress)  # type: ignore[arg-type]

    monkeypatch.setattr(TAN, "step", watched)
    train(tiny(street, "tan"), tmp_path / "run", display=Silent())
    return found


def test_each_step_draws_anew(seen: Seen) -> None:
    assert len(seen.keys) == 7
    assert len(set(seen.keys)) == 7
    assert len(set(seen.torch)) == 7


def test_each_domain_draws_by_itself(seen: Seen) -> None:
    """Both data sets have the same names, so one stream would pair equal ones."""
    orders = [[name for names in seen.names for name in names[side]] for side in (0, 1)]
    assert sorted(set(orders[0])) == sorted(set(orders[1]))
    assert orders[0] != orders[1]
