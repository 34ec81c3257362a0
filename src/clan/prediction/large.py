"""A picture of any size from its file to the files of its results, window by window."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clan.data.images import read_image
from clan.data.strips import Strips, in_strips, write_label_rows, write_overlay_rows
from clan.prediction.outputs import Outputs, beside, label_file, write_outputs
from clan.prediction.prediction import key_of
from clan.prediction.predictor import Predictor
from clan.scoring.submission import label_id_palette, label_id_table

Progress = Callable[[int, int], None] | None


def write_large(
    predictor: Predictor, image: Path, target: Path, outputs: Outputs, progress: Progress = None
) -> None:
    """Predict a picture with ``outputs.tile`` and write its label and overlay.

    Where `in_strips` can read it, neither the picture nor a result is in memory as a whole.

    Args:
        predictor: the model.
        image: the picture's file.
        target: the results' path without ``_label.png`` and the like.
        outputs: what to write.
        progress: called after each window with (done, total).

    Raises:
        DataError: the picture cannot be read, or a result not be written.
    """
    assert outputs.tile is not None
    picture = in_strips(image)
    if picture is None:
        found = predictor.predict_tiled(read_image(image), outputs.tile, progress)
        write_outputs(target, found, outputs, image)
        return
    _write(predictor, picture, image, target, outputs, progress)


def _write(
    predictor: Predictor,
    picture: Strips,
    image: Path,
    target: Path,
    outputs: Outputs,
    progress: Progress,
) -> None:
    assert outputs.tile is not None
    classes, label = predictor.classes, label_file(target, outputs.style)
    seen = np.zeros(256, bool)

    def rows() -> Iterator[NDArray[np.uint8]]:
        for strip in predictor.label_rows(picture, outputs.tile or 0, progress):
            seen[np.unique(strip)] = True
            yield strip

    if outputs.style == "cityscapes":
        table = label_id_table(classes)
        ids = (table[strip] for strip in rows())
        write_label_rows(label, picture.shape, label_id_palette(), ids)
        return
    write_label_rows(label, picture.shape, classes.palette(), rows())
    names = [name for index, name in enumerate(classes.names) if seen[index]]
    write_overlay_rows(
        beside(target, "overlay.jpg"),
        image,
        label,
        outputs.alpha,
        lambda width: key_of(classes, width, names),
    )
