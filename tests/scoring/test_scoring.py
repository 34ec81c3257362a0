"""Scores against the official Cityscapes evaluation, closed forms and files that lie."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from lightning.fabric import Fabric
from PIL import Image
from rich.console import Console
from torch import Tensor, nn
from torchmetrics.functional.classification import multiclass_confusion_matrix
from typer.testing import CliRunner

from clan.cli import app
from clan.core.errors import ConfigError, DataError, RunError
from clan.data.classes import CITYSCAPES, CITYSCAPES_IDS, IGNORE, ClassSet
from clan.data.datasets import Dataset, open_dataset
from clan.data.loading import evaluation_loader
from clan.models.segmenter import ModelOptions, Segmenter
from clan.prediction.evaluate import evaluate
from clan.scoring import confusion
from clan.scoring.confusion import Confusion
from clan.scoring.evaluation_file import Evaluation, read_evaluation, write_evaluation
from clan.scoring.inference import evaluating, pick_device, upsampled_argmax
from clan.scoring.metrics import Scores
from clan.scoring.protocol import Protocol, choose_protocol
from clan.scoring.rendering import score_notes, score_table
from clan.scoring.score import score
from clan.weights.model_files import save_model

TRIO = ClassSet(
    "trio",
    ("sky", "road", "car"),
    ((70, 130, 180), (128, 64, 128), (0, 0, 142)),
    {"duo": ("sky", "road")},
)
IDS = {name: raw for raw, name in CITYSCAPES_IDS.items() if name != "ignore"}
ABOUT = {
    "name": "clan",
    "seed": 3,
    "step": 600,
    "checkpoint": "last",
    "dataset": "town",
    "split": "val",
    "size": (128, 256),
    "ensemble": "logits",
}


class Painter(nn.Module):
    """A segmenter that reads the class off the red channel: 10 * class."""

    def __init__(self, classes: ClassSet) -> None:
        super().__init__()
        self.classes = classes
        self.evaluation_size = None
        self.norm = nn.BatchNorm2d(3)
        self.frozen = nn.BatchNorm2d(3).eval()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        assert not self.training
        assert not torch.is_grad_enabled()
        red = image[:, :1].float()
        centres = torch.arange(len(self.classes)).view(1, -1, 1, 1) * 10.0
        logits = -(red - centres).abs()
        return logits, 2 * logits

    def ensemble(self, logits: tuple[Tensor, ...]) -> Tensor:
        return sum(logits)


def write_pairs(
    root: Path,
    predictions: list[np.ndarray],
    labels: list[np.ndarray],
    classes: ClassSet = TRIO,
    label_map: object = "identity",
) -> Dataset:
    """Write a data set on which `Painter` predicts ``predictions``."""
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for number, (prediction, label) in enumerate(zip(predictions, labels, strict=True)):
        image = np.zeros((*prediction.shape, 3), np.uint8)
        image[..., 0] = prediction * 10
        Image.fromarray(image).save(root / f"images/{number}.png")
        Image.fromarray(label).save(root / f"labels/{number}.png")
    inline = {
        "name": classes.name,
        "classes": {n: list(c) for n, c in zip(classes.names, classes.colors, strict=True)},
        "subsets": {name: list(members) for name, members in classes.subsets.items()},
    }
    description = {
        "name": "pairs",
        "classes": "cityscapes" if classes is CITYSCAPES else inline,
        "splits": {"val": {"images": "images/*.png", "labels": "labels/*.png"}},
        "labels": {"map": label_map},
    }
    (root / "pairs.yaml").write_text(yaml.safe_dump(description, sort_keys=False))
    return open_dataset(str(root / "pairs.yaml"), split="val")


def random_maps(rng: np.random.Generator, values: list[int], count: int = 3) -> list[np.ndarray]:
    return [rng.choice(np.array(values, np.uint8), (23, 31)) for _ in range(count)]


def test_equals_the_official_cityscapes_evaluation(tmp_path: Path) -> None:
    official = pytest.importorskip("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    rng = np.random.default_rng(0)
    # "train" is absent from truth and prediction, "bus" is predicted but absent from the truth
    seen = [i for i, name in enumerate(CITYSCAPES.names) if name != "train"]
    trained = [raw for name, raw in IDS.items() if name not in ("train", "bus")]
    predictions = random_maps(rng, seen)
    truths = random_maps(rng, [*trained, 0, 3, 29])

    args = SimpleNamespace(evalLabels=[], evalInstLevelScore=False, evalPixelAccuracy=False)
    matrix = official.generateMatrix(args)
    to_id = np.array([IDS[name] for name in CITYSCAPES.names], np.uint8)
    for prediction, truth in zip(predictions, truths, strict=True):
        Image.fromarray(to_id[prediction]).save(tmp_path / "prediction.png")
        Image.fromarray(truth).save(tmp_path / "truth.png")
        files = str(tmp_path / "prediction.png"), str(tmp_path / "truth.png")
        official.evaluatePair(*files, matrix, {}, {}, args)
    expected = {n: official.getIouScoreForLabel(IDS[n], matrix, args) for n in CITYSCAPES.names}

    data = write_pairs(tmp_path / "set", predictions, truths, CITYSCAPES, "cityscapes-ids")
    scores = score(Painter(CITYSCAPES), data, size=None)

    assert scores.images == 3
    assert scores.iou == pytest.approx(expected, nan_ok=True, abs=0)
    assert math.isnan(scores.iou["train"])
    assert scores.iou["bus"] == 0
    assert scores.miou() == pytest.approx(official.getScoreAverage(expected, args), abs=1e-12)
    thirteen = {name: expected[name] for name in CITYSCAPES.subsets["cityscapes-13"]}
    official_mean = official.getScoreAverage(thirteen, args)
    assert scores.miou("cityscapes-13") == pytest.approx(official_mean, abs=1e-12)


def test_closed_form() -> None:
    confusion = np.array([[6, 2, 0], [1, 3, 0], [0, 0, 0]])
    scores = Scores(TRIO, confusion, images=1)
    assert scores.iou["sky"] == 6 / 9
    assert scores.iou["road"] == 3 / 6
    assert math.isnan(scores.iou["car"])
    assert scores.miou() == scores.miou("trio") == scores.miou("duo") == (6 / 9 + 3 / 6) / 2
    assert scores.pixel_accuracy == 9 / 12
    assert scores.absent == ("car",)


def test_a_class_predicted_but_absent_from_the_truth_counts_as_zero() -> None:
    scores = Scores(TRIO, np.array([[4, 0, 1], [0, 5, 0], [0, 0, 0]]), images=1)
    assert scores.iou["car"] == 0
    assert scores.miou() == pytest.approx((4 / 5 + 1 + 0) / 3)
    assert scores.miou("duo") == pytest.approx((4 / 5 + 1) / 2)


def test_nothing_counted_is_nan_not_zero() -> None:
    scores = Scores(TRIO, np.zeros((3, 3), np.int64), images=0)
    assert math.isnan(scores.miou())
    assert math.isnan(scores.pixel_accuracy)


def test_unknown_subset_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="'duo'"):
        Scores(TRIO, np.eye(3, dtype=np.int64), images=1).miou("dua")


def test_confusion_equals_torchmetrics_and_adds_up() -> None:
    rng = torch.Generator().manual_seed(0)
    counter, expected = Confusion(5), torch.zeros(5, 5, dtype=torch.int64)
    for _ in range(4):
        truth = torch.randint(0, 6, (2, 9, 11), generator=rng)
        truth[truth == 5] = IGNORE
        prediction = torch.randint(0, 5, (2, 9, 11), generator=rng)
        counter.update(prediction.to(torch.uint8), truth.to(torch.uint8))
        expected += multiclass_confusion_matrix(
            prediction, truth, num_classes=5, ignore_index=IGNORE
        )
    assert np.array_equal(counter.matrix(), expected.numpy())
    assert counter.matrix().dtype == np.int64


def test_rows_are_the_truth() -> None:
    counter = Confusion(3)
    counter.update(torch.tensor([[2, 2]]), torch.tensor([[0, 0]]))
    assert counter.matrix()[0, 2] == 2


@pytest.mark.parametrize("value", [3, 200, 254])
def test_labels_outside_the_class_set_are_refused(value: int) -> None:
    counter = Confusion(3)
    counter.update(torch.zeros(1, 4, dtype=torch.uint8), torch.full((1, 4), value).byte())
    with pytest.raises(DataError, match=r"4 label pixels .* 0\.\.2 nor 255"):
        counter.matrix()


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", [(40, 60), (17, 90), (8, 12), (5, 5)])
def test_upsampled_argmax_is_interpolate_and_argmax(
    size: tuple[int, int], align_corners: bool
) -> None:
    logits = torch.randn(2, 6, 8, 12, generator=torch.Generator().manual_seed(1))
    full = F.interpolate(logits, size=size, mode="bilinear", align_corners=align_corners)
    label = upsampled_argmax(logits, size, align_corners)
    assert label.dtype == torch.uint8
    assert torch.equal(label.long(), full.argmax(1))


def test_upsampled_argmax_breaks_ties_like_argmax_and_leaves_logits_alone() -> None:
    logits = torch.zeros(1, 4, 3, 3)
    logits[:, 1:3] = 5.0
    before = logits.clone()
    assert (upsampled_argmax(logits, (3, 3)) == 1).all()
    assert torch.equal(logits, before)


def test_counts_at_the_full_resolution_of_the_label(tmp_path: Path) -> None:
    halves = np.repeat(np.array([[0] * 8 + [1] * 8], np.uint8), 12, axis=0)
    data = write_pairs(tmp_path, [halves], [halves])
    scores = score(Painter(TRIO), data, size=(3, 4))
    assert scores.confusion.sum() == halves.size
    assert scores.pixel_accuracy > 0.9


def test_score_gives_every_part_its_mode_back(tmp_path: Path) -> None:
    painter = Painter(TRIO).train()
    painter.frozen.eval()
    label = np.zeros((4, 4), np.uint8)
    score(painter, write_pairs(tmp_path, [label], [label]), size=None)
    assert painter.training
    assert painter.norm.training
    assert not painter.frozen.training


def test_modes_come_back_after_an_error() -> None:
    painter = Painter(TRIO).train()
    with pytest.raises(KeyError), evaluating(painter):
        raise KeyError
    assert painter.training
    assert torch.is_grad_enabled()


def test_fabric_set_up_scores_alike(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    maps = random_maps(rng, [0, 1, 2]), random_maps(rng, [0, 1, 2, IGNORE])
    data = write_pairs(tmp_path, *maps)
    fabric = Fabric(accelerator="cpu", devices=1)
    seen: list[tuple[int, int]] = []
    alone = score(
        Painter(TRIO), data, size=None, progress=lambda done, total: seen.append((done, total))
    )
    wrapped = score(fabric.setup_module(Painter(TRIO)), data, size=None, fabric=fabric)
    assert np.array_equal(alone.confusion, wrapped.confusion)
    assert seen == [(1, 3), (2, 3), (3, 3)]


def _score_in_processes(fabric: Fabric, root: str, out: str) -> None:
    torch.set_num_threads(1)  # a forked process cannot use its parent's thread pool
    data = open_dataset(f"{root}/pairs.yaml", split="val")
    scores = score(fabric.setup_module(Painter(TRIO)), data, size=None, fabric=fabric)
    Path(out, f"{fabric.global_rank}.json").write_text(json.dumps(scores.to_dict()))


def test_two_processes_sum_to_the_counts_of_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    data = write_pairs(
        tmp_path / "set", random_maps(rng, [0, 1, 2]), random_maps(rng, [0, 1, 2, IGNORE])
    )
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp_fork")
    fabric.launch(_score_in_processes, str(tmp_path / "set"), str(tmp_path))
    alone = score(Painter(TRIO), data, size=None)
    for rank in (0, 1):
        scores = Scores.from_dict(json.loads((tmp_path / f"{rank}.json").read_text()))
        assert np.array_equal(scores.confusion, alone.confusion)
        assert scores.images == 3


def test_a_process_without_images_counts_nothing(tmp_path: Path) -> None:
    """One image on two processes: the second one has none."""
    label = np.array([[0, 1], [2, 2]], np.uint8)
    write_pairs(tmp_path / "set", [label], [label])
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp_fork")
    fabric.launch(_score_in_processes, str(tmp_path / "set"), str(tmp_path))
    for rank in (0, 1):
        scores = Scores.from_dict(json.loads((tmp_path / f"{rank}.json").read_text()))
        assert scores.images == 1
        assert scores.confusion.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 2]]


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
@pytest.mark.parametrize("images", [1, 2, 3, 7, 8, 9])
def test_each_image_is_counted_once(tmp_path: Path, images: int, processes: int) -> None:
    label = np.zeros((2, 2), np.uint8)
    data = write_pairs(tmp_path, [label] * images, [label] * images)
    read = [
        int(batch["index"])
        for rank in range(processes)
        for batch in evaluation_loader(data, size=None, rank=rank, world_size=processes)
    ]
    assert sorted(read) == list(range(images))


def test_diverged_networks_are_not_scored(tmp_path: Path) -> None:
    class Diverged(Painter):
        def ensemble(self, logits: tuple[Tensor, ...]) -> Tensor:
            return logits[0] * math.nan

    label = np.zeros((4, 4), np.uint8)
    with pytest.raises(RunError, match=r"on 1 of 1 images of pairs \(val\).*diverged"):
        score(Diverged(TRIO), write_pairs(tmp_path, [label], [label]), size=None)


def test_other_classes_no_labels_no_images_are_refused(tmp_path: Path) -> None:
    label = np.zeros((4, 4), np.uint8)
    data = write_pairs(tmp_path, [label], [label])
    with pytest.raises(RunError, match="sky, road, car"):
        score(Painter(CITYSCAPES), data, size=None)
    unlabelled = replace(data, items=tuple(replace(item, label=None) for item in data.items))
    with pytest.raises(DataError, match="no labels"):
        score(Painter(TRIO), unlabelled, size=None)
    with pytest.raises(DataError, match="no image"):
        score(Painter(TRIO), replace(data, items=()), size=None)


def test_file_round_trip(tmp_path: Path) -> None:
    scores = Scores(TRIO, np.array([[6, 2, 0], [1, 3, 0], [0, 0, 0]]), images=7, seconds=1.25)
    write_evaluation(tmp_path / "evaluation.json", Evaluation(scores, **ABOUT))
    assert [p.name for p in tmp_path.iterdir()] == ["evaluation.json"]
    content = json.loads((tmp_path / "evaluation.json").read_text())
    assert content["iou"]["car"] is None
    assert content["miou"]["duo"] == scores.miou("duo")
    assert content["size"] == [128, 256]
    for path in (tmp_path, tmp_path / "evaluation.json"):
        read = read_evaluation(path)
        assert {key: getattr(read, key) for key in ABOUT} == ABOUT
        assert np.array_equal(read.scores.confusion, scores.confusion)
        assert read.scores.classes == TRIO
        assert (read.scores.images, read.scores.seconds) == (7, 1.25)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    scores = Scores(TRIO, np.eye(3, dtype=np.int64), images=1)
    write_evaluation(path, Evaluation(scores, **ABOUT))
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_evaluation(path, Evaluation(scores, **{**ABOUT, "name": object()}))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(RunError, match="cannot write"):
        write_evaluation(path / "below a file.json", Evaluation(scores, **ABOUT))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("seed"), "no 'seed'"),
        (lambda d: d.pop("confusion"), "lack confusion"),
        (lambda d: d.update(confusion=[[1, 2], [3, 4]]), r"\(2, 2\).*\(3, 3\)"),
        (lambda d: d.update(confusion=[[1, 2], [3]]), r"expected non-negative"),
        (lambda d: d.update(confusion=[[0.5] * 3] * 3), "float64"),
        (lambda d: d["confusion"][0].__setitem__(0, -1), "non-negative"),
        (lambda d: d.update(size=[128]), "not an evaluation"),
        (lambda d: d["classes"].pop("names"), "class set"),
    ],
)
def test_unusable_files_are_named(tmp_path: Path, change: object, message: str) -> None:
    path = tmp_path / "evaluation.json"
    write_evaluation(path, Evaluation(Scores(TRIO, np.eye(3, dtype=np.int64), images=1), **ABOUT))
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(RunError, match=message) as caught:
        read_evaluation(path)
    assert str(path) in str(caught.value)


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no evaluation at"):
        read_evaluation(tmp_path)
    (tmp_path / "evaluation.json").write_text("{")
    with pytest.raises(RunError, match="not valid JSON"):
        read_evaluation(tmp_path)
    (tmp_path / "evaluation.json").write_text("[]")
    with pytest.raises(RunError, match="not an evaluation"):
        read_evaluation(tmp_path)


def test_the_protocol_is_kept_and_old_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    protocol = Protocol(size=(128, 256), align_corners=True, flip=True, scales=(0.5, 1.0))
    scores = Scores(TRIO, np.eye(3, dtype=np.int64), images=1, protocol=protocol)
    write_evaluation(path, Evaluation(scores, **ABOUT))
    content = json.loads(path.read_text())
    assert content["protocol"]["name"] == "own"
    assert content["protocol"]["flip"] is True
    assert content["protocol"]["scales"] == [0.5, 1.0]
    assert read_evaluation(path).protocol == protocol
    content["protocol"]["flip"] = "perhaps"
    path.write_text(json.dumps(content))
    with pytest.raises(RunError, match="flip"):
        read_evaluation(path)
    for key in ("protocol", "absent"):
        del content[key]
    path.write_text(json.dumps(content))
    assert read_evaluation(path).protocol == Protocol(size=(128, 256))


def test_absent_classes_are_said() -> None:
    left_out = Scores(TRIO, np.array([[4, 0, 0], [0, 5, 0], [0, 0, 0]]), images=1)
    [note] = score_notes(left_out)
    assert note.endswith("out of the means: car.")
    zero = Scores(TRIO, np.array([[4, 0, 1], [0, 5, 0], [0, 0, 0]]), images=1, protocol=Protocol())
    assert [note.split()[-1] for note in score_notes(zero)] == ["(align_corners=false).", "car."]
    assert "so 0 in the means" in score_notes(zero)[1]
    assert left_out.to_dict()["absent"] == zero.to_dict()["absent"] == ["car"]


def test_a_protocol_excludes_a_size_of_its_own(tmp_path: Path) -> None:
    label = np.zeros((4, 4), np.uint8)
    data = write_pairs(tmp_path, [label], [label])
    with pytest.raises(ConfigError, match="either it or them"):
        score(Painter(TRIO), data, size=(4, 4), protocol=Protocol())
    scores = score(Painter(TRIO), data, protocol=Protocol(flip=True))
    assert scores.protocol == Protocol(flip=True)
    assert score(Painter(TRIO), data, size=(4, 4)).protocol == Protocol(size=(4, 4))


def test_scores_on_several_scales_start_from_the_stored_image(tmp_path: Path) -> None:
    sizes: list[tuple[int, int]] = []

    class Seeing(Painter):
        def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
            sizes.append(tuple(image.shape[-2:]))
            return super().forward(image)

    stripes = np.tile(np.array([[0, 1], [1, 0]], np.uint8), (8, 8))
    data = write_pairs(tmp_path, [stripes], [stripes])
    scores = score(Seeing(TRIO), data, protocol=Protocol(size=(8, 8), scales=(1.0, 2.0)))
    assert sizes == [(8, 8), (16, 16)]
    # the chequers vanish in an image shrunk to 8x8, which scale 2 must not be made from
    twice = score(Seeing(TRIO), data, protocol=Protocol(size=(8, 8), scales=(2.0,)))
    once = score(Seeing(TRIO), data, protocol=Protocol(size=(8, 8)))
    assert twice.pixel_accuracy == 1
    assert once.pixel_accuracy < 0.9
    assert scores.images == 1


def test_memory_does_not_grow_with_images() -> None:
    counter = Confusion(19)
    before = counter.counts.untyped_storage().nbytes()
    label = torch.randint(0, 19, (1, 64, 64), dtype=torch.uint8)
    for _ in range(50):
        counter.update(label, label)
    assert counter.counts.untyped_storage().nbytes() == before < 4096
    assert counter.matrix().sum() == 50 * 64 * 64


@pytest.mark.parametrize("dtype", [torch.int16, torch.int32, torch.int64])
@pytest.mark.parametrize("value", [-1, 3, 256, 300])
def test_wide_labels_outside_the_class_set_are_refused(dtype: torch.dtype, value: int) -> None:
    counter = Confusion(3)
    label = torch.tensor([[0, 255, value]], dtype=dtype)
    counter.update(torch.zeros(1, 3, dtype=torch.uint8), label)
    with pytest.raises(DataError, match="1 label pixels"):
        counter.matrix()


def test_render_shows_every_class_and_subset() -> None:
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(score_table(Scores(TRIO, np.diag([6, 3, 0]), images=2)))
    text = console.export_text()
    for expected in ("sky", "66.67", "trio (3 classes)", "duo (2 classes)", "100.0", "-"):
        assert expected in text


def test_evaluate_scores_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    options = ModelOptions(encoder="resnet18", width=4, output_stride=32, aspp_rates=(1,))
    save_model(Segmenter(options, TRIO, (32, 32)), tmp_path / "model.safetensors")
    rng = np.random.default_rng(0)
    write_pairs(tmp_path / "set", random_maps(rng, [0, 1, 2]), random_maps(rng, [0, 1, 2]))
    scores = evaluate(
        tmp_path / "model.safetensors",
        dataset=str(tmp_path / "set" / "pairs.yaml"),
        out=tmp_path / "scores.json",
        device="cpu",
    ).scores
    read = read_evaluation(tmp_path / "scores.json")
    assert np.array_equal(read.scores.confusion, scores.confusion)
    assert scores.confusion.sum() == 3 * 23 * 31
    assert (read.name, read.seed, read.checkpoint, read.size) == ("model", None, "file", (32, 32))
    with pytest.raises(ConfigError, match="--dataset"):
        evaluate(tmp_path / "model.safetensors")


def test_devices() -> None:
    assert pick_device("cpu").type == "cpu"
    with pytest.raises(ConfigError, match="'cuda'"):
        pick_device("cudaa")
    if not torch.cuda.is_available():
        assert pick_device("auto").type == "cpu"
        with pytest.raises(ConfigError, match="no GPU"):
            pick_device("cuda")


def test_evaluate_takes_data_and_name_from_the_run(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    write_pairs(tmp_path / "set", random_maps(rng, [0, 1, 2]), random_maps(rng, [0, 1, 2]))
    domain = {"dataset": str(tmp_path / "set" / "pairs.yaml"), "split": "val"}
    config = {
        "name": "source_only",
        "seed": 4,
        "data": {"source": domain, "validation": domain},
        "method": {"name": "source_only"},
        "training": {"steps": 50},
    }
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    options = ModelOptions(encoder="resnet18", width=4, output_stride=32, aspp_rates=(1,))
    save_model(Segmenter(options, TRIO), run / "model.safetensors")
    evaluation = evaluate(run, out=run / "evaluation.json", device="cpu")
    read = read_evaluation(run)
    assert (read.name, read.seed, read.step, read.checkpoint) == ("source_only", 4, 50, "last")
    assert (read.dataset, read.split, read.size) == ("pairs", "val", None)
    assert evaluation.scores.images == 3
    assert read.protocol.name == "own"
    # another split of what the run is validated on
    path = tmp_path / "set" / "pairs.yaml"
    tree = yaml.safe_load(path.read_text())
    tree["splits"]["tune"] = {"images": "images/1.png", "labels": "labels/1.png"}
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    assert evaluate(run, split="tune", device="cpu").scores.images == 1
    result = CliRunner().invoke(app, ["evaluate", str(run), "--split", "tune", "--device", "cpu"])
    assert result.output.split("images")[1].split()[0] == "1"
    with pytest.raises(DataError, match="no split 'tun'"):
        evaluate(run, split="tun", device="cpu")
    # a run is scored as its configuration says, unless another protocol is named
    config["data"] = {"source": domain, "validation": domain, "evaluation_protocol": "reference"}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert evaluate(run, device="cpu").protocol == choose_protocol("reference")
    arguments = ["evaluate", str(run), "--device", "cpu", "--flip"]
    for more, name in (([], "reference"), (["--protocol", "own"], "own")):
        result = CliRunner().invoke(app, [*arguments, *more], catch_exceptions=False)
        assert f"protocol {name} " in result.output
        assert "flip testing" in result.output


@pytest.mark.parametrize("factor", [2, (4, 8)])
def test_whole_factors_give_the_arg_max_of_torchs_up_sampling(factor) -> None:
    """By other code, whose rounding may differ where two classes are equal to 1e-5."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 7, 12, 20, generator=generator)
    down, across = (factor, factor) if isinstance(factor, int) else factor
    size = (12 * down, 20 * across)
    full = F.interpolate(logits, size=size, mode="bilinear")
    found = upsampled_argmax(logits, size)
    assert found.dtype == torch.uint8
    best = full.max(dim=1).values
    chosen = full.gather(1, found.long().unsqueeze(1)).squeeze(1)
    assert (best - chosen).max() < 1e-5
    assert (found != full.argmax(dim=1)).float().mean() < 1e-3


def test_counts_stay_exact_beyond_what_a_float_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A map is counted in parts; here parts of few pixels stand for those of millions."""
    monkeypatch.setattr(confusion, "EXACT", 7)
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 5, (1, 9, 11), generator=generator, dtype=torch.uint8)
    prediction = torch.randint(0, 4, (1, 9, 11), generator=generator, dtype=torch.uint8)
    truth[truth == 4] = IGNORE
    counter = confusion.Confusion(4)
    for _ in range(2):
        counter.update(prediction, truth)
    expected = np.zeros((4, 4), np.int64)
    for t, p in zip(truth.flatten().tolist(), prediction.flatten().tolist(), strict=True):
        if t != IGNORE:
            expected[t, p] += 2
    assert np.array_equal(counter.matrix(), expected)
