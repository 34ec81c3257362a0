"""Interleaved rounds: every case in a process of its own, asked in turn, medians over the rounds.

A machine's clock drifts over minutes and others may use it; cases that take turns meet that alike.
A process of its own gives each case its own peak of memory.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import resource
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Literal, NamedTuple

from clan.core.memory import HUGE_PAGES, keep_memory

Run = Callable[[], "Mapping[str, float] | None"]
"""Does once what is timed; may return numbers that it found."""
Memory = Literal["kept", "plain", "given back"]


@dataclass(frozen=True)
class Case:
    """Something to time: ``build`` is called in its own process and returns what is run."""

    name: str
    build: Callable[..., Run]
    arguments: tuple[Any, ...] = ()
    threads: int = 1
    warm: int = 1
    """Runs before the first that counts."""
    memory: Memory = "kept"
    """What becomes of freed memory: kept, as the package's commands do (`clan.core.memory`); as
    Python has it; or given back at once, block by block."""


class Sample(NamedTuple):
    """One run."""

    processor: float
    """Processor seconds over all threads."""
    clock: float
    facts: Mapping[str, float]


@dataclass(frozen=True)
class Result:
    """The runs of one case."""

    samples: tuple[Sample, ...]
    peak: int
    """Bytes: the largest resident set of the case's process, libraries included."""

    @property
    def processor(self) -> float:
        """Median processor seconds."""
        return statistics.median(sample.processor for sample in self.samples)

    @property
    def clock(self) -> float:
        """Median seconds by the clock."""
        return statistics.median(sample.clock for sample in self.samples)

    def fact(self, name: str) -> float:
        """Median of a number that the runs returned."""
        return statistics.median(sample.facts[name] for sample in self.samples)


@contextlib.contextmanager
def environment(memory: Memory) -> Iterator[None]:
    """Set what a process that starts now reads."""
    before = dict(os.environ)
    os.environ[HUGE_PAGES] = str(int(memory == "kept"))
    if memory == "given back":
        os.environ["MALLOC_MMAP_THRESHOLD_"] = str(2**20)
    yield
    os.environ.clear()
    os.environ.update(before)


def measure(cases: Sequence[Case], rounds: int) -> dict[str, Result]:
    """Run all cases ``rounds`` times in turn.

    Raises:
        RuntimeError: a case failed; with its traceback.
    """
    context = multiprocessing.get_context("spawn")
    workers, ends = [], []
    for case in cases:
        ours, theirs = context.Pipe()
        worker = context.Process(target=_serve, args=(case, theirs), daemon=True)
        # before the worker begins, and imports PyTorch to know the case
        with environment(case.memory):
            worker.start()
        theirs.close()
        workers.append(worker)
        ends.append(ours)
        _ask(ours, case)  # built, one after the other
    samples: list[list[Sample]] = [[] for _ in cases]
    for _ in range(rounds):
        for case, end, found in zip(cases, ends, samples, strict=True):
            end.send("run")
            found.append(_ask(end, case))
    results = {}
    for case, end, found in zip(cases, ends, samples, strict=True):
        end.send("end")
        results[case.name] = Result(tuple(found), _ask(end, case))
    for worker in workers:
        worker.join()
    return results


def _ask(end: Connection, case: Case) -> Any:
    try:
        answer = end.recv()
    except EOFError:
        raise RuntimeError(f"{case.name}: its process ended") from None
    if isinstance(answer, str):
        raise RuntimeError(f"{case.name} failed:\n{answer}")
    return answer


def _serve(case: Case, end: Connection) -> None:
    os.environ["OMP_NUM_THREADS"] = str(case.threads)
    if case.memory == "kept":
        keep_memory()
    try:
        # what the cases print is none of the table's
        with contextlib.redirect_stdout(io.StringIO()):
            run = case.build(*case.arguments)
            if "torch" in sys.modules:
                sys.modules["torch"].set_num_threads(case.threads)
            for _ in range(case.warm):
                run()
            end.send(True)
            while end.recv() == "run":
                end.send(_timed(run))
        end.send(peak_bytes())
    except BaseException:
        end.send(traceback.format_exc())


def _timed(run: Run) -> Sample:
    clock, processor = time.perf_counter(), time.process_time()
    facts = run()
    processor, clock = time.process_time() - processor, time.perf_counter() - clock
    return Sample(processor, clock, facts or {})


def peak_bytes() -> int:
    """Return the largest resident set of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
