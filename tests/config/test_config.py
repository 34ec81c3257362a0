from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from clan.config.flat import differences
from clan.config.loading import anchored, dump_config, is_configuration, load_config
from clan.core.errors import ConfigError
from tests.systems import tiny


def refused(preset: str | Path, *changes: str) -> str:
    with pytest.raises(ConfigError) as info:
        load_config(preset, changes)
    return str(info.value)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_changes_reach_the_tree() -> None:
    config = load_config(
        "town/clan",
        [
            "seed=3",
            "optim.segmenter.lr=1e-3",
            "data.evaluation_size=[64, 96]",
            "data.validation=null",
            "weights=none",
            "training.devices=auto",
            "name=clan, lambda 3",
        ],
    )
    assert config.seed == 3
    assert config.optim.segmenter.lr == 1e-3
    assert config.data.evaluation_size == (64, 96)
    assert config.data.validation is None
    assert config.weights is None
    assert config.training.devices == "auto"
    assert config.name == "clan, lambda 3"


def test_a_plain_string_stands_for_a_domain_and_replaces_it() -> None:
    config = load_config("town/clan", ["data.target=photos/", "data.target.split=val"])
    assert config.data.target is not None
    assert config.data.target.model_dump() == {
        **{"dataset": "photos/", "root": None, "split": "val"},
        "absent": (),
    }


@pytest.mark.parametrize("word", ["none", "null"])
def test_none_and_null_take_a_domain_away(word: str) -> None:
    assert load_config("town/clan", [f"data.validation={word}"]).data.validation is None


@pytest.mark.parametrize(
    ("preset", "change", "parts"),
    [
        ("town/clam", "seed=0", ["unknown preset 'town/clam'", "'town/clan'"]),
        ("town/clan", "trainig.steps=5", ["trainig: unknown key", "'training'"]),
        ("town/clan", "training.step=5", ["training.step: unknown key", "'steps'"]),
        ("town/clan", "method.epsilo=1", ["method.epsilo: unknown key", "'epsilon'"]),
        ("town/clan", "data.source.splt=val", ["data.source.splt: unknown key", "'split'"]),
        ("town/clan", "data.source_view.flop=0", ["data.source_view.flop", "'flip'"]),
        ("town/clan", "method.name=clam", ["method.name: unknown method 'clam'", "'clan'"]),
        ("town/clan", "model.encoder=resnet19", ["model.encoder", "'resnet18'", "'resnet19'"]),
        ("town/clan", "training.steps=0", ["training.steps", "greater than or equal to 1"]),
        ("town/clan", "training.steps=many", ["training.steps", "valid integer", "'many'"]),
        ("town/clan", "training.devices=0", ["training.devices", "(found 0)"]),
        ("town/clan", "training.devices=all", ["training.devices", "'auto'", "'all'"]),
        ("town/clan", "training=5", ["training", "(found 5)"]),
        ("town/clan", "optim.segmenter.lr=-1", ["optim.segmenter.lr", "greater than 0"]),
        ("town/clan", "data.evaluation_size=[0, 5]", ["data.evaluation_size", "(found [0, 5])"]),
        ("town/clan", "data.evaluation_size=-5", ["data.evaluation_size", "(found -5)"]),
        ("town/clan", "data.source_view.crop=[8, -8]", ["data.source_view", "at least 1"]),
        ("town/clan", "seed=-1", ["seed", "(found -1)"]),
        (
            "town/clan",
            "optim.segmenter.listings=published",
            ["optim.segmenter.listings: is now called optim.segmenter.step_repeats"],
        ),
        ("town/clan", "seed", ["'seed' is not of the form key=value"]),
        ("town/clan", "=5", ["not of the form key=value"]),
        ("town/clan", "seed=[1", ["the value of 'seed=[1' is not YAML"]),
        ("town/clan", "seed.x=1", ["seed is 0, which has no keys of its own"]),
        ("town/clan", "data.target=null", ["method clan learns from a target", "data.target"]),
        ("town/clan", "model.classifiers=1", ["model.classifiers=2"]),
        ("town/clan", "optim.accumulate=3", ["data.batch_size 4", "optim.accumulate"]),
        ("nowhere.yaml", "seed=0", ["no configuration file at nowhere.yaml"]),
    ],
)
def test_what_is_wrong_is_named(preset: str, change: str, parts: list[str]) -> None:
    # seed is not set in the presets themselves
    message = refused(preset, *(["seed=0"] if change.startswith("seed.") else []), change)
    for part in parts:
        assert part in message


