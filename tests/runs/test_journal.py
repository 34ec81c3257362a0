"""The curves of a run, as TensorBoard reads them."""

from __future__ import annotations

import time
from pathlib import Path

from lightning.fabric import Fabric

from clan.runs.folder import RunFolder
from clan.runs.journal import Journal


def test_the_events_of_a_resumed_run_sort_behind_those_of_its_past(tmp_path: Path) -> None:
    """Two processes that open their files in one second are told apart by their numbers alone."""
    # in a fresh second, so that the journal begins within it
    time.sleep(1.01 - time.time() % 1)
    past = tmp_path / f"events.out.tfevents.{int(time.time())}.zzz.9999999.0"
    past.touch()
    journal = Journal(RunFolder(tmp_path), Fabric(accelerator="cpu", devices=1), images=1)
    journal.begin(3, 7)
    journal.close()
    first, second = sorted(tmp_path.glob("events.out.tfevents.*"))
    assert first == past
    assert second != past


def test_event_files_from_the_future_do_not_keep_a_run_from_beginning(tmp_path: Path) -> None:
    (tmp_path / "events.out.tfevents.99999999999.host.1.0").touch()
    journal = Journal(RunFolder(tmp_path), Fabric(accelerator="cpu", devices=1), images=1)
    journal.begin(3, 7)
    journal.close()
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 2
