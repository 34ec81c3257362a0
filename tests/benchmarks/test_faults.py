"""Small versions of the measurements of faults: kills, and mutated files."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest

from benchmarks.faults import counts, fuzz, kills, measures
from tests.systems import write_street

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(sys.platform != "linux", reason="forks processes; reads /proc"),
]

HOSTILE = 300


def test_a_training_killed_anywhere_ends_as_if_it_was_not(tmp_path: Path) -> None:
    """Method with pseudo-labels: equal in network, scores, metrics.jsonl and TensorBoard."""
    write_street(tmp_path / "street")
    ways = {"processor time": 2, "a write": 3, "SIGTERM": 1}
    found = kills.disturb("self-training in rounds", "cbst", ways, tmp_path)
    hits = found["hits"]
    assert hits["SIGKILL, processor time"] == 2
    assert hits["SIGKILL, a write"] == 3
    assert hits["SIGTERM"] == 1
    assert found["runs"] >= 1


def test_the_comparison_sees_a_difference(tmp_path: Path) -> None:
    """A training of another seed is another one in all that is compared."""
    write_street(tmp_path / "street")
    one = kills.Disturbed("source only", tmp_path, "source_only", random.Random(0))
    one.config.append("seed=1")
    with pytest.raises(kills.Wrong, match=r"other network, scores, metrics\.jsonl, TensorBoard"):
        one.finish()


def test_a_training_hit_before_its_folder_was_made_is_compared_all_the_same(tmp_path: Path) -> None:
    """Nothing is left to resume, so that a whole training must run."""
    write_street(tmp_path / "street")
    one = kills.Disturbed("source only", tmp_path, "source_only", random.Random(0))
    one.finish()
    assert one.runs == 1
    one.finish()
    assert one.runs == 1


def test_hostile_files_are_read_or_refused_in_words(tmp_path: Path) -> None:
    material = fuzz.Material(tmp_path, random.Random(0))
    found = fuzz.fuzz(material, lambda number: number == HOSTILE, None)
    assert found["faults"] == []
    assert found["inputs"] == HOSTILE
    counts = found["counts"]
    # each kind was tried, and mutations neither spare all nor break all
    assert all(sum(count.values()) > 3 for count in counts.values()), counts
    assert sum(count.get("read", 0) for count in counts.values()) > 30
    assert sum(count.get("refused", 0) for count in counts.values()) > 30


def test_a_traceback_counts_as_a_fault() -> None:
    def fails() -> None:
        raise KeyError("x")

    assert fuzz.one(fails)[0] == "fault"


def test_every_promise_was_counted() -> None:
    found = json.loads((counts.HERE / "counts.json").read_text())
    for key, promise in counts.PROMISES.items():
        assert found[key]["promise"] == promise.text
        assert tuple(found[key]["tests"]) == promise.tests
        assert found[key]["measured"]
        assert all((counts.ROOT / test.partition("::")[0]).is_file() for test in promise.tests)


def test_a_promise_that_does_not_hold_ends_the_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measures, "FLIPS", 100)
    assert measures.label_flips(tmp_path) == "100 of 100 flipped bits"
    monkeypatch.setattr(measures, "read_label", lambda path: 0)
    with pytest.raises(measures.Broken, match="changes it in silence"):
        measures.label_flips(tmp_path)
