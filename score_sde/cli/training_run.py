"""What ``score-sde train`` and ``score-sde train-dequantizer`` set going."""

import functools
import io
import json
import sys
from collections.abc import Mapping
from contextlib import ExitStack, closing, nullcontext
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh

from score_sde.cli.flags import Refusal, refusals, sentence
from score_sde.cli.own_files import check_run_folder
from score_sde.data import BatchLoader, make_loader, statistics
from score_sde.evaluation import image_grid, report
from score_sde.evaluation.generation import generate, make_draw
from score_sde.evaluation.plots.samples import is_image, picture_of_samples
from score_sde.experiments.base import AnyExperiment
from score_sde.experiments.classifier import ClassifierExperiment
from score_sde.experiments.resume import check_resumes
from score_sde.experiments.score_model import Experiment
from score_sde.experiments.settings import Training
from score_sde.runtime.atomic_files import replacing
from score_sde.runtime.lock import held
from score_sde.runtime.naming import errors_of
from score_sde.runtime.processes import by_first
from score_sde.runtime.signals import StopRequest
from score_sde.runtime.versions import versions
from score_sde.runtime.watchdog import STOPPED, Watchdog
from score_sde.sdes.data_scale import scale_mismatch
from score_sde.training import (
    Checkpoints,
    Evaluation,
    Hook,
    MetricWriter,
    MultiWriter,
    TrainingRun,
    TrainState,
    check_agreement,
    check_batch_size,
    device_mesh,
    init_state,
    make_eval_step,
    make_train_step,
    make_writers,
    snapshot_hook,
    train,
)
from score_sde.training.checkpoints.seal import CheckpointError, fingerprints
from score_sde.training.mesh import gathered, step_axes
from score_sde.training.snapshots import FOLDER
from score_sde.training.step import AxisName
from score_sde.typing import Key

NUM_MEASURED = 10_000
"""How many training examples, evenly spaced, tell the scale of the data."""


def train_in(
    workdir: Path, experiment: AnyExperiment, stop: StopRequest, *, overwrite: bool = False
) -> int:
    """Train, or go on training, and say so: the exit code.

    ``overwrite``: whether a new run may write over files that are no run's.

    Raises:
        Refusal: where the folder holds another run or files of other programs, another
            process writes in it, or nothing can be written there.
    """
    with ExitStack() as stack:
        with refusals(), Watchdog(experiment.training.hang_timeout):
            mesh = _checked_mesh(experiment.training)
            by_first(lambda: _take(workdir, experiment, stack, overwrite=overwrite))
            code = versions()
            if jax.process_count() > 1:  # one need not compile what takes the fingerprints
                check_agreement(_facts(experiment, code))
            run = training_run(experiment, workdir, mesh, code)
        for thing in (run.writer, run.loader, *([run.evaluation.loader] if run.evaluation else [])):
            stack.enter_context(closing(thing))
        stack.enter_context(run.checkpoints or nullcontext())
        try:
            result = train(run, stop=stop)
        except CheckpointError as error:
            raise Refusal(sentence(error)) from error
    if jax.process_index() == 0:
        rows = {"trained": f"{int(result.state.step)} steps, {workdir / 'checkpoints'}"}
        report.record(workdir, rows)
        report.show(f"training in {workdir}", rows)
    return 0 if result.signum is None else STOPPED


def _checked_mesh(training: Training) -> Mesh:
    with errors_of("training"):
        mesh = device_mesh(fsdp=training.fsdp)
    with errors_of("training.batch_size"):
        check_batch_size(mesh, training.batch_size, num_microbatches=training.num_microbatches)
    return mesh


def _take(workdir: Path, experiment: AnyExperiment, stack: ExitStack, *, overwrite: bool) -> None:
    """Make the folder, keep it for this run, and write its ``config.json``, once
    nothing speaks against it.
    """
    check_run_folder(workdir, overwrite=overwrite)
    check_resumes(workdir, experiment.model.config)
    warning = scale_warning(
        experiment
    )  # reads data, which may be damaged: before anything is written
    report.make_folder(workdir)
    stack.enter_context(held(workdir))
    with replacing(workdir / "config.json") as temporary:
        temporary.write_text(json.dumps(experiment.model.config, indent=2) + "\n", encoding="utf-8")
    if warning:
        print(f"warning: {warning}", file=sys.stderr, flush=True)


def scale_warning(experiment: AnyExperiment) -> str | None:
    """Which scale of continuous data the SDE does not suit, and what to do; None where
    it suits all.
    """
    model, source = experiment.model, experiment.source
    if source.num_levels is not None:
        return None
    if model.scaling.standardized:
        found = scale_mismatch(model.sde, np.zeros(1), np.ones(1))
        return (
            found
            and f"standardised data do not suit the SDE: {found}; choose other parameters of the "
            "SDE"
        )
    measured = statistics(source.train, max_examples=NUM_MEASURED)
    found = scale_mismatch(model.sde, measured.mean, measured.std)
    return (
        found
        and f"the data do not suit the SDE: {found}; standardise them by "
        "--config.data.standardize=True"
    )


