"""The loop: batch, step, log, evaluate, save, and whatever else the caller hooks on."""

import math
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from score_sde.data.loader import Loader
from score_sde.objectives.noise_levels import log_snr_of
from score_sde.training.checkpoint import Checkpoints
from score_sde.training.logging import MetricWriter, MultiWriter
from score_sde.training.mesh import check_batch_size, compile_eval_step, compile_step, data_mesh, replicate, shard_batch
from score_sde.training.progress import Progress, Stream
from score_sde.training.signals import StopRequest
from score_sde.training.state import TrainState
from score_sde.training.step import EvalStep, Metrics, TrainStep
from score_sde.typing import Key


@dataclass(frozen=True, kw_only=True, eq=False)
class Hook:
    """Something to do every so many steps, such as drawing a grid of samples.

    Attributes:
        every: Between how many steps.
        run: A function of the state and the step; it must not keep the state, whose arrays the next step overwrites.
    """

    every: int
    run: Callable[[TrainState, int], None]

    def __post_init__(self) -> None:
        _at_least(1, every=self.every)


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """The loss on held-out data: the same examples and the same noise each time.

    Attributes:
        every: Between how many steps.
        step: What ``make_eval_step`` gives.
        loader: The held-out data.
        key: Where the noise comes from.
        num_batches: Over how many batches the loss is averaged.
    """

    every: int
    step: EvalStep
    loader: Loader
    key: Key
    num_batches: int = 1

    def __post_init__(self) -> None:
        _at_least(1, every=self.every, num_batches=self.num_batches)


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingRun:
    """Everything that ``train`` needs.

    Attributes:
        state: The state to start from, where there is no checkpoint to resume from.
        step: What ``make_train_step`` gives, un-transformed.
        loader: The training data.
        key: The key that those of all steps are folded from.
        num_steps: At how many steps the run is complete, those before an interruption included.
        mesh: The devices; all local ones unless given.
        checkpoints: Where to save and resume from; nothing is saved without.
        checkpoint_every: Between how many steps; the last step is always saved. The checkpoints that coincide with an
            evaluation are the ones that can be the best.
        config: The resolved config, saved with each checkpoint.
        log_every: Between how many steps the metrics of a step are written; the last step's always are.
        writer: Where metrics go.
        evaluation: The loss on held-out data, if there is any.
        hooks: What else to do between steps.
        stream: Where progress is shown; standard error unless given.
    """

    state: TrainState
    step: TrainStep
    loader: Loader
    key: Key
    num_steps: int
    mesh: Mesh = field(default_factory=data_mesh)
    checkpoints: Checkpoints | None = None
    checkpoint_every: int = 1000
    config: Mapping[str, Any] = field(default_factory=dict)
    log_every: int = 50
    writer: MetricWriter = field(default_factory=MultiWriter)
    evaluation: Evaluation | None = None
    hooks: tuple[Hook, ...] = ()
    stream: Stream | None = None

    def __post_init__(self) -> None:
        _at_least(0, num_steps=self.num_steps)
        _at_least(1, checkpoint_every=self.checkpoint_every, log_every=self.log_every)
        check_batch_size(self.mesh, self.loader.batch_size)
        if self.evaluation is not None:
            check_batch_size(self.mesh, self.evaluation.loader.batch_size)


class TrainResult(NamedTuple):
    """How a run ended.

    Attributes:
        state: The last state.
        signum: The signal that stopped it early; ``None`` for a complete run.
    """

    state: TrainState
    signum: int | None


def train(run: TrainingRun) -> TrainResult:
    """Train until ``run.num_steps``, going on from the latest checkpoint where there is one.

    A resumed run gives bit for bit the state and the logged losses of one that was never interrupted. On Ctrl-C or
    SIGTERM the step is finished and saved before the function returns.

    Raises:
        FloatingPointError: Where the loss or its gradient is no longer finite; nothing is saved from there on.
        ValueError: Where the latest checkpoint does not fit ``run.state``.
    """
    state = _restore_or_start(run)
    first = int(state.step)
    run.writer.rewind(first)
    train_step = compile_step(run.step, run.mesh)
    evaluate = _compile_evaluation(run)
    with Progress("train", run.num_steps, start=first, stream=run.stream) as progress, StopRequest() as stop:
        if first:
            plan = "complete" if first >= run.num_steps else f"going on to step {run.num_steps}"
            progress.note(f"found a checkpoint of step {first}, {plan}")
        for step in range(first + 1, run.num_steps + 1):
            state, metrics = train_step(state, shard_batch(run.mesh, run.loader.batch(step - 1)), run.key)
            last = step == run.num_steps
            stopped = stop.signum is not None and not last
            shown = _log(run, step, metrics, progress.rate) if _is_due(step, run.log_every) or last else {}
            scores = evaluate(state, step)
            if _is_due(step, run.checkpoint_every) or last or stopped:
                _save(run, state, metrics, scores)
            progress.update(step, **shown, **_briefly(scores))
            if stopped:
                progress.note(_farewell(run, step, stop.signum))
                break
            for hook in run.hooks:
                if _is_due(step, hook.every):
                    hook.run(state, step)
    if run.checkpoints is not None:
        run.checkpoints.wait()
    run.writer.flush()
    return TrainResult(state=state, signum=stop.signum if int(state.step) < run.num_steps else None)


