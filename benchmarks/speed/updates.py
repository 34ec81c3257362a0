"""Rows: an update of the large network beside the published code's, and of a small one."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.speed import builders
from benchmarks.speed.rounds import Case, Memory, Result, measure
from benchmarks.speed.table import Block, Line, Settings, gib, seconds

FOLDER = "gta5-cityscapes"
PLACE = ("training.accelerator=cpu", "data.batch_size=1")
CHECKPOINTING, BACK, PLAIN = ", checkpointing", ", memory given back", ", memory as Python has it"
GROUPS = (
    ("32-true", ("published", "reference", "paper", f"paper{PLAIN}")),
    ("32-true", ("paper", f"paper{CHECKPOINTING}", f"paper{CHECKPOINTING}{BACK}")),
    (
        "bf16-mixed",
        ("modern, bf16", f"modern, bf16{CHECKPOINTING}", f"modern, bf16{CHECKPOINTING}{BACK}"),
    ),
)
"""Precision, and what takes turns, by names that say what differs: few, as all are in memory."""
GOALS = {"paper": 1.20, "modern, bf16": 1.35}
"""Of the time of the matrix products alone."""
MEMORY = {"paper": 1.2, "modern, bf16": 1.0}
"""GiB, with checkpointing."""


def large(settings: Settings) -> Block:
    """ResNet-101, one source and one target image of 256x512."""
    size = (64, 128) if settings.quick else (256, 512)
    width = 8 if settings.quick else 64
    lines: list[Line] = []
    rates: dict[str, float] = {}
    seen: set[str] = set()
    published: Result | None = None
    for precision, names in GROUPS:
        cases = [_case(name, precision, size, width) for name in names]
        cases.append(Case("product", builders.product, (precision,)))
        found = measure(cases, settings.rounds)
        rate = rates[precision] = found["product"].fact("rate")
        published = published or found["published"]
        limit = published.fact("flop") / rate
        # `paper` takes turns twice and is shown once
        for name in (name for name in names if name not in seen):
            lines += _update_lines(name, found, limit, published)
        seen |= set(names)
    assert published
    flop = published.fact("flop")
    notes = (
        f"One update at {size[0]}x{size[1]}, batch 1, {flop / 1e12:.2f} TFLOP. The limit is the "
        "time of its floating-point operations at the rate of a large matrix product of the same "
        f"precision ({rates['32-true'] / 1e9:.0f} GFLOP/s in float32, "
        f"{rates['bf16-mixed'] / 1e9:.0f} in bfloat16). Memory is the process's "
        "largest resident set, libraries included.\n\n"
        "What stands between an update and its limit: 1x1 convolutions over large maps and batch "
        "norm wait for memory, not for the multiplier, the more so in bfloat16, where products "
        "take half the time. Checkpointing runs the encoder once more, which makes 4/3 of the "
        "time. What stands between it and less memory: "
        "libraries, parameters, gradients and momentum, about 1 GiB.\n\n"
        "Commands keep freed memory for the next update and ask for it in huge pages "
        "(`clan.core.memory`); "
        "with `MALLOC_MMAP_THRESHOLD_=1048576` in the environment each block is given back when it "
        "is freed, and Python programs have neither unless they set it. Results are the same bits."
    )
    return Block("An update of ResNet-101", lines, notes)


def _case(name: str, precision: str, size: builders.Size, width: int) -> Case:
    if name == "published":
        return Case(name, builders.published_update, (size, 1, width), memory="plain")
    preset = f"{FOLDER}/{name.split(',')[0]}/resnet101/clan"
    more: tuple[str, ...] = (*PLACE, f"training.precision={precision}", f"model.width={width}")
    if CHECKPOINTING in name:
        more += ("training.checkpointing=encoder",)
    memory: Memory = "kept"
    if name.endswith((BACK, PLAIN)):
        memory = "given back" if name.endswith(BACK) else "plain"
    return Case(name, builders.update, (preset, more, size), memory=memory)


def _update_lines(
    name: str, found: Mapping[str, Result], limit: float, published: Result
) -> list[Line]:
    own = found[name]
    item = "the published code" if name == "published" else f"`{name}`"
    lines = [_compared(item, own.processor, limit, GOALS.get(name), "limit")]
    base = name.removesuffix(BACK).removesuffix(PLAIN).removesuffix(CHECKPOINTING)
    most, goal = None, ""
    if base != name:
        time = 1.3 if CHECKPOINTING in name else None
        lines = [_compared(item, own.processor, found[base].processor, time, f"`{base}`")]
    if CHECKPOINTING in name:
        most = round(MEMORY[base] * 2**30 / published.peak, 3)
        goal = f" (goal {MEMORY[base]} GiB)"
    peaks = (gib(own.peak), gib(published.peak), own.peak / published.peak)
    return [*lines, Line(f"{item}: peak memory{goal}", *peaks, most, "published")]


def _compared(item: str, own: float, other: float, most: float | None, of: str) -> Line:
    return Line(item, seconds(own), seconds(other), own / other, most, of)


SMALL = (
    "model.encoder=mobilenet_v2",
    "model.width=64",
    "data.batch_size=2",
    "training.accelerator=cpu",
)


def small(settings: Settings) -> Block:
    """MobileNetV2 at 144x192, batch 2: what the adversarial methods add to source_only."""
    size = (64, 96) if settings.quick else (144, 192)
    names = ("source_only", "tan", "clan")
    cases = [Case(name, builders.update, (f"town/{name}", SMALL, size, 2)) for name in names]
    arguments = ("town/source_only", SMALL, size, 2)
    cases.append(Case("plain", builders.update, arguments, memory="plain"))
    cases.append(Case("D", builders.discriminator_passes, ("town/tan", SMALL, size, 2)))
    found = measure(cases, max(settings.rounds, 1 if settings.quick else 9))
    base, of = found["source_only"].processor, "`source_only`"
    lines = [_compared(f"`{name}`", found[name].processor, base, 2.0, of) for name in names[1:]]
    passes = found["D"].processor
    lines.append(_compared("D's three passes alone", passes, base, None, of))
    least = 2 * base + passes
    lines += [
        _compared(f"`{name}`", found[name].processor, least, None, "two passes of G and D's three")
        for name in names[1:]
    ]
    lines.append(_compared(f"`source_only`{PLAIN}", found["plain"].processor, base, None, of))
    notes = (
        f"MobileNetV2 at {size[0]}x{size[1]}, batch 2. The target's pass through G alone makes "
        "2.0, so that the goal leaves nothing to D, which runs forwards and backwards three times: "
        "on the target for G, on source and target to learn. What remains above the sum of the "
        "two are softmaxes, the maps and D's optimizer."
    )
    return Block("An update of a small network", lines, notes)


TINY = (32, 64)


def floor(settings: Settings) -> Block:
    """Memory that no update of ResNet-101 goes without, whatever is recomputed."""
    width = 8 if settings.quick else 64
    lines: list[Line] = []
    for name, precision in (("paper", "32-true"), ("modern", "bf16-mixed")):
        more = (*PLACE, f"training.precision={precision}", f"model.width={width}")
        preset = f"{FOLDER}/{name}/resnet101/clan"
        cases = [
            Case("update", builders.update, (preset, more, TINY), memory="given back"),
            Case("network", builders.network, (preset, more), memory="given back"),
        ]
        found = measure(cases, 1)
        peak, network = found["update"].peak, found["network"].peak
        item = f"`{name}`, an update at {TINY[0]}x{TINY[1]}"
        of = "libraries and the networks' parameters"
        lines.append(Line(item, gib(peak), gib(network), peak / network, None, of))
    notes = (
        "Peak memory where activations weigh nothing: libraries, parameters, gradients and "
        "momentum. What a goal for memory leaves above it is for activations."
    )
    return Block("Memory that every update of ResNet-101 needs", lines, notes)
