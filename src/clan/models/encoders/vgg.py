"""VGG16 made fully convolutional (Long et al. 2015), in torchvision's key layout."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from clan.models.encoders.contract import Encoder, EncoderSpec, FeatureMap, PublishedWeights

# channels in units of the first convolution's; 0 is a max-pool (configuration D of the VGG paper)
LAYERS = (1, 1, 0, 2, 2, 0, 4, 4, 4, 0, 8, 8, 8, 0, 8, 8, 8, 0)
# wide enough for the crops of FCN8s at any input size
PADDING = 100
POOL3, POOL4 = 16, 23
STRIDES = (8, 16, 32)
# fc6 reads 7x7 cells of pool5 and so is centred three cells, 96 pixels, into a map that begins 99
# pixels before the image (FCN8s makes up for it by where it crops)
FC7_START = PADDING - 1 - 96


class VGG16(Encoder):
    """The convolutions of VGG16 and its first two dense layers as convolutions, fc6 and fc7.

    ``features`` has torchvision's keys; torchvision's ``classifier.0`` and ``classifier.3`` are
    the weights of ``fc6`` (7x7) and ``fc7`` (1x1) once reshaped. As in Caffe, the first
    convolution pads by 100 and max-pools round sizes up. The maps are those that FCN8s scores,
    pool3, pool4 and fc7; of (H, W) pixels they have, rounded up, (H + 198) / 8, (H + 198) / 16
    and (H + 198) / 32 - 6 rows, and columns likewise.

    Args:
        width: channels of the first convolution; 64 is the published network, whose fc6 and fc7
            have 4096.
    """

    grid_start = FC7_START

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        channels = (3, *(width * factor for factor in LAYERS if factor))
        convs = (nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(channels))
        layers: list[nn.Module] = []
        for factor in LAYERS:
            if factor:
                layers += [next(convs), nn.ReLU(inplace=True)]
            else:
                layers.append(nn.MaxPool2d(2, stride=2, ceil_mode=True))
        self.features = nn.Sequential(*layers)
        first = layers[0]
        assert isinstance(first, nn.Conv2d)
        first.padding = (PADDING, PADDING)
        self.channels, self.strides = (4 * width, 8 * width, 64 * width), STRIDES
        self.fc6 = nn.Conv2d(8 * width, 64 * width, 7)
        self.fc7 = nn.Conv2d(64 * width, 64 * width, 1)
        self.relu = nn.ReLU(inplace=True)
        # whole channels: neighbouring pixels are similar, so dropping single ones has little effect
        self.dropout = nn.Dropout2d(0.5)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map normalised images (N, 3, H, W) of any size to pool3, pool4 and fc7."""
        x = pool3 = self.features[: POOL3 + 1](x)
        x = pool4 = self.features[POOL3 + 1 : POOL4 + 1](x)
        x = self.features[POOL4 + 1 :](x)
        x = self.dropout(self.relu(self.fc6(x)))
        x = self.dropout(self.relu(self.fc7(x)))
        return [pool3, pool4, x]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d) and module.bias is not None:
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.zeros_(module.bias)


def _maps(width: int) -> tuple[FeatureMap, ...]:
    return tuple(map(FeatureMap, (4 * width, 8 * width, 64 * width), STRIDES))


SPECS = {
    "vgg16": EncoderSpec(
        build=lambda options: VGG16(options.width),
        reads=frozenset({"width"}),
        maps=lambda options: _maps(options.width),
        padding=PADDING,
        weights=PublishedWeights(
            "https://download.pytorch.org/models/vgg16-397923af.pth", "397923af"
        ),
        batch_norm=False,
    )
}
"""VGG16, with torchvision's first ImageNet weights (IMAGENET1K_V1)."""
