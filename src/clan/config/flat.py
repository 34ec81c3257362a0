"""Configurations as values by dotted key, such as ``method.epsilon``, and their differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from clan.config.tree import Config


def differences(a: Config, b: Config) -> list[tuple[str, Any, Any]]:
    """Return (key, value in a, value in b) wherever two configurations differ."""
    flat_a, flat_b = flat(a), flat(b)
    return [
        (key, flat_a.get(key), flat_b.get(key))
        for key in dict.fromkeys([*flat_a, *flat_b])
        if flat_a.get(key) != flat_b.get(key)
    ]


def flat(config: Config) -> dict[str, Any]:
    """Return every value by its dotted key, such as ``method.epsilon``."""
    return dict(_flatten(config.model_dump(mode="json")))


def unflat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tree that `Config.model_validate` reads, from values by dotted keys."""
    tree: dict[str, Any] = {}
    for key, value in values.items():
        *groups, last = key.split(".")
        inner = tree
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[last] = value
    return tree


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
