"""Signals that stop a training: finish the step first; asked again, stop at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType

STOPS = ("SIGINT", "SIGTERM", "SIGHUP")
"""Ctrl-C, the request of a scheduler or `kill`, and a terminal that was closed."""


class StopRequest:
    """A context in which the first signal of `STOPS` is noted and a second one raises.

    Signals that are ignored stay ignored, as with `nohup`.

    Attributes:
        asked: whether somebody asked the training to stop.

    Outside the main thread, where Python allows no handlers, signals are not handled.
    """

    def __init__(self) -> None:
        self.asked = False
        self._seen: set[int] = set()
        self._former: list[tuple[signal.Signals, object]] = []

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            # not all systems know SIGHUP and SIGCHLD
            names = [name for name in (*STOPS, "SIGCHLD") if hasattr(signal, name)]
            numbers = [getattr(signal, name) for name in names]
            self._former = [(number, signal.getsignal(number)) for number in numbers]
            for name, (number, former) in zip(names, self._former, strict=True):
                if name in STOPS and former != signal.SIG_IGN:
                    signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._former:
            # None stands for a handler that was not set from Python and cannot be set again
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number in self._seen:
            raise KeyboardInterrupt
        self._seen.add(number)
        self.asked = True
        if hasattr(signal, "SIGCHLD"):
            # the signal may have reached the loader's workers too: torch would raise an error in
            # the middle of the step because they are gone, but no further batch is needed
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
