"""Files are whole on the disk or not there, and one module writes them all."""

from __future__ import annotations

import ast
import errno
import os
import resource
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

import clan
from clan.core.errors import DataError, RunError
from clan.core.files import append_line, make_folder, write_whole, writing
from clan.data.classes import class_set
from clan.data.images import write_label
from clan.figures.style import new_figure, save_figure
from clan.models.segmenter import ModelOptions, Segmenter
from clan.prediction.pictures import write_picture
from clan.runs.checkpoint import save_checkpoint
from clan.runs.folder import RunFolder
from clan.weights.model_files import save_model

ROOT = Path(clan.__file__).parent
WRITERS = {"core/files.py"}
EXCEPTIONS = {
    # the log of a training is open for as long as the training, and locked while it is
    "studies/jobs.py",
    # entries carry a checksum and are made anew: flushing each would cost more than it saves
    "data/cache.py",
    # frames are added one by one to a part of the film, which is renamed when it is whole
    "prediction/video.py",
    # a tar's members go into the file that core/files.py has opened and will rename
    "data/pack.py",
}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fail(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def small_files(most: int) -> Iterator[None]:
    """Let the system refuse what makes a file larger than so many bytes, as a full disk does."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


class Disk:
    """Notes what is flushed and renamed, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[tuple[str, str]] = []
        fsync, replace = os.fsync, os.replace

        def flush(descriptor: int) -> None:
            kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
            self.done.append((kind, Path(os.readlink(f"/proc/self/fd/{descriptor}")).name))
            fsync(descriptor)

        def rename(old: Path, new: Path) -> None:
            self.done.append(("rename", Path(new).name))
            replace(old, new)

        monkeypatch.setattr(os, "fsync", flush)
        monkeypatch.setattr(os, "replace", rename)


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a/b/c.txt"
    write_whole(path, "für")
    assert path.read_bytes() == "für".encode()
    with writing(path) as file:
        file.write(b"new, ")
        assert path.read_bytes() == "für".encode()
        file.write(b"and longer")
    assert path.read_bytes() == b"new, and longer"
    assert names(path.parent) == ["c.txt"]


def segmenter() -> Segmenter:
    return Segmenter(ModelOptions(width=4, aspp_rates=(1,)), class_set("cityscapes"), None)


EVERY_WRITER: dict[str, Callable[[Path], object]] = {
    "a.bin": lambda path: write_whole(path, b"x"),
    "model.safetensors": lambda path: save_model(segmenter(), path),
    "step_00000001.pt": lambda path: save_checkpoint(path, {"step": 1}, 1),
    "label.png": lambda path: write_label(path, torch.zeros(2, 2).byte().numpy(), [0, 0, 0]),
    "picture.jpg": lambda path: write_picture(path, torch.zeros(2, 2, 3).byte().numpy()),
    "figure.svg": lambda path: save_figure(new_figure(1, 1), path),
    "metrics.jsonl": lambda path: RunFolder(path.parent).rewrite_metrics([{"step": 1}]),
    "weights.txt": lambda path: RunFolder(path.parent).write_weights_report("all loaded"),
    "environment.json": lambda path: RunFolder(path.parent).note_environment(0, {"torch": "2"}),
}


@pytest.mark.parametrize("name", EVERY_WRITER)
def test_the_file_is_flushed_then_renamed_then_its_folder_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    disk = Disk(monkeypatch)
    EVERY_WRITER[name](tmp_path / name)
    kinds = [kind for kind, _ in disk.done]
    assert kinds == ["file", "rename", "folder"]
    assert disk.done[1:] == [("rename", name), ("folder", tmp_path.name)]
    assert names(tmp_path) == [name]


@pytest.mark.parametrize("name", EVERY_WRITER)
def test_new_files_have_the_rights_that_the_umask_gives(tmp_path: Path, name: str) -> None:
    mask = os.umask(0o027)
    try:
        EVERY_WRITER[name](tmp_path / name)
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o640


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("name", EVERY_WRITER)
def test_a_failure_on_the_way_leaves_the_former_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, call: str
) -> None:
    path = tmp_path / name
    path.write_text("[]" if name == "environment.json" else "former")
    was = path.read_bytes()
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(clan.ClanError, match=rf"cannot write .*{name}: No space left on device"):
        EVERY_WRITER[name](path)
    assert path.read_bytes() == was
    assert names(tmp_path) == [name]


