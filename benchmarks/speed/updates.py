"""Rows: an update of the large network beside the published code's, and of a small one."""

from __future__ import annotations

from benchmarks.speed import builders
from benchmarks.speed.rounds import Case, Result, measure
from benchmarks.speed.table import Block, Line, Settings, gib, seconds

FOLDER = "gta5-cityscapes"
PLACE = ("training.accelerator=cpu", "data.batch_size=1")
CASES = {
    "reference": ("reference", "32-true", ()),
    "paper": ("paper", "32-true", ()),
    "paper, checkpointing": ("paper", "32-true", ("training.checkpointing=encoder",)),
    "modern, bf16": ("modern", "bf16-mixed", ()),
    "modern, bf16, checkpointing": ("modern", "bf16-mixed", ("training.checkpointing=encoder",)),
}
"""Name -> variant of presets, precision, changes."""
PLAIN = "memory as Python has it"
GOALS = {"paper": 1.20, "modern, bf16": 1.35}
"""Of the time of the matrix products alone."""
MEMORY = {"paper, checkpointing": 1.2, "modern, bf16, checkpointing": 1.0}
"""GiB."""


def large(settings: Settings) -> Block:
    """ResNet-101, one source and one target image of 256x512."""
    size = (64, 128) if settings.quick else (256, 512)
    width = 8 if settings.quick else 64
    cases = [Case("published", builders.published_update, (size, 1, width), kept=False)]
    for name, (variant, precision, changes) in CASES.items():
        preset = f"{FOLDER}/{variant}/resnet101/clan"
        more = (*PLACE, f"training.precision={precision}", f"model.width={width}", *changes)
        cases.append(Case(name, builders.update, (preset, more, size)))
        if name == "paper":
            plain = Case(PLAIN, builders.update, (preset, more, size), kept=False)
            cases.append(plain)
    cases += [Case(p, builders.product, (p,)) for p in ("32-true", "bf16-mixed")]
    found = measure(cases, settings.rounds)
    flop = found["published"].fact("flop")
    lines = [line for name in ("published", *CASES) for line in _update_lines(name, found, flop)]
    lines += _plain_lines(found, "paper")
    notes = (
        f"One update at {size[0]}x{size[1]}, batch 1, {flop / 1e12:.2f} TFLOP. The limit is the "
        "time of its floating-point operations at the rate of a large matrix product of the same "
        f"precision ({found['32-true'].fact('rate') / 1e9:.0f} GFLOP/s in float32, "
        f"{found['bf16-mixed'].fact('rate') / 1e9:.0f} in bfloat16). Memory is the process's "
        "largest resident set, libraries included.\n\n"
        "What stands between an update and its limit: 1x1 convolutions over large maps and batch "
        "norm wait for memory, not for the multiplier, the more so in bfloat16, where products "
        "take half the time. Checkpointing runs the encoder once more, which makes 4/3 of the "
        "time. What stands between it and less memory: "
        "libraries, parameters, gradients and momentum, about 1 GiB, and the C library, which "
        "keeps freed blocks of some MiB in its heap; `MALLOC_MMAP_THRESHOLD_=1048576` in the "
        "environment makes it give them back, for more time."
    )
    return Block("An update of ResNet-101", lines, notes)


def _plain_lines(found: dict[str, Result], name: str) -> list[Line]:
    """What keeping memory is worth, and what it takes."""
    kept, plain = found[name], found[PLAIN]
    item, of = f"`{name}`, {PLAIN}", f"`{name}`"
    time = (seconds(plain.processor), seconds(kept.processor), plain.processor / kept.processor)
    peak = (gib(plain.peak), gib(kept.peak), plain.peak / kept.peak)
    return [Line(item, *time, of=of), Line(f"{item}: peak memory", *peak, of=of)]


def _update_lines(name: str, found: dict[str, Result], flop: float) -> list[Line]:
    own, published = found[name], found["published"]
    precision = CASES[name][1] if name in CASES else "32-true"
    limit = flop / found[precision].fact("rate")
    time = Line(
        f"`{name}`" if name in CASES else "the published code",
        seconds(own.processor),
        seconds(limit),
        own.processor / limit,
        GOALS.get(name),
    )
    lines = [time]
    plain = name.removesuffix(", checkpointing")
    if plain != name:
        ratio = own.processor / found[plain].processor
        lines.append(
            Line(
                f"`{name}`",
                seconds(own.processor),
                seconds(found[plain].processor),
                ratio,
                1.3,
                f"`{plain}`",
            )
        )
    goal = MEMORY.get(name)
    most = None if goal is None else goal * 2**30 / published.peak
    lines.append(
        Line(
            f"{time.item}: peak memory" + (f" (goal {goal} GiB)" if goal else ""),
            gib(own.peak),
            gib(published.peak),
            own.peak / published.peak,
            most and round(most, 3),
            "published",
        )
    )
    return lines


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
    cases.append(Case(PLAIN, builders.update, arguments, kept=False))
    found = measure(cases, max(settings.rounds, 1 if settings.quick else 9))
    base = found["source_only"].processor
    lines = [
        Line(
            f"`{name}`",
            seconds(found[name].processor),
            seconds(base),
            found[name].processor / base,
            2.0,
            "`source_only`",
        )
        for name in names[1:]
    ]
    lines += _plain_lines(found, "source_only")
    notes = (
        f"MobileNetV2 at {size[0]}x{size[1]}, batch 2. The target's pass through G alone makes "
        "2.0, so that the goal leaves nothing to D, which runs forwards and backwards three times."
    )
    return Block("An update of a small network", lines, notes)