def test_a_failed_union_is_one_place() -> None:
    message = refused("town/clan", "training.devices=0")
    assert "training.devices.int" not in message
    assert "constrained" not in message


def test_every_problem_is_listed() -> None:
    message = refused("town/clan", "training.steps=0", "seed=x", "model.widht=3")
    assert len(message.splitlines()) == 4


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a: [1", ["is not YAML"]),
        ("- a\n- b", ["holds a list", "key: value"]),
        ("", ["holds nothing"]),
        ("extends: none.yaml", ["x.yaml: extends: no configuration file at", "none.yaml"]),
        ("extends: town/clam", ["x.yaml: extends: unknown preset 'town/clam'", "'town/clan'"]),
        ("extends: 5", ["x.yaml: extends", "found 5"]),
        ("extends: x.yaml", ["circle"]),
        ("name: x", ["data: Field required", "method: Field required", "training: "]),
        ("extends: town/clan\nmethod: tan", ["method: ", "found 'tan'"]),
    ],
)
def test_bad_files(tmp_path: Path, text: str, parts: list[str]) -> None:
    message = refused(write(tmp_path / "x.yaml", text))
    for part in parts:
        assert part in message


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    assert "x.yaml cannot be read as a YAML file" in refused(tmp_path / "x.yaml")


def test_long_circles_end(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "extends: b.yaml")
    write(tmp_path / "b.yaml", "extends: sub/c.yaml")
    write(tmp_path / "sub/c.yaml", "extends: ../a.yaml")
    assert "circle" in refused(tmp_path / "a.yaml")


def test_a_file_may_extend_a_preset_or_a_file(tmp_path: Path) -> None:
    write(tmp_path / "mine.yaml", "extends: town/clan\nmethod: {lambda_adv: 0.5}\n")
    write(tmp_path / "sub/more.yaml", "extends: ../mine.yaml\nseed: 7\n")
    config = load_config(tmp_path / "sub/more.yaml")
    changed = {key: new for key, _, new in differences(load_config("town/clan"), config)}
    assert changed == {"method.lambda_adv": 0.5, "seed": 7}


def test_several_files_lie_on_top_of_each_other(tmp_path):
    (tmp_path / "a.yaml").write_text("extends: town/clan\nname: a\nmethod: {epsilon: 0.1}\n")
    (tmp_path / "b.yaml").write_text("method: {epsilon: 0.2, lambda_local: 10}\n")
    (tmp_path / "c.yaml").write_text("extends: [a.yaml, b.yaml]\nmethod: {lambda_local: 20}\n")
    config = load_config(tmp_path / "c.yaml")
    assert (config.name, config.method.epsilon, config.method.lambda_local) == ("a", 0.2, 20)
    (tmp_path / "d.yaml").write_text("extends: [b.yaml, 3]\n")
    with pytest.raises(ConfigError, match="expected a file or a preset's name, found 3"):
        load_config(tmp_path / "d.yaml")
    (tmp_path / "b.yaml").write_text("extends: [c.yaml]\n")
    with pytest.raises(ConfigError, match="goes round in a circle"):
        load_config(tmp_path / "c.yaml")


def test_schedules_do_not_end_before_the_training():
    config = load_config("town/clan", ["training.schedule_steps=600"])
    assert config.training.schedule_steps == 600
    with pytest.raises(ConfigError, match="schedule_steps 300 end before the 400 steps"):
        load_config("town/clan", ["training.schedule_steps=300"])


