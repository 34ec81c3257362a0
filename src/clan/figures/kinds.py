"""The figures by name, and drawing one of them from run folders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clan.core.errors import ConfigError, RunError, nearest
from clan.figures.style import check_suffix, save_figure
from clan.runs.folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class FigureOptions:
    """Options of a figure besides its runs; each kind reads some of them."""

    class_name: str | None = None
    """The class shown over the steps; None for wall or, if it is missing, the first class."""
    images: int = 3
    """Number of images (rows) in figures with images."""
    baseline: str = "source_only"
    """The system that gains and losses are relative to."""


@dataclass(frozen=True)
class Kind:
    """One kind of figure: its description, and the function that draws it, ``module:name``.

    The module is one of `clan.figures`, or given in full. The function takes run folders and
    `FigureOptions`, and returns a Figure.
    """

    shows: str
    function: str
    of_study: bool = False
    """Whether the first path is the folder of a `clan sweep`; runs may follow."""

    def draw(self, runs: Sequence[Path], options: FigureOptions) -> Figure:
        """Draw it; its module is imported here, when it is needed."""
        module, _, name = self.function.partition(":")
        function: Callable[[Sequence[Path], FigureOptions], Any] = getattr(
            import_module(module if "." in module else f"clan.figures.{module}"), name
        )
        figure: Figure = function(runs, options)
        return figure


KINDS = {
    "curves": Kind("learning curves: target mIoU, losses, D's accuracy", "curves:draw_curves"),
    "health": Kind("D's accuracy, logits, loss; its share of G's gradient", "health:draw_health"),
    "ccd": Kind("cluster-centre distance over the steps", "ccd:draw_steps"),
    "ccd-classes": Kind("cluster-centre distance per class, at the end", "ccd:draw_classes"),
    "tsne": Kind("t-SNE of pixel features, a panel per run", "tsne:draw_tsne"),
    "maps": Kind("alignment maps and D's output on images", "maps:draw_maps"),
    "maps-classes": Kind("mean of the alignment map per class", "maps:draw_classes"),
    "qualitative": Kind("images, predictions, ground truth", "qualitative:draw_qualitative"),
    "transfer": Kind("IoU per class won and lost over the baseline", "transfer:draw_transfer"),
    "label-free": Kind("label-free scores against true mIoU", "label_free:draw_scores"),
}


def draw_figure(
    kind: str,
    runs: Sequence[str | Path],
    out: Path,
    options: FigureOptions | None = None,
    dpi: int = 300,
    kinds: Mapping[str, Kind] = KINDS,
) -> None:
    """Draw a figure of runs into a file.

    Args:
        kind: a key of ``kinds``.
        runs: run folders; seeds of one name are one system. For ``study`` first its folder, then
            the runs of a system to compare with.
        out: .png, .svg or .pdf.
        options: options of the figure.
        dpi: resolution of a .png.
        kinds: the table of figures by name.

    Raises:
        ConfigError: an unknown kind.
        RunError: no run at a path, an analysis that is missing or has different settings, or a file
            that cannot be written.
    """
    if kind not in kinds:
        raise ConfigError(f"unknown figure {kind!r}{nearest(kind, kinds)}")
    check_suffix(out)
    if not runs:
        raise RunError("no run given; name run folders")
    first = [Path(runs[0])] if kinds[kind].of_study else []
    folders = [*first, *(RunFolder.open(run).path for run in runs[len(first) :])]
    save_figure(kinds[kind].draw(folders, options or FigureOptions()), out, dpi)
