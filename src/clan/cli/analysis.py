"""Commands for analyses and figures of runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from clan.cli.common import progress, tell

analyse_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Analyse runs: class centres, t-SNE, alignment maps.",
)

Runs = Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")]
Images = Annotated[int, typer.Option(help="Images per domain, fewer where a split has fewer.")]
Features = Annotated[
    str, typer.Option(help="encoder: E's output; logits or softmax: of the ensemble.")
]
Labels = Annotated[
    str,
    typer.Option(
        help="Labels of the target. truth: its own, for the analysis alone; pseudo: each network's "
        "predictions."
    ),
]
On = Annotated[
    str, typer.Option(help="The target's images. target: those adapted to; validation: scored on.")
]
Seed = Annotated[int, typer.Option(help="Of the draw of images; the same for runs to compare.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Root = Annotated[
    Optional[str],  # noqa: UP045 - typer reads this form on every Python it supports
    typer.Option(help="The data's folder, where it was moved.  \\[default: the run's data.root]"),
]


@analyse_app.command()
def ccd(
    runs: Runs,
    images: Images = 1000,
    features: Features = "encoder",
    distance: Annotated[
        str,
        typer.Option(help="euclidean, cosine, or spread: euclidean in units of a class's spread."),
    ] = "euclidean",
    pooling: Annotated[
        str,
        typer.Option(help="A centre is the mean over pixels (pixel) or of images' means (image)."),
    ] = "pixel",
    labels: Labels = "truth",
    on: On = "target",
    steps: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Such as 100,600.  \\[default: every snapshot]"),
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    root: Root = None,
) -> None:
    """Cluster-centre distance per class: how far apart source and target lie (section 4.4).

    Over the run's snapshots (`training.snapshot_every`), each divided by the distance before
    training. Writes `RUN/analysis/ccd.json`; draw it with `clan figure ccd` or `ccd-classes`.

    Example: `clan analyse ccd runs/*/seed0 --images 200`
    """
    from clan.analysis.ccd import CCDOptions, analyse_ccd
    from clan.runs.folder import RunFolder

    options = _options(
        CCDOptions,
        images=images,
        features=features,
        distance=distance,
        pooling=pooling,
        labels=labels,
        on=on,
        seed=seed,
    )
    with progress() as watch:
        for run in runs:
            folder = RunFolder.open(run)
            if not folder.snapshots():
                tell(f"{run} has no snapshots: before training and the end alone are compared")
            result = analyse_ccd(
                folder, options, steps=_numbers(steps), root=root, device=device, watch=watch
            )
            tell(f"{run}: {len(result.about['steps'])} steps in analysis/ccd.json")


@analyse_app.command()
def tsne(
    runs: Runs,
    classes: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="Such as car,road.  \\[default: building, traffic sign, pole, vegetation]"
        ),
    ] = None,
    points: Annotated[int, typer.Option(help="Pixels per class and domain.")] = 250,
    images: Images = 200,
    features: Features = "encoder",
    labels: Labels = "truth",
    on: On = "target",
    perplexity: Annotated[float, typer.Option(help="About how many neighbours.")] = 30.0,
    step: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="The network of this snapshot.  \\[default: the newest]"),
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    root: Root = None,
) -> None:
    """t-SNE of pixel features of both domains (Figure 3 e to g).

    As many pixels of a class from the source as from the target, the same for all runs. Writes
    `RUN/analysis/tsne.npz`; draw it with `clan figure tsne`.

    Example: `clan analyse tsne runs/source_only/seed0 runs/clan/seed0 --classes road,sidewalk,car`
    """
    from clan.analysis.tsne import TSNEOptions, analyse_tsne
    from clan.runs.folder import RunFolder

    options = _options(
        TSNEOptions,
        classes=tuple(name.strip() for name in classes.split(",")) if classes else (),
        points=points,
        images=images,
        features=features,
        labels=labels,
        on=on,
        perplexity=perplexity,
        seed=seed,
    )
    with progress() as watch:
        for run in runs:
            result = analyse_tsne(
                RunFolder.open(run), options, step=step, device=device, root=root, watch=watch
            )
            absent = result.about["absent"]
            gone = f"; absent from a domain's sample: {', '.join(absent)}" if absent else ""
            tell(f"{run}: {len(result.arrays['xy'])} pixels in analysis/tsne.npz{gone}")


@analyse_app.command()
def maps(
    runs: Runs,
    before: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="The run before adaptation.  \\[default: each run's own step 0]"),
    ] = None,
    images: Annotated[int, typer.Option(help="Images that the means are over.")] = 100,
    shown: Annotated[int, typer.Option(help="How many of them are kept as pictures.")] = 4,
    distance: Annotated[str, typer.Option(help="cosine (the paper's), l1 or js.")] = "cosine",
    labels: Labels = "truth",
    on: On = "validation",
    seed: Seed = 0,
    device: Device = "auto",
    root: Root = None,
) -> None:
    """Alignment maps M and D's output on target images, before and after adaptation.

    Writes `RUN/analysis/maps.npz`; draw it with `clan figure maps` or `maps-classes`.

    Example: `clan analyse maps runs/clan/seed0 --before runs/source_only/seed0`
    """
    from clan.analysis.maps import MapsOptions, analyse_maps
    from clan.runs.folder import RunFolder

    options = _options(
        MapsOptions,
        images=images,
        shown=shown,
        labels=labels,
        on=on,
        distance=distance,
        seed=seed,
    )
    earlier = None if before is None else RunFolder.open(before)
    with progress() as watch:
        for run in runs:
            result = analyse_maps(
                RunFolder.open(run), options, before=earlier, device=device, root=root, watch=watch
            )
            judge = "" if "d_after" in result.arrays else "; no D in it"
            tell(f"{run}: {len(result.arrays['image'])} maps in analysis/maps.npz{judge}")


def figure(
    kind: Annotated[str, typer.Argument(help="Which figure; see below.")],
    runs: Runs,
    out: Annotated[Path, typer.Option(help="The file: .png, .svg or .pdf.")],
    class_name: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--class", help="The class that ccd follows.  \\[default: wall]"),
    ] = None,
    images: Annotated[int, typer.Option(help="Rows of maps and qualitative.")] = 3,
    baseline: Annotated[str, typer.Option(help="What transfer counts from.")] = "source_only",
    dpi: Annotated[int, typer.Option(help="Dots per inch of a .png.")] = 300,
) -> None:
    """Draw a figure of runs at paper quality; seeds of one name are one system.

    Kinds: curves, health, study, ccd, ccd-classes, tsne, maps, maps-classes, qualitative, transfer,
    label-free. study takes the folder of a `clan sweep`, then runs to compare it with. ccd, tsne
    and maps show what `clan analyse` wrote, label-free what `clan evaluate --label-free
    --snapshots` wrote, the others need no more than finished runs.

    Examples: `clan figure curves runs/*/seed* --out curves.pdf`,
    `clan figure ccd runs/*/seed0 --class pole --out ccd.svg`,
    `clan figure study runs/clan-sweep runs/tan/seed* --out study.pdf`
    """
    from clan.figures.kinds import FigureOptions, draw_figure
    from clan.studies.sweep.kinds import KINDS

    options = FigureOptions(class_name=class_name, images=images, baseline=baseline)
    draw_figure(kind, runs, out, options, dpi, KINDS)
    tell(str(out))


def _options(kind: Any, **values: Any) -> Any:
    """Make an analysis' options, refusing words that are none of a choice's."""
    from typing import Literal, get_args, get_origin, get_type_hints

    from clan.core.errors import ConfigError, nearest

    for name, hint in get_type_hints(kind).items():
        if get_origin(hint) is Literal and values[name] not in get_args(hint):
            raise ConfigError(
                f"--{name} {values[name]!r} is unknown{nearest(values[name], get_args(hint))}"
            )
    return kind(**values)


def _numbers(text: str | None) -> Sequence[int] | None:
    from clan.core.errors import ConfigError

    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise ConfigError(f"--steps {text!r}: expected whole numbers, such as 100,600")
    return [int(part) for part in parts]
