"""MIC (Hoyer et al. 2023): masked parts of target images are predicted from their context.

    min_G  DAFormer's losses + lambda_mask * mean[w * CE(G(mask(x_t)), y_t)]

With rare-class sampling and feature distance off, it is DACS's losses instead of DAFormer's. Blocks
of a strongly augmented target image are set to the mean colour; y_t and w are the teacher's labels
and weights for the plain image, as in DACS.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from clan.data.loading import Batch
from clan.losses.masking import block_grid, block_mask, masked
from clan.losses.mixing import Draw
from clan.methods.dacs import PseudoLabels, View
from clan.methods.daformer import DAFormer


class MIC(DAFormer):
    """DAFormer plus masked-image consistency."""

    class Options(DAFormer.Options):
        """Options of mic."""

        name: Literal["mic"] = "mic"  # type: ignore[assignment]
        """The method."""
        lambda_mask: float = Field(1.0, ge=0)
        """Weight of the loss on masked images."""
        mask_block: int = Field(64, ge=1)
        """Side of a block in pixels."""
        mask_ratio: float = Field(0.7, ge=0, le=1)
        """Share of the blocks that are masked."""

    options: Options

    def views(self, source: Batch, target: Batch, draw: Draw) -> list[View]:
        """Return mixed images, then masked ones."""
        image = target["image"]
        pseudo = self.label_target(image)
        return [self.mixed(source, target, pseudo, draw), self.masked_view(image, pseudo, draw)]

    def masked_view(self, image: Tensor, pseudo: PseudoLabels, draw: Draw) -> View:
        """Return strong views of plain target images (N, 3, H, W) with masked blocks."""
        options, size = self.options, image.shape[-2:]
        grid = block_grid(size, options.mask_block)
        drawn = draw(len(image), *grid, images=0, device=image.device)
        visible = block_mask(drawn, size, options.mask_ratio)
        view = masked(self.strong(image, draw), visible, self.segmenter.mean_color)
        return View("mask", view, pseudo.label, pseudo.weight, options.lambda_mask)
