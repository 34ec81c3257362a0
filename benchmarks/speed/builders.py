"""What the cases run: updates of presets and of the published code, and the plain operations
that bound them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch

from benchmarks.speed.published import Images, Published
from benchmarks.speed.rounds import Run
from clan.config.loading import load_config
from clan.data.classes import CITYSCAPES
from clan.data.loading import Batch
from clan.methods import METHODS, Method, Progress
from clan.methods.clan import CLAN
from clan.methods.tan import TAN
from clan.models.segmenter import Segmenter
from clan.training.network import prepare_network
from clan.training.processes import launch

Size = tuple[int, int]


def method_of(preset: str, overrides: tuple[str, ...]) -> Method:
    """Build a preset's method with random weights on the device that it names."""
    config = load_config(preset, overrides)
    torch.manual_seed(0)
    segmenter = Segmenter(config.model, CITYSCAPES)
    prepare_network(segmenter, config.training)
    method = METHODS[config.method.name](segmenter, config.method, config.optim)
    method.setup(launch(config.training))
    return method


def images_of(size: Size, batch: int, device: torch.device) -> Images:
    """Return random images and a label of patches."""
    generator = torch.Generator().manual_seed(0)

    def image() -> torch.Tensor:
        shape = (batch, 3, *size)
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).to(device)

    coarse = torch.randint(0, 19, (batch, 1, 8, 16), generator=generator).float()
    label = torch.nn.functional.interpolate(coarse, size=size)[:, 0].to(torch.uint8)
    return Images(image(), label.to(device), image())


def batches_of(images: Images) -> tuple[Batch, Batch]:
    """Return the same as a method takes it."""
    names = [str(i) for i in range(len(images.source))]
    index = torch.arange(len(names), device=images.source.device)
    source = Batch(image=images.source, label=images.label, name=names, index=index)
    return source, Batch(image=images.target, name=names, index=index)


def network(preset: str, overrides: tuple[str, ...]) -> Run:
    """Nothing: the networks are built, and stay."""
    method = method_of(preset, overrides)

    def run() -> None:
        assert method is not None

    return run


def update(preset: str, overrides: tuple[str, ...], size: Size, batch: int = 1) -> Run:
    """An update of a preset, from batches that are on the device."""
    method = method_of(preset, overrides)
    source, target = batches_of(images_of(size, batch, method.fabric.device))
    steps = 100

    def run() -> None:
        method.step(source, target, Progress(50, steps))

    return run


def discriminator_passes(preset: str, overrides: tuple[str, ...], size: Size, batch: int) -> Run:
    """D's part of an adversarial update: source and target to learn from, the target for G."""
    method = method_of(preset, overrides)
    assert isinstance(method, TAN)
    discriminator, classes = method.discriminator, len(method.segmenter.classes)
    p_s, p_t = (torch.rand(batch, classes, *size).softmax(dim=1) for _ in range(2))
    seen = p_t.clone().requires_grad_()

    def run() -> None:
        discriminator.requires_grad_(False)
        discriminator(seen).mean().backward()
        discriminator.requires_grad_(True)
        for p in (p_s, p_t):
            discriminator(p).mean().backward()

    return run


def published_players(device: str = "cpu", width: int = 64) -> Published:
    """The published code's players, with the networks of the preset ``reference``."""
    config = load_config("gta5-cityscapes/reference/resnet101/clan", [f"model.width={width}"])
    torch.manual_seed(0)
    segmenter = Segmenter(config.model, CITYSCAPES).to(device)
    method = METHODS["clan"](segmenter, config.method, config.optim).to(device)
    assert isinstance(method, CLAN)
    return Published(segmenter.encoder, segmenter.classifiers, method.discriminator)


def published_update(size: Size, batch: int = 1, width: int = 64) -> Run:
    """An update of the published code; the first run counts its floating-point operations."""
    from torch.utils.flop_counter import FlopCounterMode

    players = published_players(width=width)
    images = images_of(size, batch, torch.device("cpu"))
    found: dict[str, float] = {}

    def run() -> Mapping[str, float]:
        if not found:
            with FlopCounterMode(display=False) as counter:
                players.update(images)
            found["flop"] = float(counter.get_total_flops())
        else:
            players.update(images)
        return found

    return run


def product(precision: str, side: int = 2048, device: str = "cpu") -> Run:
    """A large matrix product; returns its rate in FLOP per processor second."""
    dtype = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16}[precision]
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    repeats = 8

    def run() -> dict[str, float]:
        start = time.process_time()
        for _ in range(repeats):
            torch.mm(a, b)
        return {"rate": repeats * 2 * side**3 / (time.process_time() - start)}

    return run


def copy(mebibytes: int = 64) -> Run:
    """A copy in memory; returns bytes read and written per processor second."""
    a = torch.ones(mebibytes * 2**20, dtype=torch.uint8)
    b = torch.empty_like(a)

    def run() -> dict[str, float]:
        start = time.process_time()
        for _ in range(4):
            b.copy_(a)
        return {"rate": 4 * 2 * a.numel() / (time.process_time() - start)}

    return run
