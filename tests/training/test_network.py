"""What options of the training do to the network, and the precision that a CPU can compute."""

from __future__ import annotations

import pytest
import torch

from clan.config.tree import TrainingOptions
from clan.core.errors import ConfigError
from clan.data.classes import CITYSCAPES
from clan.models.segmenter import ModelOptions, Segmenter
from clan.training import processes
from clan.training.network import prepare_network
from clan.training.processes import computes_bf16, launch


def small() -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(ModelOptions(encoder="resnet18", width=4, aspp_rates=(1,)), CITYSCAPES)


def test_the_encoder_is_compiled_where_asked(monkeypatch: pytest.MonkeyPatch):
    """By torch's compiler without its code generation, which would take a minute."""
    whole, compiled = torch.compile, []

    def compile_simply(call, *arguments, **options):
        compiled.append(call)
        return whole(call, backend="eager")

    monkeypatch.setattr(torch, "compile", compile_simply)
    plain, other, image = small(), small(), torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    prepare_network(plain, TrainingOptions(steps=1))
    assert not compiled
    prepare_network(other, TrainingOptions(steps=1, compile=True))
    assert len(compiled) == 1
    assert compiled[0].__self__ is other.encoder
    assert other.state_dict().keys() == plain.state_dict().keys()
    torch.testing.assert_close(other(image), plain(image))


def test_the_encoder_recomputes_where_asked():
    segmenter = small()
    prepare_network(segmenter, TrainingOptions(steps=1, checkpointing="encoder"))
    logits, _ = segmenter(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    runs = []
    segmenter.encoder.parts()[0].conv1.register_forward_hook(lambda *_: runs.append(1))
    logits.sum().backward()
    assert runs == [1]


def test_bf16_is_refused_where_it_would_be_emulated(monkeypatch: pytest.MonkeyPatch):
    options = TrainingOptions(steps=1, precision="bf16-mixed", accelerator="cpu")
    monkeypatch.setattr(processes, "computes_bf16", lambda _: False)
    with pytest.raises(ConfigError, match=r"no instructions for bfloat16 and .*32-true"):
        launch(options)
    monkeypatch.setattr(processes, "computes_bf16", lambda _: True)
    assert launch(options).device.type == "cpu"


@pytest.mark.parametrize("instructions", ["avx512_bf16", "amx_tile", "none"])
def test_the_cpu_is_asked_for_its_instructions(monkeypatch: pytest.MonkeyPatch, instructions: str):
    monkeypatch.setattr(processes.platform, "machine", lambda: "x86_64")
    for name in processes.BF16:
        answer = name == instructions
        monkeypatch.setattr(
            torch.cpu, f"_is_{name}_supported", lambda answer=answer: answer, raising=False
        )
    assert computes_bf16(torch.device("cpu")) == (instructions != "none")
