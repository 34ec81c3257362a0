"""Kill and resume trainings at random moments; check that the results are equal bit for bit.

    python -m benchmarks.faults.kills --kills 50

Each method trains once undisturbed, on six tiny images of each domain. Then it trains again, and
its process is killed and resumed until the training ends. Network, scores, metrics.jsonl and
TensorBoard's curves of both trainings must be equal. Half of the kills come at a random moment of
processor time (steps, scoring, passes over the data, between rounds), half in the middle of a
random write, flush or rename of a file.

Each family and seed is a measurement of its own in the results file: one that is there already is
not repeated, so a measurement that was itself stopped goes on, and other seeds add to the counts.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from benchmarks.faults import today
from clan import cli
from clan.core import files
from clan.runs.folder import RunFolder
from tests.systems import (
    OF_THE_MACHINE,
    SETTINGS,
    default_signals,
    records,
    same,
    tensors,
    write_street,
)

SYSTEMS = {
    "source only": "source_only",
    "adversarial": "clan",
    "discrepancy": "mcd",
    "entropy": "advent",
    "self-training in rounds": "cbst",
    "CLAN, then rounds": "clan_st",
    "curriculum": "cda",
    "teacher": "mic",
    "mixing": "dacs",
    "mixing, features held": "daformer",
    "style transfer": "fda",
}
"""A method of each family."""

CHANGES = ("training.evaluate_every=3", "training.checkpoint_every=2")
TICK = os.sysconf("SC_CLK_TCK")
NOTICE = 10.0
"""Seconds between SIGTERM and SIGKILL of a pre-emption."""
ENOUGH = 2.0
"""Processor time in which a training ends after SIGTERM, unless it is at fault."""
STOPPED = 130
WAYS = ("processor time", "a write", "SIGTERM", "SIGINT", "SIGHUP", "pre-emption")


class Wrong(AssertionError):
    """A disturbed training failed, or its result differs from the undisturbed one."""


def run(arguments: Sequence[str], log: Path, before: Callable[[], None]) -> BaseProcess:
    """Start the command line in a forked process with its own process group."""
    process = multiprocessing.get_context("fork").Process(target=_go, args=(arguments, log, before))
    process.start()
    return process


def _go(arguments: Sequence[str], log: Path, before: Callable[[], None]) -> None:
    os.setsid()
    torch.set_num_threads(1)  # a forked process cannot use its parent's thread pool
    default_signals()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    sys.argv = ["clan", *arguments]
    before()
    cli.main()


def each_write(happens: Callable[[str], None]) -> None:
    """Call ``happens`` before every flush and rename of a file, and in the middle of each write."""
    write, fsync, replace = files._Raw.write, os.fsync, os.replace

    def halved(self: Any, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        write(self, view[: len(view) // 2])
        happens("write")
        rest = view[len(view) // 2 :]
        return len(view) // 2 + (write(self, rest) if len(rest) else 0)

    def flushed(fd: Any) -> None:
        happens("flush")
        fsync(fd)

    def renamed(*names: Any, **keys: Any) -> None:
        happens("rename")
        replace(*names, **keys)

    files._Raw.write, os.fsync, os.replace = halved, flushed, renamed  # type: ignore[method-assign]


def counting(file: Path) -> Callable[[], None]:
    """Return a hook that makes a process write its number of writes to a file at its end."""

    def before() -> None:
        seen: Counter[str] = Counter()
        each_write(lambda what: seen.update([what]))
        end = cli.main

        def main() -> None:
            try:
                end()
            finally:
                file.write_text(json.dumps(seen))

        cli.main = main

    return before


def kill_in_write(number: int) -> Callable[[], None]:
    """Return a hook that makes a process kill itself in its ``number``-th write."""

    def before() -> None:
        left = [number]

        def happens(_: str) -> None:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        each_write(happens)

    return before


def processor_seconds(pid: int) -> float:
    """Return the processor time used by a process; 0 if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICK


def wait(process: BaseProcess, seconds: float) -> bool:
    """Wait until a process has used so much processor time; return whether it still runs."""
    began = time.monotonic()
    while process.is_alive() and processor_seconds(process.pid or 0) < seconds:
        if time.monotonic() - began > 300:
            os.killpg(process.pid or 0, signal.SIGKILL)
            raise Wrong("it hangs")
        time.sleep(0.005)
    return process.is_alive()


def curves(run: RunFolder) -> dict[str, list[tuple[int, float]]]:
    """Return TensorBoard's points, without the curves that depend on the machine."""
    events = EventAccumulator(str(run.path)).Reload()
    names = events.Tags()["scalars"]
    found = {name: [(e.step, e.value) for e in events.Scalars(name)] for name in names}
    return {name: points for name, points in found.items() if name not in OF_THE_MACHINE}


def scores(run: RunFolder) -> dict[str, Any]:
    """Return evaluation.json without its duration."""
    content = json.loads(run.evaluation_file.read_text())
    return {name: value for name, value in content.items() if name != "seconds"}


def differences(run: RunFolder, whole: RunFolder) -> list[str]:
    """Return the names of the results that differ from the undisturbed run's."""
    found = {
        "network": same(tensors(run), tensors(whole)),
        "scores": scores(run) == scores(whole),
        "metrics.jsonl": records(run) == records(whole),
        "TensorBoard": curves(run) == curves(whole),
    }
    return [name for name, equal in found.items() if not equal]


