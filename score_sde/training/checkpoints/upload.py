"""The checkpoints of a run whose folder is a copy of object storage: written there in the
background, whole or not at all.

Each process has a copy of its own. Every process writes the whole state into its copy, and
the first process writes its copy to the storage.
"""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from score_sde.runtime.working_copy import is_copy, sync


class Upload:
    """Writes a folder to object storage in a thread, after each save; for a folder that is
    no copy it does nothing.

    Args:
        folder: the folder of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._is_needed = is_copy(folder) and jax.process_index() == 0
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None

    def start(self, is_saving: Callable[[], bool]) -> None:
        """Write the folder once ``is_saving`` says that nothing is written in it any more.

        Raises:
            OSError: where the writing before this one has failed, and fails again.
        """
        if not self._is_needed:
            return

        def work() -> None:
            try:
                while is_saving():
                    time.sleep(0.02)
                sync(self._folder)
            except Exception as error:
                self._failure = error

        self._thread = threading.Thread(target=work, name="upload")
        self._thread.start()

    def finish(self) -> None:
        """Return when the folder is written.

        Raises:
            OSError: where it cannot be written.
        """
        if self._thread is None:
            return
        self._thread.join()
        self._thread, failure, self._failure = None, self._failure, None
        if failure is not None:
            sync(self._folder)  # the connection may be there again


def whole_here(folder: Path, trees: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arrays to save in a folder: where several processes write into copies of their
    own, the whole arrays, on the host. All processes have to call it.
    """
    return jax.tree.map(_whole, trees) if _is_own_copy(folder) else trees


def writing_process(folder: Path) -> dict[str, Any]:
    """The options of orbax about the processes that write in a folder; it is made where
    orbax would not make it.
    """
    if not _is_own_copy(folder):
        return {}
    folder.mkdir(parents=True, exist_ok=True)
    mine = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=mine, active_processes={mine}, barrier_sync_key_prefix=f"process_{mine}"
    )
    return {"multiprocessing_options": alone, "create": False}


def _is_own_copy(folder: Path) -> bool:
    return is_copy(folder) and jax.process_count() > 1


def _whole(array: Any) -> np.ndarray:
    if not isinstance(array, jax.Array) or array.is_fully_addressable:
        return np.asarray(array)
    if array.is_fully_replicated:
        return np.asarray(array.addressable_data(0))
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(array, tiled=True))
