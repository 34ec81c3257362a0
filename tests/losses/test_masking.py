from __future__ import annotations

import torch

from clan.losses.masking import block_grid, block_mask, masked


def test_blocks_stay_where_their_number_is_above_the_ratio() -> None:
    drawn = torch.tensor([[[0.9, 0.2], [0.7, 0.71]]])
    visible = block_mask(drawn, torch.Size((4, 6)), 0.7)
    rows = [[True] * 3 + [False] * 3] * 2 + [[False] * 3 + [True] * 3] * 2
    assert torch.equal(visible, torch.tensor([[rows]]))


def test_the_grid_rounds_halves_to_even() -> None:
    assert block_grid(torch.Size((160, 224)), 64) == (2, 4)
    assert block_grid(torch.Size((10, 512)), 64) == (1, 8)


def test_what_is_masked_has_the_mean_colour_exactly() -> None:
    image = torch.arange(12, dtype=torch.uint8).view(1, 3, 2, 2)
    mean = torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1)
    visible = torch.tensor([[[[True, False], [False, True]]]])
    found = masked(image, visible, mean)
    assert torch.equal(found[0, :, 0, 1], mean.flatten())
    assert found[0, 1, 1, 1] == 7
