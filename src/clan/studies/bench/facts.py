"""Tables beside a comparison's scores: settings, the end of each training, class shares."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clan.config.flat import differences
from clan.config.tree import Config
from clan.core.errors import DataError
from clan.data.check import check_dataset
from clan.data.sizes import size_text
from clan.runs.environment import machine, named
from clan.runs.folder import RunFolder
from clan.scoring.evaluation_file import read_evaluation
from clan.studies.bench.folder import FILES, NO_MATTER, same_files
from clan.training.domains import open_domains

Runs = Mapping[str, Mapping[int, RunFolder]]
"""Finished runs by system and seed."""

SCALARS = {
    "d_accuracy_source": "D right on source",
    "d_accuracy_target": "on target",
    "adv_share": "adversary's share of gradient",
    "alignment": "mean of M",
    "pseudo_share": "pixels pseudo-labelled",
}
"""Scalars that are averaged over the last tenth of a log, with their headings."""


@dataclass(frozen=True)
class Facts:
    """A table of text.

    Attributes:
        heads: a heading for each column.
        rows: a text for each column.
        note: explanation below the table.
        numbers: whether columns from the second on are right-aligned.
    """

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    numbers: bool = True


def machines(runs: Runs) -> str:
    """Return a sentence with the machines of the runs, the most used first."""
    found = machine_counts(runs)
    if len(found) < 2:
        return f"Machine: {next(iter(found))}." if found else machine()
    counts = [f"{text} ({count} runs)" for text, count in found.most_common()]
    return f"Machines: {'. '.join(counts)}."


def machine_counts(runs: Runs) -> Counter[str]:
    """Return the number of runs by machine; a resumed run may count for several."""
    folders = [run for by_seed in runs.values() for run in by_seed.values()]
    return Counter(
        text for run in folders for text in {named(entry) for entry in run.read_environments()}
    )


def settings(runs: Runs) -> str:
    """Return a sentence with the main settings of the first system."""
    config = next(iter(_firsts(runs).values()))
    view, rule = config.data.source_view, config.optim.segmenter
    shown = size_text(view.crop or view.size)
    return (
        f"Settings of {config.name}: {config.model.encoder}, output stride "
        f"{config.model.output_stride}, {config.model.classifiers} classifiers; training images "
        f"{shown}, {config.data.batch_size} per domain and step, {config.training.steps} steps, "
        f"{rule.name} {rule.lr:g} (classifiers x{rule.head_multiplier:g}); "
        f"{config.training.precision}."
    )


def trainings(runs: Runs) -> Facts:
    """Return a table of the trainings: batch norm, loss weight, time, scalars at the end."""
    configs = _firsts(runs)
    adversaries = any(hasattr(config.method, "lambda_adv") for config in configs.values())
    records = {
        name: [list(run.read_metrics()) for run in by_seed.values()]
        for name, by_seed in runs.items()
    }
    ends = {name: _ends(each) for name, each in records.items()}
    scalars = [key for key in SCALARS if any(key in end for end in ends.values())]
    heads = ["system", "batch norm", *(["lambda_adv"] if adversaries else [])]
    heads += ["steps", "minutes per run", *(SCALARS[key] for key in scalars)]
    rows = []
    for name, config in configs.items():
        weight = getattr(config.method, "lambda_adv", None)
        total = [sum(line.get("seconds", 0.0) for line in lines) for lines in records[name]]
        cells = [name, str(config.method.batch_norm)]
        cells += [("" if weight is None else f"{weight:g}")] if adversaries else []
        cells += [str(config.training.steps), f"{statistics.median(total) / 60:.1f}"]
        cells += [f"{ends[name][key]:.3f}" if key in ends[name] else "" for key in scalars]
        rows.append(tuple(cells))
    note = (
        "Minutes are medians over seeds, without scoring, on a machine that may have been shared; "
        "the other numbers are means over the last tenth of the log."
    )
    return Facts(tuple(heads), tuple(rows), note)


def variants(runs: Runs) -> Facts | None:
    """Return how each system differs from the first one with the same method, except in data.

    Returns:
        None if no system differs.
    """
    firsts: dict[str, tuple[str, Config]] = {}
    rows = []
    for name, config in _firsts(runs).items():
        like, first = firsts.setdefault(config.method.name, (name, config))
        alike = (*NO_MATTER, *same_files(first, config), "name", "seed")
        found = [
            f"{key} {_shown(key, new)}, not {_shown(key, old)}"
            for key, old, new in differences(first, config)
            if key not in alike and not key.startswith("data.")
        ]
        if found:
            rows.append((name, like, "; ".join(found)))
    return Facts(("system", "is", "but"), tuple(rows), numbers=False) if rows else None


def class_mix(runs: Runs, with_source: bool = False) -> Facts:
    """Return each class's share of the scored pixels, in the labels and in the predictions.

    Args:
        runs: of a comparison.
        with_source: also read all labels of the source.
    """
    counts: dict[str, Any] = {}
    for name, by_seed in runs.items():
        evaluations = [read_evaluation(run.path) for run in by_seed.values()]
        counts[name] = sum(evaluation.scores.confusion for evaluation in evaluations)
    names = evaluations[0].scores.classes.names
    truth = next(iter(counts.values())).sum(axis=1)
    columns = {"target labels": truth}
    note = ""
    if with_source:
        try:
            columns = {"source labels": _source_pixels(runs, names), **columns}
        except DataError as error:
            note = f"The source's labels could not be read: {error}"
    columns |= {name: matrix.sum(axis=0) for name, matrix in counts.items()}
    shares = {name: 100 * pixels / pixels.sum() for name, pixels in columns.items()}
    rows = tuple(
        (name, *(f"{share[index]:.1f}" for share in shares.values()))
        for index, name in enumerate(names)
    )
    return Facts(("class", *shares), rows, note)


def _shown(key: str, value: Any) -> str:
    """Return a setting as in YAML; of a file only its name."""
    if key in FILES and isinstance(value, str):
        return Path(value).name
    return json.dumps(value) if isinstance(value, bool | None) else str(value)


def _firsts(runs: Runs) -> dict[str, Config]:
    """Return a configuration of each system."""
    return {name: next(iter(by_seed.values())).config for name, by_seed in runs.items()}


def _source_pixels(runs: Runs, names: Sequence[str]) -> Any:
    """Return the pixels of each class in the source of the first system that has a target."""
    configs = list(_firsts(runs).values())
    adapted = next((config for config in configs if config.data.target), configs[0])
    histogram = check_dataset(open_domains(adapted.data).source).histogram
    return np.array([histogram[name].pixels for name in names])


def _ends(runs: Iterable[Sequence[Mapping[str, Any]]]) -> dict[str, float]:
    """Return the means of `SCALARS` over the last tenth of their logged values."""
    values: dict[str, list[float]] = {}
    for lines in runs:
        for key in SCALARS:
            found = [line[key] for line in lines if line.get(key) is not None]
            values.setdefault(key, []).extend(found[-max(1, len(found) // 10) :])
    return {key: statistics.fmean(found) for key, found in values.items() if found}
