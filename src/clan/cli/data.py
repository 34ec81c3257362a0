"""Commands about data sets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.text import Text

from clan.cli.common import CANNOT, Overrides, progress, tell
from clan.core.console import Console

data_app = typer.Typer(no_args_is_help=True, help="Make the built-in data set; check your own.")


@data_app.command("make")
def data_make(
    kind: Annotated[str, typer.Argument(help="`town`: the built-in street scenes.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    size: Annotated[str, typer.Option(help="HEIGHTxWIDTH of the images.")] = "128x256",
    source: Annotated[int, typer.Option(help="Source images.", min=1)] = 400,
    target: Annotated[int, typer.Option(help="Target training images.", min=1)] = 400,
    val: Annotated[int, typer.Option(help="Target validation images.", min=1)] = 100,
    seed: Annotated[int, typer.Option(help="Another seed draws another town.", min=0)] = 0,
) -> None:
    """Draw a two-domain data set: a game-like source and a camera-like target.

    The source has GTA5's layout on disk, the target Cityscapes' (train and val).

    Example: `clan data make town --out data/town`
    """
    from clan.demo import Images, make_data

    make_data(kind, out, Images(source, target, val, size, seed), Console())


@data_app.command("check")
def data_check(
    config: Annotated[
        str, typer.Argument(help="A preset or configuration, or one data set's description.")
    ],
    overrides: Overrides = None,
    workers: Annotated[int, typer.Option(help="Processes; 0 for one per core.")] = 0,
) -> None:
    """Read every file of a data set and report all problems before a training.

    Images or labels that are missing, truncated or of different sizes, label values outside the
    map, and how often each class occurs in each domain. Exits with 1 if anything is wrong.

    Examples: `clan data check town/clan data.root=data/town`, `clan data check mydata.yaml`
    """
    from clan.training.checking import check

    with progress() as watch:
        found = check(config, overrides or [], workers=workers, progress=watch)
    console = Console()
    for split in found.splits:
        if split.report is None:
            console.print(Text.assemble((split.title, "bold"), ": ", (split.error, "red")))
        else:
            console.print(Text(split.title, style="bold"), split.report.render())
    if not found.ok:
        raise typer.Exit(CANNOT)


@data_app.command("values")
def data_values(
    labels: Annotated[Path, typer.Argument(help="Folder of label PNGs.")],
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Also write a first description to this file (.yaml)."),
    ] = None,
    images: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder of the images.  \\[default: looked for beside the labels]"),
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes; 0 for one per core.")] = 0,
) -> None:
    """List the values, or colours, of label files, before any map of them exists.

    How often each occurs, in how many files, and how the files seem to store classes. With `--out`
    a description is written that has a class for each: rename them, and check it.

    Example: `clan data values mysim/masks --out mysim.yaml`
    """
    from functools import partial

    from clan.data.draft import write_draft
    from clan.data.values import label_values

    with progress() as watch:
        found = label_values(labels, workers or os.cpu_count() or 1, partial(watch, "labels"))
    Console().print(found.render())
    if out is not None:
        tell(write_draft(found, out, images))
    if found.problems:
        raise typer.Exit(CANNOT)


@data_app.command("pack")
def data_pack(
    dataset: Annotated[
        str, typer.Argument(help="A data set's description (.yaml), or a built-in layout.")
    ],
    out: Annotated[Path, typer.Option(help="The archive to write, .zip or .tar.")],
    root: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="The data set's folder.  \\[default: as the description says]"),
    ] = None,
    split: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="A split to pack; may be given again.  \\[default: all]"),
    ] = None,
) -> None:
    """Write a data set into one archive, which trainings read in place.

    The archive has its table of contents, or a `.index` beside a tar; NAME.yaml beside it describes
    the data set. The archive is read back before it gets its name. Nothing is overwritten.

    Examples: `clan data pack mysim.yaml --out mysim.zip`,
    `clan data pack cityscapes --root data/cityscapes --split train --out cityscapes.tar`
    """
    from clan.data.pack import pack

    with progress() as watch:
        packed = pack(dataset, out, root=root, splits=split or (), progress=watch)
    tell(packed.text())


@data_app.command("index")
def data_index(
    tar: Annotated[Path, typer.Argument(help="A tar archive, not compressed.")],
) -> None:
    """Write the index that lets a tar be read as a data set: TAR.index, beside it.

    Example: `clan data index photos.tar`
    """
    from clan.data.pack import write_index

    with progress() as watch:
        index = write_index(tar, watch)
    tell(str(index))
