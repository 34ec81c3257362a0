"""Memory kept between updates: it happens, and what the environment says is left alone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

FAULTS = """\
import resource, sys
from clan.core.memory import keep_memory
if sys.argv[1] == "kept":
    keep_memory()
import torch
torch.set_num_threads(1)
def touch():
    for _ in range(20):
        torch.zeros(4, 2**20).add_(1)
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str, **environment: str) -> int:
    """Return the page faults of 20 tensors of 16 MiB, made and freed one after the other."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_", "THP_"))}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, how],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="sets glibc's malloc, which Linux has")
def test_freed_memory_is_used_again() -> None:
    kept = faults("kept")
    assert kept < 1_000
    assert faults("plain", MALLOC_MMAP_THRESHOLD_="1048576") > 10 * max(kept, 100)


@pytest.mark.skipif(sys.platform != "linux", reason="sets glibc's malloc, which Linux has")
def test_the_environment_has_the_last_word() -> None:
    huge = {"THP_MEM_ALLOC_ENABLE": "0", "MALLOC_MMAP_THRESHOLD_": "1048576"}
    assert faults("kept", **huge) > 10_000


def test_every_command_keeps_memory() -> None:
    program = "import clan.cli, os; clan.cli.app = lambda: print(os.environ[%r]); clan.cli.main()"
    name = "THP_MEM_ALLOC_ENABLE"
    done = subprocess.run(
        [sys.executable, "-c", program % name],
        env={k: v for k, v in os.environ.items() if k != name},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "1\n"
