"""A folder that all processes of a run share, checked before the work begins."""

import secrets
import time
from pathlib import Path

import jax

from score_sde import checks
from score_sde.runtime.atomic_files import make_folder
from score_sde.runtime.object_store import shown
from score_sde.runtime.processes import by_first, text_of, worst
from score_sde.runtime.working_copy import is_copy

PATIENCE = 60.0
"""Seconds until a file of another host must be seen; network file systems cache what they
found for up to a minute. Processes that name different paths wait a tenth of it.
"""


def check_shared(folder: Path, name: str = "workdir") -> None:
    """Make a folder in the first process, and check that the other processes see the same
    one. All processes have to call it.

    Paths may differ, as the same disk may be mounted at different places; those of
    folders in object storage may not.

    Raises:
        OSError: in the first process, which cannot write there.
        ValueError: in all processes, where one does not see the file that the first has
            written in its folder, or the first cannot write it.
    """
    if jax.process_count() == 1:
        return
    path = shown(str(folder.expanduser().resolve()))
    first, token = text_of(0, path), text_of(0, secrets.token_hex(8))
    in_storage = is_copy(folder)
    mark = folder / f".shared-{token}"

    def put_mark() -> None:
        make_folder(folder)
        mark.touch()

    if not in_storage:
        by_first(put_mark)
    try:
        patience = PATIENCE if path == first else PATIENCE / 10
        seen = path == first if in_storage else _appears(mark, patience)
        blind = worst(0 if seen else jax.process_index())
    finally:
        if jax.process_index() == 0:
            mark.unlink(missing_ok=True)
    if not blind:
        return
    other = text_of(blind, path)
    checks.require(
        other == first,
        f"the {name} of process {blind}, {other}, is not that of process 0, {first}: give all "
        "processes the same",
    )
    raise ValueError(
        f"process {blind} does not see the {name} {first} of process 0: all processes need one "
        "folder, on a disk that their hosts share"
    )


def _appears(path: Path, patience: float) -> bool:
    """Whether a file is there, or comes within ``patience`` seconds."""
    end = time.monotonic() + patience
    while not path.exists():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True
