"""The analyses on tiny trainings: what they write, what they refuse, and the figures of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from clan.analysis.ccd import CCDOptions, analyse_ccd, read_ccd
from clan.analysis.images import draw_target, feature_map, open_target
from clan.analysis.label_free import LabelFreeOptions, label_free, score_images
from clan.analysis.maps import MapsOptions, analyse_maps, discriminator
from clan.analysis.networks import initial_network, load_network, network_files
from clan.analysis.results import read_alike, read_result, result_file
from clan.analysis.tsne import TSNEOptions, analyse_tsne
from clan.cli import app
from clan.core.errors import ConfigError, DataError, RunError
from clan.figures.kinds import KINDS, FigureOptions, draw_figure
from clan.losses.alignment import alignment_map
from clan.runs.checkpoint import load_checkpoint
from clan.runs.folder import RunFolder
from clan.scoring.inference import evaluating
from clan.scoring.score import score
from clan.training.display import Silent
from clan.training.train import train
from clan.weights.model_files import load_segmenter
from tests.systems import same, tiny, write_street

KEPT = ("training.snapshot_every=3", "training.evaluate_every=3", "training.log_every=1")
STEPS = [0, 3, 6, 7]
TSNE = TSNEOptions(classes=("sky", "road"), points=30, perplexity=5)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Train source only and CLAN, analysed in every way; read only."""
    root = tmp_path_factory.mktemp("analysis")
    street = write_street(root / "street")
    trained = {
        name: train(tiny(street, name, *KEPT), root / name, display=Silent())
        for name in ("source_only", "clan")
    }
    source_only, clan = trained["source_only"], trained["clan"]
    for run in trained.values():
        analyse_ccd(run, CCDOptions())
        analyse_tsne(run, TSNE)
        label_free(run, LabelFreeOptions(), snapshots=True)
        analyse_maps(run, MapsOptions(shown=2), before=source_only)
    return SimpleNamespace(street=street, source_only=source_only, clan=clan)


@pytest.fixture
def copy(runs: SimpleNamespace, tmp_path: Path) -> RunFolder:
    """Return a copy of CLAN's run that a test may change."""
    return RunFolder(shutil.copytree(runs.clan.path, tmp_path / "clan"))


def test_networks_of_a_run_are_its_snapshots_and_its_model(runs: SimpleNamespace) -> None:
    assert list(network_files(runs.clan)) == STEPS
    assert list(network_files(runs.clan, [6, 0])) == [0, 6]
    with pytest.raises(RunError, match="no network of step 5; it has 0, 3, 6, 7"):
        network_files(runs.clan, [5])


def test_step_0_is_rebuilt_where_no_snapshot_was_kept(
    runs: SimpleNamespace, copy: RunFolder
) -> None:
    kept = load_segmenter(runs.clan.snapshots()[0])
    shutil.rmtree(copy.snapshot_folder)
    assert network_files(copy) == {0: None, 7: copy.model_file}
    before = torch.get_rng_state()
    rebuilt = load_network(copy, None, kept.classes)
    assert torch.equal(torch.get_rng_state(), before)
    assert same(rebuilt.state_dict(), kept.state_dict())
    assert same(initial_network(copy.config, kept.classes).state_dict(), kept.state_dict())


def test_a_run_without_any_network_is_told(copy: RunFolder) -> None:
    shutil.rmtree(copy.snapshot_folder)
    copy.model_file.unlink()
    with pytest.raises(RunError, match="holds no network yet"):
        network_files(copy)


def test_ccd_is_written_for_each_step_and_normalised(runs: SimpleNamespace) -> None:
    for found in read_ccd([runs.source_only.path, runs.clan.path]):
        assert found.steps == tuple(STEPS)
        assert found.normalised[0] == pytest.approx([1, 1, 1])
        assert (found.distance > 0).all()
        assert found.absent == ()
    about = read_result(runs.clan.path, "ccd").about
    assert (about["source"]["images"], about["target"]["images"]) == (6, 6)
    assert about["options"]["distance"] == "euclidean"
    assert about["rebuilt"] is False


