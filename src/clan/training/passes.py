"""The passes over whole data sets by which a method prepares its stages."""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch
from lightning.fabric import Fabric

from clan.config.tree import Config
from clan.core.errors import WeightsError, counted
from clan.data.views import random_generator
from clan.methods import Method, Stage
from clan.runs.checkpoint import checkpoint_path, load_checkpoint
from clan.runs.folder import RunFolder
from clan.scoring.inference import evaluating
from clan.training.display import Display
from clan.training.domains import Domains
from clan.training.pseudo_labels import broken_labels, cannot_label
from clan.training.stages import Note, RunDomains, relabelled, warn_untrained_labeller

STEP_STREAM, STAGE_STREAM = 2, 3
"""Random streams of updates and of passes."""


def stream_key(seed: int, step: int, rank: int, stream: int) -> int:
    """Return the seed of a process's own random draws at a step."""
    return int(random_generator(seed, step, rank, stream).integers(2**63))


class StagePasses:
    """Lets a method prepare its stages, and makes lost labels of a stage anew.

    Args:
        method: that is trained.
        config: of the run.
        domains: of the run.
        run: its folder.
        fabric: gives device, rank and processes; all must call.
        display: tells what is done.
        watch: called before each image; it may raise to end the pass.
        note: called with what ``data.on_error: skip`` leaves out.
    """

    def __init__(
        self,
        method: Method,
        config: Config,
        domains: Domains,
        run: RunFolder,
        fabric: Fabric,
        display: Display,
        watch: Callable[[], None],
        note: Note,
    ) -> None:
        self._method, self._config, self._domains = method, config, domains
        self._run, self._fabric, self._display, self._watch = run, fabric, display, watch
        self._note = note if config.data.on_error == "skip" else None

    def prepare(self, stage: Stage, step: int, only: Collection[int] | None = None) -> None:
        """Let the method prepare a stage that begins after ``step`` updates.

        ``only`` are the indices of the target images whose labels are written; None for all.
        """
        self._say(f"step {step}, preparing stage {stage.name}")
        if step == 0 and (problem := warn_untrained_labeller(stage, self._config)):
            self._say(problem)
        rank = self._fabric.global_rank
        torch.manual_seed(stream_key(self._config.seed, step, rank, STAGE_STREAM))
        domains = RunDomains(
            self._domains,
            self._run.stages / stage.name,
            size=self._config.data.evaluation_size,
            fabric=self._fabric,
            workers=self._config.data.workers,
            watch=self._watch,
            only=only,
            note=self._note,
        )
        # not inference mode: its tensors cannot be used in the training that follows
        network = self._method.segmenter
        with evaluating(network), torch.inference_mode(False), torch.no_grad():
            self._method.begin_stage(stage, domains)
        # no process may read what another one is still writing
        self._fabric.barrier()

    def mend(self, stage: Stage, begins: int) -> None:
        """Make labels anew that are missing or broken when a run goes on within a stage.

        The pass is repeated with the method as it was when the stage began, after ``begins``
        updates: its checkpoint is kept as long as the stage lasts.

        Raises:
            RunError: that checkpoint is missing or damaged; says how to go on.
        """
        target = self._domains.target
        if target is None or not self._method.reading(stage).target_labels:
            return
        labelled = relabelled(target, self._run.stages / stage.name)
        broken, first = broken_labels(labelled, self._fabric, self._config.data.workers)
        if not broken:
            return
        found = (
            f"{len(broken)} of {counted(len(target), 'pseudo-label')} of stage {stage.name} "
            f"cannot be used ({first})"
        )
        self._say(f"{found}; making them anew")
        start = checkpoint_path(self._run.checkpoints, begins)
        try:
            content = load_checkpoint(start)
        except WeightsError as error:
            why = str(error) if start.exists() else "it is missing"
            raise cannot_label(found, stage.name, start, why, self._run) from error
        now = {name: value.clone() for name, value in self._method.state_dict().items()}
        try:
            self._method.load_state_dict(content["method"])
            self.prepare(stage, begins, broken)
        finally:
            self._method.load_state_dict(now)

    def _say(self, text: str) -> None:
        self._display.message(f"{self._config.name}: {text}")
