"""Checkpoints: the state of a run and the config that made it, written in the background by orbax."""

import json
import logging
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from score_sde.naming import did_you_mean
from score_sde.training.retention import Retention
from score_sde.training.state import TrainState
from score_sde.typing import Params

Config = dict[str, Any]
"""A resolved config as plain JSON values."""


class SamplingCheckpoint(NamedTuple):
    """What sampling needs of a checkpoint.

    Attributes:
        step: After how many updates it was written.
        ema_params: The averaged parameters, as NumPy arrays in nested dictionaries.
        config: The resolved config of the run.
    """

    step: int
    ema_params: Params
    config: Config


class Checkpoints:
    """The checkpoints of one run, in one folder; a context manager that waits for what is still being written.

    Each holds the state, split so that the averaged parameters can be read alone, the config, and the metrics that it
    is judged by. Writing goes on in the background after ``save`` has returned, and a checkpoint appears in the folder
    only when it is whole. What an interrupted run has left half-written is removed on opening, so only the run that
    trains may open the folder this way; others read it by ``restore_for_sampling``.

    Args:
        directory: The folder, made if missing.
        keep_last: How many of the latest are kept, at least 1.
        keep_best: How many of the best by ``best_metric`` are kept besides.
        best_metric: The name of the metric given to ``save``; a checkpoint without it is never among the best.
        best_mode: Whether the best metric is the smallest or the largest.

    Raises:
        ValueError: For a count or mode that makes no sense.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        keep_last: int = 2,
        keep_best: int = 1,
        best_metric: str = "eval_loss",
        best_mode: str = "min",
    ) -> None:
        self.directory = Path(directory).resolve()
        self._retention = Retention(
            keep_last=keep_last, keep_best=keep_best, best_metric=best_metric, best_mode=best_mode
        )
        _remove_unfinished(self.directory)
        self._manager = _manager(
            self.directory,
            best_fn=self._retention.merit,
            preservation_policy=self._retention,
        )

    def latest_step(self) -> int | None:
        """The step of the latest checkpoint; ``None`` where there is none."""
        return self._manager.latest_step()

    def steps(self) -> list[int]:
        """The steps of all checkpoints that are kept, in order."""
        return sorted(self._manager.all_steps())

    def best_step(self) -> int | None:
        """The step of the best checkpoint by ``best_metric``; ``None`` where none was measured."""
        self.wait()
        merits = [(self._retention.merit(self._manager.metrics(step)), step) for step in self.steps()]
        merit, step = max(merits, default=(-math.inf, None))
        return None if merit == -math.inf else step

    def save(
        self, state: TrainState, *, config: Mapping[str, Any] | str, metrics: Mapping[str, float] | None = None
    ) -> None:
        """Write a checkpoint of ``state`` under its step, in the background; nothing if that step is there already.

        Args:
            state: The state; it may be donated to the next step at once.
            config: The resolved config, as plain values or as a JSON text of them.
            metrics: What the checkpoint is judged by.
        """
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        items = ocp.args.Composite(
            state=ocp.args.PyTreeSave(_rest(state)),
            ema_params=ocp.args.PyTreeSave(state.ema_params),
            config=ocp.args.JsonSave(_plain(config)),
        )
        scores = {name: float(value) for name, value in (metrics or {}).items()}
        self._manager.save(step, args=items, metrics=scores, force=True)

    def restore(self, target: TrainState, *, step: int | None = None) -> TrainState:
        """Read a state, bit for bit as it was saved.

        Args:
            target: A state of the same structure, of arrays or of ``jax.ShapeDtypeStruct`` with shardings: where its
                leaves lie is where the restored ones will, on whatever devices they were saved from.
            step: Which checkpoint; the latest unless given.

        Raises:
            FileNotFoundError: Where there is no such checkpoint.
            ValueError: Where the checkpoint holds other arrays than ``target``, or is damaged.
        """
        self.wait()
        step = _choose(self._manager, step)
        items = {"state": _rest(target), "ema_params": target.ema_params}
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), items)
        path = self.directory / str(step)
        with _reading(path):
            stored = {name: self._manager.item_metadata(step)[name].tree for name in abstract}
        for name, tree in abstract.items():
            _check_same(stored[name], tree, path)
        wanted = {
            name: ocp.args.PyTreeRestore(item=tree, restore_args=ocp.checkpoint_utils.construct_restore_args(tree))
            for name, tree in abstract.items()
        }
        with _reading(path):
            found = self._manager.restore(step, args=ocp.args.Composite(**wanted))
            return target._replace(ema_params=found["ema_params"], **found["state"])

    def wait(self) -> None:
        """Return when everything saved so far is on the disk; raise what went wrong in the background."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait, and let go of the folder."""
        self._manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def restore_for_sampling(
    directory: str | Path, *, step: int | None = None, average: str | None = None
) -> SamplingCheckpoint:
    """Read the averaged parameters and the config; nothing is written, and no device needs to match the saved ones.

    Args:
        directory: The folder of the checkpoints.
        step: Which checkpoint; the latest unless given.
        average: Which of ``training.averages`` in the config; that of ``training.ema_decay`` unless given.

    Raises:
        FileNotFoundError: Where there is no such checkpoint.
        ValueError: Where the checkpoint is damaged, or the run has no such average.
    """
    path = Path(directory).resolve()
    if not path.is_dir():
        raise FileNotFoundError(_nothing_in(path))
    with _manager(path, read_only=True, create=False) as manager:
        step = _choose(manager, step)
        with _reading(path / str(step)):
            config = manager.restore(step, args=ocp.args.Composite(config=ocp.args.JsonRestore()))["config"]
        number = None if average is None else _number_of(average, config)
        with _reading(path / str(step)):
            item = "ema_params" if number is None else "state"
            saved = manager.item_metadata(step)[item].tree
            as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), saved)
            wanted = saved if number is None else _that_average(saved, number)
            arguments = ocp.args.PyTreeRestore(item=wanted, restore_args=as_numpy)
            found = manager.restore(step, args=ocp.args.Composite(**{item: arguments}))[item]
            params = found if number is None else found["averages"][number]
            return SamplingCheckpoint(step=step, ema_params=params, config=config)