def test_ccd_of_equal_domains_is_zero_and_pseudo_labels_need_no_truth(
    runs: SimpleNamespace, copy: RunFolder
) -> None:
    config = copy.config
    twin = config.data.model_copy(update={"target": config.data.source})
    copy.write_config(config.model_copy(update={"data": twin}))
    result = analyse_ccd(copy, CCDOptions())
    assert np.array(result.about["distance"]) == pytest.approx(0, abs=1e-6)
    # a folder of photographs has no labels
    photos = config.data.model_copy(
        update={
            "target": config.data.source.model_copy(
                update={"dataset": str(runs.street / "photos" / "train")}
            )
        }
    )
    copy.write_config(config.model_copy(update={"data": photos}))
    with pytest.raises(DataError, match=r"no labels.*--labels pseudo.*--on validation"):
        analyse_ccd(copy, CCDOptions())
    assert analyse_ccd(copy, CCDOptions(labels="pseudo"), steps=[7]).about["steps"] == [0, 7]
    assert analyse_ccd(copy, CCDOptions(on="validation")).about["target"]["images"] == 3


def test_an_absent_class_is_absent_and_not_0(copy: RunFolder, tmp_path: Path) -> None:
    path = result_file(copy.path, "ccd")
    about = json.loads(path.read_text())
    for row in about["distance"]:
        row[1] = None
    path.write_text(json.dumps(about))
    (found,) = read_ccd([copy.path])
    assert found.absent == ("building",)
    figure = KINDS["ccd-classes"].draw([copy.path], FigureOptions())
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["absent"]
    heights = [p.get_height() for p in axes.patches]  # type: ignore[attr-defined]
    assert np.isnan(heights).sum() == 2
    with pytest.raises(ConfigError, match="'building' is missing"):
        draw_figure("ccd", [copy.path], tmp_path / "a.png", FigureOptions("building"))


def test_other_classes_targets_and_options_are_refused(
    runs: SimpleNamespace, copy: RunFolder
) -> None:
    path = result_file(copy.path, "ccd")
    original = json.loads(path.read_text())
    for change, reason in (
        ({"target": {"dataset": "other", "split": "train"}}, "differ in target"),
        ({"options": {"distance": "cosine"}}, "differ in options"),
        (
            {"classes": {"name": "x", "names": ["a"], "colors": [[0, 0, 0]], "subsets": {}}},
            "differ in classes: sky, building, road and a",
        ),
    ):
        path.write_text(json.dumps({**original, **change}))
        with pytest.raises(RunError, match=reason):
            read_alike([runs.clan.path, copy.path], "ccd")


def test_missing_and_damaged_analyses_name_their_command(copy: RunFolder) -> None:
    for kind in ("ccd", "maps"):
        result_file(copy.path, kind).write_bytes(b"{")
        with pytest.raises(RunError, match=f"make it again: clan analyse {kind}"):
            read_result(copy.path, kind)
    result_file(copy.path, "tsne").unlink()
    with pytest.raises(RunError, match=r"no analysis/tsne.npz; make it: clan analyse tsne"):
        read_result(copy.path, "tsne")


def test_tsne_is_balanced_and_the_same_again(runs: SimpleNamespace, copy: RunFolder) -> None:
    first = read_result(runs.clan.path, "tsne")
    label, domain = first.arrays["label"], first.arrays["domain"]
    counts = [int(((label == c) & (domain == d)).sum()) for c in (0, 1) for d in (0, 1)]
    assert counts[0] == counts[1] > 5
    assert counts[2] == counts[3] > 5
    again = analyse_tsne(copy, TSNE)
    assert np.array_equal(again.arrays["xy"], first.arrays["xy"])
    other = analyse_tsne(copy, TSNEOptions(**{**vars(TSNE), "seed": 1}))
    assert not np.array_equal(other.arrays["xy"], first.arrays["xy"])


