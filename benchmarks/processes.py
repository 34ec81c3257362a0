"""Measure the communication of two processes per update; derive a cost model for many.

python benchmarks/processes.py --page docs/scaling.md

Two CPU processes train each preset on generated images with small crops, since communication
depends on the network, not on the images. All collective calls are counted, including DDP's own.
Then the same crops are timed: two images on one process, and one image on each of two processes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning.fabric import Fabric
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from clan.config.loading import load_config
from clan.config.tree import Config
from clan.data.classes import class_set
from clan.methods import METHODS, Method, Progress
from clan.models.segmenter import Segmenter
from clan.training.trial_data import TrialData

PRESETS = (
    "gta5-cityscapes/paper/resnet101/source_only",
    "gta5-cityscapes/paper/resnet101/clan",
    "town/source_only",
    "town/clan",
)
CROP = "[64, 128]"
UPDATES = 3
MIB = 2**20
BEGIN, END = "<!-- begin processes -->", "<!-- end processes -->"
GPUS = (8, 64, 512)
LINKS = {"25 Gbit/s": 25e9 / 8, "100 Gbit/s": 100e9 / 8, "400 Gbit/s": 400e9 / 8}
"""Bytes per second from a GPU to its neighbour in the ring, over the slowest link."""


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    rows = [measure(preset) for preset in options.presets]
    text = f"{exchanged(rows)}\n\n{model(rows[-1] if len(rows) < 2 else rows[1])}"
    print(text)
    if options.page is not None:
        put(options.page, text)


def put(page: Path, text: str) -> None:
    """Replace what stands between the marks of a page."""
    before, rest = page.read_text(encoding="utf-8").split(BEGIN, 1)
    _, after = rest.split(END, 1)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def measure(preset: str) -> dict[str, Any]:
    """Return the communication of an update, and its seconds on one process and on two."""
    config = load_config(preset, _changes())
    with tempfile.TemporaryDirectory() as folder:
        two = Fabric(accelerator="cpu", devices=2, strategy="ddp_fork")
        two.launch(partial(_updates, config=config, out=Path(folder, "two.json")))
        one = get_context("fork").Process(target=_alone, args=(config, Path(folder, "one.json")))
        one.start()
        one.join()
        shared, alone = (json.loads(Path(folder, f"{n}.json").read_text()) for n in ("two", "one"))
    return {"preset": preset, **shared, "alone": alone["seconds"]}


def _changes() -> list[str]:
    views = [f"data.{d}_view.{k}={v}" for d in ("source", "target") for k, v in _view().items()]
    return [*views, "data.batch_size=2", "optim.accumulate=1", "training.accelerator=cpu"]


def _view() -> dict[str, str]:
    return {"size": CROP, "crop": "null", "scale": "[1, 1]", "image_scales": "[]"}


def _alone(config: Config, out: Path) -> None:
    _updates(Fabric(accelerator="cpu", devices=1), config, out)


def _updates(fabric: Fabric, config: Config, out: Path) -> None:
    torch.set_num_threads(1)
    classes = class_set(config.data.classes or "cityscapes")
    data = TrialData(config, fabric, len(classes))
    torch.manual_seed(config.seed)
    method = METHODS[config.method.name](
        Segmenter(config.model, classes), config.method, config.optim
    )
    method.setup(fabric)
    count = _counted(method) if fabric.world_size > 1 else Counter()
    stage = config.method.stages(config.training.steps)[0]
    source, target = data.batches(method.reading(stage))
    seconds = []
    for step in range(UPDATES):
        count.clear()
        began = time.perf_counter()
        method.step(source, target, Progress(step, config.training.steps))
        seconds.append(time.perf_counter() - began)
    if fabric.global_rank == 0:
        parameters = sum(p.numel() for p in method.parameters() if p.requires_grad)
        found = {"parameters": parameters, "count": dict(count), "seconds": min(seconds)}
        out.write_text(json.dumps(found))


def _counted(method: Method) -> Counter[str]:
    """Count the calls and bytes of every collective of a method's updates from now on."""
    count: Counter[str] = Counter()

    def watch(name: str) -> None:
        own: Callable[..., Any] = getattr(dist, name)

        def watched(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            count[f"{name} calls"] += 1
            count[f"{name} bytes"] += tensor.nbytes
            return own(tensor, *args, **kwargs)

        setattr(dist, name, watched)

    watch("all_reduce")
    for wrapped in method._wrapped.values():
        module = wrapped._forward_module
        assert isinstance(module, DistributedDataParallel)
        # without a hook, DDP reduces outside of Python, where it cannot be counted
        module.register_comm_hook(None, allreduce_hook)
    sync: Callable[[DistributedDataParallel], None] = DistributedDataParallel._sync_buffers

    def synced(self: DistributedDataParallel) -> None:
        count["broadcast calls"] += 1
        count["broadcast bytes"] += sum(b.nbytes for b in self.modules_buffers)
        sync(self)

    DistributedDataParallel._sync_buffers = synced  # type: ignore[method-assign]
    return count


def exchanged(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table of measurements as Markdown."""
    lines = [
        "| preset | trained parameters | reduced an update | calls | broadcast | 1 x 2 | 2 x 1 |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        count = Counter(row["count"])
        reduced, sent = count["all_reduce bytes"], count["broadcast bytes"]
        lines.append(
            f"| `{row['preset']}` | {row['parameters'] / 1e6:.1f} M | {reduced / MIB:.1f} MiB | "
            f"{count['all_reduce calls']} | {sent / MIB:.1f} MiB | {row['alone']:.2f} s | "
            f"{row['seconds']:.2f} s |"
        )
    return "\n".join(lines)


def model(row: dict[str, Any]) -> str:
    """Return the cost model of an update on many GPUs, as Markdown."""
    reduced = Counter(row["count"])["all_reduce bytes"]
    lines = [
        f"| GPUs, of `{row['preset']}` | images read an update | sent by each GPU | "
        + " | ".join(f"at {link}" for link in LINKS)
        + " |",
        "| --- | --- | --- |" + " --- |" * len(LINKS),
    ]
    for gpus in GPUS:
        sent = 2 * (gpus - 1) / gpus * reduced
        times = " | ".join(f"{1000 * sent / speed:.0f} ms" for speed in LINKS.values())
        lines.append(f"| {gpus} | {2 * gpus} | {sent / MIB:.0f} MiB | {times} |")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("presets", nargs="*", default=PRESETS)
    parser.add_argument("--page", type=Path, help="a Markdown page to put the tables into")
    return parser


if __name__ == "__main__":
    main()
