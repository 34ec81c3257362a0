"""The figures by name, the sweep's own among them."""

from __future__ import annotations

from clan.figures import kinds

KINDS = {
    **kinds.KINDS,
    "study": kinds.Kind(
        "mIoU and D's loss over a sweep's settings",
        "clan.studies.sweep.figure:draw_folder",
        of_study=True,
    ),
}
