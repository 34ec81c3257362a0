from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from clan.config.loading import load_config
from clan.config.tree import Config
from clan.core.errors import RunError
from clan.runs.folder import RunFolder


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config("town/clan")


def test_a_new_run_holds_its_configuration(tmp_path: Path, config: Config) -> None:
    run = RunFolder.create(tmp_path / "a/b", config)
    assert sorted(p.name for p in run.path.iterdir()) == ["checkpoints", "config.yaml"]
    assert RunFolder.open(tmp_path / "a/b").config == config
    assert not run.finished
    assert run.newest_checkpoint() is None


def test_a_run_of_before_a_key_was_renamed_is_read(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", load_config("gta5-cityscapes/reference/resnet101/tan"))
    text = run.config_file.read_text()
    assert "step_repeats: published" in text
    run.config_file.write_text(text.replace("step_repeats: published", "listings: published"))
    assert run.config.optim.segmenter.step_repeats == "published"


def test_an_empty_folder_is_fine(tmp_path: Path, config: Config) -> None:
    assert RunFolder.create(tmp_path, config).config_file.is_file()


def test_existing_runs_are_refused_with_the_way_on(tmp_path: Path, config: Config) -> None:
    run = RunFolder.create(tmp_path / "my run", config)
    with pytest.raises(RunError, match=r"unfinished run already.*clan resume '.*my run'") as info:
        RunFolder.create(run.path, config)
    assert "--out" in str(info.value)
    run.model_file.touch()
    with pytest.raises(RunError, match=r"finished run already. Give another") as info:
        RunFolder.create(run.path, config)
    assert "resume" not in str(info.value)


def test_no_run_there(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"it has no config.yaml"):
        RunFolder.open(tmp_path)
    with pytest.raises(RunError, match="there is no such folder"):
        RunFolder.open(tmp_path / "nowhere")


def test_a_folder_that_cannot_be_made(tmp_path: Path, config: Config) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"cannot write into .*Not a directory"):
        RunFolder.create(tmp_path / "file/run", config)


def test_no_permission(tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", refuse)
        with pytest.raises(RunError, match=r"cannot write into .*Permission denied"):
            RunFolder.create(tmp_path / "run", config)
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", refuse)
        with pytest.raises(RunError, match=r"cannot look into .*Permission denied"):
            RunFolder.create(tmp_path / "run", config)


def test_a_failed_start_is_no_obstacle(
    tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(RunError, match="No space left"):
            RunFolder.create(tmp_path / "run", config)
    assert list((tmp_path / "run").iterdir()) == []
    assert RunFolder.create(tmp_path / "run", config).config == config


def test_metrics_are_lines_of_json(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert list(run.read_metrics()) == []
    run.append_metrics({"step": 1, "loss": 0.5})
    run.append_metrics({"step": 2, "miou": None})
    assert run.metrics_file.read_text() == '{"step": 1, "loss": 0.5}\n{"step": 2, "miou": null}\n'
    with pytest.raises(ValueError, match="JSON"):
        run.append_metrics({"step": 3, "loss": float("nan")})
    assert [r["step"] for r in run.read_metrics()] == [1, 2]


def test_a_cut_last_line_is_left_out_and_a_broken_one_is_named(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.metrics_file.write_text('{"step": 1}\n{"ste')
    assert list(run.read_metrics()) == [{"step": 1}]
    run.metrics_file.write_text('{"step": 1}\n{"ste\n{"step": 3}\n')
    with pytest.raises(RunError, match=r"metrics.jsonl, line 2 is not JSON"):
        list(run.read_metrics())


def test_the_last_step_is_read_from_the_end_of_the_file(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert run.last_step() == 0
    run.metrics_file.write_text('{"step": 1}\n{"st')
    assert run.last_step() == 1
    lines = [f'{{"step": {step}, "loss": 0.5}}\n' for step in range(3000)]
    run.metrics_file.write_text("".join(lines) + '{"step": 3000}')
    assert run.last_step() == 2999


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "gone")
    with pytest.raises(RunError, match=r"cannot write .*metrics.jsonl: No such file"):
        run.append_metrics({"step": 1})


def test_a_run_may_move(tmp_path: Path, config: Config) -> None:
    run = RunFolder.create(tmp_path / "here", config)
    shutil.move(run.path, tmp_path / "there")
    assert RunFolder.open(tmp_path / "there").config == config
