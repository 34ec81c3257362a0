from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clan.core.errors import RunError
from clan.figures.kinds import draw_figure
from clan.figures.style import save_figure
from clan.studies.sweep.figure import (
    Reference,
    draw_study,
    is_full_grid,
    make_panels,
    read_reference,
)
from clan.studies.sweep.kinds import KINDS
from clan.studies.sweep.results import Measured, Record, Table, read_table, write_table
from clan.studies.sweep.settings import Spread, markdown_table, rows, settings, values_of

LOCAL, EPSILON = "method.lambda_local", "method.epsilon"


def miou(values: tuple[Any, ...], seed: int) -> float:
    """Give every cell a number of its own, seeds 2 points apart."""
    return 0.20 + 0.01 * (hash(values) % 7) + 0.02 * seed


def table(
    keys: tuple[str, ...], cells: Iterable[tuple[Any, ...]], seeds: int = 2, **changes: Any
) -> Table:
    records = []
    for values in cells:
        for seed in range(seeds):
            measured = Measured(400, 60.0, miou(values, seed), 0.5 + seed / 10, 0.7, 0.1, 0.05, ())
            named = dict(zip(keys, values, strict=True))
            records.append(Record(f"{values}/seed{seed}", seed, named, "finished", measured))
    about: dict[str, Any] = {
        "preset": "town/clan",
        "system": "clan",
        "scored": "street (3 classes)",
        "keys": keys,
        "preset_values": {LOCAL: 40, EPSILON: 0.4},
        "records": tuple(records),
    }
    return Table(**about | changes)


STAR = table(
    (LOCAL, EPSILON),
    [(40, 0.1), (80, 0.4), (10, 0.4), (40, 0.4), (40, 0.8)],
)
FULL = table((LOCAL, EPSILON), itertools.product((10, 40, 80), (0.1, 0.4)))


def panels(figure: Figure) -> list[Axes]:
    """Return the axes with bars."""
    return [axes for axes in figure.axes if axes.patches and axes.get_xlabel()]


def tops(axes: Axes) -> list[float]:
    return [patch.get_y() + patch.get_height() for patch in axes.patches]  # type: ignore[attr-defined]


def test_a_star_has_a_panel_per_parameter() -> None:
    figure = draw_study(STAR)
    left, right = panels(figure)
    assert left.get_xlabel() == "lambda_local"
    assert [tick.get_text() for tick in left.get_xticklabels()] == ["10", "40", "80"]
    assert left.get_title() == "epsilon = 0.4"
    expected = [100 * (miou((value, 0.4), 0) + 0.01) for value in (10, 40, 80)]
    assert tops(left) == pytest.approx(expected)
    assert [tick.get_text() for tick in right.get_xticklabels()] == ["0.1", "0.4", "0.8"]
    assert right.get_title() == "lambda_local = 40"
    bold = [t.get_text() for t in left.get_xticklabels() if t.get_fontweight() == "bold"]
    assert bold == ["40"]


def test_lines_are_the_losses_of_d() -> None:
    figure = draw_study(STAR)
    losses = [a for a in figure.axes if a.get_ylabel().startswith("D's loss")]
    assert len(losses) == 2
    assert losses[0].lines[0].get_ydata() == pytest.approx([0.55] * 3)


def test_a_full_grid_has_a_heat_map_too() -> None:
    assert is_full_grid(FULL, settings(FULL))
    assert not is_full_grid(STAR, settings(STAR))
    figure = draw_study(FULL)
    (image,) = [a.images[0] for a in figure.axes if a.images]
    expected = [[100 * (miou((x, e), 0) + 0.01) for e in (0.1, 0.4)] for x in (10, 40, 80)]
    np.testing.assert_allclose(np.asarray(image.get_array()), expected)


def test_without_the_presets_value_the_usual_one_is_held() -> None:
    found = table((LOCAL, EPSILON), [(10, 0.1), (10, 0.2), (10, 0.8), (80, 0.8)])
    first, second = make_panels(found, settings(found))
    assert (first.values, first.held) == ((10, 80), {EPSILON: 0.8})
    assert (second.values, second.held) == ((0.1, 0.2, 0.8), {LOCAL: 10})


def test_one_parameter_and_seeds_alone_make_one_panel(tmp_path: Path) -> None:
    assert len(panels(draw_study(table((EPSILON,), [(0.1,), (0.8,)])))) == 1
    alone = draw_study(table((), [()]))
    assert len(alone.axes) == 2
    save_figure(alone, tmp_path / "a.png")


