"""Three updates of DACS, DAFormer and MIC equal a plain restatement of them, in float64."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clan.methods import Progress, dacs, mic
from clan.optim.options import OptimOptions, SegmenterOptimizerOptions
from tests.methods.helpers import PLAIN, batch, build

ADAMW = OptimOptions(
    segmenter=SegmenterOptimizerOptions(
        name="adamw", lr=1e-3, weight_decay=0.01, head_multiplier=10, schedule="constant"
    ),
    discriminator=PLAIN.discriminator,
)
THRESHOLD = 0.35
MASK = torch.zeros(2, 32, 32, dtype=torch.bool)
MASK[0, :, :16] = True
MASK[1, 20:] = True
DRAWN = torch.tensor([[[0.1, 0.8], [0.9, 0.71]], [[0.75, 0.2], [0.3, 0.99]]])


@pytest.fixture(autouse=True)
def given(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compute in float64; masks are given and views stay as they are."""
    monkeypatch.setattr(
        Tensor, "float", lambda x: x if x.dtype == torch.float64 else x.to(torch.float64)
    )
    monkeypatch.setattr(dacs, "class_mask", lambda *_, **__: MASK)
    monkeypatch.setattr(dacs, "strong_view", lambda image, *_, **__: image)
    drawn = mic.block_mask
    monkeypatch.setattr(
        mic, "block_mask", lambda numbers, size, ratio: drawn(DRAWN.to(numbers), size, ratio)
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


class Plain:
    """G and its teacher as plain modules with AdamW."""

    def __init__(self, segmenter: nn.Module) -> None:
        # every batch norm normalises by its own batch
        self.g = copy.deepcopy(segmenter).train()
        self.teacher = copy.deepcopy(self.g)
        self.start = copy.deepcopy(segmenter.encoder).eval()
        heads = list(self.g.classifiers.parameters())
        encoder = list(self.g.encoder.parameters())
        groups = [{"params": encoder, "lr": 1e-3}, {"params": heads, "lr": 1e-2}]
        self.adamw = torch.optim.AdamW(groups, betas=(0.9, 0.999), weight_decay=0.01)

    def normalised(self, image: Tensor) -> Tensor:
        mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
        std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
        return (image / 255.0 - mean) / std

    def logits(self, network: nn.Module, x: Tensor) -> Tensor:
        features = network.encoder(x)[-1]
        maps = [sum(conv(features) for conv in c.conv2d_list) for c in network.classifiers]
        up = [F.interpolate(z, size=(32, 32), mode="bilinear", align_corners=True) for z in maps]
        return up[0] + up[1]

    def follow(self, step: int, decay: float) -> None:
        alpha = min(1 - 1 / (step + 1), decay)
        pairs = zip(self.teacher.parameters(), self.g.parameters(), strict=True)
        for own, new in pairs:
            own.data = alpha * own.data + (1 - alpha) * new.data

    def step(
        self, source: dict, target: dict, step: int, decay: float, things: float, masks: bool
    ) -> None:
        self.follow(step, decay)
        with torch.no_grad():
            p = self.logits(self.teacher, self.normalised(target["image"])).softmax(dim=1)
        sure, label = p.max(dim=1)
        weight = torch.full((2, 32, 32), (sure >= THRESHOLD).double().mean().item())
        weight[:, :3] = 0
        weight[:, 30:] = 0
        self.adamw.zero_grad()
        x_s = self.normalised(source["image"])
        F.cross_entropy(self.logits(self.g, x_s), source["label"].long()).backward()
        if things:
            self.distance(x_s, source["label"], things).backward()
        mixed = torch.where(MASK.unsqueeze(1), source["image"], target["image"])
        labels = torch.where(MASK, source["label"].long(), label)
        weights = torch.where(MASK, 1.0, weight)
        self.weighted(self.normalised(mixed), labels, weights).backward()
        if masks:
            kept = (DRAWN > 0.7).double().repeat_interleave(16, 1).repeat_interleave(16, 2)
            x_m = self.normalised(target["image"]) * kept.unsqueeze(1)
            self.weighted(x_m, label, weight).backward()
        self.adamw.step()

    def weighted(self, x: Tensor, label: Tensor, weight: Tensor) -> Tensor:
        return (weight * F.cross_entropy(self.logits(self.g, x), label, reduction="none")).mean()

    def distance(self, x: Tensor, label: Tensor, weight: float) -> Tensor:
        """Class b alone is a thing; a cell is its where it has three quarters of the pixels."""
        first = self.start(x)[-1].detach()
        apart = (self.g.encoder(x)[-1] - first).pow(2).sum(dim=1).sqrt()
        side = 32 // apart.shape[-1]
        share = F.avg_pool2d((label == 1).double().unsqueeze(1), side).squeeze(1)
        shown = share >= 0.75
        assert 0 < shown.sum() < shown.numel()
        return weight * apart[shown].mean()


@pytest.mark.parametrize(
    ("name", "things", "masks"),
    [
        ("dacs", 0.0, False),
        ("daformer", 0.0, False),
        ("daformer", 0.05, False),
        ("mic", 0.0, True),
        ("mic", 0.05, True),
    ],
)
def test_three_updates_are_the_published_ones(name: str, things: float, masks: bool) -> None:
    options: dict = {"threshold": THRESHOLD, "teacher_decay": 0.6}
    options |= {"ignore_top": 3, "ignore_bottom": 2}
    if name != "dacs":
        options |= {"lambda_distance": things, "things": ("b",)}
    if masks:
        options["mask_block"] = 16
    method = build(name, ADAMW, **options)
    plain = Plain(method.segmenter)
    for step in range(3):
        source, target = batch(2 * step), batch(2 * step + 1, labelled=False)
        source["label"][:, :16, :16] = 1
        method.step(source, target, Progress(step, 10))
        plain.step(source, target, step, 0.6, things, masks)
    for own, wanted in zip(method.segmenter.parameters(), plain.g.parameters(), strict=True):
        torch.testing.assert_close(own, wanted, rtol=1e-8, atol=1e-9)
    teacher = method.teacher.network
    for own, wanted in zip(teacher.parameters(), plain.teacher.parameters(), strict=True):
        torch.testing.assert_close(own, wanted, rtol=1e-8, atol=1e-9)
    moved = [not torch.equal(a, b) for a, b in zip(teacher.parameters(), plain.g.parameters())]  # noqa: B905
    assert all(moved)


def test_an_image_without_things_has_no_distance() -> None:
    method = build("daformer", things=("c",))
    source = batch(0)
    source["label"].fill_(0)
    scalars = method.step(source, batch(1, labelled=False), Progress(0, 10))
    assert scalars["feature_distance"] == 0
    assert all(p.isfinite().all() for p in method.segmenter.parameters())


def test_mixed_images_leave_no_trace_in_the_statistics() -> None:
    method = build("dacs", batch_norm="source")
    before = method.segmenter.encoder.bn1.running_mean.clone()
    other = build("source_only", batch_norm="source")
    method.step(batch(0), batch(1, labelled=False), Progress(0, 10))
    other.step(batch(0), {}, Progress(0, 10))
    own = method.segmenter.encoder.bn1.running_mean
    assert not torch.equal(own, before)
    torch.testing.assert_close(own, other.segmenter.encoder.bn1.running_mean)
