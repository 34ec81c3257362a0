"""What a training starts from: every key is accounted for, every refusal says why."""

from __future__ import annotations

import pytest
import torch

from clan.core.errors import WeightsError
from clan.data.classes import CITYSCAPES, ClassSet
from clan.models.encoders.table import ENCODERS
from clan.models.segmenter import Segmenter
from clan.weights.model_files import save_model, write_tensors
from clan.weights.start import load_encoder_weights, load_network_weights, placed, start_from
from clan.weights.tensor_files import read_tensors
from tests.models.conftest import SMALL


def test_encoder_weights_are_reported_key_by_key(segmenter, tmp_path):
    tensors = {k: v + 1 for k, v in segmenter.encoder.state_dict().items()}
    del tensors["bn1.bias"]
    tensors["conv1.weight"] = torch.zeros(1)
    tensors["fc.weight"] = torch.zeros(2, 2)
    torch.save(tensors, tmp_path / "w.pth")
    report = load_encoder_weights(segmenter, tmp_path / "w.pth")
    assert report.missing == ("bn1.bias",)
    assert report.left == ("fc.weight",)
    assert report.shape_differs == ("conv1.weight",)
    assert "layer4.1.conv2.weight" in report.loaded
    torch.testing.assert_close(
        segmenter.encoder.layer1[0].conv1.weight, tensors["layer1.0.conv1.weight"]
    )
    assert "1 missing (bn1.bias)" in str(report)
    lines = report.listing().splitlines()
    assert lines[0] == str(tmp_path / "w.pth")
    assert {"missing        bn1.bias", "left           fc.weight"} <= set(lines)
    assert sum(line.startswith("loaded ") for line in lines) == len(report.loaded)


def test_torchvisions_older_files_lack_the_step_counter(segmenter, tmp_path):
    tensors = {k: v for k, v in segmenter.encoder.state_dict().items() if "num_batches" not in k}
    torch.save(tensors, tmp_path / "w.pth")
    assert load_encoder_weights(segmenter, tmp_path / "w.pth").missing == ()


def test_weights_of_another_encoder_are_refused(segmenter, tmp_path):
    torch.save({"features.0.0.weight": torch.zeros(1)}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"w\.pth does not fit the encoder resnet18"):
        load_encoder_weights(segmenter, tmp_path / "w.pth")


def test_offline_the_message_says_where_to_put_the_file(segmenter, tmp_path, monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("network is unreachable")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(WeightsError, match=r"unreachable.*put it at .*resnet18-f37072fd\.pth"):
        load_encoder_weights(segmenter, "imagenet")


def test_imagenet_weights_come_from_torchvisions_address_with_a_checksum(
    segmenter, tmp_path, monkeypatch
):
    asked = []

    def download(url, destination, prefix, progress):
        asked.append((url, prefix))
        torch.save(segmenter.encoder.state_dict(), destination)

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    for _ in range(2):
        load_encoder_weights(segmenter, "imagenet")
    assert asked == [("https://download.pytorch.org/models/resnet18-f37072fd.pth", "f37072fd")]


def test_published_files_end_in_the_digits_that_are_checked():
    published = {name: spec.weights for name, spec in ENCODERS.items() if spec.weights}
    assert {"resnet101", "vgg16", "mobilenet_v2", "efficientnet_lite0"} <= set(published)
    for name, weights in published.items():
        assert weights.file.startswith((name, "tf_" + name))
        assert weights.file.endswith(f"-{weights.sha256}.pth")


@pytest.fixture
def trained(tmp_path):
    """A run folder with the model of another seed."""
    torch.manual_seed(1)
    save_model(Segmenter(SMALL, CITYSCAPES, (32, 64)), tmp_path / "model.safetensors")
    return tmp_path


def test_a_network_starts_whole_from_a_finished_run(segmenter, trained):
    report = start_from(segmenter, str(trained), "network")
    torch.manual_seed(1)
    expected = Segmenter(SMALL, CITYSCAPES).state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in segmenter.state_dict().items())
    assert set(report.loaded) == set(expected)
    # what it is evaluated at is the training's to say
    assert segmenter.evaluation_size == (64, 128)