class Disturbed:
    """One method's undisturbed training, and disturbed ones to compare with it."""

    def __init__(self, name: str, folder: Path, system: str, draw: random.Random) -> None:
        self.name, self.folder, self.draw = name, folder, draw
        self.config = [str(folder / "street" / f"{system}.yaml"), *SETTINGS, *CHANGES]
        self.whole, self.log = RunFolder(folder / system / "whole"), folder / f"{system}.log"
        self.out = folder / system / "run"
        self.out.parent.mkdir()
        self.hits: Counter[str] = Counter()
        self.runs = 0
        self.said = 0
        self.late = ""
        noted = folder / "writes.json"
        process = run(
            ["train", *self.config, "--out", str(self.whole.path)], self.log, counting(noted)
        )
        self.seconds = 0.0
        while process.is_alive():
            self.seconds = max(self.seconds, processor_seconds(process.pid or 0))
            time.sleep(0.01)
        if process.exitcode:
            raise Wrong(f"{name}: {self.log.read_text()}")
        self.writes = sum(json.loads(noted.read_text()).values())

    def disturb(self, way: str) -> bool:
        """Start or resume a training and disturb it once; compare it if it ends.

        Returns:
            Whether the disturbance hit the training: not before its start, nor after its end.
        """
        arguments = self._arguments()
        self.said = self.log.stat().st_size
        number = self.draw.randrange(1, self.writes + 1) if way == "a write" else 0
        process = run(arguments, self.log, kill_in_write(number) if number else lambda: None)
        if number:
            process.join()
        elif wait(process, self.draw.uniform(0, self.seconds)):
            self._signal(process, way)
        if process.exitcode == -signal.SIGKILL:
            self.hits[self.late if way == "pre-emption" else f"SIGKILL, {way}"] += 1
            return True
        said = self.tail()
        if process.exitcode == STOPPED and "stopped" in said:
            self.hits[way] += 1
            return True
        # before the training installs its handlers, a signal ends the process by default
        early = way == "SIGINT" and ("KeyboardInterrupt" in said or "Aborted" in said)
        if early or process.exitcode == STOPPED or (process.exitcode or 0) < 0:
            return False
        if process.exitcode:
            raise Wrong(f"{self.name}, {way}: exit code {process.exitcode}: {self.tail()}")
        self.compare()
        return False

    def _arguments(self) -> list[str]:
        """Return the command that goes on with the run, or starts one where there is none."""
        if (self.out / "config.yaml").is_file():
            return ["resume", str(self.out)]
        if self.out.exists():
            # killed before the run was created: delete the folder, as a user would
            shutil.rmtree(self.out)
        return ["train", *self.config, "--out", str(self.out)]

    def _signal(self, process: BaseProcess, way: str) -> None:
        pid = process.pid or 0
        number = signal.SIGKILL if way == "processor time" else None
        number = number or getattr(signal, "SIGTERM" if way == "pre-emption" else way)
        os.killpg(pid, number)
        began = processor_seconds(pid)
        process.join(NOTICE if way == "pre-emption" else 300)
        if process.is_alive() and way == "pre-emption":
            busy = processor_seconds(pid) - began < ENOUGH
            self.late = f"pre-emption, killed after 10 s{', machine busy' if busy else ''}"
            os.killpg(pid, signal.SIGKILL)
            process.join()

    def finish(self) -> None:
        """Let the last training end undisturbed, and compare it.

        Where no training has ended yet, and the last one was hit before its folder was made,
        a whole one runs: a summary of no comparison would promise something for nothing.
        """
        began = (self.out / "config.yaml").is_file()
        if began or not self.runs:
            process = run(self._arguments(), self.log, lambda: None)
            process.join()
            if process.exitcode:
                raise Wrong(f"{self.name}: exit code {process.exitcode}: {self.tail()}")
            self.compare()

    def compare(self) -> None:
        """Compare the finished training with the undisturbed one, and delete it."""
        if wrong := differences(RunFolder(self.out), self.whole):
            raise Wrong(f"{self.name}: other {', '.join(wrong)} after {dict(self.hits)}")
        self.runs += 1
        shutil.rmtree(self.out)

    def tail(self) -> str:
        """Return the end of the last process's output."""
        return self.log.read_bytes()[self.said :].decode(errors="replace")[-2000:]


def disturb(
    name: str, system: str, counts: dict[str, int], folder: Path, seed: int = 0
) -> dict[str, Any]:
    """Disturb a method's trainings ``counts[way]`` times in each way; return a summary.

    Its ``runs`` are the disturbed trainings that ended, each equal to the undisturbed one.

    Raises:
        Wrong: a training failed, or its result differs from the undisturbed one.
    """
    draw = random.Random(f"{name}/{seed}")
    trial = Disturbed(name, folder, system, draw)
    left = Counter(counts)
    while ways := sorted(way for way in left if left[way] > 0):
        way = draw.choice(ways)
        left[way] -= trial.disturb(way)
    trial.finish()
    return {
        "family": name,
        "method": system,
        "seed": seed,
        "hits": dict(trial.hits),
        "runs": trial.runs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=50, help="SIGKILLs per method")
    parser.add_argument("--signals", type=int, default=3, help="of each other kind, per method")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=list(SYSTEMS), help="families of methods")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("kills.json"))
    given = parser.parse_args()
    counts = dict.fromkeys(WAYS, given.signals)
    counts |= {"processor time": given.kills - given.kills // 2, "a write": given.kills // 2}
    found = json.loads(given.out.read_text()) if given.out.is_file() else []
    done = {(one["family"], one["seed"]) for one in found}
    for family in given.only:
        if (family, given.seed) in done:
            continue
        with tempfile.TemporaryDirectory() as folder:
            write_street(Path(folder) / "street")
            measured = disturb(family, SYSTEMS[family], counts, Path(folder), given.seed)
        found.append(measured | today())
        print(measured, flush=True)
        given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
