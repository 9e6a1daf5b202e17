"""Training in a folder: a new run of an experiment, or one that resumes."""

import io
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from score_sde.data import BatchLoader, data_fingerprint, make_loader, statistics
from score_sde.data.read_ahead import OnDamage
from score_sde.experiments.base import AnyExperiment, Split
from score_sde.experiments.damaged_examples import FILE, DamagedExamples
from score_sde.experiments.initial import Origin, has_begun, origin_of, record, started_from
from score_sde.experiments.resume import DATA, check_resumes
from score_sde.experiments.settings import TrainingOptions
from score_sde.experiments.workdir import check_run_folder
from score_sde.runtime.atomic_files import make_folder, replacing
from score_sde.runtime.fingerprints import array_fingerprints
from score_sde.runtime.lock import held
from score_sde.runtime.naming import errors_of
from score_sde.runtime.processes import by_all, by_first
from score_sde.runtime.shared_folder import check_shared
from score_sde.runtime.signals import StopRequest
from score_sde.runtime.versions import versions
from score_sde.runtime.watchdog import Watchdog
from score_sde.runtime.working_copy import is_copy, local_path, refresh, sync
from score_sde.sdes.data_scale import scale_mismatch
from score_sde.training import (
    Checkpoints,
    Evaluation,
    Hook,
    MultiWriter,
    TrainingRun,
    TrainResult,
    check_agreement,
    check_batch_size,
    device_mesh,
    init_state,
    make_eval_step,
    make_train_step,
    make_writers,
    renewed,
    snapshot_hook,
    train as train_run,
)
from score_sde.training.mesh import gathered, step_axes
from score_sde.training.snapshots import FOLDER
from score_sde.training.step import AxisName
from score_sde.typing import Key

NUM_MEASURED = 10_000
"""Number of evenly spaced training examples from which the scale of the data is measured."""

Warn = Callable[[str], object]
"""Shows a warning to the user."""


def train(
    experiment: AnyExperiment,
    workdir: str | Path,
    hooks: Sequence[Hook] = (),
    *,
    stop: StopRequest | None = None,
    overwrite: bool = False,
    lock: bool = True,
    warn: Warn = warnings.warn,
    init_from: str | Path | None = None,
    average: str | None = None,
) -> TrainResult:
    """Train in a folder, or resume its run, as ``score-sde train`` does.

    Sample grids (``training.sample_every``) need the hook of
    ``score_sde.evaluation.sample_grids``.

    Args:
        experiment: the experiment, of `build`.
        workdir: the folder, made if missing; it may be in object storage, as
            ``"s3://bucket/run"``.
        hooks: functions that are called between steps.
        stop: the stop request of a caller that handles signals already.
        overwrite: whether a new run may overwrite files that no run has written.
        lock: whether to lock the folder, which a file system without locks cannot.
        warn: a function that shows a warning about the scale of the data, or about a
            model of another config in ``init_from``.
        init_from: a trained model whose parameters a new run begins with (fine-tuning):
            any file or folder that `load` reads. All averages begin with them too, the
            step is 0, and the optimizer is fresh. A resumed run does not need it.
        average: the average of that model, as in `load`.

    Raises:
        ValueError: where the folder holds a run of another model, the devices do not
            suit the settings, no checkpoint is sound (`CheckpointError`), the parameters
            of ``init_from`` do not fit the network, or the run has begun with others.
        OSError: where the folder holds an exported model or files of other programs,
            there is no model in ``init_from``, another process writes
            in it, or it is not writable.
        FloatingPointError: where gradients stay non-finite.
    """
    options = {"overwrite": overwrite, "lock": lock, "warn": warn}
    options |= {"init_from": init_from, "average": average}
    with prepared(experiment, workdir, hooks, **options) as run:
        return train_run(run, stop=stop)


