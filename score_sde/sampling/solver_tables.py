"""Tables of solvers as arrays, which can be differentiated, batched and learned.

A sampler computes the numbers of its table once, in float64. `solve_table` carries out
any such numbers: learned samplers for few evaluations start from the table of a sampler
(Tong et al. 2024; Sabour et al. 2024).
"""

import abc
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from score_sde.precision import as_state, wide, wide_score
from score_sde.sampling.base import Sample
from score_sde.solvers import StepNoise
from score_sde.solvers.integrate import Differentiate, ProgressFn, run_table
from score_sde.typing import Key, SampleLike, ScoreFn


class SolverTable(eqx.Module):
    """The numbers of every step of a method; a pytree of arrays.

    ``dataclasses.replace`` changes some of them; ``jax.vmap`` over a table with one
    more dimension carries out many.
    """

    @property
    @abc.abstractmethod
    def num_steps(self) -> int:
        """The number of steps."""

    @property
    def evaluations(self) -> int:
        """Score evaluations of a solve: one a step."""
        return self.num_steps

    @property
    @abc.abstractmethod
    def noisy(self) -> bool:
        """Whether the steps add noise."""

    @property
    def scales(self) -> tuple[Array, Array] | None:
        """``x / y`` at the start and at the end, for a table of another state ``y``."""
        return None

    @abc.abstractmethod
    def make_solver(self, score_fn: ScoreFn, noise: StepNoise | None) -> diffrax.AbstractSolver:
        """The diffrax solver of the table."""


def as_arrays(dtype: Any, **columns: Float[np.ndarray, "..."]) -> dict[str, Array]:
    """The columns of a table as arrays of a type."""
    return {name: jnp.asarray(column, dtype) for name, column in columns.items()}


def noise_column(
    std: Float[np.ndarray, " steps"], dtype: Any, steps: slice = slice(None)
) -> Float[Array, " steps"] | None:
    """The standard deviations of the noise as an array; None where no step of ``steps``
    adds noise, so that the solve draws none and needs no key.
    """
    return jnp.asarray(std, dtype) if std[steps].any() else None


def solve_table(
    table: SolverTable,
    score_fn: ScoreFn,
    latent: SampleLike,
    *,
    key: Key | None = None,
    differentiate: Differentiate = "reverse",
    progress: ProgressFn | None = None,
) -> Sample:
    """Carry out the steps of a table, from a latent of its first level.

    The derivatives of the sample by the table, the latent and what ``score_fn`` closes
    over are exact. A sampler gives its table:

    >>> import score_sde as ss
    >>> table = ss.DPMSolverPP(num_steps=3).solver_table(ss.VPSDE())
    >>> table.weights.shape  # the last 2 denoised images, in each of 3 steps
    (3, 2)

    The gradient of an error with respect to the weights::

        def error(weights):
            changed = dataclasses.replace(table, weights=weights)
            return jnp.sum((ss.solve_table(changed, score_fn, latent).x - exact) ** 2)

        gradient = jax.grad(error)(table.weights)

    Args:
        table: the steps, as ``sampler.solver_table(sde)`` gives them.
        score_fn: ``(x, t) -> grad_x log p_t(x)``.
        latent: the state at the first level; the sample has its floating-point type.
        key: the source of the noise, for a table that has any.
        differentiate: ``reverse`` for ``jax.grad``, by checkpoints, or ``forward`` for
            ``jax.jvp``, which takes less memory.
        progress: as in `Sampler.solve`.

    Raises:
        ValueError: the table has noise, and there is no key; or ``differentiate`` is
            unknown.
    """
    state, noise = wide(latent, "latent"), None
    if table.noisy:
        if key is None:
            raise ValueError("the steps of this table add noise: give solve_table a key")
        noise = StepNoise(key, jax.ShapeDtypeStruct(state.shape, state.dtype))
    first, last = (1.0, 1.0) if table.scales is None else table.scales
    solution = run_table(
        table.make_solver(wide_score(score_fn), noise),
        state / first,
        table.num_steps,
        differentiate=differentiate,
        progress=progress,
    )
    x: Float[Array, "*shape"] = as_state(solution.y * last, latent)
    return Sample(x, jnp.asarray(table.evaluations), None)
