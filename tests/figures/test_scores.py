from __future__ import annotations

import pytest

from clan.figures.scores import KINDS, draw_scores
from clan.figures.style import svg_text
from clan.methods import METHODS

SCORED = {
    "source_only": {0: 20.0, 1: 22.0},
    "clan": {0: 24.0, 1: 25.0},
    "mine": {1: 23.0},
    "oracle": {0: 40.0, 1: 42.0},
}
FAMILIES = {"source_only": "", "clan": "AT", "mine": "ST", "oracle": ""}


def test_each_seed_is_a_circle_and_the_best_mean_is_on_top() -> None:
    figure = draw_scores(SCORED, FAMILIES, "source_only", "oracle")
    (axes,) = figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["source_only", "mine", "clan", "oracle"]
    circles = [line for line in axes.lines if line.get_marker() == "o"]
    for y, (name, line) in enumerate(zip(names, circles, strict=True)):
        assert list(line.get_xdata()) == list(SCORED[name].values())
        assert set(line.get_ydata()) == {y}
    colors = [line.get_markeredgecolor() for line in circles]
    # the oracle, whose method has no family, is no system like others
    assert colors == [KINDS[kind][0] for kind in ("", "ST", "AT", "oracle")]
    # one seed has no spread
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["21.0 ± 1.4", "23.0", "24.5 ± 0.7", "41.0 ± 1.4"]
    (line,) = (line for line in axes.lines if line.get_linestyle() == "--")
    assert list(line.get_xdata()) == pytest.approx([21.0, 21.0])
    again = draw_scores(SCORED, FAMILIES, "source_only", "oracle")
    assert svg_text(figure, "scores") == svg_text(again, "scores")


def test_neither_baseline_nor_oracle_need_be_there() -> None:
    figure = draw_scores({"clan": {0: 24.0}}, {"clan": "AT"})
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["adversarial"]


def test_a_method_may_have_a_family_of_its_own() -> None:
    figure = draw_scores({"clan": {0: 24.0}, "gan": {0: 25.0}}, {"clan": "AT", "gan": "GAN"})
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["adversarial", "GAN"]


def test_every_family_has_a_colour() -> None:
    assert {method.family for method in METHODS.values()} <= set(KINDS)
