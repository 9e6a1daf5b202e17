"""What ``score-sde sample`` sets going: samples in pieces, each process its share."""

from pathlib import Path

import jax
import numpy as np

from score_sde.cli import shared_work
from score_sde.evaluation.generation import draw_range, make_draw
from score_sde.evaluation.pieces import Piece, Pieces
from score_sde.experiments.score_model import Model
from score_sde.runtime.progress import Progress
from score_sde.typing import Key

NOT_THE_NUMBERS = ("num_samples", "batch_size")
"""The keys of the section ``sampling`` on which no sample depends."""


def pieces_of(model: Model, key: Key, folder: Path) -> Pieces:
    """The pieces of the request: all that sample ``i`` depends on is the model, its
    sampler and the key.
    """
    sampling = {
        name: value
        for name, value in model.config["sampling"].items()
        if name not in NOT_THE_NUMBERS
    }
    return shared_work.pieces_of(model, key, folder, sampling=sampling)


def draw_missing(model: Model, pieces: Pieces, key: Key, num_samples: int) -> None:
    """Draw what no piece holds, each process its share on its own devices.

    A piece holds ``samples``, as levels or points, and the evaluations ``nfe`` that
    each has cost.

    Raises:
        FloatingPointError: where some samples are not finite; the finite pieces stay.
        FileNotFoundError: where another process has not done its share.
    """
    reports = _Reports()
    parts = model.sde, model.score_fn_of, model.sampler, model.shape
    draw = make_draw(*parts, progress=reports, **model.drawing.options)

    def compute(indices: range, size: int, bar: Progress) -> Piece:
        reports.begin(bar, len(indices))
        batch = draw_range(draw, model.params, key, indices, size)
        reports.end()
        if not np.isfinite(batch.x).all():
            raise FloatingPointError(
                "some samples are not finite: more steps (num_steps, max_steps) or a longer "
                "training"
            )
        return {"samples": np.asarray(model.scaling.to_data(batch.x)), "nfe": np.asarray(batch.nfe)}

    shared_work.finish(
        shared_work.Work("sample", "samples", num_samples, model.drawing.batch_size),
        pieces,
        compute,
    )


class _Reports:
    """Shows on a bar how far a batch is: never back, in whatever order the reports come."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._done, self._size, self._part = 0, 0, 0.0

    def begin(self, bar: Progress, size: int) -> None:
        """A batch of a size begins."""
        self._bar, self._done, self._size, self._part = bar, bar.done, size, 0.0

    def __call__(self, part: float) -> None:
        if self._bar is not None and part > self._part:
            self._part = part
            self._bar.update(self._done + int(part * self._size), batch=f"{part:.0%}")

    def end(self) -> None:
        """The batch is done, and its last report has come."""
        jax.effects_barrier()
        if self._bar is not None:
            self._bar.update(self._done + self._size, batch="100%")
