"""Prediction at the image's own size, and folders of results that can be trusted."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from clan.core.errors import DataError, RunError, WeightsError
from clan.data.classes import ClassSet
from clan.data.images import read_label
from clan.models.segmenter import ModelOptions, Segmenter
from clan.prediction.files import find_images, left_out, predict_files
from clan.prediction.predictor import Predictor, load
from clan.weights.model_files import save_model

TRIO = ClassSet("trio", ("sky", "road", "car"), ((70, 130, 180), (128, 64, 128), (0, 0, 142)))


class Painter(nn.Module):
    """A segmenter that reads the class off the red channel: 100 * class."""

    def __init__(self, evaluation_size: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.classes = TRIO
        self.evaluation_size, self.evaluation_protocol = evaluation_size, "own"
        self.seen: list[tuple[int, ...]] = []

    def forward(self, image: Tensor) -> tuple[Tensor]:
        assert image.dtype == torch.uint8
        assert not self.training
        self.seen.append(tuple(image.shape))
        centres = torch.arange(3).view(1, 3, 1, 1) * 100.0
        return (-(image[:, :1].float() - centres).abs() / 10,)

    def ensemble(self, logits: tuple[Tensor, ...]) -> Tensor:
        return logits[0]


def scene(height: int = 12, width: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Return an image with three vertical stripes and the label that `Painter` sees in it."""
    label = np.repeat((np.arange(width) * 3 // width)[None], height, axis=0).astype(np.uint8)
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = label * 100
    return image, label


def write_scenes(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene()[0]).save(root / name)


def test_paths_pictures_and_arrays_give_the_same(tmp_path: Path) -> None:
    image, label = scene()
    write_scenes(tmp_path, "a.png")
    predictor = Predictor(Painter())
    for given in (tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(image), image):
        predicted = predictor.predict(given)
        assert predicted.dtype == np.uint8
        assert np.array_equal(predicted, label)
    rgba = Image.fromarray(image).convert("RGBA")
    assert np.array_equal(predictor.predict(rgba), label)
    assert np.array_equal(predictor.predict(image[:, ::-1]), label[:, ::-1])
    assert predictor.classes == TRIO


def test_the_network_sees_its_size_and_the_user_gets_the_image_size() -> None:
    image, label = scene(60, 90)
    painter = Painter(evaluation_size=(20, 30))
    predicted = Predictor(painter).predict(image)
    assert painter.seen == [(1, 3, 20, 30)]
    assert predicted.shape == (60, 90)
    assert (predicted == label).mean() > 0.95


def test_probabilities_sum_to_one_and_agree_with_the_labels() -> None:
    image, _ = scene(30, 50)
    predictor = Predictor(Painter(evaluation_size=(17, 23)))
    p = predictor.probabilities(image)
    assert p.shape == (3, 30, 50)
    assert p.dtype == np.float32
    assert p.sum(0) == pytest.approx(np.ones((30, 50)), abs=1e-5)
    assert np.array_equal(p.argmax(0), predictor.predict(image))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((3, 4, 4), np.uint8),
        np.full((4, 4, 3), 2, np.float32),
        np.full((4, 4, 3), np.nan, np.float32),
        np.zeros((4, 4, 3), np.int64),
        np.zeros((0, 4, 3), np.uint8),
        [[1, 2]],
    ],
)
def test_arrays_of_another_form_are_refused(image: object) -> None:
    with pytest.raises(DataError, match=r"uint8 \(H, W, 3\) RGB.*; found"):
        Predictor(Painter()).predict(image)


