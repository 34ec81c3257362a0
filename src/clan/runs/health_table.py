"""`clan health`: the verdicts on finished and unfinished runs, with the numbers behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from clan.runs.folder import RunFolder
from clan.runs.health import Verdict, end_mean, examine

COLUMNS = (
    ("acc", "d_accuracy"),
    ("acc s", "d_accuracy_source"),
    ("acc t", "d_accuracy_target"),
    ("logit s", "d_logit_source"),
    ("logit t", "d_logit_target"),
    ("share", "adv_share"),
    ("M", "alignment"),
)
"""Headings, and the scalars below them: means over the last tenth of the steps."""

LEGEND = (
    "Means over the last tenth of the steps. acc: D's accuracy, on both domains, on the source, on "
    "the target; logit: its mean output, negative for source; share: of the adversary in G's "
    "gradient; M: mean of the alignment map."
)


@dataclass(frozen=True)
class Health:
    """The result of checking one run.

    Attributes:
        run: its folder.
        step: the newest logged step.
        numbers: means of `COLUMNS` over the last tenth of the steps so far; None where not logged.
        adversarial: whether it logs an adversary at all.
        verdicts: the problems found.
    """

    run: Path
    step: int
    numbers: tuple[float | None, ...]
    adversarial: bool
    verdicts: tuple[Verdict, ...]

    @property
    def word(self) -> str:
        """Return the verdict in a word or two."""
        if not self.adversarial:
            return "no adversary"
        return ", ".join(verdict.kind for verdict in self.verdicts) or "healthy"


def read_health(run: Path) -> Health:
    """Check a run's log so far.

    Raises:
        RunError: no run at the path.
    """
    folder = RunFolder.open(run)
    lines = list(folder.read_metrics())
    return Health(
        run=run,
        step=max((int(line["step"]) for line in lines), default=0),
        numbers=tuple(end_mean(lines, [name]) for _, name in COLUMNS),
        adversarial=any("d_accuracy" in line for line in lines),
        verdicts=tuple(examine(lines, folder.config.training.steps)),
    )


def show_health(runs: Sequence[Path], console: Console) -> None:
    """Print a line of numbers per run, then the verdicts with their advice.

    Raises:
        RunError: no run at one of the paths.
    """
    found = [read_health(run) for run in runs]
    table = Table(box=None, pad_edge=False)
    table.add_column("run", overflow="fold")
    for heading in ("step", *(heading for heading, _ in COLUMNS)):
        table.add_column(heading, justify="right", no_wrap=True)
    for health in found:
        numbers = (_text(value) for value in health.numbers)
        table.add_row(Text(str(health.run)), str(health.step), *numbers)
    console.print(table)
    console.print(LEGEND, highlight=False)
    for health in found:
        said = [f"{verdict.kind}: {verdict}" for verdict in health.verdicts] or [health.word]
        for text in said:
            console.print(f"{health.run}: {text}", markup=False, highlight=False, soft_wrap=True)


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"
