"""The variational bound of discrete-time diffusion models (Ho et al. 2020, eqs. 5 to 13)."""

import typing
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from score_sde import checks
from score_sde.chunking import map_in_chunks
from score_sde.likelihood.bound import (
    VariationalBound,
    bound_of,
    check_draws,
    decoding_cost,
    noise_residual,
    prior_cost,
)
from score_sde.precision import wide, wide_score
from score_sde.renamed import renamed
from score_sde.sdes import DiscreteMarginals, Marginal
from score_sde.typing import Key, SampleLike, Scalar, ScoreFn

Variance: TypeAlias = Literal["fixedsmall", "fixedlarge"]
"""The variance of ``p(x_{i-1} | x_i)``: ``fixedsmall`` is the variance of ``q(x_{i-1} |
x_i, x_0)``, ``fixedlarge`` the variance of ``q(x_i | x_{i-1})``.
"""


class StepCosts(NamedTuple):
    """The coefficients of ``KL(q(x_{i-1} | x_i, x_0) || p(x_{i-1} | x_i)) = constant
    dim + weight / 2 |eps + sigma_i s|^2`` for all steps.

    ``posterior_std``: the standard deviation of ``q(x_{i-1} | x_i, x_0)``.
    """

    constant: Float[np.ndarray, " steps"]
    weight: Float[np.ndarray, " steps"]
    posterior_std: Float[np.ndarray, " steps"]


@renamed(num_levels="num_terms")
def ddpm_vlb(
    key: Key,
    score_fn: ScoreFn,
    marginals: DiscreteMarginals,
    x: SampleLike,
    *,
    t_max: float = 1.0,
    times: Float[np.ndarray, " levels"] | None = None,
    variance: Variance = "fixedsmall",
    num_terms: int | None = None,
    num_decodings: int = 4,
    bin_width: float | None = None,
    data_range: tuple[float, float] = (-1.0, 1.0),
    chunk_size: int | None = 1,
) -> VariationalBound:
    """The bound ``-(L_T + sum_i L_i + L_0)`` of one sample under the ancestral chain of
    a DDPM model, in nats.

    ``L_T`` is the cost of the standard normal prior, ``L_i`` the cost of the step from
    level ``i`` to ``i - 1``, and ``L_0`` the cost of the decoder, which is normal about
    Tweedie's mean at level 0. The decoder has the posterior variance of the first step
    for either ``variance``, as in the published code, since the paper's vanishes with
    ``fixedsmall``.

    >>> import jax, jax.numpy as jnp, score_sde as ss
    >>> score_fn, marginals = lambda x, t: -x, ss.sdes.ddpm_marginals(100)
    >>> bound = lambda key, x: ss.ddpm_vlb(key, score_fn, marginals, x, num_terms=10)
    >>> jax.eval_shape(bound, jax.random.key(0), jnp.zeros((8, 8, 3))).log_prob.shape
    ()

    Args:
        key: draws the noises, and the levels if ``num_terms`` is given.
        score_fn: ``(x, t) -> score`` of the discrete model at the times of its levels.
        marginals: the noise table of the model, as from ``ddpm_marginals``.
        x: one sample in model units; with ``bin_width``, the middles of its bins. The
            bound is float32 at least.
        t_max: the time of the last level.
        times: of the levels: `SDE.step_times` of a discrete SDE; None is `level_times`.
        variance: the variance of a step: ``fixedsmall`` as in ``q(x_{i-1} | x_i,
            x_0)``, ``fixedlarge`` as in ``q(x_i | x_{i-1})``.
        num_terms: the number of terms ``L_i`` drawn, in proportion to their weights;
            None for all terms.
        num_decodings: evaluations of the score for ``L_0``.
        bin_width: as in `variational_bound`.
        data_range: as in `variational_bound`.
        chunk_size: evaluations at a time; None for all at once.

    Raises:
        ValueError: where a number is out of range, or ``variance`` is unknown.
    """
    x, score_fn, num_steps = wide(x), wide_score(score_fn), len(marginals.sigma) - 1
    num_terms = num_steps if num_terms is None else num_terms
    check_draws(chunk_size, num_terms=num_terms, num_decodings=num_decodings)
    checks.require(
        num_terms <= num_steps,
        f"num_terms={num_terms} must be at most {num_steps}, the number of steps between levels",
    )
    level_key, noise_key, decoding_key = jax.random.split(key, 3)
    costs = step_costs(marginals, variance)
    nodes = level_times(num_steps + 1, t_max) if times is None else times
    clock, alpha, sigma = (jnp.asarray(table, x.dtype) for table in (nodes, *marginals))
    levels, weights = _draw_levels(level_key, costs.weight, num_terms)

    def residual(item: tuple[Key, Array]) -> Scalar:
        noise_key, level = item
        return noise_residual(
            noise_key, score_fn, x, clock[level], Marginal(alpha[level], sigma[level])
        )

    def decoding(key: Key) -> Scalar:
        start, std = Marginal(alpha[0], sigma[0]), float(costs.posterior_std[0])
        return decoding_cost(key, score_fn, x, clock[0], start, std, bin_width, data_range)

    return bound_of(
        prior_cost(Marginal(alpha[-1], sigma[-1]), 1.0, x),
        weights.astype(x.dtype),
        map_in_chunks(residual, (jax.random.split(noise_key, num_terms), levels), chunk_size),
        map_in_chunks(decoding, jax.random.split(decoding_key, num_decodings), chunk_size),
        constant=float(np.sum(costs.constant)) * x.size,
    )


