"""The training loop: batch, step, log, evaluate, save, and the hooks of the caller."""

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
from score_sde.training.tracking.metrics import nan_mean, without_missing
from score_sde.typing import Key


class _NotSavedError(OSError):
    """A state that must be saved cannot be written."""


class _Tools(NamedTuple):
    """The parts of a run that the loop uses at every step."""

    steps: StepFunction[Updated]
    evaluate: Callable[[TrainState, int], dict[str, float]]
    stop: StopRequest
    progress: ProgressBar
    watchdog: Watchdog
    speed: Speed


def train(run: TrainingRun, *, stop: StopRequest | None = None) -> TrainResult:
    """Train until ``run.num_steps``, resuming from the latest sound checkpoint, if any.

    A resumed run has bit for bit the state and the logged losses of an uninterrupted
    run. On Ctrl-C, SIGTERM, SIGUSR1 or SIGHUP the current jitted call is finished, and its
    state saved if the run has checkpoints, before the function returns. Where an error
    ends the run between two checkpoints (damaged data, a hook that raises), a single
    process saves the last state before it raises the error.

    Args:
        run: The run.
        stop: The caller's own `StopRequest`, if it has installed signal handlers.

    Raises:
        FloatingPointError: Gradients stay non-finite and no roll-back is left or
            possible.
        LoaderError: The data cannot be read; an ``OSError``.
        OSError: The final checkpoint cannot be written. An earlier one that cannot be
            written is only logged.
        CheckpointError: There are checkpoints and none is sound, or the latest does not
            fit ``run``; a ``ValueError``.
        UnreadableError: A checkpoint cannot be read, so that it is unknown whether it is
            sound; an ``OSError``.
    """
    notes: list[str] = []
    with ExitStack() as stack:
        # Every process reports its own hang, since only it knows where it hangs.
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
            plan = "complete" if first >= run.num_steps else f"resuming until step {run.num_steps}"
            notes.append(f"found a checkpoint of step {first}, {plan}")
        for line in notes:
            progress.note(line)
        state, signum = _with_roll_backs(run, tools, state)
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
    state = run.checkpoints.restore(state, note=note, renew=run.renew)
    saved = run.checkpoints.about(int(state.step)).get("key")
    if saved != _plain_key(run.key):
        raise CheckpointError(
            f"the checkpoint is of a run with the key {saved}, this run has {_plain_key(run.key)}"
        )
    return state


def _with_roll_backs(
    run: TrainingRun, tools: _Tools, state: TrainState
) -> tuple[TrainState, int | None]:
    """Run to the end or to a signal, rolled back after each divergence."""
    left = run.max_taken_back
    while True:
        try:
            return _run_from(run, tools, state)
        except DivergedError as error:
            state = _rolled_back(run, tools, error, allowed=left > 0)
            left -= 1


def _rolled_back(
    run: TrainingRun, tools: _Tools, error: DivergedError, *, allowed: bool
) -> TrainState:
    """The state of the last checkpoint, to resume from with other data."""
    saved = None if run.checkpoints is None else _last_saved(run.checkpoints)
    if run.checkpoints is None or saved is None or not allowed:
        raise FloatingPointError(f"{error}: {_newest(saved)}; try a lower learning rate") from error
    tools.progress.note(f"{error}: rolled back to step {saved}, resuming with other data")
    state = run.checkpoints.restore(
        place(run.mesh, run.state), note=tools.progress.note, renew=run.renew
    )
    run.writer.rewind(int(state.step))
    return place(run.mesh, state._replace(position=np.int32(error.position), skipped=np.int32(0)))


