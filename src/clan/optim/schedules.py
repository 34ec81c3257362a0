"""Learning-rate schedules, as pure functions of the step."""

from __future__ import annotations

from torch.optim import Optimizer

from clan.optim.options import OptimizerOptions


def schedule_factor(options: OptimizerOptions, step: int, steps: int) -> float:
    """Return the factor on the base learning rate at ``step`` (from 0) of ``steps``."""
    if options.warmup == "jump" and step < options.warmup_steps:
        return step / options.warmup_steps
    smooth = options.warmup == "smooth" and options.warmup_steps > 0
    warmup = min(1.0, (step + 1) / options.warmup_steps) if smooth else 1.0
    if options.schedule == "constant":
        return warmup
    return float(warmup * max(0.0, 1 - step / steps) ** options.power)


def set_learning_rate(optimizer: Optimizer, factor: float) -> None:
    """Set every group to its base rate times ``factor``."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
