"""The console of all output: rich's, with control characters of names written out."""

from __future__ import annotations

from collections.abc import Iterable

from rich import console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

from clan.core.text import visible


class Console(console.Console):
    """Prints what rich's console prints, but no control character that is not rich's own."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render, with each text as `visible` has it; see `rich.console.Console.render`."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(visible(segment.text), segment.style)

    def say(self, text: str) -> None:
        """Print a message: no markup, highlighting or wrapping; its further lines are indented.

        So a line break in a name cannot make a message of its own.
        """
        first, *others = text.split("\n")
        lines = [first, *(o if not o or o.startswith("  ") else f"  {o}" for o in others)]
        self.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
