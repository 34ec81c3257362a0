from __future__ import annotations

import base64
import io
import json
import math
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from clan import cli
from clan.analysis.ccd import CCDOptions, analyse_ccd
from clan.analysis.choice import checkpoint_choices, choice_cells
from clan.analysis.label_free import LabelFreeOptions, label_free
from clan.comparison.compare import compare
from clan.config.loading import load_config
from clan.core.errors import ConfigError, RunError
from clan.data.classes import ClassSet
from clan.data.datasets import open_dataset
from clan.prediction.predictor import load
from clan.reporting import panels, report
from clan.reporting.charts import DASHES, NEUTRAL, draw, looks
from clan.reporting.curves import POINTS, Chart, Curve, health_charts, loss_charts, score_chart
from clan.reporting.gather import Run, System, read_runs, systems_of
from clan.reporting.page import _domain_names as page_names
from clan.reporting.score_table import change
from clan.runs.folder import RunFolder
from clan.runs.health import examine
from clan.training.train import train
from tests.systems import tiny

STREET = ("sky", "building", "road")


class Outline(HTMLParser):
    """Collects ids, the text of the body, and every address of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids, self.words, self.addresses = list[str](), list[str](), list[str]()
        self._skipped = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._skipped = tag in ("script", "style")
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name in ("src", "href", "xlink:href"):
                self.addresses.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        self._skipped = False

    def handle_data(self, data: str) -> None:
        if not self._skipped:
            self.words += data.split()

    @property
    def text(self) -> str:
        return " ".join(self.words)


def outline(page: Path) -> Outline:
    return Outline(page.read_text())


def copied(run: RunFolder, to: Path, *without: str) -> Path:
    shutil.copytree(run.path, to, ignore=shutil.ignore_patterns(*without) if without else None)
    return to


def system(name: str, *runs: list[dict[str, object]]) -> System:
    """A system whose runs have nothing but these records."""
    made = [Run(None, None, tuple(records), None, None, (), ()) for records in runs]  # type: ignore[arg-type]
    return System(name, tuple(made))


def test_a_page_says_what_the_comparison_says(page: Path, runs: list[RunFolder]) -> None:
    found = outline(page)
    comparison = compare([run.path for run in runs])
    assert comparison.title in found.text
    for note in comparison.notes:
        assert note in found.text
    for row in comparison.rows:
        assert f"{row.miou:.1f}" in found.text
    clan = comparison.rows[1]
    assert f"± {clan.std:.1f}" in found.text
    assert "2 seeds: 0, 1; checkpoint: last" in found.text
    for heading, cells, _ in comparison.lines()[3:]:
        assert heading in found.text
        assert all(cell in found.text for cell in cells)
    for part in (
        "method.lambda_local",
        "were trained on",
        "torch",
        "Learning rate",
        "Accuracy of D",
    ):
        assert part in found.text


def test_a_page_is_one_well_formed_file(page: Path) -> None:
    found = outline(page)
    assert len(found.ids) == len(set(found.ids))
    outside = [a for a in found.addresses if not a.startswith(("data:", "#"))]
    assert outside == []
    anchors = [a[1:] for a in found.addresses if a.startswith("#")]
    assert set(anchors) <= set(found.ids)
    html = page.read_text()
    assert "None" not in found.words
    assert "nan" not in found.words
    # the namespaces of SVG are names; nothing is fetched from them
    assert set(re.findall(r"https?://[^\s\"'<)]*", html)) <= {
        "http://www.w3.org/1999/xlink",
        "http://www.w3.org/2000/svg",
    }
    assert not re.search(r"#0000[0-9a-f]{2}(?![0-9a-f])", html.split("</style>")[1])


def test_the_same_runs_give_the_same_page(
    page: Path, runs: list[RunFolder], tmp_path: Path
) -> None:
    again = report([run.path for run in runs], tmp_path / "sub/again.html")
    assert again.read_bytes() == page.read_bytes()
    assert [p.name for p in again.parent.iterdir()] == ["again.html"]


def test_a_file_that_is_there_stays(runs: list[RunFolder], tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    out.write_text("mine")
    with pytest.raises(RunError, match=r"exists; choose another file, or allow it"):
        report([runs[0].path], out)
    with pytest.raises(RunError, match=r"is a folder"):
        report([runs[0].path], tmp_path)
    assert out.read_text() == "mine"
    report([runs[0].path], out, images=0, overwrite=True)
    assert out.read_text().startswith("<!doctype html>")


def test_the_command_line(runs: list[RunFolder], tmp_path: Path) -> None:
    out = tmp_path / "r.html"
    arguments = ["report", str(runs[0].path), "--out", str(out), "--images", "1"]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0, result.output
    assert f"report: {out}" in result.output.replace("\n", "")
    assert outline(out).text.count("Not computed; command: clan ") >= 0
    assert "1 image of" in outline(out).text


def test_what_a_run_lacks_is_named(runs: list[RunFolder], tmp_path: Path) -> None:
    lacking = ("evaluation.json", "model.safetensors", "metrics.jsonl", "environment.json")
    run = copied(runs[0], tmp_path / "run", *lacking)
    found = outline(report([run], tmp_path / "r.html"))
    for sentence in (
        f"{run} has no model.safetensors: the training is not finished",
        f"{run} has no metrics.jsonl",
        f"{run} has no evaluation.json (the training is not finished)",
        "None of the runs is scored.",
        "No images: no run is finished",
        "No curves:",
        "they have no environment.json",
    ):
        assert sentence in found.text
    assert "missing" in found.ids
    assert "classes" not in found.ids


def test_data_that_are_gone_leave_a_page(runs: list[RunFolder], tmp_path: Path) -> None:
    run = copied(runs[0], tmp_path / "run")
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("photos.yaml", "lost.yaml"))
    found = outline(report([run], tmp_path / "r.html"))
    assert "No images: no data set description at" in found.text
    assert "name their folder with --root" in found.text
    assert "mIoU on the target" in found.text


def test_without_validation_target_images_are_shown(street: Path, tmp_path: Path) -> None:
    config = tiny(street, "clan", "data.validation=null", "training.steps=2")
    run = train(config, tmp_path / "run")
    found = outline(report([run.path], tmp_path / "r.html", images=2))
    assert "no data.validation" in found.text
    assert "2 images, spread evenly, of photos train. They have no labels" in found.text
    assert "Segmentation loss" in found.text
    assert "alignment map, clan" in found.text
    assert "ground truth" not in found.words


def test_analyses_are_shown_where_they_were_made(runs: list[RunFolder], tmp_path: Path) -> None:
    done = RunFolder(copied(runs[0], tmp_path / "done", "metrics.jsonl"))
    left = copied(runs[1], tmp_path / "left", "metrics.jsonl")
    analyse_ccd(done, CCDOptions(images=3), device="cpu")
    page = report([done.path, left], tmp_path / "r.html", images=0)
    text = outline(page).text
    assert f"Not computed for the other runs; command: clan analyse ccd {left}" in text
    assert f"Not computed; command: clan analyse tsne {done.path} {left}" in text
    assert f"command: clan evaluate --label-free --snapshots {done.path}" in text
    figures = page.read_text().split('id="analyses"')[1].split("</section>")[0]
    assert figures.count("<svg ") == 2
    assert "cluster-centre distance per class, at the end" in figures
    assert "var(--s5)" in figures
    assert "#212529" not in figures
    assert "information" not in text
    scored = RunFolder(copied(runs[1], tmp_path / "scored"))
    label_free(scored, LabelFreeOptions(images=3), snapshots=True, device="cpu")
    text = outline(report([scored.path], tmp_path / "l.html", images=0)).text
    choices, notes = checkpoint_choices([scored.path])
    heads, (row,) = choice_cells(choices)
    assert " ".join(heads) in text
    assert " ".join(row) in text
    assert notes[0] in text
    # what cannot be read is no reason for having no page
    (done.path / "analysis/ccd.json").write_text("{")
    text = outline(report([done.path], tmp_path / "s.html", images=0)).text
    assert "Not shown: " in text
    assert "is not an analysis of this version" in text


def test_strangers_are_refused(runs: list[RunFolder], street: Path, tmp_path: Path) -> None:
    def other(name: str, old: str, new: str, *without: str) -> Path:
        run = copied(runs[1], tmp_path / name, *without)
        for file in (run / "config.yaml", run / "evaluation.json"):
            if file.is_file():
                file.write_text(file.read_text().replace(old, new))
        return run

    out = tmp_path / "r.html"
    with pytest.raises(RunError, match=r"classes: sky, building, road in .*, sky, house, road in"):
        report([runs[0].path, other("a", "building", "house")], out)
    moved = other("b", "photos.yaml", "game.yaml", "evaluation.json", "model.safetensors")
    with pytest.raises(RunError, match=r"target: .*photos.yaml val in .*, .*game.yaml val in"):
        report([runs[0].path, moved], out)
    with pytest.raises(RunError, match=r"clan, seed 0, is there twice"):
        report([runs[1].path, other("c", "x", "x")], out)
    # scored on other images: what `compare` refuses
    with pytest.raises(RunError, match=r"data set: photos val in .*, photos test in"):
        report([runs[0].path, other("d", '"split": "val"', '"split": "test"')], out)
    with pytest.raises(RunError, match=r"no run to report on"):
        report([], out)
    with pytest.raises(RunError, match=r"is not a run folder"):
        report([street], out)
    with pytest.raises(ConfigError, match=r"has no subset 'small'"):
        report([runs[0].path], out, subset="small")
    assert not out.exists()


def test_names_are_text_whatever_they_hold(runs: list[RunFolder], tmp_path: Path) -> None:
    name = '<img src=x onerror="alert(1)">&'
    run = copied(runs[1], tmp_path / "run", "metrics.jsonl")
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(re.sub(r"(?m)^name: clan$", f"name: '{name}'", config))
    content = json.loads((run / "evaluation.json").read_text()) | {"name": name}
    (run / "evaluation.json").write_text(json.dumps(content))
    html = report([runs[0].path, run], tmp_path / "r.html", images=1).read_text()
    assert "<img src=x" not in html
    assert name in Outline(html).text


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (3.14, "gain", "▲ +3.1 better"),
        (-2.0, "loss", "▼ \N{MINUS SIGN}2.0 worse"),
        (-0.04, "same", "= 0.0 the same"),
    ],
)
def test_changes_are_told_by_more_than_colour(value: float, kind: str, text: str) -> None:
    found = change(value)
    assert found is not None
    assert found.kind == kind
    assert f"{found.sign} {found.text} {found.word}" == text
    assert change(math.nan) is None
    assert change(None) is None


def test_worse_classes_are_named(runs: list[RunFolder], tmp_path: Path) -> None:
    def with_confusion(run: RunFolder, name: str, rows: list[list[int]]) -> Path:
        path = copied(run, tmp_path / name, "metrics.jsonl")
        content = json.loads((path / "evaluation.json").read_text()) | {"confusion": rows}
        (path / "evaluation.json").write_text(json.dumps(content))
        return path

    # road falls from 100 to 50 %, sky and building are as they were
    before = with_confusion(runs[0], "before", [[8, 0, 0], [0, 8, 0], [0, 0, 8]])
    after = with_confusion(runs[1], "after", [[8, 0, 0], [0, 8, 0], [4, 0, 4]])
    page = report([before, after], tmp_path / "r.html", images=0)
    text = outline(page).text
    table = page.read_text().split('<table class="losses">')[1].split("</table>")[0]
    assert Outline(table).text == "system sky road clan \N{MINUS SIGN}33.3 \N{MINUS SIGN}50.0"
    assert "worse than with source_only (negative transfer), in points of IoU." in text
    assert "▼ \N{MINUS SIGN}50.0 (worse)" in text
    assert "= 0.0 (the same)" in text
    same = outline(
        report([before, with_confusion(runs[1], "same", [[8, 0, 0], [0, 8, 0], [0, 0, 8]])],
        tmp_path / "s.html", images=0)
    )  # fmt: skip
    assert "No class got worse than with source_only." in same.text


def test_curves_are_means_over_seeds() -> None:
    seeds = [
        [{"step": s, "loss_seg": float(s + offset), "miou": 0.1 * s} for s in (1, 2, 3)]
        for offset in (0, 2)
    ]
    seeds[1].append({"step": 4, "loss_seg": 9.0})
    (chart,) = loss_charts([system("a", *seeds)])
    (curve,) = chart.curves
    # step 4, which one seed has not reached, is left out
    assert curve.steps.tolist() == [1, 2, 3]
    assert curve.mean.tolist() == [2, 3, 4]
    assert curve.low.tolist() == [1, 2, 3]
    assert curve.high.tolist() == [3, 4, 5]
    assert score_chart([system("a", [{"step": 1, "loss_seg": 1.0}])], None) is None


def test_scores_over_a_subset_leave_out_what_has_no_iou() -> None:
    record = {"step": 5, "miou": 0.3, "iou": {"sky": 0.2, "road": 0.6, "train": None}}
    chart = score_chart([system("a", [record])], None)
    assert chart is not None
    assert chart.curves[0].mean.tolist() == [30]
    chart = score_chart([system("a", [record])], ("sky", "road", "train"))
    assert chart is not None
    assert chart.curves[0].mean == pytest.approx(40)


def test_quantiles_are_the_band_of_the_alignment_map() -> None:
    record = {"step": 1, "alignment": 0.2, "alignment_q10": 0.1, "alignment_q90": 0.7}
    (chart,) = health_charts([system("a", [record]), system("b", [{"step": 1, "alignment": 0.4}])])
    ends = [(c.low.tolist(), c.high.tolist()) for c in chart.curves]
    assert ends == [([0.1], [0.7]), ([0.4], [0.4])]


def test_long_curves_are_thinned_by_means() -> None:
    count = 10 * POINTS
    records: list[dict[str, object]] = [
        {"step": s, "loss_seg": float(s % 10)} for s in range(1, count + 1)
    ]
    (chart,) = loss_charts([system("a", records)])
    (curve,) = chart.curves
    assert len(curve.steps) == POINTS
    assert curve.steps[-1] == count
    assert curve.mean == pytest.approx(4.5)
    assert (curve.low == 0).all()
    assert (curve.high == 9).all()


def test_one_score_of_each_system_becomes_bars(runs: list[RunFolder], tmp_path: Path) -> None:
    one = [[{"step": 4, "miou": 0.1 * n}] for n in (1, 2, 4)]
    chart = score_chart([system("a", one[0]), system("b", *one[1:])], None)
    assert chart is not None
    assert chart.bars
    assert not chart.dots
    assert "at the only step that was scored" in chart.note
    svg = draw(chart, {"a": (0, 1), "b": (1, 0)}, "key")
    assert 'aria-label="mIoU on the target: a 10.0, b 30.0"' in svg
    assert ">10.0<" in svg
    assert ">30.0<" in svg
    # the two bars are filled; the seeds' line is not
    assert len(re.findall(r"fill: var\(--s[01]\)", svg)) == 2
    several = score_chart(
        [system("a", one[0]), system("b", [*one[1], {"step": 8, "miou": 1}])], None
    )
    assert several is not None
    assert not several.bars
    assert several.dots


def test_the_verdicts_of_clan_health_stand_on_the_page(
    runs: list[RunFolder], tmp_path: Path
) -> None:
    def with_accuracy(run: RunFolder, name: str, accuracy: float) -> RunFolder:
        path = copied(run, tmp_path / name)
        config = (path / "config.yaml").read_text()
        (path / "config.yaml").write_text(re.sub(r"(?m)^  steps: \d+$", "  steps: 100", config))
        lines = [{"step": s, "d_accuracy": accuracy} for s in range(10, 101, 10)]
        (path / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        return RunFolder(path)

    won, fair = with_accuracy(runs[1], "won", 0.995), with_accuracy(runs[2], "fair", 0.7)
    page = report([runs[0].path, won.path, fair.path], tmp_path / "r.html", images=0)
    text = outline(page).text
    (verdict,) = examine(won.read_metrics(), 100)
    assert verdict.kind == "d_wins"
    assert f"clan d_wins Seed 0: {verdict.found}, for {verdict.held} steps" in text
    assert verdict.advice in text
    assert "Healthy: clan (seed 1)." in text
    # without an adversary there is nothing to judge
    alone = report([runs[0].path], tmp_path / "s.html", images=0)
    assert 'href="#health"' in page.read_text()
    assert "#health" not in alone.read_text()


def test_every_system_has_a_look_of_its_own() -> None:
    names = ["source_only", *(f"system {i}" for i in range(12)), "clan", "tan"]
    found = looks(names, "source_only")
    assert found["source_only"][0] == NEUTRAL
    assert (found["tan"], found["clan"]) == ((0, 0), (1, 1))
    assert len(set(found.values())) == len(names)
    assert all(dash < len(DASHES) for _, dash in found.values())


def test_a_chart_takes_its_colours_from_the_page() -> None:
    steps = np.array([0.0, 10.0])
    curve = Curve("a <b>", steps, steps, steps - 1, steps + 1)
    svg = draw(Chart("t", "", (curve,), reference=2.0), {"a <b>": (3, 1)}, "key")
    assert "var(--s3)" in svg
    assert "var(--faint)" in svg
    assert "a &lt;b&gt; from 0 to 10 at step 10" in svg
    assert "#0000" not in svg
    assert "<style" not in svg
    assert "metadata" not in svg
    other = draw(Chart("t", "", (curve,)), {"a <b>": (3, 1)}, "other")
    ids = [set(re.findall(r'id="([^"]*)"', text)) for text in (svg, other)]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_layers_are_what_the_model_predicts(runs: list[RunFolder], street: Path) -> None:
    dataset = open_dataset(str(street / "photos/photos.yaml"), split="val")
    predictor = load(runs[1].path)
    (scene,) = panels.make_scenes(dataset, {"clan": predictor}, 1)
    layers = {layer.title: layer.pixels for layer in scene.layers}
    image, truth = dataset.read(0)
    assert (layers["image"] == image).all()
    assert (layers["ground truth"] == truth).all()
    assert (layers["clan"] == predictor.predict(image)).all()
    heat = layers["alignment map, clan"]
    assert heat.dtype == np.float32
    assert 0 <= heat.min() <= heat.max() <= 1


def test_one_classifier_has_no_alignment_map(street: Path, tmp_path: Path) -> None:
    config = tiny(street, "source_only", "model.classifiers=1", "training.steps=2")
    run = train(config, tmp_path / "run")
    image = np.zeros((32, 64, 3), np.uint8)
    assert panels.inspect(load(run.path), image)[1] is None
    found = outline(report([run.path], tmp_path / "r.html", images=1))
    assert "alignment" not in found.text


def scene(label: np.ndarray, photo: np.ndarray) -> panels.Scene:
    layers = (
        panels.Layer("image", "image", "photo", photo),
        panels.Layer("truth", "ground truth", "label", label),
        panels.Layer("m0", "M", "heat", np.linspace(0, 1, 8, dtype=np.float32).reshape(2, 4)),
    )
    return panels.Scene("a", layers)


def decoded(layer: panels.Encoded) -> np.ndarray:
    data = base64.b64decode(layer.address.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_labels_keep_their_exact_colours() -> None:
    classes = ClassSet("s", STREET, ((70, 130, 180), (70, 70, 70), (128, 64, 128)))
    rng = np.random.default_rng(0)
    label = rng.choice(np.array([0, 1, 2, 255], np.uint8), (20, 40))
    photo = rng.integers(0, 256, (20, 40, 3), dtype=np.uint8)
    (layers,) = panels.encode_scenes([scene(label, photo)], classes)
    assert (decoded(layers[1]) == classes.colorize(label)).all()
    colors = {tuple(c) for c in decoded(layers[2]).reshape(-1, 3).tolist()}
    assert colors <= set(panels.heat_colors())
    assert len(set(panels.heat_colors())) == panels.HEAT_LEVELS


def test_pictures_are_made_smaller_to_fit() -> None:
    classes = ClassSet("s", STREET, ((70, 130, 180), (70, 70, 70), (128, 64, 128)))
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (120, 240, 3), dtype=np.uint8)
    scenes = [scene(rng.integers(0, 3, (120, 240), dtype=np.uint8), noise)] * 3
    budget = 40_000
    found = panels.encode_scenes(scenes, classes, budget)
    data = [base64.b64decode(layer.address.partition(",")[2]) for row in found for layer in row]
    assert 0.3 * budget < sum(map(len, data)) <= budget
    height, width = decoded(found[0][0]).shape[:2]
    assert width == pytest.approx(2 * height, abs=1)
    # base64, curves and figures stay below 10 MB
    assert panels.BUDGET * 4 / 3 < 8.5e6


def test_the_lowest_seed_with_a_model_is_shown(runs: list[RunFolder], tmp_path: Path) -> None:
    bare = copied(runs[1], tmp_path / "bare", "model.safetensors")
    found = systems_of(read_runs([runs[2].path, bare, runs[0].path]))
    assert [s.name for s in found] == ["clan", "source_only"]
    assert [run.seed for run in found[0].runs] == [0, 1]
    assert found[0].first.seed == 1


@pytest.mark.parametrize(
    ("preset", "changes", "title"),
    [
        ("town/clan", [], ("town/source", "town/target")),
        ("town/clan", ["data.root=/a/first town"], ("first town/source", "first town/target")),
        ("gta5-cityscapes/paper/resnet101/clan", [], ("gta5", "cityscapes")),
        ("town/clan", ["data.target=photos/"], ("town/source", "photos")),
        ("town/clan", ["data.source=sim.yaml", "data.target=/b/photos"], ("sim", "photos")),
    ],
)
def test_domains_are_called_after_their_data_not_after_the_layout(preset, changes, title) -> None:
    data = load_config(preset, changes).data
    assert data.target is not None
    assert page_names(data, data.target) == title
