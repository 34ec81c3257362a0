"""Weights & Biases; WANDB_PROJECT, WANDB_MODE and its other variables are its own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from clan.config.tree import Config
from clan.core.files import write_whole
from clan.runs.folder import RunFolder


class WandB:
    """One run there per run folder; a resumed one goes on in it, by the id in ``wandb.txt``."""

    def begin(self, run: RunFolder, config: Config, step: int) -> None:
        """Open the run; see `clan.runs.sinks.contract.Sink`."""
        import wandb

        note = run.path / "wandb.txt"
        if not note.is_file():
            write_whole(note, uuid4().hex)
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "clan"),
            name=f"{config.name}/seed{config.seed}",
            id=note.read_text(encoding="utf-8"),
            resume="allow",
            dir=str(run.path),
            config=config.model_dump(mode="json"),
        )
        # its own steps cannot go back: a resumed run repeats some
        self._run.define_metric("*", step_metric="step")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log the numbers against ``step``."""
        self._run.log({"step": step, **values})

    def close(self) -> None:
        """Send what waits."""
        self._run.finish()
