"""Options of CLAN-ST."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from clan.methods.clan import CLAN
from clan.methods.discriminant import SecondOpinionOptions
from clan.methods.rounds import check_portions, divide
from clan.methods.stages import Stage

CLAN_STAGE = "clan"


class RoundOptions(CLAN.Options, SecondOpinionOptions):
    """What the rounds of clan_st have beside CLAN's options."""

    clan_steps: int = Field(0, ge=0)
    """Number of CLAN's updates before the rounds; 0 if the classifiers start from a CLAN
    training (``weights_for: network``)."""
    rounds: int = Field(3, ge=1)
    """Number of rounds, which share the other steps evenly; each chooses new thresholds."""
    portion: float = Field(0.3, gt=0, le=1)
    """Share labelled in the first round, of the pixels that the teacher gives to each class."""
    portion_step: float = Field(0.1, ge=0)
    """What each further round adds to `portion`."""
    portion_max: float = Field(0.7, gt=0, le=1)
    """Greatest share that a round labels."""
    thresholds: Literal["class", "fixed"] = "class"
    """class: each class's threshold follows from `portion`; fixed: `threshold` for all."""
    label: Literal["ratio", "winner"] = "ratio"
    """A pixel's label: the class with the greatest confidence / threshold (ratio, CBST), or the
    class with the greatest confidence (winner)."""
    threshold: float = Field(0.9, gt=0, lt=1)
    """Confidence above which a pixel is labelled, with ``thresholds: fixed``."""
    confidence: Literal["agreement", "mean", "ensemble"] = "agreement"
    """The teacher's confidence: the classifiers' mean softmax times 1 - M (agreement), the mean
    alone, or the ensemble prediction."""
    keep_shares: float = Field(0.0, ge=0, le=1)
    """Exponent of (initial share / recent share), which scales the teacher's confidence per
    class; 0 turns it off."""
    teacher_decay: float = Field(0.99, ge=0, lt=1)
    """Decay of the teacher, a moving average of G; 0: the teacher is G itself."""
    mix: bool = True
    """Paste half of the classes of a source image on each target image."""
    strong_jitter: float = Field(0.3, ge=0, lt=1)
    """Strength of colour jitter on G's target images; the teacher sees them unchanged."""
    strong_blur: float = Field(0.5, ge=0, le=1)
    """Probability that G's target image is blurred."""
    rare_temperature: float = Field(0.0, ge=0)
    """Above 0, source images are drawn by class: the lower it is, the more often rare classes
    are drawn (DAFormer: 0.01 on Cityscapes' classes). 0: each image once an epoch."""
    lambda_target: float = Field(1.0, ge=0)
    """Weight of the loss on mixed images."""
    turns: int = Field(0, ge=0)
    """How often an update steps G by the source's loss and then by the target's, mixing and
    augmenting anew each time; 0: one step by the sum of both."""
    keep_adversary: bool = False
    """Keep CLAN's adversary during the rounds; with `turns`, in the last turn of each
    update."""

    def stages(self, steps: int) -> tuple[Stage, ...]:
        """Divide the steps into CLAN's and rounds."""
        return divide(steps, Stage(CLAN_STAGE, self.clan_steps), "clan_steps", self.rounds)

    @model_validator(mode="after")
    def _all_read(self) -> Self:
        """Refuse options without effect."""
        check_portions(self.portion, self.portion_max)
        if self.thresholds == "class" and self.threshold != 0.9:
            raise ValueError(
                f"threshold {self.threshold:g} has no effect with thresholds=class: set "
                "method.thresholds=fixed, or choose the labelled share by method.portion"
            )
        for key in ("portion", "portion_step", "portion_max"):
            found, own = getattr(self, key), type(self).model_fields[key].default
            if self.thresholds == "fixed" and found != own:
                raise ValueError(
                    f"{key} {found:g} has no effect with thresholds=fixed: leave it at "
                    f"{own:g}, or set method.thresholds=class"
                )
        return self

    def round_portion(self, number: int) -> float:
        """Return P_r of a round, counted from 1."""
        return min(self.portion + (number - 1) * self.portion_step, self.portion_max)
