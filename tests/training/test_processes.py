"""A training on two processes is that on one: every method, labels unequal in count."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from PIL import Image
from torch import Tensor

import clan
import clan.training.loop
from clan.core.errors import ClanError, RunError
from clan.methods import METHODS
from clan.models.segmenter import Segmenter
from clan.runs.folder import RunFolder
from clan.training.display import Silent
from clan.training.domains import open_domains
from clan.training.loop import Interrupted, Trainer
from clan.training.processes import OtherProcess, on_rank_zero
from clan.training.train import train
from clan.weights.model_files import save_model
from tests.conftest import write_values
from tests.systems import at_step, records, tensors, tiny

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(sys.platform != "linux", reason="forks processes that use torch"),
]

STEPS = 3
PLAIN = ("optim.segmenter.name=sgd", "optim.segmenter.lr=1e-2", f"training.steps={STEPS}")
FROZEN = (*PLAIN, "method.batch_norm=frozen")
ROUNDS = ("method.rounds=2",)
ST = ("method.clan_steps=1", "method.rounds=1", "method.keep_shares=0.5")
DISTANCE = ("method.things=[building, road]", "method.distance_ratio=0.5", "weights={weights}")

CASES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(METHODS, ()),
    "source_only": ("method.loss.class_weights=balanced", "method.segmentation=heads"),
    "clan": ("method.distance=js", "method.detach_map=false", "method.preheat_steps=1"),
    "cycada_feature": ("method.threshold=0.1",),
    "cbst": ("method.source_steps=1", *ROUNDS, "method.spatial_prior=true"),
    "cbst discriminant": (
        *("method.source_steps=1", "method.rounds=1", "method.rare_chance=0"),
        *("method.discriminant=1", "method.pretrained={weights}"),
    ),
    "cbst soft": ("method.source_steps=1", *ROUNDS, "method.regulariser=lrent"),
    "cda": ("method.source_steps=1",),
    "clan_st": (*ST, "method.rare_temperature=0"),
    "clan_st turns": (*ST, "method.turns=2", "method.keep_adversary=true"),
    "clan_st discriminant": (
        *("method.clan_steps=1", "method.rounds=1", "method.rare_temperature=0"),
        *("method.discriminant=1", "method.pretrained={weights}"),
    ),
    "dacs": ("method.threshold=0.4", "method.mix_ignored=true"),
    "daformer": (*DISTANCE, "method.lambda_distance=0.1", "method.threshold=0.4"),
    "mic": (*DISTANCE, "method.rare_temperature=0", "method.teacher_update=buffers"),
}
"""What is trained, by the method and where there are several ways, a word. All batch norms
normalise by their batch, and every random view is on."""


@pytest.fixture(scope="module")
def uneven(street: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The street with labels unequal in count and classes, an image of each domain without any."""
    root = tmp_path_factory.mktemp("uneven") / "street"
    shutil.copytree(street, root)
    for domain in ("game", "photos"):
        for number, path in enumerate(sorted((root / domain / "labels/train").glob("*.png"))):
            label = np.array(Image.open(path))
            label[:, : 64 if number == 1 else 9 * number] = 255
            # images that lack a class, each another one
            label[label == number - 2] = 255
            write_values(path, label)
    torch.manual_seed(0)
    config = tiny(root, "source_only")
    network = Segmenter(config.model, open_domains(config.data).classes)
    save_model(network, root / "start.safetensors")
    return root


@contextmanager
def double_precision() -> Iterator[None]:
    """Compute in float64 what is float32: sums in another order then differ by 1e-15."""
    before = Tensor.float
    torch.set_default_dtype(torch.float64)
    Tensor.float = Tensor.double  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)
        Tensor.float = before  # type: ignore[method-assign]


def configuration(street: Path, case: str, *changes: str) -> clan.Config:
    of_case = (change.format(weights=street / "start.safetensors") for change in CASES[case])
    return tiny(street, case.split()[0], *PLAIN, *of_case, *changes)


