"""FDA (Yang and Soatto 2020): Fourier style on the source, robust entropy on the target.

    min_G  L_seg(G(x_s->t), y_s) + lambda_ent * mean[(H(p_t)^2 + 1e-8)^eta]

x_s->t is a source image with a target image's low-frequency amplitudes; any method can use it, by
``data.source_view.fourier``. The entropy is added after `entropy_from` steps, when predictions have
become useful.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from clan.losses.entropy import robust_entropy_loss
from clan.methods.contract import Progress
from clan.methods.minent import MinEnt


class FDA(MinEnt):
    """MinEnt with the robust entropy, which starts later; its source images are stylised."""

    class Options(MinEnt.Options):
        """Options of fda."""

        name: Literal["fda"] = "fda"  # type: ignore[assignment]
        """The method."""
        lambda_ent: float = Field(0.005, ge=0)
        """Weight of the target's robust entropy; the published code has 0.005."""
        eta: float = Field(2.0, gt=0)
        """Exponent of the squared entropy; the published code has 2."""
        entropy_from: int = Field(0, ge=0)
        """Steps before the entropy is added; the published code has 50,000 of 150,000."""

    options: Options

    def entropy_weight(self, progress: Progress) -> float:
        """Return lambda_ent, or 0 before `entropy_from`."""
        return self.options.lambda_ent if progress.step >= self.options.entropy_from else 0.0

    def target_entropy(self, p: Tensor) -> Tensor:
        """Return the robust entropy of predictions p (N, C, H, W), a scalar."""
        return robust_entropy_loss(p, self.options.eta)
