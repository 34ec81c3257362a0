"""Expands ``key=value,value`` to cells, all checked before the first one starts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from clan.config.loading import anchored, load_config
from clan.config.tree import Config
from clan.core.errors import ConfigError
from clan.training.resuming import FREE_TO_CHANGE, changes, content

SEED = "seed"
NO_PARAMETER = (SEED, "name", *FREE_TO_CHANGE)
"""Keys that do not appear in a cell's name."""


@dataclass(frozen=True)
class Axis:
    """A key and the values that it takes, each as YAML text."""

    key: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """One training of a study.

    Attributes:
        folder: its run's folder, below the study's.
        overrides: the changes to the preset.
        config: the resolved configuration, with absolute paths.
    """

    folder: str
    overrides: tuple[str, ...]
    config: Config

    def value(self, key: str) -> Any:
        """Return the value of a dotted key; None where the cell has no such key."""
        return lookup(self.config, key)


def parse_axis(argument: str) -> Axis:
    """Read ``key=value,value``: values are YAML, so a list in brackets is one value.

    Raises:
        ConfigError: not of that form, no value, or one given twice.
    """
    key, equals, text = argument.partition("=")
    if not equals or not key:
        raise ConfigError(
            f"{argument!r} is not of the form key=value,value, such as method.epsilon=0.1,0.2"
        )
    sequence = f"[{text}]"
    try:
        nodes = yaml.compose(sequence).value  # type: ignore[union-attr]
    except yaml.YAMLError as error:
        raise ConfigError(f"the values of {argument!r} are not YAML: {error}") from error
    texts = tuple(sequence[n.start_mark.index : n.end_mark.index].strip() for n in nodes)
    if not texts:
        raise ConfigError(f"{argument!r} gives no value; such as {key}=1,2")
    twice = [text for text in dict.fromkeys(texts) if texts.count(text) > 1]
    if twice:
        raise ConfigError(f"{argument!r} gives {', '.join(twice)} more than once")
    return Axis(key, texts)


def grid_texts(grid: Sequence[str] | Mapping[str, Sequence[Any]]) -> list[str]:
    """Return a grid as ``key=value,value`` texts, from values by key too.

    Raises:
        ConfigError: a key whose values are no list.
    """
    if not isinstance(grid, Mapping):
        return list(grid)
    for key, values in grid.items():
        if isinstance(values, str) or not isinstance(values, Sequence):
            raise ConfigError(f"the grid's {key} is {values!r}; expected a list of values to try")
    return [f"{key}={','.join(map(_yaml_text, values))}" for key, values in grid.items()]


def _yaml_text(value: Any) -> str:
    """Write a value as YAML on one line; a text in quotes where a comma would divide it."""
    if isinstance(value, tuple):
        value = list(value)
    if isinstance(value, Path):
        value = str(value)
    quotes = '"' if isinstance(value, str) and not value.replace("_", "").isalnum() else None
    text = yaml.safe_dump(value, default_flow_style=True, default_style=quotes, width=math.inf)
    return str(text).removesuffix("...\n").strip()


def parse_grid(arguments: Sequence[str]) -> tuple[Axis, ...]:
    """Read a grid's axes.

    Raises:
        ConfigError: as `parse_axis`; no axis at all, or a key given twice.
    """
    axes = tuple(parse_axis(argument) for argument in arguments)
    if not axes:
        raise ConfigError("give at least one key=value,value to vary, such as seed=0,1,2")
    keys = [axis.key for axis in axes]
    twice = [key for key in dict.fromkeys(keys) if keys.count(key) > 1]
    if twice:
        raise ConfigError(f"{', '.join(twice)}: given more than once; join the values by commas")
    return axes


def expand(preset: str, axes: Sequence[Axis]) -> list[Cell]:
    """Return a grid's cells, all valid; whole seeds first, so that an early stop leaves a table.

    Raises:
        ConfigError: unknown keys or values out of range, all of them.
    """
    # the last of a product varies fastest
    ordered = sorted(axes, key=lambda axis: axis.key != SEED)
    varied = [axis.key for axis in axes if len(axis.texts) > 1 and axis.key not in NO_PARAMETER]
    short = short_keys(varied)
    cells, problems = [], dict[str, None]()
    for texts in itertools.product(*(axis.texts for axis in ordered)):
        chosen = {axis.key: text for axis, text in zip(ordered, texts, strict=True)}
        try:
            cells.append(_cell(preset, chosen, varied, short))
        except ConfigError as error:
            head, *details = str(error).splitlines()
            problems |= dict.fromkeys(details or [f"  {head}"])
    if problems:
        raise ConfigError(f"the grid over {preset} is not valid:\n" + "\n".join(problems))
    return cells


def _cell(
    preset: str, chosen: Mapping[str, str], varied: Sequence[str], short: Mapping[str, str]
) -> Cell:
    overrides = [f"{key}={text}" for key, text in chosen.items()]
    config = load_config(preset, overrides)
    if varied and "name" not in chosen:
        # systems of their own in every table, each with its seeds
        name = " ".join([config.name, *(f"{short[key]}={chosen[key]}" for key in varied)])
        overrides.append(f"name={yaml.safe_dump(name, width=10**6).splitlines()[0]}")
        config = config.model_copy(update={"name": name})
    # injective and safe on every disk: what is not plain becomes %XX
    values = ",".join(f"{key}={quote(chosen[key], safe='')}" for key in varied)
    return Cell(
        f"{values or quote(config.name, safe=' ')}/seed{config.seed}",
        tuple(overrides),
        anchored(config),
    )


def merge(grids: Sequence[Sequence[Cell]]) -> list[list[Cell]]:
    """Give equal cells of several grids the same folder, the first one's.

    Raises:
        ConfigError: two configurations for one folder; names what differs.
    """
    by_folder: dict[str, Cell] = {}
    by_content: dict[str, Cell] = {}
    for cell in itertools.chain.from_iterable(grids):
        other = by_folder.setdefault(cell.folder, cell)
        if changed := changes(other.config, cell.config):
            raise ConfigError(
                f"this grid and an earlier one of the study both have {cell.folder}, and differ "
                f"in what neither varies: {'; '.join(changed)}. Give another folder (--out)."
            )
        by_content.setdefault(content(cell.config), cell)
    return [
        [replace(cell, folder=by_content[content(cell.config)].folder) for cell in grid]
        for grid in grids
    ]


def parameters(cells: Sequence[Cell], axes: Iterable[Axis]) -> list[str]:
    """Return the keys that a study varies, in the order of its axes."""
    keys = dict.fromkeys(axis.key for axis in axes if axis.key not in NO_PARAMETER)
    return [key for key in keys if any(c.value(key) != cells[0].value(key) for c in cells)]


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """Return the shortest endings that tell the keys apart, such as ``lambda_local``."""
    endings = {key: [".".join(key.split(".")[-n:]) for n in range(1, 9)] for key in keys}
    return {
        key: next(
            (e for e in endings[key] if not any(e in endings[o] for o in keys if o != key)), key
        )
        for key in keys
    }


def lookup(config: Config, key: str) -> Any:
    """Return the value of a dotted key as JSON has it; None where there is none."""
    value: Any = config.model_dump(mode="json")
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
