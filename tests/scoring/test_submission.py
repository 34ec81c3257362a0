"""Submissions: scored by the official script, they give the scores that we print."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from clan.cli import app
from clan.core.console import Console
from clan.core.errors import ConfigError, DataError, RunError
from clan.data.classes import CITYSCAPES, CITYSCAPES_IDS, ClassSet
from clan.figures.confusion import draw_confusion, row_shares, subtitle
from clan.models.segmenter import ModelOptions, Segmenter
from clan.prediction.evaluate import evaluate
from clan.prediction.files import predict_files
from clan.prediction.predictor import Predictor
from clan.scoring.evaluation_file import read_evaluation
from clan.scoring.metrics import Scores
from clan.scoring.protocol import Protocol
from clan.scoring.rendering import score_table
from clan.scoring.submission import Submission, frame_name, label_id_table
from clan.weights.model_files import load_segmenter, save_model

TRIO = ClassSet("trio", ("sky", "road", "car"), ((70, 130, 180), (128, 64, 128), (0, 0, 142)))
FRAMES = ("ulm_000000_000019", "bad-honnef_000001_000019")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    options = ModelOptions(encoder="resnet18", width=4, output_stride=8, aspp_rates=(1,))
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(Segmenter(options, CITYSCAPES, (32, 64)), path)
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cityscapes' layout; the labels hold ignored regions and not every class."""
    folder = tmp_path_factory.mktemp("cityscapes")
    rng = np.random.default_rng(0)
    values = [0, 1, 3, 4, 7, 8, 11, 13, 17, 19, 21, 23, 24, 26, 29, 33]
    for frame in FRAMES:
        for kind, split in (("image", "val"), ("label", "val"), ("image", "test")):
            city = frame.split("_")[0]
            if kind == "image":
                path = folder / f"leftImg8bit/{split}/{city}/{frame}_leftImg8bit.png"
                array = rng.integers(0, 256, (64, 128, 3), dtype=np.uint8)
            else:
                path = folder / f"gtFine/{split}/{city}/{frame}_gtFine_labelIds.png"
                array = np.repeat(rng.choice(np.array(values, np.uint8), (8, 128)), 8, axis=0)
                array[:20] = 3
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path)
    return folder


