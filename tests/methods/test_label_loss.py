"""The loss on labels: named, weighted, one mean over all labelled pixels however divided."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor

from clan.core.errors import ConfigError
from clan.losses.mixing import SlotDraw, strong_view
from clan.losses.segmentation import (
    LOSSES,
    CrossEntropy,
    Focal,
    LossOptions,
    PixelLoss,
    balanced_weights,
    register_loss,
)
from clan.methods import METHODS, Progress
from clan.optim.options import OptimOptions
from tests.methods.helpers import PLAIN, batch, build, parameters

START = Progress(0, 10)
HALVES = OptimOptions(**{**dict(PLAIN), "accumulate": 2})


def uneven(seed: int, labelled: bool = True):
    """Four images: the first without a single label, the others with unlike numbers of them."""
    made = batch(seed, 4, labelled)
    if labelled:
        made["label"][0] = 255
        made["label"][1, :20] = 255
        made["label"][3, 5:] = 255
    return made


def assert_alike(whole, split) -> None:
    for x, y in zip(parameters(whole).values(), parameters(split).values(), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-6)


# adabn normalises by its batches, which parts divide; cda has to know the target
@pytest.mark.parametrize("name", [n for n in METHODS if n not in ("adabn", "cda")])
@pytest.mark.parametrize("weights", ["none", {"b": 3.0}])
def test_parts_of_unlike_counts_are_one_update(name, weights):
    options = {"batch_norm": "frozen", "loss": {"class_weights": weights}}
    # random views are the same by slot, not by part: test_clan_st has them
    methods = [build(name, optim, **options) for optim in (PLAIN, HALVES)]
    start = parameters(methods[0])
    given = name in ("cbst", "clan_st")
    a, b = (m.step(uneven(1), uneven(2, labelled=given), START) for m in methods)
    assert_alike(*methods)
    assert any((p != start[n]).any() for n, p in parameters(methods[0]).items())
    torch.testing.assert_close(a["loss_seg"], b["loss_seg"], rtol=1e-4, atol=1e-5)


def test_adabn_learns_one_mean_from_parts_of_one_picture():
    """All images alike, so that parts have the statistics of the whole."""
    methods = [build("adabn", optim) for optim in (PLAIN, HALVES)]
    source = uneven(1)
    source["image"] = source["image"][:1].expand(4, -1, -1, -1).contiguous()
    for method in methods:
        method.step(source, batch(2, 4, labelled=False), START)
    assert_alike(*methods)


@pytest.mark.parametrize("name", ["clan_st"])
def test_mixed_views_are_drawn_by_slot(name):
    methods = [build(name, optim, batch_norm="frozen") for optim in (PLAIN, HALVES)]
    for method in methods:
        method.thresholds.fill_(0.34)
        method.step(uneven(1), batch(2, 4, labelled=False), Progress(0, 10, key=7))
    assert_alike(*methods)


def test_slots_draw_alike_for_any_number_of_processes():
    image = batch(1, 4)["image"]
    alone = strong_view(image, 0.5, 0.5, SlotDraw(3, 0, 1))
    halves = [
        strong_view(part, 0.5, 0.5, SlotDraw(3, r, 2)) for r, part in enumerate(image.chunk(2))
    ]
    torch.testing.assert_close(torch.cat(halves), alone, rtol=0, atol=1)
    other = strong_view(image, 0.5, 0.5, SlotDraw(4, 0, 1))
    assert not torch.equal(other, alone)


def test_labels_that_were_not_counted_are_refused_within_an_update():
    method = build("source_only")
    source = batch(1)
    logits = method.segmenter(source["image"])
    next(iter(method.micro_batches(source, batch(2, labelled=False))))
    with pytest.raises(RuntimeError, match="target's labels of this update were not counted"):
        method.segmentation_loss(logits, source["label"], "target")


def test_class_weights_are_a_weighted_mean():
    method = build("source_only", loss={"class_weights": {"b": 3.0}})
    logits, label = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    label[0, 0] = 255
    expected = F.cross_entropy(
        logits, label, torch.tensor([1.0, 3.0, 1.0]), ignore_index=255, reduction="mean"
    )
    torch.testing.assert_close(method.label_loss(logits, label, "source"), expected)


def test_a_mean_over_all_pixels_counts_the_ignored():
    method = build("source_only", loss={"mean_over": "all"})
    logits, label = torch.randn(1, 3, 4, 4), torch.randint(0, 3, (1, 4, 4))
    label[:, :2] = 255
    half = F.cross_entropy(logits, label, ignore_index=255) / 2
    torch.testing.assert_close(method.label_loss(logits, label, "source"), half)


def test_balanced_weights_are_the_median_frequency_over_ones_own():
    counts = torch.tensor([[6, 2, 0, 0], [9, 0, 1, 0]])
    # frequencies 15/18, 2/8 and 1/10; the last class is in no image
    expected = torch.tensor([0.25 / (15 / 18), 1.0, 2.5, 1.0])
    torch.testing.assert_close(balanced_weights(counts), expected)
    assert balanced_weights(torch.zeros(2, 3, dtype=torch.int64)).tolist() == [1, 1, 1]


def test_an_unknown_class_and_an_unknown_loss_name_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown class 'bb'"):
        build("tan", loss={"class_weights": {"bb": 2.0}})
    with pytest.raises(ValidationError, match=r"unknown loss 'focol'; did you mean 'focal'\?"):
        METHODS["tan"].Options(loss={"name": "focol"})


@pytest.mark.parametrize(
    ("key", "form"), [("focal_gamma", "name: focal"), ("clamp", "clamp: 1e-9")]
)
def test_former_keys_say_the_new_form(key, form):
    with pytest.raises(ValidationError, match=rf"{key} is an option of the loss now.*{form}"):
        METHODS["clan"].Options(**{key: 0.1})


@pytest.mark.parametrize("gamma", [0.1, 0.5, 0.9, 1.0, 2.0])
def test_the_focal_gradient_is_finite_where_a_pixel_is_certain(gamma):
    logits = torch.tensor([200.0, 0.0]).view(1, 2, 1, 1).repeat(1, 1, 1, 2).requires_grad_()
    each = Focal(Focal.Options(name="focal", gamma=gamma))(logits, torch.tensor([[[0, 255]]]))
    each.sum().backward()
    assert torch.isfinite(logits.grad).all()


class Halved(PixelLoss):
    """A loss of another package: a factor times cross-entropy."""

    class Options(LossOptions):
        """Options of halved."""

        factor: float = 0.5
        """Of cross-entropy."""

    def __call__(self, logits: Tensor, label: Tensor) -> Tensor:
        """Return the factor times the cross-entropy of each pixel."""
        return self.options.factor * CrossEntropy(CrossEntropy.Options())(logits, label)


@pytest.mark.parametrize("name", ["source_only", "mcd", "cbst"])
def test_a_loss_from_outside_is_every_methods(name):
    register_loss("halved", Halved)
    try:
        plain = build(name, batch_norm="frozen")
        half = build(name, batch_norm="frozen", loss={"name": "halved"})
        a, b = (m.step(batch(1), batch(2), START) for m in (plain, half))
    finally:
        del LOSSES["halved"]
    for key in {"loss_seg", "loss_target"} & a.keys():
        torch.testing.assert_close(b[key], a[key] / 2)


def test_a_taken_loss_name_is_refused():
    with pytest.raises(ConfigError, match=r"'focal' is taken by Focal"):
        register_loss("focal", Halved)
    with pytest.raises(ConfigError, match="expected a subclass of PixelLoss"):
        register_loss("new", dict)  # type: ignore[arg-type]
