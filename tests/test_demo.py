from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from clan.core.console import Console
from clan.core.errors import ConfigError, DataError, RunError
from clan.demo import Images, make_data, run_demo

SMALL = Images(source=4, target=4, val=3, size="32x64")
QUICK = (
    "training.steps=2",
    "training.accelerator=cpu",
    "model.width=4",
    "data.batch_size=2",
    "data.evaluation_size=[32, 64]",
)


def console() -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, width=100), file


def test_the_demo_writes_what_it_names_and_reuses_it(tmp_path: Path) -> None:
    out = tmp_path / "demo [1]"
    screen, said = console()
    page = run_demo(out, screen, QUICK, SMALL)
    sheet = out / "pictures/comparison.png"
    text = said.getvalue()
    assert text.index(str(page)) < text.index(str(sheet))
    assert "source_only, tan, clan" in page.read_text()
    for path in (page, sheet, out / "comparison.md", out / "runs/clan/model.safetensors"):
        assert path.is_file()
        assert str(path) in text
    assert f"clan predict {out / 'runs/clan'} PHOTOS" in text
    for part in ("1/5", "2/5", "3/5", "4/5", "5/5", "source_only", "Done in"):
        assert part in text
    # three validation images, the target image, three systems and the truth
    assert sorted(p.name for p in sheet.parent.iterdir()) == [
        "00.png",
        "01.png",
        "02.png",
        "comparison.png",
    ]
    with Image.open(sheet) as picture:
        assert picture.width > 5 * 64
    assert "| clan" in (out / "comparison.md").read_text()
    models = {p: p.stat().st_mtime_ns for p in out.glob("runs/*/model.safetensors")}
    assert len(models) == 3
    again, said = console()
    run_demo(out, again, QUICK, SMALL)
    assert said.getvalue().count("is finished already") == 3
    assert {p: p.stat().st_mtime_ns for p in models} == models
    with pytest.raises(RunError, match=r"training.steps was 2, now 3"):
        run_demo(out, again, (*QUICK, "training.steps=3"), SMALL)


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    screen, _ = console()
    with pytest.raises(ConfigError, match=r"unknown data set 'twon'; did you mean 'town'"):
        make_data("twon", tmp_path / "a", SMALL, screen)
    with pytest.raises(ConfigError, match=r"'64' is not HEIGHTxWIDTH"):
        make_data("town", tmp_path / "a", Images(size="64"), screen)
    with pytest.raises(ConfigError, match=r"taller than wide; did you mean 32x64\?"):
        make_data("town", tmp_path / "a", Images(size="64x32"), screen)
    (tmp_path / "mine").touch()
    with pytest.raises(DataError, match=r"not empty"):
        make_data("town", tmp_path, SMALL, screen)
