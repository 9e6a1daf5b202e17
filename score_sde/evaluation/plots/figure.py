"""Figures written atomically, and their colours."""

from typing import TYPE_CHECKING

from score_sde.runtime.atomic_files import MARK, PathLike, replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, SKY, GREEN = "#0072B2", "#56B4E9", "#009E73"
ORANGE, VERMILION, PURPLE = "#E69F00", "#D55E00", "#CC79A7"
"""The colour-blind safe palette of Okabe & Ito."""

INK = "#333333"
"""The colour of text."""

FRAME = "#bbbbbb"
"""The colour of axes, and of points in the background."""


def frame_thinly(axis: "Axes") -> None:
    """A thin grey frame."""
    for spine in axis.spines.values():
        spine.set(color=FRAME, linewidth=0.6)


def save_figure(path: PathLike, figure: "Figure", *, dpi: int = 150) -> None:
    """Write a matplotlib figure to ``path``; the suffix chooses the format."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    with replacing(path) as temporary:
        mark = {"Software": MARK} if temporary.suffix == ".png" else {}
        figure.savefig(temporary, dpi=dpi, metadata=mark)
