"""What several processes must agree on: what they train, and when they stop."""

from collections.abc import Mapping

import jax
import numpy as np
from jax.sharding import Mesh

from score_sde.runtime.fingerprints import digest
from score_sde.runtime.signals import StopRequest
from score_sde.training.mesh import replicated, split


def check_agreement(facts: Mapping[str, str]) -> None:
    """Compare facts with those of the other processes, such as the config or the
    fingerprint of the parameters.

    Args:
        facts: What must be the same everywhere, by name.

    Raises:
        ValueError: Where one differs; it is named, with the processes. All processes
            raise it.
    """
    if jax.process_count() == 1:
        return
    from jax.experimental import multihost_utils

    digests = np.stack(
        [np.frombuffer(bytes.fromhex(digest(text)), np.uint8) for text in facts.values()]
    )
    found = multihost_utils.process_allgather(digests)
    for number, name in enumerate(facts):
        others = [
            str(process)
            for process in range(len(found))
            if (found[process, number] != found[0, number]).any()
        ]
        if others:
            raise ValueError(f"the {name} of process {', '.join(others)} is not that of process 0")


class StopVote:
    """The wish to stop, told to all processes, so that they stop after the same step.

    One process alone stops at once. Of several, each puts down its wish after each
    step, and all learn of it one step later: by then the votes are counted, and nobody
    waits for them.

    Args:
        mesh: The devices.
        stop: The wish of this process.
    """

    def __init__(self, mesh: Mesh, stop: StopRequest) -> None:
        self._stop, self._sharding = stop, split(mesh)
        self._num = len(mesh.local_devices)
        self._count = jax.jit(lambda wishes: wishes.max(), out_shardings=replicated(mesh))
        self._before: jax.Array | None = None

    def signum(self) -> int | None:
        """The signal to stop for, ``None`` to go on; to be called once after each step
        by every process.
        """
        if jax.process_count() == 1:
            return self._stop.signum
        before = self._before
        wishes = np.full(self._num, self._stop.signum or 0, np.int32)
        self._before = self._count(jax.make_array_from_process_local_data(self._sharding, wishes))
        return None if before is None else int(before) or None
