"""Tells torchvision's encoders, and those that the adaptation codes made of them, by their keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

RESNETS = {(False, 2): "resnet18", (True, 6): "resnet50", (True, 23): "resnet101"}
"""The ResNets by whether they have bottlenecks and the number of blocks in layer3."""
VGG16_CONVS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)


def find_encoder(tensors: Mapping[str, Tensor], prefix: str = "") -> dict[str, Any] | None:
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
