from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

import clan
import clan.training.loop
from clan.core.errors import ClanError, ConfigError, DataError, RunError, WeightsError
from clan.methods import METHODS, Method, Progress
from clan.prediction.predictor import load
from clan.runs.checkpoint import load_checkpoint, save_checkpoint
from clan.runs.folder import RunFolder
from clan.training.display import Silent
from clan.training.processes import computes_bf16, refuse_uneven
from clan.training.train import train
from tests.systems import (
    SETTINGS,
    Spy,
    at_step,
    command,
    records,
    same,
    tensors,
    tiny,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def whole(street: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    """One finished run of every method."""
    out = tmp_path_factory.mktemp("whole")
    return {s: train(tiny(street, s), out / s, display=Silent()) for s in METHODS}


def quiet(street: Path, out: Path, system: str, *changes: str, resume: bool = False) -> RunFolder:
    return train(tiny(street, system, *changes), out, resume=resume, display=Silent())


def steps_of(run: RunFolder) -> list[str]:
    return sorted(path.name for path in run.checkpoints.iterdir())


@pytest.mark.parametrize("system", METHODS)
def test_a_run_folder_is_complete(whole: dict[str, RunFolder], street: Path, system: str) -> None:
    run = whole[system]
    assert run.finished
    assert run.config.method.name == system
    assert steps_of(run) == ["step_00000006.pt", "step_00000007.pt"]
    # every third step, where a stage ends, and the last twice: its means and its scores
    lengths = [stage.steps for stage in run.config.method.stages(7)]
    ends = {sum(lengths[: n + 1]) for n in range(len(lengths))}
    assert [r["step"] for r in records(run)] == [*sorted({3, 6, *ends}), 7]
    assert [r["step"] for r in records(run) if "miou" in r] == [7]
    evaluation = json.loads(run.evaluation_file.read_text())
    assert (evaluation["name"], evaluation["step"], evaluation["images"]) == (system, 7, 3)
    assert evaluation["miou"]["street"] == records(run)[-1]["miou"]
    label = clan.load(run.path).predict(street / "photos/val/000.png")
    assert label.shape == (32, 64)
    assert label.max() < 3


def test_lines_hold_every_term_rate_and_speed(whole: dict[str, RunFolder]) -> None:
    line = json.loads(whole["clan"].metrics_file.read_text().splitlines()[0])
    assert {"step", "loss_seg", "loss_weight", "alignment", "loss_adv", "d_accuracy"} < set(line)
    assert {"lr_segmenter", "lr_discriminator", "images_per_second", "seconds"} < set(line)
    # bytes: Python and torch alone take this much
    assert 2**26 < line["memory"] < 2**36
    assert line["lr_segmenter"] == pytest.approx(1e-3 * (1 - 2 / 7) ** 0.9)


def test_tensorboard_reads_the_same_curves(whole: dict[str, RunFolder]) -> None:
    events = EventAccumulator(str(whole["clan"].path)).Reload()
    read = [(e.step, e.value) for e in events.Scalars("loss_seg")]
    lines = [(r["step"], r["loss_seg"]) for r in records(whole["clan"]) if "loss_seg" in r]
    assert read == [(step, pytest.approx(value)) for step, value in lines]
    assert [e.step for e in events.Scalars("miou")] == [7]


def test_a_line_is_the_mean_of_its_steps(street: Path, tmp_path: Path) -> None:
    each = quiet(street, tmp_path / "each", "source_only", "training.log_every=1")
    three = quiet(street, tmp_path / "three", "source_only", "training.log_every=3")
    fine = [r["loss_seg"] for r in records(each) if "loss_seg" in r]
    coarse = [r["loss_seg"] for r in records(three) if "loss_seg" in r]
    assert coarse == pytest.approx([sum(fine[:3]) / 3, sum(fine[3:6]) / 3, fine[6]])
    assert same(tensors(each), tensors(three))


def test_the_oracle_learns_from_target_labels(street: Path, tmp_path: Path) -> None:
    dataset = f"data.source.dataset={street / 'photos/photos.yaml'}"
    run = quiet(street, tmp_path / "run", "source_only", dataset, "name=oracle")
    assert json.loads(run.evaluation_file.read_text())["name"] == "oracle"


@pytest.mark.parametrize("system", ["adabn", "clan", "cbst", "cda"])
def test_a_target_may_be_a_folder_of_images(street: Path, tmp_path: Path, system: str) -> None:
    photos = tmp_path / "my photos"
    photos.symlink_to(street / "photos/train")
    run = quiet(street, tmp_path / "run", system, f"data.target={photos}", "data.validation=null")
    assert run.finished
    assert not run.evaluation_file.exists()
    assert not any("miou" in r for r in records(run))


def test_scores_on_the_way(street: Path, tmp_path: Path) -> None:
    run = quiet(street, tmp_path / "run", "source_only", "training.evaluate_every=2")
    assert [r["step"] for r in records(run) if "miou" in r] == [2, 4, 6, 7]


@pytest.mark.parametrize("system", ["adabn", "clan_st"])
def test_scores_on_the_way_change_nothing(
    system: str, whole: dict[str, RunFolder], street: Path, tmp_path: Path
) -> None:
    """Which is why a resumed run may ask for other ones."""
    run = quiet(street, tmp_path / "run", system, "training.evaluate_every=2")
    assert same(tensors(run), tensors(whole[system]))
    learnt = [r for r in records(run) if "miou" not in r or r["step"] == 7]
    assert learnt == records(whole[system])


def test_workers_change_nothing(whole: dict[str, RunFolder], street: Path, tmp_path: Path) -> None:
    run = quiet(street, tmp_path / "run", "clan", "data.workers=2")
    assert same(tensors(run), tensors(whole["clan"]))
    assert records(run) == records(whole["clan"])


def test_seeds_change_everything(whole: dict[str, RunFolder], street: Path, tmp_path: Path) -> None:
    run = quiet(street, tmp_path / "run", "source_only", "seed=1", "training.steps=1")
    found = tensors(run)
    name = next(n for n in found if n.startswith("classifiers") and n.endswith("weight"))
    assert not torch.equal(found[name], tensors(whole["source_only"])[name])


def test_accumulated_parts_make_the_same_update(street: Path, tmp_path: Path) -> None:
    plain = ("method.batch_norm=frozen", "optim.segmenter.name=sgd", "training.steps=2")
    one = quiet(street, tmp_path / "one", "clan", *plain)
    two = quiet(street, tmp_path / "two", "clan", *plain, "optim.accumulate=2")
    for name, value in tensors(one).items():
        torch.testing.assert_close(tensors(two)[name], value, msg=name)


@pytest.mark.skipif(
    not computes_bf16(torch.device("cpu")), reason="this CPU has no instructions for bfloat16"
)
def test_half_precision_stays_out_of_losses_and_weights(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[torch.dtype] = set()
    original = METHODS["clan"].step

    def step(self: Method, *args: object) -> dict[str, Tensor]:
        scalars = original(self, *args)  # type: ignore[arg-type]
        seen.update(value.dtype for value in scalars.values())
        return scalars

    monkeypatch.setattr(METHODS["clan"], "step", step)
    run = quiet(street, tmp_path / "run", "clan", "training.precision=bf16-mixed")
    assert seen == {torch.float32}
    floating = {v.dtype for v in tensors(run).values() if v.is_floating_point()}
    assert floating == {torch.float32}


# --- resuming ---------------------------------------------------------------------------------


def interrupt(number: int = signal.SIGINT, step: int = 4) -> Callable[[], None]:
    """Send a signal to the whole process group, loader workers included, in a step."""
    return lambda: at_step(step, lambda: os.killpg(0, number))


def kill_after_checkpoint() -> None:
    def save(*args: object) -> None:
        save_checkpoint(*args)  # type: ignore[arg-type]
        os.kill(os.getpid(), signal.SIGKILL)

    clan.training.loop.save_checkpoint = save  # type: ignore[assignment]


def raise_at_step() -> None:
    def fail() -> None:
        raise ZeroDivisionError("a bug")

    at_step(5, fail)


CTRL_C, KILLED, EXCEPTION = (
    (interrupt(), 130, 5),
    (kill_after_checkpoint, -9, 2),
    (raise_at_step, 70, 4),
)


@pytest.mark.parametrize(
    ("before", "code", "resumed_at", "system", "workers"),
    [
        (*CTRL_C, "source_only", 0),
        (*CTRL_C, "source_only", 2),
        (*CTRL_C, "clan", 0),
        (*CTRL_C, "clan", 2),
        (*KILLED, "source_only", 2),
        (*KILLED, "clan", 0),
        (*EXCEPTION, "source_only", 0),
        (*EXCEPTION, "clan", 2),
    ],
)
def test_a_resumed_run_ends_bit_identical(
    whole: dict[str, RunFolder],
    street: Path,
    tmp_path: Path,
    system: str,
    workers: int,
    before: Callable[[], None],
    code: int,
    resumed_at: int,
) -> None:
    out = tmp_path / "run"
    settings = [*SETTINGS, f"data.workers={workers}"]
    arguments = ["train", str(street / f"{system}.yaml"), *settings, "--out", str(out)]
    found, said = command(arguments, tmp_path / "log", before)
    assert found == code, said
    run = RunFolder(out)
    assert not run.finished
    assert run.newest_checkpoint() == run.checkpoints / f"step_{resumed_at:08}.pt"
    if code == 130:
        assert "stopped after step 5 of 7; the checkpoint is written" in said
        assert f"clan resume {out}" in said
        assert "Traceback" not in said
    train(run.config, out, resume=True, display=Silent())
    assert same(tensors(run), tensors(whole[system]))
    assert records(run) == records(whole[system])
    events = EventAccumulator(str(out)).Reload()
    assert [e.step for e in events.Scalars("loss_seg")] == [3, 6, 7]


@pytest.mark.parametrize("system", METHODS)
def test_every_method_resumes_bit_identical(
    whole: dict[str, RunFolder],
    street: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    system: str,
) -> None:
    """All that a method remembers is in its state."""
    original = Method.start_update

    def fail(self: Method, progress: Progress) -> None:
        if progress.step == 5:
            raise ZeroDivisionError("a bug")
        original(self, progress)

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Method, "start_update", fail)
        with pytest.raises(ZeroDivisionError):
            quiet(street, out, system)
    run = quiet(street, out, system, resume=True)
    assert same(tensors(run), tensors(whole[system]))
    assert records(run) == records(whole[system])


@pytest.mark.parametrize("workers", [0, 2])
def test_sigterm_is_like_ctrl_c(street: Path, tmp_path: Path, workers: int) -> None:
    arguments = ["train", str(street / "tan.yaml"), *SETTINGS, f"data.workers={workers}"]
    log, out = tmp_path / "log", tmp_path / "run"
    before = interrupt(signal.SIGTERM)
    code, said = command([*arguments, "--out", str(out)], log, before)
    assert code == 130, said
    assert "Traceback" not in said
    assert "clan resume" in said
    assert RunFolder(out).newest_checkpoint() == out / "checkpoints/step_00000005.pt"


def test_a_second_ctrl_c_stops_at_once(street: Path, tmp_path: Path) -> None:
    def twice() -> None:
        for _ in range(2):
            os.killpg(0, signal.SIGINT)

    arguments = ["train", str(street / "tan.yaml"), *SETTINGS, "data.workers=1"]
    out = tmp_path / "run"
    code, said = command(
        [*arguments, "--out", str(out)], tmp_path / "log", lambda: at_step(3, twice)
    )
    assert code == 130, said
    assert "stopped at once" in said
    assert f"clan resume {out}" in said
    assert "Traceback" not in said
    assert steps_of(RunFolder(out)) == ["step_00000002.pt"]


def test_a_run_without_checkpoint_begins_again(
    whole: dict[str, RunFolder], street: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    arguments = ["train", str(street / "tan.yaml"), *SETTINGS, "training.checkpoint_every=100"]
    code, _ = command([*arguments, "--out", str(out)], tmp_path / "log", raise_at_step)
    assert code == 70
    run = RunFolder(out)
    assert run.newest_checkpoint() is None
    assert [r["step"] for r in records(run)] == [3]
    train(run.config, out, resume=True, display=Silent())
    assert same(tensors(run), tensors(whole["tan"]))
    assert records(run) == records(whole["tan"])


def test_a_run_that_broke_while_scoring_finishes(
    whole: dict[str, RunFolder], street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def full(source: object, path: Path) -> None:
        if Path(path).name == "model.safetensors":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, path)  # type: ignore[arg-type]

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(ClanError, match=r"model.safetensors.*No space left"):
            quiet(street, out, "adabn")
    run = quiet(street, out, "adabn", resume=True)
    assert same(tensors(run), tensors(whole["adabn"]))
    assert records(run) == records(whole["adabn"])


def test_a_damaged_newest_checkpoint_costs_time_only(
    whole: dict[str, RunFolder], street: Path, tmp_path: Path
) -> None:
    out, spy = tmp_path / "run", Spy()
    arguments = ["train", str(street / "source_only.yaml"), *SETTINGS, "--out", str(out)]
    assert command(arguments, tmp_path / "log", interrupt())[0] == 130
    run = RunFolder(out)
    newest = run.newest_checkpoint()
    assert newest is not None
    newest.write_bytes(newest.read_bytes()[:1000])
    train(run.config, out, resume=True, display=spy)
    assert f"{newest} cannot be read" in spy.messages[0]
    assert "resumed" in spy.messages[1]
    assert "after step 4" in spy.messages[1]
    assert same(tensors(run), tensors(whole["source_only"]))
    assert records(run) == records(whole["source_only"])
    assert steps_of(run) == ["step_00000005.damaged", "step_00000006.pt", "step_00000007.pt"]


@pytest.mark.parametrize("part", ["encoder", "network"])
def test_a_resume_needs_no_weights_to_start_from(
    part: str, whole: dict[str, RunFolder], street: Path, tmp_path: Path
) -> None:
    trained = tensors(whole["source_only"])
    if part == "encoder":
        keys = {k.removeprefix("encoder.") for k in trained if k.startswith("encoder.")}
        weights = tmp_path / "encoder.pth"
        torch.save({key: trained[f"encoder.{key}"] for key in keys}, weights)
    else:
        keys, weights = set(trained), tmp_path / "model.safetensors"
        shutil.copy(whole["source_only"].model_file, weights)
    out, changes = tmp_path / "run", (f"weights={weights}", f"weights_for={part}")
    arguments = ["train", str(street / "source_only.yaml"), *SETTINGS, *changes, "--out", str(out)]
    code, said = command(arguments, tmp_path / "log", interrupt())
    assert code == 130
    assert f"weights: {weights}: {len(keys)} tensors loaded" in said
    listed = (out / "weights.txt").read_text().splitlines()
    assert listed[0] == str(weights)
    assert {line.split()[1] for line in listed[1:]} == keys
    weights.unlink()
    assert quiet(street, out, "source_only", *changes, resume=True).finished


def test_relative_paths_hold_when_resumed_elsewhere(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = [
        "data.root=.",
        "data.source.root=game",
        "data.target=photos/train",
        "data.validation.dataset=photos/photos.yaml",
    ]
    arguments = ["train", "clan.yaml", *SETTINGS, *data, "--out", str(tmp_path / "run")]

    def before() -> None:
        os.chdir(street)
        interrupt()()

    assert command(arguments, tmp_path / "log", before)[0] == 130
    monkeypatch.chdir(tmp_path)
    run = RunFolder.open("run")
    assert train(run.config, "run", resume=True, display=Silent()).finished
    assert run.config.data.root == str(street)


# --- what is refused --------------------------------------------------------------------------


def test_a_finished_run_says_so(whole: dict[str, RunFolder], street: Path) -> None:
    run, spy = whole["tan"], Spy()
    before = run.model_file.stat().st_mtime_ns
    train(tiny(street, "tan"), run.path, resume=True, display=spy)
    assert spy.messages == [f"{run.path} is finished already (7 steps)"]
    assert run.model_file.stat().st_mtime_ns == before
    with pytest.raises(RunError, match=r"holds a finished run already\. Give another folder"):
        quiet(street, run.path, "tan")


def test_another_configuration_is_refused(whole: dict[str, RunFolder], street: Path) -> None:
    changes = ["training.steps=9", "method.lambda_adv=0.5", "training.devices=2"]
    with pytest.raises(RunError) as info:
        quiet(street, whole["tan"].path, "tan", *changes, resume=True)
    assert "training.steps was 7, now 9" in str(info.value)
    assert "method.lambda_adv was 0.001, now 0.5" in str(info.value)
    assert "training.devices was" not in str(info.value)


def test_free_keys_may_change_and_are_kept(street: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ["train", str(street / "source_only.yaml"), *SETTINGS, "--out", str(out)]
    assert command(arguments, tmp_path / "log", interrupt())[0] == 130
    with pytest.raises(RunError, match=r"holds an unfinished run already. Resume it with `clan re"):
        quiet(street, out, "source_only")
    changes = ("data.workers=1", "training.checkpoint_every=1", "training.keep_checkpoints=9")
    run = quiet(street, out, "source_only", *changes, resume=True)
    assert run.config.data.workers == 1
    assert len(steps_of(run)) == 4


@pytest.mark.parametrize("nested", ["", "/sub"])
def test_other_files_are_left_alone(street: Path, tmp_path: Path, nested: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError):
        quiet(street, Path(f"{tmp_path}/file{nested}"), "source_only")
    with pytest.raises(RunError, match="neither an empty folder nor a run; nothing was written"):
        quiet(street, tmp_path, "source_only")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("data.source.dataset=nowhere.yaml", DataError),
        ("data.target=nowhere/", DataError),
        ("data.source.root=nowhere", DataError),
        ("data.validation.split=test", DataError),
        ("weights=nowhere.pth", WeightsError),
        ("data.workers=-1", ConfigError),
    ],
)
def test_a_failed_start_leaves_no_folder(
    street: Path, tmp_path: Path, change: str, error: type[ClanError]
) -> None:
    with pytest.raises(error):
        quiet(street, tmp_path / "run", "clan", change)
    assert not (tmp_path / "run").exists()


def test_devices_that_are_not_there(street: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match=r"training.accelerator=cuda .* is not possible"):
        quiet(street, tmp_path / "run", "clan", "training.accelerator=cuda")


def test_a_target_without_labels_cannot_score(street: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.validation=null"):
        quiet(street, tmp_path / "run", "clan", f"data.validation={street / 'photos/val'}")


# --- numbers that break -----------------------------------------------------------------------


def test_a_diverged_training_stops_and_keeps_the_last_good_checkpoint(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = METHODS["clan"].step

    def step(self: Method, *args: object) -> dict[str, Tensor]:
        scalars = original(self, *args)  # type: ignore[arg-type]
        progress = args[2]
        assert isinstance(progress, Progress)
        if progress.step == 4:
            scalars["loss_adv"] = scalars["loss_adv"] * float("inf")
        return scalars

    monkeypatch.setattr(METHODS["clan"], "step", step)
    with pytest.raises(RunError) as info:
        quiet(street, tmp_path / "run", "clan", "training.log_every=100")
    run = RunFolder(tmp_path / "run")
    assert "loss_adv became inf at step 5; the training stops" in str(info.value)
    assert str(run.checkpoints / "step_00000004.pt") in str(info.value)
    assert steps_of(run) == ["step_00000002.pt", "step_00000004.pt"]
    assert not run.finished


def test_a_huge_learning_rate_is_found_out(street: Path, tmp_path: Path) -> None:
    arguments = ["train", str(street / "source_only.yaml"), *SETTINGS]
    changes = ["optim.segmenter.name=sgd", "optim.segmenter.lr=1e30", "training.log_every=1"]
    code, said = command([*arguments, *changes, "--out", str(tmp_path / "run")], tmp_path / "log")
    assert code == 1
    assert "error: " in said
    assert "the training stops" in said
    assert "Traceback" not in said
    assert not RunFolder(tmp_path / "run").finished


def test_weights_that_broke_are_no_checkpoint(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = METHODS["source_only"].step

    def step(self: Method, *args: object) -> dict[str, Tensor]:
        scalars = original(self, *args)  # type: ignore[arg-type]
        progress = args[2]
        assert isinstance(progress, Progress)
        if progress.step == 3:
            with torch.no_grad():
                next(self.segmenter.parameters()).view(-1)[0] = float("nan")
        return scalars

    monkeypatch.setattr(METHODS["source_only"], "step", step)
    with pytest.raises(RunError, match=r"segmenter\.encoder.* is NaN or infinite after step 4"):
        quiet(street, tmp_path / "run", "source_only")
    assert steps_of(RunFolder(tmp_path / "run")) == ["step_00000002.pt"]


def test_a_full_disk_keeps_the_former_checkpoint(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = os.replace

    def replace(old: Path, new: Path) -> None:
        if Path(new).name == "step_00000004.pt":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(old, new)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(RunError, match=r"step_00000004.pt: No space left.*step_00000002.pt, is w"):
        quiet(street, tmp_path / "run", "source_only")
    run = RunFolder(tmp_path / "run")
    assert steps_of(run) == ["step_00000002.pt"]
    assert load_checkpoint(run.checkpoints / "step_00000002.pt")["step"] == 2


def test_metrics_that_cannot_be_written(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"

    def spoil() -> None:
        (out / "metrics.jsonl").unlink()
        (out / "metrics.jsonl").mkdir()

    original = Method.start_update

    def start(self: Method, progress: Progress) -> None:
        if progress.step == 4:
            spoil()
        original(self, progress)

    monkeypatch.setattr(Method, "start_update", start)
    with pytest.raises(RunError, match=r"cannot write .*metrics.jsonl: Is a directory"):
        quiet(street, out, "source_only")


def test_self_training_goes_on_from_a_finished_training(street: Path, tmp_path: Path) -> None:
    """Classifiers too: without them the first round would be labelled by chance."""
    before = quiet(street, tmp_path / "clan", "clan", "training.steps=4")
    changes = ("method.clan_steps=0", "method.rounds=1", "training.steps=1", "seed=7")
    # so small a step shows what it starts from
    changes = (*changes, "optim.segmenter.lr=1e-9", f"weights={before.path}")
    whole, encoder = Spy(), Spy()
    config = tiny(street, "clan_st", *changes, "weights_for=network")
    own = tensors(train(config, tmp_path / "whole", display=whole))
    drawn = tensors(train(tiny(street, "clan_st", *changes), tmp_path / "drawn", display=encoder))
    for key, value in tensors(before).items():
        if "running" not in key and "num_batches" not in key:
            torch.testing.assert_close(own[key], value, rtol=0, atol=1e-6, msg=key)
            same_encoder = key.startswith("encoder.")
            assert torch.allclose(drawn[key], value, rtol=0, atol=1e-6) == same_encoder, key
    nothing = "the target is labelled by untrained classifiers. Set method.clan_steps, or"
    assert not any(nothing in text for text in whole.messages)
    assert any(nothing in text for text in encoder.messages)
    # an encoder is all that curriculum adaptation prepares itself by
    pretrained = Spy()
    config = tiny(street, "cda", "method.source_steps=0", "training.steps=1")
    train(config, tmp_path / "cda", display=pretrained)
    assert not any("learnt nothing" in text for text in pretrained.messages)


def test_a_batch_must_divide(street: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.batch_size 2 .* set a multiple of 4"):
        refuse_uneven(tiny(street, "clan", "optim.accumulate=2"), 2)


def test_snapshots_are_model_files_of_the_asked_steps(street: Path, tmp_path: Path) -> None:
    run = train(
        tiny(street, "clan", "training.snapshot_every=3"), tmp_path / "run", display=Silent()
    )
    found = run.snapshots()
    assert list(found) == [0, 3, 6, 7]
    assert same(load_file(found[7]), tensors(run))
    assert not same(load_file(found[0]), load_file(found[3]))
    assert load(found[3]).segmenter.classes.names == ("sky", "building", "road")


def test_no_snapshots_unless_asked_for(whole: dict[str, RunFolder]) -> None:
    assert not whole["clan"].snapshot_folder.exists()