def _train_all(fabric: Fabric, street: str, out: str) -> None:
    """Train every case in this process, one of two or alone; keep the whole of its state."""
    torch.set_num_threads(1)
    with double_precision():
        for case in CASES:
            config = configuration(Path(street), case)
            trainer, failed = _fit(fabric, config, Path(out, case))
            assert failed is None, f"{case}: {failed}"
            state = {k: v.clone() for k, v in trainer.method.state_dict().items()}
            torch.save(state, Path(out, case, f"state{fabric.global_rank}.pt"))


def _fit(fabric: Fabric, config: clan.Config, out: Path) -> tuple[Trainer, ClanError | None]:
    if fabric.global_rank == 0:
        RunFolder.create(out, config)
    fabric.barrier()
    trainer = Trainer(fabric, config, RunFolder(out), open_domains(config.data), Silent())
    try:
        trainer.fit()
    except ClanError as error:
        return trainer, error
    return trainer, None


@pytest.fixture(scope="module")
def trained(uneven: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The folder of all cases, by the number of processes that trained them."""
    out = {n: tmp_path_factory.mktemp(f"on{n}") for n in (1, 2)}
    alone = Fabric(accelerator="cpu", devices=1)
    _train_all(alone, str(uneven), str(out[1]))
    both = Fabric(accelerator="cpu", devices=2, strategy="ddp_fork")
    both.launch(_train_all, str(uneven), str(out[2]))
    return out


def state(folder: Path, case: str, rank: int) -> dict[str, Tensor]:
    found: dict[str, Tensor] = torch.load(folder / case / f"state{rank}.pt")
    return found


@pytest.mark.parametrize("case", CASES)
def test_two_processes_are_one(trained: dict[int, Path], case: str) -> None:
    alone = state(trained[1], case, 0)
    for name, value in state(trained[2], case, 0).items():
        torch.testing.assert_close(value, alone[name], rtol=0, atol=1e-9, msg=f"{case}: {name}")
    runs = [RunFolder(trained[n] / case) for n in (1, 2)]
    lines = [records(run) for run in runs]
    assert [r["step"] for r in lines[0]] == [r["step"] for r in lines[1]]
    for mine, theirs in zip(*lines, strict=True):
        assert mine.keys() == theirs.keys()
        # norms and quantiles of shares do not average to those of the whole
        for key in {k for k in mine if not k.startswith(("adv_share", "alignment_q"))}:
            assert theirs[key] == pytest.approx(mine[key], rel=1e-6, abs=1e-9), key
    names = [sorted(p.name for p in run.checkpoints.iterdir()) for run in runs]
    assert names[0] == names[1]


@pytest.mark.parametrize("case", CASES)
def test_both_processes_hold_one_network(trained: dict[int, Path], case: str) -> None:
    """What the first one saves is what the second one scored: statistics, teachers, counts."""
    first, second = (state(trained[2], case, rank) for rank in (0, 1))
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=0, atol=0, msg=f"{case}: {name}")


@pytest.mark.parametrize("case", CASES)
def test_the_trainings_learn(trained: dict[int, Path], case: str) -> None:
    """Two runs agree as well if both do nothing: weights and statistics have moved."""
    config = RunFolder(trained[1] / case).config
    torch.manual_seed(config.seed)
    with double_precision():
        network = Segmenter(config.model, open_domains(config.data).classes)
    before, after = network.state_dict(), state(trained[1], case, 0)
    assert any(
        (after[f"segmenter.{k}"] - v).abs().max() > 1e-4
        for k, v in before.items()
        if k.startswith("classifiers")
    )
    means = [k for k in before if k.endswith("running_mean")]
    assert all((after[f"segmenter.{k}"] - before[k]).abs().max() > 1e-3 for k in means)
    terms: dict[str, Any] = {}
    for line in records(RunFolder(trained[1] / case)):
        terms |= line
    wanted = [k for k in terms if k.startswith(("loss", "entropy", "gate", "feature"))]
    assert all(terms[k] > 0 for k in wanted), terms


# --- stopping and failing together --------------------------------------------------------------


def _end_early(fabric: Fabric, street: str, out: str) -> None:
    torch.set_num_threads(1)
    # asked on one process only, both stop at the next log step
    if fabric.global_rank == 1:
        at_step(1, lambda: os.kill(os.getpid(), signal.SIGINT))
    config = tiny(Path(street), "clan", *FROZEN, "training.steps=5")
    _, stopped = _fit(fabric, config, Path(out, "stop"))
    Path(out, f"stopped{fabric.global_rank}").write_text(type(stopped).__name__)
    # the first process cannot write: the second one must not wait for it
    if fabric.global_rank == 0:
        clan.training.loop.save_checkpoint = _refuse  # type: ignore[assignment]
    _, failed = _fit(fabric, tiny(Path(street), "tan", *FROZEN), Path(out, "full"))
    Path(out, f"failed{fabric.global_rank}").write_text(f"{type(failed).__name__}: {failed}")


def _refuse(*_: object) -> None:
    raise RunError("no space")


def _train_watched(fabric: Fabric, street: str, out: str) -> None:
    """Train, noting which files of the run this process opens for writing."""
    torch.set_num_threads(1)
    run, written = Path(out, "run"), []

    def watch(event: str, given: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(given[0], str | bytes | os.PathLike):
            path, flags = os.fsdecode(given[0]), given[2]
            if path.startswith(str(run)) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                written.append(os.path.relpath(path, run))

    sys.addaudithook(watch)
    changes = ("training.evaluate_every=2", "training.snapshot_every=3")
    _, failed = _fit(fabric, tiny(Path(street), "clan", *changes), run)
    assert failed is None
    Path(out, f"written{fabric.global_rank}").write_text("\n".join(written))


def test_only_the_first_process_writes(street: Path, tmp_path: Path) -> None:
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp_fork")
    fabric.launch(_train_watched, str(street), str(tmp_path))
    first, second = ((tmp_path / f"written{rank}").read_text() for rank in (0, 1))
    assert "metrics.jsonl" in first
    assert "model.safetensors.part" in first
    assert second == ""


ERRORS = {"a bug": ZeroDivisionError, "an exit": SystemExit, "Ctrl-C": KeyboardInterrupt}


def _fail_at_once(fabric: Fabric, out: str) -> None:
    for name, kind in ERRORS.items():

        def fail(kind: type[BaseException] = kind, name: str = name) -> None:
            raise kind(name)

        began = time.monotonic()
        try:
            on_rank_zero(fabric, fail)
        except BaseException as error:
            seconds = time.monotonic() - began
            said = f"{type(error).__name__}: {error}"
            Path(out, f"{name} {fabric.global_rank}").write_text(f"{seconds} {said}")


def test_any_error_of_the_first_process_ends_the_others_within_a_minute(tmp_path: Path) -> None:
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp_fork")
    fabric.launch(_fail_at_once, str(tmp_path))
    for name, kind in ERRORS.items():
        for rank, said in (
            (0, f"{kind.__name__}: {name}"),
            (1, f"OtherProcess: {kind.__name__}: {name}"),
        ):
            seconds, found = (tmp_path / f"{name} {rank}").read_text().split(" ", 1)
            assert found == said
            assert float(seconds) < 60


def test_two_processes_stop_and_fail_together(street: Path, tmp_path: Path) -> None:
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp_fork")
    fabric.launch(_end_early, str(street), str(tmp_path))
    assert (tmp_path / "stopped0").read_text() == Interrupted.__name__
    assert (tmp_path / "stopped1").read_text() == OtherProcess.__name__
    kept = [path.name for path in sorted((tmp_path / "stop/checkpoints").iterdir())]
    assert kept == ["step_00000002.pt", "step_00000003.pt"]
    assert (tmp_path / "failed0").read_text() == "RunError: no space"
    assert (tmp_path / "failed1").read_text() == "OtherProcess: no space"
    # one process goes on where two stopped
    changes = (*FROZEN, "training.steps=5", "training.devices=1")
    config = tiny(street, "clan", *changes)
    resumed = train(config, tmp_path / "stop", resume=True, display=Silent())
    assert [r["step"] for r in records(resumed)] == [3, 5, 5]
    whole = train(config, tmp_path / "whole", display=Silent())
    for name, value in tensors(whole).items():
        torch.testing.assert_close(tensors(resumed)[name], value, rtol=1e-4, atol=1e-6, msg=name)
