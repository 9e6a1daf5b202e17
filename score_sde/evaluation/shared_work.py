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

from score_sde.evaluation.generation import even_batch_size
from score_sde.evaluation.pieces import Piece, Pieces
from score_sde.experiments.score_model import Model
from score_sde.experiments.tables import SCALING
from score_sde.runtime.fingerprints import digest_with_arrays
from score_sde.runtime.processes import by_first, meet
from score_sde.runtime.progress import ProgressBar
from score_sde.typing import Key

Compute = Callable[[range, int, ProgressBar], Piece]
"""``(indices, batch size, bar) ->`` the piece of the indices, shown on the bar when it is done.

``FloatingPointError`` where it is not finite: then it is not kept, and the process goes
no further.
"""


class Work(NamedTuple):
    """What the verb and its indices are called, and how many of them are computed at a
    time, at most.
    """

    verb: str
    unit: str
    largest: int


class Remaining(NamedTuple):
    """What of ``total`` indices is to be computed, on which all processes agree.

    ``missing``: the indices that no piece holds. ``damaged``: the former paths of the
    pieces that were set aside.
    """

    pieces: Pieces
    total: int
    missing: list[range]
    damaged: list[Path]


def pieces_of(model: Model, key: Key, folder: Path, **request: Any) -> Pieces:
    """The pieces of a request, whose rows depend on the model, the key and ``request``
    alone: plain values by name.
    """
    sections = {
        name: model.saved_config[name] for name in ("sde", "model", "parameterization", "example")
    }
    seed = [str(jax.random.key_impl(key)), np.asarray(jax.random.key_data(key)).tolist()]
    scaling = {
        name: getattr(model.scaling, name) for name in ("num_levels", *SCALING)
    }  # the rest is in "example"
    common = {**sections, "data": scaling, "step": int(model.step), "seed": seed}
    return Pieces(folder, digest_with_arrays({**common, **request}, model.params))


def remaining(pieces: Pieces, total: int) -> Remaining:
    """Set the damaged pieces aside, and find what is missing.

    Raises:
        UnreadableError: where a finished piece cannot be read; nothing is computed,
            renamed or removed.
        OSError, ValueError: where the first process cannot rename a damaged piece, as
            where the folder is another user's.
    """
    damaged: list[Path] = []
    by_first(lambda: damaged.extend(pieces.drop_damaged()))
    missing = pieces.missing(total)
    meet("what is missing is known")
    return Remaining(pieces, total, missing, damaged)


def finish(work: Work, left: Remaining, compute: Compute) -> None:
    """Compute what no piece holds, each process its share on its own devices.

    Raises:
        FloatingPointError: where some rows are not finite; the finite pieces stay.
        FileNotFoundError: where another process has not done its share.
        UnreadableError: where the folder of the pieces cannot be read.
    """
    pieces, total = left.pieces, left.total
    share, size = _share(left, work.largest)
    failure: FloatingPointError | None = None
    try:
        with _bar(work, share) as bar:
            for path in left.damaged:
                bar.note(f"damaged, to be made anew: {path} (kept as {path.name}.damaged)")
            if found := total - sum(map(len, left.missing)):
                bar.note(f"found {found} of {total} {work.unit} in {pieces.folder}")
            for indices in share:
                pieces.write(indices.start, compute(indices, size, bar))
    except FloatingPointError as error:
        failure = error
    finally:
        meet("all pieces are written")
    gaps = pieces.missing(total)
    meet("what is left is known")  # before the first process takes the pieces away
    if failure is not None:
        raise failure
    if gaps:
        raise FileNotFoundError(
            f"the {work.unit} from {gaps[0].start} on are not there: another process has failed"
        )


def _share(left: Remaining, largest: int) -> tuple[list[range], int]:
    """The batches of this process, and their size."""
    # As if all were missing: on equal devices, a resumed run then ends with equal bits.
    size = even_batch_size(left.total, min(largest, -(-left.total // jax.process_count())))
    batches = [
        range(i, min(i + size, gap.stop))
        for gap in left.missing
        for i in range(gap.start, gap.stop, size)
    ]
    return batches[jax.process_index() :: jax.process_count()], size


def _bar(work: Work, share: list[range]) -> ProgressBar:
    """The progress of this process's share; the first process alone shows it."""
    process, processes = jax.process_index(), jax.process_count()
    name = work.verb if processes == 1 else f"{work.verb}, process {process} of {processes}"
    return ProgressBar(
        name, sum(map(len, share)), unit=work.unit, stream=None if process == 0 else io.StringIO()
    )
