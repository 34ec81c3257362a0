"""Row: how long a user waits before anything happens."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

from benchmarks.speed.rounds import Case, Run, measure
from benchmarks.speed.table import Block, Line, Settings, seconds

ANSWER = """\
import sys
import numpy as np
import clan
clan.load(sys.argv[1]).predict(np.zeros((64, 128, 3), np.uint8))
"""


def start(settings: Settings) -> Block:
    """The first answer of a model, and the package's own import."""
    model = settings.folder / "model.safetensors"
    _write_model(model)
    commands = {
        "import torch": ("-c", "import torch"),
        "python": ("-c", "pass"),
        "`import clan`": ("-c", "import clan"),
        "`clan --help`": ("-m", "clan.cli", "--help"),
        "`clan.load` and the first answer": ("-c", ANSWER, str(model)),
    }
    warm = 0 if settings.quick else 1
    cases = [Case(name, _command, (command,), warm=warm) for name, command in commands.items()]
    found = measure(cases, settings.rounds if settings.quick else 3 * settings.rounds)
    own = {name: result.fact("seconds") for name, result in found.items()}
    torch_alone, python = own["import torch"], own["python"]
    answer = own["`clan.load` and the first answer"]
    lines = [
        Line(
            "`clan.load` and the first answer",
            seconds(answer),
            seconds(1.5),
            answer / 1.5,
            1.0,
            "1.5 s",
        ),
        Line(
            "the same",
            seconds(answer),
            seconds(torch_alone),
            answer / torch_alone,
            None,
            "`import torch` alone",
        ),
    ]
    for name in ("`import clan`", "`clan --help`"):
        lines.append(Line(name, seconds(own[name]), seconds(0.25), own[name] / 0.25, 1.0, "0.25 s"))
    notes = (
        "Each is a process of its own, Python's start "
        f"({seconds(python)}) included. The model is a small ResNet-18. What stands between the "
        f"first answer and its goal is `import torch`, {torch_alone / 1.5:.0%} of the goal; the "
        "package's own part is reading the file, building the network and the first convolution."
    )
    return Block("Start", lines, notes)


def _write_model(path: Path) -> None:
    """Write a model in another process, since this one stays without torch."""
    code = (
        "import sys; from pathlib import Path; from clan.data.classes import CITYSCAPES; "
        "from clan.models.segmenter import ModelOptions, Segmenter; "
        "from clan.weights.model_files import save_model; "
        "options = ModelOptions(encoder='resnet18', width=8); "
        "save_model(Segmenter(options, CITYSCAPES), Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)


def _command(command: tuple[str, ...]) -> Run:
    def run() -> dict[str, float]:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return {"seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}

    return run
