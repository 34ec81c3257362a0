"""Adapt a semantic-segmentation network from labelled renderings to unlabelled photographs.

    import clan

    config = clan.load_config("town/clan", ["training.steps=600"])
    run = clan.train(config, "runs/clan")
    labels = clan.load(run.path).predict("photo.jpg")

Everything the command line does is one of these functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clan.core.errors import ClanError

if TYPE_CHECKING:
    __version__: str
    from clan.comparison.compare import compare
    from clan.config.files import preset_names
    from clan.config.loading import load_config
    from clan.config.tree import Config
    from clan.data.datasets import open_dataset
    from clan.losses.segmentation import LossOptions, PixelLoss, register_loss
    from clan.methods.contract import Method, MethodOptions
    from clan.methods.registry import register_method
    from clan.models.decoders.contract import Classifier, Decoder, DecoderOptions, DecoderSpec
    from clan.models.decoders.table import register_decoder
    from clan.models.encoders.contract import Encoder, EncoderOptions, EncoderSpec, FeatureMap
    from clan.models.encoders.table import register_encoder
    from clan.models.segmenter import Segmenter
    from clan.prediction.evaluate import evaluate
    from clan.prediction.export import export
    from clan.prediction.files import predict
    from clan.prediction.hub import from_hub, push_to_hub
    from clan.prediction.predictor import load
    from clan.reporting import report
    from clan.runs.sinks.contract import Sink
    from clan.runs.sinks.table import register_sink
    from clan.scoring.score import score
    from clan.studies.bench.api import bench
    from clan.studies.sweep.study import sweep
    from clan.town import make_town
    from clan.training.checking import check
    from clan.training.train import resume, train
    from clan.weights.convert import convert

_HOMES = {
    "Classifier": "clan.models.decoders.contract",
    "Config": "clan.config.tree",
    "Decoder": "clan.models.decoders.contract",
    "DecoderOptions": "clan.models.decoders.contract",
    "DecoderSpec": "clan.models.decoders.contract",
    "Encoder": "clan.models.encoders.contract",
    "EncoderOptions": "clan.models.encoders.contract",
    "EncoderSpec": "clan.models.encoders.contract",
    "FeatureMap": "clan.models.encoders.contract",
    "LossOptions": "clan.losses.segmentation",
    "Method": "clan.methods.contract",
    "MethodOptions": "clan.methods.contract",
    "PixelLoss": "clan.losses.segmentation",
    "Segmenter": "clan.models.segmenter",
    "Sink": "clan.runs.sinks.contract",
    "bench": "clan.studies.bench.api",
    "check": "clan.training.checking",
    "compare": "clan.comparison.compare",
    "convert": "clan.weights.convert",
    "evaluate": "clan.prediction.evaluate",
    "export": "clan.prediction.export",
    "from_hub": "clan.prediction.hub",
    "load": "clan.prediction.predictor",
    "load_config": "clan.config.loading",
    "make_town": "clan.town",
    "open_dataset": "clan.data.datasets",
    "predict": "clan.prediction.files",
    "preset_names": "clan.config.files",
    "push_to_hub": "clan.prediction.hub",
    "register_decoder": "clan.models.decoders.table",
    "register_encoder": "clan.models.encoders.table",
    "register_loss": "clan.losses.segmentation",
    "register_method": "clan.methods.registry",
    "register_sink": "clan.runs.sinks.table",
    "report": "clan.reporting",
    "resume": "clan.training.train",
    "score": "clan.scoring.score",
    "sweep": "clan.studies.sweep.study",
    "train": "clan.training.train",
}
"""Where each public name is defined."""

__all__ = [
    "ClanError",
    "Classifier",
    "Config",
    "Decoder",
    "DecoderOptions",
    "DecoderSpec",
    "Encoder",
    "EncoderOptions",
    "EncoderSpec",
    "FeatureMap",
    "LossOptions",
    "Method",
    "MethodOptions",
    "PixelLoss",
    "Segmenter",
    "Sink",
    "bench",
    "check",
    "compare",
    "convert",
    "evaluate",
    "export",
    "from_hub",
    "load",
    "load_config",
    "make_town",
    "open_dataset",
    "predict",
    "preset_names",
    "push_to_hub",
    "register_decoder",
    "register_encoder",
    "register_loss",
    "register_method",
    "register_sink",
    "report",
    "resume",
    "score",
    "sweep",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `clan --help` need not load torch."""
    from importlib import import_module

    if name == "__version__":
        from importlib.metadata import version

        return version("clan")
    if name not in _HOMES:
        raise AttributeError(f"module 'clan' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Name what is public, for Tab completion, without importing it."""
    return sorted([*globals(), *__all__])
