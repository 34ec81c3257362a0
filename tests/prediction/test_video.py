"""Videos come back with overlays, frame by frame; folders are watched; no camera is said."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clan.core.errors import DataError, RunError
from clan.prediction import watch
from clan.prediction.predictor import Predictor
from clan.prediction.video import camera, is_video, predict_video
from clan.prediction.watch import watch_folder
from tests.prediction.test_predictor import TRIO, Painter, scene

av = pytest.importorskip("av")
FRAMES, RATE = 9, 12


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Nine frames of three stripes whose order turns, with a tone."""
    path = tmp_path / "in.mp4"
    with av.open(str(path), "w") as out:
        picture = out.add_stream("libx264", rate=RATE)
        picture.width, picture.height, picture.pix_fmt = 96, 64, "yuv420p"
        sound = out.add_stream("aac", rate=44100)
        for number in range(FRAMES):
            pixels = scene(64, 96)[0]
            shown = np.ascontiguousarray(pixels[:, :: -1 if number % 2 else 1])
            frame = av.VideoFrame.from_ndarray(shown, format="rgb24")
            out.mux(picture.encode(frame))
        tone = np.sin(np.arange(44100 * FRAMES // RATE) / 20).astype(np.float32)[None] / 4
        for start in range(0, tone.shape[1], 1024):
            part = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(tone[:, start : start + 1024]), format="fltp", layout="mono"
            )
            part.sample_rate, part.pts = 44100, start
            part.time_base = Fraction(1, 44100)
            out.mux(sound.encode(part))
        out.mux(picture.encode(None))
        out.mux(sound.encode(None))
    return path


def content(path: Path) -> tuple[list[np.ndarray], list[float], list[bytes]]:
    """Return frames, their times and the packets of the sound."""
    with av.open(str(path)) as file:
        pictures = list(file.decode(video=0))
    with av.open(str(path)) as file:
        sound = [bytes(packet) for packet in file.demux(audio=0) if packet.size]
    return [p.to_ndarray(format="rgb24") for p in pictures], [p.time for p in pictures], sound


@pytest.mark.parametrize("layout", ["over", "beside"])
def test_every_frame_has_its_overlay_and_the_sound_is_kept(
    video: Path, tmp_path: Path, layout: str
) -> None:
    calls: list[tuple[int, int]] = []
    out = tmp_path / "new" / "out.mp4"
    assert (
        predict_video(
            Predictor(Painter()), video, out, layout=layout, progress=lambda *now: calls.append(now)
        )
        == FRAMES
    )
    assert calls == [(number, FRAMES) for number in range(1, FRAMES + 1)]
    before, times, sound = content(video)
    after, later, kept = content(out)
    assert later == pytest.approx(times)
    assert kept == sound
    assert len(sound) > 5
    left = 0 if layout == "over" else 96
    assert after[0].shape[1] == 96 + left
    assert after[0].shape[0] > 64
    for old, new in zip(before, after, strict=True):
        shown = new[10:54, left : left + 96].astype(float)
        classes = np.clip(np.rint(old[10:54, :, 0] / 100), 0, 2).astype(np.uint8)
        blend = old[10:54] / 2 + TRIO.colorize(classes) / 2
        assert np.median(np.abs(shown - blend)) < 8
    if layout == "beside":
        assert np.abs(after[3][:64, :96].astype(float) - before[3]).mean() < 8


def test_what_is_no_video_says_so(video: Path, tmp_path: Path) -> None:
    model, out = Predictor(Painter()), tmp_path / "out.mp4"
    (tmp_path / "text.mp4").write_text("no video")
    for source, said in (
        (tmp_path / "text.mp4", "cannot be read as a video"),
        (tmp_path / "none.mp4", "no such video"),
        ("7", "no camera at /dev/video7"),
        ("/dev/video8", "no camera at /dev/video8"),
    ):
        with pytest.raises(DataError, match=said):
            predict_video(model, source, out)
    with pytest.raises(DataError, match=r"such as \.mp4"):
        predict_video(model, video, tmp_path / "folder")
    with pytest.raises(RunError, match="is there already"):
        predict_video(model, video, video)
    with pytest.raises(RunError, match="the video that is read"):
        predict_video(model, video, video, overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {"in.mp4", "text.mp4"}


def test_stopping_keeps_what_was_seen(video: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    out = tmp_path / "out.mkv"
    assert predict_video(Predictor(Painter()), video, out, progress=stop) == 4
    assert len(content(out)[0]) == 4


def test_videos_and_cameras_are_told_from_images(tmp_path: Path) -> None:
    assert is_video("a.MP4")
    assert is_video("0")
    assert camera("2") == "/dev/video2"
    assert not is_video("photos")
    assert not is_video(tmp_path / "a.jpg")


def test_a_folder_that_fills_is_done_image_by_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "in", tmp_path / "in" / "out"
    (folder / "sub").mkdir(parents=True)
    out.mkdir()
    pixels = scene()[0]
    whole = tmp_path / "whole.png"
    Image.fromarray(pixels).save(whole)
    data = whole.read_bytes()
    looks = 0

    def happens(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            (folder / "a.png").write_bytes(data[:60])
            (out / "full_label.png").mkdir()
            (folder / "full.png").write_bytes(data)
        elif looks == 2:
            (folder / "a.png").write_bytes(data)
            (folder / "sub" / "b.png").write_bytes(data)
            (folder / "broken.png").write_bytes(b"none")
        elif looks == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(watch.time, "sleep", happens)
    told: list[str] = []
    painter: Any = Painter()
    assert watch_folder(Predictor(painter), [folder], out, told=told.append) == 2
    assert len(painter.seen) == 3
    # a result that cannot be written ends nothing
    assert sum("full_label.png: Is a directory" in line for line in told) == 1
    assert (out / "a_label.png").is_file()
    assert (out / "sub" / "b_label.png").is_file()
    assert sum("broken.png" in line for line in told) == 1
    with pytest.raises(DataError, match="takes one folder"):
        watch_folder(Predictor(painter), [whole], tmp_path / "other")