def _run_from(run: TrainingRun, tools: _Tools, state: TrainState) -> tuple[TrainState, int | None]:
    """The last state, and the signal that stopped the run, if any.

    Raises:
        DivergedError: Where too many updates in a row were skipped.
    """
    step, postponed = int(state.step), False
    health = Health(run.max_skipped, state, tools.progress.note)
    vote = StopVote(run.mesh, tools.stop)
    signum = vote.signum()
    if signum is not None and step < run.num_steps:
        tools.progress.note(_farewell(run, step, signum))
        return state, signum
    with Feed(run.loader, run.mesh, int(state.position), _sizes(run, step)) as feed:
        tools.speed.start()
        tools.watchdog.beat(f"waiting for the data of step {step + 1}")
        try:
            for size, batches, position in feed:
                tools.watchdog.beat(f"computing step {step + 1}")
                state, metrics = tools.steps(state, batches, run.key)
                step += size
                health.check_before(step, position, metrics)
                last = step == run.num_steps
                signum = None if last else vote.signum()
                steps = range(step - size + 1, step + 1)
                shown = _log(run, tools, health, steps, metrics, feed.waited)
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
        except (DivergedError, _NotSavedError):
            raise  # rolled back to an earlier state; tried in vain
        except Exception:
            _save_in_spite(run, tools, health, state)
            raise
    return state, None


def _save_in_spite(run: TrainingRun, tools: _Tools, health: Health, state: TrainState) -> None:
    """Save the state when an error between two checkpoints ends the run: damaged data, a
    hook or an evaluation that fails. It must not raise, as the error is about to.
    """
    # Of several processes, the others do not know of the error, and would not save too.
    if run.checkpoints is None or jax.process_count() > 1:
        return
    try:
        step = int(state.step)  # raises where the step itself has failed: it took the state
        saved = _last_saved(run.checkpoints) or 0
        if step > saved:
            _save(run, tools, health, state, {}, must=True)
            tools.progress.note(f"saved step {step} in {run.checkpoints.directory}")
    except Exception as failure:
        reason = " ".join(str(failure).split())[:200] or type(failure).__name__
        tools.progress.note(f"the state is not saved: {reason}")


def _run_hooks(run: TrainingRun, state: TrainState, step: int, *, first: bool) -> None:
    due = [hook for hook in run.hooks if hook.first == first and _is_due(step, hook.every)]
    for hook in due:
        if images := hook.run(state, step):
            run.writer.write_images(step, images)


def _sizes(run: TrainingRun, step: int) -> Iterator[int]:
    """The number of steps of each jitted call. A call ends at a multiple of
    ``n_jitted_steps``, because checkpoints, evaluations and hooks are due only there.
    """
    while step < run.num_steps:
        size = min(run.n_jitted_steps - step % run.n_jitted_steps, run.num_steps - step)
        yield size
        step += size


def _log(
    run: TrainingRun, tools: _Tools, health: Health, steps: range, metrics: Metrics, waited: float
) -> dict[str, float]:
    """Write the metrics of the steps that are due; return the numbers for the progress bar."""
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
        values = without_missing(
            {name: float(row[steps.index(step)]) for name, row in rows.items()}
        )
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
        scores = without_missing(
            {f"eval_{name}": nan_mean(values) for name, values in found.items()}
        )
        run.writer.write_scalars(step, scores)
        return scores

    return evaluate


def _briefly(scores: Mapping[str, float]) -> dict[str, float]:
    """The scores that the progress bar has room for: without the losses by noise level."""
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
    """Save the state; return False where that is postponed: after a skipped update, unless
    the state ``must`` be saved.
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
        _last_saved(run.checkpoints)
        newest = _newest(run.checkpoints.latest_stored())
        line = f"step {step} is not saved ({error.strerror or error}): {newest}"
        if must:
            raise _NotSavedError(line) from error
        tools.progress.note(f"{line}; training continues")
    return True


def _last_saved(checkpoints: Checkpoints) -> int | None:
    """The step of the latest sound checkpoint, once all writing has ended."""
    with suppress(OSError):  # reported where the checkpoint was saved
        checkpoints.wait()
    return checkpoints.latest_step()


def _newest(saved: int | None) -> str:
    return "there is no checkpoint" if saved is None else f"the last checkpoint is of step {saved}"


def _plain_key(key: Key) -> str:
    return f"{jax.random.key_impl(key)}:{np.asarray(jax.random.key_data(key)).tolist()}"


def _farewell(run: TrainingRun, step: int, signum: int) -> str:
    saved = "nothing saved"
    if run.checkpoints is not None and run.checkpoints.latest_step() is not None:
        saved = f"saved in {run.checkpoints.directory}, run it again to resume"
    return f"stopped by {signal.Signals(signum).name} at step {step} of {run.num_steps}: {saved}"


def _is_due(step: int, every: int) -> bool:
    return step % every == 0
