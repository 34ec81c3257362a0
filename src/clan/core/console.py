"""The console for all output: rich's, with control characters in names escaped."""

from __future__ import annotations

from collections.abc import Iterable

from rich import console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

from clan.core.text import visible


class Console(console.Console):
    """A rich console that escapes all control characters except rich's own."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render with control characters escaped; see `rich.console.Console.render`."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(visible(segment.text), segment.style)

    def say(self, text: str) -> None:
        """Print a message without markup, highlighting or wrapping; indent all but its first line.

        The indent keeps a line break in a name from looking like a new message.
        """
        first, *others = text.split("\n")
        lines = [first, *(o if not o or o.startswith("  ") else f"  {o}" for o in others)]
        self.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
