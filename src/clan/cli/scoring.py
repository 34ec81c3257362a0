"""Commands on runs: scores, tables, health, the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from clan.cli.common import progress, tell
from clan.core.console import Console


def evaluate(
    model: Annotated[Path, typer.Argument(help="A run folder or a model.safetensors.")],
    dataset: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Built-in name or description.  \\[default: the run's validation]"),
    ] = None,
    root: Annotated[Optional[str], typer.Option(help="The data set's folder.")] = None,  # noqa: UP045
    split: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Which split.  \\[default: the run's own, or val of --dataset]"),
    ] = None,
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
            "published code does.  \\[default: the one that the training scored by]"
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

    The result names its protocol; flip and multi-scale testing are off by default.

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
    from clan.figures.confusion import check_path, draw_confusion
    from clan.prediction.evaluate import Unwritten, scored_protocol
    from clan.prediction.evaluate import evaluate as evaluate_model
    from clan.scoring.protocol import choose_protocol, parse_scales
    from clan.scoring.rendering import score_table

    if confusion is not None:
        check_path(confusion)
    chosen = choose_protocol(
        scored_protocol(model) if protocol is None else protocol,
        align_corners=align_corners,
        flip=flip,
        scales=parse_scales(scales),
    )
    unwritten: Unwritten | None = None
    with progress() as watch:
        try:
            evaluation = evaluate_model(
                model,
                dataset=dataset,
                root=root,
                split=split,
                out=out,
                device=device,
                protocol=chosen,
                submit=submit,
                progress=partial(watch, "evaluate"),
            )
        except Unwritten as error:
            evaluation, unwritten = error.evaluation, error
    if confusion is not None:
        title = f"{evaluation.name} on {evaluation.dataset} {evaluation.split}"
        draw_confusion(evaluation.scores, confusion, title)
    Console().print(score_table(evaluation.scores))
    if unwritten is not None:
        raise unwritten


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
    """Compare runs in a table like the paper's.

    Per-class IoU, mIoU, gain over source only and the share of the domain gap closed; mean and
    standard deviation over seeds; best in bold. Where runs have label-free scores of their
    snapshots, also which checkpoint each score would choose.

    Examples: `clan compare runs/*/seed*`, `clan compare runs/*/seed* --paper gta5 --format latex`
    """
    from clan.comparison import render
    from clan.comparison.compare import compare as compare_runs

    comparison = compare_runs(
        runs or [], baseline=baseline, oracle=oracle, subset=subset, paper=paper
    )
    render.write(comparison, Console(), style)
    compare_label_free(runs or [], style)


def health(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, finished or not.")],
) -> None:
    """Check the health of adversarial trainings, with advice on problems.

    D's accuracy and mean logit per domain, the adversary's share of G's gradient and the mean of
    the alignment map near the end, and a verdict over the whole training: d_wins, d_one_sided,
    d_blind, adv_negligible, adv_dominates or healthy. `docs/reading-the-curves.md` explains them.

    Example: `clan health runs/*/seed*`
    """
    from clan.runs.health_table import show_health

    show_health(runs, Console())


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

    The page is self-contained. It names the parts that a run does not have yet.

    Example: `clan report runs/*/seed0 --out report.html`
    """
    from clan.reporting import report as write_report

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
    tell(f"report: {written}")


def evaluate_label_free(
    model: Path,
    dataset: str | None,
    root: str | None,
    split: str | None,
    device: str,
    snapshots: bool,
    others: Mapping[str, object],
) -> None:
    """Score without labels, as `clan evaluate --label-free` asks; print the scores."""
    from clan.analysis.label_free import LabelFreeOptions, label_free, score_images
    from clan.analysis.label_free_table import scores_table
    from clan.core.errors import ConfigError
    from clan.runs.folder import RunFolder

    if beside := [name for name, given in others.items() if given]:
        raise ConfigError(f"{', '.join(beside)} belongs to scores with labels; leave it out")
    if dataset is not None and snapshots:
        raise ConfigError("--snapshots scores a run on its own target; leave --dataset out")
    if dataset is None and split is not None:
        raise ConfigError(f"--split {split}: a run is scored on its own target; add --dataset")
    about: Mapping[str, Any]
    with progress() as watch:
        if dataset is not None:
            about = score_images(
                model, dataset, root=root, split=split or "val", device=device, watch=watch
            )
        else:
            run = RunFolder.open(model)
            about = label_free(
                run, LabelFreeOptions(), snapshots=snapshots, device=device, root=root, watch=watch
            ).about
    Console().print(scores_table(about))


def compare_label_free(runs: Sequence[Path], style: str) -> None:
    """Print which checkpoint label-free scores would choose, where runs have such scores."""
    from clan.analysis.choice import checkpoint_choices, choices_markdown, write_choices
    from clan.core.errors import RunError

    if style not in ("text", "markdown"):
        return
    try:
        choices, notes = checkpoint_choices(runs)
    except RunError as error:
        # the comparison above stands without it
        choices, notes = [], [f"Label-free scores are left out: {error}"]
    if style == "markdown" and (choices or notes):
        Console().out("\n" + choices_markdown(choices, notes), end="", highlight=False)
    elif choices or notes:
        write_choices(choices, notes, Console())
