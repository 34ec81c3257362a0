"""Losses on D's logits, for D and for G (Eq. 5)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def adversarial_loss(domain_logits: Tensor, label: float, weight: Tensor | None = None) -> Tensor:
    """Binary cross-entropy of D against one domain label, weighted per pixel (Eq. 5).

    With ``weight = lambda_local * M + epsilon`` it is the self-adaptive term; without, TAN's.

    Args:
        domain_logits: D's output (N, 1, H, W), before the sigmoid.
        label: 0 for source, 1 for target.
        weight: (N, 1, H, W) or None for 1 everywhere.
    """
    logits = domain_logits.float()
    # softplus(-x) = -log(sigmoid(x)), without a tensor of labels
    loss = F.softplus(-logits if label else logits)
    return (loss if weight is None else weight * loss).mean()


def confusion_loss(domain_logits: Tensor) -> Tensor:
    """Half the binary cross-entropy against either domain (FCNs in the wild, Hoffman et al. 2016).

    Its minimum, log 2, is reached where D cannot tell the domains apart. Logits of any shape.
    """
    return (adversarial_loss(domain_logits, 0.0) + adversarial_loss(domain_logits, 1.0)) / 2