@contextmanager
def prepared(
    experiment: AnyExperiment,
    workdir: str | Path,
    hooks: Sequence[Hook] = (),
    *,
    overwrite: bool = False,
    lock: bool = True,
    warn: Warn = warnings.warn,
    init_from: str | Path | None = None,
    average: str | None = None,
) -> Iterator[TrainingRun]:
    """The run of an experiment in a folder, which is locked until the block ends.
    Arguments and errors are those of `train`.
    """
    folder = local_path(workdir)
    with ExitStack() as stack:
        with Watchdog(experiment.training.hang_timeout):
            mesh = _checked_mesh(experiment.training)
            check_shared(folder)
            by_first(lambda: check_run_folder(folder, overwrite=overwrite))
            experiment, origin, warning = by_all(
                lambda: _begun(experiment, folder, init_from, average)
            )
            by_first(lambda: _take(folder, experiment, stack, origin, lock=lock, warn=warn))
            refresh(folder)  # by the former writer, until the folder was locked
            if warning and jax.process_index() == 0:
                warn(warning)
            code = versions()
            if jax.process_count() > 1:  # one process alone needs no fingerprints
                check_agreement(_facts(experiment, code))
            run = training_run(experiment, folder, mesh, code, hooks, origin)
        for thing in (run.writer, run.loader, *([run.evaluation.loader] if run.evaluation else [])):
            stack.enter_context(closing(thing))
        stack.enter_context(run.checkpoints or nullcontext())
        yield run


def _checked_mesh(training: TrainingOptions) -> Mesh:
    with errors_of("training"):
        mesh = device_mesh(fsdp=training.fsdp)
        check_batch_size(mesh, training.batch_size, num_microbatches=training.num_microbatches)
    return mesh


def _begun(
    experiment: AnyExperiment, workdir: Path, init_from: str | Path | None, average: str | None
) -> tuple[AnyExperiment, Origin | None, str | None]:
    """The experiment with its initial parameters, where they are those of a trained model
    and no checkpoint replaces them; that model; and a warning about it.
    """
    origin = origin_of(workdir, init_from, average)
    if origin is None or has_begun(workdir):
        return experiment, origin, None
    return started_from(experiment, origin)


def _take(
    workdir: Path,
    experiment: AnyExperiment,
    stack: ExitStack,
    origin: Origin | None,
    *,
    lock: bool,
    warn: Warn,
) -> None:
    """Check the folder, make it, lock it for this run, and write how the run begins."""
    check_resumes(workdir, experiment.model.saved_config, experiment.source)
    # Before anything is written, because this reads data, which may be damaged.
    warning = scale_warning(experiment)
    make_folder(workdir)
    if lock:
        stack.enter_context(held(workdir))
    stack.enter_context(_written_back(workdir))
    if origin is not None:
        record(workdir, origin)
    with replacing(workdir / "config.json") as temporary:
        temporary.write_text(
            json.dumps(experiment.model.saved_config, indent=2) + "\n", encoding="utf-8"
        )
    if warning:
        warn(warning)


@contextmanager
def _written_back(workdir: Path) -> Iterator[None]:
    """Write the rest of the folder to object storage when the block ends, before the lock is
    released; not where the storage was the reason of an error, which is raised then.
    """
    try:
        yield
    except OSError:
        raise
    except BaseException:
        with suppress(OSError):
            sync(workdir)
        raise
    sync(workdir)


def scale_warning(experiment: AnyExperiment) -> str | None:
    """A warning where the SDE does not suit the scale of continuous data; None where it
    does.
    """
    model, source = experiment.model, experiment.source
    if source.num_levels is not None:
        return None
    if model.scaling.standardized:
        found = scale_mismatch(model.sde, np.zeros(1), np.ones(1))
        return (
            found
            and f"standardised data do not suit the SDE: {found}; change the parameters of the SDE"
        )
    measured = statistics(source.train, max_examples=NUM_MEASURED)
    found = scale_mismatch(model.sde, measured.mean, measured.std)
    return (
        found
        and f"the data do not suit the SDE: {found}; standardise them by "
        "--config.data.standardize=True"
    )


def _facts(experiment: AnyExperiment, code: Mapping[str, str]) -> dict[str, str]:
    """The facts that must be equal in all processes."""
    return {
        "config": json.dumps(experiment.model.config, sort_keys=True),
        "code": json.dumps(code, sort_keys=True),
        "initial parameters": json.dumps(array_fingerprints(experiment.model.params)),
    }


class RunKeys(NamedTuple):
    """The random keys of a run: for its steps, its held-out loss, and its sample grids."""

    train: Key
    evaluation: Key
    samples: Key


def run_keys(key: Key | int) -> RunKeys:
    """The keys of a run, from its key or seed."""
    return RunKeys(*jax.random.split(jax.random.key(key) if isinstance(key, int) else key, 3))


