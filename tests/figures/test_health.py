from __future__ import annotations

import json
from pathlib import Path

import pytest

from clan.config.loading import load_config
from clan.core.errors import RunError
from clan.figures.health import draw_health
from clan.figures.style import save_figure
from clan.runs.folder import RunFolder


def add_run(path: Path, name: str, scalars: dict[str, float]) -> Path:
    run = RunFolder.create(path, load_config("town/tan", [f"name={name}"]))
    lines = [{"step": step, **scalars} for step in (10, 20, 30)]
    run.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_panel_for_each_sign_of_health(tmp_path: Path) -> None:
    full = {
        "d_accuracy": 0.7,
        "d_accuracy_source": 0.6,
        "d_accuracy_target": 0.8,
        "d_logit_source": -0.3,
        "d_logit_target": 0.4,
        "loss_d_source": 0.5,
        "loss_d_target": 0.7,
        "adv_share": 0.1,
    }
    runs = [
        add_run(tmp_path / "a", "tan", full),
        # one of old, which logs less
        add_run(tmp_path / "b", "other", {"d_accuracy": 0.5, "loss_d_source": 0.7}),
        add_run(tmp_path / "c", "source_only", {"loss_seg": 1.0}),
    ]
    figure = draw_health(runs)
    accuracy, logits, loss, share = figure.axes
    assert [list(line.get_ydata()) for line in accuracy.lines[:2]] == [[0.6] * 3, [0.8] * 3]
    assert list(logits.lines[1].get_ydata()) == [0.4] * 3
    assert list(loss.lines[0].get_ydata()) == pytest.approx([0.6] * 3)
    assert list(share.lines[0].get_ydata()) == [0.1] * 3
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["TAN", "other"]
    save_figure(figure, tmp_path / "health.png")
    with pytest.raises(RunError, match="none of the runs logs an adversary"):
        draw_health(runs[2:])
