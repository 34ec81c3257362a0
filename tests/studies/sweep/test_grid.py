from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from clan.config.loading import load_config
from clan.core.errors import ConfigError
from clan.studies.sweep.grid import (
    Axis,
    changes,
    expand,
    grid_texts,
    merge,
    parameters,
    parse_axis,
    parse_grid,
    short_keys,
)


@pytest.mark.parametrize(
    ("argument", "texts"),
    [
        ("method.epsilon=0.1,0.2", ("0.1", "0.2")),
        ("seed=0", ("0",)),
        ("model.aspp_rates=[6,12],[6, 12, 18,24]", ("[6,12]", "[6, 12, 18,24]")),
        ("data.validation=null, photos/", ("null", "photos/")),
        ("data.source={dataset: gta5, root: a,b: 1},x", ("{dataset: gta5, root: a,b: 1}", "x")),
        ("name='a, b',c d", ("'a, b'", "c d")),
        ("optim.segmenter.lr=1e-3,2.5e-4", ("1e-3", "2.5e-4")),
        ("weights=a=b.pth", ("a=b.pth",)),
    ],
)
def test_values_are_yaml_and_stay_as_written(argument: str, texts: tuple[str, ...]) -> None:
    assert parse_axis(argument) == Axis(argument.partition("=")[0], texts)


values = st.one_of(
    st.integers(-1000, 1000), st.booleans(), st.lists(st.integers(0, 30), min_size=1, max_size=4)
)


@given(st.lists(values, min_size=1, max_size=5, unique_by=repr))
def test_any_yaml_values_come_apart(found: list[object]) -> None:
    texts = [yaml.safe_dump(v, default_flow_style=True).splitlines()[0] for v in found]
    axis = parse_axis(f"key={','.join(texts)}")
    assert [yaml.safe_load(text) for text in axis.texts] == found


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "at least one key=value,value"),
        (["seed"], "'seed' is not of the form key=value,value"),
        (["=1"], "is not of the form"),
        (["seed="], "'seed=' gives no value"),
        (["seed=1,2,1"], "gives 1 more than once"),
        (["seed=1,[2"], "are not YAML"),
        (["seed=1],[2"], "are not YAML"),
        (["seed=1", "seed=2"], "seed: given more than once"),
    ],
)
def test_bad_arguments(arguments: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_grid(arguments)
    assert said in str(error.value)


def test_a_product_with_whole_seeds_first() -> None:
    axes = parse_grid(["method.epsilon=0.2,0.8", "seed=0,1", "method.lambda_local=10,40"])
    cells = expand("town/clan", axes)
    found = [
        (c.config.seed, c.value("method.epsilon"), c.value("method.lambda_local")) for c in cells
    ]
    assert found == [(s, e, m) for s in (0, 1) for e in (0.2, 0.8) for m in (10, 40)]
    assert cells[0].folder == "method.epsilon=0.2,method.lambda_local=10/seed0"
    assert cells[0].config.name == "clan epsilon=0.2 lambda_local=10"
    assert len({cell.folder for cell in cells}) == 8
    for cell in cells:
        assert load_config("town/clan", cell.overrides).name == cell.config.name
    assert parameters(cells, axes) == ["method.epsilon", "method.lambda_local"]


def test_what_does_not_vary_stays_out_of_names() -> None:
    cells = expand("town/clan", parse_grid(["data.root=x", "training.steps=7", "seed=0,1"]))
    assert [cell.folder for cell in cells] == ["clan/seed0", "clan/seed1"]
    assert {cell.config.name for cell in cells} == {"clan"}


def test_values_that_are_no_file_names_stay_apart() -> None:
    cells = expand("town/clan", parse_grid(["data.target=a/b,a%2Fb", "model.aspp_rates=[1,2],[1]"]))
    assert len({cell.folder for cell in cells}) == 4
    assert all(cell.folder.count("/") == 1 for cell in cells)


def test_every_problem_of_a_grid_is_named_before_anything_starts() -> None:
    axes = parse_grid(["method.epsilom=0.1", "seed=0,-1", "model.encoder=resnet18,resnet19"])
    with pytest.raises(ConfigError) as error:
        expand("town/clan", axes)
    said = str(error.value)
    assert "method.epsilom: unknown key; did you mean 'epsilon'?" in said
    assert "seed: " in said
    assert "(found -1)" in said
    assert "resnet19" in said
    with pytest.raises(ConfigError, match="did you mean 'town/clan'"):
        expand("town/clam", parse_grid(["seed=0"]))


def test_grids_that_cross_share_a_cell() -> None:
    first = expand("town/clan", parse_grid(["method.lambda_local=10,40", "seed=0"]))
    second = expand("town/clan", parse_grid(["method.epsilon=0.1,0.4", "data.root=other"]))
    merged = merge([first, second])
    assert merged[0] == first
    assert merged[1][1].overrides == second[1].overrides
    assert [cell.folder for cell in merged[1]] == [
        "method.epsilon=0.1/seed0",
        "method.lambda_local=40/seed0",
    ]
    other = expand("town/clan", parse_grid(["method.epsilon=0.1,0.2", "training.steps=7"]))
    with pytest.raises(ConfigError, match=r"training\.steps was 400, now 7"):
        merge([first, second, other])


def test_free_keys_and_names_are_no_change() -> None:
    a = load_config("town/clan")
    b = load_config("town/clan", ["data.root=x", "name=y", "training.devices=2", "data.workers=3"])
    assert changes(a, b) == []
    assert changes(a, load_config("town/clan", ["seed=1"])) == ["seed was 0, now 1"]


def test_short_keys_stay_distinct() -> None:
    keys = ["method.epsilon", "optim.segmenter.lr", "optim.discriminator.lr", "training.steps"]
    assert list(short_keys(keys).values()) == [
        "epsilon",
        "segmenter.lr",
        "discriminator.lr",
        "steps",
    ]
    assert short_keys(["seed"]) == {"seed": "seed"}


def test_values_by_key_are_the_same_grid_as_their_texts() -> None:
    values = {
        "method.epsilon": [0.1, 1e-05],
        "model.aspp_rates": [[1, 2], (1, 4)],
        "data.validation": [None],
        "data.root": ["a, b", Path("data/town")],
    }
    axes = {axis.key: axis.texts for axis in parse_grid(grid_texts(values))}
    read = {key: [yaml.safe_load(text) for text in texts] for key, texts in axes.items()}
    plain = {"model.aspp_rates": [[1, 2], [1, 4]], "data.root": ["a, b", "data/town"]}
    assert read == {**values, **plain}
    assert grid_texts(["seed=0,1"]) == ["seed=0,1"]


@pytest.mark.parametrize("values", ["0,1", 3, None])
def test_values_by_key_have_to_be_lists(values: Any) -> None:
    with pytest.raises(ConfigError, match=r"the grid's seed is .*expected a list of values"):
        grid_texts({"seed": values})
