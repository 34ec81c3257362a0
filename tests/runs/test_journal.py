"""Where a run's numbers go beside metrics.jsonl."""

from __future__ import annotations

import csv
import importlib.util
import os
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from lightning.fabric import Fabric
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import clan
from clan.config.loading import load_config
from clan.config.tree import Config
from clan.core.errors import ConfigError
from clan.runs.folder import RunFolder
from clan.runs.journal import Journal
from clan.runs.sinks import table
from clan.runs.sinks.fan_out import Sinks
from clan.runs.sinks.table import check_sinks, register_sink


class Listener:
    """A sink as another package would have it: nothing of it stands in clan."""

    heard: list[tuple[str, object]]
    broken = ""

    def begin(self, run: RunFolder, config: Config, step: int) -> None:
        self.note("begin", (run.path, config.name, step))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.note("scalars", (step, dict(values)))

    def close(self) -> None:
        self.note("close", None)

    def note(self, what: str, content: object) -> None:
        Listener.heard.append((what, content))
        if Listener.broken == what:
            raise ConnectionError("no route")


@pytest.fixture(autouse=True)
def _listener(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "_REGISTERED", {})
    Listener.heard, Listener.broken = [], ""
    clan.register_sink("listener", Listener)


def config(*sinks: str) -> Config:
    return load_config("town/clan", [f"training.sinks=[{','.join(sinks)}]"])


def journal(path: Path, *sinks: str, said: list[str] | None = None) -> Journal:
    fabric = Fabric(accelerator="cpu", devices=1)
    say = [].append if said is None else said.append
    return Journal(RunFolder(path), fabric, Sinks(config(*sinks), say))


def points(path: Path, name: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(path)).Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_a_sink_from_outside_gets_the_numbers(tmp_path: Path) -> None:
    it = journal(tmp_path, "listener")
    it.begin(3, 7)
    it.write(4, {"loss": 0.5, "miou": float("nan"), "iou": {"road": 0.1}, "seconds": 2.0})
    it.close()
    assert Listener.heard == [
        ("begin", (tmp_path, "clan", 3)),
        ("scalars", (4, {"loss": 0.5})),
        ("close", None),
    ]
    assert not list(tmp_path.glob("events*"))


@pytest.mark.parametrize("moment", ["begin", "scalars", "close"])
def test_a_sink_that_fails_is_named_once_and_left_out(tmp_path: Path, moment: str) -> None:
    said: list[str] = []
    Listener.broken = moment
    it = journal(tmp_path, "listener", "csv", said=said)
    it.begin(0, 7)
    it.write(1, {"loss": 0.5})
    it.write(2, {"loss": 0.25})
    it.close()
    (message,) = said
    assert "the sink listener failed" in message
    assert "ConnectionError: no route" in message
    assert sum(what == moment for what, _ in Listener.heard) == 1
    assert [record["loss"] for record in it.run.read_metrics()] == [0.5, 0.25]
    assert (tmp_path / "metrics.csv").read_text() == "step,loss\n1,0.5\n2,0.25\n"


def test_unknown_sinks_name_the_nearest_and_all() -> None:
    with pytest.raises(ConfigError, match=r"unknown sink 'tensorbord'; did you mean 'tensorboard'"):
        check_sinks(["tensorbord"])
    with pytest.raises(ConfigError, match="Valid: csv, listener, mlflow, tensorboard, wandb"):
        check_sinks(["tensorbord"])
    with pytest.raises(ConfigError, match="'csv' is given twice"):
        check_sinks(["csv", "csv"])


