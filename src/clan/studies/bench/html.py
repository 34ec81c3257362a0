"""The comparison as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup

from clan.comparison.table import Comparison
from clan.core.files import write_whole
from clan.data.classes import ClassSet
from clan.figures.ranks import draw_ranks
from clan.figures.style import svg_text
from clan.reporting.charts import inline, looks
from clan.reporting.score_table import change, color_text, losses_table, strength
from clan.reporting.templates import templates
from clan.scoring.evaluation_file import read_evaluation
from clan.studies.bench.facts import Runs, class_mix, machines, settings, trainings, variants
from clan.studies.bench.page import Section
from clan.studies.bench.table import BenchTable


def write_html(path: Path, table: BenchTable, section: Section, runs: Runs) -> None:
    """Write the page, whole or not at all."""
    write_whole(path, render(table, section, runs).encode())


def render(table: BenchTable, section: Section, runs: Runs) -> str:
    """Return the page's text."""
    environment = templates("clan.studies.bench")
    comparison, test = table.comparison, table.test
    first = next(iter(next(iter(runs.values())).values()))
    classes = read_evaluation(first.path).scores.classes
    means = ", ".join(f"{row.name} {row.miou:.1f}" for row in comparison.rows)
    diagram = Markup()
    if test is not None:
        spoken = ", ".join(
            f"{name} {rank:.1f}" for name, rank in zip(test.names, test.mean_ranks, strict=True)
        )
        diagram = inline(svg_text(draw_ranks(test), "ranks"), f"Mean ranks: {spoken}")
    return environment.get_template("page.html").render(
        version=version("clan"),
        title=section.read_notes()[0],
        about=comparison.title,
        command=section.command,
        machine=machines(runs),
        tinted=comparison.baseline is not None,
        heads=_heads(comparison, classes),
        headings=[measure.heading for measure in comparison.measures],
        rows=_rows(comparison),
        notes=comparison.notes,
        losses=losses_table(comparison, classes),
        scores=inline(svg_text(table.draw(), "scores"), f"mIoU: {means}"),
        diagram=diagram,
        test=test,
        facts=list(_facts(runs)),
        style=Markup((files("clan.reporting") / "style.css").read_text(encoding="utf-8")),
    )


def _facts(runs: Runs) -> Iterator[dict[str, Any]]:
    if (varied := variants(runs)) is not None:
        about = "Settings in which systems of one method differ."
        yield {"title": "Variants", "about": about, "table": varied}
    yield {"title": "Trainings", "about": settings(runs), "table": trainings(runs)}
    about = "Percent of the scored pixels, in the labels and as predicted."
    yield {"title": "Class mix", "about": about, "table": class_mix(runs)}


def _heads(comparison: Comparison, classes: ClassSet) -> list[dict[str, str]]:
    return [{"name": name, "color": color_text(classes, name)} for name in comparison.classes]


def _rows(comparison: Comparison) -> list[dict[str, object]]:
    """Return the template's values of each system; adapted systems have a colour."""
    lines = {heading: (cells, best) for heading, cells, best in comparison.lines()}
    look = looks([row.name for row in comparison.rows], comparison.baseline)
    top = max((row.miou for row in comparison.rows if row.miou == row.miou), default=1.0)
    roles = {comparison.baseline: "baseline", comparison.oracle: "oracle"}
    measures = [measure.heading for measure in comparison.measures]
    rows: list[dict[str, object]] = []
    for index, row in enumerate(comparison.rows):
        shifts = [0.0] * len(comparison.classes) if row.change is None else row.change.tolist()
        rows.append(
            {
                "name": row.name,
                "family": row.family,
                "slot": look[row.name][0],
                "role": roles.get(row.name, ""),
                "miou": lines["mIoU"][0][index],
                "best": index in lines["mIoU"][1],
                "part": 0 if row.miou != row.miou else round(row.miou / top, 3),
                "gain": change(row.gain),
                "closed": None if row.gap_closed is None else f"{row.gap_closed:.0f} %",
                "seeds": len(row.seeds),
                "measures": [lines[heading][0][index] for heading in measures],
                "classes": [
                    {
                        "text": lines[name][0][index],
                        "best": index in lines[name][1],
                        "shift": strength(shift),
                    }
                    for name, shift in zip(comparison.classes, shifts, strict=True)
                ],
            }
        )
    return rows
