"""What ``score-sde sample`` sets going: samples in pieces, each process its share."""

import dataclasses
import io
from pathlib import Path

import jax
import numpy as np

from score_sde.evaluation.generation import draw_range, even_batch_size, make_draw
from score_sde.evaluation.pieces import Piece, Pieces, fingerprint
from score_sde.experiment import Model
from score_sde.training import Progress, meet
from score_sde.typing import Key

NOT_THE_NUMBERS = ("num_samples", "batch_size")
"""The keys of the section ``sampling`` on which no sample depends."""


def pieces_of(model: Model, key: Key, folder: Path) -> Pieces:
    """The pieces of the request: all that sample ``i`` depends on is the model, its sampler and the key."""
    sections = {name: model.config[name] for name in ("sde", "model", "parameterization", "example")}
    sampling = {name: value for name, value in model.config["sampling"].items() if name not in NOT_THE_NUMBERS}
    seed = [str(jax.random.key_impl(key)), np.asarray(jax.random.key_data(key)).tolist()]
    request = {"sampling": sampling, "data": dataclasses.asdict(model.scaling), "step": int(model.step), "seed": seed}
    return Pieces(folder, fingerprint({**sections, **request}, model.params))


def draw_missing(model: Model, pieces: Pieces, key: Key, num_samples: int) -> None:
    """Draw what no piece holds, each process its share on its own devices.

    Raises:
        FloatingPointError: where some samples are not finite; the finite pieces stay.
        FileNotFoundError: where another process has not done its share.
    """
    damaged, missing = _what_is_there(pieces, num_samples)
    share, size = _share(missing, num_samples, model.drawing.batch_size)
    try:
        with _bar(share) as bar:
            for path in damaged:
                bar.note(f"damaged, to be drawn anew: {path}")
            if found := num_samples - sum(map(len, missing)):
                bar.note(f"found {found} of {num_samples} samples in {pieces.folder}")
            finite = _draw(model, pieces, key, share, size, bar)
    finally:
        meet("all pieces are written")
    left = pieces.missing(num_samples)
    meet("what is left is known")  # before the first process takes the pieces away
    if not finite:
        raise FloatingPointError("some samples are not finite: more steps (num_steps, max_steps) or a longer training")
    if left:
        raise FileNotFoundError(f"the samples from {left[0].start} on are not there: another process has failed")


def _what_is_there(pieces: Pieces, num_samples: int) -> tuple[list[Path], list[range]]:
    """The damaged pieces, now gone, and what is missing, on which all processes agree."""
    damaged = pieces.drop_damaged() if jax.process_index() == 0 else []
    meet("damaged pieces are gone")
    missing = pieces.missing(num_samples)
    meet("what is missing is known")
    return damaged, missing


def _share(missing: list[range], num_samples: int, largest: int) -> tuple[list[range], int]:
    """The batches of this process, and their size."""
    # As if all were missing: on equal devices, a resumed run then ends with equal bits.
    size = even_batch_size(num_samples, min(largest, -(-num_samples // jax.process_count())))
    batches = [range(i, min(i + size, gap.stop)) for gap in missing for i in range(gap.start, gap.stop, size)]
    return batches[jax.process_index() :: jax.process_count()], size


def _bar(share: list[range]) -> Progress:
    """The progress of this process's share; the first process alone shows it."""
    process, processes = jax.process_index(), jax.process_count()
    name = "sample" if processes == 1 else f"sample, process {process} of {processes}"
    return Progress(name, sum(map(len, share)), unit="samples", stream=None if process == 0 else io.StringIO())


def _draw(model: Model, pieces: Pieces, key: Key, share: list[range], size: int, bar: Progress) -> bool:
    """Draw batches and keep them, up to one that is not finite; whether there was none."""
    reports = _Reports(bar)
    parts = model.sde, model.score_fn_of, model.sampler, model.shape
    draw = make_draw(*parts, progress=reports, **model.drawing.options)
    for indices in share:
        reports.begin(len(indices))
        batch = draw_range(draw, model.params, key, indices, size)
        reports.end()
        if not np.isfinite(batch.x).all():
            return False
        pieces.write(indices.start, Piece(np.asarray(model.scaling.to_data(batch.x)), np.asarray(batch.nfe)))
    return True


class _Reports:
    """Shows on a bar how far a batch is: never back, in whatever order the reports come."""

    def __init__(self, bar: Progress) -> None:
        self._bar, self._done, self._size, self._part = bar, 0, 0, 0.0

    def begin(self, size: int) -> None:
        """A batch of a size begins."""
        self._done, self._size, self._part = self._bar.done, size, 0.0

    def __call__(self, part: float) -> None:
        if part > self._part:
            self._part = part
            self._bar.update(self._done + int(part * self._size), batch=f"{part:.0%}")

    def end(self) -> None:
        """The batch is done, and its last report has come."""
        jax.effects_barrier()
        self._bar.update(self._done + self._size, batch="100%")
