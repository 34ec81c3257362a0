"""AdvEnt (Vu et al. 2019, "ADVENT"): TAN on entropy maps.

    min_G  L_seg(G(x_s), y_s) + lambda_adv * BCE(D(I_t), source)
    min_D  1/2 BCE(D(I_s), source) + 1/2 BCE(D(I_t), target)

D reads I = -p log p / log C, the weighted self-information of each class at each pixel, in place
of p. Predictions on source images have low entropy, so G learns low entropy on the target: not
pixel by pixel as in `clan.methods.minent`, but with the source's spatial patterns.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from clan.losses.entropy import information_map
from clan.methods.tan import TAN, AdversarialOptions


class AdvEnt(TAN):
    """TAN whose discriminator reads self-information."""

    class Options(AdversarialOptions):
        """Options of advent."""

        name: Literal["advent"] = "advent"
        """The method."""

    def discriminator_input(self, p: Tensor) -> Tensor:
        """Return the weighted self-information of p, both (N, C, H, W)."""
        return information_map(p)
