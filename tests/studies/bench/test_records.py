"""Records stand in for runs that were trained elsewhere, and for no others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from clan.config.flat import flat, unflat
from clan.config.loading import load_config
from clan.core.errors import RunError
from clan.runs.folder import RunFolder
from clan.studies.bench.folder import run_changes
from clan.studies.bench.records import Records
from clan.studies.bench.task import open_task
from tests.studies.bench.conftest import copy_of, request, run
from tests.systems import SETTINGS, tiny

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def records(street: Path, whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the finished comparison leaves; read only."""
    root = tmp_path_factory.mktemp("records")
    path = root / "records.jsonl"
    _, shown = run(request(street, copy_of(whole, root), records=path), start=None)
    assert f"records: 6 runs in {path}" in shown
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_the_table_of_records_is_the_table_of_the_runs(
    street: Path, whole: Path, records: Path, tmp_path: Path
) -> None:
    """The scores are kept whole; of the log's numbers five digits."""
    elsewhere = Path(shutil.copytree(street, tmp_path / "street"))
    lines = read(records)
    for line in lines:  # as they were written before the key was renamed
        line["config"]["optim.segmenter.listings"] = line["config"].pop(
            "optim.segmenter.step_repeats"
        )
        # declared for the check of data only
        line["config"]["data.source.absent"] = ["sky"]
    records = write(tmp_path / "records.jsonl", lines)
    out, before = tmp_path / "bench", records.read_bytes()
    page = tmp_path / "page.md"
    _, shown = run(request(elsewhere, out, records=records, page=page), start=None)
    assert "6 runs are taken from" in shown
    assert "0 runs, 0 finished already" in shown
    assert (out / "bench.md").read_text() == (whole / "bench.md").read_text()
    assert "| class | source labels | target labels |" in page.read_text()
    assert f"--records {records}" in page.read_text()
    assert records.read_bytes() == before


def test_no_place_stands_in_a_record(street: Path, records: Path) -> None:
    text = records.read_text()
    assert str(street) not in text
    config = read(records)[0]["config"]
    assert config["data.target.dataset"] == "photos.yaml"
    assert config["data.validation.split"] == "val"


def test_only_what_is_lacking_is_trained_and_then_added(
    street: Path, whole: Path, records: Path, tmp_path: Path
) -> None:
    lines = read(records)
    kept = [line for line in lines if (line["system"], line["seed"]) != ("clan", 1)]
    stranger = {**lines[0], "system": "of_another_table"}
    path = write(tmp_path / "records.jsonl", [*kept, stranger])
    out = tmp_path / "bench"
    _, shown = run(request(street, out, records=path))
    assert "5 runs are taken from" in shown
    assert "1 run, 0 finished already" in shown
    assert not (out / "clan" / "seed0").exists()
    assert RunFolder(out / "clan" / "seed1").finished
    added = {(line["system"], line["seed"]): line for line in read(path)}
    assert len(added) == 7
    old = {(line["system"], line["seed"]): line for line in lines}
    assert added["clan", 1]["evaluation"]["confusion"] == old["clan", 1]["evaluation"]["confusion"]
    assert added["of_another_table", stranger["seed"]] == stranger
    assert added["oracle", 0] == old["oracle", 0]


def test_a_system_starts_from_the_run_of_its_seed(street: Path, tmp_path: Path) -> None:
    task = Path(shutil.copytree(street, tmp_path / "street"))
    out = tmp_path / "bench"
    later = {"extends": "source_only.yaml", "name": "a_later"}
    later |= {"weights": "{runs}/source_only/seed{seed}", "weights_for": "network"}
    (task / "a_later.yaml").write_text(json.dumps(later))
    names = ("source_only", "a_later")
    records = tmp_path / "records.jsonl"
    asked = request(task, out, systems=names, records=records)
    run(asked)
    folders = [RunFolder(out / "a_later" / f"seed{seed}") for seed in (0, 1)]
    for seed, folder in enumerate(folders):
        assert f"source_only/seed{seed}" in (folder.path / "weights.txt").read_text()
    # a record has no network: what a missing run starts from is trained again
    kept = [line for line in read(records) if (line["system"], line["seed"]) != ("a_later", 1)]
    write(records, kept)
    shutil.rmtree(out)
    _, shown = run(asked)
    assert "2 runs, 0 finished already" in shown
    assert not (out / "source_only" / "seed0").exists()
    assert folders[1].finished


def test_a_run_that_is_here_comes_before_its_record(
    street: Path, whole: Path, records: Path, tmp_path: Path
) -> None:
    lines = read(records)
    for line in lines:
        line["evaluation"]["confusion"] = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    path = write(tmp_path / "records.jsonl", lines)
    out = copy_of(whole, tmp_path)
    run(request(street, out, records=path), start=None)
    assert (out / "bench.md").read_text() == (whole / "bench.md").read_text()
    assert read(path)[0]["evaluation"] == read(records)[0]["evaluation"]


