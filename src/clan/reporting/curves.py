"""The charts of a report: numbers of ``metrics.jsonl`` over the steps, averaged over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clan.figures.series import Reader, Record, logged, over_seeds, scalar, smoothed
from clan.reporting.gather import System

POINTS = 160
"""Most points of a curve; a chart is too small to show more."""


@dataclass(frozen=True, eq=False)
class Curve:
    """One system in one chart.

    Attributes:
        system: its name.
        steps: (P,) updates.
        mean: (P,) mean over its seeds, and over the steps between two points.
        low: (P,) lower end of the band: the lowest seed, or a logged quantile.
        high: (P,) upper end of the band.
    """

    system: str
    steps: NDArray[np.float64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Chart:
    """The content of one set of axes.

    Attributes:
        title: the heading.
        note: what it shows and how to read it.
        curves: at least one.
        form: format of the last values, which are printed beside it.
        bounds: of the vertical axis; None: given by the data.
        reference: height of a horizontal line.
        dots: whether each point is marked.
        bars: draw a bar per system instead of curves, if each has a single point.
    """

    title: str
    note: str
    curves: tuple[Curve, ...]
    form: str = "{:.3g}"
    bounds: tuple[float | None, float | None] = (None, None)
    reference: float | None = None
    dots: bool = False
    bars: bool = False


@dataclass(frozen=True)
class _Known:
    """Title, note and axis of a known scalar."""

    title: str
    note: str
    bounds: tuple[float | None, float | None] = (None, None)
    reference: float | None = None
    band: tuple[str, str] | None = None


SHARE = (0.0, 1.0)
HALF = "Share of locations that D classifies correctly. 0.5 is chance; near 1, G has lost."
LOSSES = {
    "loss_seg": _Known("Segmentation loss", "G on source labels.", (0, None)),
    "loss_adv": _Known(
        "Adversarial loss of G", "Low if D takes target for source; without lambda_adv.", (0, None)
    ),
    "loss_d_source": _Known("Loss of D, source", "Chance is ln 2 = 0.69.", (0, None), 0.693),
    "loss_d_target": _Known(
        "Loss of D, target", "With CLAN's weight per pixel; without it, chance is 0.69.", (0, None)
    ),
    "loss_weight": _Known("Weight discrepancy", "Cosine of the two classifiers' weights."),
}
HEALTH = {
    "d_accuracy": _Known("Accuracy of D", HALF, SHARE, 0.5),
    "d_accuracy_source": _Known(
        "Accuracy of D, source",
        "On the source alone. 1 here and 0 on the target, or the reverse: D says one domain only.",
        SHARE,
    ),
    "d_accuracy_target": _Known("Accuracy of D, target", "On the target alone.", SHARE),
    "d_logit_source": _Known("Logit of D, source", "Above 0, D says source.", reference=0.0),
    "d_logit_target": _Known("Logit of D, target", "Above 0, D says source.", reference=0.0),
    "alignment": _Known(
        "Alignment map M",
        "Disagreement of the classifiers on target crops: mean, and 10 % to 90 % where logged.",
        (0, None),
        band=("alignment_q10", "alignment_q90"),
    ),
    "adv_share": _Known(
        "Adversarial share", "Share of the adversarial term in G's gradient norm.", (0, None)
    ),
}
PARTS_OF_OTHERS = {"alignment_q10", "alignment_q50", "alignment_q90"}
NOT_LEARNING = {"step", "miou", "iou", "seconds", "images_per_second", "memory", "waiting"}


def score_chart(systems: Sequence[System], classes: Sequence[str] | None) -> Chart | None:
    """Return the mIoU on the target over the steps, in percent; None if nothing was scored.

    Args:
        systems: in order.
        classes: those of the mean, as in `Scores.mean_iou`; None for all, as logged.
    """
    curves = _curves(systems, lambda record: _miou(record, classes))
    if not curves:
        return None
    many = any(len(system.runs) > 1 for system in systems)
    longest = max(len(curve.steps) for curve in curves)
    bars = longest == 1
    if bars:
        note = "In percent, at the only step that was scored."
        note += " Bars are means over seeds, lines the range of seeds." if many else ""
    else:
        note = "In percent; the last point is the score above. No checkpoint was chosen by it."
        note += " Lines are means over seeds, bands the range of seeds." if many else ""
    return Chart(
        "mIoU on the target",
        note,
        curves,
        form="{:.1f}",
        bounds=(0, None),
        dots=longest <= 30 and not bars,
        bars=bars,
    )


def loss_charts(systems: Sequence[System]) -> list[Chart]:
    """Return a chart for each loss, known ones first."""
    others = sorted(n for n in _scalars(systems) if n.startswith("loss_") and n not in LOSSES)
    return _charts(systems, LOSSES | {name: _Known(name, "As logged.") for name in others})


def health_charts(systems: Sequence[System]) -> list[Chart]:
    """Return a chart for each number on the state of the adversarial training."""
    return _charts(systems, HEALTH)


def other_charts(systems: Sequence[System]) -> list[Chart]:
    """Return a chart for each learning rate and each other logged number."""
    known = {*LOSSES, *HEALTH, *PARTS_OF_OTHERS, *NOT_LEARNING}
    names = [n for n in _scalars(systems) if n not in known and not n.startswith("loss_")]
    rates = {name: _Known(_rate_title(name), "As logged.") for name in sorted(names)}
    return _charts(systems, rates)


def _rate_title(name: str) -> str:
    return f"Learning rate, {name.removeprefix('lr_')}" if name.startswith("lr_") else name


def _charts(systems: Sequence[System], known: dict[str, _Known]) -> list[Chart]:
    charts = []
    for name, about in known.items():
        band = None if about.band is None else (scalar(about.band[0]), scalar(about.band[1]))
        if curves := _curves(systems, scalar(name), band):
            charts.append(
                Chart(
                    about.title,
                    about.note,
                    curves,
                    bounds=about.bounds,
                    reference=about.reference,
                )
            )
    return charts


def _scalars(systems: Iterable[System]) -> list[str]:
    names = dict[str, None]()
    for system in systems:
        for run in system.runs:
            for record in run.records:
                names |= dict.fromkeys(k for k, v in record.items() if isinstance(v, float))
    return list(names)


def _miou(record: Record, classes: Sequence[str] | None) -> float | None:
    if record.get("miou") is None:
        return None
    if classes is None:
        return 100 * float(record["miou"])
    values = [v for name in classes if (v := record["iou"].get(name)) is not None]
    return 100 * math.fsum(values) / len(values) if values else None


def _curves(
    systems: Sequence[System], read: Reader, band: tuple[Reader, Reader] | None = None
) -> tuple[Curve, ...]:
    return tuple(c for system in systems if (c := _curve(system, read, band)) is not None)


def _curve(system: System, read: Reader, band: tuple[Reader, Reader] | None) -> Curve | None:
    seeds = [table for run in system.runs if (table := logged(run.records, read))]
    series = over_seeds(seeds)
    if series is None:
        return None
    if band is not None:
        low, high = (over_seeds([logged(r.records, end) for r in system.runs]) for end in band)
        if low and high and np.array_equal(low.steps, series.steps):
            series = series._replace(low=low.mean, high=high.mean)
    return Curve(system.name, *smoothed(series, POINTS))
