"""The environment of a training: versions, machine and memory."""

from __future__ import annotations

import os
import platform
import resource
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from lightning import __version__ as lightning_version
from lightning.fabric import Fabric
from torch import device as Device


def describe(fabric: Fabric) -> dict[str, Any]:
    """Return versions, machine and processes, JSON-able; None where there is no such thing."""
    gpu = fabric.device.type == "cuda"
    device = torch.cuda.get_device_name(fabric.device) if gpu else fabric.device.type
    return {
        **_here(device),
        "cuda": torch.version.cuda if gpu else None,
        "processes": fabric.world_size,
    }


def versions() -> dict[str, str]:
    """Return the versions that a checkpoint may depend on."""
    return {
        "clan": version("clan"),
        "torch": str(torch.__version__),
        "lightning": lightning_version,
    }


def _here(device: str) -> dict[str, Any]:
    """Return versions, machine and the device's name, a GPU's or ``cpu``."""
    return {
        **versions(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": device,
    }


def machine() -> str:
    """Return a sentence about the machine and the versions in use."""
    gpu = torch.cuda.is_available()
    return f"Machine: {named(_here(torch.cuda.get_device_name() if gpu else 'cpu'))}."


def named(environment: Mapping[str, Any]) -> str:
    """Return in words what `describe` found."""
    device = environment["device"]
    if device == "cpu":
        device = f"{environment['processor']} ({environment['cores']} cores)"
    return (
        f"{device}, {environment['threads']} threads; clan {environment['clan']}, "
        f"torch {environment['torch']}, Python {environment['python']}"
    )


def peak_bytes(device: Device) -> int:
    """Return the most memory that was in use at a time: of a GPU by this process's tensors.

    On the CPU it is the largest resident set of this process, Python and libraries included. Asking
    does not wait for the device.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in kibibytes, macOS in bytes
    return peak if sys.platform == "darwin" else peak * 1024


def _processor() -> str:
    """Return the processor's model where the system tells it, else its architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
