from __future__ import annotations

import fcntl
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch
from rich.console import Console

from clan.config.loading import load_config
from clan.core.errors import ConfigError
from clan.runs.folder import RunFolder
from clan.studies.job_display import JobBars
from clan.studies.jobs import (
    Job,
    choose_gpus,
    choose_parallel,
    run_jobs,
    start_process,
    visible_gpus,
)
from clan.training.loop import Interrupted


class Told:
    """A display that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.on_tick: Callable[[], None] = lambda: None

    def begin(self, jobs: Sequence[Job], finished: int) -> None:
        self.events.append(("begin", len(jobs), finished))

    def started(self, job: Job) -> None:
        self.events.append(("started", job.out.name))

    def ended(self, job: Job, code: int) -> None:
        self.events.append(("ended", job.out.name, code))

    def tick(self, running: Sequence[Job]) -> None:
        self.on_tick()

    def stopping(self, running: Sequence[Job]) -> None:
        self.events.append(("stopping", sorted(job.out.name for job in running)))


class Fake:
    """Processes that end after some looks at them, and finish their run unless they fail."""

    def __init__(self, codes: Mapping[str, int] | None = None, looks: int = 2) -> None:
        self.codes, self.looks = codes or {}, looks
        self.environments: dict[str, Mapping[str, str]] = {}
        self.running = self.most = 0
        self.alive: dict[str, Any] = {}

    def __call__(self, job: Job, log: BinaryIO, environment: Mapping[str, str]) -> Any:
        fake, name = self, job.out.name
        fake.environments[name] = environment
        fake.running += 1
        fake.most = max(fake.most, fake.running)

        class Process:
            pid = 2**30
            left = fake.looks
            asked = False

            def poll(self) -> int | None:
                self.left -= 1
                if self.left > 0 and not self.asked:
                    return None
                fake.running -= 1
                code = 130 if self.asked else fake.codes.get(name, 0)
                if code == 0:
                    finish(job)
                elif not self.asked:
                    job.log.write_text("Traceback\n\nerror: no [such] thing\n\n")
                return code

            def terminate(self) -> None:
                self.asked = True

        fake.alive[name] = Process()
        return fake.alive[name]


def finish(job: Job) -> None:
    job.out.mkdir(parents=True, exist_ok=True)
    RunFolder(job.out).model_file.touch()


def jobs_in(folder: Path, *names: str) -> list[Job]:
    return [Job("town/clan", (f"name={name}",), folder / name) for name in names]


def test_jobs_run_in_order_a_few_at_a_time(tmp_path: Path) -> None:
    jobs, told, fake = jobs_in(tmp_path, *"abcde"), Told(), Fake()
    finish(jobs[1])
    assert run_jobs(jobs, 2, told, start=fake) == []
    assert told.events[0] == ("begin", 5, 1)
    assert [event[1] for event in told.events if event[0] == "started"] == ["a", "c", "d", "e"]
    assert all(event[2] == 0 for event in told.events if event[0] == "ended")
    assert fake.most == 2
    assert all(job.finished for job in jobs)


def test_a_failure_stops_no_other(tmp_path: Path) -> None:
    jobs, told = jobs_in(tmp_path, *"abc"), Told()
    (failure,) = run_jobs(jobs, 1, told, start=Fake({"b": 1}))
    assert failure.job == jobs[1]
    assert str(failure) == f"{tmp_path / 'b'} (exit code 1): error: no [such] thing"
    assert [job.finished for job in jobs] == [True, False, True]
    assert run_jobs(jobs, 1, told, start=Fake()) == []
    assert told.events[-1] == ("ended", "b", 0)


def test_a_job_waits_for_the_run_it_starts_from(tmp_path: Path) -> None:
    late, start, other = jobs_in(tmp_path, *"lso")
    told = Told()
    run_jobs([replace(late, after=start.out), start, other], 2, told, start=Fake())
    started = [event[1] for event in told.events if event[0] == "started"]
    assert started == ["s", "o", "l"]
    assert told.events.index(("ended", "s", 0)) < told.events.index(("started", "l"))
    # a start that failed ends its followers by their own words, and holds nothing up
    told = Told()
    late, start = jobs_in(tmp_path / "failed", *"ls")
    fake = Fake({"s": 1, "l": 1})
    failures = run_jobs([replace(late, after=start.out), start], 2, told, start=fake)
    assert [failure.job.out.name for failure in failures] == ["s", "l"]


def test_gpus_in_turn_else_shared_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    fake = Fake()
    run_jobs(jobs_in(tmp_path / "1", *"abcd"), 3, Told(), gpus=("4", "7"), start=fake)
    seen = [fake.environments[name]["CUDA_VISIBLE_DEVICES"] for name in "abcd"]
    assert seen == ["4", "7", "4", "4"]
    fake = Fake()
    run_jobs(jobs_in(tmp_path / "2", *"abc"), 3, Told(), start=fake)
    assert [fake.environments[name]["OMP_NUM_THREADS"] for name in "abc"] == ["2"] * 3
    assert "CUDA_VISIBLE_DEVICES" not in fake.environments["a"]
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    run_jobs(jobs_in(tmp_path / "3", "a"), 3, Told(), start=fake)
    assert fake.environments["a"]["OMP_NUM_THREADS"] == "5"


def test_choosing_gpus_and_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert visible_gpus() == ("0", "1", "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, GPU-a,2")
    assert visible_gpus() == ("5", "GPU-a", "2")
    config = load_config("town/clan")
    assert choose_gpus([config]) == ("5", "GPU-a", "2")
    assert choose_parallel(None, choose_gpus([config])) == 3
    assert choose_parallel(2, ("0",)) == 2
    # it spreads over the GPUs itself, or has no use for one
    assert choose_gpus([config, load_config("town/clan", ["training.devices=2"])]) == ()
    assert choose_gpus([load_config("town/clan", ["training.accelerator=cpu"])]) == ()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert choose_parallel(None, visible_gpus()) == 1
    with pytest.raises(ConfigError, match="--jobs 0"):
        choose_parallel(0, ())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_running_ones_finish_their_step(
    tmp_path: Path, number: signal.Signals
) -> None:
    jobs, told, fake = jobs_in(tmp_path, *"abcd"), Told(), Fake(looks=10**9)
    told.on_tick = lambda: None if len(told.events) > 3 else os.kill(os.getpid(), number)
    with pytest.raises(Interrupted, match="have written their checkpoints"):
        run_jobs(jobs, 2, told, start=fake)
    assert ("stopping", ["a", "b"]) in told.events
    assert [e for e in told.events if e[0] == "ended"] == [("ended", "a", 130), ("ended", "b", 130)]
    assert set(fake.alive) == {"a", "b"}


def sleeper(job: Job, log: BinaryIO, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """A process that takes no notice of being asked to stop."""
    return subprocess.Popen(
        ["/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"],
        stdout=log,
        start_new_session=True,
    )


def test_a_second_signal_kills(tmp_path: Path) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def start(job: Job, log: BinaryIO, environment: Mapping[str, str]) -> Any:
        started.append(sleeper(job, log, environment))
        return started[-1]

    told = Told()
    told.on_tick = lambda: os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(Interrupted, match="killed"):
        run_jobs(jobs_in(tmp_path, *"ab"), 2, told, start=start)
    assert [process.wait(60) for process in started] == [-signal.SIGKILL] * 2


def test_an_error_here_leaves_no_process_behind(tmp_path: Path) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def start(job: Job, log: BinaryIO, environment: Mapping[str, str]) -> Any:
        started.append(sleeper(job, log, environment))
        return started[-1]

    def fail() -> None:
        raise ZeroDivisionError

    told = Told()
    told.on_tick = fail
    with pytest.raises(ZeroDivisionError):
        run_jobs(jobs_in(tmp_path, "a"), 1, told, start=start)
    assert started[0].wait(60) == -signal.SIGKILL


def test_a_run_that_another_call_trains_is_waited_for(tmp_path: Path) -> None:
    """The other process holds the log, as an orphan of a killed call does."""
    done, orphaned = jobs_in(tmp_path, "done", "left")
    processes = {}
    for job in (done, orphaned):
        with open(job.log, "ab") as log:
            fcntl.flock(log, fcntl.LOCK_EX)
            processes[job] = subprocess.Popen(["/bin/sleep", "600"], stdout=log)
    told, fake, ticks = Told(), Fake(), []

    def end_one() -> None:
        ticks.append(1)
        if len(ticks) == 3:
            assert fake.environments == {}
            finish(done)
            for process in processes.values():
                process.kill()

    told.on_tick = end_one
    try:
        assert run_jobs([done, orphaned], 2, told, start=fake) == []
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    # what the other one finished is not begun again
    assert list(fake.environments) == ["left"]
    assert orphaned.finished


def test_commands(tmp_path: Path) -> None:
    job = Job("town/clan", ("seed=1", "data.root=x", "training.devices=2"), tmp_path / "run")
    assert job.log == tmp_path / "run.log"
    assert job.command[1:] == [
        *("-m", "clan.cli", "train", "town/clan", "seed=1", "data.root=x", "training.devices=2"),
        *("--out", str(job.out)),
    ]
    RunFolder.create(job.out, load_config("town/clan"))
    # a resume takes no more than what it may change
    resumed = ["resume", str(job.out), "data.root=x", "training.devices=2"]
    assert job.command == [sys.executable, "-m", "clan.cli", *resumed]


def test_a_process_writes_to_its_log_in_a_session_of_its_own(tmp_path: Path) -> None:
    class Short(Job):
        @property
        def command(self) -> list[str]:
            return ["/bin/sh", "-c", "echo $OMP_NUM_THREADS; ps -o sid= -p $$ >&2; exit 3"]

    job = Short("town/clan", (), tmp_path / "run")
    (failure,) = run_jobs([job], 1, Told(), start=start_process)
    assert (failure.job, failure.code) == (job, 3)
    first = job.log.read_text().splitlines()[0]
    assert int(first) >= 1
    assert int(failure.said) not in (os.getsid(0), 0)


@pytest.mark.parametrize("terminal", [True, False])
def test_bars(tmp_path: Path, terminal: bool) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=120)
    jobs = jobs_in(tmp_path, "[a]", "b")
    RunFolder.create(jobs[1].out, load_config("town/clan"))
    (jobs[1].out / "metrics.jsonl").write_text('{"step": 120}\n{"step": 13')
    bars = JobBars(console, lambda job: job.out.name, lambda job, code: f"mIoU {code}")
    with bars:
        assert len(run_jobs(jobs, 2, bars, start=Fake({"b": 1}, looks=3))) == 1
        bars.stopping(jobs)
    shown = file.getvalue()
    assert "2 runs, 0 finished already" in shown
    assert "finished [a]  mIoU 0" in shown
    assert "failed with exit code 1: b  mIoU 1" in shown
    assert "stopping 2 trainings" in shown
    assert ("started [a]" in shown) is not terminal
    assert ("120/400" in shown) is terminal
