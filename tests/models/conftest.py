"""A small network of the Cityscapes classes."""

from __future__ import annotations

import pytest
import torch

from clan.data.classes import CITYSCAPES
from clan.models.segmenter import ModelOptions, Segmenter

SMALL = ModelOptions(encoder="resnet18", width=4, aspp_rates=(1, 2))


@pytest.fixture
def segmenter() -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(SMALL, CITYSCAPES, (64, 128))