def level_times(num_scales: int, t_max: float = 1.0) -> Float[np.ndarray, " levels"]:
    """The times ``i t_max / (num_scales - 1)`` that `DiscreteNoisePrediction` maps to
    the labels ``i``, in float32.

    A time is rounded up where its label in float32 would be less than ``i``.
    """
    levels = np.arange(num_scales, dtype=np.float32)
    times = (levels.astype(np.float64) * t_max / (num_scales - 1)).astype(np.float32)
    short = times * np.float32((num_scales - 1) / t_max) < levels
    return np.where(short, np.nextafter(times, np.float32(np.inf)), times)


def step_costs(marginals: DiscreteMarginals, variance: str) -> StepCosts:
    """The coefficients of the costs of all steps, first of the step from level 1 to
    level 0 (Ho et al. 2020, eqs. 6 to 12).

    With ``a = alpha_i / alpha_{i-1}`` and ``tau = sigma_i^2 - a^2 sigma_{i-1}^2``,
    which is ``beta_i``, the posterior has the variance ``tau sigma_{i-1}^2 /
    sigma_i^2``, and the distance of the means is ``tau / (a sigma_i) |eps + sigma_i
    s|``.
    """
    checks.one_of(typing.get_args(Variance), variance=variance)
    alpha, sigma = marginals
    ratio = alpha[1:] / alpha[:-1]
    transition = sigma[1:] ** 2 - (ratio * sigma[:-1]) ** 2
    posterior = transition * (sigma[:-1] / sigma[1:]) ** 2
    model = posterior if variance == "fixedsmall" else transition
    constant = 0.5 * (posterior / model - 1.0 - np.log(posterior / model))
    return StepCosts(constant, (transition / (ratio * sigma[1:])) ** 2 / model, np.sqrt(posterior))


def _draw_levels(
    key: Key, weight: Float[np.ndarray, " steps"], num_terms: int
) -> tuple[Int[Array, " draws"], Float[Array, " draws"]]:
    """``num_terms`` levels in increasing order, and the weight of each in the sum.

    All levels with their own weights, if that many are drawn. Otherwise one level from
    each stratum of equal total weight, with that weight. For ``fixedsmall`` the weight
    of a level is ``SNR_{i-1} / SNR_i - 1``, so that the levels are nearly uniform in
    the log signal-to-noise ratio.
    """
    if num_terms == len(weight):
        return jnp.arange(1, len(weight) + 1), jnp.asarray(weight)
    places = jnp.arange(num_terms, dtype=float)
    quantiles = (places + jax.random.uniform(key, (num_terms,))) / num_terms
    shares = jnp.asarray(np.cumsum(weight)[:-1] / np.sum(weight), quantiles.dtype)
    levels = 1 + jnp.searchsorted(shares, quantiles, side="right")
    return levels, jnp.full(num_terms, np.sum(weight) / num_terms)
