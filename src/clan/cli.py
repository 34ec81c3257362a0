"""The command line: one short function per command, no logic of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clan import cli_study
from clan.cli_analysis import analyse_app, compare_label_free, evaluate_label_free, figure
from clan.errors import ClanError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Adapt a segmentation network from labelled renderings to unlabelled photographs.",
)
data_app = typer.Typer(no_args_is_help=True, help="Make the built-in data set; check your own.")
app.add_typer(data_app, name="data")
app.add_typer(analyse_app, name="analyse")
app.command()(figure)

Overrides = Annotated[
    Optional[list[str]],  # noqa: UP045 - typer reads this form on every Python it supports
    typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the preset, such as `seed=1`."),
]

CANNOT, INTERRUPTED = 1, 130


def main() -> None:
    """Run the command line; errors that the user can mend are printed without a traceback."""
    try:
        app()
    except ClanError as error:
        from clan.processes import OtherProcess
        from clan.training import Interrupted

        if isinstance(error, OtherProcess):
            # the first process tells, and gives the exit code
            sys.exit(0)
        _complain(str(error))
        sys.exit(INTERRUPTED if isinstance(error, Interrupted) else CANNOT)
    except OSError as error:
        # what reaches this place is the machine's: a full disk, no permission, too many files
        _complain(f"{error.filename or 'input/output'}: {error.strerror or error}")
        sys.exit(CANNOT)


def _complain(text: str) -> None:
    console = Console(stderr=True)
    console.print("[bold red]error:[/]", end=" ")
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _tell(text: str) -> None:
    """Print a line with paths: no markup, no highlighting, no breaking."""
    Console().print(text, markup=False, highlight=False, soft_wrap=True)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for data, runs and pictures.")] = Path("demo"),
) -> None:
    """Adapt a small network on the built-in town, end to end, in a few minutes on two cores.

    Makes the town (a two-domain set of street scenes), trains source-only, TAN and CLAN from
    scratch, scores them on the target, prints the comparison and writes pictures. A second call
    reuses what stands.

    Example: `clan demo --out demo`
    """
    from clan.demo import run_demo

    run_demo(out, Console())


@app.command()
def presets(
    names: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(
            metavar="[PRESET] [OTHER]",
            help="One to show, a folder or pattern to list, or two presets to compare.",
        ),
    ] = None,
) -> None:
    """List the presets; show one, complete; or show what differs between two.

    Examples: `clan presets`, `clan presets gta5-cityscapes/paper`, `clan presets '*/clan'`,
    `clan presets town/tan town/clan`
    """
    from clan.config import differences, dump_config, load_config
    from clan.config_files import matching_presets, preset_folders

    if not names:
        folders = [(f"{name}/", "  ".join(systems)) for name, systems in preset_folders().items()]
        _print_table(("folder", "presets in it"), folders)
        _tell("next: clan presets FOLDER, or a pattern such as '*/clan', says what each of them is")
    elif len(names) == 1 and (found := matching_presets(names[0])) != names:
        about = [(n, load_config(n).description.partition("\n")[0]) for n in found]
        _print_table(("preset", "what it is"), about)
    elif len(names) == 1:
        _tell(dump_config(load_config(names[0])).rstrip())
    elif len(names) == 2:
        first, second = (load_config(name) for name in names)
        rows = [(key, str(a), str(b)) for key, a, b in differences(first, second)]
        _print_table(("key", *names), rows)
    else:
        raise typer.BadParameter("give at most two presets")


@app.command()
def train(
    preset: Annotated[
        str, typer.Argument(help="A preset's name, or a configuration file (.yaml).")
    ],
    overrides: Overrides = None,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="The run's folder.  \\[default: runs/NAME/seedSEED]"),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Do three updates on generated images and print parameters, optimizer groups, "
            "peak memory and hours. Needs no data, writes nothing.",
        ),
    ] = False,
) -> None:
    """Train one system into a run folder.

    Examples:

    `clan train town/clan data.root=data/town seed=1`

    `clan train town/clan data.source=mygame.yaml data.target=photos/ data.validation=null`

    `clan train my.yaml training.devices=4 training.precision=bf16-mixed`

    `clan train gta5-cityscapes/reference/resnet101/clan --dry-run`

    Ctrl-C writes a checkpoint and says how to go on. Many machines: start the same command on
    each through torchrun, with `training.nodes` set.
    """
    from clan.config import load_config
    from clan.training import train as run_training

    config = load_config(preset, overrides or [])
    if dry_run:
        from clan.dry_run import dry_run as try_updates
        from clan.dry_run import print_dry_run

        print_dry_run(try_updates(config), config, Console())
        return
    run = run_training(config, out or Path("runs") / config.name / f"seed{config.seed}")
    _tell(f"run: {run.path}")
    _tell(f"next: clan predict {run.path} IMAGES... --out DIR")


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(help="The folder of an unfinished run.")],
    overrides: Overrides = None,
) -> None:
    """Go on with a run from its newest checkpoint.

    The result is the same as if it had never stopped. What it does not depend on may change:
    device, number of processes, loader workers, `data.root`, how often and how many checkpoints.

    Examples:

    `clan resume runs/clan/seed0`

    `clan resume runs/clan/seed0 training.devices=4`
    """
    from clan.config import load_config
    from clan.runs import RunFolder
    from clan.training import train as run_training

    config = load_config(RunFolder.open(run).config_file, overrides or [])
    finished = run_training(config, run, resume=True)
    _tell(f"run: {finished.path}")


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="A run folder or a model.safetensors.")],
    dataset: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Built-in name or description.  \\[default: the run's validation]"),
    ] = None,
    root: Annotated[Optional[str], typer.Option(help="The data set's folder.")] = None,  # noqa: UP045
    split: Annotated[str, typer.Option(help="Which split.")] = "val",
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Also write the scores to this JSON file."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    protocol: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="How images are shown and logits up-sampled. own: at the model's evaluation "
            "size, corners not aligned; paper: whole images at 512x1024, logits x2, corners "
            "aligned; reference: the same in one step from the classifiers' resolution, as the "
            "published code does.  \\[default: the run's data.evaluation_protocol; own for a file]"
        ),
    ] = None,
    align_corners: Annotated[
        Optional[bool],  # noqa: UP045
        typer.Option(help="Convention of the up-sampling.  \\[default: the protocol's]"),
    ] = None,
    flip: Annotated[
        bool, typer.Option("--flip", help="Flip testing: average with the mirror image's.")
    ] = False,
    scales: Annotated[
        str, typer.Option(help="Multi-scale testing: average over these, such as 0.75,1,1.25.")
    ] = "1",
    submit: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            help="Also write label id PNGs for the Cityscapes server to this new folder; the split "
            "then needs no labels."
        ),
    ] = None,
    confusion: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Also draw the confusion matrix: a .png, .pdf or .svg file."),
    ] = None,
    label_free: Annotated[
        bool,
        typer.Option(
            "--label-free",
            help="Score without labels, on images of the target (or of --dataset): entropy, "
            "information maximisation, soft neighbourhood density, agreement of the classifiers.",
        ),
    ] = False,
    snapshots: Annotated[
        bool,
        typer.Option(
            "--snapshots", help="With --label-free: every snapshot of the run, for `clan compare`."
        ),
    ] = False,
) -> None:
    """Score a model on a labelled split: IoU per class, and mIoU per named class subset.

    The result names the protocol it was made by; flip and multi-scale testing are used only when
    asked for.

    Examples:

    `clan evaluate runs/clan/seed0 --protocol paper --confusion confusion.png`

    `clan evaluate model.safetensors --dataset mydata.yaml --split test --out scores.json`

    `clan evaluate RUN --dataset cityscapes --root data/cityscapes --split test --submit DIR`

    `clan evaluate runs/clan/seed0 --label-free --snapshots`
    """
    if label_free or snapshots:
        labelled = {"--out": out, "--submit": submit, "--confusion": confusion, "--flip": flip}
        labelled |= {"--align-corners": align_corners, "--protocol": protocol is not None}
        evaluate_label_free(
            model, dataset, root, split, device, snapshots, {**labelled, "--scales": scales != "1"}
        )
        return
    from clan.evaluation import evaluate_model, protocol_name
    from clan.protocol import choose_protocol, parse_scales

    scores = evaluate_model(
        model,
        dataset=dataset,
        root=root,
        split=split,
        out=out,
        device=device,
        protocol=choose_protocol(
            protocol or protocol_name(model),
            align_corners=align_corners,
            flip=flip,
            scales=parse_scales(scales),
        ),
        submit=submit,
        confusion=confusion,
    )
    Console().print(scores.render())


@app.command()
def compare(
    runs: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Argument(metavar="RUNS...", help="Run folders; seeds of one name are a row."),
    ] = None,
    baseline: Annotated[str, typer.Option(help="The row that gains count from.")] = "source_only",
    oracle: Annotated[str, typer.Option(help="The row that ends the gap.")] = "oracle",
    subset: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Class subset to average over, such as cityscapes-16."),
    ] = None,
    style: Annotated[str, typer.Option("--format", help="text, markdown, latex or csv.")] = "text",
    paper: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="Put the runs below a table of the paper, over its classes: gta5 (Table 1) or "
            "synthia (Table 2). Without runs, the table alone."
        ),
    ] = None,
) -> None:
    """Set runs side by side, like the paper's tables.

    Per-class IoU, mIoU, gain over source only and the share of the domain gap closed; mean and
    standard deviation over seeds; best in bold. Where runs have label-free scores of their
    snapshots, also which checkpoint each score would choose.

    Examples: `clan compare runs/*/seed*`, `clan compare runs/*/seed* --paper gta5 --format latex`
    """
    from clan.comparison import compare as compare_runs

    comparison = compare_runs(
        runs or [], baseline=baseline, oracle=oracle, subset=subset, paper=paper
    )
    comparison.write(Console(), style)
    compare_label_free(runs or [], style)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUNS...", help="Run folders.")],
    out: Annotated[Path, typer.Option(help="The HTML file to write.")] = Path("report.html"),
    images: Annotated[int, typer.Option(help="Images of the target to show.", min=0)] = 8,
    baseline: Annotated[str, typer.Option(help="The row that gains count from.")] = "source_only",
    oracle: Annotated[str, typer.Option(help="The row that ends the gap.")] = "oracle",
    subset: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Class subset to average over, such as cityscapes-16."),
    ] = None,
    root: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="The data's folder, where they have moved."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    overwrite: Annotated[bool, typer.Option(help="Replace the file if it is there.")] = False,
) -> None:
    """Show runs on one HTML page: scores, images, curves, analyses, configuration.

    The page needs no network and no other file. What a run does not have yet is named on it.

    Example: `clan report runs/*/seed0 --out report.html`
    """
    from clan.report import write_report

    written = write_report(
        runs,
        out,
        images=images,
        baseline=baseline,
        oracle=oracle,
        subset=subset,
        root=root,
        device=device,
        overwrite=overwrite,
        console=Console(stderr=True),
    )
    _tell(f"report: {written}")


@app.command()
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
    from clan.predict import load, predict_files

    written = predict_files(
        load(model, device=device), images, out, overwrite=overwrite, style=style
    )
    _tell(f"{len(written)} images segmented into {out}")


@app.command()
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
    every: Annotated[bool, typer.Option(help="Name the loaded keys too.")] = False,
) -> None:
    """Read published weights, or write a model back to a published layout.

    Layouts: torchvision, deeplab-coco, clan, adaptsegnet, adaptsegnet-multi, advent,
    advent-multi. Checkpoints become whole models; the first two start a training (`weights=`).

    Example: `clan convert GTA5_100000.pth --out model.safetensors`
    """
    from clan.models.convert import convert as convert_weights

    report = convert_weights(file, out, layout, to, classes, partial)
    Console().print("\n".join(report.lines(every)), markup=False, highlight=False, soft_wrap=True)


@data_app.command("make")
def data_make(
    kind: Annotated[str, typer.Argument(help="`town`: the built-in street scenes.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT of the images.")] = "256x128",
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
    """Read every file of a data set and report all that is wrong, before a training finds out.

    Images or labels that are missing, truncated or of different sizes, label values outside the
    map, and how often each class occurs in each domain. Exits with 1 if anything is wrong.

    Examples: `clan data check town/clan data.root=data/town`, `clan data check mydata.yaml`
    """
    from clan.domains import check_domains

    console = Console()
    if not check_domains(config, overrides or [], workers, console):
        raise typer.Exit(CANNOT)


def _print_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    table = Table(box=None, pad_edge=False)
    # names and values are the user's: brackets in them are no markup
    for head in heads:
        table.add_column(Text(head))
    for row in rows:
        table.add_row(*(Text(value) for value in row))
    Console().print(table)


cli_study.register(app)

if __name__ == "__main__":
    main()