def training_run(
    experiment: AnyExperiment,
    workdir: Path,
    mesh: Mesh,
    code: Mapping[str, str],
    hooks: Sequence[Hook] = (),
    origin: Origin | None = None,
) -> TrainingRun:
    """The run of an experiment in a folder: `run_in_memory` with writers, checkpoints and
    snapshots.
    """
    training, config = experiment.training, experiment.model.saved_config
    is_first = jax.process_index() == 0
    about = {"versions": code, DATA: data_fingerprint(experiment.source)}
    on_damage = DamagedExamples(workdir / FILE) if experiment.skip_damaged else None
    return replace(
        run_in_memory(experiment, mesh, experiment.model.seed, on_damage=on_damage),
        checkpoints=Checkpoints(
            workdir / "checkpoints",
            keep_last=training.keep_last,
            keep_best=training.keep_best,
            keep_every=training.keep_every,
        ),
        config=config,
        about=about if origin is None else {**about, "init_from": origin._asdict()},
        writer=make_writers(training.trackers, workdir, config) if is_first else MultiWriter(),
        hooks=(*hooks, *_snapshots(training, workdir, mesh)),
        hang_timeout=training.hang_timeout,
        # The copy of a folder in object storage ends with the process.
        hang_dump=None if is_copy(workdir) else workdir / f"hang_{jax.process_index()}.txt",
    )


def run_in_memory(
    experiment: AnyExperiment,
    mesh: Mesh,
    key: Key | int,
    hooks: Sequence[Hook] = (),
    *,
    on_damage: OnDamage | None = None,
) -> TrainingRun:
    """The run of an experiment without a folder. ``key``, or a seed, is its source of
    randomness; ``on_damage`` is that of `make_loader`.
    """
    training, model, keys = experiment.training, experiment.model, run_keys(key)
    axes = step_axes(mesh)
    # One program, not one for each array.
    first_state = jax.jit(
        partial(init_state, optimizer=experiment.optimizer, num_averages=len(training.averages))
    )
    return TrainingRun(
        state=first_state(model.params, frozen=experiment.frozen),
        step=make_train_step(
            experiment.loss_fn(train=True),
            experiment.optimizer,
            training.ema,
            averages=training.averages,
            num_microbatches=training.num_microbatches,
            axis_name=axes,
        ),
        loader=_loader(experiment, "train", seed=model.seed, on_damage=on_damage),
        key=keys.train,
        num_steps=training.num_steps,
        mesh=mesh,
        renew=partial(renewed, experiment.optimizer),
        n_jitted_steps=training.n_jitted_steps,
        checkpoint_every=training.checkpoint_every,
        log_every=training.log_every,
        evaluation=_evaluation(experiment, keys.evaluation, axes, on_damage)
        if training.eval_every
        else None,
        hooks=tuple(hooks),
        max_skipped=training.max_skipped,
        max_taken_back=training.max_taken_back,
        stream=None if jax.process_index() == 0 else io.StringIO(),
    )


def _loader(
    experiment: AnyExperiment, split: Split, *, seed: int = 0, on_damage: OnDamage | None = None
) -> BatchLoader:
    """The loader of a split: examples and their conditions."""
    return make_loader(
        getattr(experiment.source, split),
        batch_size=experiment.training.batch_size,
        seed=seed,
        conditions=experiment.conditions(split),
        on_damage=on_damage,
    )


def _evaluation(
    experiment: AnyExperiment, key: Key, axis_name: AxisName, on_damage: OnDamage | None
) -> Evaluation:
    """The held-out loss, over at most 16 batches of the test split with fixed noise."""
    loader = _loader(experiment, "test", on_damage=on_damage)
    return Evaluation(
        every=experiment.training.eval_every,
        step=make_eval_step(experiment.loss_fn(train=False), axis_name=axis_name),
        loader=loader,
        key=key,
        num_batches=min(16, -(-len(experiment.source.test) // loader.batch_size)),
    )


def _snapshots(training: TrainingOptions, workdir: Path, mesh: Mesh) -> tuple[Hook, ...]:
    """The hook for snapshots of the power averages, if the settings have an interval."""
    if not training.snapshot_every:
        return ()
    gather, every = partial(gathered, mesh), training.snapshot_every
    return (snapshot_hook(workdir / FOLDER, training.averages, every=every, gather=gather),)
