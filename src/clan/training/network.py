"""What a training does with a network before its method gets it."""

from __future__ import annotations

from clan.config.tree import TrainingOptions
from clan.models.recomputing import recompute
from clan.models.segmenter import Segmenter


def prepare_network(segmenter: Segmenter, options: TrainingOptions) -> None:
    """Have the encoder recompute and compile as the options say; its state stays the same.

    Raises:
        ConfigError: an encoder without parts to run again.
    """
    if options.checkpointing == "encoder":
        recompute(segmenter.encoder, segmenter.options.encoder)
    if options.compile:
        segmenter.encoder.compile()
