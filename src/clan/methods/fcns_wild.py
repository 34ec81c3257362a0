"""FCNs in the wild (Hoffman et al. 2016): domain confusion of features, and bounds on class sizes.

    min_G  L_seg(G(x_s), y_s) + lambda_adv * [L_conf(D(f_s)) + L_conf(D(f_t))]
           + lambda_size * L_size(p_t)
    min_D  1/2 BCE(D(f_s), source) + 1/2 BCE(D(f_t), target)

f are the encoder's deepest features (fc7 of VGG16). D classifies each of their locations
separately. L_conf is half the cross-entropy against each domain; it is least where D cannot tell
the domains apart. L_size is the category constraint: in a target image that contains a class, the
class's size must lie between percentiles of its sizes in source images (multiple-instance learning:
the image is a bag of pixels).

No code was published. Choices where the paper leaves details open:

- an image contains a class if its share of arg-max pixels is at least ``presence`` times the
  class's lower bound;
- the constraint is a hinge on the logarithm of the mean probability, so that its gradient does not
  depend on the class's size (the paper weights the gradients of large classes down by 0.1);
- the bounds are the 10 % and 90 % percentiles; the average, which the paper lists too, is not used;
- sizes are measured in training views, over the last ``remembered`` source images;
- D is two 1x1 convolutions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

import torch
from pydantic import Field
from torch import Tensor

from clan.data.loading import Batch
from clan.losses.adversarial import confusion_loss
from clan.losses.shares import class_shares, size_bounds, size_constraint_loss
from clan.methods.contract import Progress
from clan.methods.features import DiscriminatorInput, FeatureAdversary, FeatureOptions, deepest
from clan.models.segmenter import Segmenter
from clan.optim.options import OptimOptions

if TYPE_CHECKING:
    from lightning.fabric import Fabric


class FCNsInTheWild(FeatureAdversary):
    """Domain confusion per location, and the category constraint."""

    class Options(FeatureOptions):
        """Options of fcns_wild."""

        name: Literal["fcns_wild"] = "fcns_wild"
        """The method."""
        lambda_size: float = Field(0.01, ge=0)
        """Weight of the category constraint; the paper names none."""
        presence: float = Field(0.1, ge=0)
        """An image contains a class if its share of arg-max pixels is at least this factor times
        the class's lower bound."""
        remembered: int = Field(1000, ge=1)
        """Number of last source images whose class sizes give the bounds."""

    options: Options
    sizes: Tensor
    seen: Tensor

    def __init__(self, segmenter: Segmenter, options: Options, optim: OptimOptions) -> None:
        super().__init__(segmenter, options, optim, segmenter.encoder.channels[-1])
        # a ring buffer of the newest images' class shares; a zero row is an image without classes
        rows = torch.zeros(options.remembered, len(segmenter.classes))
        self.register_buffer("sizes", rows)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def setup(self, fabric: Fabric) -> None:
        """Wrap G and D; move the sizes to the device."""
        super().setup(fabric)
        self.sizes, self.seen = (x.to(fabric.device) for x in (self.sizes, self.seen))

    def step(self, source: Batch, target: Batch, progress: Progress) -> dict[str, Tensor]:
        """Store the source's class sizes, then update G and D."""
        self.remember_sizes(source["label"])
        return super().step(source, target, progress)

    def remember_sizes(self, label: Tensor) -> None:
        """Store the class shares of all processes' source labels (N, H, W) in the ring buffer."""
        shares = class_shares(label, self.sizes.shape[1])
        if self.fabric.world_size > 1:
            shares = cast(Tensor, self.fabric.all_gather(shares)).flatten(0, 1)
        shares = shares[: len(self.sizes)]
        rows = torch.arange(len(shares), device=shares.device) + self.seen
        self.sizes[rows % len(self.sizes)] = shares
        self.seen += len(shares)

    def learn_source(self, batch: Batch, progress: Progress) -> DiscriminatorInput:
        """Backward of L_seg and of the confusion of source features."""
        features = self.encode_batch("source", batch)
        f_s = deepest(features)
        logits = self.classify_batch(features, batch)
        loss = self.segmentation_loss(logits, batch["label"], "source")
        confusion = confusion_loss(self.discriminate(f_s))
        self.backward(loss + self.strength(progress) * self.options.lambda_adv * confusion)
        self.note(loss_seg=loss, loss_conf_source=confusion)
        return DiscriminatorInput(f_s.detach())

    def learn_target(self, batch: Batch, progress: Progress) -> DiscriminatorInput:
        """Backward of the confusion of target features and of the category constraint."""
        features = self.encode_batch("target", batch)
        f_t = deepest(features)
        p_t = self.segmenter.ensemble(self.classify_batch(features, batch)).softmax(dim=1)
        lower, upper = size_bounds(self.sizes)
        size = size_constraint_loss(p_t, lower, upper, self.options.presence)
        confusion = confusion_loss(self.discriminate(f_t))
        loss = self.options.lambda_adv * confusion + self.options.lambda_size * size
        self.backward(self.strength(progress) * loss)
        self.note(loss_conf_target=confusion, loss_size=size)
        return DiscriminatorInput(f_t.detach())
