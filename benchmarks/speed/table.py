"""What a row of the page holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


@dataclass(frozen=True)
class Settings:
    """How much is measured."""

    rounds: int
    quick: bool
    """Small networks and images: to try the program out, not to publish."""
    folder: Path
    """For files made on the way."""


class Line(NamedTuple):
    """One line of the page."""

    item: str
    measured: str
    limit: str
    """What bounds it on this machine, measured in the same rounds."""
    ratio: float
    """To the limit, or to what ``goal`` names."""
    most: float | None = None
    """The largest ratio that meets the goal; None where there is no goal."""
    of: str = "limit"
    """What the ratio is of."""

    @property
    def goal(self) -> str:
        """Return the goal, and whether it is met."""
        if self.most is None:
            return "-"
        return f"<= {self.most:g}: {'met' if self.ratio <= self.most else 'not met'}"


class Block(NamedTuple):
    """The lines of one row of the program, and what to know of them."""

    title: str
    lines: list[Line]
    notes: str


def markdown(block: Block) -> str:
    """Return a block as a section of the page."""
    head = "| item | measured | beside it | ratio | of | goal |"
    rule = "| --- | ---: | ---: | ---: | --- | --- |"
    rows = [
        f"| {line.item} | {line.measured} | {line.limit} | {line.ratio:.2f} | {line.of} "
        f"| {line.goal} |"
        for line in block.lines
    ]
    return "\n".join([f"## {block.title}", "", head, rule, *rows, "", block.notes, ""])


def seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.1f} ms"


def gib(value: float) -> str:
    return f"{value / 2**30:.2f} GiB"
