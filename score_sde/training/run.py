"""What a run is made of, and how it ends."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from score_sde.data.loader import BatchLoader
from score_sde.runtime.progress import Stream
from score_sde.training.checkpoints.manager import Checkpoints
from score_sde.training.mesh import check_batch_size, device_mesh
from score_sde.training.state import TrainState
from score_sde.training.step import EvalStep, TrainStep
from score_sde.training.tracking.metrics import MetricWriter, MultiWriter
from score_sde.typing import Key


@dataclass(frozen=True, kw_only=True, eq=False)
class Hook:
    """Something to do every so many steps, such as drawing a grid of samples.

    Attributes:
        every: Between how many steps.
        run: A function of the state and the step; it must not keep the state, whose
            arrays the next step overwrites. Images that it returns, by name, are
            written with the metrics.
        first: Whether it comes before the checkpoint of the step, and also where the
            run is stopped there: what it writes belongs to the run, which does not make
            that step again.
    """

    every: int
    run: Callable[[TrainState, int], Mapping[str, jax.Array | np.ndarray] | None]
    first: bool = False

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
    loader: BatchLoader
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
        num_steps: At how many steps the run is complete, those before an interruption
            included.
        mesh: The devices; all of all processes unless given.
        n_jitted_steps: How many steps are one dispatch. It must divide the other
            intervals but ``log_every``.
        checkpoints: Where to save and resume from; nothing is saved without.
        checkpoint_every: Between how many steps; the last step is always saved. The
            checkpoints that coincide with an evaluation are the ones that can be the
            best.
        config: The resolved config, saved with each checkpoint.
        about: What else is saved with it: the versions of the code.
        log_every: Between how many steps the metrics of a step are written; the last
            step's always are.
        writer: Where metrics go.
        evaluation: The loss on held-out data, if there is any.
        hooks: What else to do between steps.
        max_skipped: After how many updates in a row that were left out, as their
            gradients were not finite, the run is taken back to its last checkpoint, to
            go on from there with the data that come next.
        max_taken_back: How often, before it stops.
        hang_timeout: Seconds without progress after which the process ends (see
            `Watchdog`); 0 for never.
        hang_dump: The file for the stacks of a process that hangs; standard error
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
        _at_least(0, num_steps=self.num_steps, max_taken_back=self.max_taken_back)
        _at_least(
            1,
            checkpoint_every=self.checkpoint_every,
            log_every=self.log_every,
            max_skipped=self.max_skipped,
        )
        _at_least(1, n_jitted_steps=self.n_jitted_steps)
        check_batch_size(self.mesh, self.loader.batch_size)
        intervals = {"checkpoint_every": self.checkpoint_every}
        if self.evaluation is not None:
            check_batch_size(self.mesh, self.evaluation.loader.batch_size)
            intervals["evaluation.every"] = self.evaluation.every
        for number, hook in enumerate(self.hooks):
            intervals[f"hooks[{number}].every"] = hook.every
        for name, every in intervals.items():
            if every % self.n_jitted_steps:
                raise ValueError(f"n_jitted_steps={self.n_jitted_steps} must divide {name}={every}")


class TrainResult(NamedTuple):
    """How a run ended.

    Attributes:
        state: The last state.
        signum: The signal that stopped it early; ``None`` for a complete run.
    """

    state: TrainState
    signum: int | None


def _at_least(smallest: int, **values: int) -> None:
    for name, value in values.items():
        if value < smallest:
            raise ValueError(f"{name} must be at least {smallest}, not {value}")
