"""Weights of models of the library transformers, from a folder or its hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from clan.core.errors import WeightsError
from clan.core.files import user_path
from clan.models.encoders.hf_configuration import PREFIX, TYPE, hf_config, model_class
from clan.weights.model_files import LoadReport, load_matching

if TYPE_CHECKING:
    from torch import nn

INSIDE = "network."
"""Before the keys of transformers' model within our encoder."""


def is_hf(source: str) -> bool:
    """Tell ``hf:folder`` and ``hf:owner/model`` from files and other words."""
    return source.startswith(PREFIX)


def anchored_hf(source: str) -> str:
    """Return ``hf:folder`` with the folder's absolute path; a name on the hub stays."""
    folder = user_path(source.removeprefix(PREFIX))
    return PREFIX + str(folder.resolve()) if folder.is_dir() else source


def load_hf_weights(
    encoder: nn.Module, configuration: Mapping[str, Any], source: str
) -> LoadReport:
    """Start an ``hf:`` encoder from what transformers saved; only safetensors files are read.

    Args:
        encoder: the network; nothing else changes.
        configuration: its own, ``model.hf``; empty for an encoder that is none of transformers'.
        source: ``hf:`` and a folder or a name on the hub.

    Raises:
        WeightsError: another kind of encoder; no such folder or name, without safetensors, or of
            another configuration.
    """
    if not configuration:
        raise WeightsError(
            f"weights {source} are of a model of transformers, and the encoder is none: choose "
            "model.encoder=hf:NAME, or other weights"
        )
    name = anchored_hf(source).removeprefix(PREFIX)
    model = model_class(configuration[TYPE])
    try:
        with _quietly():
            loaded, told = model.from_pretrained(
                name,
                config=hf_config(configuration),
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"cannot start from {source}: {' '.join(str(error).split())[:400]}. Expected a folder "
            "with model.safetensors, or a name on the hub, of the encoder's configuration"
        ) from error
    missing = {INSIDE + key for key in told["missing_keys"]}
    tensors = {INSIDE + key: tensor for key, tensor in loaded.state_dict().items()}
    report = load_matching(
        encoder, {key: tensor for key, tensor in tensors.items() if key not in missing}, source
    )
    return replace(report, left=(*report.left, *sorted(told["unexpected_keys"])))


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep transformers from drawing progress and tables: our report says what was loaded."""
    from transformers.utils import logging

    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()
