"""The largest picture that is read, which a user may set."""

from __future__ import annotations

import os

from clan.core.errors import DataError

MAX_PIXELS = 250_000_000
"""Largest number of pixels of an image, unless `PIXELS_VARIABLE` sets another limit."""

PIXELS_VARIABLE = "CLAN_MAX_PIXELS"
"""Environment variable with the largest number of pixels that a picture may have."""


def pixel_limit() -> int:
    """Return the largest number of pixels that a picture may have."""
    text = os.environ.get(PIXELS_VARIABLE, str(MAX_PIXELS))
    if not text.isdecimal() or int(text) < 1:
        raise DataError(
            f"{PIXELS_VARIABLE}={text!r}: expected a number of pixels, such as 500000000"
        )
    return int(text)
