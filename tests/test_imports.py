"""What the first answer of a model, and the package alone, do not wait for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from clan.data.classes import CITYSCAPES
from clan.models.segmenter import ModelOptions, Segmenter
from clan.weights.model_files import save_model

LATER = (
    "jinja2",
    "lightning",
    "matplotlib",
    "rich",
    "scipy",
    "skimage",
    "sklearn",
    "tensorboard",
    "transformers",
    "typer",
)
"""Libraries that training, tables and figures need, and a prediction does not."""
SHOW = "print(*(name for name in sys.argv[2:] if name in sys.modules))"


def loaded(code: str, model: Path, *asked: str) -> list[str]:
    """Return which of some modules a process has imported at the end of its code."""
    command = [sys.executable, "-c", f"import sys\n{code}\n{SHOW}", str(model), *asked]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.split()


def test_a_prediction_imports_the_network_alone(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_model(Segmenter(ModelOptions(encoder="resnet18", width=4), CITYSCAPES), path)
    code = (
        "import numpy as np, clan\n"
        "label = clan.load(sys.argv[1]).predict(np.zeros((32, 64, 3), np.uint8))\n"
        "assert label.shape == (32, 64)"
    )
    assert loaded(code, path, *LATER, "torch") == ["torch"]


def test_the_package_alone_imports_no_library(tmp_path: Path) -> None:
    assert loaded("import clan", tmp_path, *LATER, "numpy", "pydantic", "torch") == []


def test_reading_a_configuration_imports_no_lightning(tmp_path: Path) -> None:
    code = "import clan; clan.load_config('town/clan')"
    assert loaded(code, tmp_path, "lightning", "matplotlib", "transformers") == []
