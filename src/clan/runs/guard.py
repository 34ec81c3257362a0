"""Numbers that are no longer finite stop a training before they reach a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from clan.core.errors import RunError
from clan.runs.folder import RunFolder


def refuse_broken(run: RunFolder, names: Sequence[str], rows: Tensor, step: int) -> None:
    """Refuse scalars that are not finite numbers.

    Args:
        run: whose last good checkpoint is named.
        names: of the scalars.
        rows: (steps, scalars) float32, on the host.
        step: the last of these steps.

    Raises:
        RunError: names the first such step and scalar.
    """
    broken = (~rows.isfinite()).nonzero()
    if len(broken):
        row, column = broken[0].tolist()
        raise broken_run(
            run,
            f"{names[column]} became {rows[row, column].item()} at step "
            f"{step - len(rows) + 1 + row}",
        )


def where_in(step: int, source: Mapping[str, Any], target: Mapping[str, Any]) -> str:
    """Say which update was refused, counted from 1, and of which images (batches with names)."""
    named = {"source": source.get("name"), "target": target.get("name")}
    images = [f"{domain} {', '.join(names)}" for domain, names in named.items() if names]
    return f"in step {step + 1}, before its update, on the images {'; '.join(images)}"


def broken_run(run: RunFolder, what: str) -> RunError:
    """Return the error that stops a training whose numbers are no longer finite."""
    newest = run.newest_checkpoint() or "not written yet"
    return RunError(
        f"{what}; the training stops. The last good checkpoint is {newest}. Lower the learning "
        "rate (optim.segmenter.lr), lengthen the warm-up (optim.segmenter.warmup_steps), or check "
        "the weights and labels that it started from."
    )


def broken_tensor(state: Mapping[str, Tensor]) -> str | None:
    """Return the name of the first tensor that holds NaN or infinity."""
    floating = ((name, value) for name, value in state.items() if value.is_floating_point())
    return next((name for name, value in floating if not bool(value.isfinite().all())), None)
