"""One step of training and one of evaluation: pure, and the same on any number of devices."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from score_sde.data.loader import Batch, Example
from score_sde.training.ema import Average, update_averages
from score_sde.training.optimizer import evaluation_params
from score_sde.training.precision import in_float32, widened
from score_sde.training.state import TrainState
from score_sde.typing import Context, Key, Params, Scalar

LossFn: TypeAlias = Callable[
    [Params, Key, Scalar, Example, Context], tuple[Scalar, dict[str, Scalar]]
]
"""``(params, key, u, one raw example, context) -> (loss, other scalars to log)``.

``u`` in [0, 1) is uniform, and the ``u`` of a batch are spread evenly, for a loss that
draws its times so. A scalar that is NaN is missing for this example, and skipped in
the mean.
"""

Metrics: TypeAlias = dict[str, Array]
"""Scalars by name; of several steps in one dispatch, one row for each."""

AxisName: TypeAlias = str | tuple[str, ...] | None
"""The mapped axis, or several, that split the batch."""

Result = TypeVar("Result")

StepFunction: TypeAlias = Callable[[TrainState, Batch, Key], Result]
"""``(state, batch, key) -> result``."""


@dataclass(frozen=True, eq=False)
class Step(Generic[Result]):
    """A pure function of a state, a batch and a key that tells how it is to be mapped.

    Attributes:
        function: The function.
        axis_name: The mapped axis or axes that split the batch; none for a function of
            the whole batch.
    """

    function: StepFunction[Result]
    axis_name: AxisName = None

    def __call__(self, state: TrainState, batch: Batch, key: Key) -> Result:
        """What the function gives."""
        return self.function(state, batch, key)


Updated: TypeAlias = tuple[TrainState, Metrics]
"""The next state, and the metrics of the step that led to it."""

TrainStep: TypeAlias = Step[Updated]
"""``(state, batch, train_key) -> (next state, metrics)``."""

EvalStep: TypeAlias = Step[Metrics]
"""``(state, batch, key) -> metrics``."""


def make_train_step(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    ema: Average,
    *,
    averages: Sequence[Average] = (),
    num_microbatches: int = 1,
    axis_name: AxisName = None,
) -> TrainStep:
    """The function ``(state, batch, train_key) -> (state, metrics)`` that makes one update.

    Where the loss or the norm of its gradient is not finite, nothing is updated but the
    counters of the state. Means of losses and gradients, the state of the optimizer and
    the averages are of float32 at least, and an update is added to half-precision
    parameters in float32, whose sum is then rounded. The averages are of the parameters
    to evaluate, which in schedule-free training are not the ones being trained
    (`evaluation_params`).

    The key of sample ``i`` is ``fold_in(fold_in(train_key, state.step),
    batch.index[i])``: it depends neither on how the batch is split over devices nor on
    whether the run was interrupted. The function is un-transformed. Under ``jax.jit``
    with a sharded batch the mean is over the whole batch as it is; under ``jax.pmap``
    and ``jax.shard_map``, where each device sees its own rows, ``axis_name`` makes it
    so.

    Args:
        loss_fn: The loss of one example.
        optimizer: An optax transformation, for example ``adam(lr=2e-4)``.
        ema: How the parameters are averaged.
        averages: How they are averaged besides, for the ``averages`` of the state.
        num_microbatches: In how many parts, one after the other, the gradient of a
            batch is computed: the result is the same up to rounding, and the memory
            that of one part, but on CPUs, where a loop would be slow, that of all. It
            must divide the rows of each device.
        axis_name: The mapped axis or axes that split the batch, if there are any; each
            device must hold as many rows.

    Returns:
        The step. Its metrics are ``loss``, ``grad_norm`` (before clipping), ``skipped``
        (that of the state), ``bad_leaf`` (the number of the first array of the gradient
        that is not finite, in the order of ``jax.tree.leaves``; -1 for none) and the
        means of the loss's other scalars.
    """
    optimizer = in_float32(optimizer)

    def train_step(state: TrainState, batch: Batch, train_key: Key) -> Updated:
        rows = _rows(jax.random.fold_in(train_key, state.step), batch, axis_name)
        mean_loss = functools.partial(_mean_loss, loss_fn, _context(state))
        gradient = _with_wide_results(jax.value_and_grad(mean_loss, has_aux=True))
        own = _accumulated(
            gradient, _of_each_device(state.params, axis_name), rows, num_microbatches, axis_name
        )
        (loss, aux), grads = _mean_over_devices(own, axis_name)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        step = state.step + 1
        evaluated = evaluation_params(opt_state, params)
        ema_params = ema.update(state.ema_params, evaluated, step)
        updated = state._replace(params=params, ema_params=ema_params, opt_state=opt_state)
        grad_norm = optax.tree.norm(grads)
        finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
        state = jax.tree.map(lambda new, old: jnp.where(finite, new, old), updated, state)
        # These are updated all the same: their profiles are of the step.
        evaluated = evaluation_params(state.opt_state, state.params)
        averaged = update_averages(averages, state.averages, evaluated, step)
        skipped = jnp.where(finite, 0, state.skipped + 1)
        state = state._replace(
            step=step, averages=averaged, position=state.position + 1, skipped=skipped
        )
        metrics = {
            "loss": loss,
            "grad_norm": grad_norm,
            "skipped": state.skipped,
            "bad_leaf": _bad_leaf(grads),
        }
        return state, {**_means(aux), **metrics}

    return Step(train_step, axis_name)


def make_eval_step(loss_fn: LossFn, *, axis_name: AxisName = None) -> EvalStep:
    """The function ``(state, batch, key) -> metrics`` that measures the loss of the
    averaged parameters.

    The key of sample ``i`` is ``fold_in(key, batch.index[i])``; the step of the state
    plays no part, so that one key draws the same noise at each evaluation and the
    values can be compared.

    Args:
        loss_fn: The loss of one example.
        axis_name: The mapped axis or axes that split the batch, if there are any.

    Returns:
        The step. Its metrics are ``loss`` and the means of the loss's other scalars.
    """

    def eval_step(state: TrainState, batch: Batch, key: Key) -> Metrics:
        rows = _rows(key, batch, axis_name)
        own = _mean_loss(loss_fn, _context(state), state.ema_params, rows)
        loss, aux = _mean_over_devices(own, axis_name)
        return {**_means(aux), "loss": loss}

    return Step(eval_step, axis_name)


def _context(state: TrainState) -> Context:
    return Context(state.step, state.ema_params, state.frozen)


def _bad_leaf(grads: Params) -> Scalar:
    bad = jnp.stack([~jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(grads)])
    return jnp.where(jnp.any(bad), jnp.argmax(bad), -1)


class _Rows(NamedTuple):
    """What the loss of each row takes."""

    key: Array
    u: Float[Array, " b"]
    example: Example


class _There(NamedTuple):
    """The sum of the values that are there and their number, or the same part of both."""

    total: Scalar
    number: Scalar


def _rows(key: Key, batch: Batch, axis_name: AxisName) -> _Rows:
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(batch.index)
    return _Rows(keys, _spread(key, batch.index, axis_name), batch.examples)


def _mean_loss(
    loss_fn: LossFn, context: Context, params: Params, rows: _Rows
) -> tuple[Scalar, dict[str, _There]]:
    def loss(row: _Rows) -> tuple[Scalar, dict[str, Scalar]]:
        return loss_fn(params, row.key, row.u, row.example, context)

    losses, aux = widened(jax.vmap(loss)(rows))
    return jnp.mean(losses), {name: _those_there(values) for name, values in aux.items()}


def _with_wide_results(function: Callable[..., Result]) -> Callable[..., Result]:
    """The same function, what it gives being of float32 at least: what follows are sums
    over parts and devices.
    """
    return lambda *args: widened(function(*args))


def _accumulated(
    gradient: Callable[[Params, _Rows], Any],
    params: Params,
    rows: _Rows,
    num_microbatches: int,
    axis_name: AxisName,
) -> tuple[tuple[Scalar, dict[str, _There]], Params]:
    """``((mean loss, sums), mean gradient)`` of all rows, computed for one part of them
    after the other.

    Neighbouring rows go to different parts, so that each device has as many rows of
    each.
    """
    if num_microbatches == 1:
        return gradient(params, rows)
    parts = jax.tree.map(
        lambda x: x.reshape(-1, num_microbatches, *x.shape[1:]).swapaxes(0, 1), rows
    )

    def add(sums: Any, part: _Rows) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, sums, gradient(params, part)), None

    zeros = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(gradient, params, rows)
    )
    # On CPUs the gradient of a convolution takes many times as long inside of a loop.
    ((loss, aux), grads), _ = jax.lax.scan(
        add, _of_each_device(zeros, axis_name), parts, unroll=jax.default_backend() == "cpu"
    )
    loss, grads = jax.tree.map(lambda x: x / num_microbatches, (loss, grads))
    return (loss, aux), grads


def _spread(
    key: Key, index: Int[Array | np.ndarray, " b"], axis_name: AxisName
) -> Float[Array, " b"]:
    """One uniform number in each of as many equal parts of [0, 1) as the whole batch
    has rows, all shifted alike.
    """
    num = index.size * (1 if axis_name is None else jax.lax.psum(1, axis_name))
    shift = jax.random.uniform(jax.random.fold_in(key, _SHIFT))
    return jnp.mod(shift + index / num, 1.0)


_SHIFT = 2**32 - 1
"""What the key of the shift is folded with: no index of a row."""


def _those_there(values: Float[Array, " b"]) -> _There:
    there = ~jnp.isnan(values)
    return _There(jnp.sum(jnp.where(there, values, 0.0)), jnp.sum(there, dtype=values.dtype))


def _means(sums: dict[str, _There]) -> Metrics:
    return {name: jnp.divide(*there) for name, there in sums.items()}


def _of_each_device(tree: Any, axis_name: AxisName) -> Any:
    """The same values, of which shard_map no longer takes for granted that they are the
    same on each device.
    """
    return tree if axis_name is None else jax.lax.pcast(tree, axis_name, to="varying")


def _mean_over_devices(tree: Any, axis_name: AxisName) -> Any:
    """By one sum over all numbers: on CPUs a sum over processes takes milliseconds,
    however few it adds.
    """
    if axis_name is None:
        return tree
    flat, tree_of = ravel_pytree(tree)
    return tree_of(jax.lax.pmean(flat, axis_name))
