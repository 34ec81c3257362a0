"""What a layout of published weights is: a renaming of keys, and what else differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from clan.weights.resnets import find_encoder

Tensors = Mapping[str, Tensor]
Rule = tuple[str, str]
"""(prefix of published keys, prefix of our keys)"""

FIRST = "classifiers.0.conv2d_list.0.weight"
"""Our key whose shape tells the number of classes and of features."""


@dataclass(frozen=True)
class Layout:
    """One published key layout."""

    name: str
    what: str
    """For messages: which network, whose code."""
    rules: tuple[Rule, ...]
    options: Mapping[str, Any]
    """Options that a network must have for its weights to mean the same in this layout."""
    heads: tuple[str, ...] = ()
    """The classifiers' top-level modules that a file must have, and no others."""
    auxiliary: str | None = None
    """The one of ``heads`` that reads layer3, with half the channels of layer4."""
    idle: tuple[str, ...] = ()
    """Prefixes of stored tensors that the published network does not run to predict."""
    prefix: str = ""
    """What stands before every published key."""
    encoder_only: bool = False
    """The file starts a training; its classifier, if any, has other classes."""
    first: str = FIRST
    """Our key whose shape tells the number of classes."""

    def fits(self, tensors: Tensors) -> bool:
        """Tell whether a file can be of this layout, by its modules and its classifiers' inputs."""
        if not all(key.startswith(self.prefix) for key in tensors):
            return False
        if self.encoder(tensors) is None:
            return False
        inputs = {
            head: tensors[name].shape[1]
            for head in ("layer5", "layer6")
            if (name := f"{self.prefix}{head}.conv2d_list.0.weight") in tensors
        }
        if set(inputs) != set(self.heads):
            return False
        full = max(inputs.values(), default=0)
        return all(
            n == full // 2 if head == self.auxiliary else n == full for head, n in inputs.items()
        )

    def encoder(self, tensors: Tensors) -> dict[str, Any] | None:
        """Return the options of the encoder that a file's keys and shapes ask for, if any."""
        return find_encoder(tensors, self.prefix)

    def split(self, tensors: Tensors) -> dict[str, Tensor]:
        """Return the tensors as ours are divided."""
        return dict(tensors)

    def source(self, key: str) -> str:
        """Return the key of the file that a key of `split` comes from."""
        return key

    def join(self, tensors: Tensors) -> dict[str, Tensor]:
        """Undo `split`."""
        return dict(tensors)

    def to_ours(self, key: str) -> str | None:
        """Return our name of a published key, or None if it has none."""
        if not key.startswith(self.prefix):
            return None
        return _renamed(key[len(self.prefix) :], self.rules)

    def to_published(self, key: str) -> str | None:
        """Return the published name of one of our keys, or None if it has none."""
        name = _renamed(key, tuple((ours, published) for published, ours in self.rules))
        return None if name is None else self.prefix + name


def _renamed(key: str, rules: tuple[Rule, ...]) -> str | None:
    for old, new in rules:
        if key.startswith(old):
            return new + key[len(old) :]
    return None
