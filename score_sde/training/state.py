"""What training carries from one step to the next."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from score_sde.training.precision import in_float32, widened
from score_sde.typing import Params, Scalar


class TrainState(NamedTuple):
    """The whole state of a run; no random key, since every key is folded from the step.

    Attributes:
        step: How many updates have been made, an int32 scalar.
        params: The parameters being trained.
        ema_params: Their moving average, the ones to sample with, in float32 at least.
        opt_state: What the optimizer remembers, in float32 at least.
        position: How many batches have been read, an int32 scalar: ``step``, and those
            passed over by a run that was taken back.
        skipped: How many of the last updates in a row were left out, an int32 scalar,
            as their gradients were not finite.
        frozen: Parameters that the loss takes and no step changes, as those of a model
            that another is trained for; ``None`` where there are none. They are not
            saved.
        averages: Further moving averages of the parameters, in the order of the rules
            that the step was made with.
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
    """The state before the first step, with every average starting at ``params``.

    The averages and the state of the optimizer are of float32 at least, whatever the
    type of the parameters. The arrays are copied: a step that donates its state would
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


def _copy_widened(params: Params) -> Params:
    return jax.tree.map(jnp.copy, widened(params))
