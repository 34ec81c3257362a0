"""Encoders and decoders: those of another package, and every pair of ours that fits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

import clan
from clan.data.classes import CITYSCAPES
from clan.methods import Method, Progress
from clan.methods.mcd import MCD
from clan.models.decoders.table import DECODERS
from clan.models.encoders.table import ENCODERS, encoder_spec
from clan.models.options import ModelOptions
from clan.models.segmenter import Segmenter
from clan.weights.model_files import load_segmenter, save_model
from tests.models import outside
from tests.systems import same, tensors, tiny

SMALL = {"width": 4, "aspp_rates": (1, 2), "decoder_width": 8}
OUTSIDE = ("model.encoder=pyramid", "model.decoder=sum", "model.aspp_rates=[6, 12, 18, 24]")


@pytest.fixture
def registered() -> Iterator[None]:
    """Names of another package, known for the length of a test."""
    clan.register_encoder("pyramid", outside.ENCODER)
    clan.register_encoder("late", outside.LATE)
    clan.register_decoder("sum", outside.DECODER)
    yield
    del ENCODERS["pyramid"], ENCODERS["late"], DECODERS["sum"]


def pairs() -> list[dict[str, Any]]:
    """Return the smallest options of every encoder with every decoder that fits it."""
    found = []
    for encoder, spec in ENCODERS.items():
        for decoder, other in DECODERS.items():
            for stride in spec.output_strides or (8,):
                read = (spec.options | other.reads) & SMALL.keys()
                names = {"encoder": encoder, "decoder": decoder, "output_stride": stride}
                options = {**names, **{name: SMALL[name] for name in read}}
                try:
                    ModelOptions(**options)
                except ValueError:
                    continue
                found.append(options)
    # of the sizes of a pair the coarsest: it is the fastest
    return list({(each["encoder"], each["decoder"]): each for each in found}.values())


PAIRS = pairs()


def images() -> torch.Tensor:
    return torch.randint(
        0, 256, (1, 3, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )


def test_every_encoder_and_every_decoder_has_a_partner() -> None:
    assert {each["encoder"] for each in PAIRS} == set(ENCODERS)
    assert {each["decoder"] for each in PAIRS} == set(DECODERS)
    assert len(PAIRS) > len(ENCODERS) + 3


@pytest.mark.parametrize("classifiers", [1, 2])
@pytest.mark.parametrize("pair", PAIRS, ids=lambda p: f"{p['encoder']}-{p['decoder']}")
def test_a_pair_learns_and_survives_its_file(
    pair: dict[str, Any], classifiers: int, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    segmenter = Segmenter(ModelOptions(**pair, classifiers=classifiers), CITYSCAPES).train()
    if pair["encoder"] != "vgg16":
        # one image's deepest map may be a single cell, which has no statistics
        segmenter.encoder.eval()
    logits = segmenter(images())
    assert [z.shape for z in logits] == [(1, 19, 64, 96)] * classifiers
    sum(z.square().mean() for z in logits).backward()
    grouped = [p for part in segmenter.groups().values() for p in part]
    assert len(grouped) == len({id(p) for p in grouped}) == len(list(segmenter.parameters()))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in grouped)
    assert all(head.filters() for head in segmenter.heads())

    segmenter.eval()
    save_model(segmenter, tmp_path / "model.safetensors")
    with torch.no_grad():
        before, after = segmenter(images()), load_segmenter(tmp_path)(images())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("pair", PAIRS, ids=lambda p: f"{p['encoder']}-{p['decoder']}")
def test_an_encoder_has_the_maps_that_its_spec_promises(pair: dict[str, Any]) -> None:
    options = ModelOptions(**pair)
    spec = encoder_spec(options.encoder)
    encoder = Segmenter(options, CITYSCAPES).eval().encoder
    assert spec.maps is not None
    assert encoder.maps == spec.maps(options)
    maps = encoder(torch.zeros(1, 3, 64, 96))
    assert tuple(each.shape[1] for each in maps) == encoder.channels
    if not spec.padding:
        assert [each.shape[-1] for each in maps] == [96 // stride for stride in encoder.strides]


@pytest.mark.usefixtures("registered")
def test_an_encoder_and_a_decoder_of_another_package_train(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(street, "clan", *OUTSIDE, "training.steps=4")
    whole = clan.train(config, tmp_path / "whole")
    before = tensors(whole)
    assert {"encoder.fine.weight", "decoder.project.weight", "classifiers.1.conv.bias"} <= set(
        before
    )
    network = clan.load(whole.path).segmenter
    assert isinstance(network.encoder, outside.Pyramid)
    assert same(before, network.state_dict())

    original = Method.start_update

    def killed(self: Method, progress: Progress) -> None:
        if progress.step == 2:
            raise ConnectionError
        original(self, progress)

    monkeypatch.setattr(Method, "start_update", killed)
    with pytest.raises(ConnectionError):
        clan.train(config, tmp_path / "broken")
    monkeypatch.undo()
    resumed = tensors(clan.resume(tmp_path / "broken"))
    assert same(before, resumed)
    start = Segmenter(config.model, network.classes)
    assert not torch.equal(start.decoder.project.weight, resumed["decoder.project.weight"])


@pytest.mark.usefixtures("registered")
def test_an_encoders_own_normalisation_travels_with_the_model(tmp_path: Path) -> None:
    segmenter = Segmenter(ModelOptions(encoder="pyramid", decoder="sum"), CITYSCAPES)
    assert segmenter.options.mean == (0.1, 0.2, 0.3)
    torch.testing.assert_close(segmenter.std.flatten(), 255 * torch.tensor([0.4, 0.5, 0.6]))
    save_model(segmenter, tmp_path / "model.safetensors")
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        told = json.loads(file.metadata()["clan"])["model"]
    assert (told["mean"], told["std"]) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    given = ModelOptions(encoder="pyramid", decoder="sum", mean=(0.5, 0.5, 0.5), std=None)
    assert (given.mean, given.std) == ((0.5, 0.5, 0.5), (0.4, 0.5, 0.6))


@pytest.mark.usefixtures("registered")
def test_maps_that_are_known_late_are_refused_when_the_network_is_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needy = clan.DecoderSpec(outside.Sum, strides=(2,))
    monkeypatch.setitem(DECODERS, "needy", needy)
    message = r"any channels at stride 2; .* 4 channels at stride 4, 8 channels at stride 16"
    with pytest.raises(ValueError, match=message):
        ModelOptions(encoder="pyramid", width=4, decoder="needy")
    options = ModelOptions(encoder="late", width=4, decoder="needy")
    with pytest.raises(clan.ClanError, match=message):
        Segmenter(options, CITYSCAPES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("encoder=resnet5", r"model\.encoder: unknown encoder 'resnet5'; did you mean 'resnet50'"),
        ("encoder=xyz", r"unknown encoder 'xyz'; known: .*mobilenet_v2.*resnet101"),
        ("encoder=fh:swin", "unknown encoder 'fh:swin'"),
        ("decoder=fuson", "model.decoder: unknown decoder 'fuson'; did you mean 'fusion'"),
        ("decoder=xyz", "unknown decoder 'xyz'; known: .*deeplab.*fcn8s.*fusion"),
        ("output_stride=4", "output_stride"),
    ],
)
def test_unknown_names_are_told_with_the_nearest(street: Path, change: str, message: str) -> None:
    with pytest.raises(clan.ClanError, match=message):
        tiny(street, "source_only", f"model.{change}")


def test_a_name_is_given_once() -> None:
    with pytest.raises(clan.ClanError, match="an encoder 'resnet18' already"):
        clan.register_encoder("resnet18", outside.ENCODER)
    with pytest.raises(clan.ClanError, match="a decoder 'fusion' already"):
        clan.register_decoder("fusion", outside.DECODER)
    for name in ("", "hf:mine"):
        with pytest.raises(clan.ClanError, match="a word without a colon"):
            clan.register_encoder(name, outside.ENCODER)
    with pytest.raises(clan.ClanError, match="needs a name"):
        clan.register_decoder("", outside.DECODER)
    with pytest.raises(clan.ClanError, match="expected an EncoderSpec"):
        clan.register_encoder("mine", outside.Pyramid)  # type: ignore[arg-type]
    with pytest.raises(clan.ClanError, match="expected a DecoderSpec"):
        clan.register_decoder("mine", outside.Sum)  # type: ignore[arg-type]
    assert not {"mine", "", "hf:mine"} & (ENCODERS.keys() | DECODERS.keys())


def test_the_former_name_of_the_decoder_is_read() -> None:
    options = ModelOptions(encoder="vgg16", head="fcn8s")  # type: ignore[call-arg]
    assert options == ModelOptions(encoder="vgg16", decoder="fcn8s")
    assert "head" not in options.model_dump()
    with pytest.raises(ValueError, match="head is the former name of decoder"):
        ModelOptions(encoder="vgg16", head="fcn8s", decoder="fcn8s")  # type: ignore[call-arg]


def test_mcd_sets_classifiers_apart_without_what_they_share(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[bool] = []
    original = MCD.raise_discrepancy

    def watched(self: MCD, *batches: Any) -> None:
        original(self, *batches)
        shared = [p.grad for p in self.segmenter.decoder.parameters()]
        moved.append(any(g is not None and bool(g.any()) for g in shared))
        assert all(p.grad.any() for head in self.segmenter.heads() for p in head.filters())

    monkeypatch.setattr(MCD, "raise_discrepancy", watched)
    changes = ("model.decoder=fusion", "model.decoder_width=8", "training.steps=2")
    clan.train(tiny(street, "mcd", *changes), tmp_path / "run")
    assert moved == [False, False]
