"""MIC (Hoyer et al. 2023): a masked view of the target has to be predicted from its context.

    min_G  the host's losses + lambda_mask * mean[w * CE(G(mask(x_t)), y_t)]

The host is DAFormer, or DACS where rare-class sampling and feature distance are off. Blocks of a
strongly augmented target image are painted in the mean colour; y_t and w are the teacher's labels
and weights for the plain image, as the host uses them.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from clan.losses.masking import block_grid, block_mask, masked
from clan.losses.mixing import strong_view
from clan.methods.contract import MicroBatch
from clan.methods.dacs import Taught
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

    def learn_target(self, part: MicroBatch, taught: Taught) -> None:
        """Backward of the loss on mixed images, then of the loss on masked ones."""
        super().learn_target(part, taught)
        options, image = self.options, part.target["image"]
        view = strong_view(
            image, options.strong_jitter, options.strong_blur, options.jitter_chance, hue=True
        )
        drawn = torch.rand(
            len(image), *block_grid(image.shape[-2:], options.mask_block), device=image.device
        )
        visible = block_mask(drawn, image.shape[-2:], options.mask_ratio)
        view = masked(view, visible, self.segmenter.mean_color)
        with self.unsynchronised("segmenter", True):
            loss = self.target_loss(view, taught.label, taught.weight)
            self.backward(options.lambda_mask * loss)
        self.note(loss_mask=loss)
