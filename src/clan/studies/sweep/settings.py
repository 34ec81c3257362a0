"""A study's settings: the cells that differ in their seed only, as means with their spread."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table as RichTable
from rich.text import Text

from clan.studies.sweep.grid import short_keys
from clan.studies.sweep.results import Measured, Record, Table


@dataclass(frozen=True)
class Spread:
    """Mean over seeds; sample standard deviation, None for a single seed; number of seeds."""

    mean: float
    std: float | None
    count: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread | None:
        """Return the spread of what is known, None if nothing is."""
        known = [value for value in values if value is not None]
        if not known:
            return None
        std = statistics.stdev(known) if len(known) > 1 else None
        return cls(statistics.fmean(known), std, len(known))

    def text(self, scale: float = 1.0, digits: int = 2) -> str:
        """Return ``mean ± std``."""
        spread = "" if self.std is None else f" ± {scale * self.std:.{digits}f}"
        return f"{scale * self.mean:.{digits}f}{spread}"


@dataclass(frozen=True)
class Setting:
    """One value of each parameter; its cells.

    Attributes:
        values: of the parameters, in the order of the table's keys.
        records: its cells, a seed each.
    """

    values: tuple[Any, ...]
    records: tuple[Record, ...]

    @property
    def measured(self) -> list[Measured]:
        """The numbers of its finished cells."""
        return [line.measured for line in self.records if line.measured is not None]

    def spread(self, name: str) -> Spread | None:
        """Return mean and spread over seeds of one of `Measured`'s numbers."""
        return Spread.of(getattr(measured, name) for measured in self.measured)


def settings(table: Table) -> list[Setting]:
    """Return a study's settings, sorted by their values: numbers by size, others as first met."""
    groups: dict[str, list[Record]] = {}
    for line in table.records:
        key = json.dumps([line.values[name] for name in table.keys])
        groups.setdefault(key, []).append(line)
    found = [
        Setting(tuple(lines[0].values[name] for name in table.keys), tuple(lines))
        for lines in groups.values()
    ]
    orders = [values_of(found, index) for index in range(len(table.keys))]
    return sorted(
        found, key=lambda s: [order.index(v) for order, v in zip(orders, s.values, strict=True)]
    )


def values_of(found: Sequence[Setting], index: int) -> list[Any]:
    """Return the distinct values of a parameter: numbers by size, others as first met."""
    values: list[Any] = []
    for setting in found:
        if setting.values[index] not in values:
            values.append(setting.values[index])
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
    return sorted(values) if numbers else values


def value_text(value: Any) -> str:
    """Return a value as people write it: ``0.4``, ``[6, 12]``, ``none``."""
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value)


def rows(table: Table) -> tuple[list[str], list[list[str]]]:
    """Return headings and a line of text per setting."""
    short = short_keys(table.keys)
    heads = [*(short[key] for key in table.keys), "seeds", "mIoU", "D's loss", "D accuracy"]
    heads += ["minutes", "health"]
    lines = []
    for setting in settings(table):
        numbers = [
            _text(setting.spread("miou"), 100, 1),
            _text(setting.spread("d_loss")),
            _text(setting.spread("d_accuracy")),
            _text(setting.spread("seconds"), 1 / 60, 1),
        ]
        values = [value_text(value) for value in setting.values]
        lines.append([*values, _seeds(setting), *numbers, _health(setting)])
    return heads, lines


def rich_table(table: Table) -> RichTable:
    """Return the settings as a table for a terminal."""
    heads, lines = rows(table)
    shown = RichTable(box=None, pad_edge=False)
    for index, head in enumerate(heads):
        shown.add_column(Text(head), justify="left" if index in (len(heads) - 1,) else "right")
    for line in lines:
        shown.add_row(*(Text(cell) for cell in line))
    return shown


def markdown_table(table: Table) -> str:
    """Return the settings as a table for a page."""
    heads, lines = rows(table)
    form = "|" + "---:|" * len(heads)
    return "\n".join(
        ["| " + " | ".join(line) + " |" for line in [heads]]
        + [form]
        + ["| " + " | ".join(line) + " |" for line in lines]
    )


def _text(spread: Spread | None, scale: float = 1.0, digits: int = 2) -> str:
    return "-" if spread is None else spread.text(scale, digits)


def _seeds(setting: Setting) -> str:
    done, total = len(setting.measured), len(setting.records)
    if done == total:
        return str(total)
    failed = sum(line.status == "failed" for line in setting.records)
    return f"{done} of {total}" + (f", {failed} failed" if failed else "")


def _health(setting: Setting) -> str:
    """Return the kinds of trouble, with the number of seeds that have it where not all do."""
    kinds = [kind for measured in setting.measured for kind in measured.health]
    total = len(setting.measured)
    return ", ".join(
        kind if kinds.count(kind) == total else f"{kind} ({kinds.count(kind)} of {total})"
        for kind in dict.fromkeys(kinds)
    )
