"""Write one benchmark's section of the results page from its runs' own files."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import clan
from clan.comparison import compare
from clan.config import differences, load_config
from clan.data.check import check_dataset
from clan.domains import open_domains
from clan.evaluation import read_evaluation
from clan.jobs import Job
from clan.runs import RunFolder

HEADER = """# Results

Written by the scripts in `benchmarks/` from the files of the runs; no number here was typed.
"""


STUDY_SCALARS = {
    "d_accuracy_source": "D right on source",
    "d_accuracy_target": "on target",
    "adv_share": "adversary's share of gradient",
    "alignment": "mean of M",
}
"""What a study shows of each run's end, and under which heading."""


@dataclass(frozen=True)
class Section:
    """What a benchmark says about itself."""

    key: str
    title: str
    command: str
    notes: Path
    """Markdown that interprets the numbers; put below them as it is."""


def write_section(page: Path, section: Section, runs: Sequence[Path]) -> None:
    """Replace the benchmark's section of ``page``, or add it."""
    table = compare(list(runs)).to_markdown().strip()
    lines = [table, "", *_settings(runs[0]), *_costs(runs), *_class_mix(runs)]
    _write(page, section, lines)


def write_study(page: Path, section: Section, jobs: Sequence[Job]) -> None:
    """Replace the section of a study of settings, one finished run each, or add it."""
    _write(page, section, [*_settings(jobs[0].out), *_study(jobs)])


def _write(page: Path, section: Section, lines: Sequence[str]) -> None:
    begin, end = f"<!-- begin {section.key} -->", f"<!-- end {section.key} -->"
    notes = section.notes.read_text(encoding="utf-8").strip()
    command = f"Command: `{section.command}`. {machine()}"
    body = "\n".join([begin, f"## {section.title}", "", command, "", *lines, notes, end])
    text = page.read_text(encoding="utf-8") if page.is_file() else HEADER
    if begin in text and end in text:
        before, rest = text.split(begin, 1)
        text = before + body + rest.split(end, 1)[1]
    else:
        text = f"{text.rstrip()}\n\n{body}\n"
    page.write_text(text, encoding="utf-8")


def machine() -> str:
    """Return a sentence about the machine and the versions in use."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else _processor()
    return (
        f"Machine: {device}, {torch.get_num_threads()} threads; clan {clan.__version__}, "
        f"torch {torch.__version__}, Python {platform.python_version()}."
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} ({len(names)} cores)" if names else platform.machine()


def _settings(run: Path) -> Iterable[str]:
    config = RunFolder.open(run).config
    size = config.data.source_view.crop or config.data.source_view.size
    yield (
        f"Settings shared by all systems: {config.model.encoder}, output stride "
        f"{config.model.output_stride}, {config.model.classifiers} classifiers; training images "
        f"{'as drawn' if size is None else f'{size[0]}x{size[1]}'}, "
        f"{config.data.batch_size} per domain and step, {config.training.steps} steps, "
        f"{config.optim.segmenter.name} {config.optim.segmenter.lr:g} (classifiers x"
        f"{config.optim.segmenter.head_multiplier:g}); {config.training.precision}."
    )
    yield ""


def _costs(runs: Sequence[Path]) -> Iterable[str]:
    """Yield a table of what the systems cost and how their adversary ended."""
    by_name: dict[str, list[Path]] = {}
    for run in runs:
        by_name.setdefault(RunFolder.open(run).config.name, []).append(run)
    yield (
        "| system | batch norm | lambda_adv | minutes per run | seconds per step "
        "| D accuracy at the end |"
    )
    yield "| --- | --- | --- | --- | --- | --- |"
    for name, paths in by_name.items():
        config = RunFolder.open(paths[0]).config
        seconds = [sum(r.get("seconds", 0) for r in RunFolder(p).read_metrics()) for p in paths]
        middle = statistics.median(seconds)
        yield (
            f"| {name} | {config.method.batch_norm} "
            f"| {getattr(config.method, 'lambda_adv', '')} | {middle / 60:.1f} "
            f"| {middle / config.training.steps:.2f} | {_mean(paths, 'd_accuracy')} |"
        )
    yield ""
    yield (
        "Minutes and seconds are medians over seeds of the training alone; two trainings at a time "
        "shared the machine with other work, so they show an order of magnitude."
    )
    yield ""


def _class_mix(runs: Sequence[Path]) -> Iterable[str]:
    """Yield which share of the pixels each class has: in the labels, and as predicted."""
    counts: dict[str, np.ndarray] = {}
    for run in runs:
        evaluation = read_evaluation(run)
        counts[evaluation.name] = counts.get(evaluation.name, 0) + evaluation.scores.confusion
    names = evaluation.scores.classes.names
    adapted = next(c for c in (RunFolder.open(r).config for r in runs) if c.data.target)
    source = check_dataset(open_domains(adapted.data).source).histogram
    total = sum(source[name].pixels for name in names)
    yield "### Class mix: percent of the scored pixels"
    yield ""
    yield f"| | source labels | target labels | {' | '.join(counts)} |"
    yield "|---|" + "---:|" * (len(counts) + 2)
    truth = next(iter(counts.values())).sum(axis=1)
    for index, name in enumerate(names):
        shares = [
            source[name].pixels / total,
            truth[index] / truth.sum(),
            *(matrix[:, index].sum() / matrix.sum() for matrix in counts.values()),
        ]
        yield f"| {name} | " + " | ".join(f"{100 * share:.1f}" for share in shares) + " |"
    yield ""


def _study(jobs: Sequence[Job]) -> Iterable[str]:
    """Yield the table of the settings tried: one seed, scores on the tuning split."""
    scores = {
        job: {r["step"]: r["miou"] for r in RunFolder(job.out).read_metrics() if "miou" in r}
        for job in jobs
    }
    steps = sorted({step for by_step in scores.values() for step in by_step})
    heads = (
        "system",
        "differs from its preset in",
        *(f"mIoU, step {step}" for step in steps),
        *STUDY_SCALARS.values(),
    )
    yield f"| {' | '.join(heads)} |"
    yield "|" + " --- |" * len(heads)
    for job, by_step in scores.items():
        config = RunFolder.open(job.out).config
        changes = [
            f"{key.split('.', 1)[1]} {new}"
            for key, _, new in differences(load_config(job.preset), config)
            if key.startswith(("method.", "optim."))
        ]
        cells = [f"{100 * by_step[s]:.1f}" if s in by_step else "" for s in steps]
        cells += [_mean([job.out], name) for name in STUDY_SCALARS]
        yield f"| {config.method.name} | {', '.join(changes) or 'nothing'} | {' | '.join(cells)} |"
    yield ""


def _mean(runs: Sequence[Path], key: str) -> str:
    """Return the mean of a logged scalar over the last tenth of the runs' records."""
    values = []
    for run in runs:
        records: list[Mapping[str, float]] = [r for r in RunFolder(run).read_metrics() if key in r]
        values += [r[key] for r in records[-max(1, len(records) // 10) :]]
    return f"{statistics.mean(values):.3f}" if values else ""
