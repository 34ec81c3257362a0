"""Cases for the speed benchmark's rounds; light, since each process imports this file."""

from __future__ import annotations

import os
import time

from benchmarks.speed.rounds import Run


def log_word(path: str, word: str) -> Run:
    def run() -> dict[str, float]:
        with open(path, "a") as file:
            file.write(word)
        burnt = time.process_time()
        while time.process_time() - burnt < 0.01:
            pass
        return {"pid": os.getpid()}

    return run


def fail() -> Run:
    raise ValueError("no such thing")
