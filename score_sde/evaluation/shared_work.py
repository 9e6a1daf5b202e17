"""Long work on the indices ``0 .. total - 1``, in shards, shared among processes; an
interrupted run resumes.

The rows of an index depend on the index and the request alone, so that any process may
compute any batch. ``score-sde sample`` and ``score-sde likelihood`` work this way.
"""

import io
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from score_sde.evaluation.generation import even_batch_size
from score_sde.evaluation.shards import Shard, Shards
from score_sde.experiments.meaning import stated, trust_in_code_of
from score_sde.experiments.score_model import Model
from score_sde.experiments.tables import SCALING
from score_sde.runtime.fingerprints import digest_with_arrays
from score_sde.runtime.processes import by_first, meet
from score_sde.runtime.progress import ProgressBar
from score_sde.runtime.shared_folder import check_shared
from score_sde.typing import Key

Compute = Callable[[range, int, ProgressBar], Shard]
"""``(indices, batch size, bar) ->`` the shard of the indices; moves the bar.

A shard that is not finite is a ``FloatingPointError``: it is not written, and the
process stops.
"""


class Work(NamedTuple):
    """The work of a command.

    Attributes:
        command: its name.
        unit: the name of the indices, in the plural.
        largest: the greatest batch.
    """

    command: str
    unit: str
    largest: int


class Remaining(NamedTuple):
    """The remaining work, on which all processes agree.

    Attributes:
        shards: of the request.
        total: the number of indices.
        missing: the indices that no shard holds.
        damaged: the former paths of the damaged shards, which are renamed.
    """

    shards: Shards
    total: int
    missing: list[range]
    damaged: list[Path]


def shards_of(model: Model, key: Key, folder: Path, **request: Any) -> Shards:
    """The shards of a request, whose rows depend on the model, the key and ``request``,
    plain values by name, alone.

    Sections of the config count by what they state, so that a default may be written out.
    """
    config = model.saved_config
    sections = {name: config[name] for name in SECTIONS_OF_NETWORK} | {
        name: request[name] for name in ("sampling", "eval") if name in request
    }
    seed = [str(jax.random.key_impl(key)), np.asarray(jax.random.key_data(key)).tolist()]
    scaling = {
        name: getattr(model.scaling, name) for name in ("num_levels", *SCALING)
    }  # the rest is in "example"
    common = {**request, "data": scaling, "step": int(model.step), "seed": seed}
    former = Shards(folder, digest_with_arrays({**common, **sections}, model.params))
    if former.folder.is_dir():  # of version 0.1, by the texts of the sections
        return former
    trust = trust_in_code_of(config)  # of which the model has been built
    meant = {name: stated(name, values, trust) for name, values in sections.items()}
    return Shards(folder, digest_with_arrays({**common, **meant}, model.params))


SECTIONS_OF_NETWORK = ("sde", "model", "parameterization", "example")
"""The sections that decide on the score of given parameters."""


def options_of(model: Model, section: str, *, but: Collection[str]) -> dict[str, Any]:
    """The options of a section of the saved config, without those named in ``but``."""
    options = model.saved_config[section]
    return {name: value for name, value in options.items() if name not in but}


def remaining(shards: Shards, total: int) -> Remaining:
    """Rename the damaged shards, and find the missing indices.

    Raises:
        ValueError: the processes have different folders.
        UnreadableError: a finished shard cannot be read; nothing is computed, renamed
            or removed.
        OSError, ValueError: the first process cannot rename a damaged shard, for
            example in a folder of another user.
    """
    check_shared(shards.folder.parent, "folder for the results")
    damaged: list[Path] = []
    by_first(lambda: damaged.extend(shards.drop_damaged()))
    missing = shards.missing(total)
    meet("the missing indices are known")
    return Remaining(shards, total, missing, damaged)


def finish(work: Work, left: Remaining, compute: Compute) -> None:
    """Compute the missing indices, each process its share on its own devices.

    Raises:
        FloatingPointError: some rows are not finite; the finite shards stay.
        FileNotFoundError: another process has not done its share.
        UnreadableError: the folder of the shards cannot be read.
    """
    shards, total = left.shards, left.total
    share, size = _share(left, work.largest)
    failure: FloatingPointError | None = None
    try:
        with _bar(work, share) as bar:
            for path in left.damaged:
                bar.note(f"damaged shard, computed again: {path} (kept as {path.name}.damaged)")
            if found := total - sum(map(len, left.missing)):
                bar.note(f"found {found} of {total} {work.unit} in {shards.folder}")
            for indices in share:
                shards.write(indices.start, compute(indices, size, bar))
    except FloatingPointError as error:
        failure = error
    finally:
        meet("all shards are written")
    gaps = shards.missing(total)
    meet("the remaining indices are known")  # before the first process removes the shards
    if failure is not None:
        raise failure
    if gaps:
        raise FileNotFoundError(
            f"the {work.unit} from {gaps[0].start} on are missing: another process has failed"
        )


def _share(left: Remaining, largest: int) -> tuple[list[range], int]:
    """The batches of this process, and their size."""
    # The size does not depend on the missing indices, so that a resumed run on equal
    # devices has equal bits.
    size = even_batch_size(left.total, min(largest, -(-left.total // jax.process_count())))
    batches = [
        range(i, min(i + size, gap.stop))
        for gap in left.missing
        for i in range(gap.start, gap.stop, size)
    ]
    return batches[jax.process_index() :: jax.process_count()], size


def _bar(work: Work, share: list[range]) -> ProgressBar:
    """The progress bar of this process's share, which only the first process shows."""
    process, processes = jax.process_index(), jax.process_count()
    name = work.command if processes == 1 else f"{work.command}, process {process} of {processes}"
    return ProgressBar(
        name, sum(map(len, share)), unit=work.unit, stream=None if process == 0 else io.StringIO()
    )