def test_records_of_another_training_are_named_and_not_used(
    street: Path, records: Path, tmp_path: Path
) -> None:
    lines = read(records)
    by_key = {(line["system"], line["seed"]): line for line in lines}
    by_key["clan", 0]["config"]["optim.segmenter.lr"] = 0.5
    by_key["clan", 1]["config"]["method.lambda_lost"] = 1
    changed = Path(shutil.copytree(street, tmp_path / "street"))
    path = write(tmp_path / "records.jsonl", lines)
    asked = request(changed, tmp_path / "bench", records=path, table_only=True)
    table, shown = run(asked, start=None)
    assert [row.name for row in table.comparison.rows] == ["source_only", "oracle"]
    assert "clan seed 0 in" in shown
    assert "optim.segmenter.lr was 0.5, now 0.001" in shown
    assert "clan seed 1 in" in shown
    assert "lambda_lost" in shown
    # a description that says something else now
    description = changed / "photos" / "photos.yaml"
    description.write_text(description.read_text() + "# more\n")
    with pytest.raises(RunError, match="no run below"):
        run(asked, start=None)
    systems = open_task(str(changed)).systems(["oracle"], SETTINGS)
    _, others = Records.read(path).restore(systems, [0], tmp_path / "restored")
    said = others["oracle", 0]
    assert f"data.source.dataset: {description} has changed since" in said


def test_a_table_of_records_needs_no_weights(street: Path, records: Path, tmp_path: Path) -> None:
    """A file that is not here cannot have changed."""
    lines = read(records)
    for line in lines:
        line["config"]["weights"] = "start.pth"
        line["files"]["weights"] = "0123456789abcdef"
    path = write(tmp_path / "records.jsonl", lines)
    weights = tmp_path / "start.pth"
    setting = f"weights={weights}"
    asked = request(street, tmp_path / "bench", setting, records=path, table_only=True)
    table, _ = run(asked, start=None)
    assert [len(row.seeds) for row in table.comparison.rows] == [2, 2, 2]
    weights.write_bytes(b"others")
    with pytest.raises(RunError, match="no run below"):
        run(asked, start=None)


def test_the_machines_are_those_of_the_runs(street: Path, records: Path, tmp_path: Path) -> None:
    lines = read(records)
    for line in lines[:2]:
        line["environment"][0] |= {"device": "Some GPU", "threads": 7}
    page = tmp_path / "page.md"
    path = write(tmp_path / "records.jsonl", lines)
    table, _ = run(request(street, tmp_path / "bench", records=path, page=page), start=None)
    assert " (4 runs). Some GPU, 7 threads; clan " in page.read_text()
    assert any("ran on several machines" in note for note in table.comparison.notes)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "line 1 is no record of a run"),
        ("[1]", "line 1 is no record of a run"),
        ('{"format": 2}', "line 1 is no record of a run"),
        ('{"format": 1, "system": "clan", "seed": 0}', "line 1 is no record"),
        (
            '{"format": 1, "system": "clan", "seed": 0, "config": 3, "files": {}, '
            '"environment": [], "evaluation": {}, "log": {}}',
            "line 1 is no record",
        ),
    ],
)
def test_damaged_files_are_named_before_anything_starts(
    street: Path, tmp_path: Path, content: str, said: str
) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(content + "\n")
    with pytest.raises(RunError, match=said):
        run(request(street, tmp_path / "bench", records=path), start=None)
    assert not (tmp_path / "bench").exists()


def test_other_bad_files(street: Path, records: Path, tmp_path: Path) -> None:
    out = tmp_path / "bench"
    with pytest.raises(RunError, match="there is no folder"):
        run(request(street, out, records=tmp_path / "none" / "records.jsonl"), start=None)
    with pytest.raises(RunError, match="cannot read --records"):
        run(request(street, out, records=tmp_path), start=None)
    twice = write(tmp_path / "twice.jsonl", read(records)[:1] * 2)
    with pytest.raises(RunError, match="line 2: clan seed 0 is there twice"):
        run(request(street, out, records=twice), start=None)
    assert not out.exists()


def test_dotted_keys_make_the_tree_again() -> None:
    config = load_config("town/clan")
    assert type(config).model_validate(unflat(flat(config))) == config


def test_classes_that_a_split_is_said_to_lack_make_no_other_run(street: Path) -> None:
    """They are for `clan data check` alone."""
    plain = tiny(street)
    told = tiny(street, "source_only", "data.source.absent=[sky]")
    assert run_changes(plain, told) == []
    assert run_changes(plain, tiny(street, "source_only", "data.batch_size=4"))
