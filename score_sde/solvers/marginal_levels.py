"""Marginals of an SDE at many times in float64 NumPy, for tables and grids that are
constants of a compiled program.

In ``y = x / alpha`` every linear SDE is the same process: data plus noise of standard
deviation ``ratio = sigma / alpha``, the noise-to-signal ratio (Karras et al. 2022,
section 2).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import eval_context
from jaxtyping import ArrayLike, Float

from score_sde.sdes import SDE

BISECTIONS = 80
"""More than the 52 bits of a float64."""


class Marginals(NamedTuple):
    """``alpha`` and ``sigma`` of ``p(x_t | x_0) = N(alpha x_0, sigma^2 I)`` at an array
    of times.
    """

    alpha: Float[np.ndarray, "*times"]
    sigma: Float[np.ndarray, "*times"]

    @property
    def ratio(self) -> Float[np.ndarray, "*times"]:
        """The noise-to-signal ratio ``sigma / alpha``."""
        return self.sigma / self.alpha


def marginals_at(sde: SDE, times: Float[np.ndarray, "*times"]) -> Marginals:
    """``sde.marginal`` at ``times``, in float64 whatever the precision of the
    surrounding program.

    >>> import score_sde as ss
    >>> marginals_at(ss.RectifiedFlowSDE(), np.array([0.25, 0.5])).ratio
    array([0.33333333, 1.        ])
    """
    with eval_context(), jax.enable_x64(True):
        flat = np.ravel(np.asarray(times, np.float64))
        compiled = _compiled_marginal if _has_hash(sde) else _marginal
        marginal = compiled(sde, flat)
        return Marginals(
            *(np.asarray(part, np.float64).reshape(np.shape(times)) for part in marginal)
        )


def _marginal(sde: SDE, times: Float[ArrayLike, " times"]) -> tuple[Any, Any]:
    alpha, sigma = jax.vmap(sde.marginal)(jnp.asarray(times))
    return alpha, sigma


_compiled_marginal = jax.jit(_marginal, static_argnums=0)
"""One program for each SDE and number of times, not one for each operation."""


def _has_hash(sde: SDE) -> bool:
    """Whether an SDE can be the key of a program; one with arrays cannot."""
    try:
        hash(sde)
    except TypeError:
        return False
    return True


def times_of_ratio(sde: SDE, ratio: Float[np.ndarray, "*nodes"]) -> Float[np.ndarray, "*nodes"]:
    """The times at which ``sigma / alpha`` has the values ``ratio``."""
    return _inverse(sde, lambda marginals: marginals.ratio, ratio)


def times_of_sigma(sde: SDE, sigma: Float[np.ndarray, "*nodes"]) -> Float[np.ndarray, "*nodes"]:
    """The times at which ``sigma`` has the values ``sigma``."""
    return _inverse(sde, lambda marginals: marginals.sigma, sigma)


def _inverse(
    sde: SDE, function: Callable[[Marginals], np.ndarray], values: Float[np.ndarray, "*nodes"]
) -> Float[np.ndarray, "*nodes"]:
    """The times in ``[t_min, t_max]`` at which a rising function of the marginals has
    the given values, by bisection.
    """
    low, high = np.full(np.shape(values), sde.t_min), np.full(np.shape(values), sde.t_max)
    ends = function(marginals_at(sde, np.array([sde.t_min, sde.t_max])))
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        below = function(marginals_at(sde, middle)) < values
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    # The ends are exact, in spite of rounding in the values.
    return np.where(
        values <= ends[0], sde.t_min, np.where(values >= ends[1], sde.t_max, 0.5 * (low + high))
    )
