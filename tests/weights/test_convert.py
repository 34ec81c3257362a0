"""Published layouts: same logits, every key told, there and back the identity."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from clan.cli import app
from clan.core.errors import WeightsError
from clan.data.classes import CITYSCAPES
from clan.models.segmenter import ModelOptions, Segmenter
from clan.weights.convert import convert
from clan.weights.layouts import LAYOUTS, PUBLISHED
from clan.weights.model_files import load_segmenter, save_model
from clan.weights.start import load_encoder_weights
from tests.weights import published

# head modules and how many of their four stored branches the published code runs to predict
EXECUTED = {
    "clan": {"layer5": 4, "layer6": 4},
    "adaptsegnet": {"layer5": 2},
    "adaptsegnet-multi": {"layer6": 2},
    "advent": {"layer6": 4},
    "advent-multi": {"layer6": 4},
}
IDLE = {"clan": 0, "adaptsegnet": 4, "adaptsegnet-multi": 12, "advent": 0, "advent-multi": 8}
AMBIGUOUS = ("adaptsegnet-multi", "advent-multi")
# rows that ceil_mode rounds up, columns that no stride divides
SIZE = (1, 3, 36, 53)
BACKBONES = ("resnet18", "resnet50", "resnet101", "mobilenet_v2", "vgg16")


def layout_of(name: str) -> str:
    return name if name in AMBIGUOUS else "auto"


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(
        torch.equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a
    )


def assert_same_logits(found: torch.Tensor, expected: torch.Tensor) -> None:
    scale = expected.std().item()  # a random network's logits have any size
    assert scale > 0
    torch.testing.assert_close(found / scale, expected / scale, rtol=1e-3, atol=1e-3)


def picture(size=SIZE):
    """Return the same picture (1, 3, H, W) in each run."""
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("name", list(EXECUTED))
def test_a_converted_checkpoint_gives_the_published_logits(name, tmp_path):
    tensors = published.deeplab(name)
    torch.save(tensors, tmp_path / "w.pth")
    report = convert(tmp_path / "w.pth", tmp_path / "m.safetensors", layout=layout_of(name))
    assert report.layout.name == name
    assert not report.missing
    assert not report.shape_differs
    assert len(report.left) == IDLE[name]
    assert sorted((*report.loaded, *report.left)) == sorted(tensors)
    segmenter = load_segmenter(tmp_path / "m.safetensors")
    assert segmenter.classes == CITYSCAPES
    assert segmenter.evaluation_size == (512, 1024)
    assert segmenter.options.input == "caffe"
    image = picture()
    with torch.no_grad():
        found = segmenter(image)
        expected = published.published_logits(tensors, image, EXECUTED[name])
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert_same_logits(a, b)


def test_every_published_option_changes_the_logits(tmp_path):
    """So the equality above tests each of them."""
    torch.save(published.deeplab("clan"), tmp_path / "w.pth")
    convert(tmp_path / "w.pth", tmp_path / "m.safetensors")
    segmenter = load_segmenter(tmp_path / "m.safetensors")
    image = picture()
    flipped = {
        "input": "imagenet",
        "stride_in": "3x3",
        "dilate_first": False,
        "ceil_mode": False,
        "align_corners": False,
        "output_stride": 16,
    }
    assert {*flipped, "decoder"} == set(PUBLISHED)
    with torch.no_grad():
        expected = segmenter(image)[0]
        for name, value in flipped.items():
            options = segmenter.options.model_copy(update={name: value})
            other = Segmenter(options, CITYSCAPES).eval()
            other.load_state_dict(segmenter.state_dict())
            difference = (other(image)[0] - expected).std() / expected.std()
            assert difference > 0.02, name


@pytest.mark.parametrize("counters", [True, False])
@pytest.mark.parametrize("name", [*EXECUTED, "deeplab-coco", *BACKBONES])
def test_there_and_back_is_the_identity(name, counters, tmp_path):
    layout = "torchvision" if name in BACKBONES else name
    make = published.torchvision if name in BACKBONES else published.deeplab
    tensors = make(name, counters=counters)
    torch.save(tensors, tmp_path / "w.pth")
    convert(tmp_path / "w.pth", tmp_path / "m.safetensors", layout=layout_of(name))
    report = convert(tmp_path / "m.safetensors", tmp_path / "back.pth", to=layout)
    assert same(torch.load(tmp_path / "back.pth", weights_only=True), tensors)
    assert not report.left
    assert not report.filled


def test_a_network_saved_in_data_parallel_goes_back_as_it_came(tmp_path):
    tensors = {f"module.{k}": t for k, t in published.deeplab("advent").items()}
    torch.save({"state_dict": tensors}, tmp_path / "w.pth")
    convert(tmp_path / "w.pth", tmp_path / "m.safetensors")
    convert(tmp_path / "m.safetensors", tmp_path / "back.safetensors", to="advent")
    assert same(load_file(tmp_path / "back.safetensors"), tensors)


@pytest.mark.parametrize("name", [*BACKBONES, "deeplab-coco"])
def test_an_encoder_file_starts_a_training(name, tmp_path):
    coco = name == "deeplab-coco"
    tensors = published.deeplab(name, 21) if coco else published.torchvision(name)
    torch.save(tensors, tmp_path / "w.pth")
    report = convert(tmp_path / "w.pth", tmp_path / "e.safetensors", classes="cityscapes")
    heads = {"mobilenet_v2": ("features.18.", "classifier."), "vgg16": ("classifier.6.",)}
    dropped = ("Scale.layer5.",) if coco else heads.get(name, ("fc.",))
    assert set(report.left) == {k for k in tensors if k.startswith(dropped)}
    with pytest.raises(WeightsError, match=r"an encoder without classifiers.*weights="):
        load_segmenter(tmp_path / "e.safetensors")
    options = {"encoder": "resnet101" if coco else name}
    options |= {"decoder": "fcn8s"} if name == "vgg16" else {"aspp_rates": (1,)}
    options |= {} if name == "mobilenet_v2" else {"width": 4}
    options |= {"input": "caffe", "stride_in": "1x1"} if coco else {}
    loaded = []
    for file in ("w.pth", "e.safetensors"):
        torch.manual_seed(0)
        segmenter = Segmenter(ModelOptions(**options), CITYSCAPES)
        start = load_encoder_weights(segmenter, tmp_path / file)
        assert not start.missing
        assert not start.shape_differs
        loaded.append(segmenter.state_dict())
        note = "note: trained with dilate_first=True (the network has False), ceil_mode=True"
        assert (note in str(start)) == coco
    assert same(*loaded)
    key = "Scale.layer4.2.conv2.weight" if coco else next(iter(tensors))
    ours = f"encoder.{key.removeprefix('Scale.')}"
    assert torch.equal(loaded[0][ours], tensors[key])


def test_vgg16s_dense_layers_become_convolutions(tmp_path):
    tensors = published.torchvision("vgg16")
    torch.save(tensors, tmp_path / "w.pth")
    convert(tmp_path / "w.pth", tmp_path / "e.safetensors")
    fc6 = load_file(tmp_path / "e.safetensors")["fc6.weight"]
    x = torch.randn(2, 32, 7, 7)
    dense = x.flatten(1) @ tensors["classifier.0.weight"].T
    convolved = torch.nn.functional.conv2d(x, fc6).flatten(1)
    torch.testing.assert_close(convolved, dense, rtol=1e-4, atol=1e-4)


def test_coco_weights_are_a_whole_model_where_the_classes_agree(tmp_path):
    names = "\n".join(f"  c{i}: [{i}, 0, 0]" for i in range(21))
    (tmp_path / "coco.yaml").write_text(f"name: coco\nclasses:\n{names}\n")
    tensors = published.deeplab("deeplab-coco", 21)
    torch.save(tensors, tmp_path / "w.pth")
    model = tmp_path / "m.safetensors"
    report = convert(tmp_path / "w.pth", model, classes=str(tmp_path / "coco.yaml"))
    assert not report.left
    assert len(load_segmenter(model).classes) == 21


def test_weights_for_another_input_are_refused(tmp_path):
    torch.save(published.deeplab("clan"), tmp_path / "w.pth")
    segmenter = Segmenter(ModelOptions(width=4, aspp_rates=(1,)), CITYSCAPES)
    with pytest.raises(WeightsError, match=r"caffe input.*set model.input=caffe"):
        load_encoder_weights(segmenter, tmp_path / "w.pth")


def test_a_model_trained_here_goes_to_a_published_layout(tmp_path):
    """Its state dict must have every key of the published network, which loads strictly."""
    options = LAYOUTS["adaptsegnet-multi"].options
    torch.manual_seed(0)
    segmenter = Segmenter(ModelOptions(width=4, **options), CITYSCAPES).eval()
    save_model(segmenter, tmp_path / "m.safetensors")
    report = convert(tmp_path / "m.safetensors", tmp_path / "w.pth", to="adaptsegnet-multi")
    tensors = torch.load(tmp_path / "w.pth", weights_only=True)
    reference = published.deeplab("adaptsegnet-multi")
    assert {k: t.shape for k, t in tensors.items()} == {k: t.shape for k, t in reference.items()}
    assert len(report.filled) == 12
    assert not any(tensors[k].any() for k in report.filled)
    image = picture((1, 3, 40, 40))
    with torch.no_grad():
        expected = published.published_logits(tensors, image, {"layer6": 2})
        assert_same_logits(segmenter(image)[0], expected[0])


def test_a_layout_that_means_another_network_is_refused(tmp_path):
    segmenter = Segmenter(ModelOptions(width=4), CITYSCAPES)
    save_model(segmenter, tmp_path / "m.safetensors")
    with pytest.raises(WeightsError, match=r"cannot be written as clan: .*stride_in=3x3"):
        convert(tmp_path / "m.safetensors", tmp_path / "w.pth", to="clan")
    assert not (tmp_path / "w.pth").exists()
    report = convert(tmp_path / "m.safetensors", tmp_path / "w.pth", to="torchvision")
    assert all(key.startswith("classifiers.") for key in report.left)
    with pytest.raises(WeightsError, match=r"did you mean 'advent'"):
        convert(tmp_path / "m.safetensors", tmp_path / "w.pth", to="advant")
    with pytest.raises(WeightsError, match="a model of this package already"):
        convert(tmp_path / "m.safetensors", tmp_path / "n.safetensors")


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_layouts_that_keys_cannot_tell_apart_must_be_named(name, tmp_path):
    torch.save(published.deeplab(name), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"adaptsegnet-multi and advent-multi alike.*--layout"):
        convert(tmp_path / "w.pth", tmp_path / "m.safetensors")


def test_an_unknown_layout_says_what_it_resembles_most(tmp_path):
    tensors = published.torchvision("resnet50")
    tensors["layer5.weight"] = torch.zeros(3)
    tensors = {k: t for k, t in tensors.items() if not k.startswith("layer3.")}
    torch.save(tensors, tmp_path / "w.pth")
    match = r"no layout that is known here.*resembles most: torchvision resnet50 \(\d\d% of"
    with pytest.raises(WeightsError, match=match):
        convert(tmp_path / "w.pth", tmp_path / "m.safetensors")
    torch.save(published.deeplab("clan"), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"not the layout advent; .*most: clan \(100%"):
        convert(tmp_path / "w.pth", tmp_path / "m.safetensors", layout="advent")


def test_a_network_below_a_name_of_its_own_is_recognised(tmp_path):
    tensors = {f"net.backbone.{k}": t for k, t in published.torchvision("resnet50").items()}
    torch.save({**tensors, "net.head.weight": torch.zeros(3)}, tmp_path / "w.pth")
    match = r"most: torchvision resnet50 \(9\d% of the keys in common, below net\.backbone\.\)"
    with pytest.raises(WeightsError, match=match):
        convert(tmp_path / "w.pth", tmp_path / "m.safetensors")


def test_an_incomplete_file_is_reported_and_written_only_on_demand(tmp_path):
    tensors = published.deeplab("advent")
    del tensors["layer2.0.bn1.bias"]
    tensors["bn1.weight"] = torch.zeros(3)
    torch.save(tensors, tmp_path / "w.pth")
    model = tmp_path / "m.safetensors"
    with pytest.raises(
        WeightsError, match=r"missing: layer2\.0\.bn1\.bias\n.*differs: bn1\.weight"
    ):
        convert(tmp_path / "w.pth", model)
    assert not model.exists()
    report = convert(tmp_path / "w.pth", model, partial=True)
    assert report.missing == ("layer2.0.bn1.bias",)
    assert report.shape_differs == ("bn1.weight",)
    load_segmenter(model)


def test_nothing_is_written_to_odd_places(tmp_path):
    torch.save(published.torchvision("resnet18"), tmp_path / "w.pth")
    for out, to, message in (
        ("absent/m.safetensors", None, "no folder .*absent to write m.safetensors"),
        ("m.pth", None, "a model file ends in .safetensors"),
        ("m.onnx", "torchvision", "written as .pth or .safetensors"),
    ):
        with pytest.raises(WeightsError, match=message):
            convert(tmp_path / "w.pth", tmp_path / out, to=to)
    with pytest.raises(WeightsError, match=r"no weight file at .*none\.pth"):
        convert(tmp_path / "none.pth", tmp_path / "m.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["w.pth"]


def test_classes_must_be_named_unless_they_are_cityscapes(tmp_path):
    torch.save(published.deeplab("advent", classes=16), tmp_path / "w.pth")
    for given, message in ((None, "none was given"), ("cityscapes", "cityscapes has 19")):
        with pytest.raises(WeightsError, match=f"have 16 classes; {message}"):
            convert(tmp_path / "w.pth", tmp_path / "m.safetensors", classes=given)


def test_the_command_reports_every_key(tmp_path):
    torch.save(published.deeplab("adaptsegnet-multi"), tmp_path / "w.pth")
    out = tmp_path / "model.safetensors"
    arguments = ["convert", str(tmp_path / "w.pth"), "--out", str(out)]
    arguments += ["--layout", "adaptsegnet-multi", "--every"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    for key in published.deeplab("adaptsegnet-multi"):
        assert f": {key}\n" in result.output
    assert "left: layer6.conv2d_list.3.bias" in result.output
    assert "layer5 is the auxiliary classifier" in result.output
    assert load_segmenter(out).options.aspp_rates == (6, 12)
