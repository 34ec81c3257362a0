from __future__ import annotations

import errno
import os
import pickle
import resource
import signal
from pathlib import Path

import pytest
import torch

from clan.core.errors import RunError, WeightsError
from clan.runs.checkpoint import (
    FORMAT,
    checkpoint_path,
    checkpoints,
    load_checkpoint,
    load_newest,
    newest_checkpoint,
    save_checkpoint,
    set_aside,
)
from clan.runs.guard import broken_tensor

GOOD: dict[str, object] = {
    "step": 4,
    "entered": 0,
    "method": {"w": torch.zeros(2)},
    "optimizers": {"segmenter": {"state": {}, "param_groups": []}},
    "waiting": {"names": ["loss"], "rows": torch.zeros(1, 1), "seconds": 0.5},
    "config": {},
    "classes": {"names": ["a", "b"]},
    "versions": {"clan": "0"},
}


def save(folder: Path, step: int, keep: int = 9) -> Path:
    path = checkpoint_path(folder, step)
    save_checkpoint(
        path, {**GOOD, "step": step, "method": {"w": torch.full((50_000,), float(step))}}, keep
    )
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_round_trip(tmp_path: Path) -> None:
    content = load_checkpoint(save(tmp_path, 3))
    assert content["step"] == 3
    assert torch.equal(content["method"]["w"], torch.full((50_000,), 3.0))


def test_the_newest_stay(tmp_path: Path) -> None:
    for step in (5, 10, 100, 20):
        save(tmp_path, step, keep=2)
    assert names(tmp_path) == ["step_00000020.pt", "step_00000100.pt"]
    assert newest_checkpoint(tmp_path) == tmp_path / "step_00000100.pt"
    assert checkpoints(tmp_path / "nowhere") == []


def test_an_old_one_that_cannot_be_deleted_is_told_and_no_error(tmp_path: Path) -> None:
    # deleting a folder as a file fails whoever asks
    (tmp_path / "step_00000001.pt").mkdir()
    path = checkpoint_path(tmp_path, 2)
    (said,) = save_checkpoint(path, {**GOOD, "step": 2}, keep=1)
    assert "step_00000001.pt stays: it cannot be deleted" in said
    assert load_checkpoint(path)["step"] == 2
    assert save_checkpoint(checkpoint_path(tmp_path, 3), {**GOOD, "step": 3}, keep=2) != []


def test_a_full_disk_leaves_the_former_one_whole(tmp_path: Path) -> None:
    former = save(tmp_path, 1)
    was = former.read_bytes()
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(RunError, match=r"step_00000002.pt: File too large.*whole"):
            save(tmp_path, 2, keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert names(tmp_path) == [former.name]
    assert former.read_bytes() == was


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_any_failure_on_the_way_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, name, fail)
    with pytest.raises(RunError, match=r"No space left on device.*there is no former one"):
        save(tmp_path, 1)
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"cannot write .*Not a directory"):
        save(tmp_path / "file", 1)
    with pytest.raises(RunError, match="No such file"):
        save(tmp_path / "gone", 1)


def test_what_a_killed_process_left_does_not_count_and_does_not_stay(tmp_path: Path) -> None:
    (tmp_path / "unfinished.part").write_bytes(b"half of it")
    assert newest_checkpoint(tmp_path) is None
    save(tmp_path, 1)
    assert names(tmp_path) == ["step_00000001.pt"]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "cannot be read as a checkpoint"),
        (b"no checkpoint at all", "cannot be read as a checkpoint"),
        (pickle.dumps({"format": 1}), "cannot be read as a checkpoint"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "step_00000001.pt"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=what) as info:
        load_checkpoint(path)
    assert str(path) in str(info.value)


