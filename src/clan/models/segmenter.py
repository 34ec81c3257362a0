"""The segmenter G: an encoder E and one or two classifiers C1, C2."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clan.data.classes import ClassSet
from clan.data.sizes import Size
from clan.models.batchnorm import freeze_affine
from clan.models.decoders.contract import Classifier
from clan.models.decoders.table import check_fit, decoder_spec
from clan.models.encoders.table import build_encoder, encoder_spec
from clan.models.options import ModelOptions

__all__ = ["CAFFE_MEAN", "Features", "ModelOptions", "Segmenter"]

CAFFE_MEAN = (104.00698793, 116.66876762, 122.67891434)
"""Blue, green and red of ImageNet's mean colour in 0..255, which Caffe's networks subtract."""

Features = list[Tensor]
"""The feature maps that an encoder returns: the finest first, the deepest last."""


class Segmenter(nn.Module):
    """The network G: it maps images to one map of logits per classifier.

    It takes uint8 RGB and normalises inside. So loaders move a quarter of the bytes, and an
    exported model takes plain images.

    Attributes:
        options: the architecture.
        classes: the classes of the logits' channels.
        evaluation_size: (H, W) that images are resized to for scoring and prediction, or the length
            of their shorter side (the aspect ratio is kept); None for their own size.
        evaluation_protocol: name of the protocol for scoring and prediction: ``own``, ``paper`` or
            ``reference`` (`clan.scoring.protocol`).
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        options: ModelOptions,
        classes: ClassSet,
        evaluation_size: Size | None = None,
        evaluation_protocol: str = "own",
    ) -> None:
        super().__init__()
        self.options = options
        self.classes = classes
        self.evaluation_size = evaluation_size
        self.evaluation_protocol = evaluation_protocol
        self.encoder = build_encoder(options)
        maps = self.encoder.maps
        check_fit(options.decoder, options.encoder, maps, encoder_spec(options.encoder).padding)
        self.decoder = decoder_spec(options.decoder).build(options, maps, len(classes))
        self.classifiers = nn.ModuleList(
            self.decoder.classifier() for _ in range(options.classifiers)
        )
        mean, std = _normalisation(options)
        self.register_buffer("mean", mean.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", std.view(1, 3, 1, 1), persistent=False)
        if options.freeze_affine:
            freeze_affine(self)

    def forward(self, image: Tensor, size: Sequence[int] | None = None) -> tuple[Tensor, ...]:
        """Map images (N, 3, H, W) uint8 RGB to logits, one (N, C, H, W) float32 per classifier.

        The logits have ``size`` (H, W); None: the images' size.
        """
        return self.classify_at(self.encode(image), image.shape[-2:], size)

    def encode(self, image: Tensor) -> Features:
        """Map images (N, 3, H, W) uint8 RGB to the encoder's feature maps."""
        features: Features = self.encoder(self.normalised(image))
        return features

    def label_places(
        self, label: Tensor, grid: tuple[int, int], image: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        """Return in which row and column of E's deepest map the pixels of a label lie.

        Args:
            label: (..., H, W).
            grid: (h, w) of the map.
            image: (..., H', W'), what E read.

        Returns:
            (H,) and (W,) int64; None where the map's cells tile the image.
        """
        if self.encoder.grid_start is None:
            return None
        sizes = zip(label.shape[-2:], grid, image.shape[-2:], strict=True)
        rows, columns = (self.encoder.cells_of(*sides) for sides in sizes)
        return rows, columns

    def normalised(self, image: Tensor) -> Tensor:
        """Return normalised images, float32, of (N, 3, H, W) RGB in 0..255."""
        if self.options.input == "caffe":
            image = image.flip(1)
        x = (image.to(self.mean.dtype) - self.mean) / self.std
        if torch.compiler.is_exporting():
            # who runs the exported program chooses the layout
            return x
        if x.is_cuda or self.encoder.channels_last_on_cpu:
            # not for every encoder on the CPU: in this layout, oneDNN's gradient of strided 1x1
            # convolutions over few channels, as in ResNets, writes out of bounds
            # (uxlfoundation/oneDNN issue 6035)
            x = x.contiguous(memory_format=torch.channels_last)
        return x

    @property
    def mean_color(self) -> Tensor:
        """The colour (1, 3, 1, 1) RGB in 0..255 that normalisation maps to 0."""
        return self.mean.flip(1) if self.options.input == "caffe" else self.mean

    def classify(self, features: Features, size: torch.Size) -> tuple[Tensor, ...]:
        """Map features to logits at ``size`` (H, W), one (N, C, H, W) float32 per classifier.

        Most decoders can give any size; FCN8s only that of the image.
        """
        shared = self.decoder(features)
        return tuple(classifier(shared, size) for classifier in self.classifiers)

    def classify_at(
        self, features: Features, own: torch.Size, size: Sequence[int] | None
    ) -> tuple[Tensor, ...]:
        """Map features of an image of size ``own`` to logits at ``size``; None for ``own``."""
        wanted = own if size is None else torch.Size(size)
        if self.decoder.any_size or wanted == own:
            return self.classify(features, wanted)
        return tuple(
            F.interpolate(z, size=wanted, mode="bilinear", align_corners=True)
            for z in self.classify(features, own)
        )

    def classify_coarsely(self, features: Features, own: torch.Size) -> tuple[Tensor, ...]:
        """Map features of an image of size ``own`` to logits at the classifiers' own resolution."""
        return self.classify(features, self.decoder.own_size(features, own))

    def ensemble(self, logits: tuple[Tensor, ...]) -> Tensor:
        """Combine the classifiers: (N, C, H, W) whose softmax is the ensemble prediction p.

        With one classifier, its logits. With two, by ``options.ensemble``: their sum, or
        log((p1 + p2) / 2).
        """
        if len(logits) == 1:
            return logits[0]
        if self.options.ensemble == "logits":
            return torch.stack(logits).sum(dim=0)
        joint = torch.stack([F.log_softmax(each, dim=1) for each in logits])
        return joint.logsumexp(dim=0) - math.log(len(logits))

    def heads(self) -> list[Classifier]:
        """Return the classifiers, C1 first."""
        return [cast(Classifier, classifier) for classifier in self.classifiers]

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the trainable parameters of ``encoder`` and ``classifiers``.

        The decoder's shared part counts as ``classifiers``, as it starts untrained too.
        """
        parts = {"encoder": (self.encoder,), "classifiers": (self.decoder, self.classifiers)}
        return {
            name: [p for part in modules for p in part.parameters() if p.requires_grad]
            for name, modules in parts.items()
        }


def _normalisation(options: ModelOptions) -> tuple[Tensor, Tensor]:
    """Return mean and divisor of the channels, in the network's order, for images in 0..255."""
    if options.input == "caffe":
        return torch.tensor(CAFFE_MEAN), torch.ones(3)
    return torch.tensor(options.mean) * 255, torch.tensor(options.std) * 255
