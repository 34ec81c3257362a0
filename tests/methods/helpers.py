"""A network small enough for hundreds of steps a second, and batches to feed it."""

from __future__ import annotations

import torch
from lightning.fabric import Fabric

from clan.data.classes import ClassSet
from clan.data.loading import Batch
from clan.methods import METHODS, Method
from clan.models.segmenter import ModelOptions, Segmenter
from clan.optim.options import (
    DiscriminatorOptimizerOptions,
    OptimOptions,
    SegmenterOptimizerOptions,
)

CLASSES = ClassSet("three", ("a", "b", "c"), ((0, 0, 0), (9, 9, 9), (99, 9, 9)), {})
PLAIN = OptimOptions(
    # plain gradient descent: a step is minus the rate times the gradient
    segmenter=SegmenterOptimizerOptions(
        name="sgd", lr=0.1, momentum=0, weight_decay=0, head_multiplier=1, schedule="constant"
    ),
    discriminator=DiscriminatorOptimizerOptions(
        name="sgd", lr=0.1, momentum=0, weight_decay=0, schedule="constant"
    ),
)


def build(name: str, optim: OptimOptions = PLAIN, seed: int = 0, **options) -> Method:
    torch.manual_seed(seed)
    model = ModelOptions(encoder="resnet18", width=4, aspp_rates=(1,), classifiers=2)
    if "discriminator_width" in METHODS[name].Options.model_fields:
        options = {"discriminator_width": 4, **options}
    method = METHODS[name](Segmenter(model, CLASSES), METHODS[name].Options(**options), optim)
    method.setup(Fabric(accelerator="cpu", devices=1))
    return method


def batch(seed: int, images: int = 2, labelled: bool = True) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    size = (images, 3, 32, 32)
    made = Batch(
        image=torch.randint(0, 256, size, dtype=torch.uint8, generator=generator),
        name=[str(i) for i in range(images)],
        index=torch.arange(images),
    )
    if labelled:
        shape = (images, 32, 32)
        made["label"] = torch.randint(0, 3, shape, dtype=torch.uint8, generator=generator)
    return made


def parameters(method: Method) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in method.named_parameters()}