def _rest(state: TrainState) -> dict[str, Any]:
    """What is saved besides the averaged parameters to sample with."""
    rest = {"step": state.step, "params": state.params, "opt_state": state.opt_state}
    # Runs without further averages have checkpoints as they always were.
    return {**rest, "averages": state.averages} if state.averages else rest


def _number_of(average: str, config: Config) -> int:
    names = list(config.get("training", {}).get("averages", ()))
    if average not in names:
        others = f"it has {', '.join(names)}" if names else "it has none but that of training.ema_decay"
        raise ValueError(f"the run has no average {average!r}{did_you_mean(average, names)}: {others}")
    return names.index(average)


def _that_average(saved: Any, number: int) -> Any:
    """The saved arrays, all but those of one average to be left out."""
    left_out = jax.tree.map(lambda _: ocp.PLACEHOLDER, saved)
    left_out["averages"][number] = saved["averages"][number]
    return left_out


class _OnlyErrors(logging.Filter):
    """Lets nothing of orbax through but errors: its warnings speak of its own machinery, not of the run."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR or "orbax" not in record.pathname


_only_errors = _OnlyErrors()


def _manager(directory: Path, **options: Any) -> ocp.CheckpointManager:
    logging.getLogger("absl").addFilter(_only_errors)
    registry = ocp.handlers.DefaultCheckpointHandlerRegistry()
    for item, handler, arguments in (
        ("state", ocp.PyTreeCheckpointHandler(), (ocp.args.PyTreeSave, ocp.args.PyTreeRestore)),
        ("ema_params", ocp.PyTreeCheckpointHandler(), (ocp.args.PyTreeSave, ocp.args.PyTreeRestore)),
        ("config", ocp.JsonCheckpointHandler(), (ocp.args.JsonSave, ocp.args.JsonRestore)),
    ):
        for argument in arguments:
            registry.add(item, argument, handler)
    return ocp.CheckpointManager(
        directory,
        options=ocp.CheckpointManagerOptions(save_root_metadata=False, **options),
        handler_registry=registry,
    )


def _remove_unfinished(directory: Path) -> None:
    # orbax can do this itself, but only when the next checkpoint is saved.
    for path in directory.glob("*.orbax-checkpoint-tmp*"):
        shutil.rmtree(path)


def _choose(manager: ocp.CheckpointManager, step: int | None) -> int:
    steps = sorted(manager.all_steps())
    if not steps:
        raise FileNotFoundError(_nothing_in(Path(manager.directory)))
    if step is not None and step not in steps:
        raise FileNotFoundError(f"no checkpoint of step {step} in {manager.directory}: there are {steps}")
    return steps[-1] if step is None else step


def _nothing_in(directory: Path) -> str:
    return f"no checkpoint in {directory}: train with `score-sde train --config=… --workdir={directory.parent}` first"


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ValueError(f"cannot read the checkpoint {path}, remove it to use an earlier one: {reason}") from error


def _plain(config: Mapping[str, Any] | str) -> Config:
    return json.loads(config if isinstance(config, str) else json.dumps(dict(config)))


def _check_same(saved: Any, target: Any, path: Path) -> None:
    """Stop where the arrays of a checkpoint are not those that are asked for; orbax would cast some silently."""
    ours, theirs = _arrays(target), _arrays(saved)
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            was, wanted = theirs.get(name, "missing"), ours.get(name, "missing")
            raise ValueError(f"{path} does not fit this config: {name} is {was} there and {wanted} here")


def _arrays(tree: Any) -> dict[str, str]:
    def named(path: tuple[Any, ...]) -> str:
        return "/".join(str(getattr(key, "name", getattr(key, "key", getattr(key, "idx", key)))) for key in path)

    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {named(path): f"{np.dtype(leaf.dtype)}{list(leaf.shape)}" for path, leaf in leaves}
