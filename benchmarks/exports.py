"""Export every shipped network and compare the file in onnxruntime with it, on photographs.

python benchmarks/exports.py photos/ --weights weights/ --page docs/files.md

Each network is compared at three sizes, one of them with two odd sides. Encoders start from the
ImageNet weights in the folder `--weights`, one file per encoder whose name begins with the
encoder's; those without a file, and all decoders, are random. Results are kept in a JSON file, so
that networks can be run one by one (`--only`); `--page` puts the table of all of them between the
marks of a Markdown page.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from clan.core.errors import ClanError
from clan.data.classes import CITYSCAPES
from clan.models.segmenter import ModelOptions, Segmenter
from clan.prediction.export import FORMATS, export
from clan.weights.start import load_encoder_weights

ROOT = Path(__file__).resolve().parent.parent
OUT = Path(__file__).resolve().parent / "exports.json"
BEGIN, END = "<!-- begin exports -->", "<!-- end exports -->"
NETWORKS = (
    ("mobilenet_v2", "deeplab"),
    ("mobilenet_v2", "fusion"),
    ("efficientnet_lite0", "deeplab"),
    ("efficientnet_lite0", "fusion"),
    ("efficientnet_lite0", "daformer"),
    ("resnet18", "deeplab"),
    ("resnet50", "deeplab"),
    ("resnet101", "deeplab"),
    ("vgg16", "fcn8s"),
    ("hf:mit_b0", "daformer"),
    ("hf:dinov2_small", "upsample"),
    ("hf:convnext", "fusion"),
    ("hf:resnet", "deeplab"),
)
"""Encoders and decoders of the package, and the models of transformers that its pages name."""
DEEPEST = {"output_stride": 32}
"""What a network of convolutions needs for DAFormer's decoder, which reads a map of stride 32."""
SIZE = (256, 512)
"""(H, W) of the first comparison; the others follow from it."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photos", type=Path, help="photographs to compare on; three are read")
    parser.add_argument("--weights", type=Path, help="folder of ImageNet weights")
    parser.add_argument("--only", nargs="*", default=[], help="encoders to run, or encoder,decoder")
    parser.add_argument("--format", choices=FORMATS, default="onnx")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--page", type=Path)
    options = parser.parse_args(arguments)
    rows = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else []
    for encoder, decoder in NETWORKS:
        if options.only and not {encoder, f"{encoder},{decoder}"} & set(options.only):
            continue
        print(f"{encoder}, {decoder} ...", file=sys.stderr, flush=True)
        options_of = DEEPEST if decoder == "daformer" and not encoder.startswith("hf:") else {}
        row = measure(
            encoder, decoder, options.photos, options.weights, options.format, **options_of
        )
        rows = merged(rows, row)
        options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    table = markdown(rows)
    print(table)
    if options.page is not None:
        put(options.page, table)


def measure(
    encoder: str,
    decoder: str,
    photos: Path,
    weights: Path | None = None,
    form: str = "onnx",
    **model: Any,
) -> dict[str, Any]:
    """Export a network and return a row of the table."""
    torch.manual_seed(0)
    row: dict[str, Any] = {"encoder": encoder, "decoder": decoder, "format": form}
    segmenter = Segmenter(
        ModelOptions(encoder=encoder, decoder=decoder, **model), CITYSCAPES, SIZE
    ).eval()
    row["parameters"] = sum(each.numel() for each in segmenter.parameters())
    files = sorted(weights.glob(f"{encoder}*")) if weights is not None else []
    if files:
        load_encoder_weights(segmenter, files[0])
    row["weights"] = "ImageNet" if files else "random"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network"
        try:
            found = export(segmenter, path, format=form, images=[photos])
        except ClanError as error:
            return row | {"error": str(error)}
        row["bytes"] = path.stat().st_size
    return row | {
        "sizes": [list(size) for size in found.sizes],
        "photographs": found.photographs,
        "difference": found.logits,
        "largest": found.largest,
        "pixels": found.pixels,
        "differing": found.differing,
        "torch": torch.__version__.partition("+")[0],
    }


def merged(rows: Sequence[Mapping[str, Any]], row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows with one added, in place of an older one of the same network."""
    key = ("encoder", "decoder", "format")
    kept = [dict(old) for old in rows if any(old[k] != row[k] for k in key)]
    order = {network: number for number, network in enumerate(NETWORKS)}
    return sorted(
        [*kept, dict(row)],
        key=lambda each: order.get((each["encoder"], each["decoder"]), len(order)),
    )


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of all rows, with what they have in common above it."""
    done = [row for row in rows if "error" not in row]
    lines = []
    if done:
        sizes = ", ".join(f"{height}x{width}" for height, width in done[0]["sizes"])
        lines += [
            f"On {done[0]['photographs']} photographs, at {sizes}; torch {done[0]['torch']}.",
            "",
        ]
    lines += [
        "| encoder | decoder | encoder's weights | greatest difference | largest logit | labels "
        "that differ |",
        "|---|---|---|---:|---:|---:|",
    ]
    for row in rows:
        head = f"| `{row['encoder']}` | `{row['decoder']}` | {row['weights']} |"
        if "error" in row:
            lines.append(f"{head} not exported | | |")
            continue
        differing = f"{row['differing']:,} of {row['pixels']:,}"
        lines.append(f"{head} {row['difference']:.1g} | {row['largest']:.3g} | {differing} |")
    return "\n".join(lines)


def put(page: Path, table: str) -> None:
    """Write the table between the marks of a page."""
    text = page.read_text(encoding="utf-8")
    before, opened, rest = text.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not opened or not closed:
        sys.exit(f"{page} lacks its marks: expected {BEGIN!r} and, further down, {END!r}")
    page.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