def test_descriptions_lie_beside_the_file_that_names_them(tmp_path: Path) -> None:
    child = write(tmp_path / "a/child.yaml", "extends: ../base/base.yaml\n")
    base = "extends: town/source_only\ndata: {source: game.yaml, classes: eleven.yaml}\n"
    write(tmp_path / "base/base.yaml", base)
    data = load_config(child).data
    assert data.source.dataset == str(tmp_path / "base/game.yaml")
    assert data.classes == str(tmp_path / "base/eleven.yaml")
    # a plain string replaces the parent's domain, root and split included
    assert data.source.root is None


def test_what_is_dumped_loads_the_same(tmp_path: Path) -> None:
    config = load_config("town/clan", ["name='ünïcode: [x] #1'", "weights=/a b/w.pth", "seed=5"])
    again = load_config(write(tmp_path / "config.yaml", dump_config(config)))
    assert again == config
    assert differences(again, config) == []
    assert yaml.safe_load(dump_config(config))["name"] == "ünïcode: [x] #1"


def test_differences_see_absent_groups() -> None:
    a, b = load_config("town/clan"), load_config("town/clan", ["data.validation=null"])
    assert differences(a, b) == [
        ("data.validation.dataset", "cityscapes", None),
        ("data.validation.root", "target", None),
        ("data.validation.split", "val", None),
        ("data.validation.absent", ["train"], None),
    ]


