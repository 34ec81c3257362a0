"""The training loop. It knows no method by name."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from lightning.fabric import Fabric
from torch import Tensor

from clan.config.tree import Config
from clan.core.errors import DataError, RunError
from clan.data.loading import Batch
from clan.data.workers import killed_worker
from clan.methods import METHODS, Method, Progress, Stage
from clan.methods.finite import NotFinite
from clan.models.segmenter import Segmenter
from clan.runs.checkpoint import checkpoint_path, save_checkpoint
from clan.runs.environment import versions
from clan.runs.folder import RunFolder
from clan.runs.guard import broken_run, broken_tensor, where_in
from clan.runs.journal import Journal
from clan.runs.means import Means
from clan.runs.sinks.fan_out import Sinks
from clan.scoring.evaluation_file import Evaluation, write_evaluation
from clan.scoring.metrics import Scores
from clan.scoring.protocol import choose_protocol
from clan.scoring.score import score
from clan.training.display import Display
from clan.training.domains import Domains
from clan.training.network import prepare_network
from clan.training.passes import STEP_STREAM, StagePasses, stream_key
from clan.training.processes import lost_process, on_rank_zero
from clan.training.pseudo_labels import explained
from clan.training.restoring import restore
from clan.training.resuming import (
    read_checkpoint,
    refuse_other_classes,
    refuse_other_data,
)
from clan.training.skipped import Skipped
from clan.training.stages import StageBatches
from clan.training.stopping import StopRequest
from clan.training.waiting import Waiting
from clan.weights.model_files import save_model
from clan.weights.start import load_encoder, load_models, placed, start_from


class Interrupted(RunError):
    """The user or the system asked the training to stop; it can be resumed."""


class Trainer:
    """One training: the method, its data, and when logs, scores and checkpoints are written."""

    def __init__(
        self, fabric: Fabric, config: Config, run: RunFolder, domains: Domains, display: Display
    ) -> None:
        self.fabric, self.config, self.run, self.display = fabric, config, run, display
        self.domains, self.given = domains, domains.given()
        skips = config.data.on_error == "skip"
        self.skipped = Skipped(run, fabric, domains, display, skips)
        self.batches = StageBatches(config, domains, fabric, self.skipped.note)
        content = read_checkpoint(run, fabric, display)
        torch.manual_seed(config.seed)
        scored = config.data.evaluation_size, config.data.evaluation_protocol
        segmenter = Segmenter(config.model, domains.classes, *scored)
        weights = self._weights(config.weights) if content is None else None
        self.loaded = start_from(segmenter, weights, config.weights_for)
        if self.loaded is not None:
            display.message(f"weights: {self.loaded}")
        prepare_network(segmenter, config.training)
        self.method: Method = METHODS[config.method.name](segmenter, config.method, config.optim)
        self.method.models = load_models(config.method.models, domains.classes)
        if content is None and self.method.pretrained is not None:
            second = self._weights(config.method.pretrained_weights)
            loaded = load_encoder(self.method.pretrained, config.model, second or "")
            display.message(f"method.pretrained: {loaded}")
        self.method.setup(fabric)
        images = config.data.batch_size * (2 if self.method.uses_target else 1)
        self.means = Means(run, fabric, images)
        self.waiting = Waiting(config.data.workers)
        self.journal = Journal(run, fabric, Sinks(config, display.message))
        self.step = 0
        about = self.method, config, domains, run, fabric, display
        self.passes = StagePasses(*about, self._stop_pass, self.skipped.note)
        # number of stages that were entered; the next one may still have to be prepared
        self.entered = 0
        # the checkpoint from which the labels of the present stage could be made anew
        self.spared: Path | None = None
        if content is not None:
            self._restore(content)
        self.stop = StopRequest()

    def _weights(self, weights: str | None) -> str | None:
        """Return where weights of the configuration are for this run."""
        if weights is None:
            return None
        return placed(weights, self.run.path.absolute().parent.parent, self.config.seed)

    def fit(self) -> None:
        """Train to the last step, then write scores and model."""
        steps, loaded = self.config.training.steps, self.loaded
        on_rank_zero(self.fabric, lambda: self.journal.begin(self.step, steps, loaded))
        self.display.begin(self.config.name, self.step, steps)
        try:
            with self.stop:
                self._fit()
        except RuntimeError as error:
            # Ctrl-C also ends the loader's workers, which torch reports in the middle of a step
            if not self.stop.asked and (said := killed_worker(error) or lost_process(error)):
                raise RunError(f"{said}. Then go on with: {self.run.resume_command}") from error
            if not self.stop.asked:
                raise
            raise Interrupted(
                f"stopped in step {self.step + 1} of {steps}, without a checkpoint ({error}). Go "
                f"on with: {self.run.resume_command}"
            ) from error
        finally:
            self.journal.close()

    def _fit(self) -> None:
        if self.step == 0:
            if self.config.method.loss.class_weights == "balanced":
                self._balance_classes()
            self._snapshot()
        steps, stop = self.config.training.steps, 0
        for number, stage in enumerate(self.config.method.stages(steps), start=1):
            begins, stop = stop, stop + stage.steps
            if self.step < stop:
                self._enter(stage, number, begins)
                self._train_stage(stage, stop)
            if self.step < stop or (self.step < steps and self._must_stop()):
                self._interrupt()
        self._finish()

    def _balance_classes(self) -> None:
        """Set the loss's class weights from the source's labels; checkpoints keep them."""
        began = time.perf_counter()
        self.display.message(
            f"{self.config.name}: counting the classes of {len(self.domains.source)} source labels"
        )
        self.method.label_loss.balance(torch.from_numpy(self.batches.source_classes))
        self.means.skip(time.perf_counter() - began)

    def _train_stage(self, stage: Stage, stop: int) -> None:
        """Update up to the step ``stop``, or until asked to end."""
        for source, target in self._batches(stage, stop):
            self._update(source, target, stop)
            if self._must_stop():
                break

    def _enter(self, stage: Stage, number: int, begins: int) -> None:
        """Let the method prepare the stage, unless the checkpoint is from after that."""
        began = time.perf_counter()
        if stage.prepared and self.entered < number:
            # the pass may be long: a run that is killed in it resumes from here
            self._save()
            self.passes.prepare(stage, self.step)
            self.entered = number
            self.means.skip(time.perf_counter() - began)
            self._save()
        elif stage.prepared:
            self.passes.mend(stage, begins)
            self.means.skip(time.perf_counter() - began)
        self.entered = number
        learns = self.method.reading(stage).target_labels
        self.spared = checkpoint_path(self.run.checkpoints, begins) if learns else None

    def _stop_pass(self) -> None:
        """End a pass over a data set on request; with several processes, only after the pass."""
        if self.stop.asked and self.fabric.world_size == 1:
            raise Interrupted(self._stopped())

    def _update(self, source: Batch, target: Batch, stop: int) -> None:
        """Do one step; then log, evaluate and save if due. ``stop`` is the stage's last step.

        This is where the time of a checkpoint is decided: every `checkpoint_every` steps and after
        the last one. `_enter` adds one before and after a stage's preparation, `_interrupt` one on
        a request to stop.
        """
        options = self.config.training
        # torch's own generator (dropout) is a function of (seed, step, rank) too, so that a
        # checkpoint needs no random state
        torch.manual_seed(self._key(self.fabric.global_rank))
        steps = options.schedule_steps or options.steps
        progress = Progress(self.step, steps, self._key(0))
        try:
            self.means.add(self.method.step(source, target, progress))
        except NotFinite as error:
            raise broken_run(self.run, f"{error} {where_in(self.step, source, target)}") from error
        self.step += 1
        last = self.step == options.steps
        # also at a stage's end, as the stages' scalars may differ
        if self.step == stop or self.step % options.log_every == 0:
            self._log()
        due = options.evaluate_every and self.step % options.evaluate_every == 0
        if due and not last and self.domains.validation is not None:
            self._evaluate()
        if last or self.step % options.checkpoint_every == 0:
            self._save()
        self._snapshot()

    def _batches(self, stage: Stage, stop: int) -> Iterator[tuple[Batch, Batch]]:
        """Yield the source and target batches of a stage's remaining steps, on the device."""
        steps, folder = range(self.step, stop), self.run.stages / stage.name
        batches = self.batches.of(steps, self.method.reading(stage), folder)
        try:
            yield from self.waiting.watched(batches)
        except DataError as error:
            raise explained(error, folder, self.run) from error
        except RuntimeError:
            # Ctrl-C has ended the workers; the caller sees that the last step is not reached
            if not self.stop.asked:
                raise

    def _log(self) -> None:
        """Write the means since the last log step."""
        self.skipped.settle()
        means, timing = self.means.take(self.step)
        rates = {
            f"lr_{name}": float(optimizer.param_groups[0]["lr"])
            for name, optimizer in self.method.optimizers.items()
        }
        timing["waiting"] = self.waiting.share(timing["seconds"])
        record = {**means, **rates, **timing}
        on_rank_zero(self.fabric, lambda: self.journal.write(self.step, record))
        speed, waiting = timing["images_per_second"], timing["waiting"]
        self.display.advance(self.step, means, speed, waiting)
        if warning := self.waiting.warning(waiting):
            self.display.message(f"warning: {self.config.name}: {warning}")
        for verdict in self.journal.news:
            self.display.message(f"warning: {verdict}")

    def _evaluate(self) -> Scores:
        assert self.domains.validation is not None
        began = time.perf_counter()
        scores = score(
            self.method.segmenter,
            self.domains.validation,
            protocol=choose_protocol(
                self.config.data.evaluation_protocol, size=self.config.data.evaluation_size
            ),
            fabric=self.fabric,
            workers=self.config.data.workers,
        )
        miou = scores.miou()
        record = {"miou": miou, "iou": scores.to_dict()["iou"]}
        on_rank_zero(self.fabric, lambda: self.journal.write(self.step, record))
        self.display.message(
            f"{self.config.name}: step {self.step}, mIoU {100 * miou:.1f} over "
            f"{len(scores.classes)} classes on {self.domains.validation.name} "
            f"{self.domains.validation.split} ({scores.images} images)"
        )
        self.means.skip(time.perf_counter() - began)
        return scores

    def _finish(self) -> None:
        """Write scores, then the model, whose presence marks the run as complete."""
        scores = self._evaluate() if self.domains.validation is not None else None
        on_rank_zero(self.fabric, lambda: self._write_results(scores))

    def _write_results(self, scores: Scores | None) -> None:
        if scores is not None and self.domains.validation is not None:
            evaluation = Evaluation(
                scores,
                name=self.config.name,
                seed=self.config.seed,
                step=self.step,
                checkpoint="last",
                dataset=self.domains.validation.name,
                split=self.domains.validation.split,
                size=self.config.data.evaluation_size,
                ensemble=self.config.model.ensemble,
            )
            write_evaluation(self.run.evaluation_file, evaluation)
        save_model(self.method.segmenter, self.run.model_file)

    def _snapshot(self) -> None:
        """Write a snapshot of the network if one is due at this step."""
        every = self.config.training.snapshot_every
        if every and (self.step % every == 0 or self.step == self.config.training.steps):
            path = self.run.snapshot_path(self.step)
            on_rank_zero(self.fabric, lambda: save_model(self.method.segmenter, path))

    def _save(self) -> None:
        """Write a checkpoint, if all numbers up to here are finite; else raise."""
        self.skipped.settle()
        unlogged = self.means.state(self.step)
        on_rank_zero(self.fabric, lambda: self._write_checkpoint(unlogged))

    def _write_checkpoint(self, unlogged: dict[str, Any]) -> None:
        state = self.method.state_dict()
        if (name := broken_tensor(state)) is not None:
            raise broken_run(self.run, f"{name} is NaN or infinite after step {self.step}")
        content: dict[str, Any] = {
            "step": self.step,
            "entered": self.entered,
            "method": state,
            "optimizers": {n: o.state_dict() for n, o in self.method.optimizers.items()},
            "waiting": unlogged,
            "config": self.config.model_dump(mode="json"),
            "classes": self.domains.classes.to_dict(),
            "given": self.given,
            "versions": versions(),
        }
        path = checkpoint_path(self.run.checkpoints, self.step)
        keep = self.config.training.keep_checkpoints
        # after the last step no label is read again
        spared = self.spared if self.step < self.config.training.steps else None
        for kept in save_checkpoint(path, content, keep, spared):
            self.display.message(f"warning: {kept}")

    def _restore(self, content: dict[str, Any]) -> None:
        refuse_other_classes(self.run, content, self.domains.classes.names)
        refuse_other_data(self.run, content, self.given)
        restore(self.method, content, self.run, self.config.training.steps)
        self.means.load_state(content["waiting"])
        self.step, self.entered = content["step"], content["entered"]
        self.display.message(f"resumed {self.run.path} after step {self.step}")

    def _key(self, rank: int) -> int:
        """Return the seed of a process's random draws in this step."""
        return stream_key(self.config.seed, self.step, rank, STEP_STREAM)

    def _must_stop(self) -> bool:
        """Whether any process was asked to stop; several processes ask each other at log steps."""
        if self.fabric.world_size == 1:
            return self.stop.asked
        if self.step % self.config.training.log_every:
            return False
        asked = torch.tensor(float(self.stop.asked), device=self.fabric.device)
        return bool(cast(Tensor, self.fabric.all_reduce(asked, reduce_op="sum")) > 0)

    def _interrupt(self) -> None:
        self._save()

        def stop() -> None:
            raise Interrupted(self._stopped())

        on_rank_zero(self.fabric, stop)

    def _stopped(self) -> str:
        return (
            f"stopped after step {self.step} of {self.config.training.steps}; the checkpoint is "
            f"written. Go on with: {self.run.resume_command}"
        )
