"""VGG16 made fully convolutional (Long et al. 2015), in torchvision's key layout."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from torch import Tensor, nn

# channels in units of the first convolution's; 0 is a max-pool (configuration D of the VGG paper)
LAYERS = (1, 1, 0, 2, 2, 0, 4, 4, 4, 0, 8, 8, 8, 0, 8, 8, 8, 0)
# wide enough that the crops of FCN8s meet at any input size
PADDING = 100
POOL3, POOL4 = 16, 23


class VGGFeatures(NamedTuple):
    """What FCN8s scores, finest first; each keeps the offset that the padding gave it."""

    pool3: Tensor
    """(N, 4 * width, (H + 198) / 8, (W + 198) / 8), rounded up."""
    pool4: Tensor
    """(N, 8 * width, (H + 198) / 16, (W + 198) / 16), rounded up."""
    fc7: Tensor
    """(N, 64 * width, (H + 198) / 32 - 6, (W + 198) / 32 - 6), rounded up."""


class VGG16(nn.Module):
    """The convolutions of VGG16 and its first two dense layers as convolutions, fc6 and fc7.

    ``features`` has torchvision's keys; torchvision's ``classifier.0`` and ``classifier.3`` are
    the weights of ``fc6`` (7x7) and ``fc7`` (1x1) once reshaped. As in Caffe, the first
    convolution pads by 100 and max-pools round sizes up.

    Args:
        width: channels of the first convolution; 64 is the published network, whose fc6 and fc7
            have 4096.
    """

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
        self.out_channels = 64 * width
        self.fc6 = nn.Conv2d(8 * width, self.out_channels, 7)
        self.fc7 = nn.Conv2d(self.out_channels, self.out_channels, 1)
        self.relu = nn.ReLU(inplace=True)
        # whole channels: neighbouring pixels of one are alike, dropping single ones hides little
        self.dropout = nn.Dropout2d(0.5)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> VGGFeatures:
        """Map normalised images (N, 3, H, W) of any size to the three scored features."""
        x = pool3 = self.features[: POOL3 + 1](x)
        x = pool4 = self.features[POOL3 + 1 : POOL4 + 1](x)
        x = self.features[POOL4 + 1 :](x)
        x = self.dropout(self.relu(self.fc6(x)))
        x = self.dropout(self.relu(self.fc7(x)))
        return VGGFeatures(pool3, pool4, x)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d) and module.bias is not None:
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.zeros_(module.bias)
