"""The segmenter G: an encoder E and one or two classifiers C1, C2."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from clan.core.options import Options
from clan.data.classes import ClassSet
from clan.models.batchnorm import freeze_affine
from clan.models.decoders.deeplab import ASPP
from clan.models.decoders.fcn8s import FCN8s
from clan.models.encoders.mobilenet import MobileNetV2
from clan.models.encoders.resnet import ResNet, StrideIn
from clan.models.encoders.vgg import VGG16, VGGFeatures

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CAFFE_MEAN = (104.00698793, 116.66876762, 122.67891434)
"""Blue, green, red of ImageNet's mean image in 0..255, as Caffe's networks subtract it."""

BOTTLENECKS = ("resnet50", "resnet101")
DEEPLAB_ONLY = ("output_stride", "aspp_rates", "align_corners", "freeze_affine")

Features = Tensor | VGGFeatures
"""What an encoder hands to its classifiers: one map, or FCN8s' three."""


class ModelOptions(Options):
    """The network: everything that its weights need in order to mean something."""

    encoder: Literal["resnet18", "resnet50", "resnet101", "mobilenet_v2", "vgg16"] = "resnet101"
    """Backbone E, in torchvision's key layout."""
    head: Literal["deeplab", "fcn8s"] = "deeplab"
    """Classification modules: DeepLab-v2's pyramid on a ResNet or MobileNet, FCN8s on VGG16."""
    output_stride: Literal[8, 16, 32] = 8
    """Input pixels per feature; DeepLab-v2 has 8. Strides beyond it become dilation."""
    width: int = Field(64, ge=4, le=256)
    """Channels after the first convolution: 64 is the published network."""
    stride_in: StrideIn = "3x3"
    """Which convolution of a down-sampling bottleneck strides: torchvision's 3x3 or Caffe's 1x1."""
    dilate_first: bool = False
    """Dilate the first block of a dilated layer too, as the published codes do."""
    ceil_mode: bool = False
    """Round the size after a ResNet's max-pool up, as the published codes do."""
    classifiers: Literal[1, 2] = 2
    """Parallel classification modules on the encoder: C1, or C1 and C2 (section 3.2)."""
    aspp_rates: tuple[int, ...] = Field((6, 12, 18, 24), min_length=1)
    """Dilations of each classifier's branches; (6, 12) is what TAN's published code runs."""
    ensemble: Literal["logits", "softmax"] = "logits"
    """Ensemble prediction: softmax of the summed logits (published code) or the mean of the
    softmaxes (the paper's p1 + p2, normalised)."""
    align_corners: bool = True
    """Convention of the bilinear up-sampling of the logits; the published codes align corners."""
    freeze_affine: bool = False
    """Keep batch norm's scale and shift as initialised (published codes)."""
    input: Literal["imagenet", "caffe"] = "imagenet"
    """What the weights were trained on: imagenet, RGB in 0..1 less `mean` over `std`; caffe, BGR
    in 0..255 less Caffe's mean image colour."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Per-channel mean (RGB, images scaled to 0..1) subtracted from the input."""
    std: tuple[float, float, float] = IMAGENET_STD
    """Per-channel standard deviation that the input is divided by."""

    @model_validator(mode="after")
    def _network_reads_all(self) -> ModelOptions:
        """Refuse options that the chosen network would not read."""
        if (self.encoder == "vgg16") != (self.head == "fcn8s"):
            raise ValueError(
                f"head {self.head} does not fit encoder {self.encoder}: fcn8s belongs to vgg16, "
                "deeplab to the others; set both"
            )
        for owner, reads, names in (
            ("ResNets and VGG16", self.encoder != "mobilenet_v2", ("width",)),
            ("ResNets", self.encoder.startswith("resnet"), ("dilate_first", "ceil_mode")),
            ("ResNets with bottlenecks", self.encoder in BOTTLENECKS, ("stride_in",)),
            ("head deeplab", self.head == "deeplab", DEEPLAB_ONLY),
            ("input imagenet", self.input == "imagenet", ("mean", "std")),
        ):
            changed = [n for n in names if getattr(self, n) != type(self).model_fields[n].default]
            if changed and not reads:
                raise ValueError(
                    f"{', '.join(changed)} belong to {owner}; this network ({self.encoder}, "
                    f"{self.head}, {self.input} input) would not read them"
                )
        return self


