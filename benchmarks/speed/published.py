"""The update of the published CLAN code (RoyalVane/CLAN, GTA5) in plain torch, for its speed.

Restated from what the code does: source and target one after the other at batch 1, logits of both
classifiers up-sampled to full size, focal loss on gathered pixels, retained graphs, an SGD that is
given most tensors several times. A test holds one update against the preset ``reference``.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import backward

from clan.models.decoders.deeplab import ASPP
from clan.models.discriminator import Discriminator

BGR_MEAN = (104.00698793, 116.66876762, 122.67891434)
LAMBDA_WEIGHT, LAMBDA_ADV, LAMBDA_LOCAL, EPSILON = 0.01, 0.001, 40.0, 0.4
PARTS = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")


@dataclass(frozen=True)
class Images:
    """One update's: source image (1, 3, H, W) uint8, label (1, H, W) uint8, target image."""

    source: Tensor
    label: Tensor
    target: Tensor


class Published:
    """G, D and their optimizers as the published code holds them.

    Args:
        encoder: a ResNet with the published quirks.
        classifiers: two `ASPP`.
        discriminator: D.
    """

    def __init__(
        self, encoder: nn.Module, classifiers: nn.ModuleList, discriminator: Discriminator
    ):
        self.encoder, self.convs = encoder, discriminator.convs
        self.classifiers = [cast(ASPP, classifier) for classifier in classifiers]
        encoder.train()
        parts = [getattr(encoder, name) for name in PARTS]
        listed = [
            p for part in parts for m in part.modules() for p in m.parameters() if p.requires_grad
        ]
        groups = [{"params": listed}, {"params": list(classifiers.parameters())}]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that tensors are listed more than once
            self.sgd = torch.optim.SGD(groups, lr=1, momentum=0.9, weight_decay=5e-4, foreach=False)
        self.adam = torch.optim.Adam(discriminator.parameters(), lr=1e-4, betas=(0.9, 0.99))

    def update(self, images: Images, step: int = 50_000, steps: int = 100_000) -> None:
        """Do one update after the pre-heating."""
        damping, rate = 1 - step / steps, (1 - step / steps) ** 0.9
        self.sgd.zero_grad()
        self.adam.zero_grad()
        self.sgd.param_groups[0]["lr"], self.sgd.param_groups[1]["lr"] = (
            2.5e-4 * rate,
            2.5e-3 * rate,
        )
        self.adam.param_groups[0]["lr"] = 1e-4 * rate

        s1, s2 = self.logits(images.source)
        backward(focal(s1, images.label) + focal(s2, images.label))

        t1, t2 = self.logits(images.target)
        weights = weight_map(t1.softmax(1), t2.softmax(1))
        fooled = self.domain((t1 + t2).softmax(1))
        adversarial = weighted_bce(fooled, 0.0, weights)
        backward(LAMBDA_ADV * damping * adversarial, retain_graph=True)

        w1, w2 = (torch.cat([p.flatten() for p in c.parameters()]) for c in self.classifiers)
        cosine = torch.matmul(w1, w2) / (torch.norm(w1) * torch.norm(w2)) + 1
        backward(cosine * LAMBDA_WEIGHT * damping * 2)

        # D learned from G's adversarial term too, and is cleared as it comes to its own turn
        self.adam.zero_grad()
        source = self.domain((s1 + s2).detach().softmax(1))
        backward(F.binary_cross_entropy_with_logits(source, torch.zeros_like(source)))
        target = self.domain((t1 + t2).detach().softmax(1))
        backward(weighted_bce(target, 1.0, weights.detach()))
        self.sgd.step()
        self.adam.step()

    def logits(self, image: Tensor) -> list[Tensor]:
        """Return each classifier's logits (1, C, H, W)."""
        mean = torch.tensor(BGR_MEAN, device=image.device).view(1, 3, 1, 1)
        features = self.encoder(image.flip(1).float() - mean)[-1]
        sums = []
        for classifier in self.classifiers:
            out = classifier.conv2d_list[0](features)
            for conv in classifier.conv2d_list[1:]:
                out = out + conv(features)
            sums.append(up(out.float(), image))
        return sums

    def domain(self, p: Tensor) -> Tensor:
        """Return D's logits (1, 1, H, W)."""
        x = p
        for conv in self.convs[:-1]:
            x = F.leaky_relu(conv(x), 0.2)
        return up(self.convs[-1](x).float(), p)


def up(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=True)


def weight_map(p1: Tensor, p2: Tensor) -> Tensor:
    """Return 1 - cos(p1, p2), (1, 1, H, W)."""
    norms = torch.norm(p1, 2, 1) * torch.norm(p2, 2, 1)
    weights: Tensor = (1.0 - (p1 * p2).sum(1) / norms)[:, None]
    return weights


def weighted_bce(z: Tensor, label: float, weights: Tensor) -> Tensor:
    loss = F.binary_cross_entropy_with_logits(z, torch.full_like(z, label), reduction="none")
    return (EPSILON * loss + LAMBDA_LOCAL * loss * weights).mean()


def focal(logits: Tensor, label: Tensor) -> Tensor:
    """Return the focal loss (gamma 2) over labelled pixels, gathered first."""
    seen = label != 255
    p = logits.softmax(1).clamp(1e-9, 1 - 1e-9).permute(0, 2, 3, 1)[seen]
    p = p.gather(1, label[seen].long()[:, None])
    loss: Tensor = (-((1 - p) ** 2) * p.log()).mean()
    return loss
