"""Rows: from logits to counted labels, and `clan predict` beside the network alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.speed.rounds import Case, Run, measure
from benchmarks.speed.table import Block, Line, Settings, seconds

if TYPE_CHECKING:
    from torch import Tensor

    from clan.prediction.predictor import Predictor

FULL, COARSE, INPUT = (1024, 2048), (64, 128), (512, 1024)
CLASSES = 19
LIMIT = 0.060


def argmax(settings: Settings) -> Block:
    """Logits of a quarter of the size up-sampled, arg max, confusion matrix, at 1024x2048."""
    cases = [
        Case("clan", _count),
        Case("published", _published_count),
        Case("copy", _copy),
    ]
    found = measure(cases, settings.rounds if settings.quick else 5 * settings.rounds)
    own, published, copy = (found[name] for name in ("clan", "published", "copy"))
    total = own.processor
    lines = [
        Line("arg max and counting", seconds(total), seconds(LIMIT), total / LIMIT, 1.0, "60 ms"),
        Line(
            "of that the arg max",
            seconds(own.fact("argmax")),
            seconds(copy.processor),
            own.fact("argmax") / copy.processor,
            None,
            "a pass over all up-sampled logits in memory",
        ),
        Line(
            "of that counting",
            seconds(own.fact("count")),
            seconds(copy.fact("label")),
            own.fact("count") / copy.fact("label"),
            None,
            "a pass over both labels",
        ),
        Line(
            "arg max and counting",
            seconds(total),
            seconds(published.processor),
            total / published.processor,
            None,
            "the published scripts' way",
        ),
    ]
    notes = (
        "Logits of 19 classes at 512x1024, as the network gives them, to labels of 1024x2048. The "
        "published way up-samples all classes, brings them to the host, takes NumPy's arg max and "
        "counts with NumPy's bincount."
    )
    return Block("From logits to scores", lines, notes)


def _logits() -> Tensor:
    import torch
    from torch.nn.functional import interpolate

    from benchmarks.speed.pictures import logits

    coarse = torch.from_numpy(logits(COARSE, 0))[None]
    return interpolate(coarse, size=INPUT, mode="bilinear", align_corners=True)


def _truth() -> Tensor:
    import torch

    from benchmarks.speed.pictures import label

    truth = label(FULL, 1)
    truth[:40] = 255
    return torch.from_numpy(truth)[None]


def _count() -> Run:
    import torch

    from clan.scoring.confusion import Confusion
    from clan.scoring.inference import upsampled_argmax

    z, truth, confusion = _logits(), _truth(), Confusion(CLASSES)

    @torch.inference_mode()
    def run() -> dict[str, float]:
        start = time.process_time()
        label = upsampled_argmax(z, FULL)
        middle = time.process_time()
        confusion.update(label, truth)
        return {"argmax": middle - start, "count": time.process_time() - middle}

    return run


def _published_count() -> Run:
    import numpy as np
    import torch
    from torch.nn.functional import interpolate

    z, truth = _logits(), _truth()[0].numpy()

    @torch.inference_mode()
    def run() -> None:
        full = interpolate(z, size=FULL, mode="bilinear", align_corners=True)
        label = np.asarray(np.argmax(full[0].numpy().transpose(1, 2, 0), axis=2), np.uint8)
        seen = truth < CLASSES
        np.bincount(CLASSES * truth[seen].astype(int) + label[seen], minlength=CLASSES**2)

    return run


def _copy() -> Run:
    import torch

    full = torch.zeros(CLASSES, *FULL)
    label = torch.zeros(2, *FULL, dtype=torch.uint8)
    out, other = torch.empty_like(full), torch.empty_like(label)

    def run() -> dict[str, float]:
        out.copy_(full)
        start = time.process_time()
        for _ in range(8):
            other.copy_(label)
        return {"label": (time.process_time() - start) / 8}

    return run


def predict(settings: Settings) -> Block:
    """`clan predict` on a folder of photographs, beside the network's forward alone."""
    from benchmarks.speed.pictures import write_photographs

    size = (128, 256) if settings.quick else FULL
    count = 2 if settings.quick else 4
    folder = settings.folder
    write_photographs(folder / "images", size, count, ".png")
    cases = [
        Case("forward", _forward, (str(folder),)),
        Case("predict", _predict, (str(folder),)),
    ]
    found = measure(cases, settings.rounds)
    forward, own = found["forward"], found["predict"]
    lines = [
        Line(
            "`clan predict`, by the clock",
            seconds(own.clock / count),
            seconds(forward.clock / count),
            own.clock / forward.clock,
            1.08,
            "the forward alone",
        ),
        Line(
            "`clan predict`, processor",
            seconds(own.processor / count),
            seconds(forward.processor / count),
            own.processor / forward.processor,
            None,
            "the forward alone",
        ),
    ]
    notes = (
        f"{count} PNGs of {size[0]}x{size[1]}, an image's share; the network is EfficientNet-Lite0 "
        "with two classifiers, which sees images as stored, on one thread; reading, overlay "
        "and writing have threads of their own. The clock tells what overlaps, on a machine with "
        "a second core to spare; the processor what there is to do. "
        "Where other work has the cores, the clock's ratio says nothing; and a dear forward at "
        "full size hides what surrounds it, so that a met goal here does not hold for a smaller "
        "network."
    )
    return Block("Prediction", lines, notes)


def _predictor() -> Predictor:
    import torch

    from clan.data.classes import CITYSCAPES
    from clan.models.segmenter import ModelOptions, Segmenter
    from clan.prediction.predictor import Predictor

    torch.manual_seed(0)
    options = ModelOptions(encoder="efficientnet_lite0")
    return Predictor(Segmenter(options, CITYSCAPES).eval(), "cpu")


def _forward(folder: str) -> Run:
    from clan.data.images import read_image
    from clan.scoring.inference import evaluating

    predictor = _predictor()
    images = [read_image(path) for path in sorted(Path(folder, "images").iterdir())]

    def run() -> None:
        with evaluating(predictor.segmenter):
            for image in images:
                predictor.logits(image)

    return run


def _predict(folder: str) -> Run:
    from clan.prediction.files import predict_files

    predictor = _predictor()
    images, out = Path(folder, "images"), Path(folder, "out")

    def run() -> None:
        predict_files(predictor, [images], out, overwrite=True)

    return run
