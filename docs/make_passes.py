"""Write the table of docs/methods.md that says what an update of each method runs.

    python docs/make_passes.py

One update of each kind of a method's stages is done on small generated images, and every run of E
and of the classifiers is counted as it happens. A test fails when the page is out of date.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from generated import between, bring_up_to_date
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from clan.config.loading import load_config
from clan.methods import METHODS
from clan.models.decoders.contract import Classifier
from clan.models.encoders.contract import Encoder
from clan.training.dry_run import dry_run

PAGE = Path(__file__).with_name("methods.md")
BEGIN = "<!-- passes: written by docs/make_passes.py -->"
END = "<!-- end of passes -->"
HEAD = """\
| method, stage | E on source | E on target | classifiers on source | on target | expected |
| --- | --- | --- | --- | --- | ---: |"""

SOURCE, TARGET = 32, 64
"""Heights of the images, which tell the domains apart; of their features an eighth."""
SMALL = (
    "model.width=4",
    "model.classifiers=2",
    f"data.source_view.crop=[{SOURCE},64]",
    f"data.target_view.size=[{TARGET},64]",
    "data.target_view.crop=null",
    "data.evaluation_size=[32,64]",
    "data.batch_size=1",
    "training.accelerator=cpu",
)

Passes = Counter[tuple[str, str, str]]
"""How often each (part, domain, direction) ran; of classifiers, both count as one."""


def main() -> None:
    """Bring the page up to date and say whether it was."""
    bring_up_to_date(PAGE, updated)


def updated(page: str) -> str:
    """Return the page with the table of today's code between its marks."""
    rows = [_row(title, passes) for name in METHODS for title, passes in measured(name)]
    return between(page, BEGIN, END, "\n".join([HEAD, *rows, ""]))


def measured(name: str) -> list[tuple[str, Passes]]:
    """Return what an update runs in each kind of a method's stages."""
    with _watched_updates(name) as updates:
        result = dry_run(load_config(f"town/{name}", SMALL), updates=1)
    if len(updates) == 1:
        return [(f"`{name}`", updates[0])]
    return [(f"`{name}`, `{s}`", passes) for s, passes in zip(result.stages, updates, strict=True)]


def expected(passes: Passes) -> float:
    """Return an update's cost in those of source_only, by E alone: backward is twice forward."""
    directions = Counter[str]()
    for (part, _, direction), count in passes.items():
        directions[direction] += count if part == "E" else 0
    return (directions["forward"] + 2 * directions["backward"]) / 3


@contextmanager
def _watched_updates(name: str) -> Iterator[list[Passes]]:
    """Count what each of a method's updates runs, but not what comes between them."""
    updates: list[Passes] = []
    within = False
    cls: Any = METHODS[name]
    original = cls.step

    def step(*arguments: Any) -> Any:
        nonlocal within
        updates.append(Passes())
        within = True
        try:
            return original(*arguments)
        finally:
            within = False

    def ran(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if not within or not isinstance(module, Encoder | Classifier):
            return
        part, count = ("E", 2) if isinstance(module, Encoder) else ("C", 1)
        # an encoder returns a list of maps, a classifier reads one
        read = inputs[0] if part == "E" else inputs[0][-1]
        made = output[-1] if part == "E" else output
        domain = "source" if read.shape[-2] in (SOURCE, SOURCE // 8) else "target"
        passes = updates[-1]
        passes[part, domain, "forward"] += count

        def ran_back(_: Tensor) -> None:
            passes[part, domain, "backward"] += count

        if made.requires_grad:
            made.register_hook(ran_back)

    handle = register_module_forward_hook(ran)
    own = "step" in vars(cls)
    cls.step = step
    try:
        yield updates
    finally:
        handle.remove()
        if own:
            cls.step = original
        else:
            del cls.step
        for passes in updates:
            for key in passes:
                # counted by halves: there are two classifiers and one encoder
                passes[key] //= 2


def _row(title: str, passes: Passes) -> str:
    cells = [
        _cell(passes[part, domain, "forward"], passes[part, domain, "backward"])
        for part in ("E", "C")
        for domain in ("source", "target")
    ]
    return f"| {title} | {' | '.join(cells)} | {expected(passes):.1f} |"


def _cell(forward: int, backward: int) -> str:
    return f"{forward} / {backward}" if forward else "-"


if __name__ == "__main__":
    main()
