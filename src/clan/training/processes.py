"""The processes of a run: started together, failing together."""

from __future__ import annotations

import platform
from collections.abc import Callable

import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies.ddp import DDPStrategy
from lightning.fabric.utilities.exceptions import MisconfigurationException

from clan.config.tree import Config, TrainingOptions
from clan.core.errors import ClanError, ConfigError, RunError

BF16 = ("avx512_bf16", "amx_tile")
"""Sets of instructions of x86 processors that multiply bfloat16."""


class OtherProcess(RunError):
    """Raised on the other processes when the first one fails, with the first one's message."""


def launch(options: TrainingOptions) -> Fabric:
    """Start the processes of a run; each goes on from here.

    Raises:
        ConfigError: devices that this machine does not have.
    """
    many = options.nodes > 1 or options.devices not in (1, "auto")
    try:
        fabric = Fabric(
            accelerator=options.accelerator,
            devices=options.devices,
            num_nodes=options.nodes,
            precision=options.precision,
            # gradients lie in the buckets that are sent: no copy of them, and less memory. Not a
            # static graph: an update keeps gradients back (no_sync) before it shares their sum
            strategy=DDPStrategy(gradient_as_bucket_view=True) if many else "auto",
        )
    except (MisconfigurationException, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"training.accelerator={options.accelerator} with training.devices={options.devices} "
            f"is not possible on this machine: {error}"
        ) from error
    if options.precision == "bf16-mixed" and not computes_bf16(fabric.device):
        raise ConfigError(
            f"training.precision=bf16-mixed: this {fabric.device.type.upper()} device has no "
            "instructions for bfloat16 and would emulate them, slower than float32; set "
            "training.precision=32-true"
        )
    fabric.launch()
    return fabric


def computes_bf16(device: torch.device) -> bool:
    """Tell whether a device multiplies bfloat16 itself; a CPU by AVX512-BF16, AMX, or Arm's own."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return True
    if platform.machine().lower() in ("arm64", "aarch64"):
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    # torch's own question, of a version that has it
    asked = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in BF16)
    return any(ask is not None and ask() for ask in asked)


def on_rank_zero(fabric: Fabric, action: Callable[[], None]) -> None:
    """Do something on the first process; all processes fail if it cannot be done.

    Raises:
        OtherProcess: on the other processes, with the first one's error in words, whatever its
            kind: none of them waits for a process that has ended.
    """
    problem: BaseException | None = None
    if fabric.is_global_zero:
        try:
            action()
        except BaseException as error:
            problem = error
    if fabric.world_size > 1:
        told = None if problem is None else _words(problem)
        told = fabric.broadcast(told)
        if told is not None and problem is None:
            raise OtherProcess(told)
    if problem is not None:
        raise problem


def _words(error: BaseException) -> str:
    """Return our own errors as they are, those of others with their kind, which says the most."""
    return str(error) if isinstance(error, ClanError) else f"{type(error).__name__}: {error}"


def refuse_uneven(config: Config, processes: int) -> None:
    """Refuse a batch size that processes and accumulated parts cannot share.

    Raises:
        ConfigError: says of which number it must be a multiple.
    """
    batch, parts = config.data.batch_size, config.optim.accumulate
    if batch % (processes * parts):
        raise ConfigError(
            f"data.batch_size {batch} cannot be shared evenly by {processes} processes in "
            f"optim.accumulate {parts} parts each: set a multiple of {processes * parts}"
        )
