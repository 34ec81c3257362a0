"""The page: the values for its template, and its rendering as one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from clan.comparison.table import ABSENT, Comparison
from clan.config.flat import flat
from clan.config.loading import dump_config
from clan.config.tree import DataOptions, DomainOptions
from clan.data.classes import IGNORE, ClassSet
from clan.data.datasets import BUILTIN_DATASETS
from clan.data.names import name_in_layout
from clan.prediction.pictures import NOT_LABELLED, present
from clan.reporting import curves
from clan.reporting.analyses import read_analyses
from clan.reporting.charts import dash_array, draw, looks
from clan.reporting.curves import Chart
from clan.reporting.gather import System, shown_domain
from clan.reporting.health import read_health
from clan.reporting.panels import HEAT_LEVELS, Scene, encode_scenes, heat_colors, heat_top
from clan.reporting.score_table import color_text, score_table
from clan.reporting.templates import templates

WIDE, NARROW = (7.6, 2.7), (3.6, 2.3)
HIDDEN_KEYS = ("name", "description", "seed")


@dataclass(frozen=True, eq=False)
class Page:
    """The content of a page.

    Attributes:
        systems: in order.
        comparison: of the scored runs, None if there are none.
        baseline: name of the system that others are compared with; it may be missing.
        scenes: for the viewer.
        why: why there is no scene.
    """

    systems: Sequence[System]
    comparison: Comparison | None
    baseline: str
    scenes: Sequence[Scene]
    why: str = ""

    @property
    def classes(self) -> ClassSet | None:
        """The class set of all runs; None if no file has it."""
        runs = (run for system in self.systems for run in system.runs)
        return next((run.classes for run in runs if run.classes), None)


def render(page: Page) -> str:
    """Return the page as self-contained HTML."""
    environment = templates("clan.reporting")
    names = [system.name for system in page.systems]
    environment.filters["breakable"] = _breakable
    look = looks(names, page.baseline)
    slots = {name: slot for name, (slot, _) in look.items()}
    table = None
    if page.comparison is not None and page.classes is not None:
        table = score_table(page.comparison, page.classes, slots)
    return environment.get_template("page.html").render(
        version=version("clan"),
        title=_title(page.systems),
        about=_about(page.systems),
        missing=[m for s in page.systems for run in s.runs for m in run.missing],
        table=table,
        systems=[
            {"name": name, "slot": slot, "dashes": dash_array(dash)}
            for name, (slot, dash) in look.items()
        ],
        curves=_curves(page, look),
        health=read_health(page.systems),
        analyses=read_analyses(page.systems),
        differences=_differences(page.systems),
        configurations=[
            {"name": s.name, "seed": s.first.seed, "text": dump_config(s.first.config)}
            for s in page.systems
        ],
        environments=_environments(page.systems),
        folders=[
            {"name": s.name, "seed": run.seed, "path": str(run.folder.path)}
            for s in page.systems
            for run in s.runs
        ],
        style=_own("style.css"),
        page_script=_own("page.js"),
        viewer_script=_own("viewer.js"),
        **_viewer(page),
    )


def _breakable(name: str) -> Markup:
    """Return a name with line breaks allowed after underscores."""
    return Markup("_<wbr>").join(name.split("_"))


def _own(name: str) -> Markup:
    """Return one of the package's files, which is inserted without escaping."""
    return Markup((files("clan.reporting") / name).read_text(encoding="utf-8"))


def _title(systems: Sequence[System]) -> str:
    # in the oracle's configuration the source is the target, so other runs name the domains
    pairs = {
        _domain_names(run.config.data, domain)
        for system in systems
        for run in system.runs
        if (domain := run.config.data.target or run.config.data.validation)
    }
    apart = sorted(pair for pair in pairs if pair[0] != pair[1])
    if apart:
        return f"{apart[0][0]} → {apart[0][1]}"
    data = systems[0].first.config.data
    return sorted(pairs)[0][1] if pairs else _domain_names(data, data.source)[0]


def _domain_names(data: DataOptions, target: DomainOptions) -> tuple[str, str]:
    """Return what source and target are called."""
    return _domain_name(data, data.source), _domain_name(data, target)


def _domain_name(data: DataOptions, domain: DomainOptions) -> str:
    """Return a domain's name: of its file, or of its folder where others' layout is all it shares.

    The town lies as GTA5 and Cityscapes do, and is called town/source and town/target.
    """
    name = domain.dataset.rstrip("/").rpartition("/")[2]
    folder = Path(data.root or "", domain.shown_root)
    if (own := name_in_layout(name, folder)) != name:
        return own
    alike = name in folder.name.lower().replace("_", "-")
    if domain.dataset in BUILTIN_DATASETS and folder.name and not alike:
        return "/".join(folder.parts[-2:] if folder.parent.name else folder.parts[-1:])
    return name.removesuffix(".yaml").removesuffix(".yml")


def _about(systems: Sequence[System]) -> str:
    runs = sum(len(system.runs) for system in systems)
    named = ", ".join(system.name for system in systems)
    count = "1 run" if runs == 1 else f"{runs} runs"
    return f"Report on {count}: {named}."


