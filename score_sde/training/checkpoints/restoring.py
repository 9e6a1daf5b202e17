"""Reading the state of a run from a checkpoint, array by array.

The state of an optimizer is a tree whose parts are the states of its transformations. A run
may resume with another optimizer: each part with the arrays of the checkpoint is read from
it, and the others are made anew.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax
import orbax.checkpoint as ocp
from etils import epath

from score_sde.runtime.fingerprints import named_leaves, path_of
from score_sde.runtime.processes import worst
from score_sde.runtime.unreadable import UnreadableError
from score_sde.runtime.working_copy import fetch
from score_sde.training.checkpoints.files import read_config, read_manifest, reading
from score_sde.training.checkpoints.manifest import (
    CheckpointError,
    DamagedError,
    Manifest,
    arrays_of,
    as_saved,
    check_arrays,
    check_same,
)
from score_sde.training.state import TrainState

Renew: TypeAlias = Callable[[TrainState], Any]
"""The state of the optimizer for a state that another optimizer has trained so far."""

_OPTIMIZER = "state/opt_state/"
"""The beginning of the names of the optimizer's arrays in a checkpoint."""


class Restored(NamedTuple):
    """A state read from a checkpoint.

    Attributes:
        state: The state.
        note: What differs from the saved state, in words; empty where nothing does.
    """

    state: TrainState
    note: str = ""


def items_of(state: TrainState) -> dict[str, Any]:
    """The state as two items of a checkpoint, so that the averaged parameters can be read
    alone.
    """
    rest = state._asdict()
    del rest["frozen"]
    if not rest["averages"]:
        del rest["averages"]
    return {"ema_params": rest.pop("ema_params"), "state": rest}


def read_state(target: TrainState, path: Path, *, renew: Renew | None) -> Restored:
    """Read the checkpoint ``path`` into the structure and the shardings of ``target``.

    Args:
        target: A state of arrays or of ``jax.ShapeDtypeStruct`` with shardings; with
            ``renew`` of arrays.
        path: The checkpoint.
        renew: Makes the state of an optimizer anew, where the checkpoint has that of
            another optimizer.

    Raises:
        DamagedError: Where the checkpoint is damaged.
        CheckpointError: Where it holds other arrays than ``target``.
        UnreadableError: Where it cannot be read.
    """
    with _all_alike(path):
        fetch(path)
        with reading(path):
            manifest = read_manifest(path)
        trees = as_saved(items_of(target), manifest["arrays"])
        saved, ours = manifest["arrays"], arrays_of(trees)
        others = _other_parts(saved, ours) if renew else set()
        names = _without(others, ours)
        check_same(_without(others, saved), names, path)
        with reading(path):
            found = _read(path, trees, manifest, names)
    with reading(path):
        check_arrays(manifest, found)  # all processes together
    state = _with_arrays(target, found)
    if renew is None or not others:
        return Restored(state)
    # By one program, since the arrays may be spread over several processes.
    places = jax.tree.map(lambda leaf: leaf.sharding, target.opt_state)
    new = state._replace(opt_state=jax.jit(renew, out_shardings=places)(state))
    return Restored(_with_arrays(new, found), _note(names, ours))


def _other_parts(saved: Mapping[str, str], ours: Mapping[str, str]) -> set[str]:
    """The parts of the optimizer's state whose arrays differ from those saved."""
    theirs, own = _parts(saved), _parts(ours)
    return {part for part in theirs.keys() | own.keys() if theirs.get(part) != own.get(part)}


def _parts(arrays: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The arrays of the optimizer by the part of its state that they belong to."""
    found: dict[str, dict[str, str]] = {}
    for name, kind in arrays.items():
        if name.startswith(_OPTIMIZER):
            found.setdefault(_part_of(name), {})[name] = kind
    return found


def _part_of(name: str) -> str:
    """``state/opt_state/1`` of ``state/opt_state/1/mu/w``."""
    return "/".join(name.split("/")[:3])


def _without(parts: Collection[str], arrays: Mapping[str, str]) -> dict[str, str]:
    return {name: kind for name, kind in arrays.items() if _part_of(name) not in parts}


def _note(names: Collection[str], ours: Mapping[str, str]) -> str:
    """How much of the optimizer's state is that of the checkpoint, in words."""
    own = [name for name in ours if name.startswith(_OPTIMIZER)]
    new = sum(name not in names for name in own)
    state = "its state is carried over" if not new else f"{new} of the {len(own)} arrays of its "
    state += "" if not new else "state start anew"
    return f"the optimizer has changed: {state}; parameters, averages and step are unchanged"


def _read(
    path: Path, trees: Mapping[str, Any], manifest: Manifest, names: Collection[str]
) -> dict[str, Any]:
    """The arrays of a checkpoint with these names, with the types and shardings of ``trees``.

    Read by orbax's handler, since its manager hides some errors and waits for other
    processes.
    """
    handler = ocp.PyTreeCheckpointHandler()
    stored = {item: handler.metadata(epath.Path(path / item)).tree for item in trees}
    if arrays_of(stored) != manifest["arrays"]:
        raise DamagedError("its arrays are not those that were saved")
    read_config(path, manifest)
    wanted = {name: leaf for name, leaf in named_leaves(dict(trees)).items() if name in names}

    def chosen(path: tuple[Any, ...], leaf: Any) -> Any:
        like = wanted.get(path_of(path))
        if like is None:
            return ocp.PLACEHOLDER
        return jax.ShapeDtypeStruct(like.shape, like.dtype, sharding=like.sharding)

    found = {}
    for item, tree in jax.tree_util.tree_map_with_path(chosen, stored).items():
        arguments = jax.tree.map(_restore_arguments, tree)
        request = ocp.args.PyTreeRestore(item=tree, restore_args=arguments)
        found[item] = handler.restore(epath.Path(path / item), args=request)
    return {name: value for name, value in named_leaves(found).items() if name in wanted}


def _restore_arguments(leaf: Any) -> Any:
    if leaf is ocp.PLACEHOLDER:
        return ocp.RestoreArgs()
    return ocp.checkpoint_utils.construct_restore_args(leaf)


def _with_arrays(state: TrainState, arrays: Mapping[str, Any]) -> TrainState:
    """A state with arrays in the place of its own, by their names in a checkpoint."""

    def chosen(path: tuple[Any, ...], leaf: Any) -> Any:
        found = arrays.get(path_of(path))
        return leaf if found is None else found.astype(leaf.dtype)

    items = jax.tree_util.tree_map_with_path(chosen, items_of(state))
    return state._replace(ema_params=items["ema_params"], **items["state"])


@contextmanager
def _all_alike(path: Path) -> Iterator[None]:
    """Raise the same kind of error in all processes where one of them cannot read its part,
    so that none waits for it.
    """
    kinds = (DamagedError, CheckpointError, UnreadableError)
    failure: Exception | None = None
    try:
        yield
    except kinds as error:
        failure = error
    mine = (
        0
        if failure is None
        else 1 + next(n for n, kind in enumerate(kinds) if isinstance(failure, kind))
    )
    all_of_them = worst(mine)
    if failure is not None and mine == all_of_them:
        raise failure
    if all_of_them:
        raise kinds[all_of_them - 1](f"cannot read the checkpoint {path}: another process says why")
