"""Figures written atomically."""

from typing import TYPE_CHECKING

from score_sde.runtime.atomic_files import MARK, PathLike, replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_figure(path: PathLike, figure: "Figure", *, dpi: int = 150) -> None:
    """Write a matplotlib figure to ``path``; the suffix chooses the format."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    with replacing(path) as temporary:
        mark = {"Software": MARK} if temporary.suffix == ".png" else {}
        figure.savefig(temporary, dpi=dpi, metadata=mark)