def _viewer(page: Page) -> dict[str, Any]:
    classes = page.classes
    if not page.scenes or classes is None:
        return {"scenes": [], "viewer": {"why": page.why}}
    encoded = encode_scenes(page.scenes, classes)
    keys = [layer.key for layer in page.scenes[0].layers]
    labels = [
        np.asarray(layer.pixels, np.uint8)
        for scene in page.scenes
        for layer in scene.layers
        if layer.kind == "label"
    ]
    legend = [{"name": n, "color": color_text(classes, n)} for n in present(labels, classes)]
    if any((label == IGNORE).any() for label in labels):
        legend.append({"name": NOT_LABELLED, "color": "rgb(0, 0, 0)"})
    heats = any(layer.kind == "heat" for layer in page.scenes[0].layers)
    predictions = [key for key in keys if key.startswith("p")]
    # the first and the last system, such as source only and clan in the paper's Figure 5
    left = predictions[0] if len(predictions) > 1 else "image"
    return {
        "scenes": [
            {"name": scene.name, "height": scene.size[0], "width": scene.size[1], "layers": layers}
            for scene, layers in zip(page.scenes, encoded, strict=True)
        ],
        "viewer": {
            "about": _viewer_about(page),
            "left": left,
            "right": predictions[-1],
            "legend": legend,
            "top": f"{heat_top(page.scenes):g}",
            "ramp": ", ".join(f"rgb{color}" for color in heat_colors()[::6]) if heats else "",
            "names": {"label": _class_names(classes), "heat": _heat_names(page.scenes)},
        },
    }


def _viewer_about(page: Page) -> str:
    first = page.systems[0].first
    domain = shown_domain(first.config)
    assert domain is not None, "there are scenes of it"
    count = len(page.scenes)
    images = "1 image" if count == 1 else f"{count} images, spread evenly,"
    text = f"{images} of {_domain_name(first.config.data, domain)} {domain.split}."
    several = [system for system in page.systems if len(system.runs) > 1]
    if several:
        seeds = ", ".join(f"{system.name}: {system.first.seed}" for system in several)
        text += f" Each system's predictions are of one seed ({seeds})."
    if not any(layer.key == "truth" for layer in page.scenes[0].layers):
        text += " They have no labels, so there is no ground truth."
    return text


def _class_names(classes: ClassSet) -> dict[str, str]:
    """Return the class, or classes, of each colour."""
    names = {"0,0,0": NOT_LABELLED}
    for name, (red, green, blue) in zip(classes.names, classes.colors, strict=True):
        key = f"{red},{green},{blue}"
        names[key] = f"{names[key]} or {name}" if key in names else name
    return names


def _heat_names(scenes: Sequence[Scene]) -> dict[str, str]:
    """Return the value of M of each colour."""
    top = heat_top(scenes)
    return {
        f"{red},{green},{blue}": f"{top * level / (HEAT_LEVELS - 1):.2g}"
        for level, (red, green, blue) in enumerate(heat_colors())
    }


def _curves(page: Page, look: dict[str, tuple[int, int]]) -> list[dict[str, Any]]:
    subset = page.comparison.classes if page.comparison is not None else None
    whole = page.classes is None or subset is None or len(subset) == len(page.classes)
    score = curves.score_chart(page.systems, None if whole else subset)
    groups = [
        ("Score", "", [score] if score is not None else []),
        ("Losses", "", curves.loss_charts(page.systems)),
        ("Health of the adversary", "", curves.health_charts(page.systems)),
        ("Other", "", curves.other_charts(page.systems)),
    ]
    found = []
    for title, note, charts in groups:
        if charts:
            lead = title == "Score"
            drawn = [_drawn(chart, look, f"{title}{i}", lead) for i, chart in enumerate(charts)]
            found.append({"title": title, "note": note, "charts": drawn, "lead": lead})
    return found


def _drawn(chart: Chart, look: dict[str, tuple[int, int]], key: str, lead: bool) -> dict[str, Any]:
    drawings = [{"when": "narrow" if lead else "", "svg": draw(chart, look, key, NARROW)}]
    if lead:
        # on a phone, the letters of a wide chart would be too small
        drawings.append({"when": "wide", "svg": draw(chart, look, f"{key}w", WIDE)})
    # bars are already labelled with their values
    shown = () if chart.bars else chart.curves
    last = [(c.system, chart.form.format(c.mean[-1])) for c in shown]
    return {"title": chart.title, "note": chart.note, "drawings": drawings, "last": last}


def _differences(systems: Sequence[System]) -> dict[str, Any]:
    values = [flat(system.first.config) for system in systems]
    keys = [k for k in dict.fromkeys(k for v in values for k in v) if k not in HIDDEN_KEYS]
    rows = [
        {"key": key, "cells": [_value(each.get(key)) for each in values]}
        for key in keys
        if any(each.get(key) != values[0].get(key) for each in values)
    ]
    return {"names": [system.name for system in systems], "rows": rows}


def _value(value: Any) -> str:
    return ABSENT if value is None else str(value)


def _environments(systems: Sequence[System]) -> dict[str, Any]:
    """Return machine and versions of the runs; equal columns are merged."""
    columns: dict[str, tuple[dict[str, Any], list[str]]] = {}
    for system in systems:
        for run in system.runs:
            for entry in run.environments:
                about = {k: v for k, v in entry.items() if k != "since_step"}
                since = f", from step {entry['since_step']}" if entry["since_step"] else ""
                _, heads = columns.setdefault(repr(sorted(about.items())), (about, []))
                heads.append(f"{system.name}, seed {run.seed}{since}")
    abouts = [about for about, _ in columns.values()]
    return {
        "heads": ["; ".join(heads) for _, heads in columns.values()],
        "rows": [
            {"key": key, "cells": [_value(about.get(key)) for about in abouts]}
            for key in dict.fromkeys(key for about in abouts for key in about)
        ],
    }