def test_tsne_refuses_unknown_classes_and_too_few_pixels(copy: RunFolder) -> None:
    with pytest.raises(DataError, match="no class 'roads'; did you mean 'road'"):
        analyse_tsne(copy, TSNEOptions(classes=("roads",)))
    with pytest.raises(DataError, match="perplexity 30 needs more than 90 pixels, found 4"):
        analyse_tsne(copy, TSNEOptions(classes=("road",), points=2))


def test_maps_are_m_and_ds_answers_of_both_networks(runs: SimpleNamespace) -> None:
    result = read_result(runs.clan.path, "maps")
    assert result.about["before"] == "source_only"
    config = runs.clan.config
    target = open_target(config, "validation", "truth")
    sample = draw_target(config, target, 100, 0)
    image = torch.from_numpy(sample.dataset.read_image(0)).permute(2, 0, 1)[None]
    assert np.array_equal(result.arrays["image"][0], sample.dataset.read_image(0))
    assert np.array_equal(result.arrays["label"][0], sample.dataset.read_label(0))
    d = discriminator(runs.clan, 3)
    assert d is not None
    for when, run in (("before", runs.source_only), ("after", runs.clan)):
        network = load_segmenter(run.path)
        with evaluating(network), evaluating(d):
            logits = network(image)
            m = alignment_map(*(z.softmax(dim=1) for z in logits))[0, 0].numpy()
            p = network.ensemble(logits).softmax(dim=1)
            judged = d(p).sigmoid()[0, 0].numpy()
        assert result.arrays[f"m_{when}"][0] == pytest.approx(m, abs=1e-3)
        assert result.arrays[f"d_{when}"][0] == pytest.approx(judged, abs=1e-3)
    newest = runs.clan.newest_checkpoint()
    state = load_checkpoint(newest)["method"]
    assert torch.equal(state["discriminator.convs.0.weight"], d.convs[0].weight)


def test_means_per_class_are_over_all_pixels_of_all_images(copy: RunFolder) -> None:
    result = analyse_maps(copy, MapsOptions(shown=3))
    maps, label = result.arrays["m_after"].astype(np.float64), result.arrays["label"]
    means = [maps[label == c].mean() for c in range(3)]
    assert result.about["means"]["m_after"] == pytest.approx(means, rel=1e-2)
    assert result.about["before"] == "step 0"


def test_runs_without_a_discriminator_have_maps_of_m_alone(runs: SimpleNamespace) -> None:
    assert "d_after" not in read_result(runs.source_only.path, "maps").arrays


def test_m_needs_two_classifiers(runs: SimpleNamespace, tmp_path: Path) -> None:
    config = tiny(runs.street, "source_only", "model.classifiers=1", "training.steps=1")
    run = train(config, tmp_path / "one", display=Silent())
    with pytest.raises(RunError, match=r"compares two classifiers.*model\.classifiers=2"):
        analyse_maps(run, MapsOptions())
    values = label_free(run, LabelFreeOptions()).about["scores"]
    assert values["agreement"] == [None]
    with pytest.raises(ConfigError, match="no snapshots"):
        label_free(run, LabelFreeOptions(), snapshots=True)


def test_label_free_scores_stand_beside_the_true_miou(runs: SimpleNamespace) -> None:
    about = read_result(runs.clan.path, "label-free").about
    assert about["steps"] == STEPS[1:]
    last = json.loads(runs.clan.evaluation_file.read_text())["miou"]["street"]
    assert about["miou"][-1] == pytest.approx(last)
    validation = open_target(runs.clan.config, "validation", "truth")
    early = score(load_segmenter(runs.clan.snapshots()[3]), validation)
    assert about["miou"][0] == pytest.approx(early.miou())
    photos = str(runs.street / "photos" / "train")
    alone = score_images(runs.clan.path, photos)
    assert alone["scores"]["entropy"][0] == pytest.approx(about["scores"]["entropy"][-1])


