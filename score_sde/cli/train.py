"""``score-sde train``: from a config to checkpoints, curves and sample grids."""

import json
from collections.abc import Sequence
from pathlib import Path

import jax

from score_sde.builders import build
from score_sde.cli import report
from score_sde.cli.flags import Flags, refusals, require, with_config_path
from score_sde.data import Loader
from score_sde.evaluation import image_grid
from score_sde.evaluation.generation import generate, make_draw
from score_sde.evaluation.pictures import is_image, picture_of_samples
from score_sde.experiment import Experiment
from score_sde.training import (
    Checkpoints,
    Evaluation,
    Hook,
    JsonLinesWriter,
    MultiWriter,
    TensorBoardWriter,
    TrainingRun,
    TrainState,
    init_state,
    make_eval_step,
    make_train_step,
    train,
)
from score_sde.typing import Key

STOPPED = 75
"""The exit code of a run that was asked to stop, and can be run again (EX_TEMPFAIL)."""


def main(argv: Sequence[str]) -> int:
    """Train, or go on training."""
    flags = Flags("train", "Train a score model. Run again on the same workdir, it goes on where it stopped.")
    argv = with_config_path(argv)
    flags.config_file(argv)
    flags.string("workdir", None, "folder for checkpoints, metrics and pictures; made if missing")
    values = flags.parse("train", argv)
    config = require(values.config, "config", "configs/digits/vp.py")
    workdir = Path(require(values.workdir, "workdir", "runs/digits"))
    with refusals():
        experiment = build(config)
        workdir.mkdir(parents=True, exist_ok=True)
        (workdir / "config.json").write_text(json.dumps(experiment.model.config, indent=2) + "\n", encoding="utf-8")
        run = training_run(experiment, workdir)
    result = train(run)
    run.writer.close()
    if run.checkpoints is not None:
        run.checkpoints.close()
    report.record(workdir, {"trained": f"{int(result.state.step)} steps, {workdir / 'checkpoints'}"})
    return 0 if result.signum is None else STOPPED


def training_run(experiment: Experiment, workdir: Path) -> TrainingRun:
    """The run of an experiment in a folder: loaders, steps, writers, checkpoints and sample grids."""
    training, model = experiment.training, experiment.model
    train_key, eval_key, sample_key = jax.random.split(jax.random.key(model.seed), 3)
    writer = MultiWriter([JsonLinesWriter(workdir / "metrics.jsonl"), TensorBoardWriter(workdir / "tensorboard")])
    draw = make_draw(model.sde, model.score_fn_of, model.sampler, model.shape, denoise=model.drawing.denoise)

    def draw_samples(state: TrainState, step: int) -> None:
        samples = next(generate(draw, state.ema_params, sample_key, 64, 64)).x
        picture_of_samples(workdir / "samples", f"step_{step:07d}", samples, experiment.source.test, model.scaling)
        if is_image(model.shape, model.scaling):
            writer.write_images(step, {"samples": image_grid(model.scaling.to_unit(samples))})

    return TrainingRun(
        state=init_state(model.params, experiment.optimizer),
        step=make_train_step(experiment.loss_fn(train=True), experiment.optimizer, training.ema),
        loader=Loader(array=experiment.source.train, batch_size=training.batch_size, seed=model.seed),
        key=train_key,
        num_steps=training.num_steps,
        checkpoints=Checkpoints(workdir / "checkpoints", keep_last=training.keep_last, keep_best=training.keep_best),
        checkpoint_every=training.checkpoint_every,
        config=model.config,
        log_every=training.log_every,
        writer=writer,
        evaluation=_evaluation(experiment, eval_key) if training.eval_every else None,
        hooks=(Hook(every=training.sample_every, run=draw_samples),) if training.sample_every else (),
    )


def _evaluation(experiment: Experiment, key: Key) -> Evaluation:
    """The held-out loss: about one pass over the test split, at fixed times and noise."""
    batch_size, examples = experiment.training.batch_size, experiment.source.test
    return Evaluation(
        every=experiment.training.eval_every,
        step=make_eval_step(experiment.loss_fn(train=False)),
        loader=Loader(array=examples, batch_size=batch_size),
        key=key,
        num_batches=min(16, -(-len(examples) // batch_size)),
    )
