"""The loop: batch, step, log, evaluate, save, and whatever else the caller hooks on."""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from typing import NamedTuple

import jax
import numpy as np

from score_sde.objectives.noise_levels import log_snr_of
from score_sde.runtime.progress import ProgressBar
from score_sde.runtime.signals import StopRequest
from score_sde.runtime.watchdog import Watchdog
from score_sde.training.agreement import StopVote
from score_sde.training.checkpoints.manager import Checkpoints
from score_sde.training.checkpoints.manifest import CheckpointError
from score_sde.training.feed import Feed
from score_sde.training.health import DivergedError, Health
from score_sde.training.mesh import (
    compile_eval_step,
    compile_steps,
    local_part,
    place,
    shard_batch,
)
from score_sde.training.run import TrainingRun, TrainResult
from score_sde.training.speed import Speed
from score_sde.training.state import TrainState
from score_sde.training.step import Metrics, StepFunction, Updated
from score_sde.training.tracking.metrics import mean_of_those_there, those_there
from score_sde.typing import Key


class _Tools(NamedTuple):
    """What the loop works with."""

    steps: StepFunction[Updated]
    evaluate: Callable[[TrainState, int], dict[str, float]]
    stop: StopRequest
    progress: ProgressBar
    watchdog: Watchdog
    speed: Speed


def train(run: TrainingRun, *, stop: StopRequest | None = None) -> TrainResult:
    """Train until ``run.num_steps``, going on from the latest sound checkpoint where there is one.

    A resumed run gives bit for bit the state and the logged losses of one that was
    never interrupted. On Ctrl-C, SIGTERM or SIGUSR1 the step is finished and saved
    before the function returns.

    Args:
        run: What to train.
        stop: The wish to stop, for a caller that has watched for signals since before.

    Raises:
        FloatingPointError: Where gradients are not finite any more, and taking the run
            back has not helped.
        LoaderError: Where the data cannot be read; an ``OSError``.
        OSError: Where the last checkpoint cannot be written; one on the way that cannot
            is told and tried again.
        CheckpointError: Where no checkpoint is sound, or the latest does not fit
            ``run``; a ``ValueError``.
        UnreadableError: Where a checkpoint cannot be read, for whatever reason but its
            own bytes; an ``OSError``.
    """
    notes: list[str] = []
    with ExitStack() as stack:
        # What it tells goes to standard error in each process: it is the one that hangs
        # who knows where.
        watchdog = stack.enter_context(Watchdog(run.hang_timeout, dump=run.hang_dump))
        watchdog.beat("restoring the last checkpoint")
        state = _restore_or_start(run, notes.append)
        first = int(state.step)
        run.writer.rewind(first)
        watchdog.beat(f"starting at step {first}")
        progress = stack.enter_context(
            ProgressBar("train", run.num_steps, start=first, stream=run.stream)
        )
        tools = _Tools(
            steps=compile_steps(run.step, run.mesh, state),
            evaluate=_compile_evaluation(run, state),
            stop=stack.enter_context(StopRequest()) if stop is None else stop,
            progress=progress,
            watchdog=watchdog,
            speed=Speed(run.loader.batch_size),
        )
        if first:
            plan = "complete" if first >= run.num_steps else f"going on to step {run.num_steps}"
            notes.append(f"found a checkpoint of step {first}, {plan}")
        for line in notes:
            progress.note(line)
        state, signum = _with_taking_back(run, tools, state)
        if run.checkpoints is not None:
            tools.watchdog.beat("waiting for the last checkpoint to be written")
            run.checkpoints.wait()
    run.writer.flush()
    return TrainResult(state=state, signum=signum)


def _restore_or_start(run: TrainingRun, note: Callable[[str], None]) -> TrainState:
    state = place(run.mesh, run.state)
    if run.checkpoints is None:
        return state
    if run.checkpoints.latest_step() is None:
        run.checkpoints.check_startable()
        return state
    state = run.checkpoints.restore(state, note=note)
    saved = run.checkpoints.about(int(state.step)).get("key")
    if saved != _plain_key(run.key):
        raise CheckpointError(
            f"the checkpoint was made with the random keys {saved}, these are {_plain_key(run.key)}"
        )
    return state


def _with_taking_back(
    run: TrainingRun, tools: _Tools, state: TrainState
) -> tuple[TrainState, int | None]:
    """Run to the end or to a signal; and again from the last checkpoint, with other
    data, after a divergence.
    """
    for left in range(run.max_taken_back, -1, -1):
        try:
            return _run_from(run, tools, state)
        except DivergedError as error:
            saved = None if run.checkpoints is None else _last_saved(run.checkpoints)
            if run.checkpoints is None or saved is None or not left:
                there = (
                    "there is no checkpoint"
                    if saved is None
                    else f"the last checkpoint is of step {saved}"
                )
                raise FloatingPointError(f"{error}: {there}; try a lower learning rate") from error
            tools.progress.note(f"{error}: taken back to step {saved}, to go on with other data")
            state = run.checkpoints.restore(place(run.mesh, run.state), note=tools.progress.note)
            state = place(
                run.mesh, state._replace(position=np.int32(error.position), skipped=np.int32(0))
            )
            run.writer.rewind(int(state.step))
    raise AssertionError("unreachable")


