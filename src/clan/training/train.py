"""Trains one system into a run folder, and resumes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clan.config.loading import anchored, load_written
from clan.config.tree import Config
from clan.data.python import MapStyle
from clan.runs.folder import RunFolder
from clan.runs.lock import RunLock
from clan.runs.sinks.table import check_sinks
from clan.training.display import Display, Silent
from clan.training.domains import (
    open_domains,
    refuse_single_values,
    refuse_small,
    take_given,
)
from clan.training.loop import Interrupted, Trainer
from clan.training.processes import launch, on_rank_zero, refuse_uneven
from clan.training.resuming import is_finished, prepare_folder


def train(
    config: Config,
    out: str | Path,
    *,
    source: MapStyle | None = None,
    target: MapStyle | None = None,
    validation: MapStyle | None = None,
    resume: bool = False,
    display: Display | None = None,
) -> RunFolder:
    """Train one system and leave a complete run folder.

    Each domain is read from the files that the configuration names, or from a map-style data set
    such as a `torch.utils.data.Dataset`, which then stands in for ``data.source``, ``data.target``
    or ``data.validation``. Views (size, crop, augmentation) are applied to both alike. An entry
    is an (image, label) pair, of the target an image alone if you like: an image is a uint8
    (H, W, 3) RGB array, a Pillow image or a uint8 (3, H, W) tensor; a label is (H, W) class
    indices, 255 = ignore. An index must always give the same entry.

    Args:
        config: the whole run; relative paths start from the working folder.
        out: its folder; must not hold anything yet, unless ``resume``.
        source: labelled data in place of ``data.source``; ``data.classes`` must be set.
        target: data in place of ``data.target``; labels are not looked at.
        validation: labelled data in place of ``data.validation``, for scores only.
        resume: go on from the newest checkpoint in ``out``; a finished run is left as it is.
        display: shows progress, such as `clan.training.display.Bar`; None shows nothing.

    Returns:
        The run's folder, with model, scores (where data.validation is given) and curves.

    Raises:
        ClanError: anything the user can mend: data, weights, folder, numbers that broke.
        Interrupted: after Ctrl-C or SIGTERM, with a checkpoint written; after a second one,
            without.

    Example:
        config = clan.load_config("town/clan", ["data.root=data/town", "training.steps=500"])
        run = clan.train(config, "runs/clan")
    """
    config, given = take_given(
        anchored(config), {"source": source, "target": target, "validation": validation}
    )
    run, shown = RunFolder(out), display or Silent()
    check_sinks(config.training.sinks)
    # before processes start or files are written: errors are printed once and leave no files
    if not resume:
        run.refuse_existing()
    elif is_finished(RunFolder.open(out), config):
        shown.message(f"{run.path} is finished already ({config.training.steps} steps)")
        return run
    try:
        domains = open_domains(config.data, given)
        refuse_small(config, domains)
        fabric = launch(config.training)
        refuse_uneven(config, fabric.world_size)
        shown = shown if fabric.is_global_zero else Silent()
        with shown, RunLock(run.path) as lock:
            if resume:
                on_rank_zero(fabric, lock.take)
            trainer = Trainer(fabric, config, run, domains, shown)
            refuse_single_values(config, domains, trainer.method.segmenter)
            on_rank_zero(fabric, lambda: prepare_folder(run, config, resume))
            on_rank_zero(fabric, lock.take)
            trainer.fit()
    except KeyboardInterrupt:
        go_on = f" Go on with: {run.resume_command}" if run.config_file.is_file() else ""
        raise Interrupted(f"stopped at once, without a checkpoint.{go_on}") from None
    return run


def resume(
    run: str | Path,
    overrides: Sequence[str] = (),
    *,
    source: MapStyle | None = None,
    target: MapStyle | None = None,
    validation: MapStyle | None = None,
    display: Display | None = None,
) -> RunFolder:
    """Resume a run from its newest checkpoint; on the CPU the result is bit-identical.

    Args:
        run: the folder of an unfinished run; a finished one is left as it is.
        overrides: ``key=value`` changes of options that do not affect the result: device, number
            of processes, loader workers, ``data.root``, intervals of scoring and saving.
        source: the data set that was passed to `train`, if one was: folders hold no such data.
        target: likewise.
        validation: likewise.
        display: shows progress, such as `clan.training.display.Bar`; None shows nothing.

    Returns:
        The run's folder.

    Raises:
        RunError: no run there, a change that makes it another training, or a data set of another
            length or of images of another size.
        ClanError: as `train`.

    Example:
        run = clan.resume("runs/clan", ["training.devices=2"])
    """
    config = load_written(RunFolder.open(run).config_file, overrides)
    return train(
        config,
        run,
        source=source,
        target=target,
        validation=validation,
        resume=True,
        display=display,
    )
