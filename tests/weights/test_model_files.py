"""Weights in, model files out: nothing is lost, nothing runs, every refusal says why."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from clan.core.errors import WeightsError
from clan.data.classes import CITYSCAPES, ClassSet
from clan.weights import model_files as weights
from clan.weights.tensor_files import SHA256, read_tensors, unverified
from tests.models.conftest import SMALL


def test_a_model_file_needs_nothing_else(segmenter, tmp_path):
    path = tmp_path / "model.safetensors"
    weights.save_model(segmenter, path)
    loaded = weights.load_segmenter(path)
    assert loaded.options == SMALL
    assert loaded.classes == CITYSCAPES
    assert loaded.evaluation_size == (64, 128)
    assert not loaded.training
    image = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    for a, b in zip(loaded(image), segmenter.eval()(image), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_run_folder_stands_for_its_model(segmenter, tmp_path):
    weights.save_model(segmenter, tmp_path / "model.safetensors")
    assert weights.load_segmenter(tmp_path).classes == CITYSCAPES


class Bomb:
    def __reduce__(self):
        return print, ("ran code from a weight file",)


def test_a_refused_pickle_is_told_with_the_safe_way_out(tmp_path, capsys):
    torch.save({"state_dict": {"a": torch.zeros(1)}, "hook": Bomb()}, tmp_path / "w.pth")
    message = r"w\.pth wants to run code.*print.*torch\.save\(model\.state_dict\(\)"
    with pytest.raises(WeightsError, match=message):
        read_tensors(tmp_path / "w.pth")
    assert "ran code" not in capsys.readouterr().out


def test_a_plain_pickle_is_refused_with_the_safe_way_out(tmp_path, capsys):
    (tmp_path / "w.pth").write_bytes(pickle.dumps({"a": Bomb()}))
    with pytest.raises(WeightsError, match=r"is a pickle that only.*torch\.save\(model\.state"):
        read_tensors(tmp_path / "w.pth")
    assert "ran code" not in capsys.readouterr().out


def test_tensors_in_an_unknown_place_are_pointed_at(tmp_path):
    torch.save({"epoch": 3, "net": {"a": torch.zeros(1)}}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"holds a dict of epoch, net \(some lie below net: "):
        read_tensors(tmp_path / "w.pth")


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_files_of_older_torch_are_read(wrapper, tmp_path):
    """The published checkpoints were written before torch's zip format."""
    tensors = {"a": torch.arange(3.0)}
    content = tensors if wrapper is None else {wrapper: tensors, "epoch": 3}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(read_tensors(tmp_path / "w.pth")["a"], tensors["a"])


@pytest.mark.parametrize("content", ["code", "text", "truncated", "list"])
def test_what_is_no_file_of_tensors_is_refused(content, tmp_path, capsys):
    path = tmp_path / "w.pth"
    if content == "code":
        path.write_bytes(pickle.dumps({"a": Bomb()}))
    elif content == "text":
        path.write_text("<html>not found</html>")
    elif content == "truncated":
        torch.save({"a": torch.zeros(1000)}, path)
        path.write_bytes(path.read_bytes()[:700])
    else:
        torch.save([1, 2], path)
    with pytest.raises(WeightsError, match=r"w\.pth"):
        read_tensors(path)
    assert "ran code" not in capsys.readouterr().out


def test_missing_files_are_named(tmp_path):
    with pytest.raises(WeightsError, match="no weight file at"):
        read_tensors(tmp_path / "absent.pth")
    with pytest.raises(WeightsError, match="no model file at"):
        weights.load_segmenter(tmp_path)


def test_a_safetensors_file_of_others_is_refused(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="does not say which network"):
        weights.load_segmenter(tmp_path)


def test_a_model_whose_tensors_do_not_fit_its_classes_is_refused(segmenter, tmp_path):
    three = ClassSet("three", ("a", "b", "c"), ((0, 0, 0), (9, 9, 9), (99, 9, 9)), {})
    segmenter.classes = three
    weights.save_model(segmenter, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="does not fit the architecture that it names"):
        weights.load_segmenter(tmp_path)


def test_a_flipped_bit_is_noticed_wherever_it_lies(segmenter, tmp_path):
    path, damaged = tmp_path / "model.safetensors", tmp_path / "damaged.safetensors"
    weights.save_model(segmenter, path)
    whole, spoilt = path.read_bytes(), bytearray(path.read_bytes())
    header = 8 + int.from_bytes(whole[:8], "little")
    places = [*range(8), *range(8, header, 31), *range(header, len(whole), len(whole) // 40)]
    random = np.random.default_rng(0)
    for place in places:
        spoilt[place] ^= 1 << int(random.integers(8))
        damaged.write_bytes(spoilt)
        spoilt[place] = whole[place]
        with pytest.raises(WeightsError, match=r"damaged\.safetensors"):
            weights.load_segmenter(damaged)
    assert len(places) > 150
    damaged.write_bytes(spoilt)
    weights.load_segmenter(damaged)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_weights_that_are_not_finite_are_refused(suffix, tmp_path):
    path, tensors = (
        tmp_path / f"w.{suffix}",
        {"a": torch.ones(3), "b": torch.tensor([1, torch.inf])},
    )
    (save_file if suffix == "safetensors" else torch.save)(tensors, path)
    with pytest.raises(WeightsError, match=r"w\.\w+ holds NaN or infinite values in b"):
        read_tensors(path)


def test_tensors_of_another_type_are_refused(segmenter, tmp_path):
    path = tmp_path / "model.safetensors"
    weights.save_model(segmenter.half(), path)
    with pytest.raises(WeightsError, match=r"is torch\.float16, expected torch\.float32"):
        weights.load_segmenter(path)


def test_members_of_others_archives_are_checked(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"a": torch.zeros(1000)}, path)
    content = bytearray(path.read_bytes())
    content[content.index(bytes(2000)) + 1000] ^= 4
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"the checksum of its member w/data/0 does not hold"):
        read_tensors(path)


def test_files_without_checksums_load_with_a_word(segmenter, tmp_path):
    path = tmp_path / "model.safetensors"
    weights.save_model(segmenter, path)
    assert unverified(path) == ""
    about = weights.read_about(path)
    former = {k: v for k, v in about.items() if k != SHA256} | {"format": 1}
    save_file(segmenter.state_dict(), path, metadata={"clan": json.dumps(former)})
    assert weights.load_segmenter(path).classes == CITYSCAPES
    assert "no checksum" in unverified(path)
    torch.save({"a": torch.zeros(1)}, tmp_path / "zip.pth")
    torch.save({"a": torch.zeros(1)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert unverified(tmp_path / "zip.pth") == ""
    assert "no checksum" in unverified(tmp_path / "old.pth")
    # a checksum that was cut out of a file that must have one
    save_file(segmenter.state_dict(), path, metadata={"clan": json.dumps(former | {"format": 2})})
    with pytest.raises(WeightsError, match="names no checksum"):
        weights.load_segmenter(path)


def test_a_model_file_is_on_the_disk_before_it_has_its_name(segmenter, tmp_path, monkeypatch):
    done, fsync, replace = [], os.fsync, os.replace

    def flush(descriptor):
        done.append(f"flush {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")
        fsync(descriptor)

    def rename(old, new):
        done.append(f"name {Path(new).name}")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "replace", rename)
    weights.save_model(segmenter, tmp_path / "model.safetensors")
    part, name, folder = done
    assert part == "flush model.safetensors.part"
    assert (name, folder) == ("name model.safetensors", f"flush {tmp_path.name}")
