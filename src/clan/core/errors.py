"""Errors that a user can act on: what was found, where, what was expected, what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class ClanError(Exception):
    """Any error that the user can fix; the command line prints it without a traceback."""


class ConfigError(ClanError):
    """A preset, key or value that is unknown or out of range."""


class DataError(ClanError):
    """A data set, image or label file that does not match its description."""


class WeightsError(ClanError):
    """A weight file or checkpoint that does not fit the network or cannot be read."""


class RunError(ClanError):
    """A run folder that exists, is incomplete or cannot be written, or a training that failed."""


_SHOWN = 20


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest valid name, else the first valid names."""
    names = sorted(valid)
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"; valid: {', '.join(names[:_SHOWN])}{more}"


def unknown(what: str, name: str, valid: Iterable[str]) -> str:
    """Return "unknown WHAT 'name'", the closest valid name if there is one, and all of them."""
    names = sorted(valid)
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ";"
    return f"unknown {what} {name!r}{hint} known: {', '.join(names)}"


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number and its noun: ``1 image``, ``1,234 images``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