def _facts(experiment: AnyExperiment, code: Mapping[str, str]) -> dict[str, str]:
    """What all processes must have alike."""
    return {
        "config": json.dumps(experiment.model.config, sort_keys=True),
        "code": json.dumps(code, sort_keys=True),
        "initial parameters": json.dumps(fingerprints(experiment.model.params)),
    }


def training_run(
    experiment: AnyExperiment, workdir: Path, mesh: Mesh, code: Mapping[str, str]
) -> TrainingRun:
    """The run of an experiment in a folder: loaders, steps, writers, checkpoints and
    sample grids.
    """
    training, model = experiment.training, experiment.model
    train_key, eval_key, sample_key = jax.random.split(jax.random.key(model.seed), 3)
    axes, is_first = step_axes(mesh), jax.process_index() == 0
    writer = make_writers(training.trackers, workdir, model.config) if is_first else MultiWriter()
    return TrainingRun(
        state=init_state(
            model.params,
            experiment.optimizer,
            frozen=experiment.frozen,
            num_averages=len(training.averages),
        ),
        step=make_train_step(
            experiment.loss_fn(train=True),
            experiment.optimizer,
            training.ema,
            averages=training.averages,
            num_microbatches=training.num_microbatches,
            axis_name=axes,
        ),
        loader=_loader(experiment, "train", seed=model.seed),
        key=train_key,
        num_steps=training.num_steps,
        mesh=mesh,
        n_jitted_steps=training.n_jitted_steps,
        checkpoints=Checkpoints(
            workdir / "checkpoints",
            keep_last=training.keep_last,
            keep_best=training.keep_best,
            keep_every=training.keep_every,
        ),
        checkpoint_every=training.checkpoint_every,
        config=model.config,
        about={"versions": code},
        log_every=training.log_every,
        writer=writer,
        evaluation=_evaluation(experiment, eval_key, axes) if training.eval_every else None,
        hooks=_hooks(experiment, workdir, mesh, sample_key, writer),
        max_skipped=training.max_skipped,
        max_taken_back=training.max_taken_back,
        hang_timeout=training.hang_timeout,
        hang_dump=workdir / f"hang_{jax.process_index()}.txt",
        stream=None if is_first else io.StringIO(),
    )


def _loader(experiment: AnyExperiment, split: str, *, seed: int = 0) -> BatchLoader:
    """The examples of a split; with their labels, if they are to be classified."""
    source, batch_size = experiment.source, experiment.training.batch_size
    labels = (
        getattr(source, f"{split}_labels") if isinstance(experiment, ClassifierExperiment) else None
    )
    return make_loader(getattr(source, split), batch_size=batch_size, seed=seed, labels=labels)


def _evaluation(experiment: AnyExperiment, key: Key, axis_name: AxisName) -> Evaluation:
    """The held-out loss: about one pass over the test split, at fixed times and noise."""
    loader = _loader(experiment, "test")
    return Evaluation(
        every=experiment.training.eval_every,
        step=make_eval_step(experiment.loss_fn(train=False), axis_name=axis_name),
        loader=loader,
        key=key,
        num_batches=min(16, -(-len(experiment.source.test) // loader.batch_size)),
    )


def _hooks(
    experiment: AnyExperiment, workdir: Path, mesh: Mesh, key: Key, writer: MetricWriter
) -> tuple[Hook, ...]:
    training, hooks = experiment.training, []
    if training.snapshot_every:
        gather = functools.partial(gathered, mesh)
        hooks.append(
            snapshot_hook(
                workdir / FOLDER, training.averages, every=training.snapshot_every, gather=gather
            )
        )
    if isinstance(experiment, Experiment) and training.sample_every:
        hooks.append(_sample_grids(experiment, workdir, mesh, key, writer))
    return tuple(hooks)


def _sample_grids(
    experiment: Experiment, workdir: Path, mesh: Mesh, key: Key, writer: MetricWriter
) -> Hook:
    """64 samples from the same latents each time, drawn by the first process on its devices."""
    model, data = experiment.model, experiment.source.test
    draw = make_draw(
        model.sde, model.score_fn_of, model.sampler, model.shape, **model.drawing.options
    )

    def draw_samples(state: TrainState, step: int) -> None:
        params = gathered(mesh, state.ema_params)
        if jax.process_index() != 0:
            return
        samples = next(generate(draw, params, key, 64, 64)).x
        picture_of_samples(workdir / "samples", f"step_{step:07d}", samples, data, model.scaling)
        if is_image(model.shape, model.scaling):
            writer.write_images(step, {"samples": image_grid(model.scaling.to_unit(samples))})

    return Hook(every=experiment.training.sample_every, run=draw_samples)
