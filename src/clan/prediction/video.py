"""Video: the overlay over or beside every frame, the sound kept, one frame in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clan.core.errors import DataError, RunError
from clan.core.extras import require_extra
from clan.core.files import make_folder
from clan.prediction.pictures import legend, overlay
from clan.prediction.predictor import Predictor

SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".mpg", ".mpeg"})
"""File name endings (lower case) that count as videos."""
CODECS = {".webm": "libvpx-vp9"}
"""Codec of the written pictures by ending; H.264 for the others."""
USUAL_RATE = Fraction(25)
"""Pictures per second, where a camera does not tell."""


def is_video(source: str | Path) -> bool:
    """Tell whether this names a video file or a camera (an index, or /dev/video0)."""
    text = str(source)
    return Path(text).suffix.lower() in SUFFIXES or camera(text) is not None


def camera(source: str) -> str | None:
    """Return the device of a camera, ``/dev/video0`` for ``0``; None for anything else."""
    if source.isdigit() and not Path(source).exists():
        return f"/dev/video{source}"
    return source if source.startswith("/dev/video") else None


def predict_video(
    predictor: Predictor,
    source: str | Path,
    out: Path,
    *,
    layout: str = "over",
    alpha: float = 0.5,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Segment a video, or what a camera sees, into a video with overlays and a legend.

    Sound is copied as it is. Ctrl-C ends it early; what was written so far is a whole video.

    Args:
        predictor: the model.
        source: a video file; for a camera its index or its device, such as ``/dev/video0``.
        out: the video to write: .mp4, .mkv, .mov or .webm.
        layout: ``over``: colours over the frames; ``beside``: frame and overlay side by side.
        alpha: weight of the colours, 0..1.
        overwrite: replace a file that is there.
        progress: called after each frame with (done, total); total grows where it is not known.

    Returns:
        The number of frames.

    Raises:
        DataError: no such video or camera, or one that cannot be read; an ending that cannot be
            written.
        RunError: ``out`` is there, or cannot be written.
        ConfigError: the extra `video` is not installed.
    """
    require_extra("av", "video", "a video")
    import av

    device = camera(str(source))
    if out.suffix.lower() not in SUFFIXES:
        raise DataError(f"{out}: expected the ending of a video, such as .mp4")
    if out.exists() and not overwrite:
        raise RunError(f"{out} is there already; choose another file, or overwrite it")
    if device is None and out.exists() and Path(source).exists() and out.samefile(source):
        raise RunError(f"{out} is the video that is read; choose another file")
    make_folder(out.parent)
    part = out.with_name(f"{out.stem}.part{out.suffix}")
    try:
        with _opened(source, device) as read, av.open(str(part), "w") as written:
            frames = _convert(
                predictor, read, written, CODECS.get(out.suffix.lower()), layout, alpha, progress
            )
        part.replace(out)
    except (av.error.FFmpegError, OSError) as error:
        raise RunError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        # its name may be longer than the system takes
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return frames


@contextmanager
def _opened(source: str | Path, device: str | None) -> Iterator[Any]:
    """Open a video or a camera; what fails says which it was."""
    import av

    if device is not None and not Path(device).exists():
        raise DataError(
            f"no camera at {device}; cameras are numbered from 0 as in /dev/video0, and a "
            "container or remote machine has none unless it is given one"
        )
    if device is None and not Path(source).is_file():
        raise DataError(f"{source}: no such video")
    try:
        container = av.open(device or str(source), format=None if device is None else "v4l2")
    except (av.error.FFmpegError, OSError) as error:
        reason = error.strerror or error
        raise DataError(f"{source}: cannot be read as a video ({reason})") from error
    with container:
        if not container.streams.video:
            raise DataError(f"{source}: holds no pictures")
        yield container


def _convert(
    predictor: Predictor,
    read: Any,
    written: Any,
    codec: str | None,
    layout: str,
    alpha: float,
    progress: Callable[[int, int], None] | None,
) -> int:
    picture = read.streams.video[0]
    picture.thread_type = "AUTO"
    rate = picture.average_rate or USUAL_RATE
    # sound is copied packet by packet, never decoded
    sounds = {
        stream.index: written.add_stream_from_template(stream) for stream in read.streams.audio
    }
    key: NDArray[np.uint8] | None = None
    stream: Any = None
    waiting: list[Any] = []
    done = 0
    try:
        for packet in read.demux([picture, *read.streams.audio]):
            if packet.stream.index in sounds:
                if packet.dts is not None:
                    waiting.append(packet)
            else:
                for frame in packet.decode():
                    pixels = frame.to_ndarray(format="rgb24")
                    shown = _shown(predictor, pixels, layout, alpha)
                    if stream is None:
                        size = min(32, max(11, shown.shape[1] // 50))
                        key = legend(predictor.classes, shown.shape[1], font_size=size)
                        stream = _stream(written, codec, rate, picture, shown, key)
                    assert key is not None
                    _write(written, stream, frame, np.concatenate([shown, key]))
                    done += 1
                    if progress is not None:
                        progress(done, max(done, picture.frames or 0))
            if stream is not None:
                # a file's head names all its streams: sound waits for the first frame
                _copy(written, sounds, waiting)
    except KeyboardInterrupt:
        # who stops a camera wants what was seen until then
        if stream is None:
            raise
    if stream is None:
        raise DataError(f"{read.name}: holds no frame that can be read")
    written.mux(stream.encode(None))
    return done


def _copy(written: Any, sounds: dict[int, Any], waiting: list[Any]) -> None:
    """Write packets of sound as they are."""
    for packet in waiting:
        packet.stream = sounds[packet.stream.index]
        written.mux(packet)
    waiting.clear()


def _shown(
    predictor: Predictor, pixels: NDArray[np.uint8], layout: str, alpha: float
) -> NDArray[np.uint8]:
    blend = overlay(pixels, predictor.predict(pixels).labels, predictor.classes, alpha)
    return blend if layout == "over" else np.concatenate([pixels, blend], axis=1)


def _stream(
    written: Any,
    codec: str | None,
    rate: Fraction,
    picture: Any,
    shown: NDArray[np.uint8],
    key: NDArray[np.uint8],
) -> Any:
    """Add the pictures' stream: sides even, as the codecs want, times as in the video read."""
    stream = written.add_stream(codec or "libx264", rate=rate)
    stream.width = shown.shape[1] // 2 * 2
    stream.height = (shown.shape[0] + key.shape[0]) // 2 * 2
    stream.pix_fmt = "yuv420p"
    if picture.time_base is not None:
        stream.codec_context.time_base = picture.time_base
    stream.options = {"crf": "20"}
    written.start_encoding()
    return stream


def _write(written: Any, stream: Any, frame: Any, picture: NDArray[np.uint8]) -> None:
    import av

    even = np.ascontiguousarray(picture[: stream.height, : stream.width])
    encoded = av.VideoFrame.from_ndarray(even, format="rgb24")
    encoded.pts, encoded.time_base = frame.pts, frame.time_base
    written.mux(stream.encode(encoded))
