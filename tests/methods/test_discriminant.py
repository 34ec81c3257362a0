"""A discriminant of a pretrained encoder's features corrects labels, in a training too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor

from clan.config.loading import anchored
from clan.core.errors import ConfigError, WeightsError
from clan.data.classes import ClassSet
from clan.data.loading import Batch
from clan.methods import METHODS
from clan.methods.discriminant import FeatureDiscriminant
from clan.models.options import ModelOptions
from clan.models.segmenter import Segmenter
from clan.runs.folder import RunFolder
from clan.training.train import resume, train
from clan.weights.model_files import save_model
from tests.systems import Spy, same, tensors, tiny

CLASSES = ClassSet("two", ("a", "b"), ((0, 0, 0), (255, 255, 255)), {})
ASKING = {
    "clan_st": ("training.steps=6", "method.keep_shares=0"),
    "cbst": ("training.steps=6", "method.source_steps=2", "method.rounds=2"),
}
"""Methods that ask for a second opinion, and the settings of their small trainings."""
OPTIONS = ModelOptions(encoder="resnet18", width=4, aspp_rates=(1, 2))


class Images:
    """The target: four images, dark on the left and bright on the right."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        shape = (4, 3, 32, 64)
        self.image = torch.randint(0, 60, shape, dtype=torch.uint8, generator=generator)
        self.image[..., 32:] += 150

    def target(self) -> Iterator[Batch]:
        yield Batch(image=self.image[:3])
        yield Batch(image=self.image[3:])


def discriminant_of(power: float = 1.0, zoom: float = 1.0) -> FeatureDiscriminant:
    torch.manual_seed(0)
    options = METHODS["cbst"].Options(
        discriminant=power, discriminant_zoom=zoom, pretrained="encoder.pth"
    )
    made = FeatureDiscriminant(Segmenter(OPTIONS, CLASSES), options)
    # an encoder that sees colours
    made.encoder.forward = (
        lambda x: [  # type: ignore[method-assign]
            torch.nn.functional.avg_pool2d(x, 8).repeat(1, made.weight.shape[1] // 3 + 1, 1, 1)[
                :, : made.weight.shape[1]
            ]
        ]
    )
    return made


@pytest.fixture
def discriminant() -> FeatureDiscriminant:
    return discriminant_of()


def mostly_right(image: Tensor) -> Tensor:
    """Return q: b where the image is bright, but in its uppermost quarter, where it is a."""
    bright = (image.float().mean(dim=1) > 120).float()
    bright[:, :8] = 0
    q = 0.2 + 0.6 * bright
    return torch.stack([1 - q, q], dim=1) * 0.5


def test_what_looks_alike_gets_one_class(discriminant: FeatureDiscriminant) -> None:
    images, fabric = Images(), Fabric(accelerator="cpu", devices=1)
    discriminant.fit(images, lambda x: x.float(), mostly_right, fabric)  # type: ignore[arg-type]
    q = mostly_right(images.image)
    assert not q.argmax(1)[:, :8].any()
    found = discriminant.refine(q, images.image.float())
    assert found.argmax(1)[..., 40:].all()
    assert not found.argmax(1)[..., :24].any()
    # the confidence in all classes together, such as the agreement of two classifiers, is kept
    assert found.sum(1).allclose(q.sum(1))


def test_a_small_power_changes_little() -> None:
    discriminant = discriminant_of(power=1e-6)
    images, fabric = Images(), Fabric(accelerator="cpu", devices=1)
    discriminant.fit(images, lambda x: x.float(), mostly_right, fabric)  # type: ignore[arg-type]
    q = mostly_right(images.image)
    found = discriminant.refine(q, images.image.float())
    assert found.allclose(q, atol=1e-4)


def test_it_stays_in_evaluation_mode(discriminant: FeatureDiscriminant) -> None:
    assert not any(module.training for module in discriminant.modules())
    discriminant.train()
    assert not any(module.training for module in discriminant.modules())


