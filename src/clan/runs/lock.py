"""One training per run folder: a lock that names its holder."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from clan.core.errors import RunError
from clan.core.files import flush_folder


class RunLock:
    """Holds a run's folder for this process until `release`, or until the process ends.

    The system releases the lock of a process that ends, also of a killed one, so a new training on
    this machine can take it. For a lock file of another machine it is unknown whether its training
    still runs; the error says how to remove it. Only a Slurm job that starts anew takes over what
    its own former start left on another machine: Slurm ends a job before it requeues it.

    Args:
        path: the run's folder; it must exist when the lock is taken.
    """

    def __init__(self, path: Path) -> None:
        self.file = path / "lock"
        self._descriptor: int | None = None

    def take(self) -> None:
        """Take the lock; nothing happens if this object holds it.

        Raises:
            RunError: another training holds it (names host, process and since when), or it cannot
                be written.
        """
        if self._descriptor is not None:
            return
        try:
            descriptor = self._locked()
            try:
                self._claim(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
        except OSError as error:
            raise RunError(f"cannot write {self.file}: {error.strerror or error}") from error
        self._descriptor = descriptor

    def release(self) -> None:
        """Release the lock and delete its file, if this object holds it."""
        if self._descriptor is not None:
            # deleted while it is held: a waiting process opens the name again
            with suppress(OSError):
                self.file.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None

    def _claim(self, descriptor: int) -> None:
        """Write this process into the locked file, unless that is another machine's."""
        holder = _read(descriptor)
        job = _slurm_job()
        here = holder is None or holder.get("host") == socket.gethostname()
        if holder is not None and not here and not _former_start(holder.get("slurm"), job):
            raise RunError(
                f"{self.file} says that {_words(holder)} trains in this folder. If no "
                f"training runs there any more, delete {self.file} and resume"
            )
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": now}
        if job is not None:
            holder["slurm"] = job
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        # on a shared disk, other machines must find it after a power cut too
        os.fsync(descriptor)
        flush_folder(self.file.parent)

    def _locked(self) -> int:
        """Open the file, locked, and see that the name still stands for it."""
        while True:
            descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                # of the process, unlike flock's: workers that outlive a killed one hold nothing
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError) as error:
                holder = _read(descriptor)
                os.close(descriptor)
                raise RunError(
                    f"{self.file.parent} is in use: {_words(holder)} trains in it. Wait for its "
                    "end, or stop it"
                ) from error
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(self.file)):
                    return descriptor
            os.close(descriptor)

    def __enter__(self) -> RunLock:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


def _read(descriptor: int) -> dict[str, object] | None:
    """Return what a lock's file says of its holder, None where it says nothing whole."""
    try:
        holder = json.loads(os.pread(descriptor, 1 << 12, 0))
    except ValueError:
        return None
    return holder if isinstance(holder, dict) else None


def _slurm_job() -> dict[str, object] | None:
    """Return the Slurm job that this process belongs to, and how often it was restarted."""
    job = os.environ.get("SLURM_JOB_ID")
    if not job:
        return None
    restarts = os.environ.get("SLURM_RESTART_COUNT", "")  # not set before the first restart
    return {
        "cluster": os.environ.get("SLURM_CLUSTER_NAME"),
        "job": job,
        "restarts": int(restarts) if restarts.isdecimal() else 0,
    }


def _former_start(found: object, own: dict[str, object] | None) -> bool:
    """Whether a lock's holder was an earlier start of the Slurm job that this process is of."""
    if own is None or not isinstance(found, dict):
        return False
    before, now = found.get("restarts"), own["restarts"]
    same = all(found.get(key) == own[key] for key in ("cluster", "job"))
    return same and isinstance(before, int) and isinstance(now, int) and before < now


def _words(holder: dict[str, object] | None) -> str:
    if holder is None:
        return "another process"
    slurm = holder.get("slurm")
    job = f" of Slurm job {slurm.get('job')}" if isinstance(slurm, dict) else ""
    place = f"on host {holder.get('host')}{job}"
    return f"process {holder.get('pid')} {place}, since {holder.get('since')},"
