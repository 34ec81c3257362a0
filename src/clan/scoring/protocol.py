"""How a network is scored: the input's size, and how logits are up-sampled to the label's size.

The same weights have different scores under different protocols. So every result names its
protocol, and runs with different protocols are not compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, model_validator

from clan.core.errors import ConfigError, nearest
from clan.core.options import Options
from clan.data.sizes import InputSize, Size, size_text

if TYPE_CHECKING:
    # for its type alone: reading a configuration needs no torch
    from clan.models.segmenter import Segmenter


class Protocol(Options):
    """How images are resized, and logits up-sampled and averaged."""

    size: InputSize | None = None
    """(H, W) that images are resized to for the network, or the length of their shorter side (the
    aspect ratio is kept); not given: their own size."""
    align_corners: bool = False
    """Whether the bilinear up-sampling of the logits to the label's size aligns corners."""
    direct: bool = False
    """Up-sample once, from the classifiers' resolution to the label's size, instead of first to the
    input's size."""
    flip: bool = False
    """Flip testing: average the probabilities of each image and its mirror image."""
    scales: tuple[float, ...] = Field((1.0,), min_length=1)
    """Multi-scale testing: average the probabilities over these factors of the input size."""

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if not all(0.1 <= scale <= 10 for scale in self.scales):
            raise ValueError(f"scales {list(self.scales)}: expected factors from 0.1 to 10")
        if len(set(self.scales)) != len(self.scales):
            raise ValueError(f"scales {list(self.scales)}: a factor is listed twice")
        return self

    @property
    def views(self) -> int:
        """Number of forward passes per image; 1 without flip and multi-scale testing."""
        return len(self.scales) * (1 + self.flip)

    @property
    def name(self) -> str:
        """The name in `PROTOCOLS`, ignoring flip and scales; ``own`` for any other."""
        plain = self.model_copy(update={"flip": False, "scales": (1.0,)})
        return next((name for name, known in PROTOCOLS.items() if known == plain), "own")

    def size_text(self) -> str:
        """Return the input size: ``512x1024``, ``short side 512`` or ``as stored``."""
        return size_text(self.size)

    def text(self) -> str:
        """Return name, up-sampling, flip and multi-scale testing in words, without the size."""
        way = "logits up-sampled once, " if self.direct else ""
        parts = [f"protocol {self.name} ({way}align_corners={str(self.align_corners).lower()})"]
        if self.flip:
            parts.append("flip testing")
        if self.scales != (1.0,):
            parts.append(f"multi-scale testing {'/'.join(f'{s:g}' for s in self.scales)}")
        return " + ".join(parts)


PROTOCOLS: Mapping[str, Protocol] = {
    "paper": Protocol(size=(512, 1024), align_corners=True),
    "reference": Protocol(size=(512, 1024), align_corners=True, direct=True),
}
"""``paper``: images at 512x1024, logits at that size, then up-sampled by 2 (section 4.2).
``reference``: as the published code, up-sampled once, from the classifiers' resolution (an eighth
of the input's) to 1024x2048."""


def protocol_of(segmenter: Segmenter) -> Protocol:
    """Return the protocol that a network is scored by; its file says so.

    Raises:
        ConfigError: a name that this version does not know.
    """
    return choose_protocol(segmenter.evaluation_protocol, size=segmenter.evaluation_size)


def choose_protocol(
    name: str | Protocol = "own",
    *,
    size: Size | None = None,
    align_corners: bool | None = None,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
) -> Protocol:
    """Return a named protocol with changes.

    Args:
        name: ``own``, ``paper`` or ``reference``, or a protocol to change.
        size: input size; None keeps the named protocol's. Usually the model's evaluation size.
        align_corners: None keeps the named protocol's.
        flip: flip testing.
        scales: multi-scale testing.

    Raises:
        ConfigError: an unknown name, or values out of range.
    """
    if isinstance(name, Protocol):
        known = name
    elif name != "own" and name not in PROTOCOLS:
        raise ConfigError(f"unknown protocol {name!r}{nearest(name, ('own', *PROTOCOLS))}")
    else:
        known = PROTOCOLS.get(name) or Protocol(size=size)
    changes: dict[str, Any] = {} if align_corners is None else {"align_corners": align_corners}
    if size is not None:
        changes["size"] = size
    try:
        return Protocol(**{**known.model_dump(), **changes, "flip": flip, "scales": tuple(scales)})
    except ValueError as error:
        raise ConfigError(f"this protocol is not valid: {error}") from error


def parse_scales(text: str) -> tuple[float, ...]:
    """Return the factors of ``0.75,1,1.25``; ConfigError for anything but numbers."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(
            f"scales {text!r}: expected numbers separated by commas, such as 0.75,1,1.25"
        ) from error