def test_the_refusal_of_the_disk_is_told_whatever_a_library_makes_of_it(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    with (
        small_files(100_000),
        pytest.raises(DataError, match=r"a\.pt: File too large"),
        writing(path, DataError) as file,
    ):
        torch.save({"w": torch.ones(100_000)}, file)
    assert names(tmp_path) == []


def test_an_error_of_the_writer_is_its_own_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="bytes"), writing(tmp_path / "a") as file:
        file.writelines([b"half", "and text"])  # type: ignore[list-item]
    assert names(tmp_path) == []


def test_paths_that_cannot_be_written_are_named_in_the_callers_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"cannot write into .*file/in: Not a directory"):
        write_whole(tmp_path / "file/in/a", b"")
    with pytest.raises(DataError, match=r"cannot write .*: File name too long"):
        write_whole(tmp_path / ("a" * 300), b"", DataError)
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunError, match=r"cannot write .*folder: Is a directory"):
        write_whole(tmp_path / "folder", b"")
    assert names(tmp_path) == ["file", "folder"]


@pytest.mark.parametrize("name", ["a" * 255, "\u00e4" * 127, "a" * 251])
def test_a_name_that_just_fits_is_written(tmp_path: Path, name: str) -> None:
    write_whole(tmp_path / name, b"x")
    assert names(tmp_path) == [name]


def test_names_of_new_folders_are_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    make_folder(tmp_path / "a/b")
    assert disk.done == [("folder", "a"), ("folder", tmp_path.name)]


def test_a_file_system_that_cannot_flush_folders_is_put_up_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def flush(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", flush)
    write_whole(tmp_path / "a", b"x")
    assert (tmp_path / "a").read_bytes() == b"x"


def test_lines_are_added_and_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    append_line(tmp_path / "a", "one")
    append_line(tmp_path / "a", "two")
    assert (tmp_path / "a").read_text() == "one\ntwo\n"
    assert disk.done == [("file", "a")] * 2
    with pytest.raises(RunError, match=r"cannot write .*: Is a directory"):
        append_line(tmp_path, "three")


def writes(tree: ast.AST) -> list[str]:
    """Return what a module calls that writes a file by itself."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        modes = [*node.args, *(keyword.value for keyword in node.keywords)]
        opens = name.split(".")[-1] in ("open", "fdopen") and any(
            isinstance(m, ast.Constant)
            and isinstance(m.value, str)
            and set(m.value) & set("wax+")
            and set(m.value) <= set("rwaxbt+")
            for m in modes
        )
        last = name.split(".")[-1]
        if opens or last in ("write_text", "write_bytes", "save_file") or name == "os.replace":
            found.append(name)
    return found


def test_one_module_writes_files() -> None:
    found = {
        path.relative_to(ROOT).as_posix(): calls
        for path in sorted(ROOT.rglob("*.py"))
        if (calls := writes(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert found.keys() == WRITERS | EXCEPTIONS, found


@pytest.mark.parametrize(
    "line",
    [
        'open(path, "w")',
        'open(path, mode="ab")',
        'path.open("r+b")',
        "path.write_text(text)",
        "path.write_bytes(data)",
        "os.replace(a, b)",
        "save_file(tensors, path)",
    ],
)
def test_whoever_writes_by_itself_is_found(line: str) -> None:
    assert writes(ast.parse(line))
    assert not writes(ast.parse('open(path)\nopen(path, "rb")\nopen(path, encoding="utf-8")'))
