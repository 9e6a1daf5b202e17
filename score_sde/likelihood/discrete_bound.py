"""The variational bound of discrete-time diffusion models (Ho et al. 2020, equations 5 to 13)."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, Shaped

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
from score_sde.typing import Key, Scalar, ScoreFn


class StepCosts(NamedTuple):
    """``KL(q(x_{i-1} | x_i, x_0) || p(x_{i-1} | x_i)) = constant dim + weight / 2 |eps
    + sigma_i s|^2``, all steps.

    ``posterior_std``: the deviation of ``q(x_{i-1} | x_i, x_0)``.
    """

    constant: Float[np.ndarray, " steps"]
    weight: Float[np.ndarray, " steps"]
    posterior_std: Float[np.ndarray, " steps"]


@renamed(num_levels="num_terms")
def ddpm_vlb(
    key: Key,
    score_fn: ScoreFn,
    marginals: DiscreteMarginals,
    x: Shaped[ArrayLike, "*shape"],
    *,
    t_max: float = 1.0,
    times: Float[np.ndarray, " levels"] | None = None,
    variance: Literal["fixedsmall", "fixedlarge"] = "fixedsmall",
    num_terms: int | None = None,
    num_decodings: int = 4,
    bin_width: float | None = None,
    data_range: tuple[float, float] = (-1.0, 1.0),
    chunk_size: int | None = 1,
) -> VariationalBound:
    """The bound ``-(L_T + sum_i L_i + L_0)`` of one sample under the ancestral chain of
    a DDPM model, in nats.

    ``L_T`` is the cost of the standard normal prior, ``L_i`` that of the step from
    level ``i`` to ``i - 1``, and ``L_0`` that of the decoder, normal about Tweedie's
    mean at level 0. Its variance is the posterior variance of the first step, since
    that of the paper vanishes with ``fixedsmall``; the published code takes it for
    both.

    Args:
        key: draws noises, and levels where not all are taken.
        score_fn: ``(x, t) -> score`` of the discrete model at the times `level_times`.
        marginals: its table, as ``ddpm_marginals`` gives it.
        x: one sample in model units; with ``bin_width``, the middles of its bins. The
            bound is float32 at least.
        t_max: the end of the model's clock.
        times: those of the levels, where they are not `level_times`:
            ``sde.step_times()`` of a `DiscreteVPSDE`.
        variance: of a step, ``fixedsmall`` that of ``q(x_{i-1} | x_i, x_0)`` or
            ``fixedlarge`` that of ``q(x_i | x_{i-1})``.
        num_terms: draw so many levels, more of those that weigh more in the sum; None
            for every one once.
        num_decodings: evaluations for ``L_0``.
        bin_width: as in `variational_bound`.
        data_range: as in `variational_bound`.
        chunk_size: so many evaluations at a time, all at once with None.
    """
    x, score_fn, num_steps = wide(x), wide_score(score_fn), len(marginals.sigma) - 1
    num_terms = num_steps if num_terms is None else num_terms
    check_draws(chunk_size, num_terms=num_terms, num_decodings=num_decodings)
    if num_terms > num_steps:
        raise ValueError(
            f"num_terms={num_terms} must be at most {num_steps}, the number of steps between levels"
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
    """The times ``i t_max / (num_scales - 1)`` by which ``DiscreteNoisePrediction`` is
    told of level ``i``, in float32.

    Rounded up where float32 would take the level for the one below.
    """
    levels = np.arange(num_scales, dtype=np.float32)
    times = (levels.astype(np.float64) * t_max / (num_scales - 1)).astype(np.float32)
    short = times * np.float32((num_scales - 1) / t_max) < levels
    return np.where(short, np.nextafter(times, np.float32(np.inf)), times)


def step_costs(marginals: DiscreteMarginals, variance: str) -> StepCosts:
    """The coefficients of the costs of all steps, from level 1 to level 0 first (Ho et
    al. 2020, eqs. 6 to 12).

    With ``a = alpha_i / alpha_{i-1}`` and ``tau = sigma_i^2 - a^2 sigma_{i-1}^2``,
    which is ``beta_i``, the posterior has the variance ``tau sigma_{i-1}^2 /
    sigma_i^2``, and the means are ``tau / (a sigma_i) |eps + sigma_i s|`` apart.
    """
    if variance not in ("fixedsmall", "fixedlarge"):
        raise ValueError(f"unknown variance {variance!r}: choose fixedsmall or fixedlarge")
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
    """Levels in order, and the weight that each stands for: every one with its own
    where there are so many draws.

    Else one of each stratum of equal weight, which stands for all of it: for
    ``fixedsmall`` a weight is ``SNR_{i-1} / SNR_i - 1``, so that this is nearly uniform
    in the log signal-to-noise ratio.
    """
    if num_terms == len(weight):
        return jnp.arange(1, len(weight) + 1), jnp.asarray(weight)
    quantiles = (jnp.arange(num_terms) + jax.random.uniform(key, (num_terms,))) / num_terms
    shares = jnp.asarray(np.cumsum(weight)[:-1] / np.sum(weight), quantiles.dtype)
    levels = 1 + jnp.searchsorted(shares, quantiles, side="right")
    return levels, jnp.full(num_terms, np.sum(weight) / num_terms)
