"""The style of all figures: sizes, fonts and colours; and files written atomically."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from score_sde.runtime.atomic_files import MARK, PathLike, replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, SKY, GREEN = "#0072B2", "#56B4E9", "#009E73"
ORANGE, VERMILION, PURPLE = "#E69F00", "#D55E00", "#CC79A7"
COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY)
"""The colour-blind safe palette of Okabe & Ito."""

INK = "#222222"
"""The colour of text."""

FRAME = "#999999"
"""The colour of axes."""

PALE = "#d0d0d0"
"""The colour of points in the background."""

WIDTH = 8.5
"""The width of a figure in inches: with `DPI`, twice the pixels of a page that shows it
850 pixels wide."""

DPI = 200

STYLE: dict[Any, Any] = {
    "axes.edgecolor": FRAME,
    "axes.labelcolor": INK,
    "axes.labelsize": 10.0,
    "axes.linewidth": 0.8,
    "axes.titlecolor": INK,
    "axes.titlesize": 10.5,
    "font.size": 10.0,
    "legend.fontsize": 9.0,
    "legend.frameon": False,
    "text.color": INK,
    "xtick.color": FRAME,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 9.0,
    "xtick.major.size": 3.0,
    "ytick.color": FRAME,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 9.0,
    "ytick.major.size": 3.0,
}
"""Parameters of matplotlib."""


@contextmanager
def new_figure(path: PathLike, *, height: float) -> "Iterator[Figure]":
    """A figure in the common style, written to ``path`` at the end of the block.

    The suffix of ``path`` chooses the format; ``height`` is in inches. An error within
    the block leaves no file. ::

        with new_figure("loss.png", height=3.4) as figure:
            figure.add_subplot().plot(steps, loss)
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        yield figure
        save_figure(path, figure)


def lighten(axis: "Axes") -> None:
    """A light grid, and no frame at the top and on the right."""
    axis.grid(which="major", color="#e6e6e6", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def save_figure(path: PathLike, figure: "Figure", *, dpi: int = DPI) -> None:
    """Write a matplotlib figure to ``path``; the suffix chooses the format.

    A PNG has a palette of 256 colours, which makes its file three times smaller.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image, PngImagePlugin

    canvas = FigureCanvasAgg(figure)
    with replacing(path) as temporary:
        if temporary.suffix != ".png":
            figure.savefig(temporary, dpi=dpi)
            return
        figure.set_dpi(dpi)
        canvas.draw()
        pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        mark = PngImagePlugin.PngInfo()
        mark.add_text("Software", MARK)
        pixels.quantize(256, dither=Image.Dither.NONE).save(temporary, format="PNG", pnginfo=mark)
