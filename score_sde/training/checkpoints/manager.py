"""Checkpoints: the state of a run and its config, written in the background by orbax."""

import itertools
import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from score_sde.runtime import working_copy
from score_sde.runtime.processes import by_first, meet
from score_sde.runtime.unreadable import reason_of
from score_sde.runtime.working_copy import is_copy, is_stored, local_path, sync
from score_sde.training.checkpoints.files import (
    DAMAGED,
    Config,
    all_damaged,
    check_room,
    check_startable,
    choose_step,
    mend_metrics,
    plain_metrics,
    quiet_orbax,
    read_manifest,
    reading,
    remove_unfinished,
    steps_in,
)
from score_sde.training.checkpoints.manifest import (
    DamagedError,
    Manifest,
    manifest_of,
)
from score_sde.training.checkpoints.restoring import Renew, items_of, read_state
from score_sde.training.checkpoints.retention import Retention
from score_sde.training.checkpoints.upload import Upload, whole_here, writing_process
from score_sde.training.state import TrainState

_log = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one run in one folder; a context manager that waits until all are
    written.

    A checkpoint holds the state, split so that the averaged parameters can be read alone,
    the config, and metrics. ``save`` returns before it is written, and it appears in the
    folder only when it is whole. Opening the folder removes half-written checkpoints of
    an interrupted run. Only the run that trains may therefore open it with this class;
    other programs use ``restore_for_sampling``.

    Args:
        directory: The folder, made if missing; it may be in object storage.
        keep_last: Number of latest checkpoints to keep, at least 1.
        keep_best: Number of best checkpoints by ``best_metric`` to keep in addition.
        keep_every: Checkpoints at multiples of this number of steps are always kept; 0
            for none.
        best_metric: The name of a metric given to ``save``; a checkpoint without it is
            never among the best.
        best_mode: Whether the smallest (``"min"``) or largest (``"max"``) is best.

    Raises:
        ValueError: For a number or mode outside these ranges.
        UnreadableError: Where the folder or metrics in it cannot be read; an
            ``OSError``.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        keep_last: int = 2,
        keep_best: int = 1,
        keep_every: int = 0,
        best_metric: str = "eval_loss",
        best_mode: str = "min",
    ) -> None:
        self.directory = local_path(directory).resolve()
        self._retention = Retention(
            keep_last=keep_last,
            keep_best=keep_best,
            keep_every=keep_every,
            best_metric=best_metric,
            best_mode=best_mode,
        )
        self._is_writer = jax.process_index() == 0 or is_copy(self.directory)
        self._upload = Upload(self.directory.parent)
        by_first(self._prepare)
        if jax.process_index() != 0 and self._is_writer:
            self._prepare()
        self._manager = _manager(
            self.directory,
            **writing_process(self.directory),
            best_fn=self._retention.merit,
            preservation_policy=self._retention,
        )

    def _prepare(self) -> None:
        steps_in(self.directory)  # before anything is removed
        remove_unfinished(self.directory)
        if jax.process_index() == 0:
            working_copy.remove_unfinished(self.directory)
        mend_metrics(self.directory)

    def check_startable(self) -> None:
        """Raise ``CheckpointError`` where all checkpoints are damaged and were moved aside.

        A run does not silently start again from the first step: its user has to move the
        folder away.
        """
        check_startable(self.directory)

    def latest_step(self) -> int | None:
        """The step of the latest checkpoint, or ``None``."""
        return self._manager.latest_step()

    def latest_stored(self) -> int | None:
        """The step of the latest checkpoint that a killed run would resume from."""
        found = [n for n in self.steps() if is_stored(self.directory / f"{n}/seal/metadata")]
        return max(found, default=None)

    def steps(self) -> list[int]:
        """The steps of all checkpoints in the folder, in order."""
        return sorted(self._manager.all_steps())

    def best_step(self) -> int | None:
        """The step of the best checkpoint by ``best_metric``, or ``None`` where none has it."""
        self.wait()
        merits = [
            (self._retention.merit(self._manager.metrics(step)), step) for step in self.steps()
        ]
        merit, step = max(merits, default=(-math.inf, None))
        return None if merit == -math.inf else step

    def save(
        self,
        state: TrainState,
        *,
        config: Mapping[str, Any] | str,
        metrics: Mapping[str, float] | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a checkpoint of ``state`` in the background, unless its step has one already.

        Args:
            state: The state; it may be donated to the next step at once.
            config: The resolved config, as plain values or as a JSON text.
            metrics: The metrics that the checkpoint is judged by.
            about: Further facts to keep with it, as plain values.

        Raises:
            OSError: Where the disk is full, or the checkpoint before could not be
                written; this one is then not written either.
        """
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        trees, plain, scores = items_of(state), _plain(config), plain_metrics(metrics)
        whole = whole_here(self.directory, trees)
        items = ocp.args.Composite(
            **{name: ocp.args.PyTreeSave(tree) for name, tree in whole.items()},
            config=ocp.args.JsonSave(plain),
            seal=ocp.args.JsonSave(manifest_of(trees, plain, scores, about or {})),
        )
        with self._writing():
            try:
                self._upload.finish()
            finally:  # all processes keep the same steps
                self.directory.mkdir(parents=True, exist_ok=True)
                check_room(self.directory, trees)
                self._manager.save(step, args=items, metrics=scores, force=True)
                self._upload.start(self._manager.is_saving_in_progress)

    def restore(
        self,
        target: TrainState,
        *,
        step: int | None = None,
        note: Callable[[str], None] | None = None,
        renew: Renew | None = None,
    ) -> TrainState:
        """Read a state, bit for bit as it was saved.

        Without ``step``, it is the newest sound checkpoint, and newer, damaged ones are
        moved into the folder ``damaged``, with a note. Nothing is moved where no
        checkpoint is sound, or where one cannot be read, which is not damage.

        Args:
            target: A state of the same structure, of arrays or of
                ``jax.ShapeDtypeStruct`` with shardings. The restored arrays have its
                shardings, whatever the devices from which they were saved.
            step: The step of the checkpoint.
            note: Shows a line for each damaged checkpoint, and for an optimizer that is
                not that of the checkpoint; a log warning unless given.
            renew: Makes the state of the optimizer anew where the checkpoint has that of
                another optimizer; parts with the same arrays are still read. Unless
                given, such a checkpoint is an error.

        Raises:
            FileNotFoundError: Where there is no such checkpoint.
            DamagedError: Where the checkpoint of ``step`` is damaged, or all are; a
                ``ValueError``.
            CheckpointError: Where it holds other arrays than ``target``; a
                ``ValueError``.
            UnreadableError: Where a checkpoint may be sound and cannot be read; an
                ``OSError``.
        """
        self.wait()
        wanted = choose_step(self.steps(), step, self.directory)
        if step is not None:
            return self._read(target, wanted, renew, note)
        damaged: dict[int, str] = {}  # not the errors, whose frames hold the arrays
        for candidate in reversed(self.steps()):
            try:
                found = self._read(target, candidate, renew, note)
            except DamagedError as error:
                damaged[candidate] = reason_of(error.__cause__ or error)
                continue
            for number, reason in damaged.items():
                line = f"the checkpoint {self.directory / str(number)} is damaged: {reason}"
                (note or _log.warning)(f"{line}: moved to {self._set_aside(number)}")
            return found
        raise all_damaged(self.directory, wanted, damaged[wanted])

    def about(self, step: int) -> dict[str, Any]:
        """The facts that ``save`` was given about a checkpoint.

        Raises:
            DamagedError: Where it is damaged.
            UnreadableError: Where it cannot be read.
        """
        return self._manifest_of(step)["about"]

    def _read(
        self,
        target: TrainState,
        step: int,
        renew: Renew | None,
        note: Callable[[str], None] | None,
    ) -> TrainState:
        found = read_state(target, self.directory / str(step), renew=renew)
        if found.note:
            (note or _log.warning)(found.note)
        return found.state

    def _manifest_of(self, step: int) -> Manifest:
        with reading(self.directory / str(step)):
            return read_manifest(self.directory / str(step))

    def _set_aside(self, step: int) -> Path:
        """Move a checkpoint into the folder of damaged ones, beside any of the same step."""
        aside = self.directory / DAMAGED
        place = next(
            path
            for n in itertools.count()
            if not (path := aside / f"{step}{f'-{n}' if n else ''}").exists()
        )
        if self._is_writer:
            aside.mkdir(exist_ok=True)
            (self.directory / str(step)).rename(place)
        if jax.process_index() == 0:
            sync(self.directory)
        meet(f"checkpoint {step} is moved aside")
        self._manager.reload()
        return place

    def wait(self) -> None:
        """Return when everything saved so far is on the disk.

        Raises:
            OSError: Where a checkpoint could not be written; its parts are removed.
        """
        with self._writing():
            self._manager.wait_until_finished()
            self._upload.finish()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            with suppress(Exception):  # other writes have failed too, or are complete now
                self._manager.wait_until_finished()
            if self._is_writer:
                remove_unfinished(self.directory)
            raise OSError(reason_of(error)) from error

    def close(self) -> None:
        """Wait until everything is written, and close the folder.

        Raises:
            OSError: Where a checkpoint could not be written.
        """
        try:
            self.wait()
        finally:
            with suppress(Exception):  # `wait` has raised the error
                self._manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _manager(directory: Path, **options: Any) -> ocp.CheckpointManager:
    quiet_orbax()
    registry = ocp.handlers.DefaultCheckpointHandlerRegistry()
    for item, handler, arguments in (
        ("state", ocp.PyTreeCheckpointHandler(), (ocp.args.PyTreeSave, ocp.args.PyTreeRestore)),
        (
            "ema_params",
            ocp.PyTreeCheckpointHandler(),
            (ocp.args.PyTreeSave, ocp.args.PyTreeRestore),
        ),
        ("seal", ocp.JsonCheckpointHandler(), (ocp.args.JsonSave, ocp.args.JsonRestore)),
        ("config", ocp.JsonCheckpointHandler(), (ocp.args.JsonSave, ocp.args.JsonRestore)),
    ):
        for argument in arguments:
            registry.add(item, argument, handler)
    # Otherwise threads that wait for a folder which could not be made keep the process
    # from ending for minutes.
    in_order = ocp.options.AsyncOptions(create_directories_asynchronously=False)
    return ocp.CheckpointManager(
        directory,
        options=ocp.CheckpointManagerOptions(
            save_root_metadata=False, async_options=in_order, **options
        ),
        handler_registry=registry,
    )


def _plain(config: Mapping[str, Any] | str) -> Config:
    return json.loads(config if isinstance(config, str) else json.dumps(dict(config)))
