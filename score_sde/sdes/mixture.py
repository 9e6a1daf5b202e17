"""A mixture of isotropic Gaussians as data, whose marginal densities and scores under
an SDE are known in closed form.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from score_sde import checks
from score_sde.precision import wide
from score_sde.sdes.base import SDE
from score_sde.typing import Key, SampleLike, Scalar, ScalarLike, ScoreFn


@dataclass(frozen=True, kw_only=True)
class Mixture:
    r"""Data distributed as ``p_0 = sum_k w_k N(m_k, s_k^2 I)`` in ``d`` dimensions.

    An SDE with Gaussian transitions ``N(alpha x_0, sigma^2 I)`` keeps it a mixture at
    every time,

        ``p_t = sum_k w_k N(alpha m_k, v_k I)``,   ``v_k = alpha^2 s_k^2 + sigma^2``,

    so that its score needs no learning:

        ``grad log p_t(x) = sum_k r_k(x) (alpha m_k - x) / v_k``,   ``r_k(x)`` the
        posterior of component ``k``.

    A point ``x`` may have any shape of ``d`` numbers, and sets the precision of the
    arithmetic.

    >>> import score_sde as ss
    >>> mixture = ss.sdes.Mixture(means=((-1.0,), (1.0,)), std=0.1)
    >>> mixture.num_components, mixture.dim
    (2, 1)

    Attributes:
        means: ``k`` rows of ``d`` numbers.
        std: standard deviation of the components, one for all or one for each.
        weights: ``k`` positive numbers that sum to one; None for equal weights.

    Raises:
        ValueError: where lengths disagree, a standard deviation or a weight is not
            positive, or the weights do not sum to one.
    """

    means: tuple[tuple[float, ...], ...]
    std: float | tuple[float, ...]
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        checks.require(
            self.means and self.means[0] and len({len(row) for row in self.means}) == 1,
            "means must be one or more rows of the same number (at least one) of coordinates",
        )
        for name, values in (("std", self.std), ("weights", self.weights)):
            if values is None:
                continue
            each = values if isinstance(values, tuple) else (values,) * self.num_components
            checks.require(
                len(each) == self.num_components,
                f"{name} has {len(each)} entries and must have {self.num_components}, one for each "
                "row of means",
            )
            for value in each:
                checks.positive(**{name: value}, because="for every component")
        if self.weights is not None:
            checks.require(
                abs(math.fsum(self.weights) - 1) <= 1e-6,
                f"weights={self.weights} must sum to one",
            )

    @classmethod
    def from_arrays(
        cls,
        means: Float[np.ndarray | Array, "k d"],
        std: float | Float[np.ndarray | Array, " k"],
        weights: Float[np.ndarray | Array, " k"] | None = None,
    ) -> "Mixture":
        """The same mixture from arrays."""
        return cls(
            means=tuple(tuple(row) for row in np.asarray(means, np.float64).tolist()),
            std=std if isinstance(std, float) else tuple(np.asarray(std, np.float64).tolist()),
            weights=None if weights is None else tuple(np.asarray(weights, np.float64).tolist()),
        )

    @property
    def num_components(self) -> int:
        """Number ``k`` of components."""
        return len(self.means)

    @property
    def dim(self) -> int:
        """Number ``d`` of coordinates."""
        return len(self.means[0])

    def log_prob(self, sde: SDE, x: SampleLike, t: ScalarLike) -> Scalar:
        """``log p_t(x)`` in nats, under ``sde`` at time ``t``."""
        return jax.nn.logsumexp(self._joint(x, *sde.marginal(t))[0])

    def data_log_prob(self, x: SampleLike) -> Scalar:
        """``log p_0(x)`` in nats: the density of the data itself, without noise."""
        return jax.nn.logsumexp(self._joint(x, 1.0, 0.0)[0])

    def score_fn(self, sde: SDE) -> ScoreFn:
        """The exact score ``(x, t) -> grad_x log p_t(x)`` under ``sde``."""

        def score(x: SampleLike, t: ScalarLike) -> Float[Array, "*shape"]:
            x = wide(x)
            log_joint, pull = self._joint(x, *sde.marginal(t))
            return (jax.nn.softmax(log_joint) @ pull).reshape(x.shape).astype(x.dtype)

        return score

    def responsibilities(self, x: SampleLike) -> Float[Array, " k"]:
        """The posterior probability of each component given a point ``x`` of the data."""
        return jax.nn.softmax(self._joint(x, 1.0, 0.0)[0])

    def sample(self, key: Key, num: int) -> Float[Array, "num d"]:
        """``num`` independent points of the data."""
        key_component, key_noise = jax.random.split(key)
        means, variances, log_weights = self._arrays(jnp.result_type(float))
        component = jax.random.categorical(key_component, log_weights, shape=(num,))
        noise = jax.random.normal(key_noise, (num, self.dim))
        return means[component] + jnp.sqrt(variances)[component, None] * noise

    def mean(self) -> Float[Array, " d"]:
        """Mean of the data, ``sum_k w_k m_k``."""
        means, _, log_weights = self._arrays(jnp.result_type(float))
        return jnp.exp(log_weights) @ means

    def covariance(self) -> Float[Array, "d d"]:
        """Covariance of the data, ``sum_k w_k (m_k m_k^T + s_k^2 I) - mean mean^T``."""
        means, variances, log_weights = self._arrays(jnp.result_type(float))
        weights, centred = jnp.exp(log_weights), means - self.mean()
        return (weights[:, None] * centred).T @ centred + (weights @ variances) * jnp.eye(self.dim)

    def _arrays(
        self, dtype: jnp.dtype
    ) -> tuple[Float[Array, "k d"], Float[Array, " k"], Float[Array, " k"]]:
        """Means, variances and logarithms of the weights."""
        weights = self.weights or (1.0 / self.num_components,) * self.num_components
        variances = jnp.square(
            jnp.broadcast_to(jnp.asarray(self.std, dtype), (self.num_components,))
        )
        return jnp.asarray(self.means, dtype), variances, jnp.log(jnp.asarray(weights, dtype))

    def _joint(
        self, x: SampleLike, alpha: ScalarLike, sigma: ScalarLike
    ) -> tuple[Float[Array, " k"], Float[Array, "k d"]]:
        """``log w_k N(x; alpha m_k, v_k I)`` and its gradient in ``x`` for every component."""
        x = wide(x)
        checks.require(
            x.size == self.dim,
            f"x has shape {x.shape} and must have {self.dim} numbers, the dimension of the mixture",
        )
        means, variances, log_weights = self._arrays(x.dtype)
        variances = jnp.square(alpha) * variances + jnp.square(sigma)
        difference = jnp.multiply(alpha, means) - x.reshape(1, -1)
        exponent = -0.5 * jnp.sum(difference**2, axis=-1) / variances
        log_joint = log_weights + exponent - 0.5 * self.dim * jnp.log(2 * jnp.pi * variances)
        return log_joint, difference / variances[:, None]
