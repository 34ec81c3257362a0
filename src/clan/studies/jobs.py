"""Runs trainings as separate processes, several at a time, without those that are finished.

An unfinished job is resumed from its newest checkpoint. A job that fails does not stop the others.
Each job writes to its own log and locks it while it runs, so that two calls never train the same
run at the same time.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

import torch

from clan.config.tree import Config
from clan.core.errors import ConfigError, RunError
from clan.runs.folder import RunFolder
from clan.training.loop import Interrupted
from clan.training.resuming import FREE_TO_CHANGE
from clan.training.stopping import StopRequest

INTERRUPTED = 130
"""Exit code of a training that was asked to stop and wrote its checkpoint."""
POLL = 0.1
"""Seconds between looks at the processes."""


@dataclass(frozen=True)
class Job:
    """One training: a preset, its changes, its run folder.

    Attributes:
        preset: a preset's name or a configuration file.
        overrides: ``key=value`` changes. A job that is resumed takes from them what a resumed run
            may change; all else stands in its folder.
        out: the run's folder.
        after: the folder of the run whose model it starts from, if that is a job too.
    """

    preset: str
    overrides: tuple[str, ...]
    out: Path
    after: Path | None = None

    @property
    def log(self) -> Path:
        """Return the file that the training's output is added to."""
        return self.out.with_name(self.out.name + ".log")

    @property
    def finished(self) -> bool:
        """Tell whether there is nothing left to do."""
        return RunFolder(self.out).finished

    @property
    def command(self) -> list[str]:
        """Return the command that begins the training, or goes on with it."""
        clan = [sys.executable, "-m", "clan.cli"]
        if RunFolder(self.out).config_file.is_file():
            free = [o for o in self.overrides if o.partition("=")[0] in FREE_TO_CHANGE]
            return [*clan, "resume", str(self.out), *free]
        return [*clan, "train", self.preset, *self.overrides, "--out", str(self.out)]


@dataclass(frozen=True)
class Failure:
    """A job that ended with an error: its exit code, and the error or last line in its log."""

    job: Job
    code: int
    said: str

    def __str__(self) -> str:
        return f"{self.job.out} (exit code {self.code}): {self.said or 'no message'}"


class JobDisplay(Protocol):
    """The interface that the runner reports to."""

    def begin(self, jobs: Sequence[Job], finished: int) -> None:
        """Say how many jobs there are, and how many of them are finished already."""

    def started(self, job: Job) -> None:
        """Say that a job's process started."""

    def ended(self, job: Job, code: int) -> None:
        """Say that a job ended, with its exit code."""

    def tick(self, running: Sequence[Job]) -> None:
        """Show where the running jobs are; called several times a second."""

    def stopping(self, running: Sequence[Job]) -> None:
        """Say that the running jobs were asked to stop."""


class Process(Protocol):
    """The part of `subprocess.Popen` that the runner uses."""

    pid: int

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""

    def terminate(self) -> None:
        """Ask it to stop (SIGTERM)."""


Start = Callable[[Job, BinaryIO, Mapping[str, str]], Process]


def start_process(job: Job, log: BinaryIO, environment: Mapping[str, str]) -> Process:
    """Start a job's command, its output going to the log."""
    # a session of its own: Ctrl-C in the terminal reaches the runner alone, which passes it on
    # once, and schedulers share the cores between sessions
    return subprocess.Popen(
        job.command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=dict(environment),
        start_new_session=True,
    )


def run_jobs(
    jobs: Sequence[Job],
    parallel: int,
    display: JobDisplay,
    *,
    gpus: Sequence[str] = (),
    start: Start = start_process,
) -> list[Failure]:
    """Run all jobs that are not finished, ``parallel`` at a time, in their order.

    Each process sees one of ``gpus``, in turn; without any the machine's threads are shared.
    Ctrl-C and SIGTERM ask the processes to stop, which write their checkpoints; a second one kills
    them, and they go on from older checkpoints the next time.

    Returns:
        The jobs that failed; all others are finished.

    Raises:
        Interrupted: after Ctrl-C or SIGTERM, when no process is left.
    """
    runner = _Runner(parallel, gpus, display, start)
    waiting = [job for job in jobs if not job.finished]
    display.begin(jobs, len(jobs) - len(waiting))
    runner.run(waiting)
    return runner.failures


def visible_gpus() -> tuple[str, ...]:
    """Return the names of the GPUs that processes may be given, as CUDA_VISIBLE_DEVICES takes."""
    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    listed = named.split(",") if named else [str(number) for number in range(count)]
    return tuple(name.strip() for name in listed[:count])


