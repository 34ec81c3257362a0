"""Commands about one network: its predictions, its weights in other layouts."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console

from clan.cli.common import progress, tell


def predict(
    model: Annotated[Path, typer.Argument(help="A run folder or a model.safetensors.")],
    images: Annotated[list[str], typer.Argument(help="Files, folders or glob patterns.")],
    out: Annotated[Path, typer.Option(help="Folder for label PNGs and colour overlays.")],
    overwrite: Annotated[bool, typer.Option(help="Write into a folder that has files.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    style: Annotated[
        str,
        typer.Option(
            "--format",
            help="overlay: a palette label and a picture; cityscapes: one PNG of official label "
            "ids per image, as the Cityscapes server takes.",
        ),
    ] = "overlay",
) -> None:
    """Segment images: a palette label PNG and a colour overlay for each.

    Examples: `clan predict runs/clan/seed0 photos/ --out predictions`,
    `clan predict model.safetensors leftImg8bit/test --out submission --format cityscapes`
    """
    from clan.prediction.predictor import predict as predict_images

    with progress() as watch:
        written = predict_images(
            model,
            images,
            out,
            overwrite=overwrite,
            device=device,
            style=style,
            progress=partial(watch, "predict"),
        )
    tell(f"{len(written)} images segmented into {out}")


def convert(
    file: Annotated[Path, typer.Argument(help="Published weights, or with --to a model file.")],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    layout: Annotated[
        str, typer.Option(help="The layout of FILE, where keys do not tell.")
    ] = "auto",
    to: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Write a state dict in this published layout instead."),
    ] = None,
    classes: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Class set of the classifiers.  \\[default: cityscapes if 19]"),
    ] = None,
    partial: Annotated[bool, typer.Option(help="Write it though tensors are missing.")] = False,
    part: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Of DAFormer's and MIC's: student, ema or imagenet."),
    ] = None,
    every: Annotated[bool, typer.Option(help="Name the loaded keys too.")] = False,
) -> None:
    """Read published weights, or write a model back to a published layout.

    Layouts: torchvision, deeplab-coco, clan, adaptsegnet, adaptsegnet-multi, advent,
    advent-multi, mit, daformer. Checkpoints become whole models; torchvision, deeplab-coco and mit
    start a training (`weights=`).

    Example: `clan convert GTA5_100000.pth --out model.safetensors`
    """
    from clan.weights.convert import convert as convert_weights

    report = convert_weights(
        file, out, layout=layout, to=to, classes=classes, partial=partial, part=part
    )
    Console().print("\n".join(report.lines(every)), markup=False, highlight=False, soft_wrap=True)
