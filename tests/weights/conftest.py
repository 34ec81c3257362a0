"""The small network of the tests of models."""

from __future__ import annotations

from tests.models.conftest import segmenter

__all__ = ["segmenter"]