def test_a_training_refuses_an_unknown_sink_before_it_writes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown sink 'nosuch'"):
        clan.train(config("nosuch"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_missing_extra_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr("clan.core.extras.find_spec", lambda _: None)
    for name in ("wandb", "mlflow"):
        with pytest.raises(ConfigError, match=rf"pip install 'clan\[{name}\]'"):
            check_sinks([name])


def test_a_name_is_taken_once() -> None:
    clan.register_sink("listener", Listener)
    for name in ("listener", "csv"):
        with pytest.raises(ConfigError, match=f"sink name '{name}' is taken"):
            register_sink(name, lambda: Listener())


def test_csv_takes_new_columns_and_forgets_what_a_resume_forgets(tmp_path: Path) -> None:
    it = journal(tmp_path, "csv")
    it.begin(0, 7)
    it.write(1, {"loss_seg": 0.5, "memory": 7})
    it.write(2, {"loss_seg": 0.25})
    it.write(2, {"miou": 0.125, "iou": {"road": 0.1}})
    it.write(3, {"loss_seg": 9.0, "loss_adv": 1.0})
    it.close()
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    assert [row["step"] for row in rows] == ["1", "2", "2", "3"]
    assert rows[3] == {"step": "3", "loss_seg": "9.0", "miou": "", "loss_adv": "1.0"}
    again = journal(tmp_path, "csv")
    again.begin(2, 7)
    again.write(3, {"loss_seg": 0.75})
    again.close()
    text = (tmp_path / "metrics.csv").read_text()
    assert text == "step,loss_seg,miou\n1,0.5,\n2,0.25,\n2,,0.125\n3,0.75,\n"


def test_the_events_of_a_resumed_run_sort_behind_those_of_its_past(tmp_path: Path) -> None:
    """Two processes that open their files in one second are told apart by their numbers alone."""
    # in a fresh second, so that the journal begins within it
    time.sleep(1.01 - time.time() % 1)
    past = tmp_path / f"events.out.tfevents.{int(time.time())}.zzz.9999999.0"
    past.touch()
    it = journal(tmp_path, "tensorboard")
    it.begin(3, 7)
    it.close()
    first, second = sorted(tmp_path.glob("events.out.tfevents.*"))
    assert first == past
    assert second != past


def test_a_clock_set_back_hides_nothing(tmp_path: Path) -> None:
    it = journal(tmp_path, "tensorboard")
    it.begin(0, 7)
    it.write(1, {"loss": 0.5})
    it.close()
    (past,) = tmp_path.glob("events.out.tfevents.*")
    parts = past.name.split(".")
    parts[3] = "9999999999"
    past.rename(tmp_path / ".".join(parts))
    again = journal(tmp_path, "tensorboard")
    again.begin(1, 7)
    again.write(2, {"loss": 0.25})
    again.close()
    assert points(tmp_path, "loss") == [(1, 0.5), (2, 0.25)]
    stamps = [int(path.name.split(".")[3]) for path in tmp_path.glob("events*")]
    assert max(stamps) <= time.time()


def test_the_last_scores_stand_once_though_a_kill_came_after_them(tmp_path: Path) -> None:
    it = journal(tmp_path, "tensorboard")
    it.begin(0, 7)
    it.write(7, {"loss": 0.5})
    it.write(7, {"miou": 0.25})
    it.close()
    again = journal(tmp_path, "tensorboard")
    again.begin(7, 7)
    again.write(7, {"miou": 0.25})
    again.close()
    assert points(tmp_path, "loss") == [(7, 0.5)]
    assert points(tmp_path, "miou") == [(7, 0.25)]


def test_wandb_offline_goes_on_in_the_same_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    said: list[str] = []
    for step in (0, 1):
        it = journal(tmp_path, "wandb", said=said)
        it.begin(step, 7)
        it.write(step + 1, {"loss": 0.5})
        it.close()
    assert said == []
    runs = list((tmp_path / "wandb").glob("offline-run-*"))
    assert runs
    assert {run.name.split("-")[-1] for run in runs} == {(tmp_path / "wandb.txt").read_text()}


def test_mlflow_in_a_folder_goes_on_in_the_same_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    said: list[str] = []
    for step in (0, 1):
        it = journal(tmp_path, "mlflow", said=said)
        it.begin(step, 7)
        it.write(step + 1, {"loss": 0.5 / (step + 1)})
        it.close()
    assert said == []
    client, number = mlflow.MlflowClient(), (tmp_path / "mlflow.txt").read_text()
    history = client.get_metric_history(number, "loss")
    assert [(m.step, m.value) for m in history] == [(1, 0.5), (2, 0.25)]
    run = client.get_run(number)
    assert run.info.status == "FINISHED"
    assert run.data.params["method.name"] == "clan"
    assert os.listdir(tmp_path / "mlruns")