def test_each_seed_starts_from_the_run_of_its_seed(segmenter, trained):
    run = trained.rename(trained.with_name("seed7"))
    assert start_from(segmenter, placed("{runs}/seed{seed}", run.parent, 7), "network").loaded
    with pytest.raises(WeightsError, match="seed8"):
        start_from(segmenter, placed("{runs}/seed{seed}", run.parent, 8), "network")


def test_an_encoder_starts_alone_and_the_report_says_so(segmenter, trained):
    before = {k: v.clone() for k, v in segmenter.classifiers.state_dict().items()}
    report = start_from(segmenter, str(trained / "model.safetensors"), "encoder")
    assert all(torch.equal(v, before[k]) for k, v in segmenter.classifiers.state_dict().items())
    assert "its classifiers are not taken (weights_for: encoder)" in str(report)
    assert start_from(segmenter, None, "encoder") is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"aspp_rates": (1,)}, r"model\.aspp_rates=\[1, 2\] \(the training has \[1\]\)"),
        # of the same shapes, and yet another network
        ({"aspp_rates": (6, 12)}, r"model\.aspp_rates=\[1, 2\] \(the training has \[6, 12\]\)"),
        ({"output_stride": 32}, r"model\.output_stride=8 \(the training has 32\)"),
        ({"std": (1.0, 1.0, 1.0)}, r"model\.std=\[.*\] \(the training has \[1\.0, 1\.0, 1\.0\]\)"),
        ({"classifiers": 1}, r"model\.classifiers=2 \(the training has 1\)"),
        ({"width": 8}, r"model\.width=4 \(the training has 8\)"),
        ({"input": "caffe"}, r"model\.input=imagenet \(the training has caffe\)"),
    ],
)
def test_a_network_of_another_kind_is_refused(changes, message, trained):
    other = Segmenter(SMALL.model_copy(update=changes), CITYSCAPES)
    before = {k: v.clone() for k, v in other.state_dict().items()}
    with pytest.raises(WeightsError, match=message):
        load_network_weights(other, trained)
    assert all(torch.equal(v, before[k]) for k, v in other.state_dict().items())


def test_a_network_of_other_classes_is_refused(trained):
    three = ClassSet("three", ("a", "b", "c"), ((0, 0, 0), (9, 9, 9), (99, 9, 9)), {})
    with pytest.raises(WeightsError, match=r"has the classes road, .*the training has a, b, c: .*"):
        load_network_weights(Segmenter(SMALL, three), trained)


def test_what_learns_may_differ(trained):
    network = Segmenter(SMALL.model_copy(update={"freeze_affine": True}), CITYSCAPES)
    assert load_network_weights(network, trained).missing == ()


def test_weights_without_classifiers_start_no_network(segmenter, tmp_path):
    torch.save(segmenter.encoder.state_dict(), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"w\.pth is no model file of ours.*weights_for=encoder"):
        load_network_weights(segmenter, tmp_path / "w.pth")
    encoder = {f"encoder.{k}": v for k, v in segmenter.encoder.state_dict().items()}
    about = {"model": SMALL.model_dump(mode="json")}
    write_tensors(encoder, tmp_path / "e.safetensors", about, {})
    with pytest.raises(WeightsError, match=r"holds an encoder alone.*weights_for=encoder"):
        load_network_weights(segmenter, tmp_path / "e.safetensors")
    assert "classifiers are not taken" not in str(
        load_encoder_weights(segmenter, tmp_path / "e.safetensors")
    )
    with pytest.raises(WeightsError, match="no model file at"):
        load_network_weights(segmenter, tmp_path / "runs")


def test_a_checkpoint_of_a_run_names_the_run(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.yaml").touch()
    path = tmp_path / "checkpoints/step_00000010.pt"
    path.touch()
    with pytest.raises(WeightsError, match="is a checkpoint of a run") as error:
        read_tensors(path)
    assert f"name the run's folder, {tmp_path}, " in str(error.value)
