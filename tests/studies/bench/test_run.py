"""End to end on the tiny street: trained, skipped, resumed, failed, compared, written down."""

from __future__ import annotations

import csv
import io
import json
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from clan.config.loading import dump_config
from clan.core.console import Console
from clan.core.errors import ClanError, ConfigError, DataError, RunError
from clan.demo import draw_town
from clan.runs.folder import RunFolder
from clan.studies.bench import cost
from clan.studies.bench.run import Request
from clan.studies.bench.task import open_task
from clan.studies.jobs import Job
from tests.studies.bench.conftest import NAMES, copy_of, request, run
from tests.systems import Fork, at_step

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_table_has_a_row_per_system_and_what_stands_in_the_runs(whole: Path) -> None:
    with open(whole / "bench.csv", newline="") as file:
        rows = {row["system"]: row for row in csv.DictReader(file)}
    assert list(rows) == list(NAMES)
    files = [whole / "clan" / f"seed{seed}" / "evaluation.json" for seed in (0, 1)]
    mious = [json.loads(file.read_text())["miou"]["street"] for file in files]
    assert float(rows["clan"]["miou"]) == pytest.approx(100 * sum(mious) / 2, abs=1e-4)
    assert [row["family"] for row in rows.values()] == ["", "AT", ""]
    assert float(rows["clan"]["mean_rank"]) in (1, 1.5, 2)
    assert rows["oracle"]["mean_rank"] == rows["source_only"]["p"] == ""
    assert float(rows["clan"]["seconds_per_step"]) > 0
    assert float(rows["clan"]["memory_mib"]) > 50
    text = (whole / "bench.md").read_text()
    assert text.startswith("IoU in percent, mIoU over street (3 classes), on photos val (3 images")
    assert "| system | type | mIoU | gain | gap closed | rank | p | time | memory | seeds |" in text
    assert "no difference can be significant at 5 %" in text
    kept = json.loads((whole / "bench.json").read_text())
    assert kept["rows"][1]["family"] == "AT"
    for row in kept["rows"]:
        scores = list(kept["scores"][row["name"]].values())
        assert len(scores) == 2
        assert statistics.fmean(scores) == pytest.approx(row["miou"])
    html = (whole / "bench.html").read_text()
    assert '<svg role="img" aria-label="Mean ranks: ' in html
    # nothing from elsewhere
    assert "http" not in html.replace("http-equiv", "").replace("http://www.w3.org", "")


def test_a_second_call_trains_nothing(street: Path, whole: Path, tmp_path: Path) -> None:
    out = copy_of(whole, tmp_path)
    _, shown = run(request(street, out), start=None)
    assert "6 runs, 6 finished already" in shown
    assert (out / "bench.md").read_text() == (whole / "bench.md").read_text()


def test_what_was_trained_by_hand_is_found(street: Path, whole: Path, tmp_path: Path) -> None:
    """Copies of descriptions, other places and other logs are no other configuration."""
    out = copy_of(whole, tmp_path)
    moved = Path(shutil.copytree(street, tmp_path / "moved"))
    settings = ("training.evaluate_every=3", "training.snapshot_every=2", "training.log_every=1")
    _, shown = run(request(moved, out, *settings), start=None)
    assert "6 finished already" in shown


def test_another_configuration_is_an_error_that_names_the_keys(street: Path, whole: Path) -> None:
    with pytest.raises(RunError) as error:
        run(request(street, whole, "optim.segmenter.lr=2e-3"), start=None)
    said = str(error.value)
    assert "source_only/seed0 was trained with another configuration" in said
    assert "optim.segmenter.lr was 0.001, now 0.002" in said
    assert "training" not in said.split(":", 1)[1].split("Give")[0]


def test_a_run_of_another_name_is_another_system(street: Path, whole: Path, tmp_path: Path) -> None:
    out = copy_of(whole, tmp_path)
    folder = RunFolder(out / "clan" / "seed0")
    folder.config_file.write_text(dump_config(folder.config.model_copy(update={"name": "mine"})))
    with pytest.raises(RunError, match="name was 'mine', now 'clan'"):
        run(request(street, out), start=None)