class Segmenter(nn.Module):
    """Plain images in, one map of logits per classifier out.

    It takes uint8 RGB and normalises inside, so that four times fewer bytes travel through
    loader workers and the bus, and an exported model takes images as they are.

    Attributes:
        options: the architecture.
        classes: what the channels of the logits mean.
        evaluation_size: (H, W) that images are resized to for scoring and prediction, or None
            for their own size.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        options: ModelOptions,
        classes: ClassSet,
        evaluation_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.options = options
        self.classes = classes
        self.evaluation_size = evaluation_size
        self.encoder = build_encoder(options)
        self.classifiers = nn.ModuleList(
            _classifier(options, self.encoder.out_channels, len(classes))
            for _ in range(options.classifiers)
        )
        mean, std = _normalisation(options)
        self.register_buffer("mean", mean.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", std.view(1, 3, 1, 1), persistent=False)
        if options.freeze_affine:
            freeze_affine(self)

    def forward(self, image: Tensor, size: Sequence[int] | None = None) -> tuple[Tensor, ...]:
        """Map images (N, 3, H, W) uint8 RGB to logits, one (N, C, H, W) float32 per classifier.

        With a ``size`` (H, W) the logits come in that, whatever the images' own.
        """
        return self.classify_at(self.encode(image), image.shape[-2:], size)

    def encode(self, image: Tensor) -> Features:
        """Map images (N, 3, H, W) uint8 RGB to features, which `classify` reads.

        (N, F, ~H/stride, ~W/stride); of VGG16 the three maps that FCN8s scores.
        """
        if self.options.input == "caffe":
            image = image.flip(1)
        x = (image.to(self.mean.dtype) - self.mean) / self.std
        if x.is_cuda or isinstance(self.encoder, MobileNetV2):
            # a fifth to a third faster on the CPU too, but not for ResNets: oneDNN's gradient of
            # strided 1x1 convolutions over few channels writes out of bounds in this layout
            # (uxlfoundation/oneDNN issue 6035)
            x = x.contiguous(memory_format=torch.channels_last)
        features: Features = self.encoder(x)
        return features

    def classify(self, features: Features, size: torch.Size) -> tuple[Tensor, ...]:
        """Map features to logits at ``size`` (H, W), one (N, C, H, W) float32 per classifier.

        DeepLab's classifiers take any size; FCN8s' only that of the image of the features.
        """
        return tuple(classifier(features, size) for classifier in self.classifiers)

    def classify_at(
        self, features: Features, own: torch.Size, size: Sequence[int] | None
    ) -> tuple[Tensor, ...]:
        """Map features of an image of size ``own`` to logits at ``size``, None for its own."""
        wanted = own if size is None else torch.Size(size)
        if self.options.head == "deeplab":
            return self.classify(features, wanted)
        logits = self.classify(features, own)
        if wanted == own:
            return logits
        return tuple(
            F.interpolate(z, size=wanted, mode="bilinear", align_corners=True) for z in logits
        )

    def ensemble(self, logits: tuple[Tensor, ...]) -> Tensor:
        """Join the classifiers: (N, C, H, W) whose softmax is the ensemble prediction p.

        With one classifier, its logits. With two, by ``options.ensemble``: their sum, or
        log((p1 + p2) / 2).
        """
        if len(logits) == 1:
            return logits[0]
        if self.options.ensemble == "logits":
            return torch.stack(logits).sum(dim=0)
        joint = torch.stack([F.log_softmax(each, dim=1) for each in logits])
        return joint.logsumexp(dim=0) - math.log(len(logits))

    def heads(self) -> list[ASPP | FCN8s]:
        """Return the classifiers, C1 first; each has its ``filters()``."""
        return [cast("ASPP | FCN8s", classifier) for classifier in self.classifiers]

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the trainable parameters by part, ``encoder`` and ``classifiers``, each once."""
        return {
            name: [p for p in part.parameters() if p.requires_grad]
            for name, part in (("encoder", self.encoder), ("classifiers", self.classifiers))
        }


def build_encoder(options: ModelOptions) -> ResNet | MobileNetV2 | VGG16:
    """Make the encoder alone, freshly initialised."""
    if options.encoder == "mobilenet_v2":
        return MobileNetV2(options.output_stride)
    if options.encoder == "vgg16":
        return VGG16(options.width)
    return ResNet(
        options.encoder,
        options.output_stride,
        options.width,
        options.stride_in,
        options.dilate_first,
        options.ceil_mode,
    )


def _classifier(options: ModelOptions, inputs: int, classes: int) -> ASPP | FCN8s:
    if options.head == "fcn8s":
        return FCN8s(options.width, classes)
    return ASPP(inputs, classes, options.aspp_rates, options.align_corners)


def _normalisation(options: ModelOptions) -> tuple[Tensor, Tensor]:
    """Return mean and divisor of the channels in the network's order, for images of 0..255."""
    if options.input == "caffe":
        return torch.tensor(CAFFE_MEAN), torch.ones(3)
    return torch.tensor(options.mean) * 255, torch.tensor(options.std) * 255
