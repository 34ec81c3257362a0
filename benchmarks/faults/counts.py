"""Count how often each promise of docs/reliability.md holds.

    python -m benchmarks.faults.counts
    python -m benchmarks.faults.counts --only checkpoint_flips nan

A promise is counted by a function of `benchmarks.faults.measures`, by the results files of kills
and fuzz, or by the cases of its tests that pass. Counts stand in a results file, which
docs/make_reliability.py shows; those of promises that are not measured again stay. The program
stops at a promise that does not hold.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from benchmarks.faults import measures, today

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@dataclass(frozen=True)
class Promise:
    """What is promised, the tests that hold it, and how often it is seen to hold."""

    text: str
    tests: tuple[str, ...]
    """Files, or tests of them, as pytest names them."""
    count: Callable[[Path], str] | str = "cases"
    """A function of a new folder that returns the count; or the noun for test cases that pass."""


def _results(name: str) -> Any:
    return json.loads((HERE / f"{name}.json").read_text())


def _hits(way: str) -> int:
    return sum(n for run in _results("kills") for key, n in run["hits"].items() if way in key)


def kills(_: Path) -> str:
    """Return the counts of SIGKILLs, from the results file."""
    runs = sum(run["runs"] for run in _results("kills"))
    return f"{_hits('SIGKILL')} SIGKILLs, {runs} of {runs} trainings equal"


def signals(_: Path) -> str:
    """Return the counts of signals, from the results file."""
    notices, late = _hits("pre-emption"), _hits("killed after")
    asked = sum(_hits(name) for name in ("SIGTERM", "SIGINT", "SIGHUP"))
    return f"{asked} signals; {notices - late} of {notices} notices of 10 s"


def fuzz(_: Path) -> str:
    """Return the counts of hostile inputs, from the results file."""
    runs = _results("fuzz")
    kinds = [counts for run in runs for counts in run["counts"].values()]
    faults = sum(counts.get("fault", 0) for counts in kinds)
    return f"{sum(sum(counts.values()) for counts in kinds):,} inputs, {faults} faults"


T = "tests/training"
PROMISES = {
    "kills": Promise(
        "A training killed at any instant resumes and ends equal",
        ("tests/benchmarks/test_faults.py", f"{T}/test_stages.py"),
        kills,
    ),
    "signals": Promise(
        "Ctrl-C, SIGTERM and SIGHUP end it with a checkpoint", (f"{T}/test_stopping.py",), signals
    ),
    "full_disks": Promise(
        "A full disk or a failed write leaves the former checkpoint whole",
        ("tests/runs/test_checkpoint.py", "tests/core/test_files.py"),
        measures.full_disks,
    ),
    "checkpoint_flips": Promise(
        "A damaged checkpoint is noticed, and the one before it is used",
        ("tests/runs/test_checkpoint.py",),
        measures.checkpoint_flips,
    ),
    "model_flips": Promise(
        "A flipped bit in a model file is noticed",
        ("tests/weights/test_model_files.py",),
        measures.model_flips,
    ),
    "label_flips": Promise(
        "A flipped bit in a palette label is noticed",
        ("tests/data/test_picture_routes.py",),
        measures.label_flips,
    ),
    "hostile": Promise(
        "A checkpoint, model file or YAML file runs no code",
        ("tests/runs/test_checkpoint.py", "tests/core/test_yamlfile.py"),
        measures.hostile_files,
    ),
    "fuzz": Promise(
        "Every input is read, or refused in words",
        ("tests/benchmarks/test_faults.py", "tests/cli/test_errors.py"),
        fuzz,
    ),
    "nan": Promise(
        "NaN and infinity stop a training before the update",
        (f"{T}/test_refusals.py", "tests/methods/test_finite.py"),
        measures.broken_numbers,
    ),
    "locks": Promise("One training per folder", ("tests/runs/test_lock.py",), measures.two_at_once),
    "requeue": Promise(
        "A requeued Slurm job takes over its own lock, and no other",
        (
            "tests/runs/test_lock.py::test_a_requeued_job_takes_over_its_own_lock",
            "tests/runs/test_lock.py::test_what_is_no_former_start_of_the_job_is_refused",
        ),
    ),
    "processes": Promise(
        "Two processes with one image each are one process with two",
        (f"{T}/test_processes.py::test_two_processes_are_one",),
        "methods and variants",
    ),
    "counted_once": Promise(
        "Scores count each image once, for any number of images and processes",
        ("tests/scoring/test_scoring.py::test_each_image_is_counted_once",),
    ),
    "elastic": Promise(
        "A run resumes on other numbers of processes and workers", (f"{T}/test_elastic.py",)
    ),
    "together": Promise(
        "A process that fails ends the others",
        (
            f"{T}/test_stopping.py::test_any_error_of_the_first_process_ends_the_others",
            f"{T}/test_processes.py::test_any_error_of_the_first_process_ends_the_others_within_a_minute",
            f"{T}/test_processes.py::test_two_processes_stop_and_fail_together",
        ),
    ),
    "pseudo_labels": Promise(
        "Pseudo-labels that are missing or damaged are made anew when a run resumes",
        (f"{T}/test_pseudo_labels.py",),
    ),
    "outputs": Promise(
        "An output of `clan predict`, or for the server, that cannot be written stops no others",
        (
            "tests/prediction/test_predictor.py::test_results_that_cannot_be_written_stop_no_others",
            "tests/prediction/test_predictor.py::test_a_full_disk_ends_the_work",
            "tests/scoring/test_submission.py::test_a_prediction_that_cannot_be_written_stops_no_others",
            "tests/scoring/test_submission.py::test_a_full_disk_ends_a_submission",
        ),
    ),
    "on_error": Promise(
        "Broken data stops a training with the file's name, or is skipped, counted and listed "
        "(`data.on_error`)",
        (f"{T}/test_skipped.py",),
    ),
    "archives": Promise(
        "A training from a zip, a tar or a folder is equal", (f"{T}/test_archives.py",)
    ),
    "hostile_archives": Promise(
        "Damaged and hostile archives are refused", ("tests/data/archives/test_hostile.py",)
    ),
    "members": Promise(
        "A tar with its index opens in under 5 s of the processor and 500 MiB",
        ("tests/data/archives/test_paths.py",),
        measures.many_members,
    ),
    "several": Promise(
        "Archives read as one are the folder; a picture in two of them is refused",
        ("tests/data/archives/test_several.py",),
    ),
    "single_values": Promise(
        "Images of which the encoder leaves one value per channel are refused before a run folder "
        "is made",
        (f"{T}/test_refusals.py::test_a_single_value_for_batch_norm_leaves_no_folder",),
    ),
    "workers": Promise(
        "A killed data worker, or too little shared memory, is said in words",
        ("tests/data/test_workers.py",),
    ),
    "terminal": Promise(
        "Names of files and classes give no commands to a terminal or a spreadsheet",
        ("tests/core/test_text.py",),
    ),
}
"""The promises by a word, in the page's order."""


def passed(tests: Sequence[str]) -> int:
    """Run tests; return how many cases passed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        subprocess.run([*command, f"--junitxml={report}", *tests], cwd=ROOT, check=True)
        suite = ElementTree.parse(report).getroot().find("testsuite")
        assert suite is not None
        return int(suite.attrib["tests"]) - int(suite.attrib["skipped"])


def measured(promise: Promise) -> str:
    """Count one promise."""
    if isinstance(promise.count, str):
        return f"{passed(promise.tests)} {promise.count}"
    with tempfile.TemporaryDirectory() as folder:
        return promise.count(Path(folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="*", choices=list(PROMISES), default=list(PROMISES))
    parser.add_argument("--out", type=Path, default=HERE / "counts.json")
    given = parser.parse_args()
    found = json.loads(given.out.read_text()) if given.out.is_file() else {}
    for key in given.only:
        found[key] = {"measured": measured(PROMISES[key]), **today()}
        print(f"{key}: {found[key]['measured']}", flush=True)
        shown = {
            key: {"promise": promise.text, "tests": promise.tests, **found.get(key, {})}
            for key, promise in PROMISES.items()
        }
        given.out.write_text(json.dumps(shown, indent=1) + "\n")


if __name__ == "__main__":
    main()
