"""Long work on the indices ``0 .. total - 1``: in batches, shared among processes,
going on where it was.

Each index has rows of its own, which depend on the index and on a request but on
nothing else, so that any process may compute any batch. ``score-sde sample`` and
``score-sde likelihood`` are its users.
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from score_sde.cli.flags import refusals
from score_sde.evaluation.generation import even_batch_size
from score_sde.evaluation.pieces import Piece, Pieces, fingerprint
from score_sde.experiments.score_model import Model
from score_sde.experiments.tables import SCALING
from score_sde.runtime.processes import by_first, meet
from score_sde.runtime.progress import Progress
from score_sde.typing import Key

Compute = Callable[[range, int, Progress], Piece]
"""``(indices, batch size, bar) ->`` the piece of the indices, shown on the bar when it is done.

``FloatingPointError`` where it is not finite: then it is not kept, and the process goes
no further.
"""


class Work(NamedTuple):
    """What is to be done: ``total`` indices, at most ``largest`` at a time; and what
    verb and indices are called.
    """

    verb: str
    unit: str
    total: int
    largest: int


def pieces_of(model: Model, key: Key, folder: Path, **request: Any) -> Pieces:
    """The pieces of a request, whose rows depend on the model, the key and ``request``
    alone: plain values by name.
    """
    sections = {
        name: model.config[name] for name in ("sde", "model", "parameterization", "example")
    }
    seed = [str(jax.random.key_impl(key)), np.asarray(jax.random.key_data(key)).tolist()]
    scaling = {
        name: getattr(model.scaling, name) for name in ("num_levels", *SCALING)
    }  # the rest is in "example"
    common = {**sections, "data": scaling, "step": int(model.step), "seed": seed}
    return Pieces(folder, fingerprint({**common, **request}, model.params))


def finish(work: Work, pieces: Pieces, compute: Compute) -> None:
    """Compute what no piece holds, each process its share on its own devices.

    Raises:
        FloatingPointError: where some rows are not finite; the finite pieces stay.
        FileNotFoundError: where another process has not done its share.
        UnreadableError: where a finished piece cannot be read; nothing is computed,
            renamed or removed.
    """
    damaged, missing = _what_is_there(pieces, work.total)
    share, size = _share(missing, work)
    failure: FloatingPointError | None = None
    try:
        with _bar(work, share) as bar:
            for path in damaged:
                bar.note(f"damaged, to be made anew: {path} (kept as {path.name}.damaged)")
            if found := work.total - sum(map(len, missing)):
                bar.note(f"found {found} of {work.total} {work.unit} in {pieces.folder}")
            for indices in share:
                pieces.write(indices.start, compute(indices, size, bar))
    except FloatingPointError as error:
        failure = error
    finally:
        meet("all pieces are written")
    left = pieces.missing(work.total)
    meet("what is left is known")  # before the first process takes the pieces away
    if failure is not None:
        raise failure
    if left:
        raise FileNotFoundError(
            f"the {work.unit} from {left[0].start} on are not there: another process has failed"
        )


def _what_is_there(pieces: Pieces, total: int) -> tuple[list[Path], list[range]]:
    """The damaged pieces, now set aside, and what is missing, on which all processes agree."""
    damaged: list[Path] = []
    with refusals():  # as where the folder is another user's
        by_first(lambda: damaged.extend(pieces.drop_damaged()))
    missing = pieces.missing(total)
    meet("what is missing is known")
    return damaged, missing


def _share(missing: list[range], work: Work) -> tuple[list[range], int]:
    """The batches of this process, and their size."""
    # As if all were missing: on equal devices, a resumed run then ends with equal bits.
    size = even_batch_size(work.total, min(work.largest, -(-work.total // jax.process_count())))
    batches = [
        range(i, min(i + size, gap.stop))
        for gap in missing
        for i in range(gap.start, gap.stop, size)
    ]
    return batches[jax.process_index() :: jax.process_count()], size


def _bar(work: Work, share: list[range]) -> Progress:
    """The progress of this process's share; the first process alone shows it."""
    process, processes = jax.process_index(), jax.process_count()
    name = work.verb if processes == 1 else f"{work.verb}, process {process} of {processes}"
    return Progress(
        name, sum(map(len, share)), unit=work.unit, stream=None if process == 0 else io.StringIO()
    )
