"""CDA: its two tasks on the source, their answers on the target, and what is learnt from them."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clan.core import extras
from clan.core.errors import ConfigError, DataError
from clan.methods import METHODS, Progress, Reading, Stage
from clan.optim.options import OptimOptions
from tests.methods.helpers import PLAIN, batch, build, parameters

START = Progress(0, 10)
CURRICULUM = Stage("curriculum", 5, prepared=True)


def street(seed: int, split: int) -> dict:
    """Return an image of sky over road, the road from row ``split`` on, with its label."""
    rng = np.random.default_rng(seed)
    label = (np.indices((32, 32))[0] >= split).astype(np.uint8)
    image = np.where(label[..., None], (90, 80, 90), (120, 160, 220)) + rng.integers(
        0, 9, (1, 1, 3)
    )
    return {
        "image": torch.from_numpy(image.astype(np.uint8)).permute(2, 0, 1)[None],
        "label": torch.from_numpy(label)[None],
        "name": [str(seed)],
        "index": torch.tensor([seed]),
    }


class Streets:
    """Both domains of a stage, in memory."""

    target_images = 3

    def __init__(self) -> None:
        self.labels: dict[str, torch.Tensor] = {}
        self.asked: int | None = None

    def source(self, most=None):
        self.asked = most
        return iter([street(seed, split) for seed, split in enumerate((8, 8, 24, 24))])

    def target(self):
        for seed, split in enumerate((8, 24, 8)):
            found = street(seed, split)
            del found["label"]
            yield found

    def write_label(self, name, label):
        self.labels[name] = label


def begin(method, domains=None):
    domains = domains or Streets()
    method.segmenter.eval()
    with torch.no_grad():
        method.begin_stage(CURRICULUM, domains)
    return domains


def test_both_tasks_are_answered_for_the_target():
    method = build("cda", neighbours=2, superpixels=16, superpixel_portion=0.75, fit_images=7)
    domains = begin(method)
    assert domains.asked == 7
    expected = torch.tensor([[0.25, 0.75, 0], [0.75, 0.25, 0], [0.25, 0.75, 0]])
    torch.testing.assert_close(method.distributions, expected)
    for name, split in (("0", 8), ("1", 24), ("2", 8)):
        label, truth = domains.labels[name].numpy(), street(0, split)["label"][0].numpy()
        labelled = label != 255
        assert 0.5 < labelled.mean() < 0.95
        assert (label[labelled] == truth[labelled]).mean() > 0.9


def test_beginning_again_changes_nothing():
    method = build("cda", superpixels=16)
    first, table = begin(method), method.distributions.clone()
    again = begin(method)
    assert torch.equal(table, method.distributions)
    assert all(torch.equal(first.labels[n], again.labels[n]) for n in first.labels)


def test_a_source_of_one_class_is_refused():
    class Grey(Streets):
        def source(self, most=None):
            return iter([street(0, 32), street(1, 32)])

    with pytest.raises(DataError, match="superpixels have 1 class"):
        begin(build("cda", superpixels=16), Grey())


def test_the_distributions_are_in_the_state_whatever_their_number():
    method, other = build("cda", superpixels=16), build("cda", superpixels=16)
    begin(method)
    other.load_state_dict(method.state_dict())
    assert torch.equal(other.distributions, method.distributions)


def test_a_step_is_its_formula():
    options = {"lambda_global": 0.3, "lambda_superpixel": 0.2, "batch_norm": "frozen"}
    method, restated = build("cda", **options), build("cda", **options)
    table = torch.rand(5, 3).softmax(1)
    source, target = batch(1), batch(2)
    target["index"] = torch.tensor([4, 1])
    target["label"][:, ::2] = 255
    method.distributions = table
    start = parameters(restated)
    restated.eval()
    z1, z2 = restated.segmenter(source["image"])
    logits = sum(restated.segmenter(target["image"]))
    mean = logits.softmax(1).mean((2, 3))
    overall = sum(-(table[row] * mean[i].log()).sum() for i, row in enumerate((4, 1))) / 2
    local = F.cross_entropy(logits, target["label"].long(), ignore_index=255)
    l_seg = F.cross_entropy(z1 + z2, source["label"].long())
    (l_seg + 0.3 * overall + 0.2 * local).backward()
    gradients = {n: p.grad for n, p in restated.named_parameters()}
    scalars = method.step(source, target, START)
    for name, value in parameters(method).items():
        expected = start[name] - 0.1 * gradients[name]
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-6, msg=name)
    assert scalars["loss_global"].item() == pytest.approx(overall.item(), rel=1e-5)


def test_stages_and_reading():
    options = METHODS["cda"].Options(source_steps=4)
    assert [(s.name, s.steps, s.prepared) for s in options.stages(10)] == [
        ("source", 4, False),
        ("curriculum", 6, True),
    ]
    method = build("cda")
    assert method.reading(CURRICULUM) == Reading(target_labels=True)
    assert method.reading(options.stages(10)[0]) == Reading()
    with pytest.raises(ValueError, match=r"leaves 0 after method\.source_steps 4"):
        options.stages(4)


def test_before_the_curriculum_only_statistics_see_the_target():
    a, b = build("cda", batch_norm="both"), build("cda", batch_norm="both")
    for seed, method in ((2, a), (3, b)):
        scalars = method.step(batch(1), batch(seed, labelled=False), START)
        assert "loss_global" not in scalars
    for name, value in parameters(a).items():
        assert torch.equal(value, parameters(b)[name])


def test_accumulation_gives_the_same_update():
    halves = OptimOptions(**{**dict(PLAIN), "accumulate": 2})
    methods = build("cda", batch_norm="frozen"), build("cda", halves, batch_norm="frozen")
    for method in methods:
        method.distributions = torch.eye(3)[[0, 1, 2, 1]]
        method.step(batch(1, 4), batch(2, 4), START)
    for x, y in zip(*(parameters(m).values() for m in methods), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-6)


def test_a_missing_extra_is_named_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # as a machine without scikit-image answers
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"cda needs.*'skimage'.*pip install 'clan\[cda\]'"):
        build("cda")


def test_no_other_method_needs_the_extra() -> None:
    code = (
        "import sys; sys.modules['skimage'] = None\n"
        "from clan.methods import METHODS\n"
        "import clan.losses.superpixels, clan.training.loop"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert found.returncode == 0, found.stderr.decode()