@pytest.mark.parametrize("method", ASKING)
def test_each_option_needs_the_other(method: str) -> None:
    options = METHODS[method].Options
    for given in ({"discriminant": 1.0}, {"pretrained": "weights.pth"}):
        with pytest.raises(ValueError, match="an effect only together"):
            options(**given)


def encoder_file(folder: Path, width: int = 4) -> Path:
    torch.manual_seed(7)
    path = folder / "encoder.safetensors"
    save_model(Segmenter(OPTIONS.model_copy(update={"width": width}), CLASSES), path)
    return path


@pytest.mark.parametrize("method", ASKING)
def test_a_training_reads_its_encoder_once_and_resumes_alike(
    street: Path, tmp_path: Path, method: str
) -> None:
    weights, spy = encoder_file(tmp_path), Spy()
    asked = (f"method.pretrained={weights}", "method.discriminant=1")
    config = tiny(street, method, *ASKING[method], *asked)
    whole = RunFolder(tmp_path / "whole")
    train(config, whole.path, display=spy)
    assert any(m.startswith(f"method.pretrained: {weights}") for m in spy.messages)
    first = tensors(whole)
    plain = RunFolder(tmp_path / "plain")
    without = tiny(street, method, *ASKING[method])
    train(without, plain.path, display=Spy())
    assert not same(first, tensors(plain))
    # what was read is part of the checkpoints
    weights.unlink()
    newest = whole.newest_checkpoint()
    assert newest is not None
    newest.unlink()
    whole.model_file.unlink()
    resume(whole.path, display=Spy())
    assert same(first, tensors(whole))


def test_places_of_weights_are_filled_in_as_those_of_the_start(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def ask(_: object, __: object, source: str) -> str:
        asked.append(source)
        raise WeightsError("enough")

    monkeypatch.setattr("clan.training.loop.load_encoder", ask)
    changes = ("method.pretrained='{runs}/first/seed{seed}'", "method.discriminant=1", "seed=3")
    with pytest.raises(WeightsError, match="enough"):
        train(tiny(street, "clan_st", *changes), tmp_path / "clan_st/seed3", display=Spy())
    assert asked == [f"{tmp_path}/first/seed3"]


def test_a_relative_path_is_kept_whole(street: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(street)
    config = tiny(street, "clan_st", "method.pretrained=w.pth", "method.discriminant=1")
    assert anchored(config).method.pretrained_weights == str(street / "w.pth")


@pytest.mark.parametrize(
    ("width", "said"), [(0, "no weight file at .*nowhere.pth"), (8, "does not fit the encoder")]
)
def test_weights_that_do_not_serve_are_refused(
    street: Path, tmp_path: Path, width: int, said: str
) -> None:
    path = encoder_file(tmp_path, width) if width else tmp_path / "nowhere.pth"
    changes = (f"method.pretrained={path}", "method.discriminant=1")
    with pytest.raises((WeightsError, ConfigError), match=said):
        train(tiny(street, "clan_st", *changes), tmp_path / "run", display=Spy())


@pytest.mark.parametrize(("zoom", "size"), [(1.0, (30, 50)), (1.5, (45, 75)), (2.0, (60, 100))])
def test_the_encoder_sees_images_enlarged(zoom: float, size: tuple[int, int]) -> None:
    discriminant, seen = discriminant_of(zoom=zoom), []
    plain = discriminant.encoder.forward

    def noted(x: Tensor) -> list[Tensor]:
        seen.append(x.shape[-2:])
        found: list[Tensor] = plain(x)
        return found

    discriminant.encoder.forward = noted  # type: ignore[method-assign]
    q = torch.full((1, 2, 30, 50), 0.5)
    assert discriminant.refine(q, torch.zeros(1, 3, 30, 50)).shape == q.shape
    assert seen == [size]


def test_a_zoom_needs_a_discriminant() -> None:
    with pytest.raises(ValueError, match="discriminant_zoom 2 has no effect without"):
        METHODS["cbst"].Options(discriminant_zoom=2.0)