def choose_gpus(configs: Sequence[Config]) -> tuple[str, ...]:
    """Return the GPUs to share out; none where a training spreads over several itself."""
    if any(c.training.devices != 1 or c.training.nodes != 1 for c in configs):
        return ()
    return () if all(c.training.accelerator == "cpu" for c in configs) else visible_gpus()


def choose_parallel(asked: int | None, gpus: Sequence[str]) -> int:
    """Return how many jobs run at a time: as asked, else one per GPU, else one.

    Raises:
        ConfigError: fewer than one.
    """
    if asked is not None and asked < 1:
        raise ConfigError(f"--jobs {asked}: at least one training at a time is needed")
    return asked or max(1, len(gpus))


@dataclass(eq=False)
class _Slot:
    """A place for a running job; without a process, another call's process is at work on it."""

    number: int
    job: Job
    process: Process | None = None


@dataclass
class _Runner:
    parallel: int
    gpus: Sequence[str]
    display: JobDisplay
    start: Start
    failures: list[Failure] = field(default_factory=list)
    running: list[_Slot] = field(default_factory=list)

    def run(self, jobs: Sequence[Job]) -> None:
        waiting, stop, told = list(jobs), StopRequest(), False
        try:
            with stop:
                while self.running or (waiting and not stop.asked):
                    if stop.asked and not told:
                        told = True
                        self._ask_to_stop()
                    while len(self.running) < self.parallel and not stop.asked:
                        if (job := self._next(waiting)) is None:
                            break
                        waiting.remove(job)
                        self._begin(job)
                    self._collect(stop.asked)
                    self.display.tick([slot.job for slot in self.running])
                    time.sleep(POLL)
        except KeyboardInterrupt:
            self._kill()
            raise Interrupted("stopped at once: the trainings were killed") from None
        except BaseException:
            self._kill()
            raise
        if stop.asked:
            raise Interrupted("stopped; the trainings that ran have written their checkpoints")

    def _next(self, waiting: Sequence[Job]) -> Job | None:
        """Return the first job whose start is there; one whose start failed says so itself."""
        ahead = {job.out for job in (*waiting, *(slot.job for slot in self.running))}
        return next((job for job in waiting if job.after not in ahead), None)

    def _begin(self, job: Job) -> None:
        taken = {slot.number for slot in self.running}
        slot = _Slot(next(n for n in range(self.parallel) if n not in taken), job)
        self.running.append(slot)
        self._start(slot)
        self.display.started(job)

    def _start(self, slot: _Slot) -> None:
        """Start the slot's process, unless another call's is still at work on the same run."""
        log = _locked(slot.job.log)
        if log is None:
            return
        with log:
            # the process inherits the lock with the file, and its workers after it
            slot.process = self.start(slot.job, log, self._environment(slot.number))

    def _environment(self, number: int) -> dict[str, str]:
        environment = {**os.environ}
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpus[number % len(self.gpus)]
        environment.setdefault("OMP_NUM_THREADS", str(max(1, _cores() // self.parallel)))
        return environment

    def _collect(self, stopping: bool) -> None:
        """Report the jobs that have ended and free their slots."""
        for slot in list(self.running):
            if slot.process is None:
                if stopping:
                    self.running.remove(slot)
                elif not _is_locked(slot.job.log):
                    self._end(slot, 0) if slot.job.finished else self._start(slot)
                continue
            code = slot.process.poll()
            if code is not None:
                self._end(slot, code, stopping)

    def _end(self, slot: _Slot, code: int, stopping: bool = False) -> None:
        self.running.remove(slot)
        # a process that was asked to stop and did so has not failed
        if code and not stopping:
            self.failures.append(Failure(slot.job, code, _last_line(slot.job.log)))
        self.display.ended(slot.job, code)

    def _ask_to_stop(self) -> None:
        self.display.stopping([slot.job for slot in self.running])
        for slot in self.running:
            if slot.process is not None:
                slot.process.terminate()

    def _kill(self) -> None:
        for slot in self.running:
            if slot.process is not None and slot.process.poll() is None:
                # with its loader workers and the processes of its other devices
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(slot.process.pid, signal.SIGKILL)


def was_stopped(code: int) -> bool:
    """Whether a training's exit code says that a signal stopped it."""
    return code in (INTERRUPTED, -signal.SIGINT, -signal.SIGTERM)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _locked(path: Path) -> BinaryIO | None:
    """Open a log to add to, locked until its last holder ends; None where another holds it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "ab")  # noqa: SIM115 - handed to the process
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _is_locked(path: Path) -> bool:
    file = _locked(path)
    if file is not None:
        file.close()
    return file is None


def _last_line(log: Path) -> str:
    """Return the last line that begins an error; advice may follow it. Else the last line."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    told = [line.strip() for line in lines if line.strip()]
    return next(
        (line for line in reversed(told) if line.startswith("error: ")), told[-1] if told else ""
    )
