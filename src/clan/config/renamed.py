"""Renamed keys: refused in a user's configuration, accepted in files of older versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RENAMED = {"optim.segmenter.listings": "optim.segmenter.step_repeats"}
"""The present name of each former key; their values mean the same."""


def renew(tree: dict[str, Any]) -> dict[str, Any]:
    """Give the former keys of a tree that an older version wrote their present names, in place."""
    for former, present in RENAMED.items():
        *groups, old = former.split(".")
        group: Any = tree
        for name in groups:
            group = group.get(name) if isinstance(group, Mapping) else None
        if isinstance(group, dict) and old in group:
            group[present.rpartition(".")[2]] = group.pop(old)
    return tree


def renew_flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by dotted keys with each former key under its present name."""
    return {RENAMED.get(key, key): value for key, value in values.items()}
