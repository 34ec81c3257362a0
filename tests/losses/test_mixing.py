"""Strong views: which classes are pasted, and what becomes of colours and sharpness."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from clan.losses import mixing
from clan.losses.mixing import at_size, class_mask, paste, strong_view, values_shown


def labels(seed: int, classes: int, images: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, classes, (images, 6, 8), generator=generator)
    ignored = torch.rand(label.shape, generator=generator) < 0.2
    return torch.where(ignored, 255, label).to(torch.uint8)


def images(seed: int = 0, count: int = 3, size: tuple[int, int] = (24, 32)) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, generator=generator)


@given(seed=st.integers(0, 10**6), classes=st.integers(1, 19))
@settings(max_examples=60, deadline=None)
def test_half_of_the_classes_of_each_image_are_pasted_whole(seed: int, classes: int) -> None:
    torch.manual_seed(seed)
    label = labels(seed, classes)
    mask = class_mask(label, 19)
    for own, chosen in zip(label, mask, strict=True):
        shown = set(own.unique().tolist()) - {255}
        pasted = set(own[chosen].unique().tolist())
        assert len(pasted) == (len(shown) + 1) // 2
        assert pasted <= shown
        # a class is pasted with all of its pixels, or with none
        assert torch.equal(chosen, torch.isin(own, own[chosen].unique()))


def test_every_class_has_its_turn() -> None:
    torch.manual_seed(0)
    label = torch.arange(4, dtype=torch.uint8).view(1, 2, 2)
    drawn = torch.stack([class_mask(label, 4) for _ in range(400)]).float().mean(dim=0)
    assert drawn.flatten().tolist() == pytest.approx([0.5] * 4, abs=0.1)


def test_an_image_without_labels_gives_nothing() -> None:
    assert not class_mask(torch.full((1, 2, 2), 255, dtype=torch.uint8), 3).any()


def test_pasted_pixels_are_the_sources() -> None:
    mask = labels(1, 2) == 0
    source, target = (images(1, size=(6, 8)), labels(1, 2)), (images(2, size=(6, 8)), labels(2, 2))
    image, label = paste(mask, source, target)
    for n, y, x in np.ndindex(*mask.shape):
        origin = source if mask[n, y, x] else target
        assert torch.equal(image[n, :, y, x], origin[0][n, :, y, x])
        assert label[n, y, x] == origin[1][n, y, x]


def test_a_source_of_another_size_is_brought_to_the_targets() -> None:
    image, label = at_size(images(size=(12, 16)), labels(0, 3), torch.Size((24, 32)))
    assert image.shape == (3, 3, 24, 32)
    assert image.dtype == torch.uint8
    assert torch.equal(label, labels(0, 3).repeat_interleave(4, 1).repeat_interleave(4, 2))
    same = images()
    assert at_size(same, labels(0, 3), torch.Size((24, 32)))[0] is same


def test_without_strength_nothing_changes() -> None:
    assert torch.equal(strong_view(images(), 0.0, 0.0), images())


def test_colours_are_those_of_the_loaders_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same factors through OpenCV's operations, which the loader's jitter uses."""
    from clan.data.views import _jitter

    drawn = torch.tensor([0.2, 0.8, 0.9]).view(3, 1, 1, 1, 1)
    monkeypatch.setattr(torch, "rand", lambda *shape, device: drawn)
    picture = images(count=1)
    monkeypatch.setattr(mixing, "_blur", lambda x, chance, draw: x)
    found = strong_view(picture, 0.3, 0.0)
    factors = (1 + 0.3 * (2 * drawn.flatten() - 1)).tolist()
    expected = _jitter(picture[0].permute(1, 2, 0).numpy(), *factors)
    # the loader rounds and clips between the three, this once
    difference = np.abs(found[0].permute(1, 2, 0).numpy().astype(int) - expected.astype(int))
    assert np.median(difference) <= 1
    assert (difference <= 2).mean() > 0.8


def test_the_blur_is_gaussian(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "rand", lambda *shape, device: torch.full(shape, 0.5))
    low, high = mixing.BLUR_SIGMA
    picture = images(count=2)
    found = mixing._blur(picture.float(), 1.0)
    side = 2 * mixing.BLUR_RADIUS + 1
    for own, blurred in zip(picture, found, strict=True):
        pixels = own.permute(1, 2, 0).numpy().astype(np.float32)
        expected = cv2.GaussianBlur(pixels, (side, side), (low + high) / 2)
        assert np.allclose(blurred.permute(1, 2, 0).numpy(), expected, atol=1e-3)


def test_some_images_are_blurred_and_others_are_not() -> None:
    torch.manual_seed(0)
    picture = images(count=40)
    sharp = (strong_view(picture, 0.0, 0.5) == picture).flatten(1).all(dim=1)
    assert 8 < int(sharp.sum()) < 32


def test_an_image_smaller_than_the_blur_stays_sharp() -> None:
    tiny = images(size=(4, 4))
    assert torch.equal(strong_view(tiny, 0.0, 1.0), tiny)


def test_views_follow_the_steps_generator() -> None:
    views = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        views.append(strong_view(images(), 0.3, 0.5))
    assert torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])


def test_classes_of_the_whole_batch_are_drawn_for_every_label() -> None:
    torch.manual_seed(0)
    label = torch.stack([torch.zeros(4, 4), torch.ones(4, 4)]).to(torch.uint8)
    shown = values_shown(label).any(dim=0)
    seen = {tuple(class_mask(label, 3, shown=shown).flatten(1).any(1).tolist()) for _ in range(40)}
    # one of two classes is drawn for each label, whether that shows it or not
    assert seen == {(a, b) for a in (True, False) for b in (True, False)}
    assert class_mask(label, 3).all()


def test_unlabelled_pixels_are_a_class_where_asked() -> None:
    torch.manual_seed(0)
    label = torch.tensor([[[0, 255], [0, 255]]], dtype=torch.uint8)
    drawn = [class_mask(label, 2, ignored=True) for _ in range(40)]
    assert {mask[label == 255].any().item() for mask in drawn} == {True, False}
    assert all(mask.sum() == 2 for mask in drawn)
    assert not class_mask(label, 2)[label == 255].any()


def test_the_hue_turns_about_the_axis_of_greys() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, 5, 7, generator=generator)
    third = torch.full((2, 1, 1, 1), 2 * torch.pi / 3)
    torch.testing.assert_close(mixing._rotate_hue(x, third), x.roll(1, dims=1))
    grey = x[:, :1].expand_as(x)
    torch.testing.assert_close(mixing._rotate_hue(grey, third / 5), grey)


def test_some_images_keep_their_colours() -> None:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(60, 200, (64, 3, 8, 8), generator=generator, dtype=torch.uint8)
    view = mixing.strong_view(image, 0.25, 0.0, jitter_chance=0.8, hue=True)
    kept = (view == image).flatten(1).all(1).float().mean()
    assert 0.05 < kept < 0.4
