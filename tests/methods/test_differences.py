"""Options for what the paper and the published code do differently, one by one."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from clan.config.loading import load_config
from clan.core.errors import ConfigError
from clan.data.classes import CITYSCAPES
from clan.data.loading import Batch
from clan.losses.segmentation import CrossEntropy, Focal
from clan.methods import METHODS, Progress
from clan.models.discriminator import Discriminator
from clan.models.segmenter import ModelOptions, Segmenter
from tests.methods.helpers import batch, build, parameters

MIDDLE = Progress(4, 10)


def moved(name: str, **options) -> dict[str, torch.Tensor]:
    """Return what one plain gradient step changes."""
    method = build(name, **options)
    before = parameters(method)
    method.step(batch(1), batch(2, labelled=False), MIDDLE)
    return {n: p - before[n] for n, p in parameters(method).items()}


def of(part: str, changes: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([v.flatten() for n, v in changes.items() if n.startswith(part)])


@pytest.mark.parametrize("name", ["tan", "clan"])
def test_the_discriminators_factor_scales_its_step_alone(name):
    half, whole = moved(name), moved(name, discriminator_factor=1)
    torch.testing.assert_close(of("discriminator", whole), 2 * of("discriminator", half))
    torch.testing.assert_close(of("segmenter", whole), of("segmenter", half))


def test_the_map_weighs_g_alone_if_asked():
    both, g_alone = moved("clan"), moved("clan", weigh_discriminator=False)
    torch.testing.assert_close(of("segmenter", g_alone), of("segmenter", both))
    unweighted = moved("clan", preheat_steps=5)
    torch.testing.assert_close(of("discriminator", g_alone), of("discriminator", unweighted))
    assert not torch.allclose(of("discriminator", g_alone), of("discriminator", both))


def test_the_preheating_lasts_as_many_steps_as_it_says():
    """5001 steps are those up to number 5000, as the published code counts from 0."""
    clan = build("clan", preheat_steps=5001)
    logits = tuple(torch.randn(1, 3, 4, 4) for _ in range(2))
    assert clan.location_weight(logits, Progress(5000, 100_000)) is None
    assert clan.location_weight(logits, Progress(5001, 100_000)) is not None


def test_the_discrepancy_with_biases_is_the_cosine_of_all_parameters():
    for biases in (False, True):
        clan = build("clan", discrepancy_biases=biases)
        first, second = clan.segmenter.heads()
        chosen = [
            torch.cat([p.flatten() for n, p in h.named_parameters() if biases or "weight" in n])
            for h in (first, second)
        ]
        noted = clan.step(batch(1), batch(2), MIDDLE)["loss_weight"]
        expected = build("clan").segmenter  # the same seed: as it was before the step
        chosen = [
            torch.cat([p.flatten() for n, p in h.named_parameters() if biases or "weight" in n])
            for h in expected.heads()
        ]
        torch.testing.assert_close(noted, F.cosine_similarity(*chosen, dim=0).detach())


def test_one_added_to_the_cosine_moves_nothing():
    """The published loss is (cos + 1) * lambda * 2: its gradient is that of 2 * lambda * cos."""
    w1, w2 = torch.randn(2, 50, dtype=torch.float64).requires_grad_().unbind()
    cosine = F.cosine_similarity(w1, w2, dim=0)
    (a,) = torch.autograd.grad((cosine + 1) * 0.01 * 2, w1, retain_graph=True)
    (b,) = torch.autograd.grad(0.02 * cosine, w1)
    assert torch.equal(a, b)


@pytest.mark.parametrize("upsampling", ["none", "bilinear", "aligned"])
def test_the_discriminator_answers_per_patch_or_per_pixel(upsampling):
    torch.manual_seed(0)
    patches = Discriminator(3, 4, "none")
    other = Discriminator(3, 4, upsampling)
    other.load_state_dict(patches.state_dict())
    p = torch.rand(1, 3, 64, 96)
    coarse, found = patches(p), other(p)
    assert coarse.shape == (1, 1, 2, 3)
    if upsampling == "none":
        assert torch.equal(found, coarse)
        return
    assert found.shape == (1, 1, 64, 96)
    # with corners aligned, and only then, a corner pixel is the corner patch and the last but one
    # differs from it
    aligned = upsampling == "aligned"
    torch.testing.assert_close(found[..., 0, 0], coarse[..., 0, 0])
    assert torch.allclose(found[..., 0, 8], found[..., 0, 0]) is not aligned


def test_clan_needs_a_discriminator_that_answers_per_pixel():
    with pytest.raises(ValidationError, match="'bilinear' or 'aligned'"):
        METHODS["clan"].Options(discriminator_upsampling="none")
    loss = build("tan", discriminator_upsampling="none").step(batch(1), batch(2), MIDDLE)
    assert math.isfinite(loss["loss_d_target"])


def test_clamped_pixels_give_no_gradient():
    label = torch.zeros(1, 1, 2, dtype=torch.uint8)
    logits = torch.tensor([[[[0.0, 0.0]], [[30.0, 3.0]]]], requires_grad=True)
    loss = CrossEntropy(CrossEntropy.Options(clamp=1e-9))(logits, label).mean()
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[..., 0].abs().max() == 0
    assert logits.grad[..., 1].abs().min() > 0
    expected = (-math.log(1e-9) + math.log(1 + math.exp(3))) / 2
    assert loss.item() == pytest.approx(expected)


@pytest.mark.parametrize("gamma", [0, 2])
def test_the_clamp_is_silent_elsewhere(gamma):
    """Its upper end is 1 in float32, and few probabilities are below its lower."""
    logits, label = torch.randn(2, 5, 8, 8), torch.randint(0, 5, (2, 8, 8))
    losses = (Focal(Focal.Options(gamma=gamma, clamp=clamp)) for clamp in (0, 1e-9))
    plain, clamped = (loss(logits, label) for loss in losses)
    assert torch.equal(plain, clamped)
    assert torch.tensor(1 - 1e-9, dtype=torch.float32) == 1


def test_the_mean_is_the_sum_over_the_pixels():
    """Row 8: for images of one size, a sum is the mean with other rates and weights."""
    from clan.losses.adversarial import adversarial_loss

    z, weight = torch.randn(1, 1, 8, 16), torch.rand(1, 1, 8, 16)
    summed = (weight * F.binary_cross_entropy_with_logits(z, z * 0, reduction="none")).sum()
    torch.testing.assert_close(adversarial_loss(z, 0, weight) * 8 * 16, summed)


@pytest.mark.parametrize("network", ["resnet18", "vgg16"])
def test_logits_come_at_the_size_of_the_labels(network):
    decoder = "fcn8s" if network == "vgg16" else "deeplab"
    torch.manual_seed(0)
    options = ModelOptions(encoder=network, decoder=decoder, width=4)
    segmenter = Segmenter(options, CITYSCAPES).eval()
    image = torch.randint(0, 256, (1, 3, 32, 48), dtype=torch.uint8)
    own, base = segmenter(image), segmenter(image, (40, 60))
    assert own[0].shape[-2:] == (32, 48)
    assert [z.shape[-2:] for z in base] == [(40, 60)] * 2
    if network == "resnet18":
        # in one step from the features, as published
        small = sum(c(segmenter.encode(image)[-1]) for c in segmenter.classifiers[0].conv2d_list)
        expected = F.interpolate(small, (40, 60), mode="bilinear", align_corners=True)
        torch.testing.assert_close(base[0], expected)


@pytest.mark.parametrize("name", METHODS)
def test_a_step_takes_images_scaled_without_their_labels(name):
    method = build(name)
    source, target = batch(1), batch(2, labelled=False)
    small = torch.randint(0, 256, (2, 3, 26, 26), dtype=torch.uint8)
    scaled = [Batch(**{**b, "image": small, "size": (32, 32)}) for b in (source, target)]
    scalars = method.step(*scaled, MIDDLE)
    assert all(math.isfinite(v) for v in scalars.values())


def test_adabn_without_batch_norm_is_refused():
    with pytest.raises(ConfigError, match="vgg16 has none: it would be source_only"):
        load_config("gta5-cityscapes/paper/vgg16/source_only", ["method={name: adabn}"])
