"""The table of exports holds every shipped network, measured on photographs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import exports
from clan.core.errors import RunError
from clan.models.decoders.table import DECODERS
from clan.models.encoders.table import ENCODERS

SMALL = {"width": 4, "output_stride": 32, "aspp_rates": (1, 2)}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    pixels = np.random.default_rng(0).integers(0, 256, (9, 16, 3), np.uint8)
    for name in "abc":
        Image.fromarray(pixels).resize((96, 64)).save(folder / f"{name}.jpg")
    return folder


def test_every_encoder_and_decoder_of_the_package_is_in_the_list() -> None:
    assert {encoder for encoder, _ in exports.NETWORKS} >= set(ENCODERS)
    assert {decoder for _, decoder in exports.NETWORKS} == set(DECODERS)


def test_a_network_is_measured_on_photographs_at_three_sizes(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "SIZE", (64, 96))
    row = exports.measure("resnet18", "deeplab", photos, form="torch", **SMALL)
    assert row["photographs"] == 3
    assert row["sizes"] == [[64, 96], [49, 73], [33, 96]]
    assert row["difference"] <= 1e-4 * row["largest"]
    assert row["bytes"] > row["parameters"] > 0
    assert row["weights"] == "random"
    assert json.loads(json.dumps(row)) == row
    (line,) = (line for line in exports.markdown([row]).splitlines() if "resnet18" in line)
    assert line.startswith("| `resnet18` | `deeplab` | random | ")
    assert line.endswith(f" of {row['pixels']:,} |")
    assert "On 3 photographs, at 64x96, 49x73, 33x96; torch" in exports.markdown([row])


def test_what_cannot_be_exported_has_a_row(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RunError("no way")

    monkeypatch.setattr(exports, "export", refuse)
    row = exports.measure("resnet18", "deeplab", photos, **SMALL)
    assert row["error"] == "no way"
    assert "| `resnet18` | `deeplab` | random | not exported | | |" in exports.markdown([row])


def test_a_new_row_replaces_the_old_one_in_the_order_of_the_list(tmp_path: Path) -> None:
    rows = [
        {
            "encoder": encoder,
            "decoder": decoder,
            "format": "onnx",
            "weights": "random",
            "error": "x",
        }
        for encoder, decoder in exports.NETWORKS
    ]
    kept: list[dict[str, object]] = []
    for row in reversed(rows):
        kept = exports.merged(kept, row)
    kept = exports.merged(kept, {**rows[3], "error": "y"})
    assert [(row["encoder"], row["decoder"]) for row in kept] == list(exports.NETWORKS)
    assert [row["error"] for row in kept].count("y") == 1
    page = tmp_path / "page.md"
    page.write_text(f"a\n{exports.BEGIN}\nold\n{exports.END}\nz\n", encoding="utf-8")
    exports.put(page, "new")
    assert page.read_text(encoding="utf-8") == f"a\n{exports.BEGIN}\n\nnew\n\n{exports.END}\nz\n"
