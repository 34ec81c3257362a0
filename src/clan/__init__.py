"""Adapt a semantic-segmentation network from labelled renderings to unlabelled photographs.

    import clan

    config = clan.load_config("town/clan", ["training.steps=600"])
    run = clan.train(config, "runs/clan")
    labels = clan.load(run.path).predict("photo.jpg")

Everything the command line does is one of these functions.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from clan.errors import ClanError

__version__ = version("clan")

if TYPE_CHECKING:
    from clan.comparison import compare
    from clan.config import Config, load_config, preset_names
    from clan.data.datasets import open_dataset
    from clan.data.town import make_town
    from clan.evaluation import score
    from clan.models.segmenter import Segmenter
    from clan.predict import load
    from clan.training import train

_HOMES = {
    "Config": "clan.config",
    "Segmenter": "clan.models.segmenter",
    "compare": "clan.comparison",
    "load": "clan.predict",
    "load_config": "clan.config",
    "make_town": "clan.data.town",
    "open_dataset": "clan.data.datasets",
    "preset_names": "clan.config",
    "score": "clan.evaluation",
    "train": "clan.training",
}

__all__ = [
    "ClanError",
    "Config",
    "Segmenter",
    "compare",
    "load",
    "load_config",
    "make_town",
    "open_dataset",
    "preset_names",
    "score",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `clan --help` need not load torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'clan' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
