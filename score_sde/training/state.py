"""The state of a training run."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from score_sde.training.precision import in_float32, widened
from score_sde.typing import Params, Scalar


class TrainState(NamedTuple):
    """The whole state of a run. It has no random key: every key is folded from the step.

    >>> import optax, score_sde.training as st
    >>> state = st.init_state({"w": 1.0}, optax.sgd(0.1), num_averages=2)
    >>> int(state.step), float(state.ema_params["w"]), len(state.averages)
    (0, 1.0, 2)

    Attributes:
        step: The number of updates so far, an int32 scalar.
        params: The parameters being trained.
        ema_params: Their moving average, in float32 at least; samples are drawn with it.
        opt_state: The state of the optimizer, in float32 at least.
        position: The number of batches read so far, an int32 scalar: ``step``, and the
            batches passed over when the run was rolled back.
        skipped: How many of the latest updates in a row were skipped because their
            gradients were not finite, an int32 scalar.
        frozen: Parameters that the loss takes and no step changes, such as those of a
            model for which another is trained; ``None`` where there are none. They are
            not saved.
        averages: Further moving averages of the parameters, in the order of the
            averages given to ``make_train_step``.
    """

    step: Scalar
    params: Params
    ema_params: Params
    opt_state: Any
    position: Any = np.int32(0)
    skipped: Any = np.int32(0)
    frozen: Params | None = None
    averages: tuple[Params, ...] = ()


def init_state(
    params: Params,
    optimizer: optax.GradientTransformation,
    *,
    frozen: Params | None = None,
    num_averages: int = 0,
) -> TrainState:
    """The state before the first step, with every average equal to ``params``.

    The averages and the state of the optimizer are in float32 at least, whatever the
    type of the parameters. All arrays are copies: a step that donates its state would
    otherwise delete the caller's ``params``, and one buffer cannot be donated twice.
    """
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=jax.tree.map(jnp.copy, params),
        ema_params=_copy_widened(params),
        opt_state=in_float32(optimizer).init(params),
        position=jnp.zeros((), jnp.int32),
        skipped=jnp.zeros((), jnp.int32),
        frozen=jax.tree.map(jnp.copy, frozen),
        averages=tuple(_copy_widened(params) for _ in range(num_averages)),
    )


def renewed(optimizer: optax.GradientTransformation, state: TrainState) -> Any:
    """The state of an optimizer that takes over a run: that before its first step, but with
    learning rates at the step of the run, so that a decay ends where it should.

    >>> import optax, score_sde.training as st
    >>> state = st.init_state({"w": 1.0}, optax.sgd(0.1))._replace(step=7)
    >>> int(st.renewed(optax.sgd(optax.linear_schedule(0.1, 0.0, 10)), state)[1].count)
    7
    """

    def at_step(node: Any) -> Any:
        return node._replace(count=jnp.asarray(state.step)) if _is_schedule(node) else node

    fresh = in_float32(optimizer).init(state.params)
    return jax.tree.map(at_step, fresh, is_leaf=_is_schedule)


def _is_schedule(node: Any) -> bool:
    return isinstance(node, optax.ScaleByScheduleState)


def _copy_widened(params: Params) -> Params:
    return jax.tree.map(jnp.copy, widened(params))
