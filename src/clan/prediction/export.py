"""A network as a file that other programs run: ONNX, or a program of `torch.export`."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clan.core.errors import ConfigError, RunError, nearest
from clan.core.extras import require_extra
from clan.core.files import write_whole
from clan.models.segmenter import Segmenter
from clan.prediction.export_check import Agreement, Runner, compare, onnx_runner, sizes_to_try
from clan.scoring.inference import evaluating
from clan.scoring.protocol import protocol_of
from clan.weights.model_files import load_segmenter

if TYPE_CHECKING:
    from torch.export import ExportedProgram

FORMATS = ("onnx", "torch")
ABOUT = "clan.json"
"""Name of what a torch program says about itself, among its extra files."""
INPUT, OUTPUTS = "image", ("logits", "labels")
NOT_TRACED = frozenset({"hf:swin", "hf:swinv2", "hf:maskformer-swin"})
"""Encoders with attention in windows. torch 2.13 follows their padding to whole windows for all
sizes at once, through all stages: of hf:swin it had made nothing after eight minutes."""
EXAMPLE = (2, 3, 96, 128)
"""The images that a network is traced with; the file takes other sizes."""


class Plain(nn.Module):
    """Images to the ensemble's logits and labels, as an exported file gives them."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.segmenter, self.protocol = segmenter, protocol_of(segmenter)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Map (N, 3, H, W) uint8 RGB to logits (N, C, h, w) float32 and labels (N, H, W) uint8.

        The logits are at the images' size; by a direct protocol at the classifiers' own.
        """
        segmenter, size = self.segmenter, image.shape[-2:]
        if not self.protocol.direct:
            logits = segmenter.ensemble(segmenter(image))
            return logits, logits.argmax(dim=1).to(torch.uint8)
        logits = segmenter.ensemble(segmenter.classify_coarsely(segmenter.encode(image), size))
        corners = self.protocol.align_corners
        full = F.interpolate(logits, size=size, mode="bilinear", align_corners=corners)
        return logits, full.argmax(dim=1).to(torch.uint8)


def export(
    model: str | Path | Segmenter,
    out: str | Path,
    *,
    format: str = "onnx",
    images: Sequence[str | Path] = (),
    overwrite: bool = False,
) -> Agreement:
    """Write a network as a file that runs without this package, and compare the two.

    The file takes plain images, ``image`` (N, 3, H, W) uint8 RGB of any number and size, and
    gives the ensemble's ``logits`` (N, C, H, W) float32 and ``labels`` (N, H, W) uint8, at the
    images' size (of a network that is scored by the protocol ``reference``, the logits at the
    classifiers' resolution). Normalisation is inside. What the classes are called, their colours,
    and the evaluation size that images have to be resized to stand in its metadata, under ``clan``.

    It is read back, run by onnxruntime (or torch) and compared with the network at three sizes,
    odd ones among them.

    Args:
        model: a run folder, a ``model.safetensors``, or a network.
        out: the file to write.
        format: ``onnx``, or ``torch``: a program that `torch.export.load` reads.
        images: photographs to compare on: files, folders or patterns; without any, smoothed
            noise. Three are enough, and no more are read.
        overwrite: replace a file that is there.

    Returns:
        How far the file and the network agree.

    Raises:
        ConfigError: an unknown format, or a package is missing.
        WeightsError: no model there, or not one of ours.
        DataError: images that cannot be read.
        RunError: a network that cannot be exported, a file that is there or does not do what the
            network does; nothing is left then.

    Example:
        agreement = clan.export("runs/clan", "street.onnx", images=["photos"])
        print(agreement.logits)  # greatest difference
    """
    if format not in FORMATS:
        raise ConfigError(f"unknown format {format!r}{nearest(format, FORMATS)}")
    if format == "onnx":
        for package in ("onnx", "onnxscript", "onnxruntime"):
            require_extra(package, "onnx", "the export to ONNX")
    path = Path(out)
    if path.is_dir() or (path.exists() and not overwrite):
        raise RunError(f"{path} is there already; choose another file, or overwrite it")
    segmenter = model if isinstance(model, Segmenter) else load_segmenter(model)
    _check_traceable(segmenter)
    segmenter = segmenter.cpu()
    with evaluating(segmenter):
        content, run = _WRITERS[format](segmenter)
        agreement = compare(segmenter, run, sizes_to_try(segmenter), images)
    write_whole(path, content)
    return agreement


def _check_traceable(segmenter: Segmenter) -> None:
    encoder = segmenter.options.encoder
    if encoder in NOT_TRACED:
        raise RunError(
            f"a network of encoder {encoder} cannot be exported: torch does not finish tracing "
            "attention in windows for images of any size. Predict with `clan predict` instead, or "
            "choose another encoder (docs/files.md)"
        )


def about(segmenter: Segmenter) -> dict[str, Any]:
    """Return what an exported file says about itself: all that `clan predict` would use."""
    classes = segmenter.classes
    protocol = protocol_of(segmenter)
    size = protocol.size
    return {
        "task": "semantic segmentation",
        "classes": list(classes.names),
        "colors": [list(color) for color in classes.colors],
        "class_set": classes.name,
        "input": "image: uint8 (N, 3, H, W) RGB; normalised inside",
        "outputs": "logits: float32 (N, C, H, W), of the ensemble; labels: uint8 (N, H, W)",
        # [height, width] that images are resized to first, or their short side, their shape kept;
        # logits go back to the image's size bilinearly
        "evaluation_size": list(size) if isinstance(size, tuple) else size,
        "align_corners": protocol.align_corners,
        "protocol": protocol.text(),
        "model": segmenter.options.model_dump(mode="json"),
    }


def _torch_file(segmenter: Segmenter) -> tuple[bytes, Runner]:
    buffer = io.BytesIO()
    torch.export.save(
        _program(segmenter), buffer, extra_files={ABOUT: json.dumps(about(segmenter))}
    )
    buffer.seek(0)
    read = torch.export.load(buffer).module()

    def run(image: Tensor) -> tuple[Tensor, Tensor]:
        logits, labels = read(image)
        return logits, labels

    return buffer.getvalue(), run


def _onnx_file(segmenter: Segmenter) -> tuple[bytes, Runner]:
    program = _program(segmenter)
    with _quiet(), _saying("ONNX", segmenter):
        written = torch.onnx.export(
            program,
            input_names=[INPUT],
            output_names=[*OUTPUTS],
            dynamic_shapes=({0: "batch", 2: "height", 3: "width"},),
            dynamo=True,
            verbose=False,
        )
    assert written is not None
    proto = written.model_proto
    note = proto.metadata_props.add()
    note.key, note.value = "clan", json.dumps(about(segmenter))
    content = proto.SerializeToString()
    return content, onnx_runner(content)


def _program(segmenter: Segmenter) -> ExportedProgram:
    """Trace the network once, for every number and size of images."""
    batch, side = torch.export.Dim("batch", min=1), torch.export.Dim.DYNAMIC
    example = torch.zeros(EXAMPLE, dtype=torch.uint8)
    # tracing refuses tensors made in inference mode
    with torch.inference_mode(False), torch.no_grad(), _quiet(), _saying("torch", segmenter):
        return torch.export.export(
            Plain(segmenter), (example,), dynamic_shapes=({0: batch, 2: side, 3: side},)
        )


_WRITERS: dict[str, Callable[[Segmenter], tuple[bytes, Runner]]] = {
    "onnx": _onnx_file,
    "torch": _torch_file,
}


@contextmanager
def _saying(kind: str, segmenter: Segmenter) -> Iterator[None]:
    """Turn what torch raises at code that it cannot trace into a sentence."""
    try:
        yield
    except Exception as error:
        # torch's exporters raise errors of many kinds, some their own, some RuntimeErrors
        line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        options = segmenter.options
        raise RunError(
            f"a network of encoder {options.encoder} and decoder {options.decoder} could not be "
            f"exported ({kind}): {type(error).__name__}: {line}. Predict with `clan predict` "
            "instead, or choose an encoder that exports (docs/files.md)"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes on its own workings from the user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
