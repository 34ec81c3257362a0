"""What a training ran on: versions and machine, noted in the run's folder."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from lightning import __version__ as lightning_version
from lightning.fabric import Fabric

import clan


def describe(fabric: Fabric) -> dict[str, Any]:
    """Return versions, machine and processes, JSON-able; None where there is no such thing."""
    gpu = fabric.device.type == "cuda"
    return {
        "clan": clan.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "lightning": lightning_version,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(fabric.device) if gpu else fabric.device.type,
        "cuda": torch.version.cuda if gpu else None,
        "processes": fabric.world_size,
    }


def _processor() -> str:
    """Return the processor's model where the system tells it, else its architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