def test_other_formats_are_refused(tmp_path: Path) -> None:
    torch.save({"format": 99}, tmp_path / "a.pt")
    torch.save([1, 2], tmp_path / "b.pt")
    with pytest.raises(WeightsError, match=r"format 1 \(found 99\)"):
        load_checkpoint(tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=r"format 1 \(found list\)"):
        load_checkpoint(tmp_path / "b.pt")


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "harm"),)

    torch.save({"format": 1, "x": Harm()}, tmp_path / "a.pt")
    with pytest.raises(WeightsError):
        load_checkpoint(tmp_path / "a.pt")
    assert not (tmp_path / "harm").exists()


def test_a_damaged_newest_gives_way_to_the_one_before(tmp_path: Path) -> None:
    save(tmp_path, 1)
    truncate(save(tmp_path, 2))
    content, damaged = load_newest(tmp_path)
    assert content is not None
    assert content["step"] == 1
    assert list(damaged) == [tmp_path / "step_00000002.pt"]
    set_aside(damaged)
    assert names(tmp_path) == ["step_00000001.pt", "step_00000002.damaged"]


def test_only_damaged_ones_are_an_error(tmp_path: Path) -> None:
    assert load_newest(tmp_path) == (None, {})
    truncate(save(tmp_path, 1))
    with pytest.raises(WeightsError, match=r"step_00000001.pt.*no other checkpoint"):
        load_newest(tmp_path)


def test_broken_tensors_are_named() -> None:
    fine = {"a": torch.ones(2), "b": torch.ones(2, dtype=torch.int64)}
    assert broken_tensor(fine) is None
    assert broken_tensor({**fine, "c": torch.tensor([1.0, float("inf")])}) == "c"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("step", "4"),
        ("step", 4.0),
        ("step", -1),
        ("step", 2**60),
        ("step", None),
        ("entered", [0]),
        ("method", {"w": 3}),
        ("method", [1]),
        ("optimizers", {"segmenter": []}),
        ("optimizers", {"segmenter": {"state": {"x": 1}, "param_groups": []}}),
        ("waiting", None),
        ("waiting", {"names": ["loss"], "rows": torch.zeros(1, 2), "seconds": 0.5}),
        ("waiting", {"names": "loss", "rows": torch.zeros(1, 1), "seconds": 0.5}),
        ("config", 5),
        ("classes", {"names": 5}),
        ("given", {"source": {"images": "many"}}),
        ("versions", None),
    ],
)
def test_entries_of_a_wrong_type_are_named(tmp_path: Path, key: str, value: object) -> None:
    path = checkpoint_path(tmp_path, 4)
    torch.save({"format": FORMAT, **GOOD}, path)
    assert load_checkpoint(path)["step"] == 4
    torch.save({"format": FORMAT, **GOOD, key: value}, path)
    with pytest.raises(WeightsError, match=rf"step_00000004\.pt is no checkpoint: {key}"):
        load_checkpoint(path)


def test_a_checkpoint_under_another_step_s_name_is_refused(tmp_path: Path) -> None:
    torch.save({"format": FORMAT, **GOOD}, checkpoint_path(tmp_path, 6))
    with pytest.raises(WeightsError, match="of step 4, of another name"):
        load_checkpoint(checkpoint_path(tmp_path, 6))


def test_a_flipped_bit_changes_nothing_in_silence(tmp_path: Path) -> None:
    weights = {f"w{i}": torch.randn(64) for i in range(4)}
    content = {**GOOD, "step": 3, "method": weights, "config": {"a": 1}}
    path = checkpoint_path(tmp_path, 3)
    save_checkpoint(path, content, keep=1)
    whole, spoilt = path.read_bytes(), bytearray(path.read_bytes())
    refused = 0
    for place in range(0, len(whole), 5):
        spoilt[place] ^= 1 << (place % 8)
        path.write_bytes(spoilt)
        spoilt[place] = whole[place]
        try:
            loaded = load_checkpoint(path)
        except WeightsError:
            refused += 1
            continue
        # padding, dates: nothing that is read
        assert loaded["step"] == 3
        assert loaded["config"] == {"a": 1}
        for name, value in weights.items():
            assert torch.equal(loaded["method"][name], value)
    assert refused > 200
