"""Commands about one network: its predictions, its weights in other layouts."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.console import Console

from clan.cli.common import progress, tell
from clan.core.errors import ConfigError, counted

if TYPE_CHECKING:
    from clan.core.progress import Watch
    from clan.prediction.predictor import Predictor


def predict(
    model: Annotated[Path, typer.Argument(help="A run folder or a model.safetensors.")],
    images: Annotated[
        list[str],
        typer.Argument(help="Files, folders or glob patterns; or a video, or a camera's number."),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for the results; of a video, the video to write.")
    ],
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
    alpha: Annotated[float, typer.Option(help="Weight of the colours in overlays, 0..1.")] = 0.5,
    flip: Annotated[
        bool, typer.Option("--flip", help="Average with the mirror image's probabilities.")
    ] = False,
    scales: Annotated[
        str, typer.Option(help="Average over these factors of the size, such as 0.75,1,1.25.")
    ] = "1",
    probabilities: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Also write them: npz (float16), or png (16 bits, one per class)."),
    ] = None,
    uncertainty: Annotated[
        bool,
        typer.Option(
            "--uncertainty", help="Also write the entropy and the classifiers' disagreement."
        ),
    ] = False,
    summary: Annotated[
        bool, typer.Option("--json", help="Also write shares of classes and mean confidence.")
    ] = False,
    tile: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            help="See large pictures at their own size, window by window: the windows' side in "
            "pixels, such as 1024."
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on with what comes into the folder; end by Ctrl-C.")
    ] = False,
    layout: Annotated[
        str, typer.Option(help="Of a video: colours over the frames, or beside them.")
    ] = "over",
) -> None:
    """Segment images: a palette label PNG and a colour overlay for each. Or a video.

    Examples: `clan predict runs/clan/seed0 photos/ --out predictions`,
    `clan predict model.safetensors leftImg8bit/test --out submission --format cityscapes`,
    `clan predict runs/clan/seed0 drive.mp4 --out segmented.mp4` (needs the extra `video`)
    """
    from clan.prediction.predictor import load
    from clan.prediction.video import is_video
    from clan.scoring.protocol import parse_scales

    predictor = load(model, device, flip=flip, scales=parse_scales(scales))
    outputs: dict[str, Any] = {
        "style": style,
        "alpha": alpha,
        "probabilities": probabilities,
        "uncertainty": uncertainty,
        "summary": summary,
        "tile": tile,
    }
    with progress() as bar:
        if any(map(is_video, images)):
            _predict_video(predictor, images, out, outputs, watch, layout, overwrite, bar)
            return
        from clan.prediction.files import predict_files
        from clan.prediction.watch import watch_folder

        title = "images" if tile is None else "windows"
        if watch:
            count = watch_folder(predictor, images, out, overwrite=overwrite, told=tell, **outputs)
        else:
            shown = partial(bar, title)
            count = len(
                predict_files(
                    predictor, images, out, overwrite=overwrite, progress=shown, **outputs
                )
            )
    tell(f"{counted(count, 'image')} segmented into {out}")


def _predict_video(
    predictor: Predictor,
    sources: list[str],
    out: Path,
    outputs: dict[str, Any],
    watch: bool,
    layout: str,
    overwrite: bool,
    bar: Watch,
) -> None:
    from clan.prediction.video import predict_video

    asked = [name for name, given in outputs.items() if given and name not in ("style", "alpha")]
    asked += ["watch"] if watch else []
    if len(sources) > 1 or asked or outputs["style"] != "overlay":
        what = ", ".join(asked) or "several sources, or another format"
        raise ConfigError(f"of a video, one at a time, overlays are written; leave out: {what}")
    frames = predict_video(
        predictor,
        sources[0],
        out,
        layout=layout,
        alpha=outputs["alpha"],
        overwrite=overwrite,
        progress=partial(bar, "frames"),
    )
    tell(f"{counted(frames, 'frame')} segmented into {out}")


def export(
    model: Annotated[Path, typer.Argument(help="A run folder or a model.safetensors.")],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    style: Annotated[
        str, typer.Option("--format", help="onnx, or torch: a program of torch.export.")
    ] = "onnx",
    images: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="Photographs to compare on; may be repeated.  \\[default: noise]"),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a file that is there.")] = False,
) -> None:
    """Write a network as a file that runs without this package.

    It takes plain uint8 RGB images (N, 3, H, W) of any number and size and gives logits and labels;
    normalisation is inside, class names and colours are in its metadata. The file is read back,
    run and compared with the network at three sizes. ONNX needs the extra `onnx`.

    Example: `clan export runs/clan/seed0 --out street.onnx --images photos/`
    """
    from clan.prediction.export import export as export_model

    agreement = export_model(model, out, format=style, images=images or [], overwrite=overwrite)
    tell(f"{out}: {agreement.text()}")


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
