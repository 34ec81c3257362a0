"""What `benchmarks.faults.counts` measures: each function returns a count in words, or raises."""

from __future__ import annotations

import errno
import os
import pickle
import random
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from benchmarks.faults import kills
from clan.config.loading import load_config
from clan.core.errors import ClanError, DataError, RunError, WeightsError
from clan.data.classes import class_set
from clan.data.datasets import open_dataset
from clan.data.images import read_label, write_label
from clan.data.pack import write_index
from clan.methods import METHODS, Method, Progress
from clan.runs.checkpoint import load_checkpoint, load_newest, save_checkpoint
from clan.runs.folder import RunFolder
from clan.training.display import Silent
from clan.training.train import train
from clan.weights.model_files import load_segmenter, save_model
from clan.weights.tensor_files import read_tensors
from tests.systems import SETTINGS, at_step, records, same, tensors, tiny, write_street

FLIPS = 1000
"""Bits that are flipped in a file, one at a time, at random places."""
LIMITS = 100
"""Sizes of file at which the disk refuses more."""


class Broken(AssertionError):
    """A promise that does not hold."""


def _held(holds: bool, what: str) -> None:
    if not holds:
        raise Broken(what)


def _flips(path: Path, read: Callable[[], bool], error: type[ClanError]) -> str:
    """Flip bits of a file; ``read`` returns whether what it holds is as before, or raises."""
    draw, whole = random.Random(0), path.read_bytes()
    noticed = 0
    for _ in range(FLIPS):
        at = draw.randrange(len(whole))
        spoilt = bytearray(whole)
        spoilt[at] ^= 1 << draw.randrange(8)
        path.write_bytes(spoilt)
        try:
            _held(read(), f"a bit flipped in byte {at} of {path.name} changes it in silence")
        except error:
            noticed += 1
    path.write_bytes(whole)
    rest = f"; {FLIPS - noticed} lie where nothing is read" if noticed < FLIPS else ""
    return f"{noticed:,} of {FLIPS:,} flipped bits{rest}"


def _run(folder: Path, method: str = "clan") -> RunFolder:
    street = write_street(folder / "street")
    return train(tiny(street, method), folder / "run", display=Silent())


def checkpoint_flips(folder: Path) -> str:
    """Flip bits of the newest checkpoint of a run: it is used as it was, or the one before."""
    run = _run(folder)
    newest = run.newest_checkpoint()
    assert newest is not None
    whole = load_checkpoint(newest)["method"]

    def read() -> bool:
        content, damaged = load_newest(run.checkpoints)
        assert content is not None
        if damaged:
            _held(content["step"] < 7, "not the one before")
            raise WeightsError(str(damaged))
        return same(content["method"], whole)

    return _flips(newest, read, WeightsError)


def model_flips(folder: Path) -> str:
    """Flip bits of a model file."""
    path = _run(folder).model_file
    whole = load_segmenter(path).state_dict()
    return _flips(path, lambda: same(load_segmenter(path).state_dict(), whole), WeightsError)


def label_flips(folder: Path) -> str:
    """Flip bits of a palette label, as of GTA5 and of pseudo-labels."""
    path = folder / "a.png"
    label = np.random.default_rng(0).integers(0, 19, (40, 60), dtype=np.uint8)
    write_label(path, label, class_set("cityscapes").palette())
    return _flips(path, lambda: bool((read_label(path) == label).all()), DataError)


@contextmanager
def _largest_file(most: int) -> Iterator[None]:
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def full_disks(folder: Path) -> str:
    """Let the disk refuse more at any size of file, and each flush and rename."""
    run = _run(folder)
    newest = run.newest_checkpoint()
    assert newest is not None
    content, was = load_checkpoint(newest), newest.read_bytes()
    segmenter, model = load_segmenter(run.model_file), run.model_file.read_bytes()
    refuse = mock.Mock(side_effect=OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    draw, done = random.Random(0), 0
    for write, size in (
        (lambda: save_checkpoint(newest.with_name("step_00000009.pt"), content, 1), len(was)),
        (lambda: save_model(segmenter, run.model_file), len(model)),
    ):
        faults: list[Any] = [_largest_file(draw.randrange(size)) for _ in range(LIMITS)]
        faults += [mock.patch.object(os, name, refuse) for name in ("fsync", "replace")]
        for fault in faults:
            with fault:
                try:
                    write()
                except ClanError:
                    done += 1
                else:
                    raise Broken("a write that the disk refused is no error")
            kept = sorted(path.name for path in run.checkpoints.iterdir())
            _held(newest.name in kept and not any("part" in n or "009" in n for n in kept), "rest")
            _held(newest.read_bytes() == was and run.model_file.read_bytes() == model, "changed")
    return f"{done} of {done} full disks"


class _Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *given: Any) -> None:
        self.call = function, given

    def __reduce__(self) -> Any:
        return self.call


