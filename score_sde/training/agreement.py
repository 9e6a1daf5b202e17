"""Agreement of several processes: on the run that they train, and on when they stop."""

from collections.abc import Mapping

import jax
import numpy as np
from jax.sharding import Mesh

from score_sde import checks
from score_sde.runtime.fingerprints import digest
from score_sde.runtime.signals import StopRequest
from score_sde.training.mesh import replicated, split


def check_agreement(facts: Mapping[str, str]) -> None:
    """Compare facts, such as the config or the fingerprints of the parameters, with those
    of the other processes. All processes have to call it.

    Args:
        facts: Texts that must be the same in every process, by name.

    Raises:
        ValueError: In all processes, where one fact differs; it names the fact and the
            processes.
    """
    if jax.process_count() == 1:
        return
    from jax.experimental import multihost_utils

    digests = np.stack(
        [np.frombuffer(bytes.fromhex(digest(text)), np.uint8) for text in facts.values()]
    )
    found = multihost_utils.process_allgather(digests)
    for number, name in enumerate(facts):
        differs = (found[:, number] != found[0, number]).any(axis=-1)
        others = ", ".join(map(str, np.flatnonzero(differs)))
        checks.require(not others, f"the {name} of process {others} is not that of process 0")


class StopVote:
    """Lets all processes stop after the same step when one of them is asked to stop.

    A single process stops at once. Of several, each casts its vote after each step, and
    all read the result one step later: by then the votes are counted, so that nobody
    waits for them.

    Args:
        mesh: The devices.
        stop: The request to stop, in this process.
    """

    def __init__(self, mesh: Mesh, stop: StopRequest) -> None:
        self._stop, self._sharding = stop, split(mesh)
        self._num = len(mesh.local_devices)
        self._count = jax.jit(lambda votes: votes.max(), out_shardings=replicated(mesh))
        self._before: jax.Array | None = None

    def signum(self) -> int | None:
        """The signal to stop for, ``None`` to continue. Every process calls it once after
        each step.
        """
        if jax.process_count() == 1:
            return self._stop.signum
        before = self._before
        votes = np.full(self._num, self._stop.signum or 0, np.int32)
        self._before = self._count(jax.make_array_from_process_local_data(self._sharding, votes))
        return None if before is None else int(before) or None