def _run_from(run: TrainingRun, tools: _Tools, state: TrainState) -> tuple[TrainState, int | None]:
    """The state at the end and the signal that it came from, if any; raises ``DivergedError``."""
    step, postponed = int(state.step), False
    health = Health(run.max_skipped, state, tools.progress.note)
    vote = StopVote(run.mesh, tools.stop)
    signum = vote.signum()
    if signum is not None and step < run.num_steps:
        tools.progress.note(_farewell(run, step, signum))
        return state, signum
    with Feed(run.loader, run.mesh, int(state.position), _sizes(run, step)) as feed:
        tools.speed.start(step)
        tools.watchdog.beat(f"waiting for the data of step {step + 1}")
        for size, batches, position in feed:
            tools.watchdog.beat(f"making step {step + 1}")
            state, metrics = tools.steps(state, batches, run.key)
            step += size
            health.check_before(step, position, metrics)
            last = step == run.num_steps
            signum = None if last else vote.signum()
            shown = _log(run, tools, health, range(step - size + 1, step + 1), metrics, feed.waited)
            scores = tools.evaluate(state, step)
            _run_hooks(run, state, step, first=True)
            if _is_due(step, run.checkpoint_every) or postponed or last or signum:
                must = last or signum is not None
                postponed = not _save(run, tools, health, state, scores, must=must)
            tools.progress.update(step, **shown, **_briefly(scores))
            if signum is not None:
                tools.progress.note(_farewell(run, step, signum))
                return state, signum
            _run_hooks(run, state, step, first=False)
            tools.watchdog.beat(f"waiting for the data of step {step + 1}")
    return state, None


def _run_hooks(run: TrainingRun, state: TrainState, step: int, *, first: bool) -> None:
    due = [hook for hook in run.hooks if hook.first == first and _is_due(step, hook.every)]
    for hook in due:
        if images := hook.run(state, step):
            run.writer.write_images(step, images)


def _sizes(run: TrainingRun, step: int) -> Iterator[int]:
    """How many steps each dispatch has: up to the next multiple of ``n_jitted_steps``,
    at which everything is due.
    """
    while step < run.num_steps:
        size = min(run.n_jitted_steps - step % run.n_jitted_steps, run.num_steps - step)
        yield size
        step += size


def _log(
    run: TrainingRun, tools: _Tools, health: Health, steps: range, metrics: Metrics, waited: float
) -> dict[str, float]:
    """Write the metrics of those steps that are due, and return what a progress line
    shows of the last of them.
    """
    due = [step for step in steps if _is_due(step, run.log_every) or step == run.num_steps]
    if not due:
        return {}
    health.check_now()
    rows = {
        name: np.asarray(values)
        for name, values in jax.device_get(metrics).items()
        if name not in Health.METRICS
    }
    shown: dict[str, float] = {}
    for step in due:
        values = those_there({name: float(row[steps.index(step)]) for name, row in rows.items()})
        speed = tools.speed.measure(steps[-1], waited=waited) if step == due[-1] else {}
        run.writer.write_scalars(step, {**values, **speed})
        shown = {"loss": values["loss"]}
    return shown


def _compile_evaluation(
    run: TrainingRun, state: TrainState
) -> Callable[[TrainState, int], dict[str, float]]:
    evaluation = run.evaluation
    if evaluation is None:
        return lambda state, step: {}
    eval_step = compile_eval_step(evaluation.step, run.mesh, state)
    part = local_part(run.mesh, evaluation.loader.batch_size)

    def evaluate(state: TrainState, step: int) -> dict[str, float]:
        if not _is_due(step, evaluation.every):
            return {}
        found: dict[str, list[float]] = {}
        for number in range(evaluation.num_batches):
            batch = shard_batch(run.mesh, evaluation.loader.batch(number, part))
            for name, value in eval_step(
                state, batch, jax.random.fold_in(evaluation.key, number)
            ).items():
                found.setdefault(name, []).append(float(value))
        scores = those_there(
            {f"eval_{name}": mean_of_those_there(values) for name, values in found.items()}
        )
        run.writer.write_scalars(step, scores)
        return scores

    return evaluate


def _briefly(scores: Mapping[str, float]) -> dict[str, float]:
    """What a progress line has room for: not the loss of every noise level."""
    return {
        name: value
        for name, value in scores.items()
        if log_snr_of(name.removeprefix("eval_")) is None
    }


def _save(
    run: TrainingRun,
    tools: _Tools,
    health: Health,
    state: TrainState,
    scores: Mapping[str, float],
    *,
    must: bool,
) -> bool:
    """Whether the state was saved; one amid updates that were left out is not, unless
    it must be.
    """
    if run.checkpoints is None:
        return True
    if health.check_now() and not must:
        return False
    step = int(state.step)
    tools.watchdog.beat(f"saving step {step}")
    run.writer.flush()
    about = {**run.about, "key": _plain_key(run.key)}
    try:
        with tools.speed.saving():
            run.checkpoints.save(state, config=run.config, metrics=scores, about=about)
            if must:
                run.checkpoints.wait()
    except OSError as error:
        saved = _last_saved(run.checkpoints)
        there = "no checkpoint" if saved is None else f"the last checkpoint is of step {saved}"
        line = f"step {step} is not saved ({error.strerror or error}): {there}"
        if must:
            raise OSError(line) from error
        tools.progress.note(f"{line}; training goes on")
    return True


def _last_saved(checkpoints: Checkpoints) -> int | None:
    """The step of the last checkpoint that is whole, once all writing has ended."""
    with suppress(OSError):  # told where it is saved
        checkpoints.wait()
    return checkpoints.latest_step()


def _plain_key(key: Key) -> str:
    return f"{jax.random.key_impl(key)}:{np.asarray(jax.random.key_data(key)).tolist()}"


def _farewell(run: TrainingRun, step: int, signum: int) -> str:
    saved = "nothing saved"
    if run.checkpoints is not None and run.checkpoints.latest_step() is not None:
        saved = f"saved in {run.checkpoints.directory}, run it again to go on"
    return f"stopped by {signal.Signals(signum).name} at step {step} of {run.num_steps}: {saved}"


def _is_due(step: int, every: int) -> bool:
    return step % every == 0
