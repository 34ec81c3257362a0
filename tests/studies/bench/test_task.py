from __future__ import annotations

from pathlib import Path

import pytest

from clan.comparison.published import published_table
from clan.config.files import preset_folders
from clan.core.errors import ConfigError
from clan.methods import METHODS
from clan.studies.bench.task import open_task

CAMVID = Path(__file__).resolve().parents[3] / "benchmarks" / "sim_to_camvid"


def test_presets_by_name_in_the_order_of_a_table() -> None:
    task = open_task("town")
    names = [system.name for system in task.systems()]
    assert names[:4] == ["source_only", "adabn", "tan", "clan"]
    assert names[-1] == "oracle"
    families = [system.family for system in task.systems()[1:-1]]
    assert families == sorted(families, key=["", "AT", "ST", "AT+ST"].index)
    assert set(names) == set(preset_folders()["town"])
    # of another method than the file that it extends: a system of its own
    assert "clan_st" in names
    assert task.short == "town"
    assert [s.name for s in task.systems(["tan", "source_only"])] == ["source_only", "tan"]


@pytest.mark.parametrize("folder", sorted(preset_folders()))
def test_every_folder_of_presets_is_a_task(folder: str) -> None:
    task = open_task(folder)
    assert [s.preset for s in task.systems(list(task.files))]
    assert task.short == folder.replace("/", "-")


def test_a_path_with_other_yaml_files_and_a_variant() -> None:
    task = open_task(str(CAMVID))
    names = [system.name for system in task.systems()]
    assert {"clan", "mcd", "oracle"} < set(names)
    assert "clan_equal" not in names
    assert [s.name for s in task.systems(["clan_equal", "clan"])] == ["clan", "clan_equal"]
    assert set(task.skipped) == {"camvid.yaml", "camvid11.yaml", "street-sim.yaml"}
    with pytest.raises(ConfigError, match=r"camvid\.yaml is no configuration of a training"):
        task.systems(["camvid"])


def test_a_row_is_called_what_its_file_is_called(tmp_path: Path) -> None:
    """Files that change one thing of another need no name of their own."""
    for name in ("no", "with", "0.1"):
        (tmp_path / f"{name}.yaml").write_text("extends: town/clan\n")
    systems = open_task(str(tmp_path)).systems()
    assert [system.config.name for system in systems] == ["0.1", "no", "with"]
    with_ = systems[-1]
    assert with_.overrides == ("name=with",)
    # neither varies a system of this folder
    assert not with_.variant


def test_overrides_reach_every_system(street: Path) -> None:
    systems = open_task(str(street)).systems(["tan", "clan"], ["training.steps=9"])
    assert {system.config.training.steps for system in systems} == {9}
    assert {system.overrides for system in systems} == {("training.steps=9",)}
    with pytest.raises(ConfigError, match="use --seeds"):
        open_task(str(street)).systems((), ["seed=1"])
    with pytest.raises(ConfigError, match="unknown key"):
        open_task(str(street)).systems((), ["training.stps=1"])


def test_another_baseline_comes_first(street: Path) -> None:
    found = open_task(str(street)).systems(["tan", "mcd", "cbst"], baseline="cbst", oracle="tan")
    assert [system.name for system in found] == ["cbst", "mcd", "tan"]


def test_errors_say_what_there_is(tmp_path: Path, street: Path) -> None:
    with pytest.raises(ConfigError, match=r"no task 'twon' \(no such folder\).*mean 'town'"):
        open_task("twon")
    with pytest.raises(ConfigError, match="give one of gta5-cityscapes/modern/resnet"):
        open_task("gta5-cityscapes")
    (tmp_path / "classes.yaml").write_text("name: street\nclasses: {road: [1, 2, 3]}\n")
    (tmp_path / "list.yaml").write_text("- 1\n")
    (tmp_path / "_base.yaml").write_text("extends: town/clan\n")
    with pytest.raises(ConfigError, match="has no configuration of a system"):
        open_task(str(tmp_path))
    (tmp_path / "broken.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match=r"broken\.yaml is not YAML"):
        open_task(str(tmp_path))
    task = open_task(str(street))
    with pytest.raises(ConfigError, match=r"no system 'clam'; did you mean 'clan'"):
        task.systems(["clam"])
    with pytest.raises(ConfigError, match="valid: adabn, advent"):
        task.systems(["xyz"])
    with pytest.raises(ConfigError, match="named more than once: tan"):
        task.systems(["tan", "clan", "tan"])


def test_families_are_those_the_paper_prints() -> None:
    printed = {row.method: row.family for row in published_table("gta5").rows}
    own = {
        "tan": "Baseline (TAN)",
        "clan": "CLAN",
        "mcd": "MCD",
        "cbst": "CBST",
        "cda": "CDA",
        "fcns_wild": "FCNs in the wild",
        "cycada_feature": "CyCADA (feature)",
        "source_only": "Source only",
    }
    for method, title in own.items():
        assert METHODS[method].family == printed[title], method