def test_relative_paths_become_absolute(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(street)
    os.symlink(street / "photos", tmp_path / "link")
    config = load_config(
        "source_only.yaml",
        [
            "data.target=photos/train",
            "data.validation.dataset=photos/photos.yaml",
            "weights=w.pth",
        ],
    )
    data = anchored(config).data
    assert data.source.dataset == str(street / "game/game.yaml")
    assert data.target is not None
    assert data.target.dataset == str(street / "photos/train")
    assert data.validation is not None
    assert data.validation.dataset == str(street / "photos/photos.yaml")
    assert anchored(config).weights == str(street / "w.pth")
    assert anchored(anchored(config)) == anchored(config)


def test_a_run_folder_stands_for_its_model(
    street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    config = tiny(street, "clan", "weights=run", "weights_for=network")
    assert anchored(config).weights == str(tmp_path / "run" / "model.safetensors")


def test_a_network_cannot_start_from_an_encoders_weights() -> None:
    for changes in (["weights_for=network"], ["weights_for=network", "weights=imagenet"]):
        with pytest.raises(ConfigError, match=r"and weights=(none|imagenet) has none"):
            load_config("town/clan", changes)


@pytest.mark.parametrize(
    ("view", "words"),
    [
        (["crop=[96,192]"], r"crops \[128, 256\] to \[96, 192\]"),
        (["crop=[128,256]", "scale=[0.5,2]"], r"crops \[256, 512\] to \[128, 256\]"),
        (["size=null", "crop=[96,192]"], r"crops images of any size or shape to \[96, 192\]"),
    ],
)
def test_class_distributions_of_whole_images_need_whole_images(view: list[str], words: str) -> None:
    changes = [f"data.target_view.{change}" for change in ("size=[128,256]", *view)]
    with pytest.raises(ConfigError, match=rf"cda compares .* whole target images, .*{words}: set"):
        load_config("town/cda", changes)
    load_config("town/cda", [*changes, "method.lambda_global=0"])
    load_config("town/clan", changes)
    whole = ["size=[128,256]", "scale=[0.5,1]", "crop=[128,256]"]
    load_config("town/cda", [f"data.target_view.{change}" for change in whole])


@pytest.mark.parametrize(
    ("preset", "changes", "message"),
    [
        (
            "cross_city",
            ["source_steps=400"],
            r"training\.steps 400 leaves 0 after",
        ),
        (
            "fcns_wild",
            ["source_steps=900"],
            r"after method\.source_steps 900; at least",
        ),
        ("cycada_feature", ["source_steps=400"], "at least one step must learn from the target"),
        ("cbst", ["portion=0.8"], r"portion 0\.8 is above portion_max 0\.5"),
        (
            "clan_st",
            ["portion=0.9"],
            r"portion 0\.9 is above .*raise method.portion_max, or lower method.portion$",
        ),
        (
            "clan_st",
            ["thresholds=fixed", "portion=0.5"],
            r"portion 0\.5 has no effect with thresho",
        ),
        ("clan_st", ["threshold=0.5"], r"threshold 0\.5 has no effect.*thresholds=fixed"),
        ("cbst", ["alpha=0.25"], r"alpha 0\.25 has no effect without a regulariser"),
        ("cbst", ["regulariser=lrent", "spatial_prior=true"], "leave one of the two out"),
        (
            "cbst",
            ["regulariser=lrent", "discriminant=1", "pretrained=w.pth"],
            "discriminant changes confidences, which lrent's soft labels do not use",
        ),
    ],
)
def test_options_that_nothing_would_read_are_refused(
    preset: str, changes: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(f"town/{preset}", [f"method.{change}" for change in changes])


def test_roots_of_domains_start_from_the_data_root(
    street: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(street.parent)
    given = ["data.root=" + street.name, "data.target.dataset=train", "data.target.root=photos"]
    data = anchored(load_config("town/clan", given)).data
    assert data.root == str(street)
    assert data.source.model_dump() == {
        **{"dataset": "gta5", "root": "source", "split": "train"},
        "absent": ("train",),
    }
    assert data.target is not None
    assert data.target.dataset == str(street / "photos/train")
    without = anchored(load_config("town/clan", ["data.root=null"])).data
    assert without.root is None
    assert without.source.root == str(street.parent / "source")
    assert anchored(load_config("town/clan", ["weights=imagenet"])).weights == "imagenet"


def test_a_layout_with_a_root_is_no_folder_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gta5").mkdir()
    given = ["data.root=null", "data.source.dataset=gta5", "data.source.root=gta5"]
    source = anchored(load_config("town/clan", given)).data.source
    assert (source.dataset, source.root) == ("gta5", str(tmp_path / "gta5"))
    # without a root it can only be the folder
    source = anchored(load_config("town/clan", [*given[:2], "data.source.root=null"])).data.source
    assert source.dataset == str(tmp_path / "gta5")


def test_configurations_and_descriptions_are_told_apart(street: Path) -> None:
    assert is_configuration(street / "clan.yaml")
    assert not is_configuration(street / "game/game.yaml")
    assert tiny(street, "clan").name == "clan"


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ("seed=0x_", ["the value of 'seed=0x_'", "'0x_' is no int"]),
        (f"seed={'9' * 5000}", ["a number of 5000 characters"]),
        ("name=!!int ''", ["'' is no int"]),
        ('name="a\\0b"', ["NUL"]),
        ("name=a\udc80b", ["0xdc80"]),
        (f"data.root={'[' * 5000}", ["40 deep"]),
        ("data.root=~nosuchuser/x", ["there is no user 'nosuchuser'", "./~nosuchuser"]),
        ("data.source=~nosuchuser/x.yaml", ["no user 'nosuchuser'"]),
        ("weights=~nosuchuser/x.pth", ["no user 'nosuchuser'"]),
        *(
            (f"{key}={'x' * 300}{end}", ["300 characters" if not end else "305", "longer than"])
            for key, end in (
                *(("data.root", ""), ("data.classes", ""), ("weights", "")),
                *(("data.source", ".yaml"), ("data.target", ".yaml")),
            )
        ),
        (f"{'a.' * 5000}b=1", ["5000 dots"]),
        ("data.workers={1: 2, 1: 3}", ["'data.workers={1: 2, 1: 3}'", "1 appears twice"]),
    ],
)
def test_a_hostile_change_is_one_plain_error(change: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        anchored(load_config("town/clan", ["data.root=data", change]))
    assert all(part in str(error.value) for part in parts), str(error.value)
    assert len(str(error.value)) < 600


def test_a_date_is_text() -> None:
    assert load_config("town/clan", ["name=2024-13-45"]).name == "2024-13-45"
    assert load_config("town/clan", ["name=2024-01-02"]).name == "2024-01-02"


def test_files_that_extend_each_other_twice_end(tmp_path: Path) -> None:
    for level in range(24):
        write(tmp_path / f"{level}.yaml", f"extends: [{level + 1}.yaml, {level + 1}.yaml]")
    write(tmp_path / "24.yaml", "name: x")
    assert "more than 100 files" in refused(tmp_path / "0.yaml")