def _restore_or_start(run: TrainingRun) -> TrainState:
    state = replicate(run.mesh, run.state)
    if run.checkpoints is None or run.checkpoints.latest_step() is None:
        return state
    return run.checkpoints.restore(state)


def _log(run: TrainingRun, step: int, metrics: Metrics, rate: float) -> dict[str, float]:
    values = _those_there(_checked(metrics, step, run))
    run.writer.write_scalars(step, {**values, "steps_per_sec": rate} if math.isfinite(rate) else values)
    return {"loss": values["loss"]}


def _compile_evaluation(run: TrainingRun) -> Callable[[TrainState, int], dict[str, float]]:
    evaluation = run.evaluation
    if evaluation is None:
        return lambda state, step: {}
    eval_step = compile_eval_step(evaluation.step, run.mesh)

    def evaluate(state: TrainState, step: int) -> dict[str, float]:
        if not _is_due(step, evaluation.every):
            return {}
        found: dict[str, list[float]] = {}
        for number in range(evaluation.num_batches):
            batch = shard_batch(run.mesh, evaluation.loader.batch(number))
            for name, value in eval_step(state, batch, jax.random.fold_in(evaluation.key, number)).items():
                found.setdefault(name, []).append(float(value))
        scores = _those_there({f"eval_{name}": _mean_of_those_there(values) for name, values in found.items()})
        run.writer.write_scalars(step, scores)
        return scores

    return evaluate


def _mean_of_those_there(values: Sequence[float]) -> float:
    """The mean but for NaN, which is what no example of a batch has; NaN where none of them has it."""
    there = [value for value in values if not math.isnan(value)]
    return sum(there) / len(there) if there else math.nan


def _those_there(values: Mapping[str, float]) -> dict[str, float]:
    """Without what no example of the batch has; a loss that is NaN is there."""
    return {name: value for name, value in values.items() if name == "eval_loss" or not math.isnan(value)}


def _briefly(scores: Mapping[str, float]) -> dict[str, float]:
    """What a progress line has room for: not the loss of every noise level."""
    return {name: value for name, value in scores.items() if log_snr_of(name.removeprefix("eval_")) is None}


def _save(run: TrainingRun, state: TrainState, metrics: Metrics, scores: Mapping[str, float]) -> None:
    if run.checkpoints is not None:
        _checked(metrics, int(state.step), run)
        run.writer.flush()
        run.checkpoints.save(state, config=run.config, metrics=scores)


def _checked(metrics: Metrics, step: int, run: TrainingRun) -> dict[str, float]:
    values = {name: float(value) for name, value in jax.device_get(metrics).items()}
    if math.isfinite(values["loss"]) and math.isfinite(values["grad_norm"]):
        return values
    saved = run.checkpoints.latest_step() if run.checkpoints is not None else None
    raise FloatingPointError(
        f"the loss is {values['loss']:.4g} and the norm of its gradient {values['grad_norm']:.4g} at step {step}: "
        + (f"the last checkpoint is of step {saved}" if saved is not None else "there is no checkpoint")
        + "; try a lower learning rate"
    )


def _farewell(run: TrainingRun, step: int, signum: int | None) -> str:
    saved = f"saved in {run.checkpoints.directory}, run it again to go on" if run.checkpoints else "nothing saved"
    cause = signal.Signals(signum).name if signum is not None else "request"
    return f"stopped by {cause} at step {step} of {run.num_steps}: {saved}"


def _is_due(step: int, every: int) -> bool:
    return step % every == 0


def _at_least(smallest: int, **values: int) -> None:
    for name, value in values.items():
        if value < smallest:
            raise ValueError(f"{name} must be at least {smallest}, not {value}")