def test_failures_stop_no_other_and_stand_in_the_notes(
    street: Path, whole: Path, tmp_path: Path
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("a bug")

    class Failing(Fork):
        def before(self) -> None:
            if str(self.job.out).endswith("clan/seed1"):
                at_step(4, fail)

    out = copy_of(whole, tmp_path)
    for path in ("clan/seed1", "oracle/seed1"):
        shutil.rmtree(out / path)
    with pytest.raises(RunError) as error:
        run(request(street, out), start=Failing)
    said = str(error.value)
    assert said.startswith("1 of 6 runs or measurements failed, the others are finished:")
    assert f"{out / 'clan/seed1'}: exit code 70: error: clan " in said
    assert "ZeroDivisionError: a bug" in said
    assert f"log: {out / 'clan/seed1.log'}" in said
    text = (out / "bench.md").read_text()
    assert "clan: 1 of 2 seeds; seed 1 failed (exit code 70: error: clan " in text
    assert "ZeroDivisionError: a bug)." in text
    assert "it needs two seeds that all systems have" in text
    assert RunFolder(out / "oracle" / "seed1").finished
    # again, without the bug: it goes on from its checkpoint
    assert RunFolder(out / "clan" / "seed1").newest_checkpoint() is not None
    _, shown = run(request(street, out))
    assert "6 runs, 5 finished already" in shown
    scores = [(p / "clan/seed1/evaluation.json").read_text() for p in (out, whole)]
    assert json.loads(scores[0])["confusion"] == json.loads(scores[1])["confusion"]


def test_the_table_alone_trains_nothing(street: Path, whole: Path, tmp_path: Path) -> None:
    out = copy_of(whole, tmp_path)
    shutil.rmtree(out / "clan")
    table, _ = run(request(street, out, table_only=True), start=None)
    assert [row.name for row in table.comparison.rows] == ["source_only", "oracle"]
    assert "Not trained, so without a row: clan." in table.comparison.notes
    with pytest.raises(RunError, match=r"no run below .* is finished.*clan bench"):
        run(request(street, tmp_path / "none", table_only=True), start=None)


def test_whole_seeds_come_first(street: Path, tmp_path: Path) -> None:
    started: list[str] = []

    def start(job: Job, *_: object) -> Any:
        started.append("/".join(job.out.parts[-2:]))
        raise RunError("enough")

    with pytest.raises(RunError, match="enough"):
        run(request(street, tmp_path / "new"), start=start)
    assert started == ["source_only/seed0"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seeds": (0, 1, 0)}, "--seeds: 0 given more than once"),
        ({"seeds": (0, -1)}, "--seeds -1: expected 0 or more"),
        ({"seeds": ()}, "no seed"),
        ({"jobs": 0}, "--jobs 0: at least one"),
        ({"baseline": "tan"}, "--baseline 'tan' is not one of the systems compared"),
        ({"oracle": "orcle"}, "--oracle 'orcle'.*did you mean 'oracle'"),
        ({"control": "oracle"}, "is left out of the test"),
        ({"notes": Path("none.md")}, "there is no file none.md"),
        ({"overrides": ("data.validation=null",)}, "source_only has no data.validation"),
    ],
)
def test_bad_requests_start_nothing(
    street: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        run(request(street, tmp_path / "out", **changes), start=None)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_and_missing_data(street: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").touch()
    with pytest.raises(RunError, match=r"it has chapter\.tex"):
        run(request(street, tmp_path / "thesis"), start=None)
    with pytest.raises(RunError, match=r"chapter\.tex is a file"):
        run(request(street, tmp_path / "thesis" / "chapter.tex"), start=None)
    (tmp_path / "runs" / "clan" / "seed0").mkdir(parents=True)
    (tmp_path / "runs" / "clan" / "seed0" / "note.txt").touch()
    with pytest.raises(RunError, match="neither an empty folder nor a run"):
        run(request(street, tmp_path / "runs"), start=None)
    bare = tmp_path / "bare"
    shutil.copytree(street, bare)
    shutil.rmtree(bare / "photos" / "train")
    with pytest.raises(DataError):
        run(request(bare, tmp_path / "out"), start=None)
    assert not (tmp_path / "out").exists()


def test_systems_scored_on_different_data_are_refused(street: Path, tmp_path: Path) -> None:
    mixed = Path(shutil.copytree(street, tmp_path / "mixed"))
    tree = json.loads((mixed / "clan.yaml").read_text())
    tree["data"]["validation"]["split"] = "train"
    (mixed / "clan.yaml").write_text(json.dumps(tree))
    with pytest.raises(ClanError, match="must be scored alike") as error:
        run(request(mixed, tmp_path / "out"), start=None)
    assert "clan: sky, building, road on photos train" in str(error.value)


def test_costs_are_measured_once_and_then_shown(
    street: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # its own process is tested with benchmarks/step_cost.py
    monkeypatch.setattr(cost, "measure_apart", lambda *args: cost.measure(*args, updates=3))
    out = copy_of(whole, tmp_path)
    asked = request(street, out, table_only=True, cost=True, systems=("source_only", "clan"))
    table, shown = run(asked, start=None)
    assert "measuring clan, round 3 of 3" in shown
    kept = json.loads((out / "cost.json").read_text())
    # images come as they are stored: their size is looked up
    rounds = {name: entry["rounds"] for name, entry in kept.items()}
    assert [len(of) for of in rounds.values()] == [3, 3]
    assert rounds["clan"][0]["images"] == {"source": [2, 32, 64], "target": [2, 32, 64]}
    seconds = next(m for m in table.comparison.measures if m.heading == "time").values
    busy = any(cost.had_to_wait(one) for of in rounds.values() for one in of)
    clock = "processor_seconds" if busy else "seconds"
    assert seconds == tuple(
        statistics.median(one[clock] for one in rounds[name]) for name in ("source_only", "clan")
    )
    assert any("measured alone" in note for note in table.comparison.notes)
    again, shown = run(asked, start=None)
    assert "measuring" not in shown
    assert again.comparison.measures == table.comparison.measures
    # beside records they hold in another place too
    elsewhere = Path(shutil.copytree(street, tmp_path / "elsewhere"))
    records = tmp_path / "kept.jsonl"
    shutil.copy(out / "cost.json", tmp_path / "kept-cost.json")
    asked = request(street, out, records=records, systems=("source_only", "clan"))
    run(asked, start=None)
    moved = replace(asked, task=str(elsewhere), out=tmp_path / "new", table_only=True)
    there, shown = run(moved, start=None)
    assert "another configuration" not in shown
    assert there.comparison.measures == table.comparison.measures


def test_costs_are_measured_in_rounds_and_go_on_where_they_broke_off(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["source_only", "tan", "clan"]
    systems = open_task(str(street)).systems(names)
    path = tmp_path / "cost.json"
    asked: list[str] = []

    def measure(preset: str, overrides: Sequence[str]) -> dict[str, Any]:
        name = Path(preset).stem
        asked.append(name)
        if name == "tan":
            raise RunError("failed: out of memory")
        if len(asked) == 5:
            raise KeyboardInterrupt
        seconds = len(asked)
        return {"seconds": seconds, "processor_seconds": seconds, "memory": 1, "device": "cpu"}

    monkeypatch.setattr(cost, "measure_apart", measure)
    with pytest.raises(KeyboardInterrupt):
        cost.measure_all(path, systems, tell=lambda line: None)
    # what failed is not tried in the next round
    assert asked == ["source_only", "tan", "clan", "source_only", "clan"]
    failures = cost.measure_all(path, systems, tell=lambda line: None)
    assert failures == ["cost of tan: failed: out of memory"]
    # goes on where it broke off
    assert asked[5:] == ["tan", "clan", "source_only", "clan"]
    costs, how = cost.measured(path, systems) or ({}, "")
    assert "medians of 3 rounds" in how
    assert {name: of.time for name, of in costs.items()} == {"source_only": 4, "clan": 7}


def test_a_section_of_a_page_is_replaced_and_the_rest_stays(
    street: Path, whole: Path, tmp_path: Path
) -> None:
    page, notes = tmp_path / "results.md", tmp_path / "notes.md"
    notes.write_text("# Streets\n\nThey are **tiny**.\n")
    out = copy_of(whole, tmp_path)
    asked = request(street, out, page=page, notes=notes)
    run(asked, start=None)
    first = page.read_text()
    assert first.startswith("# Results\n")
    assert "<!-- begin bench -->\n## Streets\n\nCommand: `clan bench " in first
    assert first.rstrip().endswith("They are **tiny**.\n<!-- end bench -->")
    assert "| class | source labels | target labels | source_only | clan | oracle |" in first
    assert "| system | batch norm | lambda_adv | steps | minutes per run |" in first
    assert "| system | is | but |" not in first
    assert "![mIoU of each system and seed](images/bench-scores.png)\n" in first
    with Image.open(tmp_path / "images" / "bench-scores.png") as picture:
        assert picture.width > 1000
    page.write_text(first.replace("## Streets", "## Old") + "\n## More\n")
    run(asked, start=None)
    assert page.read_text() == first + "\n## More\n"
    page.write_text(first.replace("<!-- end bench -->", ""))
    with pytest.raises(RunError, match="add it, or delete both"):
        run(asked, start=None)


def test_what_a_variant_changes_stands_on_the_page(street: Path, tmp_path: Path) -> None:
    """One table for the researcher who changes one factor at a time."""
    folder = Path(shutil.copytree(street, tmp_path / "ablation"))
    tree = json.loads((folder / "clan.yaml").read_text())
    tree["method"] |= {"epsilon": 0.5, "detach_map": False}
    tree["training"]["log_every"] = 3
    (folder / "clan_free.yaml").write_text(json.dumps(tree))
    page, out = tmp_path / "results.md", tmp_path / "out"
    names = ("source_only", "clan", "clan_free", "oracle")
    run(request(folder, out, seeds=(0,), page=page, systems=names))
    text = page.read_text()
    heads = "| system | is | but |\n|---|---|---|\n"
    changed = "method.epsilon 0.5, not 0.4; method.detach_map false, not true"
    # the oracle is source_only with other data, which is no variant
    assert f"{heads}| clan_free | clan | {changed} |\n\n" in text
    html = (out / "bench.html").read_text()
    assert f'<th scope="row">clan_free</th><td>clan</td><td>{changed}</td>' in html
    assert "Variants" in html


def test_the_town_is_drawn_where_it_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[object] = []
    monkeypatch.setattr("clan.demo.make_data", lambda *args: drawn.append(args[:2]))
    console = Console(file=io.StringIO())
    for root in (tmp_path, tmp_path / "new"):
        systems = open_task("town").systems(["tan", "clan"], [f"data.root={root}"])
        draw_town(open_task("town"), systems, console)
    assert drawn == [("town", tmp_path / "new")]
    paper = open_task("gta5-cityscapes/paper/vgg16")
    draw_town(paper, paper.systems(), console)
    assert len(drawn) == 1


def test_the_command_says_data_and_not_where_they_are() -> None:
    asked = Request(
        "town",
        systems=("clan", "tan"),
        seeds=(0,),
        overrides=("data.root=/my/data", "weights=/my/data/w.pth", "training.steps=9"),
        out=Path("runs/long"),
        control="tan",
    )
    assert asked.command() == (
        "clan bench town --systems clan,tan --seeds 0 --control tan data.root=DATA "
        "weights=DATA/w.pth training.steps=9 --out runs/long"
    )
