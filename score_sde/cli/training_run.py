"""What ``score-sde train`` and ``score-sde train-dequantizer`` set going."""

import json
from contextlib import closing, nullcontext
from pathlib import Path

import jax

from score_sde.classifier import ClassifierExperiment
from score_sde.cli import report
from score_sde.cli.flags import refusals
from score_sde.cli.resume import check_resumes
from score_sde.data import Loader
from score_sde.evaluation import image_grid
from score_sde.evaluation.files import replacing
from score_sde.evaluation.generation import generate, make_draw
from score_sde.evaluation.pictures import is_image, picture_of_samples
from score_sde.experiment import AnyExperiment, Experiment
from score_sde.training import (
    Checkpoints,
    Evaluation,
    Hook,
    JsonLinesWriter,
    MetricWriter,
    MultiWriter,
    TensorBoardWriter,
    TrainingRun,
    TrainState,
    init_state,
    make_eval_step,
    make_train_step,
    snapshot_hook,
    train,
)
from score_sde.training.mesh import check_batch_size, data_mesh
from score_sde.training.snapshots import FOLDER
from score_sde.typing import Key

STOPPED = 75
"""The exit code of a run that was asked to stop, and can be run again (EX_TEMPFAIL)."""


class _Checkpoints(Checkpoints):
    """Checkpoints that refuse to go on from one that is damaged."""

    def restore(self, target: TrainState, *, step: int | None = None) -> TrainState:
        with refusals():
            return super().restore(target, step=step)


def train_in(workdir: Path, experiment: AnyExperiment) -> int:
    """Train, or go on training, and say so: the exit code.

    Raises:
        Refusal: where the folder holds another run, or cannot be written in.
    """
    with refusals():
        _prepare(workdir, experiment)
        run = training_run(experiment, workdir)
    with closing(run.writer), run.checkpoints or nullcontext():
        result = train(run)
    rows = {"trained": f"{int(result.state.step)} steps, {workdir / 'checkpoints'}"}
    report.record(workdir, rows)
    report.show(f"training in {workdir}", rows)
    return 0 if result.signum is None else STOPPED


def _prepare(workdir: Path, experiment: AnyExperiment) -> None:
    """Make the folder and write its ``config.json``, once nothing speaks against it."""
    training = experiment.training
    check_batch_size(data_mesh(), training.batch_size, num_microbatches=training.num_microbatches)
    check_resumes(workdir, experiment.model.config)
    report.make_folder(workdir)
    with replacing(workdir / "config.json") as temporary:
        temporary.write_text(json.dumps(experiment.model.config, indent=2) + "\n", encoding="utf-8")


def training_run(experiment: AnyExperiment, workdir: Path) -> TrainingRun:
    """The run of an experiment in a folder: loaders, steps, writers, checkpoints and sample grids."""
    training, model = experiment.training, experiment.model
    train_key, eval_key, sample_key = jax.random.split(jax.random.key(model.seed), 3)
    writer = MultiWriter([JsonLinesWriter(workdir / "metrics.jsonl"), TensorBoardWriter(workdir / "tensorboard")])
    return TrainingRun(
        state=init_state(
            model.params, experiment.optimizer, frozen=experiment.frozen, num_averages=len(training.averages)
        ),
        step=make_train_step(
            experiment.loss_fn(train=True),
            experiment.optimizer,
            training.ema,
            averages=training.averages,
            num_microbatches=training.num_microbatches,
        ),
        loader=_loader(experiment, "train", seed=model.seed),
        key=train_key,
        num_steps=training.num_steps,
        checkpoints=_Checkpoints(workdir / "checkpoints", keep_last=training.keep_last, keep_best=training.keep_best),
        checkpoint_every=training.checkpoint_every,
        config=model.config,
        log_every=training.log_every,
        writer=writer,
        evaluation=_evaluation(experiment, eval_key) if training.eval_every else None,
        hooks=_hooks(experiment, workdir, sample_key, writer),
    )


def _loader(experiment: AnyExperiment, split: str, *, seed: int = 0) -> Loader:
    """The examples of a split; with their labels, if they are to be classified."""
    source, batch_size = experiment.source, experiment.training.batch_size
    labels = getattr(source, f"{split}_labels") if isinstance(experiment, ClassifierExperiment) else None
    return Loader(array=getattr(source, split), batch_size=batch_size, seed=seed, labels=labels)


def _evaluation(experiment: AnyExperiment, key: Key) -> Evaluation:
    """The held-out loss: about one pass over the test split, at fixed times and noise."""
    loader = _loader(experiment, "test")
    return Evaluation(
        every=experiment.training.eval_every,
        step=make_eval_step(experiment.loss_fn(train=False)),
        loader=loader,
        key=key,
        num_batches=min(16, -(-len(loader.array) // loader.batch_size)),
    )


def _hooks(experiment: AnyExperiment, workdir: Path, key: Key, writer: MetricWriter) -> tuple[Hook, ...]:
    training, hooks = experiment.training, []
    if training.snapshot_every:
        hooks.append(snapshot_hook(workdir / FOLDER, training.averages, every=training.snapshot_every))
    if isinstance(experiment, Experiment) and training.sample_every:
        hooks.append(_sample_grids(experiment, workdir, key, writer))
    return tuple(hooks)


def _sample_grids(experiment: Experiment, workdir: Path, key: Key, writer: MetricWriter) -> Hook:
    """64 samples from the same latents each time."""
    model, data = experiment.model, experiment.source.test
    draw = make_draw(model.sde, model.score_fn_of, model.sampler, model.shape, **model.drawing.options)

    def draw_samples(state: TrainState, step: int) -> None:
        samples = next(generate(draw, state.ema_params, key, 64, 64)).x
        picture_of_samples(workdir / "samples", f"step_{step:07d}", samples, data, model.scaling)
        if is_image(model.shape, model.scaling):
            writer.write_images(step, {"samples": image_grid(model.scaling.to_unit(samples))})

    return Hook(every=experiment.training.sample_every, run=draw_samples)
