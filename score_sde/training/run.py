"""A training run: its parts, its hooks and its result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from score_sde import checks
from score_sde.data.loader import BatchLoader
from score_sde.runtime.progress import Stream
from score_sde.training.checkpoints.manager import Checkpoints
from score_sde.training.checkpoints.restoring import Renew
from score_sde.training.mesh import check_batch_size, device_mesh
from score_sde.training.state import TrainState
from score_sde.training.step import EvalStep, TrainStep
from score_sde.training.tracking.metrics import MetricWriter, MultiWriter
from score_sde.typing import Key


@dataclass(frozen=True, kw_only=True, eq=False)
class Hook:
    """A function that is called every so many steps, for example to draw a grid of samples.

    >>> import score_sde.training as st
    >>> st.Hook(every=1000, run=lambda state, step: print(step)).every
    1000

    Attributes:
        every: Steps between two calls.
        run: A function of the state and the step. It must not keep the state, whose
            buffers are donated to the next step. Images that it returns, by name, are
            written with the metrics.
        first: Whether it is called before the checkpoint of the step is saved, and also
            when a signal stops the run at that step. Other hooks are called after the
            save, and not then. A hook that writes a part of the run needs this, since a
            run resumed from that checkpoint does not repeat the step.
    """

    every: int
    run: Callable[[TrainState, int], Mapping[str, jax.Array | np.ndarray] | None]
    first: bool = False

    def __post_init__(self) -> None:
        checks.at_least(1, every=self.every)


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """The evaluation of the loss on held-out data, each time with the same examples and noise.

    Attributes:
        every: Steps between two evaluations.
        step: The evaluation function, from ``make_eval_step``.
        loader: The held-out data.
        key: The base key of the noise; batch ``i`` uses ``fold_in(key, i)``.
        num_batches: The number of batches over which the loss is averaged.
    """

    every: int
    step: EvalStep
    loader: BatchLoader
    key: Key
    num_batches: int = 1

    def __post_init__(self) -> None:
        checks.at_least(1, every=self.every, num_batches=self.num_batches)


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingRun:
    """The parts and settings of a run, for `train`.

    Attributes:
        state: The initial state, and the structure of a restored one.
        step: The update function, from ``make_train_step``, not jitted.
        loader: The training data.
        key: The base key; each step folds its number into it.
        num_steps: The total number of steps, counted from 0 also in a resumed run.
        mesh: The devices; by default all devices of all processes.
        n_jitted_steps: Steps in one jitted call. It must divide ``checkpoint_every``,
            and the intervals of the evaluation and of the hooks.
        checkpoints: The checkpoints to save to and resume from; None to save nothing.
        renew: Makes the state of the optimizer anew, for a state restored from a
            checkpoint that another optimizer has written (`renewed`); None to take that
            for an error.
        checkpoint_every: Steps between two checkpoints; the final step is always saved.
            Only checkpoints at steps with an evaluation can be kept as the best.
        config: The resolved config, with all defaults, saved with each checkpoint.
        about: Metadata saved with each checkpoint, such as the versions of the code;
            the entry ``key`` is set by `train`.
        log_every: Steps between two writings of the metrics; step ``num_steps`` is
            always written.
        writer: The writer of the metrics.
        evaluation: The evaluation on held-out data, if any.
        hooks: Functions to call between steps.
        max_skipped: The number of successive updates, skipped because their gradients
            were not finite, after which the run rolls back to its latest checkpoint. It
            continues with new batches.
        max_taken_back: The number of roll-backs allowed in one call of `train`; after
            one more divergence it raises ``FloatingPointError``.
        hang_timeout: Seconds without progress after which the process ends (see
            `Watchdog`); 0 for never.
        hang_dump: The file for the stack traces of a process that hangs; standard error
            unless given.
        stream: Where progress is shown; standard error unless given.
    """

    state: TrainState
    step: TrainStep
    loader: BatchLoader
    key: Key
    num_steps: int
    mesh: Mesh = field(default_factory=device_mesh)
    n_jitted_steps: int = 1
    checkpoints: Checkpoints | None = None
    renew: Renew | None = None
    checkpoint_every: int = 1000
    config: Mapping[str, Any] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    log_every: int = 50
    writer: MetricWriter = field(default_factory=MultiWriter)
    evaluation: Evaluation | None = None
    hooks: tuple[Hook, ...] = ()
    max_skipped: int = 10
    max_taken_back: int = 2
    hang_timeout: float = 0.0
    hang_dump: Path | None = None
    stream: Stream | None = None

    def __post_init__(self) -> None:
        checks.at_least(0, num_steps=self.num_steps, max_taken_back=self.max_taken_back)
        checks.at_least(
            1,
            checkpoint_every=self.checkpoint_every,
            log_every=self.log_every,
            max_skipped=self.max_skipped,
            n_jitted_steps=self.n_jitted_steps,
        )
        check_batch_size(self.mesh, self.loader.batch_size)
        intervals = {"checkpoint_every": self.checkpoint_every}
        if self.evaluation is not None:
            check_batch_size(self.mesh, self.evaluation.loader.batch_size)
            intervals["evaluation.every"] = self.evaluation.every
        for number, hook in enumerate(self.hooks):
            intervals[f"hooks[{number}].every"] = hook.every
        for name, every in intervals.items():
            checks.require(
                every % self.n_jitted_steps == 0,
                f"n_jitted_steps={self.n_jitted_steps} must divide {name}={every}",
            )


class TrainResult(NamedTuple):
    """The result of a run.

    Attributes:
        state: The last state.
        signum: The signal that stopped the run early; ``None`` for a complete run.
    """

    state: TrainState
    signum: int | None