def test_what_is_missing_is_left_out() -> None:
    def without(**numbers: Any) -> Table:
        lines = [
            Record(r.run, r.seed, r.values, r.status, Measured(**{**vars(r.measured), **numbers}))
            for r in STAR.records
        ]
        return Table(**{**vars(STAR), "records": tuple(lines)})

    unscored = Table(**{**vars(without(miou=None)), "scored": ""})
    assert all(not axes.patches for axes in draw_study(unscored).axes)
    plain = draw_study(without(d_loss=None))
    assert len(panels(plain)) == len(plain.axes) == 2
    waiting = [Record(r.run, r.seed, r.values, "waiting", None) for r in STAR.records]
    with pytest.raises(RunError, match="no cell of the study of town/clan is finished"):
        draw_study(Table(**{**vars(STAR), "records": tuple(waiting)}))
    # the unfinished ones of a study that is under way
    some = draw_study(Table(**{**vars(STAR), "records": (*STAR.records[:4], *waiting[4:])}))
    assert panels(some)


def test_axes_start_at_zero_unless_values_are_close() -> None:
    close = panels(draw_study(STAR))[0]
    assert close.get_ylim()[0] > 0
    assert f"(from {close.get_ylim()[0]:g})" in close.get_ylabel()
    far = [Record(r.run, r.seed, r.values, r.status, r.measured) for r in STAR.records]
    low = Measured(400, 60.0, 0.02, 0.5, 0.7, 0.1, 0.05, ())
    far[0] = Record(far[0].run, 0, far[0].values, "finished", low)
    axes = panels(draw_study(Table(**{**vars(STAR), "records": tuple(far)})))[0]
    assert axes.get_ylim()[0] == 0
    assert axes.get_ylabel() == "mIoU, %"


def test_a_reference_is_a_line_with_its_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = Reference("tan", Spread(0.25, 0.01, 3), Spread(0.6, 0.02, 3))
    monkeypatch.setattr("clan.studies.sweep.figure.read_reference", lambda *_: reference)
    figure = draw_study(STAR, [Path("runs/tan/seed0")])
    left = panels(figure)[0]
    dashed = [line for line in left.lines if line.get_linestyle() == "--"]
    assert [line.get_ydata()[0] for line in dashed] == [25.0]  # type: ignore[index]
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["CLAN, mIoU", "TAN, mIoU", "CLAN, D's loss", "TAN, D's loss"]


def test_references_must_be_runs(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run folder"):
        read_reference(STAR, [tmp_path])


def test_the_table_survives_the_disk(tmp_path: Path) -> None:
    write_table(tmp_path, FULL)
    found = read_table(tmp_path)
    assert found == FULL
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sweep.csv", "sweep.json"]


def test_settings_are_means_over_seeds_with_spread() -> None:
    heads, lines = rows(STAR)
    assert heads[:4] == ["lambda_local", "epsilon", "seeds", "mIoU"]
    assert lines[0][:2] == ["10", "0.4"]
    spread = settings(STAR)[0].spread("miou")
    assert spread is not None
    assert spread.mean == pytest.approx(miou((10, 0.4), 0) + 0.01)
    assert spread.std == pytest.approx(0.02 / 2**0.5)
    assert lines[0][3] == f"{100 * spread.mean:.1f} ± 1.4"
    assert Spread.of([0.5, None]) == Spread(0.5, None, 1)
    assert Spread.of([None]) is None
    assert markdown_table(STAR).count("\n") == 6


def test_values_are_sorted_by_size_and_others_as_met() -> None:
    found = settings(table(("k",), [(80,), (10,), (40,)]))
    assert values_of(found, 0) == [10, 40, 80]
    found = settings(table(("k",), [("js",), ("cosine",)]))
    assert [setting.values for setting in found] == [("js",), ("cosine",)]
    assert values_of(settings(table(("k",), [(True,), (False,)])), 0) == [True, False]


def test_failures_and_health_are_in_the_table() -> None:
    line = STAR.records[0]
    sick = Measured(**{**vars(line.measured), "health": ("d_wins",)})
    records = (
        Record(line.run, 0, line.values, "finished", sick),
        Record(line.run, 1, line.values, "failed", None),
        Record(line.run, 2, line.values, "finished", line.measured),
    )
    (text,) = rows(Table(**{**vars(STAR), "records": records}))[1]
    assert text[2] == "2 of 3, 1 failed"
    assert text[-1] == "d_wins (1 of 2)"


def test_by_the_name_of_its_folder(tmp_path: Path) -> None:
    write_table(tmp_path, STAR)
    draw_figure("study", [tmp_path], tmp_path / "a.svg", kinds=KINDS)
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")
    with pytest.raises(RunError, match="is not a run folder"):
        draw_figure("study", [tmp_path, tmp_path], tmp_path / "a.svg", kinds=KINDS)
    with pytest.raises(RunError, match="no study at"):
        draw_figure("study", [tmp_path / "b"], tmp_path / "a.svg", kinds=KINDS)
