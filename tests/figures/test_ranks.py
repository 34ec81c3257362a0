from __future__ import annotations

import numpy as np

from clan.comparison.ranks import compare_ranks
from clan.figures.ranks import draw_ranks
from clan.figures.style import svg_text


def test_every_system_is_named_once_and_the_control_is_bold() -> None:
    names = [f"system_{i}" for i in range(13)]
    scores = np.arange(13.0)[None].repeat(5, axis=0)
    test = compare_ranks(names, range(5), scores, "system_0")
    assert test is not None
    figure = draw_ranks(test)
    texts = {t.get_text(): t for t in figure.axes[0].texts}
    for name, rank in zip(names, test.mean_ranks, strict=True):
        (found,) = [text for text in texts if name in text.split()]
        assert f"{rank:.1f}" in found
        assert (texts[found].get_fontweight() == "bold") == (name == "system_0")
    assert f"critical difference at 5 %: {test.critical:.1f}" in texts
    # the best on the left: its name begins left of the line
    best = next(t for text, t in texts.items() if "system_12" in text)
    assert best.get_position()[0] < 1
    assert svg_text(figure, "ranks") == svg_text(draw_ranks(test), "ranks")