def test_features_are_the_encoders_the_logits_or_the_softmax(runs: SimpleNamespace) -> None:
    network = load_segmenter(runs.clan.path)
    image = torch.zeros(1, 3, 32, 64, dtype=torch.uint8)
    with evaluating(network):
        encoder, logits, p = (
            feature_map(network, image, kind) for kind in ("encoder", "logits", "softmax")
        )
        assert torch.equal(encoder, network.encode(image)[-1][0])  # type: ignore[arg-type]
        assert torch.equal(logits.softmax(dim=0), p)
    assert logits.shape == (3, *encoder.shape[1:])


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if not kind.of_study])
def test_every_figure_is_drawn(kind: str, runs: SimpleNamespace, tmp_path: Path) -> None:
    out = tmp_path / f"{kind}.svg"
    draw_figure(kind, [runs.source_only.path, runs.clan.path], out, FigureOptions(images=2))
    assert out.stat().st_size > 5000


def test_a_figure_that_cannot_be_drawn_says_why(
    runs: SimpleNamespace, copy: RunFolder, tmp_path: Path
) -> None:
    out = tmp_path / "a.png"
    with pytest.raises(ConfigError, match="unknown figure 'curve'; did you mean 'curves'"):
        draw_figure("curve", [copy.path], out)
    with pytest.raises(RunError, match="no run is named 'source_only'"):
        draw_figure("transfer", [copy.path], out)
    copy.metrics_file.write_text("")
    with pytest.raises(RunError, match="no value to draw"):
        draw_figure("curves", [copy.path], out)
    validation = copy.config.data.validation
    assert validation is not None
    other = validation.model_copy(update={"split": "train"})
    data = copy.config.data.model_copy(update={"validation": other})
    copy.write_config(copy.config.model_copy(update={"name": "other", "data": data}))
    with pytest.raises(RunError, match="different validation images"):
        draw_figure("qualitative", [runs.clan.path, copy.path], out)
    assert not out.exists()


def test_the_command_line_analyses_scores_and_draws(copy: RunFolder, tmp_path: Path) -> None:
    def clan(*arguments: str) -> str:
        result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
        assert result.exit_code == 0
        return result.output

    run = str(copy.path)
    said = clan("analyse", "ccd", run, "--images", "3", "--distance", "cosine", "--steps", "7")
    assert "2 steps" in said
    said = clan("analyse", "tsne", run, "--classes", "sky,road", "--perplexity", "5")
    assert "pixels in analysis/tsne.npz" in said
    assert "2 maps" in clan("analyse", "maps", run, "--shown", "2", "--labels", "pseudo")
    assert "true mIoU %" in clan("evaluate", run, "--label-free", "--snapshots")
    assert "Choosing a checkpoint" in clan("compare", run)
    assert "Choosing a checkpoint" not in clan("compare", run, "--format", "csv")
    # scores over other images: the comparison stands, without them
    path = result_file(copy.path, "label-free")
    bare = tmp_path / "bare"
    shutil.copytree(copy.path, bare)
    about = json.loads(path.read_text())
    path.write_text(json.dumps({**about, "target": {**about["target"], "images": 1}}))
    evaluation = json.loads((bare / "evaluation.json").read_text())
    (bare / "evaluation.json").write_text(json.dumps({**evaluation, "name": "other"}))
    assert "Label-free scores are left out: these runs" in clan("compare", run, str(bare))
    out = tmp_path / "curves.pdf"
    clan("figure", "curves", run, "--out", str(out))
    assert out.read_bytes().startswith(b"%PDF")


def test_the_command_line_refuses_what_does_not_fit(copy: RunFolder) -> None:
    for arguments, reason in (
        (["analyse", "ccd", str(copy.path), "--distance", "cosin"], "did you mean 'cosine'"),
        (["analyse", "ccd", str(copy.path), "--steps", "a"], "whole numbers"),
        (["evaluate", str(copy.path), "--label-free", "--flip"], "--flip belongs to scores"),
        (["evaluate", str(copy.path), "--label-free", "--split", "val"], "on its own target"),
    ):
        with pytest.raises(ConfigError, match=reason):
            CliRunner().invoke(app, arguments, catch_exceptions=False)
