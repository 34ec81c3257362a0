"""The key layouts of published weights, and how to recognise them.

A layout renames keys by prefix: published key <-> our key. Tensors that the published network
stores but does not use for predictions (branches after a `return`, auxiliary heads) have no key of
ours; `Layout.idle` names them, so that they can be filled in when converting back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from clan.weights import mmseg
from clan.weights.layout import Layout, Rule, Tensors

COUNTER = "num_batches_tracked"
"""Batch norm's step counter: newer than many published files, and nothing here reads it."""

# what all DeepLab-v2 networks of the published adaptation codes share (methods differ in heads)
PUBLISHED = {
    "input": "caffe",
    "decoder": "deeplab",
    "output_stride": 8,
    "stride_in": "1x1",
    "dilate_first": True,
    "ceil_mode": True,
    "align_corners": True,
}
RATES = (6, 12, 18, 24)
DECODERS = {
    "resnet18": "deeplab",
    "resnet50": "deeplab",
    "resnet101": "deeplab",
    "mobilenet_v2": "deeplab",
    "vgg16": "fcn8s",
}
"""The encoders that torchvision publishes, and the decoder of their published segmenters."""
RESNET = tuple(
    (f"{part}.", f"encoder.{part}.")
    for part in ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")
)


def _branches(published: str, ours: str, indices: Iterable[int]) -> tuple[Rule, ...]:
    return tuple((f"{published}.conv2d_list.{i}.", f"{ours}.conv2d_list.{i}.") for i in indices)


def _idle(published: str, indices: Iterable[int]) -> tuple[str, ...]:
    return tuple(f"{published}.conv2d_list.{i}." for i in indices)


TORCHVISION = {"input": "imagenet", "stride_in": "3x3", "ceil_mode": False}

LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout(
            "torchvision",
            f"ImageNet classification ({', '.join(DECODERS)})",
            (
                *RESNET,
                ("features.", "encoder.features."),
                ("classifier.0.", "encoder.fc6."),
                ("classifier.3.", "encoder.fc7."),
            ),
            TORCHVISION,
            encoder_only=True,
        ),
        Layout(
            "deeplab-coco",
            "DeepLab-v2 on ImageNet and COCO, the published codes' initialisation",
            (*RESNET, *_branches("layer5", "classifiers.0", range(4))),
            {**PUBLISHED, "classifiers": 1, "aspp_rates": RATES},
            heads=("layer5",),
            prefix="Scale.",
            encoder_only=True,
        ),
        Layout(
            "clan",
            "RoyalVane/CLAN: two classifiers of four branches",
            (
                *RESNET,
                *_branches("layer5", "classifiers.0", range(4)),
                *_branches("layer6", "classifiers.1", range(4)),
            ),
            {**PUBLISHED, "classifiers": 2, "aspp_rates": RATES, "ensemble": "logits"},
            heads=("layer5", "layer6"),
        ),
        Layout(
            "adaptsegnet",
            "wasidennis/AdaptSegNet, single level: four branches stored, two run",
            (*RESNET, *_branches("layer5", "classifiers.0", range(2))),
            {**PUBLISHED, "classifiers": 1, "aspp_rates": RATES[:2]},
            heads=("layer5",),
            idle=_idle("layer5", (2, 3)),
        ),
        Layout(
            "adaptsegnet-multi",
            "wasidennis/AdaptSegNet, multi level: four branches stored, two run",
            (*RESNET, *_branches("layer6", "classifiers.0", range(2))),
            {**PUBLISHED, "classifiers": 1, "aspp_rates": RATES[:2]},
            heads=("layer5", "layer6"),
            auxiliary="layer5",
            idle=(*_idle("layer5", range(4)), *_idle("layer6", (2, 3))),
        ),
        Layout(
            "advent",
            "valeoai/ADVENT, single level",
            (*RESNET, *_branches("layer6", "classifiers.0", range(4))),
            {**PUBLISHED, "classifiers": 1, "aspp_rates": RATES},
            heads=("layer6",),
        ),
        Layout(
            "advent-multi",
            "valeoai/ADVENT, multi level: four branches run",
            (*RESNET, *_branches("layer6", "classifiers.0", range(4))),
            {**PUBLISHED, "classifiers": 1, "aspp_rates": RATES},
            heads=("layer5", "layer6"),
            auxiliary="layer5",
            idle=_idle("layer5", range(4)),
        ),
        *mmseg.LAYOUTS,
    )
}


def candidates(tensors: Tensors) -> list[Layout]:
    """Return the layouts that a file can be, by its modules and its classifiers' inputs."""
    return [layout for layout in LAYOUTS.values() if layout.fits(tensors)]


def resemblances(
    tensors: Tensors, expected: Mapping[str, set[str]]
) -> list[tuple[str, str, float]]:
    """Rank layouts by the share of keys in common (Jaccard), best first.

    A file may keep the network below a name of its own (``backbone.``): each layout is compared
    with the keys below the first, or the first two, parts of a key too.

    Args:
        tensors: the file's.
        expected: the keys that a network of each layout has.

    Returns:
        (layout, prefix that its keys are found below, share).
    """
    found = {key for key in tensors if not key.endswith(COUNTER)}
    parts = [key.split(".") for key in found]
    prefixes = {"".join(f"{part}." for part in key[:depth]) for key in parts for depth in (0, 1, 2)}
    below = {
        prefix: {key.removeprefix(prefix) for key in found if key.startswith(prefix)}
        for prefix in prefixes
    }
    ranked = []
    for name, keys in expected.items():
        # of equal shares, the shorter prefix
        shares = [
            (len(own & keys) / max(1, len(found) + len(keys - own)), -len(prefix), prefix)
            for prefix, own in below.items()
        ]
        share, _, prefix = max(shares)
        ranked.append((name, prefix, share))
    return sorted(ranked, key=lambda item: -item[2])
