"""Fuzz every reader with mutated files; each file must be read or refused with a clear error.

    python -m benchmarks.faults.fuzz --minutes 60 --keep found/

A fault is an error that is no `ClanError`, more than ten seconds of processor time for one input,
or an error message longer than a screen. Each seed's counts are added to the results file.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import resource
import shutil
import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from lightning.fabric import Fabric
from PIL import Image
from safetensors.torch import load_file, save_file

from benchmarks.faults import today
from clan.comparison.compare import compare
from clan.comparison.render import to_markdown
from clan.config.files import presets_folder
from clan.config.flat import flat
from clan.config.loading import anchored, dump_config, load_config
from clan.core.errors import ClanError
from clan.data.classes import class_set
from clan.data.datasets import open_dataset
from clan.data.encodings import Encoding
from clan.data.images import image_size, read_image, read_label
from clan.methods import METHODS
from clan.models.segmenter import Segmenter
from clan.runs.checkpoint import load_newest, newest_checkpoint
from clan.runs.folder import RunFolder
from clan.runs.health_table import read_health
from clan.scoring.evaluation_file import read_evaluation
from clan.training.restoring import restore
from clan.training.train import train
from clan.weights.model_files import load_segmenter
from clan.weights.tensor_files import SHA256, digest
from tests.systems import tiny, write_street

SECONDS = 10
"""Most processor time for one input."""
LONGEST = 20_000
"""Most characters of an error message."""
MEMORY = 12 << 30
"""Most bytes of address space: needing more is a fault, and does not stop the machine."""

WORDS = [
    *("null", "~", "true", "no", "0", "-1", "1e999", ".nan", ".inf", "0x_", "0o9", "1:30", "''"),
    *("9" * 30, "9" * 5000, "1e308", "2024-13-45", "!!int ''", "!!float x", "!!binary '='", "*a"),
    *("&a [*a]", "[]", "{}", "[[[[[[", "{a: {a: {a: 1}}}", "~nosuchuser", "~", "..", "/", "\0"),
    *('"\\0"', '"\\ud800"', '"\\e[31m"', "{<<: 1}", "!!set {a}", "!!python/name:os.system x", "="),
    *("none", "imagenet", "hf:", "python", "town/clan", "a.yaml", "x" * 300, "é", "\u202e", "%"),
    *("18446744073709551616", "-0.0", "1.5", "[1, 2]", "[0, 0]", "{name: clan}", "!<x> y", "? a"),
]
VALUES: list[Any] = [
    *(None, True, 0, -1, 2**31, 2**63, 10**30, 1.5, -0.0, 1e308, "", "x", "\ud800", "\0", "é" * 99),
    *([], {}, [[]], [1, "a"], {"a": 1}, {"step": 1}, [None] * 1000, "9" * 5000, {"": {"": {}}}),
]


class Overtime(BaseException):
    """An input took longer than `SECONDS`."""


@contextmanager
def limited() -> Iterator[None]:
    """Raise `Overtime` if the block exceeds `SECONDS` of processor time."""

    def end(*_: object) -> None:
        raise Overtime(f"more than {SECONDS} s of the processor")

    former = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, former)


class Mutations:
    """Changes bytes, texts and trees at random."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw

    def binary(self, data: bytes) -> bytes:
        """Flip, cut, double or insert bytes at up to eight places."""
        found = bytearray(data)
        for _ in range(self.draw.choice((1, 1, 2, 4, 8))):
            at = self.draw.randrange(len(found) + 1)
            way = self.draw.randrange(6)
            if way == 0 and at < len(found):
                found[at] ^= 1 << self.draw.randrange(8)
            elif way == 1 and at < len(found):
                found[at] = self.draw.choice((0, 1, 127, 128, 255, 10))
            elif way == 2:
                del found[at : at + self.draw.choice((1, 4, 100, len(found)))]
            elif way == 3:
                end = at + self.draw.randrange(1, 200)
                found[at:at] = found[at:end]
            elif way == 4:
                found[at:at] = self.draw.randbytes(self.draw.randrange(1, 9))
            elif at + 4 <= len(found):
                found[at : at + 4] = self.draw.choice(
                    (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\0\0\x4e\x20")
                )
        return bytes(found)

    def text(self, text: str) -> bytes:
        """Change words, lines and bytes of a text."""
        lines = text.splitlines()
        for _ in range(self.draw.choice((1, 1, 2, 3))):
            at = self.draw.randrange(len(lines) or 1)
            way = self.draw.randrange(6)
            if not lines or way == 0:
                lines.insert(at, self.draw.choice(WORDS))
            elif way == 1:
                key = lines[at].partition(":")[0]
                lines[at] = f"{key}: {self.draw.choice(WORDS)}"
            elif way == 2:
                lines.insert(at, lines[self.draw.randrange(len(lines))])
            elif way == 3:
                del lines[at]
            elif way == 4:
                lines[at] = f"{'  ' * self.draw.randrange(4)}{lines[at].lstrip()}"
            else:
                return self.binary("\n".join(lines).encode(errors="surrogatepass"))
        return "\n".join(lines).encode(errors="replace")

    def tree(self, tree: Any) -> Any:
        """Change one value or key of a tree of mappings and lists."""
        if isinstance(tree, dict) and tree and self.draw.random() < 0.9:
            key = self.draw.choice(list(tree))
            way = self.draw.randrange(8)
            if way == 0:
                return {k: v for k, v in tree.items() if k != key}
            if way == 1:
                return {**tree, self.draw.choice(("x", "", 5)): tree[key]}
            return {**tree, key: self.tree(tree[key])}
        if isinstance(tree, list) and tree and self.draw.random() < 0.9:
            at = self.draw.randrange(len(tree))
            return [*tree[:at], self.tree(tree[at]), *tree[at + 1 :]]
        return self.draw.choice(VALUES)


def _presets() -> Iterator[str]:
    """Yield the presets' files, which name what they extend by its path."""
    for path in sorted(presets_folder().rglob("*.yaml")):
        tree = yaml.safe_load(path.read_text()) or {}
        extends = tree.pop("extends", [])
        names = [extends] if isinstance(extends, str) else extends
        parts = [str(path.parent / name) for name in names]
        yield yaml.safe_dump({"extends": parts, **tree}, sort_keys=False)


class Material:
    """Valid files to mutate: a finished run on tiny images, and its inputs."""

    def __init__(self, folder: Path, draw: random.Random) -> None:
        self.folder, self.draw, self.change = folder, draw, Mutations(draw)
        self.street = write_street(folder / "street")
        self.config = tiny(self.street, "clan", "training.sinks=[csv]")
        self.run = train(self.config, folder / "run")
        self.keys = list(flat(self.config))
        self.presets = list(_presets())
        self.scratch = folder / "scratch"
        self.scratch.mkdir()
        classes = class_set("cityscapes")
        self.method = METHODS["clan"](
            Segmenter(self.config.model, load_segmenter(self.run.path).classes, None),
            self.config.method,
            self.config.optim,
        )
        self.method.setup(Fabric(accelerator="cpu", devices=1))
        newest = newest_checkpoint(self.run.checkpoints)
        assert newest is not None
        self.checkpoint = newest
        self.content = torch.load(newest, weights_only=True)
        self.pictures = list(self._pictures(classes.palette()))

    def _pictures(self, palette: list[int]) -> Iterator[tuple[str, bytes]]:
        numbers = np.random.default_rng(0)
        for mode in ("RGB", "L", "P", "RGBA", "1", "I;16", "LA", "CMYK"):
            pixels = numbers.integers(0, 19, (24, 32, 4), dtype=np.uint8)
            picture = Image.fromarray(pixels[..., :3])
            if mode == "P":
                picture = Image.fromarray(pixels[..., 0])
                picture.putpalette(palette)
            elif mode == "I;16":
                picture = Image.fromarray(pixels[..., 0].astype(np.uint16) * 1000)
            else:
                picture = picture.convert(mode)
            for kind in ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF"):
                with suppress(OSError, ValueError):
                    buffer = io.BytesIO()
                    exif = Image.Exif()
                    exif[0x0112] = 6
                    picture.save(buffer, kind, exif=exif)
                    yield f"a.{kind.lower()}", buffer.getvalue()

    def file(self, name: str, data: bytes) -> Path:
        """Write a mutated file into the scratch folder."""
        path = self.scratch / name
        path.write_bytes(data)
        return path

    def configuration(self) -> None:
        """A configuration or preset."""
        text = self.draw.choice([*self.presets, dump_config(self.config)])
        path = self.file("config.yaml", self.change.text(text))
        dump_config(anchored(load_config(path)))

    def override(self) -> None:
        """Up to three KEY=VALUE changes of the command line."""
        changes = []
        for _ in range(self.draw.choice((1, 1, 2, 3))):
            key = self.draw.choice([*self.keys, self.draw.choice(WORDS)])
            change = f"{key}={self.draw.choice(WORDS)}"
            if self.draw.random() < 0.2:
                change = self.change.binary(change.encode("utf-8", "replace")).decode(
                    "utf-8", "surrogateescape"
                )
            changes.append(change)
        preset = self.draw.choice(["town/clan", str(self.street / "cbst.yaml")])
        dump_config(anchored(load_config(preset, changes)))

    def description(self) -> None:
        """A data set's description."""
        root = self.street / "game"
        path = root / "mutated.yaml"
        path.write_bytes(self.change.text((root / "game.yaml").read_text()))
        data = open_dataset(str(path), split=self.draw.choice(("train", "val")))
        data.read(0)

    def classes(self) -> None:
        """A file of classes."""
        lines = ["name: street", "classes:"]
        numbers = range(self.draw.choice((1, 3, 19)))
        lines += [f"  class {n}: [{n}, {self.draw.randrange(256)}, 70]" for n in numbers]
        lines += ["subsets:", "  few: [class 0]"]
        class_set(str(self.file("classes.yaml", self.change.text("\n".join(lines)))))

    def listing(self) -> None:
        """A file that lists images and labels."""
        root = self.street / "game"
        lines = [f"train/{i:03}.png,labels/train/{i:03}.png" for i in range(6)]
        (root / "list.csv").write_bytes(self.change.text("\n".join(lines)))
        text = (root / "game.yaml").read_text()
        path = root / "listed.yaml"
        path.write_text(text.replace("{images: train", "{list: list.csv, images: train"))
        open_dataset(str(path), split="train").read(0)

    def checkpoint_bytes(self) -> None:
        """The bytes of a checkpoint."""
        folder = self.scratch / "checkpoints"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        data = self.checkpoint.read_bytes()
        at = self.draw.choice((0, len(data) // 2, max(0, len(data) - 4000)))
        cut = data[at : at + 4000]
        (folder / self.checkpoint.name).write_bytes(
            data[:at] + self.change.binary(cut) + data[at + 4000 :]
        )
        self._resume(folder)

    def checkpoint_entries(self) -> None:
        """The entries of a checkpoint."""
        folder = self.scratch / "checkpoints"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        torch.save(self.change.tree(self.content), folder / self.checkpoint.name)
        self._resume(folder)

    def _resume(self, folder: Path) -> None:
        content, _ = load_newest(folder)
        assert content is not None
        restore(self.method, content, self.run, self.config.training.steps)

    def model(self) -> None:
        """The metadata or bytes of a model file."""
        source = self.run.model_file
        path = self.scratch / "model.safetensors"
        if self.draw.random() < 0.3:
            data = source.read_bytes()
            path.write_bytes(self.change.binary(data[:4000]) + data[4000:])
        else:
            with open(source, "rb") as file:
                length = int.from_bytes(file.read(8), "little")
                about = json.loads(file.read(length))["__metadata__"]["clan"]
            tensors, changed = load_file(source), self.change.tree(json.loads(about))
            # as JSON gives it back; with its checksum, or none would be read any further
            about = json.loads(json.dumps(changed))
            if isinstance(about, dict):
                about[SHA256] = digest(tensors, about)
            text = json.dumps(about)
            if self.draw.random() < 0.2:
                text = self.change.binary(text.encode()).decode("utf-8", "replace")
            save_file(tensors, path, metadata={"clan": text})
        load_segmenter(path)

    def run_file(self) -> None:
        """A file of a run's folder."""
        folder = self.scratch / "run"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.run.path, folder, ignore=shutil.ignore_patterns("checkpoints"))
        names = ["config.yaml", "metrics.jsonl", "environment.json", "evaluation.json"]
        path = folder / self.draw.choice(names)
        data = path.read_bytes()
        if path.suffix == ".json" and self.draw.random() < 0.5:
            data = json.dumps(self.change.tree(json.loads(data))).encode()
        elif path.suffix == ".yaml":
            data = self.change.text(data.decode())
        else:
            data = self.change.binary(data)
        path.write_bytes(data)
        run = RunFolder.open(folder)
        for action in (
            lambda: run.config,
            lambda: list(run.read_metrics()),
            run.last_step,
            run.read_environments,
            lambda: read_evaluation(folder),
            lambda: read_health(folder),
            lambda: to_markdown(compare([folder])),
        ):
            with suppress(ClanError):
                action()

    def picture(self) -> None:
        """A picture, and the same as a label."""
        name, data = self.draw.choice(self.pictures)
        path = self.file(name, self.change.binary(data))
        for action in (image_size, read_image, read_label):
            with suppress(ClanError):
                action(path)
        if path.suffix == ".png":
            encodings: tuple[Encoding, ...] = ("color", "synthia")
            for encoding in encodings:
                with suppress(ClanError):
                    read_label(path, encoding)


KINDS: dict[str, tuple[str, int]] = {
    "configurations": ("configuration", 4),
    "changes KEY=VALUE": ("override", 4),
    "descriptions of data": ("description", 3),
    "class sets": ("classes", 2),
    "lists of images": ("listing", 3),
    "checkpoints, bytes": ("checkpoint_bytes", 3),
    "checkpoints, entries": ("checkpoint_entries", 3),
    "model files": ("model", 3),
    "files of a run": ("run_file", 3),
    "pictures and labels": ("picture", 12),
}
"""Kind of input -> method of `Material`, and its relative frequency."""


def one(action: Callable[[], None]) -> tuple[str, str]:
    """Try one input; return ``read``, ``refused`` or ``fault``, and the text of the fault."""
    try:
        with limited():
            action()
    except ClanError as error:
        if len(str(error)) > LONGEST:
            return "fault", f"an error of {len(str(error))} characters: {str(error)[:300]}"
        return "refused", ""
    except (Exception, Overtime):
        return "fault", traceback.format_exc()
    return "read", ""


def fuzz(material: Material, until: Callable[[int], bool], keep: Path | None) -> dict[str, Any]:
    """Mutate and read until ``until`` is true; return the counts and the faults' tracebacks."""
    names = [name for name, (_, weight) in KINDS.items() for _ in range(weight)]
    counts: dict[str, Counter[str]] = {name: Counter() for name in KINDS}
    faults: dict[str, str] = {}
    number = 0
    while not until(number):
        name = material.draw.choice(names)
        outcome, said = one(getattr(material, KINDS[name][0]))
        counts[name][outcome] += 1
        number += 1
        # where it arose: the message may hold what was drawn
        places = [line for line in said.splitlines() if line.startswith("  File")]
        if said and (where := places[-1] if places else said[:20]) not in faults:
            faults[where] = f"{name}\n{said}"
            if keep is not None:
                shutil.copytree(material.scratch, keep / str(len(faults)), dirs_exist_ok=True)
                (keep / f"{len(faults)}.txt").write_text(f"{name}\n{said}", errors="replace")
    return {
        "inputs": number,
        "counts": {name: dict(count) for name, count in counts.items()},
        "faults": list(faults.values()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("fuzz.json"))
    parser.add_argument("--keep", type=Path, help="folder for inputs that cause faults")
    given = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    if given.keep is not None:
        given.keep.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * given.minutes
    with tempfile.TemporaryDirectory() as folder:
        material = Material(Path(folder), random.Random(given.seed))
        found = fuzz(material, lambda _: time.monotonic() > end, given.keep)
    used = {"minutes": given.minutes, "processor_minutes": round(time.process_time() / 60, 1)}
    about = {**today(), **used, "seed": given.seed}
    runs = json.loads(given.out.read_text()) if given.out.is_file() else []
    given.out.write_text(json.dumps([*runs, about | found], indent=1) + "\n")
    print(f"{found['inputs']:,} inputs, {len(found['faults'])} kinds of fault")


if __name__ == "__main__":
    main()
