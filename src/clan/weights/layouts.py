"""The key layouts of published weights, and how to recognise them.

A layout renames keys by prefix: published key <-> our key. Tensors that the published network
stores but does not use for predictions (branches after a `return`, auxiliary heads) have no key of
ours; `Layout.idle` names them, so that they can be filled in when converting back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

Tensors = Mapping[str, Tensor]
Rule = tuple[str, str]
"""(prefix of published keys, prefix of our keys)"""

COUNTER = "num_batches_tracked"
"""Batch norm's step counter: newer than many published files, and nothing here reads it."""

FIRST = "classifiers.0.conv2d_list.0.weight"
"""Our key whose shape tells the number of classes and of features."""

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
RESNETS = {(False, 2): "resnet18", (True, 6): "resnet50", (True, 23): "resnet101"}
"""The ResNets by whether they have bottlenecks and the number of blocks in layer3."""
DECODERS = {
    "resnet18": "deeplab",
    "resnet50": "deeplab",
    "resnet101": "deeplab",
    "mobilenet_v2": "deeplab",
    "vgg16": "fcn8s",
}
"""The encoders that torchvision publishes, and the decoder of their published segmenters."""
VGG16_CONVS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
RESNET = tuple(
    (f"{part}.", f"encoder.{part}.")
    for part in ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")
)


def _branches(published: str, ours: str, indices: Iterable[int]) -> tuple[Rule, ...]:
    return tuple((f"{published}.conv2d_list.{i}.", f"{ours}.conv2d_list.{i}.") for i in indices)


def _idle(published: str, indices: Iterable[int]) -> tuple[str, ...]:
    return tuple(f"{published}.conv2d_list.{i}." for i in indices)


@dataclass(frozen=True)
class Layout:
    """One published key layout."""

    name: str
    what: str
    """For messages: which network, whose code."""
    rules: tuple[Rule, ...]
    options: Mapping[str, Any]
    """Options that a network must have for its weights to mean the same in this layout."""
    heads: tuple[str, ...] = ()
    """The classifiers' top-level modules that a file must have, and no others."""
    auxiliary: str | None = None
    """The one of ``heads`` that reads layer3, with half the channels of layer4."""
    idle: tuple[str, ...] = ()
    """Prefixes of stored tensors that the published network does not run to predict."""
    prefix: str = ""
    """What stands before every published key."""
    encoder_only: bool = False
    """Whether the file is for starting a training; its classifier, if any, has other classes."""

    def to_ours(self, key: str) -> str | None:
        """Return our name of a published key, or None if it has none."""
        if not key.startswith(self.prefix):
            return None
        return _renamed(key[len(self.prefix) :], self.rules)

    def to_published(self, key: str) -> str | None:
        """Return the published name of one of our keys, or None if it has none."""
        name = _renamed(key, tuple((ours, published) for published, ours in self.rules))
        return None if name is None else self.prefix + name


def _renamed(key: str, rules: tuple[Rule, ...]) -> str | None:
    for old, new in rules:
        if key.startswith(old):
            return new + key[len(old) :]
    return None


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
    )
}


def find_encoder(tensors: Tensors, prefix: str = "") -> dict[str, Any] | None:
    """Tell encoder and width from a file's keys and shapes; None if it is none of ours."""
    keys = {k[len(prefix) :] for k in tensors if k.startswith(prefix)}
    convs = {k for k in keys if k.startswith("features.") and k.endswith(".weight")}
    if "conv1.weight" in keys and any(k.startswith("layer4.") for k in keys):
        blocks = len({k.split(".")[1] for k in keys if k.startswith("layer3.")})
        bottleneck = "layer1.0.conv3.weight" in keys
        encoder, first = RESNETS.get((bottleneck, blocks)), "conv1.weight"
    elif "features.0.0.weight" in keys and "features.17.conv.2.weight" in keys:
        return {"encoder": "mobilenet_v2"}
    elif convs == {f"features.{i}.weight" for i in VGG16_CONVS}:
        encoder, first = "vgg16", "features.0.weight"
    else:
        return None
    if encoder is None:
        return None
    return {"encoder": encoder, "width": tensors[prefix + first].shape[0]}


def candidates(tensors: Tensors) -> list[Layout]:
    """Return the layouts that a file can be, by its modules and its classifiers' inputs."""
    return [layout for layout in LAYOUTS.values() if _fits(layout, tensors)]


def _fits(layout: Layout, tensors: Tensors) -> bool:
    if not all(key.startswith(layout.prefix) for key in tensors):
        return False
    if find_encoder(tensors, layout.prefix) is None:
        return False
    inputs = {
        head: tensors[name].shape[1]
        for head in ("layer5", "layer6")
        if (name := f"{layout.prefix}{head}.conv2d_list.0.weight") in tensors
    }
    if set(inputs) != set(layout.heads):
        return False
    full = max(inputs.values(), default=0)
    return all(
        n == full // 2 if head == layout.auxiliary else n == full for head, n in inputs.items()
    )


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
