"""The content of a conversion, and its report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from clan.models.segmenter import ModelOptions
from clan.weights.layout import Layout


@dataclass(frozen=True)
class ConversionReport:
    """The fate of every key. Keys are the published ones, of the file read or written."""

    file: str
    out: str
    layout: Layout
    kind: str
    """What was written, in words."""
    loaded: tuple[str, ...]
    missing: tuple[str, ...] = ()
    """Wanted, but not in the file: as freshly initialised."""
    left: tuple[str, ...] = ()
    """In the file, but no part of the result; a model file carries them for the way back."""
    shape_differs: tuple[str, ...] = ()
    """In the file, but of another shape: as freshly initialised."""
    other_parts: Mapping[str, int] = field(default_factory=dict)
    """The other networks in the file, by `clan.weights.mmseg.PARTS`, and how many tensors each
    has."""
    filled: tuple[str, ...] = ()
    """Stored but never run in the published layout: written as zeros."""

    def lines(self, every: bool = False) -> list[str]:
        """Return the report line by line; ``every`` names the loaded keys too."""
        text = [
            f"{self.file} -> {self.out}",
            f"layout {self.layout.name} ({self.layout.what})",
            f"{self.kind}: {len(self.loaded)} tensors loaded",
        ]
        groups = {
            "loaded": self.loaded if every else (),
            "missing": self.missing,
            "left": self.left,
            "shape differs": self.shape_differs,
            "filled with zeros": self.filled,
        }
        for title, keys in groups.items():
            text += [f"  {title}: {key}" for key in keys]
        text += [
            f"  another network in the file: {count} tensors of {part} (--part {part})"
            for part, count in self.other_parts.items()
        ]
        if self.layout.auxiliary and self.left:
            text.append(
                f"  {self.layout.auxiliary} is the auxiliary classifier on layer3: the published "
                "code trains with it and predicts without it"
            )
        return text


@dataclass(frozen=True)
class Network:
    """A network during a conversion: tensors by our names, with options and classes."""

    tensors: dict[str, Tensor]
    """By the segmenter's keys (``encoder.``, ``classifiers.0.``, ...)."""
    options: ModelOptions
    left: dict[str, Tensor]
    """Published tensors that the network does not read, by their published keys."""
    origin: Mapping[str, Any]
    """The published layout that it was converted from; empty if it was trained here."""
