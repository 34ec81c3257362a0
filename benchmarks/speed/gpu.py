"""Row: updates of CLAN on a GPU, by network, batch, precision and compilation; and a profile.

One process, one configuration after the other, since each may need the whole memory. Within the
time that is given the most telling ones come first, and the page names those that were left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import NamedTuple

from benchmarks.speed.table import Block, Line, Settings, gib

TITLE = "On a GPU"
SECONDS = 480.0
"""After which no other configuration begins."""
SIZE = (512, 1024)
UPDATES = 8
PRESET = "gta5-cityscapes/modern/resnet101/clan"
MIT_B5 = (
    "model.encoder=hf:mit_b5",
    "model.freeze_affine=false",
    "model.dilate_first=false",
    "method.batch_norm=frozen",
)
NETWORKS = {
    "resnet101": (),
    "efficientnet_lite0": ("model.encoder=efficientnet_lite0", "model.dilate_first=false"),
    "mit-b5": MIT_B5,
}


class Setting(NamedTuple):
    """One configuration."""

    network: str
    batch: int
    precision: str
    compiled: bool

    @property
    def text(self) -> str:
        return f"{self.network}, batch {self.batch}, {self.precision}" + (
            ", compiled" if self.compiled else ""
        )


def settings_in_order() -> Iterator[Setting]:
    """Yield the configurations, the most telling first."""
    for precision in ("bf16-mixed", "32-true"):
        yield Setting("resnet101", 1, precision, False)
    for batch in (2, 4, 8, 16):
        yield Setting("resnet101", batch, "bf16-mixed", False)
    yield Setting("resnet101", 2, "bf16-mixed", True)
    others = ["efficientnet_lite0"] + (["mit-b5"] if find_spec("transformers") else [])
    for network in others:
        for batch in (2, 8):
            yield Setting(network, batch, "bf16-mixed", False)
    for batch in (4, 16):
        yield Setting("resnet101", batch, "32-true", False)
    for network in others:
        yield Setting(network, 2, "32-true", False)
        yield Setting(network, 2, "bf16-mixed", True)


def gpu(settings: Settings) -> Block:
    """Measure what fits into the time."""
    import torch

    end = time.perf_counter() + (60 if settings.quick else SECONDS)
    size = (128, 256) if settings.quick else SIZE
    torch.backends.cudnn.benchmark = True
    rates = {p: _product_rate(p) for p in ("32-true", "bf16-mixed")}
    published, flop = _published(size)
    lines = [
        Line(
            "the published code, batch 1, float32",
            f"{2 / published:.2f} images/s",
            f"{2 * rates['32-true'] / flop:.2f} images/s",
            published * rates["32-true"] / flop,
        )
    ]
    left: list[str] = []
    for setting in settings_in_order():
        if time.perf_counter() > end:
            left.append(setting.text)
            continue
        lines += _lines(setting, size, rates, published)
    profile = _profile(size)
    notes = [
        f"Images of {size[0]}x{size[1]}, both domains counted; the limit is the update's "
        f"floating-point operations at the rate of a product of 8192x8192 "
        f"({rates['32-true'] / 1e12:.0f} TFLOP/s in float32, {rates['bf16-mixed'] / 1e12:.0f} in "
        "bfloat16). A share of the product's rate of 50 % is a ratio of 2.",
        f"Left out for want of time: {'; '.join(left) or 'nothing'}.",
        "",
        _classifiers(size),
        "",
        f"The ten dearest operations of `{PRESET}` at batch 2, by the device's own time:",
        "",
        profile,
    ]
    return Block(TITLE, lines, "\n".join(notes))


def _lines(
    setting: Setting, size: tuple[int, int], rates: dict[str, float], published: float
) -> list[Line]:
    import torch

    from benchmarks.speed import builders

    changes = (
        *NETWORKS[setting.network],
        f"data.batch_size={setting.batch}",
        f"training.precision={setting.precision}",
        f"training.compile={str(setting.compiled).lower()}",
        "training.accelerator=cuda",
    )
    torch.cuda.reset_peak_memory_stats()
    try:
        run = builders.update(PRESET, changes, size, setting.batch)
        flop = _flop(run) if not setting.compiled else 0.0
        took = _seconds(run)
    except torch.OutOfMemoryError:
        return [Line(setting.text, "out of memory", "-", float("nan"))]
    finally:
        torch.cuda.empty_cache()
    images = 2 * setting.batch
    measured = f"{images / took:.2f} images/s, {gib(torch.cuda.max_memory_allocated())}"
    old = 2 / published
    lines = []
    if flop:
        limit = flop / rates[setting.precision]
        lines.append(
            Line(setting.text, measured, f"{images / limit:.1f} images/s", took / limit, 2.0)
        )
    if setting.network == "resnet101":
        faster = (images / took) / old
        lines.append(
            Line(
                setting.text, measured, f"{old:.2f} images/s", 1 / faster, 0.333, "published (time)"
            )
        )
    return lines or [Line(setting.text, measured, "-", float("nan"))]


def _seconds(run: Callable[[], object], updates: int = UPDATES) -> float:
    """Return the mean seconds of an update, after three that set things up."""
    import torch

    for _ in range(3):
        run()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(updates):
        run()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / updates


def _flop(run: Callable[[], object]) -> float:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


def _product_rate(precision: str) -> float:
    from benchmarks.speed import builders

    side = 8192
    run = builders.product(precision, side, "cuda")
    return 8 * 2 * side**3 / _seconds(run, 3)


def _published(size: tuple[int, int]) -> tuple[float, float]:
    """Return seconds and floating-point operations of the published code's update."""
    import torch

    from benchmarks.speed import builders

    players = builders.published_players("cuda")
    images = builders.images_of(size, 1, torch.device("cuda"))

    def run() -> None:
        players.update(images)

    flop = _flop(run)
    return _seconds(run), flop


def _classifiers(size: tuple[int, int]) -> str:
    """Say how long both ways to compute a classifier take, forwards and backwards, in bfloat16."""
    import torch

    from clan.models.decoders.deeplab import ASPP, branches, one_product

    convs = ASPP(2048, 19, (6, 12, 18, 24)).cuda().conv2d_list
    x = torch.randn(2, 2048, size[0] // 8, size[1] // 8, device="cuda", dtype=torch.bfloat16)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    took = []
    for way in (branches, one_product):

        def run(way: Callable[..., torch.Tensor] = way) -> None:
            with torch.autocast("cuda", torch.bfloat16):
                total = way(x, convs).float().sum()
            torch.autograd.backward(total)

        took.append(1000 * _seconds(run))
    return (
        f"A classifier on 2048 channels at batch 2, forwards and backwards: {took[0]:.2f} ms by "
        f"its branches, {took[1]:.2f} ms by one product; on GPUs the package takes the branches."
    )


def _profile(size: tuple[int, int]) -> str:
    """Return a table of the ten operations that take the most of the device's time."""
    from torch.profiler import ProfilerActivity, profile

    from benchmarks.speed import builders

    changes = ("data.batch_size=2", "training.accelerator=cuda")
    run = builders.update(PRESET, changes, size, 2)
    _seconds(run, 1)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as watched:
        run()
    averages = watched.key_averages()
    total = sum(each.self_device_time_total for each in averages)
    dearest = sorted(averages, key=lambda each: -each.self_device_time_total)[:10]
    rows = [
        f"| `{each.key[:60]}` | {each.count} | {100 * each.self_device_time_total / total:.1f} % |"
        for each in dearest
    ]
    return "\n".join(["| operation | calls | share |", "| --- | ---: | ---: |", *rows])