def hostile_files(folder: Path) -> str:
    """Offer files whose loading would make a folder, to every reader of pickles and of YAML."""
    harm, path, tried = folder / "harm", folder / "step_00000001.pt", 0
    street = write_street(folder / "street")
    code = f"import os; os.mkdir({str(harm)!r})"
    calls = (
        *(_Call(os.mkdir, str(harm)), _Call(os.system, f"mkdir {harm}"), _Call(exec, code)),
        *(_Call(subprocess.call, ["mkdir", str(harm)]), _Call(Path.mkdir, harm)),
        *(
            _Call(shutil.copytree, street, harm),
            _Call(eval, f"__import__('os').mkdir({str(harm)!r})"),
        ),
        _Call(pickle.loads, pickle.dumps(_Call(os.mkdir, str(harm)))),
    )
    for call in calls:
        torch.save(call, path)
        with suppress(Exception):
            torch.load(path, weights_only=False)
        _held(harm.exists(), f"harmless: {call.call}")
        shutil.rmtree(harm)
        for read in (load_checkpoint, read_tensors):
            for content in ({"format": 1, "step": 1, "method": call}, call):
                torch.save(content, path)
                tried += _refused(read, path)
    tags = (
        *("object/apply:os.mkdir [{}]", "object/new:os.mkdir [{}]", "name:os.mkdir", "module:os"),
        *("object/apply:os.system ['mkdir {}']", "object/apply:builtins.eval ['{}']"),
        "object/apply:subprocess.check_call [[mkdir, {}]]",
    )
    for tag in tags:
        text = f"!!python/{tag.format(harm)}"
        for reader in (load_config, open_dataset, class_set):
            described = folder / "hostile.yaml"
            described.write_text(f"name: {text}\nclasses: {text}\n")
            tried += _refused(reader, str(described))
    _held(not harm.exists(), "a file ran code")
    return f"{tried} of {tried} pickles and YAML tags ran nothing"


def _refused(reader: Callable[[Any], Any], path: Path | str) -> int:
    try:
        reader(path)
    except ClanError:
        return 1
    raise Broken(f"{path} was read")


def broken_numbers(folder: Path) -> str:
    """Make a weight of each method's network NaN before its fifth update."""
    street, start = write_street(folder / "street"), Method.start_update
    for name in METHODS:

        def broken(self: Method, progress: Progress) -> None:
            if progress.step == 4:
                with torch.no_grad():
                    next(self.segmenter.parameters()).view(-1)[0] = torch.nan
            start(self, progress)

        run = RunFolder(folder / name)
        with mock.patch.object(Method, "start_update", broken):
            try:
                train(tiny(street, name), run.path, display=Silent())
            except RunError as error:
                _held("NaN" in str(error) and "step 5" in str(error), f"{name}: {error}")
            else:
                raise Broken(f"{name} trains with NaN")
        newest = run.newest_checkpoint()
        assert newest is not None
        _held(newest.name == "step_00000004.pt" and not run.finished, f"{name}: {newest}")
    return f"{len(METHODS)} of {len(METHODS)} methods"


def two_at_once(folder: Path, pairs: int = 20) -> str:
    """Resume one run by two processes at once: one goes on, the other is refused."""
    street = write_street(folder / "street")
    arguments = ["train", str(street / "source_only.yaml"), *SETTINGS, "--out"]
    whole, stopped = RunFolder(folder / "whole"), folder / "stopped"

    def start(given: list[str], before: Callable[[], None] = lambda: None) -> Any:
        return kills.run(given, folder / "log", before)

    start([*arguments, str(whole.path)]).join()
    killed = lambda: at_step(4, lambda: os.kill(os.getpid(), signal.SIGKILL))  # noqa: E731
    start([*arguments, str(stopped)], killed).join()
    for number in range(pairs):
        run = RunFolder(folder / str(number))
        shutil.copytree(stopped, run.path)
        # both are at work when the second one asks for the folder
        slow = lambda: at_step(5, lambda: time.sleep(5))  # noqa: E731
        both = [start(["resume", str(run.path)], slow) for _ in range(2)]
        codes = sorted((process.join(), process.exitcode)[1] for process in both)
        _held(codes == [0, 1], f"two resumes at once: exit codes {codes}")
        _held(records(run) == records(whole) and same(tensors(run), tensors(whole)), "other")
    _held((folder / "log").read_text().count("is in use") == pairs, "refused for another reason")
    return f"{pairs} of {pairs} pairs of resumes"


OPENING = """
import re, sys, time
from clan.data.datasets import open_dataset

def used():
    with open("/proc/self/status") as status:
        return int(re.search(r"VmHWM:\\s*(\\d+)", status.read())[1]) / 1024, time.process_time()

memory, began = used()
data = open_dataset(sys.argv[1])
assert len(data) == int(sys.argv[2]) and data.labelled
peak, ended = used()
print(ended - began, peak - memory, peak)
"""


def many_members(folder: Path, pairs: int = 500_000) -> str:
    """Open a tar of many images and labels by its index, in a new process."""
    with open(folder / "many.tar", "wb") as file:
        for number in range(pairs):
            for part in ("images", "labels"):
                member = tarfile.TarInfo(f"{part}/frame_{number:08}.png")
                member.size = 1
                file.write(member.tobuf(tarfile.USTAR_FORMAT) + b"x".ljust(512, b"\0"))
        file.write(bytes(1024))
    began = time.process_time()
    write_index(folder / "many.tar")
    indexed = time.process_time() - began
    (folder / "many.yaml").write_text(
        "root: many.tar\nclasses: cityscapes\n"
        "splits: {train: {images: images/*.png, labels: labels/*.png}}\n"
    )
    command = [sys.executable, "-c", OPENING, str(folder / "many.yaml"), str(pairs)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, grown, peak = map(float, said.split())
    _held(seconds < 5 and peak < 500, f"{seconds:.1f} s, {peak:.0f} MiB")
    return (
        f"{2 * pairs:,} members: {seconds:.1f} s, {grown:.0f} MiB more ({peak:.0f} in all); "
        f"`clan data index` {indexed:.0f} s, once"
    )
