"""Two trainings in one folder at once: the second is refused, what a killed one left is not."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clan.core.errors import RunError
from clan.runs.lock import RunLock

pytestmark = pytest.mark.usefixtures("no_slurm")

HOLD = """
import sys, time
from pathlib import Path
from clan.runs.lock import RunLock
RunLock(Path(sys.argv[1])).take()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def no_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)


@contextmanager
def held_elsewhere(folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_the_second_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    with held_elsewhere(tmp_path) as other, pytest.raises(RunError, match="is in use") as info:
        RunLock(tmp_path).take()
    assert f"process {other.pid} on host {socket.gethostname()}, since 20" in str(info.value)


def test_what_a_killed_process_left_is_taken_over(tmp_path: Path) -> None:
    with held_elsewhere(tmp_path) as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert json.loads((tmp_path / "lock").read_text())["pid"] == other.pid
    with RunLock(tmp_path) as lock:
        lock.take()
        lock.take()
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", '{"ho', "[1]"])
def test_a_file_that_says_nothing_is_taken_over(tmp_path: Path, content: str) -> None:
    (tmp_path / "lock").write_text(content)
    with RunLock(tmp_path) as lock:
        lock.take()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_of_another_host_says_how_to_remove_it(tmp_path: Path) -> None:
    text = json.dumps({"host": "far", "pid": 7, "since": "2026-01-01T00:00:00+00:00"})
    (tmp_path / "lock").write_text(text)
    lock = RunLock(tmp_path)
    with pytest.raises(RunError, match=r"process 7 on host far, since 2026-01-01.*delete .*lock"):
        lock.take()
    lock.release()
    assert (tmp_path / "lock").read_text() == text


def test_the_lock_is_flushed_with_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync, flushed = os.fsync, []

    def noting(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        flushed.append((path.name, path.read_text() if path.is_file() else ""))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    with RunLock(tmp_path) as lock:
        lock.take()
        assert flushed == [("lock", lock.file.read_text()), (tmp_path.name, "")]


def test_a_lock_that_cannot_be_written_is_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    lock = RunLock(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RunError, match=r"cannot write .*lock: No space left"):
            lock.take()
    with held_elsewhere(tmp_path):
        pass


def test_a_folder_that_cannot_be_locked_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"cannot write .*gone/lock: No such file"):
        RunLock(tmp_path / "gone").take()


# --- a Slurm job that is requeued ----------------------------------------------------------------


def left_by(folder: Path, slurm: object) -> None:
    """Leave the lock of a process that was killed on another host."""
    holder = {"host": "far", "pid": 7, "since": "2026-01-01T00:00:00+00:00", "slurm": slurm}
    (folder / "lock").write_text(json.dumps(holder))


@pytest.fixture
def restarted(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The second restart of job 41."""
    monkeypatch.setenv("SLURM_JOB_ID", "41")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "hall")
    return monkeypatch


@pytest.mark.parametrize("restarts", [0, 1])
def test_a_requeued_job_takes_over_its_own_lock(
    tmp_path: Path, restarted: pytest.MonkeyPatch, restarts: int
) -> None:
    left_by(tmp_path, {"cluster": "hall", "job": "41", "restarts": restarts})
    with RunLock(tmp_path) as lock:
        lock.take()
        holder = json.loads((tmp_path / "lock").read_text())
        assert holder["slurm"] == {"cluster": "hall", "job": "41", "restarts": 2}
        assert holder["host"] == socket.gethostname()


@pytest.mark.parametrize(
    "slurm",
    [
        {"cluster": "hall", "job": "40", "restarts": 0},  # another job
        {"cluster": "yard", "job": "41", "restarts": 0},  # another cluster's
        {"cluster": "hall", "job": "41", "restarts": 2},  # another step of this start
        {"cluster": "hall", "job": "41", "restarts": 3},
        {"cluster": "hall", "job": "41", "restarts": "0"},
        {"cluster": "hall", "job": "41"},
        [41],
        None,
    ],
)
def test_what_is_no_former_start_of_the_job_is_refused(
    tmp_path: Path, restarted: pytest.MonkeyPatch, slurm: object
) -> None:
    left_by(tmp_path, slurm)
    with pytest.raises(RunError, match=r"on host far.*, since 2026-01-01.*delete .*lock"):
        RunLock(tmp_path).take()


def test_outside_slurm_its_jobs_are_unknown(tmp_path: Path) -> None:
    left_by(tmp_path, {"cluster": None, "job": "41", "restarts": 0})
    with pytest.raises(RunError, match="on host far of Slurm job 41"):
        RunLock(tmp_path).take()


def test_the_first_start_of_a_job_notes_it(tmp_path: Path, restarted: pytest.MonkeyPatch) -> None:
    restarted.delenv("SLURM_RESTART_COUNT")
    with RunLock(tmp_path) as lock:
        lock.take()
        assert json.loads((tmp_path / "lock").read_text())["slurm"]["restarts"] == 0
