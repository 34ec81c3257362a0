"""What is wrong with a configuration, in sentences about the keys that the user wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic_core import ErrorDetails

from clan.config.renamed import RENAMED
from clan.core.errors import nearest
from clan.core.options import Options
from clan.losses.segmentation import LOSSES, LossOptions
from clan.methods import METHODS, MethodOptions


def explain(details: ErrorDetails, whole: type[Options], tree: Mapping[str, Any]) -> str:
    """Turn one of pydantic's errors into a sentence about a key that the user wrote.

    Args:
        details: the error.
        whole: the options that ``tree`` was checked against.
        tree: what the user wrote; its ``method.name`` says which keys a method has.
    """
    key, group = _place(details, whole, tree)
    if details["type"] == "extra_forbidden":
        if key in RENAMED:
            return f"{key}: is now called {RENAMED[key]}, with the same values"
        return f"{key}: unknown key{nearest(key.split('.')[-1], group.model_fields)}"
    if details["type"] in ("unknown_method", "no_method"):
        return f"method.name: {details['msg']}"
    message = details["msg"].removeprefix("Value error, ")
    if details["type"] == "missing" or not key:
        return f"{key}: {message}" if key else message
    if isinstance(details["input"], Mapping):
        # of a group as a whole: the message says which of its values are meant
        return f"{key}: {message}"
    return f"{key}: {message} (found {details['input']!r})"


def _place(
    details: ErrorDetails, whole: type[Options], tree: Mapping[str, Any]
) -> tuple[str, type[Options]]:
    """Return the key that an error is about, and the group of options that has or lacks it."""
    group = whole
    inner: type[Options] | None = whole
    written: Any = tree
    key: list[str] = []
    for part in details["loc"]:
        if isinstance(part, int):
            key.append(str(part))
        elif inner is not None:
            key.append(part)
            written = written.get(part) if isinstance(written, Mapping) else None
            group, inner = inner, _named(_options_of(inner, part), written)
        # else: the branch of a union that was tried, no key
    return ".".join(key), group


def _named(group: type[Options] | None, written: Any) -> type[Options] | None:
    """Return the options of the method or loss that was written, if the group is chosen by name."""
    name = str(written.get("name", "")) if isinstance(written, Mapping) else ""
    if group is MethodOptions and name in METHODS:
        return METHODS[name].Options
    if group is LossOptions:
        name = name or LossOptions.model_fields["name"].default
        return LOSSES[name].Options if name in LOSSES else group
    return group


def _options_of(group: type[Options], name: str) -> type[Options] | None:
    """Return the options below a field, None for a plain value."""
    field = group.model_fields.get(name)
    annotation = field.annotation if field is not None else None
    candidates = [annotation, *get_args(annotation)]
    candidates += [inner for candidate in candidates for inner in get_args(candidate)]
    options = (c for c in candidates if isinstance(c, type) and issubclass(c, Options))
    return next(options, None)