def test_load_reads_runs_and_files(tmp_path: Path) -> None:
    torch.manual_seed(0)
    options = ModelOptions(encoder="resnet18", width=4, output_stride=32, aspp_rates=(1,))
    segmenter = Segmenter(options, TRIO, (32, 32)).eval()
    save_model(segmenter, tmp_path / "model.safetensors")
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    with torch.inference_mode():
        logits = segmenter(torch.from_numpy(image).permute(2, 0, 1)[None])
        expected = segmenter.ensemble(logits).argmax(1)[0]
    for path in (tmp_path, tmp_path / "model.safetensors"):
        assert np.array_equal(load(path, device="cpu").predict(image), expected)
    with pytest.raises(WeightsError, match="no model file"):
        load(tmp_path / "elsewhere")


def test_files_folders_and_patterns_keep_their_structure(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    write_scenes(photos, "one.png", "north/two.png", "north/deep/three.PNG")
    (photos / "notes.txt").write_text("not an image")
    write_scenes(tmp_path, "single.png", "more/x1/four.png", "more/x2/five.png", "[odd]*.png")
    given = [photos, tmp_path / "single.png", f"{tmp_path}/more/*/*.png", tmp_path / "[odd]*.png"]
    calls: list[tuple[int, int]] = []
    out = tmp_path / "out"
    written = predict_files(
        Predictor(Painter()), given, out, progress=lambda done, total: calls.append((done, total))
    )
    stems = ["north/deep/three", "north/two", "one", "single", "x1/four", "x2/five", "[odd]*"]
    assert sorted(written) == sorted(out / f"{stem}_label.png" for stem in stems)
    found = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    pairs = {f"{s}_{k}" for s in stems for k in ("label.png", "overlay.jpg")}
    assert found == pairs | {"classes.json"}
    assert calls == [(i, 7) for i in range(1, 8)]


def test_label_files_hold_classes_in_our_colours(tmp_path: Path) -> None:
    write_scenes(tmp_path / "in", "a.png")
    predict_files(Predictor(Painter()), [tmp_path / "in"], tmp_path / "out")
    path = tmp_path / "out" / "a_label.png"
    assert np.array_equal(read_label(path), scene()[1])
    with Image.open(path) as picture:
        assert picture.mode == "P"
        assert np.array_equal(np.asarray(picture.convert("RGB")), TRIO.colorize(scene()[1]))


def test_overlays_show_the_blend_above_a_legend(tmp_path: Path) -> None:
    image, label = scene(120, 300)
    Image.fromarray(image).save(tmp_path / "a.png")
    predict_files(Predictor(Painter()), [tmp_path / "a.png"], tmp_path / "out")
    picture = np.asarray(Image.open(tmp_path / "out" / "a_overlay.jpg")).astype(int)
    assert picture.shape[0] > 120
    assert picture.shape[1] == 300
    blend = (image + TRIO.colorize(label).astype(int)) / 2
    inner = np.abs(picture[:100] - blend[:100])
    assert np.median(inner) < 4
    assert (picture[122:] > 240).mean() > 0.5


def test_unreadable_images_are_reported_together_after_the_others(tmp_path: Path) -> None:
    write_scenes(tmp_path / "in", "a.png", "c.png", "e.png")
    (tmp_path / "in" / "b.png").write_bytes(b"no image")
    (tmp_path / "in" / "d.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"2 of 5 images .* the other 3") as caught:
        predict_files(Predictor(Painter()), [tmp_path / "in"], tmp_path / "out")
    assert "b.png" in str(caught.value)
    assert "d.jpg" in str(caught.value)
    labels = sorted(p.name for p in (tmp_path / "out").glob("*_label.png"))
    assert labels == ["a_label.png", "c_label.png", "e_label.png"]


def test_results_of_one_name_are_refused_before_any_is_written(tmp_path: Path) -> None:
    write_scenes(tmp_path, "x/a.png", "y/a.png")
    with pytest.raises(DataError, match=r"x/a\.png and .*y/a\.png"):
        predict_files(Predictor(Painter()), [tmp_path / "x", tmp_path / "y"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_same_file_named_twice_is_done_once(tmp_path: Path) -> None:
    write_scenes(tmp_path, "x/a.png")
    assert len(find_images([tmp_path / "x", tmp_path / "x" / "a.png"])) == 1


def test_existing_results_are_kept_unless_overwriting(tmp_path: Path) -> None:
    write_scenes(tmp_path / "in", "a.png")
    out = tmp_path / "in" / "out"
    predictor = Predictor(Painter())
    assert len(predict_files(predictor, [tmp_path / "in"], out)) == 1
    with pytest.raises(RunError, match="not empty"):
        predict_files(predictor, [tmp_path / "in"], out)
    # earlier results below the images are not taken for images
    assert len(predict_files(predictor, [tmp_path / "in"], out, overwrite=True)) == 1
    with pytest.raises(RunError, match="is a file"):
        predict_files(predictor, [tmp_path / "in"], tmp_path / "in" / "a.png")
    with pytest.raises(RunError, match="mix with the images"):
        predict_files(predictor, [tmp_path / "in"], tmp_path, overwrite=True)


def test_nothing_to_predict_says_where_it_looked(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for given in ("empty", "*.png"):
        with pytest.raises(DataError, match="no image found there"):
            find_images([tmp_path / given])
    with pytest.raises(DataError, match="no such file or folder"):
        find_images([tmp_path / "missing"])
    with pytest.raises(DataError, match="no image to predict"):
        find_images([])


@pytest.mark.parametrize("tile", [None, 128])
def test_results_that_cannot_be_written_stop_no_others(tmp_path: Path, tile: int | None) -> None:
    """A name that is too long, a file where a folder and a folder where a file would stand."""
    long = "n" * 250
    write_scenes(tmp_path / "in", "a.png", "b/c.png", "d.png", f"{long}.png", "z.png")
    (tmp_path / "in" / "e.png").write_bytes(b"no image")
    out = tmp_path / "out"
    (out / "d_label.png").mkdir(parents=True)
    (out / "b").write_text("in the way")
    with pytest.raises(DataError, match=r"4 of 6 images .* the other 2 are in .*out") as caught:
        predict_files(Predictor(Painter()), [tmp_path / "in"], out, overwrite=True, tile=tile)
    said = str(caught.value).splitlines()[1:]
    assert len(said) == 4
    for name, why in (
        ("b/c.png", "Not a directory|File exists"),
        ("d.png", "Is a directory"),
        ("e.png", "no image|cannot be read|not an image"),
        (f"{long}.png", "File name too long"),
    ):
        (line,) = [line for line in said if f"in/{name}: " in line]
        assert re.search(why, line), line
    written = sorted(p.name for p in out.iterdir() if p.is_file())
    results = [f"{n}_{kind}" for n in "az" for kind in ("label.png", "overlay.jpg")]
    assert written == sorted([*results, "b", "classes.json"])


def test_a_full_disk_ends_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_scenes(tmp_path / "in", "a.png", "b.png", "c.png", "d.png")
    replace = os.replace

    def full(old: Path, new: Path) -> None:
        if new.name >= "b":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(old, new)

    painter = Painter()
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(os, "replace", full)
    monkeypatch.setattr("clan.prediction.files.write_classes", lambda *_: None)
    with pytest.raises(RunError, match=r"b_label.png: No space left.*; 1 of 4 images are done"):
        predict_files(Predictor(painter), [tmp_path / "in"], tmp_path / "out")
    assert len(painter.seen) == 3


def test_what_a_folder_holds_besides_images_is_counted(tmp_path: Path) -> None:
    write_scenes(tmp_path, "photos/a.png", "photos/b/c.jpg", "other/d.png")
    for name in ("photos/x.heic", "photos/b/y.heic", "photos/._a.png", "photos/notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    (said,) = left_out([tmp_path / "photos", str(tmp_path / "other"), tmp_path / "photos/a.png"])
    assert said.startswith(f"{tmp_path / 'photos'}: left out: 2 .heic (cannot be read: convert")
    assert said.endswith("1 .txt, 1 hidden (a dot in front)")
