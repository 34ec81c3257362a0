"""One update of each method: who learns from what, and the paper's formulas restated."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from clan.methods import METHODS, Progress
from clan.optim.options import OptimOptions
from tests.methods.helpers import PLAIN, batch, build, parameters

START = Progress(0, 10)


def step(method, progress=START, source=None, target=None):
    # as the training loop does
    torch.manual_seed(progress.step)
    return method.step(
        source if source is not None else batch(1),
        target if target is not None else batch(2, labelled=False),
        progress,
    )


@pytest.mark.parametrize("name", METHODS)
def test_a_step_lowers_the_source_loss_and_returns_detached_scalars(name):
    gentle = OptimOptions(segmenter=PLAIN.segmenter.model_copy(update={"lr": 0.01}))
    # pasted noise teaches the opposite of other noise: where there is some, the source leads
    mixes = "lambda_target" in METHODS[name].Options.model_fields
    options = {"lambda_target": 0.1} if mixes else {}
    if "lambda_mask" in METHODS[name].Options.model_fields:
        options["lambda_mask"] = 0.1
    method = build(name, gentle, **options)
    losses = []
    for index in range(8):
        scalars = step(method, Progress(index, 8))
        losses.append(scalars["loss_seg"].item())
        assert all(v.ndim == 0 and not v.requires_grad for v in scalars.values())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", METHODS)
def test_every_parameter_is_in_exactly_one_group(name):
    method = build(name)
    listed = [
        id(p) for o in method.optimizers.values() for g in o.param_groups for p in g["params"]
    ]
    assert sorted(listed) == sorted(id(p) for p in method.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", METHODS)
def test_the_state_holds_each_tensor_once_under_plain_names(name):
    method = build(name)
    own = {name for name, _ in method.named_buffers(recurse=False)}
    roots = {key.split(".")[0] for key in method.state_dict()}
    assert roots - own <= {"segmenter", "discriminator", "start", "teacher"}
    places = [value.data_ptr() for value in method.state_dict().values()]
    assert len(places) == len(set(places))


# cbst and cda read those that they have written themselves
@pytest.mark.parametrize("name", [n for n in METHODS if n not in ("cbst", "cda")])
def test_target_labels_are_never_read(name):
    with_labels, without = build(name), build(name)
    step(with_labels, target=batch(2, labelled=True))
    step(without)
    for a, b in zip(parameters(with_labels).values(), parameters(without).values(), strict=True):
        assert torch.equal(a, b)


def test_source_only_ignores_the_target():
    a, b = build("source_only"), build("source_only")
    step(a, target=batch(2))
    step(b, target=batch(3))
    assert all(
        torch.equal(x, y)
        for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


def test_adabn_learns_source_only_weights_and_remembers_the_target():
    source_only, adabn = build("source_only"), build("adabn")
    step(source_only)
    step(adabn)
    for name, value in parameters(adabn).items():
        assert torch.equal(value, parameters(source_only)[name])
    means = "segmenter.encoder.bn1.running_mean"
    assert not torch.equal(adabn.state_dict()[means], source_only.state_dict()[means])


@pytest.mark.parametrize("mode", ["frozen", "source", "target", "both"])
def test_tan_without_its_adversary_is_source_training(mode):
    """lambda_adv = 0: the target moves nothing but, by mode, the remembered statistics."""
    a, b = (build("tan", lambda_adv=0, batch_norm=mode) for _ in range(2))
    step(a, target=batch(2, labelled=False))
    step(b, target=batch(3, labelled=False))
    for name, value in parameters(a).items():
        if name.startswith("segmenter"):
            assert torch.equal(value, parameters(b)[name])


def test_d_learns_while_g_is_left_alone_and_the_other_way_round():
    tan = build("tan", lambda_adv=0.5)
    before = parameters(tan)
    progress = Progress(0, 10)
    tan.start_update(progress)
    tan.fool_discriminator(batch(2), progress, last=True)
    assert all(p.grad is None for p in tan.discriminator.parameters())
    assert all(p.grad is not None for p in tan.segmenter.parameters())
    assert all(p.requires_grad for p in tan.discriminator.parameters())
    tan.start_update(progress)
    p = torch.rand(2, 3, 32, 32).softmax(1)
    tan.learn_domains(p, p.flip(0), None, last=True)
    assert all(p.grad is None for p in tan.segmenter.parameters())
    assert all(p.grad is not None for p in tan.discriminator.parameters())
    assert all(torch.equal(before[n], v) for n, v in parameters(tan).items())


def gradients(method, loss):
    method.zero_grad()
    loss.backward()
    return {n: None if p.grad is None else p.grad.clone() for n, p in method.named_parameters()}


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("preheat", [0, 5])
def test_a_clan_step_is_the_papers_equations(detach, preheat):
    options = {
        "lambda_adv": 0.3,
        "lambda_weight": 0.2,
        "lambda_local": 40,
        "epsilon": 0.4,
        "detach_map": detach,
        "preheat_steps": preheat,
        "batch_norm": "frozen",
        "damping": True,
    }
    clan, restated = build("clan", **options), build("clan", **options)
    source, target = batch(1), batch(2)
    start = parameters(restated)
    restated.eval()
    # Eq. 3: cross-entropy of the ensemble; Eq. 4: cosine of the classifiers' filters
    z1, z2 = restated.segmenter(source["image"])
    l_seg = F.cross_entropy(z1 + z2, source["label"].long())
    w1, w2 = (h.conv2d_list[0].weight.flatten() for h in restated.segmenter.classifiers)
    l_weight = (w1 @ w2) / (w1.norm() * w2.norm())
    # Eq. 5 and 6
    t1, t2 = restated.segmenter(target["image"])
    p1, p2 = t1.softmax(1), t2.softmax(1)
    m = 1 - (p1 * p2).sum(1, keepdim=True) / (
        p1.norm(dim=1, keepdim=True) * p2.norm(dim=1, keepdim=True)
    )
    weight = 40 * m + 0.4 if preheat <= 2 else torch.ones_like(m)
    d = restated.discriminator
    p_s, p_t = (z1 + z2).softmax(1), (t1 + t2).softmax(1)
    bce = F.binary_cross_entropy_with_logits
    z = d(p_t)
    seen = weight.detach() if detach else weight
    fool = (seen * bce(z, torch.zeros_like(z), reduction="none")).mean()
    damped = 1 - 2 / 10
    g = gradients(restated, l_seg + damped * (0.2 * l_weight + 0.3 * fool))
    d_s, d_t = d(p_s.detach()), d(p_t.detach())
    ones, zeros = torch.ones_like(d_t), torch.zeros_like(d_s)
    l_d = bce(d_s, zeros) / 2 + bce(d_t, ones, weight=weight.detach()) / 2
    g_d = gradients(restated, l_d)
    step(clan, Progress(2, 10), source, target)
    for name, value in parameters(clan).items():
        gradient = (g if name.startswith("segmenter") else g_d)[name]
        torch.testing.assert_close(
            value, start[name] - 0.1 * gradient, rtol=1e-4, atol=1e-6, msg=name
        )


def test_clan_with_a_constant_map_and_no_discrepancy_is_tan():
    clan = build("clan", lambda_local=0, epsilon=1, lambda_weight=0, batch_norm="both")
    tan = build("tan", batch_norm="both")
    for index in range(3):
        step(clan, Progress(index, 3))
        step(tan, Progress(index, 3))
    for a, b in zip(parameters(clan).values(), parameters(tan).values(), strict=True):
        torch.testing.assert_close(a, b)


# adabn always normalises by the batch, which accumulation splits; cda has to know the target
@pytest.mark.parametrize("name", [n for n in METHODS if n not in ("adabn", "cda")])
def test_accumulation_gives_the_same_update(name):
    """With statistics frozen, two halves are one whole."""
    mode = {"batch_norm": "frozen"}
    if name == "clan_st":
        # random views are drawn for each part
        mode |= {"mix": False, "strong_jitter": 0.0, "strong_blur": 0.0}
    halves = OptimOptions(**{**dict(PLAIN), "accumulate": 2})
    whole, split = build(name, **mode), build(name, halves, **mode)
    a, b = (
        step(whole, source=batch(1, 4), target=batch(2, 4)),
        step(split, source=batch(1, 4), target=batch(2, 4)),
    )
    for x, y in zip(parameters(whole).values(), parameters(split).values(), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-6)
    # norms and quantiles of parts do not add up to those of the whole
    own = ("adv_share", "alignment_q")
    for key in {k for k in a if not k.startswith(own)}:
        torch.testing.assert_close(a[key], b[key], rtol=1e-4, atol=1e-5)


def test_segmentation_loss_on_heads_is_the_sum_of_both():
    method = build("source_only", segmentation="heads")
    logits = tuple(torch.randn(1, 3, 4, 4) for _ in range(2))
    label = torch.randint(0, 3, (1, 4, 4))
    expected = sum(F.cross_entropy(z, label) for z in logits)
    torch.testing.assert_close(method.segmentation_loss(logits, label, "source"), expected)


def test_damping_fades_the_adversary():
    tan = build("tan", damping=True)
    assert [tan.damping(Progress(s, 10)) for s in (0, 5, 9)] == [1, 0.5, pytest.approx(0.1)]
    assert build("tan").damping(Progress(9, 10)) == 1
