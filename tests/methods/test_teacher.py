from __future__ import annotations

import pytest
import torch

from clan.data.classes import CITYSCAPES
from clan.methods.teacher import Teacher
from clan.models.segmenter import ModelOptions, Segmenter

OPTIONS = ModelOptions(encoder="resnet18", width=4, aspp_rates=(1,), output_stride=32)


def network(seed: int) -> Segmenter:
    torch.manual_seed(seed)
    return Segmenter(OPTIONS, CITYSCAPES)


def test_it_begins_as_the_student_whatever_it_was() -> None:
    teacher, student = Teacher(network(0), 0.99, "parameters", "both"), network(1)
    teacher.follow(student, 0)
    for own, learnt in zip(teacher.network.parameters(), student.parameters(), strict=True):
        assert torch.equal(own, learnt)


@pytest.mark.parametrize(("step", "alpha"), [(1, 0.5), (9, 0.9), (200, 0.9)])
def test_the_decay_grows_to_its_end(step: int, alpha: float) -> None:
    student, teacher = network(1), Teacher(network(0), 0.9, "parameters", "both")
    before = [p.clone() for p in teacher.network.parameters()]
    teacher.follow(student, step)
    for old, own, new in zip(
        before, teacher.network.parameters(), student.parameters(), strict=True
    ):
        torch.testing.assert_close(own, alpha * old + (1 - alpha) * new)


def test_buffers_follow_only_where_asked() -> None:
    student = network(0)
    for update in ("parameters", "buffers"):
        teacher = Teacher(student, 0.9, update, "both")
        mean = student.encoder.bn1.running_mean
        mean.add_(1)
        teacher.follow(student, 5)
        assert torch.equal(teacher.network.encoder.bn1.running_mean, mean) == (update == "buffers")


@pytest.mark.parametrize(
    ("update", "mode", "own"),
    [("parameters", "both", True), ("parameters", "frozen", False), ("buffers", "both", False)],
)
def test_whose_statistics_normalise(update: str, mode: str, own: bool) -> None:
    teacher = Teacher(network(0), 0.9, update, mode)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, 64, 64), generator=generator, dtype=torch.uint8)
    alone, both = teacher.predict(images[:1]), teacher.predict(images)
    assert torch.allclose(alone, both[:1], atol=1e-5) != own
    # nothing is remembered
    assert torch.equal(alone, teacher.predict(images[:1]))
