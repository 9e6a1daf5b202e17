"""Training and evaluation steps: pure, with the same result on any number of devices."""

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

``u`` is uniform in [0, 1). A loss may take its time from it: within a batch, the ``u`` are
spread evenly over [0, 1). A scalar that is NaN is missing for this example, and skipped in
the mean.
"""

Metrics: TypeAlias = dict[str, Array]
"""Scalars by name; with one row per step where one dispatch makes several steps."""

AxisName: TypeAlias = str | tuple[str, ...] | None
"""The mapped axis or axes that split the batch."""

Result = TypeVar("Result")

StepFunction: TypeAlias = Callable[[TrainState, Batch, Key], Result]
"""``(state, batch, key) -> result``."""


@dataclass(frozen=True, eq=False)
class Step(Generic[Result]):
    """A pure function of a state, a batch and a key, with the axes that it must be mapped over.

    Attributes:
        function: The function.
        axis_name: The mapped axis or axes that split the batch; None for a function of
            the whole batch.
    """

    function: StepFunction[Result]
    axis_name: AxisName = None

    def __call__(self, state: TrainState, batch: Batch, key: Key) -> Result:
        """The result of the function."""
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

    Where the loss or the norm of its gradient is not finite, the update is skipped: only
    the counters and the further averages of the state change. Mean losses and gradients,
    the state of the optimizer and the averages are in float32 at least. An update is
    added to half-precision parameters in float32, and the sum is rounded. Averaged are
    the parameters to evaluate (`evaluation_params`), which in schedule-free training
    differ from the trained ones.

    The key of sample ``i`` is ``fold_in(fold_in(train_key, state.step),
    batch.index[i])``. It depends neither on the devices nor on interruptions. The
    function is un-transformed. Under ``jax.jit`` with a sharded batch, means are over the
    whole batch. Under ``jax.pmap`` and ``jax.shard_map`` each device sees its own rows,
    and ``axis_name`` is needed for means over the whole batch.

    Args:
        loss_fn: The loss of one example.
        optimizer: An optax transformation, for example ``adam(lr=2e-4)``.
        ema: The average of the parameters for ``ema_params`` of the state.
        averages: The averages for ``averages`` of the state, in the same order.
        num_microbatches: The gradient of a batch is computed in so many parts, one after
            the other, with the same result up to rounding. This takes the memory of one
            part; on CPUs, where a loop would be slow, that of all parts. It must divide
            the number of rows of each device.
        axis_name: The mapped axis or axes that split the batch, if any; all devices must
            hold the same number of rows.

    Returns:
        The step. Its metrics are ``loss``, ``grad_norm`` (before clipping), ``skipped``
        (of the new state), ``bad_leaf`` (the index, in the order of ``jax.tree.leaves``,
        of the first array of the gradient that is not finite; -1 for none), and the means
        of the other scalars of the loss.
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
        # Updated even where the update is skipped: their profiles depend on the step.
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
    """The function ``(state, batch, key) -> metrics`` that evaluates ``ema_params``.

    The key of sample ``i`` is ``fold_in(key, batch.index[i])``. It does not depend on the
    step of the state, so that every evaluation with one key has the same noise, and their
    losses can be compared.

    Args:
        loss_fn: The loss of one example.
        axis_name: The mapped axis or axes that split the batch, if any.

    Returns:
        The step. Its metrics are ``loss`` and the means of the other scalars of the loss.
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
    """The arguments of the loss of each row."""

    key: Array
    u: Float[Array, " b"]
    example: Example


class _NanSum(NamedTuple):
    """The sum and the number of the values that are not NaN, or equal fractions of both."""

    total: Scalar
    number: Scalar


def _rows(key: Key, batch: Batch, axis_name: AxisName) -> _Rows:
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(batch.index)
    return _Rows(keys, _spread(key, batch.index, axis_name), batch.examples)


def _mean_loss(
    loss_fn: LossFn, context: Context, params: Params, rows: _Rows
) -> tuple[Scalar, dict[str, _NanSum]]:
    def loss(row: _Rows) -> tuple[Scalar, dict[str, Scalar]]:
        return loss_fn(params, row.key, row.u, row.example, context)

    losses, aux = widened(jax.vmap(loss)(rows))
    return jnp.mean(losses), {name: _nan_sum(values) for name, values in aux.items()}


def _with_wide_results(function: Callable[..., Result]) -> Callable[..., Result]:
    """A function with its result in float32 at least, for sums over parts and devices."""
    return lambda *args: widened(function(*args))


def _accumulated(
    gradient: Callable[[Params, _Rows], Any],
    params: Params,
    rows: _Rows,
    num_microbatches: int,
    axis_name: AxisName,
) -> tuple[tuple[Scalar, dict[str, _NanSum]], Params]:
    """``((mean loss, sums), mean gradient)`` of all rows, computed part by part.

    Neighbouring rows go to different parts, so that each part has the same number of rows
    on every device.
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
    # On CPUs the gradient of a convolution is many times slower inside a loop.
    ((loss, aux), grads), _ = jax.lax.scan(
        add, _of_each_device(zeros, axis_name), parts, unroll=jax.default_backend() == "cpu"
    )
    loss, grads = jax.tree.map(lambda x: x / num_microbatches, (loss, grads))
    return (loss, aux), grads


def _spread(
    key: Key, index: Int[Array | np.ndarray, " b"], axis_name: AxisName
) -> Float[Array, " b"]:
    """A number in [0, 1) for each row: a grid with as many points as the whole batch has
    rows, under one random shift modulo one.
    """
    num = index.size * (1 if axis_name is None else jax.lax.psum(1, axis_name))
    shift = jax.random.uniform(jax.random.fold_in(key, _SHIFT))
    return jnp.mod(shift + index / num, 1.0)


_SHIFT = 2**32 - 1
"""Folded into the key of the shift; it is no index of a row."""


def _nan_sum(values: Float[Array, " b"]) -> _NanSum:
    is_number = ~jnp.isnan(values)
    return _NanSum(
        jnp.sum(jnp.where(is_number, values, 0.0)), jnp.sum(is_number, dtype=values.dtype)
    )


def _means(sums: dict[str, _NanSum]) -> Metrics:
    return {name: jnp.divide(*nan_sum) for name, nan_sum in sums.items()}


def _of_each_device(tree: Any, axis_name: AxisName) -> Any:
    """The same values, which ``shard_map`` then treats as different on each device."""
    return tree if axis_name is None else jax.lax.pcast(tree, axis_name, to="varying")


def _mean_over_devices(tree: Any, axis_name: AxisName) -> Any:
    """The mean over the devices, by one sum of one flat array: on CPUs a sum over processes
    takes milliseconds, whatever its size.
    """
    if axis_name is None:
        return tree
    flat, tree_of = ravel_pytree(tree)
    return tree_of(jax.lax.pmean(flat, axis_name))