def official(predictions: Path, truths: list[Path]) -> tuple[dict, str]:
    """Run the official evaluation over its own search for predictions; results and print-out."""
    script = pytest.importorskip("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    args = SimpleNamespace(**vars(script.args))
    args.evalInstLevelScore = args.JSONOutput = args.colorized = False
    args.bold = args.nocol = ""
    args.predictionPath, args.predictionWalk = str(predictions), None
    found = [script.getPrediction(args, str(truth)) for truth in truths]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        results = script.evaluateImgLists(found, [str(truth) for truth in truths], args)
    return results, printed.getvalue()


def assert_same(scores: Scores, results: dict, printed: str) -> None:
    for name in CITYSCAPES.names:
        assert scores.iou[name] == pytest.approx(results["classScores"][name], abs=0, nan_ok=True)
        shown = re.search(rf"^{name}\s*:\s+(\S+)", printed, re.MULTILINE)
        assert shown is not None
        assert shown.group(1) == f"{scores.iou[name]:5.3f}".strip()
    assert scores.miou() == pytest.approx(results["averageScoreClasses"], abs=1e-12)
    assert f"Score Average : {scores.miou():5.3f}" in printed


@pytest.mark.parametrize("protocol", [Protocol(), Protocol(align_corners=True, flip=True)])
def test_the_official_script_scores_a_submission_alike(
    model: Path, root: Path, tmp_path: Path, protocol: Protocol
) -> None:
    scores = evaluate(
        model,
        dataset="cityscapes",
        root=root,
        device="cpu",
        protocol=protocol,
        submit=tmp_path / "out",
        out=tmp_path / "scores.json",
    ).scores
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == sorted(f"{frame}_labelIds.png" for frame in FRAMES)
    truths = sorted(root.glob("gtFine/val/*/*_labelIds.png"))
    assert_same(scores, *official(tmp_path / "out", truths))
    assert scores.absent
    expected = protocol.model_copy(update={"size": (32, 64)})
    assert read_evaluation(tmp_path / "scores.json").protocol == scores.protocol == expected


def test_the_official_script_agrees_on_the_real_files(
    model: Path, shared_data: Path, tmp_path: Path
) -> None:
    sample = shared_data / "cityscapes-sample"
    scores = evaluate(
        model,
        dataset="cityscapes",
        root=sample,
        split="train",
        device="cpu",
        submit=tmp_path / "out",
    ).scores
    truths = sorted(sample.glob("gtFine/train/*/*_labelIds.png"))
    assert scores.images == len(truths) > 0
    results, printed = official(tmp_path / "out", truths)
    assert_same(scores, results, printed)
    for path in (tmp_path / "out").iterdir():
        with Image.open(path) as picture:
            assert picture.size == (2048, 1024)


def test_a_split_without_labels_is_submitted_unscored(
    model: Path, root: Path, tmp_path: Path
) -> None:
    options = {"dataset": "cityscapes", "root": root, "split": "test", "device": "cpu"}
    scores = evaluate(model, submit=tmp_path / "out", **options).scores
    assert scores.images == 2
    assert not scores.confusion.any()
    console = Console(record=True, file=io.StringIO(), width=100)
    console.print(score_table(scores))
    assert "not scored: they have no labels" in console.export_text()
    predictor = Predictor(load_segmenter(model), "cpu")
    image = next(root.glob("leftImg8bit/test/ulm/*.png"))
    written = np.asarray(Image.open(tmp_path / "out" / f"{FRAMES[0]}_labelIds.png"))
    assert np.array_equal(written, label_id_table(CITYSCAPES)[predictor.predict(image)])
    with pytest.raises(DataError, match="no labels"):
        evaluate(model, submit=tmp_path / "b", out=tmp_path / "b.json", **options)


def test_a_prediction_that_cannot_be_written_stops_no_others(
    model: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scores are printed and written; then the files are named, and the exit code is not 0."""
    replace_file = os.replace

    def in_the_way(old: Path, new: Path) -> None:
        if new.name.startswith(FRAMES[0]):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        replace_file(old, new)

    monkeypatch.setattr(os, "replace", in_the_way)
    arguments = ["evaluate", str(model), "--dataset", "cityscapes", "--root", str(root)]
    for split in ("val", "test"):
        out = tmp_path / split
        result = CliRunner().invoke(
            app, [*arguments, "--split", split, "--submit", str(out), "--device", "cpu"]
        )
        assert result.exit_code != 0
        assert isinstance(result.exception, DataError)
        said = str(result.exception).splitlines()
        assert re.search(r"1 of 2 images .* the other 1 are in", said[0]), said
        assert re.search(f"{FRAMES[0]}_leftImg8bit.png: .*Is a directory", said[1]), said
        assert [path.name for path in out.iterdir()] == [f"{FRAMES[1]}_labelIds.png"]
        assert ("mIoU" if split == "val" else "not scored") in result.output


def test_a_full_disk_ends_a_submission(
    model: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(RunError, match=r"No space left.*; 0 of 2 images are done. Free space"):
        evaluate(model, dataset="cityscapes", root=root, device="cpu", submit=tmp_path / "out")


def test_predict_writes_the_same_files(model: Path, root: Path, tmp_path: Path) -> None:
    predictor = Predictor(load_segmenter(model), "cpu")
    folder = root / "leftImg8bit/val"
    written = predict_files(predictor, [folder], tmp_path / "p", style="cityscapes")
    options = {"dataset": "cityscapes", "root": root, "device": "cpu"}
    evaluate(model, submit=tmp_path / "e", **options)
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == sorted(
        path.name for path in (tmp_path / "e").iterdir()
    )
    for path in written:
        assert np.array_equal(
            np.asarray(Image.open(path)), np.asarray(Image.open(tmp_path / "e" / path.name))
        )
    arguments = ["predict", str(model), str(folder), "--out", str(tmp_path / "cli")]
    result = CliRunner().invoke(app, [*arguments, "--format", "cityscapes", "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert {p.name for p in (tmp_path / "cli").iterdir()} == {p.name for p in written}
    with pytest.raises(ConfigError, match="'cityscapes'"):
        predict_files(predictor, [folder], tmp_path / "q", style="cityscape")


def test_ids_are_official_and_palette_shows_the_colours(tmp_path: Path) -> None:
    table = label_id_table(CITYSCAPES)
    assert [CITYSCAPES_IDS[int(raw)] for raw in table[:19]] == list(CITYSCAPES.names)
    assert table[255] == 0
    every = np.arange(19, dtype=np.uint8)[None]
    path = Submission(tmp_path / "out", CITYSCAPES, 2).write(Path(f"{FRAMES[0]}.png"), every)
    with Image.open(path) as picture:
        assert picture.mode == "P"
        assert np.array_equal(np.asarray(picture.convert("RGB")), CITYSCAPES.colorize(every))


def test_what_the_server_would_refuse_is_refused(tmp_path: Path) -> None:
    for name in ("ulm_19_leftImg8bit.png", "photo.png", "ulm_000000_000019x.png"):
        with pytest.raises(DataError, match="not named like an image of Cityscapes"):
            frame_name(Path(name))
    mine = ClassSet("mine", ("sky", "kerb"), ((0, 0, 0), (1, 1, 1)))
    with pytest.raises(ConfigError, match="kerb"):
        Submission(tmp_path / "a", mine, 2)
    submission = Submission(tmp_path / "b", TRIO, 2)
    label = np.zeros((2, 2), np.uint8)
    submission.write(Path(f"x/{FRAMES[0]}_leftImg8bit.png"), label)
    with pytest.raises(DataError, match="exists already"):
        submission.write(Path(f"y/{FRAMES[0]}_leftImg8bit.png"), label)
    with pytest.raises(RunError, match="not empty"):
        Submission(tmp_path / "b", TRIO, 2)


def test_the_command_line_passes_every_option(model: Path, root: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", str(model), "--dataset", "cityscapes", "--root", str(root)]
    arguments += ["--protocol", "own", "--align-corners", "--flip", "--scales", "0.5,1"]
    arguments += ["--submit", str(tmp_path / "s"), "--confusion", str(tmp_path / "c.png")]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "e.json")])
    assert result.exit_code == 0, result.output
    assert "flip testing + multi-scale" in " ".join(result.output.split())
    protocol = read_evaluation(tmp_path / "e.json").protocol
    assert protocol == Protocol(size=(32, 64), align_corners=True, flip=True, scales=(0.5, 1.0))
    assert len(list((tmp_path / "s").iterdir())) == 2
    with Image.open(tmp_path / "c.png") as picture:
        assert min(picture.size) > 1000
    with pytest.raises(ConfigError, match="'paper'"):
        CliRunner().invoke(app, [*arguments[:6], "--protocol", "papr"], catch_exceptions=False)


def test_confusion_pictures(tmp_path: Path) -> None:
    scores = Scores(TRIO, np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]), images=1)
    assert subtitle(scores) == "3 classes, 1 images, mIoU 77.5"
    tested = replace(scores, protocol=Protocol(size=(8, 16), flip=True, scales=(0.5, 1.0)))
    assert subtitle(tested).endswith("+ flip testing + multi-scale testing 0.5/1")
    shares = row_shares(scores.confusion)
    assert shares[0].tolist() == [75, 25, 0]
    assert np.isnan(shares[2]).all()
    for name in ("a.png", "deep/a.svg"):
        draw_confusion(scores, tmp_path / name, "title")
        assert (tmp_path / name).stat().st_size > 1000
    with pytest.raises(RunError, match="suffix"):
        draw_confusion(scores, tmp_path / "a.bmp", "title")
    # before anything else is looked at: scoring takes long
    arguments = ["evaluate", str(tmp_path / "no-such-model"), "--confusion", "a.bmp"]
    result = CliRunner().invoke(app, arguments)
    assert "suffix" in str(result.exception)
    empty = Scores(TRIO, np.zeros((3, 3), np.int64), images=0)
    with pytest.raises(RunError, match="no labelled pixel"):
        draw_confusion(empty, tmp_path / "b.png", "title")
